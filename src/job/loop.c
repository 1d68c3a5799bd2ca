// SPDX-License-Identifier: Apache-2.0
#include "job/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "job/collect.h"
#include "job/loop_private.h"
#include "wire/wire.h"

#define PASS_MS		 1000 /* the longest sleep: leases and slots are looked at so often */
#define SETTLE_MS	 3000 /* how often a connector is told again what is over */
#define IMPORT_MS	 120000
#define ROOM_MS		 10000
#define JOBS_PER_PASS	 500
#define FORGETS_PER_PASS 200

/* --- jobs that are due --- */

struct due {
	char *ids[JOBS_PER_PASS];
	unsigned count;
	int64_t now;
};

static int collect_due(void *context, const void *row)
{
	struct due *due = context;
	const struct job_row *job = row;
	if (job->due > due->now || due->count == JOBS_PER_PASS)
		return 1;
	due->ids[due->count++] = xstrdup(job->id);
	return 0;
}

static void tick_jobs(struct loop *l, int64_t now)
{
	struct due *due = xcalloc(1, sizeof *due);
	struct meta_tx *tx;
	struct err e = {0};
	due->now = now;
	struct meta_scan scan = {
	    .index = "due", .after_count = 1, .values = {{.number = 1}}, .inclusive = true};
	if (meta_begin(l->service->meta, false, &tx, &e) == 0) {
		int r = meta_scan(tx, &meta_jobs, &scan, collect_due, due, &e);
		struct err none;
		meta_end(tx, true, &none);
		if (r < 0)
			log_error("loop: cannot read the jobs that are due: %s", e.text);
	}
	for (unsigned i = 0; i < due->count; i++) {
		struct job_event event = {.kind = JOB_TICK};
		if (service_job_event(l->service, due->ids[i], &event, now, NULL, &e) < 0)
			log_error("loop: job %s: %s", due->ids[i], e.text);
		free(due->ids[i]);
	}
	free(due);
}

/* --- leases --- */

struct choice {
	struct loop *l;
	const char *manager_id, *preferred;
	char *id;
};

static int consider(void *context, const void *row)
{
	struct choice *choice = context;
	const struct connector_row *c = row;
	if (c->disassociated || !text_equal(c->manager_id, choice->manager_id) ||
	    !door_connected(choice->l->door, c->id))
		return 0;
	bool best = text_equal(c->id, choice->preferred);
	if (!choice->id || best)
		text_set(&choice->id, c->id);
	return best;
}

/* A connected connector of the server's VM manager, the one that has the base point first. */
static char *choose_connector(struct loop *l, const char *job_id, struct err *e)
{
	struct job_row job = {0};
	struct meta_tx *tx;
	struct err none;
	struct choice choice = {.l = l};
	if (meta_begin(l->service->meta, false, &tx, e) < 0)
		return NULL;
	int r = meta_get(tx, &meta_jobs, job_id, &job, e);
	if (r == 0) {
		choice.manager_id = job.manager_id;
		choice.preferred = job.base_connector_id;
		struct meta_scan all = {0};
		meta_scan(tx, &meta_connectors, &all, consider, &choice, e);
	}
	meta_end(tx, true, &none);
	shape_release(meta_jobs.shape, &job);
	return choice.id;
}

/* Design rule: no new run on a store that is 95 % full or has less than 5 GiB free. Asked at most
 * every ten seconds. */
static bool store_has_room(struct loop *l, int64_t now)
{
	struct store_space space = {0};
	struct err e = {0};
	if (now - l->room_asked < ROOM_MS && now >= l->room_asked)
		return l->room;
	bool had = l->room || !l->room_asked;
	l->room_asked = now;
	if (intake_space(l->intake, &space, &e) < 0) {
		log_warn("loop: the store does not say how full it is: %s", e.text);
		return l->room = false;
	}
	uint64_t used = space.total_bytes - space.free_bytes;
	l->room = space.total_bytes == 0 ||
		  (space.free_bytes >= STORE_NO_NEW_RUN_FREE_BYTES &&
		   used < space.total_bytes / 100 * STORE_NO_NEW_RUN_PERCENT);
	if (!l->room && had) {
		char text[24];
		size_text(space.free_bytes, text);
		log_warn("the store has only %s free: no run is begun until there is room; delete "
			 "images or enlarge the file system",
			 text);
	}
	return l->room;
}

