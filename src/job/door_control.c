// SPDX-License-Identifier: Apache-2.0
/* The control connection of a connector. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "job/door_private.h"
#include "wire/wire.h"

/* --- the control connection --- */

struct control {
	struct connection *c;
	struct service *s;
	/* An inventory that is arriving. */
	int64_t import;
	struct list machines;
	bool retired; /* it was disassociated, and is told so last */
};

static void machines_clear(struct control *k)
{
	struct list *list = &k->machines;
	for (size_t i = 0; i < list->count; i++)
		shape_release(&machine_shape, (struct machine *)list->items + i);
	free(list->items);
	*list = (struct list){0};
}

static int refuse_disassociated(struct control *k, struct err *e)
{
	k->retired = true;
	return err_set(e, ERR_DENIED,
		       "connector %s was disassociated; register it again with a new token",
		       k->c->connector_id);
}

/* Said to one that was ours and is not any more: nothing that bears its name is of use to anyone. */
static void tell_retire(struct connection *c)
{
	struct door_retire message = {.connector_id = c->connector_id};
	struct err e;
	if (door_send(c, DOOR_RETIRE, &message, &e) < 0)
		log_debug("door: retire of %s not sent: %s", c->connector_id, e.text);
}

static int greet(struct control *k, const struct door_hello *hello, struct err *e)
{
	struct connection *c = k->c;
	struct connector_row row = {0};
	struct meta_tx *tx;
	struct err none;
	int64_t now = clock_now_ms();
	if (hello->protocol != DOOR_PROTOCOL)
		return err_set(e, ERR_INVALID,
			       "this service speaks protocol %d, the connector %lld: install the "
			       "same version on both",
			       DOOR_PROTOCOL, (long long)hello->protocol);
	if (meta_begin(k->s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_connectors, c->connector_id, &row, &none);
	if (r < 0)
		r = err_set(e, ERR_DENIED, "connector %s is unknown; register it with a new token",
			    c->connector_id);
	else if (row.disassociated)
		r = refuse_disassociated(k, e);
	if (r == 0) {
		text_set(&row.version, hello->version);
		text_set(&row.capabilities, hello->capabilities);
		text_set(&row.manager_id, hello->manager_id);
		text_set(&row.manager_name, hello->manager_name);
		text_set(&row.manager_type, hello->manager_type);
		text_set(&row.ip, hello->ip);
		text_set(&row.mac, hello->mac);
		text_set(&row.host, hello->host);
		text_set(&row.reason, NULL);
		row.healthy = 1;
		row.last_seen = now;
		r = meta_put(tx, &meta_connectors, &row, e);
	}
	shape_release(meta_connectors.shape, &row);
	return meta_end(tx, r == 0, r == 0 ? e : &none) < 0 ? -1 : r;
}

static int heartbeat(struct control *k, const struct door_heartbeat *beat, struct err *e)
{
	struct connector_row row = {0};
	struct door_runs runs = {0};
	struct meta_tx *tx;
	struct err none;
	int64_t now = clock_now_ms();
	if (meta_begin(k->s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_connectors, k->c->connector_id, &row, e);
	if (r == 0 && row.disassociated)
		r = refuse_disassociated(k, e);
	if (r == 0) {
		row.last_seen = now;
		row.healthy = beat->healthy != 0;
		text_set(&row.reason, beat->healthy ? NULL : beat->reason);
		r = meta_put(tx, &meta_connectors, &row, e);
	}
	if (r == 0)
		r = door_runs_of(tx, k->c->connector_id, &runs, e);
	for (size_t i = 0; i < runs.count && r == 0; i++)
		if (door_run_is_live(&runs.items[i])) {
			runs.items[i].lease_expires = now + LEASE_MS;
			r = meta_put(tx, &meta_runs, &runs.items[i], e);
		}
	door_runs_release(&runs);
	shape_release(meta_connectors.shape, &row);
	return meta_end(tx, r == 0, r == 0 ? e : &none) < 0 ? -1 : r;
}

static int inventory(struct control *k, struct door_inventory *part, struct err *e)
{
	int64_t now = clock_now_ms();
	if (part->import != k->import) {
		machines_clear(k);
		k->import = part->import;
	}
	if (part->refusal)
		return service_import_failed(k->s, k->c->connector_id, part->import, part->refusal,
					     now, e);
	if (k->machines.count + part->machines.count > LIMIT_SERVERS_PER_CONNECTOR) {
		machines_clear(k);
		return service_import_failed(k->s, k->c->connector_id, part->import,
					     "the inventory has more than 20000 servers; use "
					     "several connectors",
					     now, e);
	}
	struct machine *from = part->machines.items;
	for (size_t i = 0; i < part->machines.count; i++) {
		struct machine *to = list_push(&k->machines, sizeof *to);
		*to = from[i]; /* moved */
	}
	part->machines.count = 0;
	if (!part->last)
		return 0;
	int r = service_import_arrived(k->s, k->c->connector_id, part->import, k->machines.items,
				       k->machines.count, now, e);
	machines_clear(k);
	return r;
}

/* The job of a run that this connector holds under this token; ERR_DENIED else. */
static int held_run(struct control *k, const char *run_id, int64_t token, char **job_id,
		    struct err *e)
{
	struct run_row run = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, false, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, run_id ? run_id : "", &run, e);
	if (r == 0 && (!text_equal(run.connector_id, k->c->connector_id) || run.token != token ||
		       !door_run_is_live(&run)))
		r = err_set(e, ERR_DENIED,
			    "run %s is not leased to connector %s under token %lld any more",
			    run_id, k->c->connector_id, (long long)token);
	if (r == 0)
		*job_id = xstrdup(run.job_id);
	shape_release(meta_runs.shape, &run);
	meta_end(tx, true, &none);
	return r;
}

struct disk_ids {
	char **items;
	size_t count, cap;
	int64_t done;
};

static int collect_disk(void *context, const void *row)
{
	struct disk_ids *ids = context;
	const struct run_disk_row *disk = row;
	VEC_GROW(ids->items, ids->count, ids->cap);
	ids->items[ids->count++] = xstrdup(disk->id);
	ids->done += disk->bytes_done;
	return 0;
}

/* What was read of an older point is of no use for a new one. */
static int drop_disks(struct meta_tx *tx, struct run_row *run, struct err *e)
{
	struct disk_ids ids = {0};
	struct meta_scan scan = {.index = "run", .equal_count = 1, .values = {{.text = run->id}}};
	int r = meta_scan(tx, &meta_run_disks, &scan, collect_disk, &ids, e);
	for (size_t i = 0; i < ids.count; i++) {
		if (r == 0)
			r = meta_delete(tx, &meta_run_disks, ids.items[i], e);
		free(ids.items[i]);
	}
	free(ids.items);
	run->bytes_reread += ids.done;
	return r;
}

/* Of each disk that is read in full, as many as there is room for; disks often share one. */
static void note_reason(struct run_row *run, const char *reason)
{
	size_t have = run->read_reason ? strlen(run->read_reason) : 0;
	if (!have)
		text_set(&run->read_reason, reason);
	else if (!strstr(run->read_reason, reason) &&
		 have + 2 + strlen(reason) <= LIMIT_SENTENCE_BYTES)
		text_setf(&run->read_reason, "%s; %s", run->read_reason, reason);
}

/* A new point, or the same found again: the run and its disks get their rows. */
static int note_snapshot(struct control *k, const struct door_snapshot *shot, struct err *e)
{
	struct run_row run = {0};
	struct meta_tx *tx;
	struct err none;
	if (shot->disks.count == 0 || shot->disks.count > LIMIT_DISKS_PER_SERVER || !shot->point)
		return err_set(e, ERR_INVALID, "a point in time has 1 to %d disks",
			       LIMIT_DISKS_PER_SERVER);
	if (meta_begin(k->s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, shot->run_id, &run, e);
	enum stage stage = r == 0 ? stage_from_word(run.stage) : STAGE_COUNT;
	/* From the moment every disk has its root, nothing may take the disks away again. */
	if (r == 0 && (stage == STAGE_COUNT || !stage_table[stage].leased))
		r = err_set(e, ERR_CONFLICT, "run %s is %s and takes no point any more", run.id,
			    run.stage);
	bool same = r == 0 && text_equal(run.point, shot->point);
	const struct door_snapshot_disk *disks = shot->disks.items;
	if (r == 0 && !same)
		r = drop_disks(tx, &run, e);
	run.bytes_total = 0;
	text_set(&run.read_reason, NULL);
	for (size_t i = 0; i < shot->disks.count && r == 0; i++) {
		const struct door_snapshot_disk *d = &disks[i];
		struct run_disk_row row = {0};
		char id[2 * ID_BYTES];
		snprintf(id, sizeof id, "%s.%lld", run.id, (long long)d->number);
		if (meta_get(tx, &meta_run_disks, id, &row, &none) < 0) {
			text_set(&row.id, id);
			text_set(&row.run_id, run.id);
			row.number = d->number;
			text_set(&row.key, d->key);
			row.bytes_total = d->changed_bytes >= 0 ? d->changed_bytes : d->size_bytes;
		}
		row.size_bytes = d->size_bytes;
		if (d->reason)
			note_reason(&run, d->reason);
		run.bytes_total += row.bytes_total;
		r = meta_put(tx, &meta_run_disks, &row, e);
		shape_release(meta_run_disks.shape, &row);
	}
	if (r == 0) {
		text_set(&run.point, shot->point);
		text_set(&run.consistency, shot->consistency);
		run.keeps_point = shot->keeps_point != 0;
		bytes_set(&run.machine, shot->machine.data, shot->machine.len);
		r = meta_put(tx, &meta_runs, &run, e);
	}
	shape_release(meta_runs.shape, &run);
	return meta_end(tx, r == 0, r == 0 ? e : &none) < 0 ? -1 : r;
}

/* COPIED counts only when the intake said of every disk of the run that it is whole. */
static int disk_is_whole(void *context, const void *row)
{
	const struct run_disk_row *disk = row;
	(void)context;
	return disk->root ? 0 : 1;
}

static int roots_missing(struct control *k, const char *run_id, struct err *e)
{
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, false, &tx, e) < 0)
		return -1;
	struct meta_scan scan = {.index = "run", .equal_count = 1, .values = {{.text = run_id}}};
	int r = meta_scan(tx, &meta_run_disks, &scan, disk_is_whole, NULL, e);
	meta_end(tx, true, &none);
	return r;
}

