// SPDX-License-Identifier: Apache-2.0
/* Streams: checked here, then relayed as bytes to the intake, which trusts nothing in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "job/door_private.h"
#include "job/overlay.h"
#include "wire/wire.h"

#define RELAY_BYTES (256u << 10)

/* What the rows say about a stream that a connector wants to open. */
static int check(struct connection *c, const struct door_stream *want, struct intake_job *job,
		 struct err *e)
{
	struct service *s = c->door->service;
	struct meta_tx *tx;
	struct run_row run = {0};
	struct job_row job_row = {0};
	struct image_row base = {0};
	struct run_disk_row disk = {0};
	char id[2 * ID_BYTES];
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, want->run_id ? want->run_id : "", &run, e);
	if (r == 0 && (!text_equal(run.connector_id, c->connector_id) || run.token != want->token))
		r = err_set(e, ERR_DENIED,
			    "run %s is not leased to connector %s under token %lld any more",
			    want->run_id, c->connector_id, (long long)want->token);
	if (r == 0 &&
	    (strcmp(run.state, "ACTIVE") != 0 || !run.point || !text_equal(run.point, want->point)))
		r = err_set(e, ERR_CONFLICT, "run %s does not copy from point '%.100s'",
			    want->run_id, want->point ? want->point : "");
	if (r == 0) {
		snprintf(id, sizeof id, "%s.%lld", run.id, (long long)want->number);
		r = meta_get(tx, &meta_run_disks, id, &disk, e);
	}
	if (r == 0 && disk.size_bytes != want->size_bytes)
		r = err_set(e, ERR_INVALID, "disk %lld of run %s has %lld bytes, not %lld",
			    (long long)want->number, run.id, (long long)disk.size_bytes,
			    (long long)want->size_bytes);
	if (r == 0)
		r = meta_get(tx, &meta_jobs, run.job_id, &job_row, e);
	struct err none;
	if (r == 0 && job_row.base_image_id &&
	    meta_get(tx, &meta_images, job_row.base_image_id, &base, &none) == 0) {
		const struct image_disk *d = base.disks.items;
		for (size_t i = 0; i < base.disks.count; i++) {
			struct name root;
			if (text_equal(d[i].key, disk.key) && name_parse(d[i].root, &root))
				bytes_set(&job->base_root, root.bytes, NAME_BYTES);
		}
	}
	if (r == 0) {
		/* The notes about the stream bring its id back, and with it the point. */
		char unique[ID_BYTES];
		id_make(unique, "", 16);
		text_setf(&job->stream_id, "%s:%s", unique, want->point);
		text_set(&job->group, c->connector_id);
		text_set(&job->run_id, run.id);
		text_set(&job->point, want->point);
		job->number = want->number;
		job->size_bytes = want->size_bytes;
	}
	shape_release(meta_runs.shape, &run);
	shape_release(meta_jobs.shape, &job_row);
	shape_release(meta_images.shape, &base);
	shape_release(meta_run_disks.shape, &disk);
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	return r;
}

struct pump {
	struct stream *from, *to;
};

/* Bytes one way until either side is over; then both are. */
static void *pump_thread(void *arg)
{
	struct pump *p = arg;
	struct err e;
	uint8_t *piece = xmalloc(RELAY_BYTES);
	int n;
	while ((n = stream_read_some(p->from, piece, RELAY_BYTES, &e)) > 0)
		if (stream_write(p->to, piece, (size_t)n, &e) < 0)
			break;
	stream_shutdown(p->to);
	stream_shutdown(p->from);
	free(piece);
	return NULL;
}

int door_stream(struct connection *c, const struct buf *body, struct err *e)
{
	struct door_stream want = {0};
	struct intake_job job = {0};
	struct stream *inner = NULL;
	int pair[2] = {-1, -1};
	int r = -1;
	if (!c->connector_id)
		return err_set(e, ERR_DENIED, "a stream needs the connector's certificate");
	if (wire_decode(&door_stream_shape, body->data, body->len, &want, e) < 0)
		return -1;
	if (check(c, &want, &job, e) < 0)
		goto out;
	c->run_id = xstrdup(want.run_id);
	door_link(c);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		err_set(e, ERR_IO, "cannot make a socket pair for a stream");
		goto out;
	}
	inner = stream_of_fd(pair[0]);
	r = intake_stream(c->door->intake, &job, pair[1], e);
	if (r < 0)
		goto out;
	/* A copy may be silent while it reads a long unchanged stretch, so only the lease ends it. */
	stream_set_timeout(c->stream, LEASE_MS);
	stream_set_timeout(inner, 0);
	struct pump up = {c->stream, inner}, down = {inner, c->stream};
	pthread_t thread;
	if (pthread_create(&thread, NULL, pump_thread, &down) != 0) {
		r = err_set(e, ERR_IO, "cannot start a thread for a stream");
		goto out;
	}
	pump_thread(&up);
	pthread_join(thread, NULL);
	r = 0;
out:
	if (inner)
		stream_close(inner);
	shape_release(&door_stream_shape, &want);
	shape_release(&intake_job_shape, &job);
	return r;
}

