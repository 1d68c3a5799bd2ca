// SPDX-License-Identifier: Apache-2.0
/*
 * What stays in the hypervisor and what goes. A sweep takes everything of ours that the service does
 * not name, so it is made only while no run can take a point: at the start, and when all is over.
 * In between single points go, by name, and only when no run uses them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "copy/connector_private.h"

#define FORGETTING_MAX	1000  /* the service says it again */
#define FORGET_PAUSE_MS 60000 /* after a failure */
#define RETIRE_MS	60000

/* A point to remove. */
struct forgetting {
	struct door_forget what;
	int64_t not_before;
};

static void keep_add(struct site_keep *keep, unsigned *count, const char *vm_id, const char *point,
		     bool active)
{
	if (vm_id && point)
		keep[(*count)++] = (struct site_keep){vm_id, point, active};
}

void connector_sweep(struct connector *c, const struct door_welcome *w)
{
	const struct door_point *points = w->points.items;
	const struct door_work *held = w->held.items;
	struct site_keep *keep = xcalloc(w->points.count + 2 * w->held.count + 1, sizeof *keep);
	unsigned count = 0, removed = 0;
	struct err e = {0};
	for (size_t i = 0; i < w->points.count; i++)
		keep_add(keep, &count, points[i].vm_id, points[i].point, false);
	for (size_t i = 0; i < w->held.count; i++) {
		keep_add(keep, &count, held[i].vm_id, held[i].point, true);
		keep_add(keep, &count, held[i].vm_id, held[i].base_point, false);
	}
	pthread_mutex_lock(&c->site_lock);
	if (site_sweep(c->site, c->id, keep, count, &removed, &e) < 0)
		log_warn("what an earlier run left behind could not be removed: %s", e.text);
	else if (removed)
		log_info("removed %u leftover(s) of earlier runs", removed);
	pthread_mutex_unlock(&c->site_lock);
	free(keep);
	c->swept = true;
}

/* --- one point --- */

static bool is_used(struct connector *c, const struct door_forget *what)
{
	bool used = false;
	pthread_mutex_lock(&c->lock);
	for (struct connector_run *run = c->runs; run && !used; run = run->next)
		used = text_equal(run->work.vm_id, what->vm_id) &&
		       (text_equal(run->work.base_point, what->point) ||
			text_equal(run->work.point, what->point) ||
			text_equal(run->point_name, what->point));
	pthread_mutex_unlock(&c->lock);
	return used;
}

/* 1: gone; 0: a run still uses it; -1. The site's lock is held over the look and the removal: no
 * point is taken, found again or ended in between. */
static int forget(struct connector *c, const struct door_forget *what, struct err *e)
{
	int r = 0;
	pthread_mutex_lock(&c->site_lock);
	if (!is_used(c, what))
		r = site_forget(c->site, what->vm_id, what->point, e) < 0 ? -1 : 1;
	pthread_mutex_unlock(&c->site_lock);
	return r;
}

/* The first whose time has come; lock held. */
static struct forgetting *next_due(struct connector *c)
{
	for (unsigned i = 0; i < c->forgetting_count; i++)
		if (c->forgetting[i].not_before <= clock_mono_ms())
			return &c->forgetting[i];
	return NULL;
}

static struct forgetting *find(struct connector *c, const struct door_forget *what)
{
	for (unsigned i = 0; i < c->forgetting_count; i++)
		if (text_equal(c->forgetting[i].what.vm_id, what->vm_id) &&
		    text_equal(c->forgetting[i].what.point, what->point))
			return &c->forgetting[i];
	return NULL;
}

static void drop(struct connector *c, struct forgetting *f)
{
	shape_release(&door_forget_shape, &f->what);
	memmove(f, f + 1, (size_t)(c->forgetting + c->forgetting_count - f - 1) * sizeof *f);
	c->forgetting_count--;
}

static void *forget_thread(void *arg)
{
	struct connector *c = arg;
	struct err e = {0};
	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct forgetting *due = next_due(c);
		struct door_forget what;
		if (!due) {
			struct timespec until;
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_sec++;
			pthread_cond_timedwait(&c->changed, &c->lock, &until);
			continue;
		}
		shape_copy(&door_forget_shape, &what, &due->what);
		pthread_mutex_unlock(&c->lock);
		int r = forget(c, &what, &e);
		if (r < 0)
			log_warn("point %s is not removed yet: %s", what.point, e.text);
		if (r > 0)
			log_info("removed point %s: its job is over", what.point);
		pthread_mutex_lock(&c->lock);
		due = find(c, &what);
		if (r < 0)
			due->not_before = clock_mono_ms() + FORGET_PAUSE_MS;
		else
			drop(c, due);
		if (r > 0)
			connector_say(c, DOOR_FORGOTTEN, &what, &e);
		shape_release(&door_forget_shape, &what);
	}
	return NULL;
}

void connector_forget(struct connector *c, struct door_forget *what)
{
	if (!what->vm_id || !what->point)
		return;
	pthread_mutex_lock(&c->lock);
	if (!find(c, what) && c->forgetting_count < FORGETTING_MAX) {
		struct forgetting *f = &c->forgetting[c->forgetting_count++];
		*f = (struct forgetting){.what = *what};
		*what = (struct door_forget){0};
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

int connector_forget_start(struct connector *c, struct err *e)
{
	pthread_t thread;
	c->forgetting = xcalloc(FORGETTING_MAX, sizeof *c->forgetting);
	if (pthread_create(&thread, NULL, forget_thread, c) != 0)
		return err_set(e, ERR_IO, "cannot start a thread");
	pthread_detach(thread);
	return 0;
}

/* --- the end --- */

static bool has_runs(struct connector *c)
{
	pthread_mutex_lock(&c->lock);
	for (struct connector_run *run = c->runs; run; run = run->next)
		run->cancelled = true;
	bool has = c->runs != NULL;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return has;
}

void connector_retire(struct connector *c, const char *connector_id)
{
	struct err e = {0};
	unsigned removed = 0;
	for (int64_t end = clock_mono_ms() + RETIRE_MS; has_runs(c) && clock_mono_ms() < end;)
		clock_sleep_ms(50);
	pthread_mutex_lock(&c->site_lock);
	if (site_sweep(c->site, connector_id ? connector_id : "", NULL, 0, &removed, &e) < 0)
		log_warn("disassociated; not all that was made for the service could be removed: "
			 "%s",
			 e.text);
	else
		log_info("disassociated; removed %u thing(s) made for the service", removed);
	pthread_mutex_unlock(&c->site_lock);
}