static void lease(struct loop *l, const struct run_row *run, int64_t now)
{
	struct err e = {0};
	if (run->connector_id && run->lease_expires > now)
		return; /* somebody works on it */
	if (run->connector_id && run->lease_expires) {
		struct job_event event = {.kind = RUN_LEASE_LOST};
		log_warn("run %s: connector %s has not been heard for %d s; its lease is over",
			 run->id, run->connector_id, LEASE_MS / 1000);
		if (service_job_event(l->service, run->job_id, &event, now, NULL, &e) < 0)
			log_error("run %s: %s", run->id, e.text);
	}
	if (!store_has_room(l, now))
		return; /* nothing new is begun; what waits goes on by itself */
	char *connector = choose_connector(l, run->job_id, &e);
	if (!connector)
		return; /* it waits; GetConnectors says why */
	if (door_grant(l->door, run->id, connector, now, &e) < 0)
		log_warn("run %s: not given to connector %s: %s", run->id, connector, e.text);
	else
		log_info("run %s: leased to connector %s", run->id, connector);
	free(connector);
}

/* --- a version becomes an image --- */

static int collect_disk(void *context, const void *row)
{
	const struct run_disk_row *disk = row;
	struct image_row *image = context;
	struct image_disk *d = list_push(&image->disks, sizeof *d);
	text_set(&d->key, disk->key);
	text_set(&d->root, disk->root);
	d->size_bytes = disk->size_bytes;
	image->size_bytes += disk->size_bytes;
	image->bytes_new += disk->bytes_new;
	image->bytes_stored += disk->bytes_stored;
	return disk->root ? 0 : 1;
}

/* The image of a run: the same id however often it is made. */
static int describe_image(struct meta_tx *tx, const struct run_row *run, struct image_row *image,
			  int64_t now, struct err *e)
{
	struct job_row job = {0};
	struct machine machine = {0};
	struct name digest;
	char hex[NAME_HEX_BYTES];
	if (meta_get(tx, &meta_jobs, run->job_id, &job, e) < 0)
		return -1;
	name_of(run->id, strlen(run->id), &digest);
	name_hex(&digest, hex);
	text_setf(&image->id, "ami-%.17s", hex);
	text_set(&image->job_id, job.id);
	text_set(&image->server_id, job.server_id);
	text_set(&image->run_id, run->id);
	text_set(&image->name, job.vm_name);
	text_set(&image->state, "available");
	text_set(&image->verdict, verdict_word(VERDICT_NOT_TESTED));
	image->created = now;
	image->sequence = run->sequence;
	bytes_set(&image->machine, run->machine.data, run->machine.len);
	struct meta_scan scan = {.index = "run", .equal_count = 1, .values = {{.text = run->id}}};
	int r = meta_scan(tx, &meta_run_disks, &scan, collect_disk, image, e);
	if (r > 0 || (r == 0 && image->disks.count == 0))
		r = err_set(e, ERR_CORRUPT, "run %s has a disk without a root", run->id);
	if (r == 0)
		r = wire_decode(&machine_shape, run->machine.data, run->machine.len, &machine, e);
	struct image_disk *disks = image->disks.items;
	const struct machine_disk *were = machine.disks.items;
	for (size_t i = 0; i < image->disks.count && r == 0; i++)
		for (size_t k = 0; k < machine.disks.count; k++)
			if (text_equal(were[k].key, disks[i].key))
				text_set(&disks[i].bus, were[k].bus);
	shape_release(meta_jobs.shape, &job);
	shape_release(&machine_shape, &machine);
	return r;
}

static int convert(struct loop *l, const struct run_row *run, int64_t now, struct err *e)
{
	struct image_row image = {0}, there = {0};
	struct meta_tx *tx;
	struct buf ref = {0};
	struct err none;
	char *name = NULL;
	if (meta_begin(l->service->meta, false, &tx, e) < 0)
		return -1;
	int r = describe_image(tx, run, &image, now, e);
	meta_end(tx, true, &none);
	if (r < 0)
		goto out;
	/* The store says "this version exists" before the rows do (store.h, invariant 3). */
	name = xasprintf("image-%s", image.id);
	service_image_ref(&image, &ref);
	r = intake_ref_set(l->intake, name, ref.data, ref.len, e);
	if (r == 0)
		r = meta_begin(l->service->meta, true, &tx, e);
	if (r < 0)
		goto out;
	if (meta_get(tx, &meta_images, image.id, &there, &none) < 0)
		r = meta_put(tx, &meta_images, &image, e);
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	if (r == 0) {
		struct job_event event = {.kind = RUN_IMAGED, .text = image.id};
		r = service_job_event(l->service, run->job_id, &event, now, NULL, e);
	}
	if (r == 0) {
		log_info("run %s: committed as image %s", run->id, image.id);
		door_tell_committed(l->door, run->connector_id, run->id, run->token);
		if (intake_forget(l->intake, run->id, &none) < 0)
			log_warn("run %s: its journal stays behind: %s", run->id, none.text);
	}
out:
	free(name);
	buf_release(&ref);
	shape_release(meta_images.shape, &image);
	shape_release(meta_images.shape, &there);
	return r;
}

