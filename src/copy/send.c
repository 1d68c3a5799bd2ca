// SPDX-License-Identifier: Apache-2.0
#include "copy/send.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "block/tree.h"
#include "wire/wire.h"

#define PROGRESS_MS 1000
#define GRACE_MS    2000 /* for the intake's reason to arrive after a write failed */

void send_failed(struct sender *s, const struct err *why)
{
	pthread_mutex_lock(&s->lock);
	if (s->why.kind == ERR_NONE)
		s->why = *why;
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* --- what the intake answers --- */

static int take_need(struct sender *s, struct door_need *m, struct err *e)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->state != SLOT_ASKED || slot->region != (uint64_t)m->region)
			continue;
		if (m->need.len != (slot->data_count + 7) / 8)
			break;
		slot->need = m->need;
		m->need = (struct bytes){0};
		slot->state = SLOT_NEEDED;
		return 0;
	}
	return err_set(e, ERR_INVALID, "the service asks for a region that was not sent");
}

static int take_outline(struct sender *s, const struct door_outline *m, struct err *e)
{
	struct runs runs = {0};

	for (unsigned i = 0; i < OUTLINES_AHEAD; i++) {
		struct outline *o = &s->outlines[i];

		if (!o->asked || o->came || o->region != (uint64_t)m->region)
			continue;
		if (runs_outline_decode(m->runs.data, m->runs.len, &runs, e)) {
			runs_release(&runs);
			return -1;
		}
		o->runs = runs;
		o->came = true;
		return 0;
	}
	return err_set(e, ERR_INVALID, "the service told an outline nobody asked for");
}

union answer {
	struct door_need need;
	struct door_outline outline;
	struct door_durable durable;
	struct door_finished finished;
	struct door_fault fault;
};

static int take_answer(struct sender *s, uint16_t type, union answer *m, struct err *e)
{
	int result = 0;

	pthread_mutex_lock(&s->lock);
	switch (type) {
	case DOOR_NEED: result = take_need(s, &m->need, e); break;
	case DOOR_OUTLINE: result = take_outline(s, &m->outline, e); break;
	case DOOR_FINISHED:
		*s->result = m->finished;
		m->finished = (struct door_finished){0};
		s->finished = true;
		break;
	case DOOR_FAULT:
		result = err_set(e, err_kind_from_word(m->fault.kind ? m->fault.kind : ""), "%s",
				 m->fault.text ? m->fault.text : "the service gave no reason");
		break;
	default: break; /* DURABLE: what comes after a lost connection, READY tells */
	}
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return result;
}

static int one_answer(struct sender *s, struct buf *body, struct err *e)
{
	union answer m = {{.region = 0}};
	const struct shape *shape;
	uint16_t type;
	int got = frame_read(s->to, &type, body, e), result;

	if (got < 0)
		return -1;
	if (got == 0)
		return err_set(e, ERR_UNAVAILABLE, "the service closed the stream");
	if (type != DOOR_NEED && type != DOOR_OUTLINE && type != DOOR_DURABLE &&
	    type != DOOR_FINISHED && type != DOOR_FAULT)
		return err_set(e, ERR_INVALID, "message %u has no place in a stream", type);
	shape = door_shape(type);
	if (wire_decode(shape, body->data, body->len, &m, e))
		return -1;
	result = take_answer(s, type, &m, e);
	shape_release(shape, &m);
	return result;
}

