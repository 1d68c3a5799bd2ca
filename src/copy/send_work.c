// SPDX-License-Identifier: Apache-2.0
#include "copy/send.h"

#include <string.h>

/* The packed form is never longer than the plain one: it replaces it where it lies. */
static void pack_chunk(struct slot *slot, uint32_t index, int level, struct buf *scratch)
{
	struct slot_chunk *chunk = &slot->chunks[index];
	const struct op *op = &slot->ops.items[chunk->op];
	uint8_t *at = slot->data + (uint64_t)chunk->first_block * BLOCK_BYTES;
	uint32_t plain_len = (uint32_t)op->count * BLOCK_BYTES;
	struct record r = {.name = op->name, .kind = RECORD_CHUNK, .plain_len = plain_len};

	buf_clear(scratch);
	record_pack(&r, CODEC_ZSTD, level, at, plain_len, scratch);
	if (r.stored != at)
		memcpy(at, r.stored, r.stored_len);
	chunk->codec = r.codec;
	chunk->stored_len = r.stored_len;
}

static uint32_t plenty(uint32_t left, uint32_t batch)
{
	return left < batch ? left : batch;
}

/* The oldest slot in a state with chunks no worker took; under the lock. */
static struct slot *with_work(struct sender *s, enum slot_state state)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->slots[i];
		uint32_t next = state == SLOT_UNNAMED ? slot->next_name : slot->next_pack;

		if (slot->state == state && next < slot->data_count &&
		    (!best || slot->order < best->order))
			best = slot;
	}
	return best;
}

/* Name a batch of chunks; the lock is held, but not meanwhile: the chunks taken are this thread's. */
static void name_batch(struct sender *s, struct slot *slot)
{
	struct name_job jobs[NAME_BATCH];
	uint32_t first = slot->next_name, count = plenty(slot->data_count - first, NAME_BATCH);

	slot->next_name += count;
	pthread_mutex_unlock(&s->lock);
	for (uint32_t i = 0; i < count; i++) {
		const struct slot_chunk *chunk = &slot->chunks[first + i];
		struct op *op = &slot->ops.items[chunk->op];

		jobs[i] = (struct name_job){slot->data + (size_t)chunk->first_block * BLOCK_BYTES,
					    (size_t)op->count * BLOCK_BYTES, &op->name};
	}
	name_many(jobs, count);
	pthread_mutex_lock(&s->lock);
	slot->named += count;
	if (slot->named == slot->data_count)
		slot->state = SLOT_CUT;
}

/*
 * Compress a batch; as name_batch. A slot stays as it is until all its chunks are marked packed, the
 * unasked ones too.
 */
static void pack_batch(struct sender *s, struct slot *slot, struct buf *scratch)
{
	uint32_t first = slot->next_pack, end;

	end = first + plenty(slot->data_count - first, PACK_BATCH);
	slot->next_pack = end;
	pthread_mutex_unlock(&s->lock);
	for (uint32_t i = first; i < end; i++)
		if (slot->need.data[i / 8] >> i % 8 & 1)
			pack_chunk(slot, i, s->from->level, scratch);
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = first; i < end; i++)
		slot->chunks[i].packed = true;
}

void *send_worker(void *sender)
{
	struct sender *s = sender;
	struct buf scratch = {0};

	pthread_mutex_lock(&s->lock);
	while (!s->stop && !s->sent_all) {
		struct slot *unnamed = with_work(s, SLOT_UNNAMED);
		struct slot *needed = unnamed ? NULL : with_work(s, SLOT_NEEDED);

		/* Naming first: it is short, and the answer of the intake to it takes a while. */
		if (unnamed)
			name_batch(s, unnamed);
		else if (needed)
			pack_batch(s, needed, &scratch);
		else
			pthread_cond_wait(&s->changed, &s->lock);
		if (unnamed || needed)
			pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	buf_release(&scratch);
	return NULL;
}
