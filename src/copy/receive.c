// SPDX-License-Identifier: Apache-2.0
/* The receiving half of a copy: invariants in copy.h. */
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "copy/receive.h"
#include "store/roots.h"
#include "wire/wire.h"

#define JOURNAL_WAIT_MS 5000 /* for an earlier stream of the disk to notice that it is over */
#define LINGER_MS	1000
#define DURABLE_IN_ONE	8192

/* --- beginning --- */

static uint64_t regions_most(uint64_t size)
{
	return size / REGION_BYTES + LAYOUT_MAX_SEGMENTS + 1;
}

static void take_record(void *context, uint64_t region, const struct name *page)
{
	struct receiver *r = context;
	uint8_t have = 1;

	/* Collected meanwhile: then it has to come again. */
	if (!name_is_zero(page) && store_has(r->store, NULL, page, 1, &have, NULL))
		have = 0;
	if (!have)
		return;
	r->pages[region] = *page;
	r->done[region / 8] |= 1u << region % 8;
}

static int open_base(struct receiver *r, struct err *e)
{
	struct buf plain = {0};
	int result = -1;

	if (name_is_zero(&r->job->base_root))
		return 0;
	if (store_get(r->store, &r->job->base_root, &plain, e) ||
	    disk_root_decode(plain.data, plain.len, &r->base, e)) {
		err_prefix(e, "the version this disk grew from cannot be read");
		goto out;
	}
	r->has_base = true;
	result = 0;
out:
	buf_release(&plain);
	return result;
}

static void starts_encode(const struct layout *layout, struct bytes *out)
{
	uint64_t starts[LAYOUT_MAX_SEGMENTS];

	for (uint32_t i = 1; i < layout->segment_count; i++)
		starts[i - 1] = htole64(layout->segments[i].start);
	bytes_set(out, starts, (layout->segment_count - 1) * sizeof *starts);
}

static int send_ready(struct receiver *r, struct err *e)
{
	struct door_ready ready = {.has_base = r->has_base};
	int result;

	if (r->has_base) {
		ready.base_size_bytes = (int64_t)r->base.layout.size;
		starts_encode(&r->base.layout, &ready.base_starts);
	}
	if (r->journal.started)
		bytes_set(&ready.done, r->done, (layout_regions(&r->journal.layout) + 7) / 8);
	result = frame_write(r->from, DOOR_READY, &door_ready_shape, &ready, e);
	shape_release(&door_ready_shape, &ready);
	return result;
}

static int begin(struct receiver *r, struct err *e)
{
	const struct copy_intake *job = r->job;

	if (job->size_bytes < LIMIT_DISK_MIN_BYTES || job->size_bytes > LIMIT_DISK_MAX_BYTES)
		return err_set(e, ERR_INVALID, "a disk has from 512 bytes to 64 TiB, not %" PRIu64,
			       job->size_bytes);
	r->pages = xcalloc(regions_most(job->size_bytes), sizeof *r->pages);
	r->done = xcalloc(1, regions_most(job->size_bytes) / 8 + 1);
	r->branch = UINT32_MAX;
	flight_pages(&r->flight, r->pages, r->done, regions_most(job->size_bytes));
	if (open_base(r, e) ||
	    journal_open(job->journal_dir, job->run_id, job->number, job->point, job->size_bytes,
			 &job->base_root, JOURNAL_WAIT_MS, take_record, r, &r->journal, e))
		return -1;
	return send_ready(r, e);
}

