// SPDX-License-Identifier: Apache-2.0
/* A leased run at the connector: validate, take the point, copy, wait for the word, end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "copy/connector_private.h"
#include "wire/wire.h"

#define END_TRIES 5

bool connector_run_is_over(struct connector_run *run)
{
	pthread_mutex_lock(&run->c->lock);
	bool over = run->cancelled || run->committed;
	pthread_mutex_unlock(&run->c->lock);
	return over;
}

static void say_stage(struct connector_run *run, const char *word)
{
	struct err e;
	struct door_stage message = {
	    .run_id = run->work.run_id, .token = run->work.token, .stage = (char *)word};
	connector_say(run->c, DOOR_STAGE, &message, &e);
}

void connector_run_announce(struct connector_run *run)
{
	struct err e;
	struct door_run plain = {.run_id = run->work.run_id, .token = run->work.token};
	if ((run->state == RUN_COPYING || run->state == RUN_COPIED) && run->snapshot.point) {
		run->snapshot.token = run->work.token;
		/* The row first becomes ACTIVE by a stage, then takes the point: also under a new
		 * lease of what we had copied already. */
		say_stage(run, run->state == RUN_COPYING ? "Snapshotting" : "Uploading");
		connector_say(run->c, DOOR_SNAPSHOT, &run->snapshot, &e);
	}
	switch (run->state) {
	case RUN_VALIDATING: say_stage(run, "Validating"); break;
	case RUN_SNAPSHOTTING: say_stage(run, "Snapshotting"); break;
	case RUN_COPYING: say_stage(run, "Uploading"); break;
	case RUN_COPIED: connector_say(run->c, DOOR_COPIED, &plain, &e); break;
	case RUN_BROKEN: {
		struct door_failed failed = {.run_id = run->work.run_id,
					     .token = run->work.token,
					     .kind = (char *)err_kind_word(run->failure.kind),
					     .text = run->failure.text};
		connector_say(run->c, DOOR_FAILED, &failed, &e);
		break;
	}
	}
}

static void enter(struct connector_run *run, enum run_state state)
{
	pthread_mutex_lock(&run->c->lock);
	run->state = state;
	connector_run_announce(run);
	pthread_mutex_unlock(&run->c->lock);
	for (int64_t end = clock_mono_ms() + run->c->config.hold_stage_ms;
	     state <= RUN_COPYING && clock_mono_ms() < end && !connector_run_is_over(run);)
		clock_sleep_ms(50);
}

/* --- validate --- */

struct find {
	const char *vm_id;
	bool found;
	char refusal[LIMIT_SENTENCE_BYTES];
};

static int look(void *context, const struct machine *m)
{
	struct find *find = context;
	if (!m->vm_id || strcmp(m->vm_id, find->vm_id) != 0)
		return 0;
	find->found = true;
	if (m->refusal)
		snprintf(find->refusal, sizeof find->refusal, "%s", m->refusal);
	return 1;
}

static int validate(struct connector_run *run, struct err *e)
{
	struct find find = {.vm_id = run->work.vm_id ? run->work.vm_id : ""};
	pthread_mutex_lock(&run->c->site_lock);
	int r = site_list(run->c->site, look, &find, e);
	pthread_mutex_unlock(&run->c->site_lock);
	if (r < 0)
		return -1;
	if (!find.found)
		return err_set(e, ERR_NOT_FOUND,
			       "the server is not there any more; re-import the server catalog");
	if (find.refusal[0])
		return err_set(e, ERR_INVALID, "the server cannot be copied: %.400s", find.refusal);
	return 0;
}

/* --- the point --- */

/* Full means to the service that its store is, and that the run waits for room there. Without scratch
 * space the run fails: it would be begun again at once, and burden the machine again. */
static void full_is_busy(struct err *e)
{
	if (e->kind == ERR_FULL)
		e->kind = ERR_BUSY;
}

/* With the site's lock held since the point was made: whoever takes that lock sees both or none. */
static void tell_name(struct connector_run *run)
{
	pthread_mutex_lock(&run->c->lock);
	text_set(&run->point_name, run->point->point);
	pthread_mutex_unlock(&run->c->lock);
}

/* What is left of a point that cannot be found again whole: its name, and the tracking under it. The
 * site's lock is held. */
static void forget_point(struct connector_run *run, const char *point)
{
	struct err e = {0};
	if (!point || !site_point_is_of(point, run->c->id))
		return; /* another connector's, whose lease we took over */
	if (site_forget(run->c->site, run->work.vm_id, point, &e) < 0)
		log_warn("run %s: point %s stays behind until the next start: %s", run->work.run_id,
			 point, e.text);
}