/* The run's counters are the sums of its disks'. */
static int add_disk(void *context, const void *row)
{
	struct run_row *run = context;
	const struct run_disk_row *disk = row;
	run->bytes_total += disk->bytes_total;
	run->bytes_done += disk->bytes_done;
	run->bytes_read += disk->bytes_read;
	run->bytes_new += disk->bytes_new;
	run->bytes_sent += disk->bytes_sent;
	run->bytes_stored += disk->bytes_stored;
	run->chunks += disk->chunks;
	run->chunks_new += disk->chunks_new;
	return 0;
}

static int sum_run(struct meta_tx *tx, const char *run_id, int64_t lost, struct err *e)
{
	struct run_row run = {0};
	struct meta_scan scan = {.index = "run", .equal_count = 1, .values = {{.text = run_id}}};
	int r = meta_get(tx, &meta_runs, run_id, &run, e);
	if (r < 0)
		return -1;
	run.bytes_total = run.bytes_done = run.bytes_read = run.bytes_new = 0;
	run.bytes_sent = run.bytes_stored = run.chunks = run.chunks_new = 0;
	run.bytes_reread += lost;
	r = meta_scan(tx, &meta_run_disks, &scan, add_disk, &run, e);
	if (r == 0 && run.bytes_total > 0 && text_equal(run.stage, "Uploading"))
		text_setf(&run.stage_progress, "%lld%%",
			  (long long)(100.0 * (double)run.bytes_done / (double)run.bytes_total));
	if (r == 0)
		r = meta_put(tx, &meta_runs, &run, e);
	shape_release(meta_runs.shape, &run);
	return r;
}

/* The run may have taken another point since the stream was opened: then it tells of nothing. */
static int check_point(struct meta_tx *tx, const struct intake_note *note, struct err *e)
{
	struct run_row run = {0};
	const char *point = strchr(note->stream_id, ':');
	int r = meta_get(tx, &meta_runs, note->run_id, &run, e);
	if (r == 0 && !(point && text_equal(run.point, point + 1)))
		r = err_set(e, ERR_CONFLICT, "run %s copies from another point now", run.id);
	shape_release(meta_runs.shape, &run);
	return r;
}

static void note_progress(struct service *s, const struct intake_note *note, struct err *e)
{
	struct meta_tx *tx;
	struct run_disk_row disk = {0};
	char id[2 * ID_BYTES];
	int64_t lost = 0;
	snprintf(id, sizeof id, "%s.%lld", note->run_id, (long long)note->number);
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return;
	int r = check_point(tx, note, e);
	if (r == 0)
		r = meta_get(tx, &meta_run_disks, id, &disk, e);
	if (r == 0) {
		/* A new stream begins with what is durable, as soon as it knows how much there is:
		 * what the one before had done beyond that is read again. */
		if (note->bytes_total > 0 || disk.bytes_done == 0) {
			if (note->bytes_done < disk.bytes_done)
				lost = disk.bytes_done - note->bytes_done;
			disk.bytes_total = note->bytes_total;
			disk.bytes_done = note->bytes_done;
		}
		disk.bytes_read = note->bytes_read;
		disk.bytes_new = note->bytes_new;
		disk.bytes_sent = note->bytes_sent;
		disk.chunks = note->chunks;
		disk.chunks_new = note->chunks_new;
		r = meta_put(tx, &meta_run_disks, &disk, e);
	}
	if (r == 0)
		r = sum_run(tx, note->run_id, lost, e);
	shape_release(meta_run_disks.shape, &disk);
	struct err none;
	meta_end(tx, r == 0, r == 0 ? e : &none);
}

static void note_finished(struct service *s, const struct intake_note *note, struct err *e)
{
	struct meta_tx *tx;
	struct run_disk_row disk = {0};
	char id[2 * ID_BYTES], hex[NAME_HEX_BYTES];
	struct name root;
	if (note->root.len != NAME_BYTES)
		return (void)err_set(e, ERR_INVALID, "a finished stream has a root of 32 bytes");
	memcpy(root.bytes, note->root.data, NAME_BYTES);
	name_hex(&root, hex);
	snprintf(id, sizeof id, "%s.%lld", note->run_id, (long long)note->number);
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return;
	int r = check_point(tx, note, e);
	if (r == 0)
		r = meta_get(tx, &meta_run_disks, id, &disk, e);
	if (r == 0) {
		text_set(&disk.root, hex);
		disk.bytes_stored += note->bytes_stored;
		r = meta_put(tx, &meta_run_disks, &disk, e);
	}
	if (r == 0)
		r = sum_run(tx, note->run_id, 0, e);
	shape_release(meta_run_disks.shape, &disk);
	struct err none;
	meta_end(tx, r == 0, r == 0 ? e : &none);
}

void door_note(void *service, enum intake_type type, const struct intake_note *note)
{
	struct err e = {0};
	if (overlay_commit_note(((struct service *)service)->commits, type, note))
		return;
	if (type == INTAKE_PROGRESS)
		note_progress(service, note, &e);
	else if (type == INTAKE_FINISHED)
		note_finished(service, note, &e);
	else if (note->kind)
		log_warn("intake: disk %lld of run %s: %s", (long long)note->number, note->run_id,
			 note->text ? note->text : note->kind);
	if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
		log_warn("intake: disk %lld of run %s: %s", (long long)note->number, note->run_id,
			 e.text);
}