static int take_layout(struct receiver *r, const struct door_layout *m, struct err *e)
{
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	uint32_t count = m->starts.len / 8;

	if (r->has_layout)
		return err_set(e, ERR_INVALID, "the sender told the layout of the disk twice");
	if (m->starts.len % 8 || count >= LAYOUT_MAX_SEGMENTS)
		return err_set(e, ERR_INVALID, "the layout of the disk is malformed");
	if ((uint64_t)m->size_bytes != r->job->size_bytes)
		return err_set(e, ERR_CONFLICT,
			       "the disk has %" PRId64 " bytes, but %" PRIu64
			       " were announced; take a new snapshot",
			       m->size_bytes, r->job->size_bytes);
	for (uint32_t i = 0; i < count; i++) {
		memcpy(&starts[i], m->starts.data + 8 * i, 8);
		starts[i] = le64toh(starts[i]);
	}
	if (layout_from_starts(&r->layout, r->job->size_bytes, starts, count, e)) {
		if (e)
			e->kind = ERR_INVALID;
		return -1;
	}
	if (r->journal.started && !layout_equal(&r->journal.layout, &r->layout)) {
		/* The regions told as durable are numbered otherwise: forget them. */
		if (journal_drop(&r->journal, e))
			return -1;
		return err_set(e, ERR_CONFLICT,
			       "the partition table is not the one this copy began with; it begins "
			       "again");
	}
	if (!r->journal.started &&
	    journal_start(&r->journal, r->job->point, &r->job->base_root, &r->layout, e))
		return -1;
	r->inherits = r->has_base && layout_equal(&r->base.layout, &r->layout);
	r->regions = layout_regions(&r->layout);
	r->has_layout = true;
	return 0;
}

static int check_region(struct receiver *r, int64_t region, uint32_t *blocks, struct err *e)
{
	uint64_t offset;
	uint32_t length;

	if (!r->has_layout)
		return err_set(e, ERR_INVALID, "a region came before the layout of the disk");
	if ((uint64_t)region >= r->regions)
		return err_set(e, ERR_INVALID, "region %" PRId64 " is past the end of the disk",
			       region);
	layout_region(&r->layout, region, &offset, &length);
	*blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES;
	return 0;
}

static int tell_outline(struct receiver *r, const struct door_outline *m, struct err *e)
{
	struct door_outline answer = {.region = m->region};
	struct runs runs = {0};
	struct buf body = {0};
	uint32_t blocks = 0;
	int result = -1;

	if (check_region(r, m->region, &blocks, e))
		return -1;
	if (!r->inherits)
		return err_set(e, ERR_INVALID, "there is no base to tell the outline of");
	if (receive_base_runs(r, m->region, blocks, &runs, e))
		goto out;
	runs_outline_encode(&runs, &body);
	bytes_set(&answer.runs, body.data, body.len);
	result = frame_write(r->from, DOOR_OUTLINE, &door_outline_shape, &answer, e);
out:
	shape_release(&door_outline_shape, &answer);
	buf_release(&body);
	runs_release(&runs);
	return result;
}

/* --- committing --- */

static int tell_durable(struct receiver *r, struct err *e)
{
	int result = 0;

	for (size_t at = 0; result == 0 && at < r->group.len; at += DURABLE_IN_ONE * 8) {
		size_t left = r->group.len - at;
		struct door_durable m = {0};

		bytes_set(&m.regions, r->group.data + at,
			  left < DURABLE_IN_ONE * 8 ? left : DURABLE_IN_ONE * 8);
		result = frame_write(r->from, DOOR_DURABLE, &door_durable_shape, &m, e);
		shape_release(&door_durable_shape, &m);
	}
	return result;
}

/* Chunks and pages, then the journal, then the word to the sender: invariant 1. */
static int commit(struct receiver *r, struct err *e)
{
	if (r->group.len == 0)
		return 0;
	if (store_commit(r->store, NULL, e) || journal_sync(&r->journal, e) || tell_durable(r, e))
		return -1;
	buf_clear(&r->group);
	r->group_bytes = 0;
	return 0;
}

static int64_t commit_due_ms(const struct receiver *r)
{
	int64_t left;

	if (r->group.len == 0)
		return COMMIT_GROUP_MS;
	left = r->group_since_ms + COMMIT_GROUP_MS - clock_mono_ms();
	return r->group_bytes >= (int64_t)COMMIT_GROUP_BYTES || left < 0 ? 0 : left;
}

