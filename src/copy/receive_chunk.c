// SPDX-License-Identifier: Apache-2.0
/* Chunks that came: decompressed within bounds, hashed, put. Invariant 5 of copy.h. */
#include "copy/receive.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/limits.h"

#define BATCH_CHUNKS 64
#define BATCH_BYTES  (2 * MIB) /* plain; the last chunk may go past it */

static void batch_clear(struct receiver *r)
{
	for (uint32_t i = 0; i < r->batch_count; i++)
		free(r->batch[i].stored.data);
	r->batch_count = 0;
	r->batch_plain_bytes = 0;
	buf_clear(&r->plain);
}

void receive_chunk_release(struct receiver *r)
{
	batch_clear(r);
	free(r->batch);
	r->batch = NULL;
	buf_release(&r->plain);
}

static struct record record_of(const struct arrived *a)
{
	return (struct record){.name = a->op->name,
			       .codec = a->codec,
			       .kind = RECORD_CHUNK,
			       .plain_len = (uint32_t)a->op->count * BLOCK_BYTES,
			       .stored_len = (uint32_t)a->stored.len,
			       .stored = a->stored.data};
}

/* Decompress and hash all of the batch. */
static int batch_check(struct receiver *r, struct err *e)
{
	struct name names[BATCH_CHUNKS];
	struct name_job jobs[BATCH_CHUNKS];
	size_t at = 0;

	for (uint32_t i = 0; i < r->batch_count; i++) {
		struct record record = record_of(&r->batch[i]);

		if (record_unpack(&record, &r->plain, e)) {
			if (e)
				e->kind = ERR_INVALID;
			return err_prefix(e, "a chunk of region %" PRId64, r->batch[i].region);
		}
	}
	for (uint32_t i = 0; i < r->batch_count; i++) {
		size_t n = (size_t)r->batch[i].op->count * BLOCK_BYTES;

		jobs[i] = (struct name_job){r->plain.data + at, n, &names[i]};
		at += n;
	}
	name_many(jobs, r->batch_count);
	for (uint32_t i = 0; i < r->batch_count; i++)
		if (name_compare(&names[i], &r->batch[i].op->name) != 0)
			return err_set(e, ERR_DENIED,
				       "wrong content under a name in region %" PRId64
				       ": the sender is broken or lies",
				       r->batch[i].region);
	return 0;
}

static void one_less(void *context, void *waiter)
{
	struct open_region *o = waiter;

	(void)context;
	o->missing--;
}

static int batch_put(struct receiver *r, struct err *e)
{
	for (uint32_t i = 0; i < r->batch_count; i++) {
		struct record record = record_of(&r->batch[i]);
		int added = store_put(r->store, r->job->group, &record, e);

		if (added < 0)
			return -1;
		if (added > 0)
			r->bytes_stored += record.stored_len;
		r->group_bytes += record.stored_len;
		wanted_came(&r->wanted, &record.name, one_less, r);
	}
	return 0;
}

int receive_chunk_flush(struct receiver *r, struct err *e)
{
	int result;

	if (r->batch_count == 0)
		return 0;
	result = batch_check(r, e) || batch_put(r, e) ? -1 : 0;
	batch_clear(r);
	for (unsigned i = 0; result == 0 && i < OPEN_MAX; i++)
		if (r->open[i].used && r->open[i].missing == 0)
			result = receive_region_whole(r, &r->open[i], e);
	return result;
}

int receive_chunk_take(struct receiver *r, struct door_chunk *m, struct err *e)
{
	struct open_region *o = receive_find_open(r, m->region);
	const struct op *op;

	if (!o || m->index >= o->data_count || !bit(o->need, m->index))
		return err_set(e, ERR_INVALID,
			       "a chunk of region %" PRId64 " was sent that nobody asked for",
			       m->region);
	op = o->data[m->index];
	if (m->codec > CODEC_LZ4 || m->plain_len > CHUNK_MAX_BYTES ||
	    m->plain_len != (int64_t)op->count * BLOCK_BYTES || m->stored.len == 0 ||
	    m->stored.len > (size_t)m->plain_len)
		return err_set(e, ERR_INVALID,
			       "a chunk of region %" PRId64 " has %" PRId64
			       " bytes where %u were announced, or an unknown codec",
			       m->region, m->plain_len, op->count * BLOCK_BYTES);
	o->need[m->index / 8] &= ~(1u << m->index % 8);
	if (!r->batch)
		r->batch = xcalloc(BATCH_CHUNKS, sizeof *r->batch);
	r->batch[r->batch_count++] = (struct arrived){
	    .region = m->region, .op = op, .codec = (uint16_t)m->codec, .stored = m->stored};
	m->stored = (struct bytes){0};
	r->batch_plain_bytes += (uint64_t)m->plain_len;
	if (r->batch_count < BATCH_CHUNKS && r->batch_plain_bytes < BATCH_BYTES)
		return 0;
	return receive_chunk_flush(r, e);
}