/* --- the pass over live runs --- */

struct live_runs {
	struct run_row *items;
	size_t count, cap;
};

static int collect_run(void *context, const void *row)
{
	struct live_runs *runs = context;
	VEC_GROW(runs->items, runs->count, runs->cap);
	shape_copy(meta_runs.shape, &runs->items[runs->count++], row);
	return 0;
}

static int by_stage_since(const void *a, const void *b)
{
	const struct run_row *x = a, *y = b;
	return (x->stage_since > y->stage_since) - (x->stage_since < y->stage_since);
}

static void walk_runs(struct loop *l, int64_t now)
{
	static const char *const states[] = {"PENDING", "ACTIVE"};
	struct live_runs runs = {0};
	struct meta_tx *tx;
	struct err e = {0}, none;
	if (meta_begin(l->service->meta, false, &tx, &e) < 0) {
		log_error("loop: %s", e.text);
		return;
	}
	for (unsigned i = 0; i < COUNT_OF(states); i++) {
		struct meta_scan scan = {
		    .index = "state", .equal_count = 1, .values = {{.text = states[i]}}};
		if (meta_scan(tx, &meta_runs, &scan, collect_run, &runs, &e) < 0)
			log_error("loop: cannot read the live runs: %s", e.text);
	}
	meta_end(tx, true, &none);
	if (runs.count)
		qsort(runs.items, runs.count, sizeof *runs.items, by_stage_since);
	for (size_t i = 0; i < runs.count; i++) {
		struct run_row *run = &runs.items[i];
		enum stage stage = stage_from_word(run->stage ? run->stage : "");
		if (run->stage_since + l->config.hold_stage_ms > now && !stage_table[stage].leased)
			; /* held, so that a test can look */
		else if (stage <= STAGE_UPLOADING)
			lease(l, run, now);
		else if (stage == STAGE_CONVERTING && convert(l, run, now, &e) < 0)
			log_warn("run %s: not made into an image yet: %s", run->id, e.text);
		else if (stage == STAGE_PREPARING)
			boot_queue_offer(l, run);
		shape_release(meta_runs.shape, run);
	}
	free(runs.items);
}

/* --- runs that are over, and whose connector has not let go yet --- */

struct connectors {
	char **ids;
	size_t count, cap;
};

static int collect_connector(void *context, const void *row)
{
	struct connectors *list = context;
	const struct connector_row *c = row;
	if (!c->disassociated) {
		VEC_GROW(list->ids, list->count, list->cap);
		list->ids[list->count++] = xstrdup(c->id);
	}
	return 0;
}

static int collect_forget(void *context, const void *row)
{
	struct list *jobs = context;
	const struct job_row *job = row;
	if (job->base_point)
		shape_copy(meta_jobs.shape, list_push(jobs, sizeof *job), job);
	return jobs->count == FORGETS_PER_PASS;
}

/* Points that jobs which are over leave behind; said again until the connector answers. */
static void settle_points(struct loop *l, const char *connector_id)
{
	static const char *const over[] = {"COMPLETED", "FAILED", "DELETED"};
	struct list jobs = {0};
	struct meta_tx *tx;
	struct err e = {0}, none;
	if (meta_begin(l->service->meta, false, &tx, &e) < 0)
		return;
	for (unsigned i = 0; i < COUNT_OF(over); i++) {
		struct meta_scan scan = {.index = "base",
					 .equal_count = 2,
					 .values = {{.text = connector_id}, {.text = over[i]}}};
		if (meta_scan(tx, &meta_jobs, &scan, collect_forget, &jobs, &e) < 0)
			log_error("loop: cannot read the jobs that are over: %s", e.text);
	}
	meta_end(tx, true, &none);
	struct job_row *job = jobs.items;
	for (size_t i = 0; i < jobs.count; i++) {
		door_tell_forget(l->door, connector_id, job[i].id, job[i].vm_id, job[i].base_point);
		shape_release(meta_jobs.shape, &job[i]);
	}
	free(jobs.items);
}

