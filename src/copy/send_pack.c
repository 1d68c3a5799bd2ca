// SPDX-License-Identifier: Apache-2.0
#include "copy/send.h"

#include <string.h>

#define DEFAULT_LEVEL 1

/* The packed form is never longer than the plain one: it replaces it where it lies. */
static void pack_chunk(struct slot *slot, uint32_t index, int level, struct buf *scratch)
{
	struct slot_chunk *chunk = &slot->chunks[index];
	const struct op *op = &slot->ops.items[chunk->op];
	uint8_t *at = slot->data + (uint64_t)chunk->first_block * BLOCK_BYTES;
	uint32_t plain_len = (uint32_t)op->count * BLOCK_BYTES;
	struct record r = {.name = op->name, .kind = RECORD_CHUNK, .plain_len = plain_len};

	buf_clear(scratch);
	record_pack(&r, CODEC_ZSTD, level ? level : DEFAULT_LEVEL, at, plain_len, scratch);
	if (r.stored != at)
		memcpy(at, r.stored, r.stored_len);
	chunk->codec = r.codec;
	chunk->stored_len = r.stored_len;
}

/* The oldest slot with chunks no packer took; under the lock. */
static struct slot *with_work(struct sender *s)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->state == SLOT_NEEDED && slot->next_pack < slot->data_count &&
		    (!best || slot->order < best->order))
			best = slot;
	}
	return best;
}

/*
 * A slot stays as it is until all its chunks are marked packed, the unasked ones too: until then
 * the batch taken here is this thread's alone, and is written without the lock.
 */
void *send_packer(void *sender)
{
	struct sender *s = sender;
	struct buf scratch = {0};

	pthread_mutex_lock(&s->lock);
	while (!s->stop && !s->sent_all) {
		struct slot *slot = with_work(s);
		uint32_t first, end;

		if (!slot) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		first = slot->next_pack;
		end = slot->data_count - first > PACK_BATCH ? first + PACK_BATCH : slot->data_count;
		slot->next_pack = end;
		pthread_mutex_unlock(&s->lock);
		for (uint32_t i = first; i < end; i++)
			if (slot->need.data[i / 8] >> i % 8 & 1)
				pack_chunk(slot, i, s->from->level, &scratch);
		pthread_mutex_lock(&s->lock);
		for (uint32_t i = first; i < end; i++)
			slot->chunks[i].packed = true;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	buf_release(&scratch);
	return NULL;
}