static int take_point(struct connector_run *run, struct err *e)
{
	struct connector *c = run->c;
	struct site_want want = {.vm_id = run->work.vm_id,
				 .base_point = run->work.base_point,
				 .point = run->work.point,
				 .resume = true};
	char name[SITE_POINT_BYTES];
	int r = -1;
	pthread_mutex_lock(&c->site_lock);
	if (want.point)
		r = site_begin(c->site, &want, &run->point, e);
	if (r < 0 && (!want.point || e->kind == ERR_NOT_FOUND)) {
		forget_point(run, want.point);
		/* A new name every time, also when we were started again under the same lease: what
		 * is durable of a point is skipped, so a name must never mean two points. */
		site_point_name(c->id, run->work.run_id, name);
		want.point = name;
		want.resume = false;
		r = site_begin(c->site, &want, &run->point, e);
	}
	if (r == 0)
		tell_name(run);
	pthread_mutex_unlock(&c->site_lock);
	if (r < 0)
		full_is_busy(e);
	return r;
}

static void describe_point(struct connector_run *run)
{
	struct site_point *p = run->point;
	struct door_snapshot *s = &run->snapshot;
	struct buf machine = {0};
	text_set(&s->run_id, run->work.run_id);
	text_set(&s->point, p->point);
	text_set(&s->consistency, p->consistency);
	s->keeps_point = p->keeps;
	wire_encode(&machine_shape, &p->machine, &machine);
	bytes_set(&s->machine, machine.data, machine.len);
	buf_release(&machine);
	for (unsigned i = 0; i < p->disk_count; i++) {
		const struct site_disk *d = &p->disks[i];
		struct door_snapshot_disk *to = list_push(&s->disks, sizeof *to);
		text_set(&to->key, d->key);
		text_set(&to->reason, d->full_reason);
		to->number = d->number;
		to->size_bytes = (int64_t)d->size_bytes;
		to->changed_bytes = d->has_changed ? (int64_t)extents_total(&d->changed) : -1;
	}
}

/* --- the copy --- */

struct disk_task {
	struct connector_run *run;
	unsigned index;
	pthread_t thread;
	int result;
	struct err err;
	bool done;
};

static void *disk_thread(void *arg)
{
	struct disk_task *task = arg;
	struct connector *c = task->run->c;
	sem_wait(&c->disks);
	task->result = connector_disk(task->run, task->index, &task->err);
	sem_post(&c->disks);
	pthread_mutex_lock(&c->lock);
	task->done = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static bool all_done(const struct disk_task *tasks, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!tasks[i].done)
			return false;
	return true;
}

static int look_after_point(struct connector_run *run, struct err *e)
{
	pthread_mutex_lock(&run->c->site_lock);
	int r = site_poll(run->c->site, run->point, e);
	pthread_mutex_unlock(&run->c->site_lock);
	if (r < 0)
		full_is_busy(e);
	return r;
}

/* All disks at once (within the connector's bound), an eye on the point every second, and once more
 * at the end: it may have gone bad under the last reads, or be why a disk could not be read. */
static int copy_disks(struct connector_run *run, struct err *e)
{
	struct connector *c = run->c;
	unsigned count = run->point->disk_count;
	struct disk_task *tasks = xcalloc(count, sizeof *tasks);
	int r = 0;
	for (unsigned i = 0; i < count; i++) {
		tasks[i].run = run;
		tasks[i].index = i;
		if (pthread_create(&tasks[i].thread, NULL, disk_thread, &tasks[i]) != 0)
			abort();
	}
	for (;;) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_mutex_lock(&c->lock);
		if (!all_done(tasks, count))
			pthread_cond_timedwait(&c->changed, &c->lock, &until);
		bool done = all_done(tasks, count);
		pthread_mutex_unlock(&c->lock);
		if (done)
			break;
		if (r == 0) {
			r = look_after_point(run, e);
			if (r < 0) { /* the point is gone: the copies of it are worth nothing */
				pthread_mutex_lock(&c->lock);
				run->cancelled = true;
				pthread_mutex_unlock(&c->lock);
			}
		}
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(tasks[i].thread, NULL);
	if (r == 0)
		r = look_after_point(run, e);
	for (unsigned i = 0; i < count; i++) {
		if (r == 0 && tasks[i].result < 0) {
			*e = tasks[i].err;
			r = -1;
		}
	}
	free(tasks);
	return r;
}

/* --- the end --- */