/* Said again until the connector answers RELEASED, which takes its id off the run. */
static void settle_runs(struct loop *l)
{
	struct connectors list = {0};
	struct live_runs runs = {0};
	struct meta_tx *tx;
	struct err e = {0}, none;
	if (meta_begin(l->service->meta, false, &tx, &e) < 0)
		return;
	struct meta_scan all = {0};
	int r = meta_scan(tx, &meta_connectors, &all, collect_connector, &list, &e);
	for (size_t i = 0; i < list.count && r == 0; i++) {
		struct meta_scan scan = {
		    .index = "connector", .equal_count = 1, .values = {{.text = list.ids[i]}}};
		if (door_connected(l->door, list.ids[i]))
			r = meta_scan(tx, &meta_runs, &scan, collect_run, &runs, &e);
	}
	meta_end(tx, true, &none);
	if (r < 0)
		log_error("loop: cannot read the connectors' runs: %s", e.text);
	for (size_t i = 0; i < runs.count; i++) {
		struct run_row *run = &runs.items[i];
		if (run->ami_id)
			door_tell_committed(l->door, run->connector_id, run->id, run->token);
		else if (strcmp(run->state, "PENDING") != 0 && strcmp(run->state, "ACTIVE") != 0)
			door_tell_cancel(l->door, run->connector_id, run->id, run->token);
		shape_release(meta_runs.shape, run);
	}
	free(runs.items);
	for (size_t i = 0; i < list.count; i++) {
		if (door_connected(l->door, list.ids[i]))
			settle_points(l, list.ids[i]);
		free(list.ids[i]);
	}
	free(list.ids);
}

/* --- what got stuck --- */

/* An import that no connector finishes must not leave the catalog IMPORTING for ever. */
static void end_stuck_import(struct loop *l, int64_t now)
{
	struct catalog catalog = {0};
	struct err e = {0};
	if (service_catalog(l->service, &catalog, &e) < 0 || catalog.state != CATALOG_IMPORTING ||
	    now - catalog.modified < IMPORT_MS)
		return;
	if (service_import_failed(l->service, NULL, 0, "no connector answered in two minutes", now,
				  &e) < 0)
		log_error("loop: %s", e.text);
	else
		log_warn("loop: the catalog import ended: no connector answered in two minutes");
}

/* --- the thread --- */

static void *loop_thread(void *arg)
{
	struct loop *l = arg;
	int64_t settle_at = 0;
	pthread_mutex_lock(&l->lock);
	while (!l->stopping) {
		l->woken = false;
		pthread_mutex_unlock(&l->lock);
		int64_t now = clock_now_ms();
		boot_queue_reap(l);
		tick_jobs(l, now);
		walk_runs(l, now);
		end_stuck_import(l, now);
		if (clock_mono_ms() >= settle_at) {
			settle_runs(l);
			settle_at = clock_mono_ms() + SETTLE_MS;
		}
		collect_pass(l, now);
		pthread_mutex_lock(&l->lock);
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += PASS_MS / 1000;
		while (!l->stopping && !l->woken)
			if (pthread_cond_timedwait(&l->wake, &l->lock, &until) != 0)
				break;
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int loop_start(struct service *service, struct intake *intake, struct door *door,
	       const struct loop_config *config, struct loop **out, struct err *e)
{
	struct loop *l = xcalloc(1, sizeof *l);
	l->service = service;
	l->intake = intake;
	l->door = door;
	l->config = *config;
	if (!l->config.worker_slots) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);
		l->config.worker_slots = cores > 3 ? (unsigned)cores / 2 : 1;
	}
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	if (pthread_create(&l->thread, NULL, loop_thread, l) != 0) {
		free(l);
		return err_set(e, ERR_IO, "cannot start the scheduler's thread");
	}
	*out = l;
	return 0;
}

void loop_wake(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->woken = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

void loop_stop(struct loop *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	/* Boot tests may run for minutes and are done again after a restart: their threads, and with
	 * them *l, live until the process ends, which ends their guests too. */
}