void *send_answers(void *sender)
{
	struct sender *s = sender;
	struct buf body = {0};
	struct err why = {0};

	while (!s->finished) /* set by this thread alone */
		if (one_answer(s, &body, &why)) {
			send_failed(s, &why);
			break;
		}
	buf_release(&body);
	pthread_mutex_lock(&s->lock);
	s->answered_all = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- beginning --- */

static int send_progress(struct sender *s, struct err *e)
{
	struct door_progress now;

	pthread_mutex_lock(&s->lock);
	now = s->progress;
	pthread_mutex_unlock(&s->lock);
	s->progress_at_ms = clock_mono_ms();
	return frame_write(s->to, DOOR_PROGRESS, &door_progress_shape, &now, e);
}

static int progress_when_due(void *sender, struct err *e)
{
	struct sender *s = sender;

	if (clock_mono_ms() - s->progress_at_ms < PROGRESS_MS)
		return 0;
	return send_progress(s, e);
}

static int base_layout(const struct door_ready *ready, struct layout *out, struct err *e)
{
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	uint32_t count = ready->base_starts.len / 8;

	if (ready->base_starts.len % 8 || count >= LAYOUT_MAX_SEGMENTS)
		return err_set(e, ERR_INVALID, "the service told a malformed layout");
	for (uint32_t i = 0; i < count; i++) {
		memcpy(&starts[i], ready->base_starts.data + 8 * i, 8);
		starts[i] = le64toh(starts[i]);
	}
	return layout_from_starts(out, ready->base_size_bytes, starts, count, e);
}

static int send_layout(struct sender *s, struct err *e)
{
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	struct door_layout m = {.size_bytes = (int64_t)s->layout.size};
	int result;

	for (uint32_t i = 1; i < s->layout.segment_count; i++)
		starts[i - 1] = htole64(s->layout.segments[i].start);
	bytes_set(&m.starts, starts, (s->layout.segment_count - 1) * sizeof *starts);
	result = frame_write(s->to, DOOR_LAYOUT, &door_layout_shape, &m, e);
	shape_release(&door_layout_shape, &m);
	return result;
}

static void count_work(struct sender *s)
{
	uint64_t regions = layout_regions(&s->layout);
	const struct extents *work = s->increment ? &s->dirty : &s->data;

	s->progress.bytes_total = (int64_t)extents_total(work);
	for (uint64_t r = 0; r < regions && r / 8 < s->done_len; r++) {
		struct extents part = {0};
		uint64_t offset;
		uint32_t length;

		if (!(s->done[r / 8] >> r % 8 & 1))
			continue;
		layout_region(&s->layout, r, &offset, &length);
		extents_slice(work, offset, length, &part);
		s->progress.bytes_done += (int64_t)extents_total(&part);
		extents_release(&part);
	}
}

static int begin(struct sender *s, struct err *e)
{
	struct door_ready ready = {0};
	struct layout base = {0};
	bool lists_changes = !s->from->full && (s->from->dirty_context || s->from->changed);
	int result = -1;

	if (frame_expect(s->to, DOOR_READY, &door_ready_shape, &ready, e))
		return -1;
	s->done = ready.done.data;
	s->done_len = ready.done.len;
	ready.done = (struct bytes){0};
	if (ready.has_base && base_layout(&ready, &base, e))
		goto out;
	if (source_open(s->from, &s->source, e) ||
	    layout_of_disk(&s->layout, source_size(s->source), source_read_any, s->source, e) ||
	    send_layout(s, e))
		goto out;
	s->has_base = ready.has_base && layout_equal(&base, &s->layout);
	s->increment = s->has_base && lists_changes;
	if (source_map(s->source, &s->data, &s->dirty, progress_when_due, s, e))
		goto out;
	if (!s->from->full && !s->from->dirty_context && s->from->changed)
		extents_slice(s->from->changed, 0, s->layout.size, &s->dirty);
	count_work(s);
	result = 0;
out:
	shape_release(&door_ready_shape, &ready);
	return result;
}

/* --- sending --- */

static int send_region(struct sender *s, const struct slot *slot, struct err *e)
{
	struct door_region m = {.region = (int64_t)slot->region};
	struct buf body = {0};
	int result;

	ops_encode(&slot->ops, &body);
	bytes_set(&m.ops, body.data, body.len);
	result = frame_write(s->to, DOOR_REGION, &door_region_shape, &m, e);
	shape_release(&door_region_shape, &m);
	buf_release(&body);
	return result;
}

/* Wait as the throttle says, without the intake thinking that we are gone. */
static int throttled(struct sender *s, size_t bytes, struct err *e)
{
	int64_t wait = throttle_take(&s->throttle, (int64_t)bytes, clock_mono_ms());

	while (wait > 0) {
		int64_t nap = wait < PROGRESS_MS ? wait : PROGRESS_MS;

		clock_sleep_ms(nap);
		wait -= nap;
		if (progress_when_due(s, e))
			return -1;
	}
	return 0;
}

/* Sleep until something changed or progress is due; under the lock. */
static void wait_change(struct sender *s)
{
	struct timespec until;
	int64_t left = s->progress_at_ms + PROGRESS_MS - clock_mono_ms();

	if (left <= 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += left / 1000;
	until.tv_nsec += left % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static int send_chunk(struct sender *s, const struct slot *slot, uint32_t index, struct err *e)
{
	const struct slot_chunk *chunk = &slot->chunks[index];
	uint32_t plain_len = (uint32_t)slot->ops.items[chunk->op].count * BLOCK_BYTES;
	struct door_chunk m = {.region = (int64_t)slot->region,
			       .index = index,
			       .codec = chunk->codec,
			       .plain_len = plain_len};

	/* Borrowed for the time of the call: encoding only reads it. */
	m.stored.data = slot->data + (uint64_t)chunk->first_block * BLOCK_BYTES;
	m.stored.len = chunk->stored_len;
	if (throttled(s, chunk->stored_len, e) ||
	    frame_write(s->to, DOOR_CHUNK, &door_chunk_shape, &m, e))
		return -1;
	pthread_mutex_lock(&s->lock);
	s->progress.bytes_new += plain_len;
	s->progress.bytes_sent += chunk->stored_len;
	s->progress.chunks_new++;
	pthread_mutex_unlock(&s->lock);
	return progress_when_due(s, e);
}

/* Until the workers are through with a chunk. */
static int wait_packed(struct sender *s, const struct slot_chunk *chunk, struct err *e)
{
	for (;;) {
		bool packed;
		int result = 0;

		pthread_mutex_lock(&s->lock);
		packed = chunk->packed;
		if (s->stop) {
			*e = s->why;
			result = -1;
		} else if (!packed) {
			wait_change(s);
		}
		pthread_mutex_unlock(&s->lock);
		if (result || packed)
			return result;
		if (progress_when_due(s, e))
			return -1;
	}
}

static int send_chunks(struct sender *s, const struct slot *slot, struct err *e)
{
	for (uint32_t n = 0; n < slot->data_count; n++) {
		if (wait_packed(s, &slot->chunks[n], e))
			return -1;
		if ((slot->need.data[n / 8] >> n % 8 & 1) && send_chunk(s, slot, n, e))
			return -1;
	}
	return 0;
}

static void slot_clear(struct slot *slot)
{
	ops_release(&slot->ops);
	free(slot->chunks);
	free(slot->need.data);
	slot->ops = (struct ops){0};
	slot->chunks = NULL;
	slot->need = (struct bytes){0};
	slot->data_count = slot->next_name = slot->named = slot->next_pack = 0;
}

/* The region was sent; under the lock. */
static void slot_free(struct sender *s, struct slot *slot)
{
	s->progress.chunks += slot->data_count;
	s->progress.bytes_done += (int64_t)slot->work;
	slot_clear(slot); /* its memory is kept for the next region: new pages cost time */
	slot->state = SLOT_FREE;
	pthread_cond_broadcast(&s->changed);
}

static struct slot *oldest(struct sender *s, enum slot_state state)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < SLOTS; i++)
		if (s->slots[i].state == state && (!best || s->slots[i].order < best->order))
			best = &s->slots[i];
	return best;
}

static bool all_free(const struct sender *s)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (s->slots[i].state != SLOT_FREE)
			return false;
	return true;
}

