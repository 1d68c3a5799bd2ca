// SPDX-License-Identifier: Apache-2.0
/*
 * The scratch space of a backup job. While the job runs, QEMU copies what the guest overwrites there
 * before the guest's write goes on; when it cannot, it fails the guest's write. (Backup jobs of QEMU
 * do not offer on-cbw-error.) So a thread looks at the files many times a second and ends the job in
 * time, whatever else the connector is busy with.
 *
 * When a burst of writes was quicker: a machine without an error policy of its own is paused by QEMU
 * at "no space left", its write not failed but held back. libvirt_job_abort lets it go on.
 */
#include "site/libvirt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"

#define LOOK_EVERY_MS 50
#define AGAIN_MS      1000 /* after an attempt to end the job that failed */

struct libvirt_watch {
	pthread_t thread;
	pthread_mutex_t lock; /* held while the job is being ended */
	pthread_cond_t wake;
	bool stop, low, ended;
	uint64_t used_bytes, free_bytes; /* when it ran low */
	uint64_t budget_bytes;
	/* Copies: a point may be released after its site. */
	char *uri, *vm_id, *dir;
	char **files;
	unsigned file_count;
};

static uint64_t disks_total(const struct site_point *p)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < p->disk_count; i++)
		total += p->disks[i].size_bytes;
	return total;
}

static uint64_t budget_of(const struct site_point *p)
{
	return disks_total(p) / 100 * SCRATCH_NEEDED_PERCENT;
}

int libvirt_scratch_check(const struct libvirt_site *s, const struct site_point *p, struct err *e)
{
	uint64_t budget = budget_of(p), free_bytes, all;
	char needed[24], have[24];
	if (file_space(s->scratch_dir, &free_bytes, &all, e) < 0)
		return -1;
	if (free_bytes >= budget)
		return 0;
	size_text(budget, needed);
	size_text(free_bytes, have);
	return err_set(e, ERR_FULL,
		       "%s has %s free, but %s (%d %% of the disks) are needed to hold what %.100s "
		       "writes during the copy; make room there",
		       s->scratch_dir, have, needed, SCRATCH_NEEDED_PERCENT, p->machine.name);
}

static uint64_t used_bytes(const struct libvirt_watch *w)
{
	uint64_t used = 0;
	struct stat st;
	for (unsigned i = 0; i < w->file_count; i++)
		if (stat(w->files[i], &st) == 0)
			used += (uint64_t)st.st_blocks * 512;
	return used;
}

static bool is_low(struct libvirt_watch *w)
{
	uint64_t all;
	w->used_bytes = used_bytes(w);
	if (file_space(w->dir, &w->free_bytes, &all, NULL) < 0)
		return false; /* poll tells */
	return w->used_bytes > w->budget_bytes / 100 * SCRATCH_ABORT_PERCENT ||
	       w->free_bytes < w->budget_bytes / 100 * (100 - SCRATCH_ABORT_PERCENT);
}

/* Through a connection of its own: the site's may be dead, or busy. */
static bool job_end(const struct libvirt_watch *w)
{
	virConnectPtr c = virConnectOpen(w->uri);
	virDomainPtr domain = c ? virDomainLookupByUUIDString(c, w->vm_id) : NULL;
	bool ended = domain && libvirt_job_end(domain, w->dir, NULL) == 0;
	if (domain)
		virDomainFree(domain);
	if (c)
		virConnectClose(c);
	return ended;
}

static void wait_ms(struct libvirt_watch *w, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

static void *watch(void *context)
{
	struct libvirt_watch *w = context;
	libvirt_errors_quiet();
	pthread_mutex_lock(&w->lock);
	while (!w->stop && !w->ended) {
		if (!w->low)
			w->low = is_low(w);
		if (w->low)
			w->ended = job_end(w);
		if (!w->stop && !w->ended)
			wait_ms(w, w->low ? AGAIN_MS : LOOK_EVERY_MS);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

void libvirt_scratch_watch(const struct libvirt_site *s, struct site_point *p)
{
	struct libvirt_point *state = p->state;
	struct libvirt_watch *w = xcalloc(1, sizeof *w);
	w->budget_bytes = budget_of(p);
	w->uri = xstrdup(s->uri);
	w->vm_id = xstrdup(p->vm_id);
	w->dir = xstrdup(state->dir);
	w->file_count = p->disk_count;
	w->files = xcalloc(p->disk_count, sizeof *w->files);
	for (unsigned i = 0; i < p->disk_count; i++)
		w->files[i] = xasprintf("%s/scratch.%s", state->dir, p->disks[i].key);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	state->watch = w;
	if (pthread_create(&w->thread, NULL, watch, w) != 0)
		abort();
}

void libvirt_scratch_unwatch(struct libvirt_point *state)
{
	struct libvirt_watch *w = state->watch;
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	for (unsigned i = 0; i < w->file_count; i++)
		free(w->files[i]);
	free(w->files);
	free(w->uri);
	free(w->vm_id);
	free(w->dir);
	free(w);
	state->watch = NULL;
}

int libvirt_scratch_poll(const struct libvirt_site *s, const struct site_point *p, struct err *e)
{
	const struct libvirt_point *state = p->state;
	struct libvirt_watch *w = state->watch;
	char used[24], have[24], budget[24];
	if (!w)
		return 0;
	pthread_mutex_lock(&w->lock);
	bool low = w->low, ended = w->ended;
	size_text(w->used_bytes, used);
	size_text(w->free_bytes, have);
	size_text(w->budget_bytes, budget);
	pthread_mutex_unlock(&w->lock);
	if (!low)
		return 0;
	if (!ended)
		return err_set(
		    e, ERR_FULL,
		    "the scratch space of %.100s in %s ran low, and its backup job cannot "
		    "be ended; end it with \"virsh domjobabort\"",
		    p->machine.name, s->scratch_dir);
	return err_set(
	    e, ERR_FULL,
	    "%.100s wrote so much during the copy that its scratch space in %s ran low (%s of %s "
	    "used, %s free); the copy was given up, the machine is unharmed",
	    p->machine.name, s->scratch_dir, used, budget, have);
}