/* Whether the service asks for the copy again. */
static bool wait_for_word(struct connector_run *run)
{
	pthread_mutex_lock(&run->c->lock);
	while (!run->committed && !run->cancelled && !run->again)
		pthread_cond_wait(&run->c->changed, &run->c->lock);
	bool again = run->again && !run->committed && !run->cancelled;
	run->again = false;
	pthread_mutex_unlock(&run->c->lock);
	return again;
}

/* We were started again after everything was copied: find the point, to end it as COMMITTED or
 * CANCEL will say. Nothing is copied, and a point that is gone is no loss now. */
static void hold_copied(struct connector_run *run)
{
	struct connector *c = run->c;
	struct err e = {0};
	struct site_want want = {.vm_id = run->work.vm_id,
				 .base_point = run->work.base_point,
				 .point = run->work.point,
				 .resume = true};
	pthread_mutex_lock(&c->site_lock);
	if (want.point && site_begin(c->site, &want, &run->point, &e) < 0)
		log_info("run %s is copied; its point is not kept: %s", run->work.run_id, e.text);
	else if (run->point)
		tell_name(run);
	pthread_mutex_unlock(&c->site_lock);
	while (wait_for_word(run))
		; /* a copied run is never asked for again */
	if (run->point)
		return;
	pthread_mutex_lock(&c->site_lock);
	forget_point(run, run->committed ? run->work.base_point : run->work.point);
	pthread_mutex_unlock(&c->site_lock);
}

static void end_point(struct connector_run *run)
{
	struct connector *c = run->c;
	struct err e = {0};
	if (!run->point)
		return;
	for (int i = 0; i < END_TRIES; i++) {
		pthread_mutex_lock(&c->site_lock);
		int r = site_end(c->site, run->point, run->committed, &e);
		pthread_mutex_unlock(&c->site_lock);
		if (r == 0)
			return;
		log_warn("run %s: its point is not ended yet: %s", run->work.run_id, e.text);
		clock_sleep_ms(1000 << i);
	}
	/* The next start sweeps it. */
	log_error("run %s: its point stays behind until the next start: %s", run->work.run_id,
		  e.text);
	site_point_release(run->point);
}

static void leave(struct connector_run *run)
{
	struct connector *c = run->c;
	struct err e;
	pthread_mutex_lock(&c->lock);
	struct door_run released = {.run_id = run->work.run_id, .token = run->work.token};
	connector_say(c, DOOR_RELEASED, &released, &e);
	struct connector_run **p = &c->runs;
	while (*p != run)
		p = &(*p)->next;
	*p = run->next;
	pthread_mutex_unlock(&c->lock);
	free(run->point_name);
	shape_release(&door_work_shape, &run->work);
	shape_release(&door_snapshot_shape, &run->snapshot);
	free(run);
}

static int copy(struct connector_run *run, struct err *e)
{
	enter(run, RUN_VALIDATING);
	if (connector_run_is_over(run) || validate(run, e) < 0)
		return -1;
	enter(run, RUN_SNAPSHOTTING);
	if (connector_run_is_over(run) || take_point(run, e) < 0)
		return -1;
	describe_point(run);
	log_info("run %s: point %s of %s taken, %u disk(s)", run->work.run_id, run->point->point,
		 run->point->machine.name, run->point->disk_count);
	do {
		enter(run, RUN_COPYING);
		if (copy_disks(run, e) < 0)
			return -1;
		enter(run, RUN_COPIED);
	} while (wait_for_word(run));
	return 0;
}

static void *run_thread(void *arg)
{
	struct connector_run *run = arg;
	struct err e = {0};
	if (run->work.copied) {
		hold_copied(run);
	} else if (copy(run, &e) < 0 && e.kind != ERR_NONE && !run->committed) {
		log_warn("run %s: %s", run->work.run_id, e.text);
		run->failure = e;
		/* Undone before it is told, so that nothing is left when the next run begins. */
		end_point(run);
		run->point = NULL;
		enter(run, RUN_BROKEN);
	}
	if (run->committed)
		log_info("run %s: committed", run->work.run_id);
	end_point(run);
	leave(run);
	return NULL;
}

void connector_run_start(struct connector *c, struct door_work *work)
{
	struct connector_run *run = xcalloc(1, sizeof *run);
	pthread_attr_t detached;
	pthread_t thread;
	run->c = c;
	run->work = *work;
	*work = (struct door_work){0};
	run->state = run->work.copied ? RUN_COPIED : RUN_VALIDATING;
	run->next = c->runs;
	c->runs = run;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &detached, run_thread, run) != 0)
		abort();
	pthread_attr_destroy(&detached);
}