/* --- regions --- */

static void region_release(struct open_region *o)
{
	ops_release(&o->ops);
	runs_release(&o->runs);
	free(o->data);
	free(o->need);
	*o = (struct open_region){0};
}

static bool runs_all_zero(const struct runs *runs)
{
	for (uint32_t i = 0; i < runs->count; i++)
		if (runs->items[i].kind != RUN_ZERO)
			return false;
	return true;
}

int receive_region_whole(struct receiver *r, struct open_region *o, struct err *e)
{
	struct name page = {{0}};
	struct buf node = {0};
	uint64_t number = htole64(o->number);

	if (!runs_all_zero(&o->runs)) {
		page_encode(&o->runs, runs_blocks(&o->runs), &node);
		if (receive_put_node(r, &node, &page, e)) {
			buf_release(&node);
			return -1;
		}
		r->group_bytes += node.len;
		buf_release(&node);
	}
	flight_close(&r->flight, (unsigned)(o - r->open), o->number, &page);
	if (r->group.len == 0)
		r->group_since_ms = clock_mono_ms();
	buf_add(&r->group, &number, sizeof number);
	journal_add(&r->journal, o->number, &page);
	region_release(o);
	return 0;
}

struct open_region *receive_find_open(struct receiver *r, int64_t number)
{
	for (unsigned i = 0; i < OPEN_MAX; i++)
		if (r->open[i].used && r->open[i].number == (uint64_t)number)
			return &r->open[i];
	return NULL;
}

static struct open_region *new_open(struct receiver *r)
{
	for (unsigned i = 0; i < OPEN_MAX; i++)
		if (!r->open[i].used)
			return &r->open[i];
	return NULL;
}

static void list_data(struct open_region *o)
{
	for (uint32_t i = 0; i < o->ops.count; i++)
		o->data_count += o->ops.items[i].kind == OP_DATA;
	o->data = xcalloc(o->data_count + 1, sizeof *o->data);
	o->need = xcalloc(1, o->data_count / 8 + 1);
	for (uint32_t i = 0, n = 0; i < o->ops.count; i++)
		if (o->ops.items[i].kind == OP_DATA)
			o->data[n++] = &o->ops.items[i];
}

/* Ask for what this group has not put and this stream was not asked for. */
static int ask(struct receiver *r, struct open_region *o, struct err *e)
{
	struct name *names = xcalloc(o->data_count + 1, sizeof *names);
	uint8_t *have = xcalloc(o->data_count + 1, 1);
	struct door_need need = {.region = (int64_t)o->number};
	int result = -1;

	for (uint32_t i = 0; i < o->data_count; i++)
		names[i] = o->data[i]->name;
	if (o->data_count && store_has(r->store, r->job->group, names, o->data_count, have, e))
		goto out;
	for (uint32_t i = 0; i < o->data_count; i++) {
		bool asked, again;

		if (have[i])
			continue;
		wanted_add(&r->wanted, &names[i], o, &asked, &again);
		if (!again)
			o->missing++;
		if (!asked)
			o->need[i / 8] |= 1u << i % 8;
	}
	bytes_set(&need.need, o->need, (o->data_count + 7) / 8);
	result = frame_write(r->from, DOOR_NEED, &door_need_shape, &need, e);
out:
	shape_release(&door_need_shape, &need);
	free(names);
	free(have);
	return result;
}

