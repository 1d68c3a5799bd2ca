// SPDX-License-Identifier: Apache-2.0
/* What a connector holds: leases, and the points that must stay in the hypervisor. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "job/door_private.h"
#include "wire/wire.h"

/* One WELCOME: well below LIMIT_FRAME_BYTES, and the bounds of its lists. */
#define WELCOME_BYTES  (512 * KIB)
#define WELCOME_HELD   1000
#define WELCOME_POINTS 10000

static int collect_run(void *context, const void *row)
{
	struct door_runs *list = context;
	VEC_GROW(list->items, list->count, list->cap);
	shape_copy(meta_runs.shape, &list->items[list->count++], row);
	return 0;
}

void door_runs_release(struct door_runs *list)
{
	for (size_t i = 0; i < list->count; i++)
		shape_release(meta_runs.shape, &list->items[i]);
	free(list->items);
}

int door_runs_of(struct meta_tx *tx, const char *connector_id, struct door_runs *list,
		 struct err *e)
{
	struct meta_scan scan = {
	    .index = "connector", .equal_count = 1, .values = {{.text = connector_id}}};
	return meta_scan(tx, &meta_runs, &scan, collect_run, list, e);
}

bool door_run_is_live(const struct run_row *run)
{
	return strcmp(run->state, "PENDING") == 0 || strcmp(run->state, "ACTIVE") == 0;
}

int door_describe(struct meta_tx *tx, const struct run_row *run, struct door_work *work,
		  struct err *e)
{
	struct job_row job = {0};
	struct image_row base = {0};
	struct err none;
	if (meta_get(tx, &meta_jobs, run->job_id, &job, e) < 0)
		return -1;
	text_set(&work->run_id, run->id);
	text_set(&work->job_id, job.id);
	work->token = run->token;
	text_set(&work->vm_id, job.vm_id);
	text_set(&work->point, run->point);
	work->copied = text_equal(run->stage, stage_table[STAGE_CONVERTING].word);
	/* Only the connector that took the base point can find it again. */
	if (text_equal(job.base_connector_id, run->connector_id))
		text_set(&work->base_point, job.base_point);
	if (job.base_image_id && meta_get(tx, &meta_images, job.base_image_id, &base, &none) == 0) {
		const struct image_disk *disks = base.disks.items;
		for (size_t i = 0; i < base.disks.count && i < LIMIT_DISKS_PER_SERVER; i++) {
			struct door_base *b = list_push(&work->bases, sizeof *b);
			struct name root;
			text_set(&b->key, disks[i].key);
			b->number = (int64_t)i;
			b->size_bytes = disks[i].size_bytes;
			if (disks[i].root && name_parse(disks[i].root, &root))
				bytes_set(&b->root, root.bytes, NAME_BYTES);
		}
	}
	shape_release(meta_jobs.shape, &job);
	shape_release(meta_images.shape, &base);
	return 0;
}

int door_lease(struct door *d, const char *run_id, const char *connector_id, int64_t now,
	       struct door_work *work, struct err *e)
{
	struct meta_tx *tx;
	struct run_row run = {0};
	struct err none;
	if (meta_begin(d->service->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, run_id, &run, e);
	if (r == 0 && !door_run_is_live(&run))
		r = err_set(e, ERR_CONFLICT, "run %s is over", run_id);
	if (r == 0) {
		run.token++;
		run.lease_expires = now + LEASE_MS;
		text_set(&run.connector_id, connector_id);
		r = meta_put(tx, &meta_runs, &run, e);
	}
	if (r == 0)
		r = door_describe(tx, &run, work, e);
	shape_release(meta_runs.shape, &run);
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	if (r < 0)
		shape_release(&door_work_shape, work);
	return r;
}

/* --- WELCOME --- */

static int collect_point(void *context, const void *row)
{
	const struct job_row *job = row;
	if (job->base_point) {
		struct door_point *p = list_push(context, sizeof *p);
		text_set(&p->vm_id, job->vm_id);
		text_set(&p->point, job->base_point);
	}
	return 0;
}

/* The points that the next runs of live jobs begin at. */
static int collect_points(struct meta_tx *tx, const char *connector_id, struct list *points,
			  struct err *e)
{
	static const char *const live[] = {"PENDING", "ACTIVE", "PAUSED_ON_FAILURE"};
	int r = 0;
	for (unsigned i = 0; i < COUNT_OF(live) && r == 0; i++) {
		struct meta_scan scan = {.index = "base",
					 .equal_count = 2,
					 .values = {{.text = connector_id}, {.text = live[i]}}};
		r = meta_scan(tx, &meta_jobs, &scan, collect_point, points, e);
	}
	return r;
}

static int collect_held(struct meta_tx *tx, const char *connector_id, struct list *held,
			struct err *e)
{
	struct door_runs runs = {0};
	int64_t now = clock_now_ms();
	int r = door_runs_of(tx, connector_id, &runs, e);
	for (size_t i = 0; i < runs.count && r == 0; i++) {
		struct run_row *run = &runs.items[i];
		enum stage stage = stage_from_word(run->stage);
		if (!door_run_is_live(run) || stage > STAGE_CONVERTING)
			continue;
		if (stage <= STAGE_UPLOADING) {
			run->lease_expires = now + LEASE_MS;
			r = meta_put(tx, &meta_runs, run, e);
		}
		if (r == 0)
			r = door_describe(tx, run, list_push(held, sizeof(struct door_work)), e);
	}
	door_runs_release(&runs);
	return r;
}

/* Put into `part` as many items of `all` from *at on as there is room for. */
static int fill(const struct shape *shape, const struct list *all, size_t *at, size_t most,
		size_t *room, struct list *part, struct err *e)
{
	struct buf body = {0};
	int r = 0;
	part->items = (char *)all->items + *at * shape->size;
	part->count = 0;
	while (*at < all->count && part->count < most) {
		const void *item = (char *)all->items + *at * shape->size;
		r = wire_check(shape, item, e);
		if (r < 0)
			break;
		buf_clear(&body);
		wire_encode(shape, item, &body);
		if (body.len > *room)
			break;
		*room -= body.len;
		part->count++;
		++*at;
	}
	buf_release(&body);
	return r;
}

static int send_parts(struct connection *c, const struct list *held, const struct list *points,
		      struct err *e)
{
	size_t held_at = 0, points_at = 0;
	int r = 0;
	for (bool last = false; r == 0 && !last;) {
		struct door_welcome part = {.connector_id = c->connector_id,
					    .heartbeat_ms = HEARTBEAT_MS};
		size_t room = WELCOME_BYTES;
		r = fill(&door_work_shape, held, &held_at, WELCOME_HELD, &room, &part.held, e);
		if (r == 0)
			r = fill(&door_point_shape, points, &points_at, WELCOME_POINTS, &room,
				 &part.points, e);
		last = held_at == held->count && points_at == points->count;
		part.last = last;
		if (r == 0)
			r = door_send(c, DOOR_WELCOME, &part, e);
	}
	return r;
}

int door_welcome(struct connection *c, struct err *e)
{
	struct door_welcome all = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(c->door->service->meta, true, &tx, e) < 0)
		return -1;
	int r = collect_points(tx, c->connector_id, &all.points, e);
	if (r == 0)
		r = collect_held(tx, c->connector_id, &all.held, e);
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	if (r == 0)
		r = send_parts(c, &all.held, &all.points, e);
	shape_release(&door_welcome_shape, &all);
	return r;
}