/* Say the work of a run again as the rows have it: under the same token it asks for what the
 * connector takes for copied. */
static int ask_again(struct control *k, const char *run_id, struct err *e)
{
	struct door_work work = {0};
	struct run_row run = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, false, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, run_id, &run, e);
	if (r == 0)
		r = door_describe(tx, &run, &work, e);
	meta_end(tx, true, &none);
	if (r == 0)
		r = door_send(k->c, DOOR_WORK, &work, e);
	shape_release(&door_work_shape, &work);
	shape_release(meta_runs.shape, &run);
	return r;
}

static int check_copied(struct control *k, const char *run_id, struct err *e)
{
	int r = roots_missing(k, run_id, e);
	if (r <= 0)
		return r;
	/* The intake's word may still be on its way; or it went with a process that died. */
	if (intake_settle(k->c->door->intake, e) == 0)
		r = roots_missing(k, run_id, e);
	if (r > 0 && ask_again(k, run_id, e) == 0)
		return err_set(e, ERR_CONFLICT, "run %s has a disk without a root", run_id);
	return r == 0 ? 0 : -1;
}

/* Whether this run of this connector became an image: then its point is the base of the next run
 * and must not be undone. */
static bool is_committed(struct control *k, const char *run_id)
{
	struct run_row run = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, false, &tx, &none) < 0)
		return true; /* undoing is what cannot be taken back */
	bool is = meta_get(tx, &meta_runs, run_id ? run_id : "", &run, &none) == 0 && run.ami_id &&
		  text_equal(run.connector_id, k->c->connector_id);
	shape_release(meta_runs.shape, &run);
	meta_end(tx, true, &none);
	return is;
}