static int take_region(struct receiver *r, const struct door_region *m, struct err *e)
{
	struct open_region *o;
	struct runs base = {0};
	uint32_t blocks = 0;
	int result = -1;

	if (check_region(r, m->region, &blocks, e))
		return -1;
	if (bit(r->done, m->region) || receive_find_open(r, m->region))
		return err_set(e, ERR_INVALID, "region %" PRId64 " was sent twice", m->region);
	o = new_open(r);
	if (!o)
		return err_set(e, ERR_INVALID, "the sender began more than %d regions at once",
			       OPEN_MAX);
	*o = (struct open_region){.used = true, .number = (uint64_t)m->region};
	if (ops_decode(m->ops.data, m->ops.len, &o->ops, e) ||
	    receive_base_runs(r, m->region, blocks, &base, e) ||
	    ops_apply(&base, &o->ops, blocks, &o->runs, e)) {
		err_prefix(e, "region %" PRId64, m->region);
		goto out;
	}
	list_data(o);
	/* Before the store is asked for any of them. */
	flight_open(&r->flight, (unsigned)(o - r->open), o->data, o->data_count);
	if (ask(r, o, e))
		goto out;
	result = o->missing ? 0 : receive_region_whole(r, o, e);
out:
	runs_release(&base);
	return result;
}

/* The version is nobody's yet: until the run is forgotten this keeps it from being collected. */
static int run_ref_set(struct receiver *r, const struct name *root, struct err *e)
{
	struct buf data = {0};
	char *ref = xasprintf(RUN_REF_PREFIX "%s.%u", r->job->run_id, r->job->number);
	int result;

	roots_encode(root, 1, &data);
	result = store_ref_set(r->store, ref, data.data, data.len, e);
	buf_release(&data);
	free(ref);
	return result;
}

static int finish(struct receiver *r, struct err *e)
{
	struct door_finished finished = {0};
	struct name root;
	int result = -1;

	if (!r->has_layout)
		return err_set(e, ERR_INVALID, "the sender finished before it told the layout");
	for (unsigned i = 0; i < OPEN_MAX; i++)
		if (r->open[i].used)
			return err_set(e, ERR_DENIED,
				       "region %" PRIu64
				       " names content that this sender never sent",
				       r->open[i].number);
	if (commit(r, e) || receive_put_root(r, &root, e) || store_commit(r->store, NULL, e) ||
	    run_ref_set(r, &root, e))
		return -1;
	bytes_set(&finished.root, root.bytes, NAME_BYTES);
	finished.bytes_stored = r->bytes_stored;
	if (r->note && r->note(r->context, NULL, &finished))
		err_set(e, ERR_CONFLICT, "the run was given up");
	else
		result = frame_write(r->from, DOOR_FINISHED, &door_finished_shape, &finished, e);
	shape_release(&door_finished_shape, &finished);
	return result;
}

/* --- the conversation --- */

union message {
	struct door_layout layout;
	struct door_outline outline;
	struct door_region region;
	struct door_chunk chunk;
	struct door_progress progress;
	struct door_fault fault;
};

static int take_fault(const struct door_fault *m, struct err *e)
{
	return err_set(e, err_kind_from_word(m->kind ? m->kind : ""), "%s",
		       m->text ? m->text : "the sender gave no reason");
}

static int take_message(struct receiver *r, uint16_t type, union message *m, struct err *e)
{
	switch (type) {
	case DOOR_LAYOUT: return take_layout(r, &m->layout, e);
	case DOOR_OUTLINE_WANTED: return tell_outline(r, &m->outline, e);
	case DOOR_REGION: return take_region(r, &m->region, e);
	case DOOR_CHUNK: return receive_chunk_take(r, &m->chunk, e);
	case DOOR_PROGRESS:
		if (r->note && r->note(r->context, &m->progress, NULL))
			return err_set(e, ERR_CONFLICT, "the run was given up");
		return 0;
	case DOOR_FAULT: return take_fault(&m->fault, e);
	default:
		return err_set(e, ERR_INVALID, "the message \"%s\" has no place here",
			       door_word(type) ? door_word(type) : "?");
	}
}