/* One thing that can be done now; 1: all regions were sent. */
static int one_step(struct sender *s, struct err *e)
{
	struct slot *cut, *needed;
	bool over;
	int result = 0;

	pthread_mutex_lock(&s->lock);
	cut = oldest(s, SLOT_CUT);
	needed = oldest(s, SLOT_NEEDED);
	over = s->read_all && all_free(s);
	if (s->stop) {
		*e = s->why;
		result = -1;
	} else if (cut) {
		cut->state = SLOT_ASKED; /* before it is sent: the answer may be quick */
	} else if (!needed && !over) {
		wait_change(s);
	}
	pthread_mutex_unlock(&s->lock);
	if (result || progress_when_due(s, e))
		return -1;
	if (cut)
		return send_region(s, cut, e);
	if (!needed)
		return over;
	if (send_chunks(s, needed, e))
		return -1;
	pthread_mutex_lock(&s->lock);
	slot_free(s, needed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int wait_finished(struct sender *s, struct err *e)
{
	int result = 0;

	while (result == 0) {
		bool finished;

		pthread_mutex_lock(&s->lock);
		s->progress_at_ms = clock_mono_ms(); /* only to wait; there is none to send */
		finished = s->finished;
		if (s->stop) {
			*e = s->why;
			result = -1;
		} else if (!finished) {
			wait_change(s);
		}
		pthread_mutex_unlock(&s->lock);
		if (finished)
			return 0;
	}
	return result;
}

static int send_all(struct sender *s, struct err *e)
{
	int over;

	while ((over = one_step(s, e)) == 0)
		;
	if (over < 0 || send_progress(s, e) ||
	    frame_write(s->to, DOOR_FINISH, door_shape(DOOR_FINISH), "", e))
		return -1;
	return wait_finished(s, e);
}

/* After a failed write the intake's own reason may still be on its way. */
static void prefer_reason(struct sender *s, struct err *e)
{
	int64_t until = clock_mono_ms() + GRACE_MS;

	pthread_mutex_lock(&s->lock);
	while (e->kind == ERR_UNAVAILABLE && !s->answered_all && clock_mono_ms() < until) {
		s->progress_at_ms = clock_mono_ms();
		wait_change(s);
	}
	if (s->why.kind != ERR_NONE && s->why.kind != ERR_UNAVAILABLE)
		*e = s->why;
	pthread_mutex_unlock(&s->lock);
}

static void *(*const bodies[])(void *) = {send_answers, send_reader, send_worker, send_worker};
_Static_assert(COUNT_OF(bodies) == 2 + WORKERS, "a thread for every worker");

static int run_threads(struct sender *s, struct err *e)
{
	pthread_t threads[COUNT_OF(bodies)];
	unsigned started = 0;
	int number = 0, result;

	while (number == 0 && started < COUNT_OF(bodies)) {
		number = pthread_create(&threads[started], NULL, bodies[started], s);
		started += number == 0;
	}
	result = number ? err_errno(e, number, "cannot start a thread") : send_all(s, e);
	if (result) {
		if (number == 0)
			prefer_reason(s, e);
		send_failed(s, e); /* nobody must wait for a slot any more */
		frame_fault(s->to, e, NULL);
		stream_shutdown(s->to);
	}
	pthread_mutex_lock(&s->lock);
	s->sent_all = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	return result;
}

static int map_slots(struct sender *s, struct err *e)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		void *at = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (at == MAP_FAILED)
			return err_errno(e, errno, "cannot map memory for a region");
		s->slots[i].data = at;
	}
	return 0;
}

static void sender_release(struct sender *s)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		slot_clear(&s->slots[i]);
		if (s->slots[i].data)
			munmap(s->slots[i].data, REGION_BYTES);
	}
	source_close(s->source);
	extents_release(&s->data);
	extents_release(&s->dirty);
	for (unsigned i = 0; i < OUTLINES_AHEAD; i++)
		runs_release(&s->outlines[i].runs);
	free(s->done);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
}

int copy_send(const struct copy_source *from, struct stream *to, struct door_finished *finished,
	      struct err *e)
{
	struct sender s = {.from = from, .to = to, .result = finished};
	struct err why = {0};
	pthread_condattr_t monotonic;
	int result;

	*finished = (struct door_finished){0};
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s.progress_at_ms = clock_mono_ms();
	throttle_init(&s.throttle, from->bytes_per_second, s.progress_at_ms);
	result = map_slots(&s, &why) || begin(&s, &why) ? -1 : 0;
	if (result)
		frame_fault(to, &why, NULL);
	else
		result = run_threads(&s, &why);
	if (result) {
		shape_release(&door_finished_shape, finished);
		if (e)
			*e = why;
	}
	sender_release(&s);
	return result;
}