/* Nothing of a run is left at the connector: it need not be told of it any more. */
static int released(struct control *k, const struct door_run *message, struct err *e)
{
	struct run_row run = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, message->run_id ? message->run_id : "", &run, &none);
	bool ours = r == 0 && text_equal(run.connector_id, k->c->connector_id) &&
		    !door_run_is_live(&run);
	r = 0;
	if (ours) {
		text_set(&run.connector_id, NULL);
		r = meta_put(tx, &meta_runs, &run, e);
		log_info("connector %s released run %s", k->c->connector_id, run.id);
	}
	shape_release(meta_runs.shape, &run);
	return meta_end(tx, r == 0, r == 0 ? e : &none) < 0 ? -1 : r;
}

/* The point is gone: nobody needs to be told again. */
static int forgotten(struct control *k, const struct door_forget *message, struct err *e)
{
	struct job_row job = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(k->s->meta, true, &tx, e) < 0)
		return -1;
	int r = 0;
	if (meta_get(tx, &meta_jobs, message->job_id ? message->job_id : "", &job, &none) == 0 &&
	    job.base_point && text_equal(job.base_point, message->point) &&
	    text_equal(job.base_connector_id, k->c->connector_id) && job_is_over(&job)) {
		log_info("connector %s removed point %s of job %s", k->c->connector_id,
			 job.base_point, job.id);
		text_set(&job.base_point, NULL);
		text_set(&job.base_connector_id, NULL);
		r = meta_put(tx, &meta_jobs, &job, e);
	}
	shape_release(meta_jobs.shape, &job);
	return meta_end(tx, r == 0, r == 0 ? e : &none) < 0 ? -1 : r;
}

/* What a connector says of a run. A stale word (an older lease) is answered with CANCEL and
 * otherwise ignored: the connector may not have heard yet. */