static const struct shape *shape_here(uint16_t type)
{
	switch (type) {
	case DOOR_LAYOUT:
	case DOOR_OUTLINE_WANTED:
	case DOOR_REGION:
	case DOOR_CHUNK:
	case DOOR_PROGRESS:
	case DOOR_FAULT: return door_shape(type);
	default: return NULL;
	}
}

/* 1: finished. */
static int one_message(struct receiver *r, struct buf *body, struct err *e)
{
	union message m = {{.size_bytes = 0}};
	const struct shape *shape;
	uint16_t type;
	int got = frame_read(r->from, &type, body, e), result;

	if (got < 0)
		return -1;
	if (got == 0)
		return err_set(e, ERR_UNAVAILABLE, "the sender went away");
	if (type != DOOR_CHUNK && type != DOOR_PROGRESS && receive_chunk_flush(r, e))
		return -1;
	if (type == DOOR_FINISH)
		return finish(r, e) ? -1 : 1;
	shape = shape_here(type);
	if (!shape)
		return err_set(e, ERR_INVALID, "message %u has no place in a stream", type);
	if (wire_decode(shape, body->data, body->len, &m, e))
		return -1;
	result = take_message(r, type, &m, e);
	shape_release(shape, &m);
	return result;
}

static int converse(struct receiver *r, struct err *e)
{
	struct buf body = {0};
	int64_t heard = clock_mono_ms();
	int result = begin(r, e);

	while (result == 0) {
		int64_t due = commit_due_ms(r);
		/* Chunks are gathered as long as more of them are there already. */
		int ready = due > 0 ? stream_wait(r->from, r->batch_count ? 0 : due, e) : 0;

		if (ready < 0)
			result = -1;
		else if (ready == 0 && r->batch_count)
			result = receive_chunk_flush(r, e);
		else if (ready == 0 && clock_mono_ms() - heard > LEASE_MS)
			result = err_set(e, ERR_UNAVAILABLE, "the sender has said nothing for %d s",
					 LEASE_MS / 1000);
		else if (ready == 0)
			result = commit_due_ms(r) == 0 ? commit(r, e) : 0;
		else {
			result = one_message(r, &body, e);
			heard = clock_mono_ms();
		}
	}
	buf_release(&body);
	return result < 0 ? -1 : 0;
}

/* Let the sender read why, before a reset throws the sentence away. */
static void linger(struct stream *s)
{
	uint8_t sink[16 << 10];
	int64_t until = clock_mono_ms() + LINGER_MS, left;

	while ((left = until - clock_mono_ms()) > 0)
		if (stream_wait(s, left, NULL) <= 0 ||
		    stream_read_some(s, sink, sizeof sink, NULL) <= 0)
			return;
}

int copy_receive(struct store *store, const struct copy_intake *job, struct stream *from,
		 copy_note_fn *note, void *context, struct err *e)
{
	struct receiver *r = xcalloc(1, sizeof *r);
	struct err why = {0};
	int result;

	*r = (struct receiver){
	    .store = store, .job = job, .from = from, .note = note, .context = context};
	r->journal.fd = -1;
	flight_begin(job->flights, &r->flight, &job->base_root);
	stream_set_timeout(from, LEASE_MS);
	result = converse(r, &why);
	if (result) {
		/* What is whole stays: the next stream of this point goes on from there. */
		if (why.kind == ERR_UNAVAILABLE && receive_chunk_flush(r, NULL) == 0)
			commit(r, NULL);
		if (frame_fault(from, &why, NULL) == 0)
			linger(from);
		if (e)
			*e = why;
	}
	flight_end(job->flights, &r->flight);
	for (unsigned i = 0; i < OPEN_MAX; i++)
		region_release(&r->open[i]);
	wanted_release(&r->wanted);
	journal_close(&r->journal);
	disk_root_release(&r->base);
	buf_release(&r->group);
	receive_chunk_release(r);
	buf_release(&r->node);
	free(r->pages);
	free(r->done);
	free(r);
	return result;
}
