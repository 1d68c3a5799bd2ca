// SPDX-License-Identifier: Apache-2.0
#include "block/cutter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

#define TAIL_BYTES 32
#define HASH_MASK  31

void runs_release(struct runs *runs)
{
	free(runs->items);
	*runs = (struct runs){0};
}

void runs_clear(struct runs *runs)
{
	runs->count = 0;
	runs->coarse = false;
}

void runs_push(struct runs *runs, enum run_kind kind, uint32_t blocks, const struct name *name)
{
	assert(blocks > 0 && blocks <= (kind == RUN_DATA ? CHUNK_MAX_BLOCKS : REGION_BLOCKS));
	struct run *last = runs->count ? &runs->items[runs->count - 1] : NULL;
	if (kind == RUN_ZERO && last && last->kind == RUN_ZERO) {
		assert(last->blocks + blocks <= REGION_BLOCKS);
		last->blocks = (uint16_t)(last->blocks + blocks);
		return;
	}
	VEC_GROW(runs->items, runs->count, runs->cap);
	last = &runs->items[runs->count++];
	*last = (struct run){.kind = (uint16_t)kind, .blocks = (uint16_t)blocks};
	if (kind == RUN_DATA && name)
		last->name = *name;
}

uint32_t runs_blocks(const struct runs *runs)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < runs->count; i++)
		sum += runs->items[i].blocks;
	return sum;
}

uint32_t runs_chunks(const struct runs *runs)
{
	uint32_t chunks = 0;
	for (uint32_t i = 0; i < runs->count; i++)
		chunks += runs->items[i].kind == RUN_DATA;
	return chunks;
}

bool block_is_zero(const void *block)
{
	/* Zero when its first word is, and every byte equals the one a word before it: the C
	 * library's memcmp is the fastest loop on every machine, and most blocks end in the test of
	 * the first word. */
	const uint8_t *p = block;
	uint64_t word;
	memcpy(&word, p, sizeof word);
	return word == 0 && memcmp(p, p + sizeof word, BLOCK_BYTES - sizeof word) == 0;
}

bool cutter_closes(const uint8_t *block, uint32_t chunk_blocks, bool coarse)
{
	static const uint8_t zero[TAIL_BYTES];

	if (chunk_blocks >= CHUNK_MAX_BLOCKS)
		return true;
	if (coarse && chunk_blocks < CUTTER_COARSE_MIN_BLOCKS)
		return false;
	return memcmp(block + BLOCK_BYTES - TAIL_BYTES, zero, TAIL_BYTES) == 0 ||
	       (XXH3_64bits_withSeed(block, BLOCK_BYTES, CUTTER_SEED) & HASH_MASK) == 0;
}

/* False, with `out` half filled, when fine mode gives too many chunks. */
static bool cut(const uint8_t *data, uint32_t blocks, bool coarse, struct runs *out)
{
	uint32_t open = 0; /* blocks in the open chunk */
	uint32_t chunks = 0;

	runs_clear(out);
	out->coarse = coarse;
	for (uint32_t i = 0; i < blocks; i++) {
		const uint8_t *block = data + (size_t)i * BLOCK_BYTES;
		bool zero = block_is_zero(block);
		bool close = zero || cutter_closes(block, ++open, coarse) || i + 1 == blocks;
		if (close && open) {
			runs_push(out, RUN_DATA, open, NULL);
			open = 0;
			if (++chunks > CUTTER_FINE_MAX_CHUNKS && !coarse)
				return false;
		}
		if (zero)
			runs_push(out, RUN_ZERO, 1, NULL);
	}
	return true;
}

void cut_region(const uint8_t *data, uint32_t blocks, struct runs *out)
{
	assert(blocks <= REGION_BLOCKS);
	if (!cut(data, blocks, false, out))
		cut(data, blocks, true, out);
}

void name_runs(const uint8_t *data, struct runs *runs)
{
	struct name_job *jobs = xcalloc(runs->count, sizeof *jobs);
	size_t count = 0;
	for (uint32_t i = 0; i < runs->count; i++) {
		struct run *run = &runs->items[i];
		size_t bytes = (size_t)run->blocks * BLOCK_BYTES;
		if (run->kind == RUN_DATA)
			jobs[count++] = (struct name_job){data, bytes, &run->name};
		data += bytes;
	}
	name_many(jobs, count);
	free(jobs);
}