static int about_run(struct control *k, uint16_t type, const char *run_id, int64_t token,
		     const void *message, struct err *e)
{
	char *job_id = NULL;
	struct job_event event = {0};
	int64_t now = clock_now_ms();
	int r = held_run(k, run_id, token, &job_id, e);
	if (r < 0)
		goto refused;
	if (type == DOOR_STAGE) {
		event.kind = RUN_STAGE;
		event.stage = stage_from_word(((const struct door_stage *)message)->stage);
		if (event.stage > STAGE_UPLOADING || event.stage == STAGE_SCHEDULED)
			r = err_set(e, ERR_INVALID, "a connector cannot put a run into that stage");
	} else if (type == DOOR_SNAPSHOT) {
		event.kind = RUN_SNAPSHOT;
		r = note_snapshot(k, message, e);
	} else if (type == DOOR_COPIED) {
		event.kind = RUN_COPIED;
		r = check_copied(k, run_id, e);
	} else {
		const struct door_failed *failed = message;
		event.kind = RUN_FAILED;
		event.error = err_kind_from_word(failed->kind ? failed->kind : "io");
		event.text = failed->text ? failed->text : "the connector gave no reason";
	}
	if (r == 0)
		r = service_job_event(k->s, job_id, &event, now, NULL, e);
	free(job_id);
	if (r == 0)
		return 0;
refused:
	log_warn("door: %s from %s about run %s: %s", door_word(type), k->c->connector_id,
		 run_id ? run_id : "?", e->text);
	if (e->kind == ERR_DENIED || e->kind == ERR_NOT_FOUND) {
		struct door_run over = {.run_id = (char *)run_id, .token = token};
		uint16_t word = is_committed(k, run_id) ? DOOR_COMMITTED : DOOR_CANCEL;
		*e = (struct err){0}; /* said above; the connection is well */
		return door_send(k->c, word, &over, e);
	}
	if (e->kind != ERR_CONFLICT && e->kind != ERR_INVALID)
		return -1;
	*e = (struct err){0};
	return 0;
}

static int hear(struct control *k, uint16_t type, const struct buf *body, struct err *e)
{
	const struct shape *shape = door_shape(type);
	union {
		struct door_heartbeat heartbeat;
		struct door_inventory inventory;
		struct door_stage stage;
		struct door_snapshot snapshot;
		struct door_run run;
		struct door_forget forget;
		struct door_failed failed;
	} m;
	if (type != DOOR_HEARTBEAT && type != DOOR_INVENTORY && type != DOOR_STAGE &&
	    type != DOOR_SNAPSHOT && type != DOOR_COPIED && type != DOOR_FAILED &&
	    type != DOOR_RELEASED && type != DOOR_FORGOTTEN)
		return err_set(e, ERR_INVALID, "a connector does not say %s here", door_word(type));
	if (wire_decode(shape, body->data, body->len, &m, e) < 0)
		return -1;
	int r = 0;
	switch (type) {
	case DOOR_HEARTBEAT: r = heartbeat(k, &m.heartbeat, e); break;
	case DOOR_INVENTORY: r = inventory(k, &m.inventory, e); break;
	case DOOR_STAGE: r = about_run(k, type, m.stage.run_id, m.stage.token, &m, e); break;
	case DOOR_SNAPSHOT:
		r = about_run(k, type, m.snapshot.run_id, m.snapshot.token, &m, e);
		break;
	case DOOR_COPIED: r = about_run(k, type, m.run.run_id, m.run.token, &m, e); break;
	case DOOR_FAILED: r = about_run(k, type, m.failed.run_id, m.failed.token, &m, e); break;
	case DOOR_FORGOTTEN: r = forgotten(k, &m.forget, e); break;
	default: r = released(k, &m.run, e); break;
	}
	shape_release(shape, &m);
	return r;
}

int door_control(struct connection *c, const struct buf *body, struct err *e)
{
	struct control k = {.c = c, .s = c->door->service};
	struct door_hello hello = {0};
	struct buf frame = {0};
	uint16_t type;
	if (!c->connector_id)
		return err_set(e, ERR_DENIED,
			       "a control connection needs the connector's certificate");
	if (wire_decode(&door_hello_shape, body->data, body->len, &hello, e) < 0)
		return -1;
	int r = greet(&k, &hello, e);
	shape_release(&door_hello_shape, &hello);
	stream_set_timeout(c->stream, UNHEALTHY_AFTER_MS);
	if (r == 0)
		r = door_welcome(c, e);
	if (r == 0) {
		c->control = true;
		door_link(c);
		log_info("connector %s is connected", c->connector_id);
		if (k.s->wake)
			k.s->wake(k.s->wake_context);
	}
	while (r == 0) {
		int got = frame_read(c->stream, &type, &frame, e);
		if (got <= 0) {
			r = got;
			break;
		}
		r = hear(&k, type, &frame, e);
		if (type != DOOR_HEARTBEAT && k.s->wake)
			k.s->wake(k.s->wake_context);
	}
	if (k.retired)
		tell_retire(c);
	log_info("connector %s is gone", c->connector_id);
	buf_release(&frame);
	machines_clear(&k);
	return r;
}
