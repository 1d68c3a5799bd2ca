// SPDX-License-Identifier: Apache-2.0
#include "block/cutter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

#define TAIL_BYTES  32
#define HASH_ONE_IN 24

void runs_release(struct runs *runs)
{
	free(runs->items);
	free(runs->fine_ends);
	*runs = (struct runs){0};
}

void runs_clear(struct runs *runs)
{
	free(runs->fine_ends);
	runs->fine_ends = NULL;
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
	       XXH3_64bits_withSeed(block, BLOCK_BYTES, CUTTER_SEED) % HASH_ONE_IN == 0;
}

/* What a block is to the cutter, whatever is around it. */
enum { BLOCK_PLAIN, BLOCK_CLOSES, BLOCK_ZERO };

static void classify(const uint8_t *data, uint32_t from, uint32_t end, uint8_t *kinds)
{
	for (uint32_t i = from; i < end; i++) {
		const uint8_t *block = data + (size_t)i * BLOCK_BYTES;

		kinds[i] = block_is_zero(block)		    ? BLOCK_ZERO
			   : cutter_closes(block, 1, false) ? BLOCK_CLOSES
							    : BLOCK_PLAIN;
	}
}

static void cut(const uint8_t *kinds, uint32_t blocks, bool coarse, struct runs *out)
{
	uint32_t least = coarse ? CUTTER_COARSE_MIN_BLOCKS : 1, open = 0;

	runs_clear(out);
	out->coarse = coarse;
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t end = i + 1;

		if (kinds[i] == BLOCK_ZERO) {
			while (end < blocks && kinds[end] == BLOCK_ZERO)
				end++;
			runs_push(out, RUN_ZERO, end - i, NULL);
			i = end - 1;
			continue;
		}
		open++;
		if ((kinds[i] == BLOCK_CLOSES && open >= least) || open == CHUNK_MAX_BLOCKS ||
		    end == blocks || kinds[end] == BLOCK_ZERO) {
			runs_push(out, RUN_DATA, open, NULL);
			open = 0;
		}
	}
}

static uint8_t *ends_of(const struct runs *runs)
{
	uint8_t *ends = xcalloc(1, REGION_BITS_BYTES);
	uint32_t at = 0;

	for (uint32_t i = 0; i < runs->count; i++) {
		at += runs->items[i].blocks;
		if (runs->items[i].kind == RUN_DATA)
			ends[(at - 1) / 8] |= 1u << (at - 1) % 8;
	}
	return ends;
}

void cut_region(const uint8_t *data, uint32_t blocks, const struct extents *present,
		struct runs *out)
{
	static const size_t grain = BLOCK_BYTES;
	uint8_t kinds[REGION_BLOCKS];
	uint8_t *ends;

	assert(blocks <= REGION_BLOCKS);
	if (present) {
		memset(kinds, BLOCK_ZERO, blocks);
		for (size_t i = 0; i < present->count; i++) {
			const struct extent *x = &present->items[i];
			uint64_t end = (x->offset + x->length + grain - 1) / grain;

			classify(data, (uint32_t)(x->offset / grain),
				 (uint32_t)(end < blocks ? end : blocks), kinds);
		}
	} else {
		classify(data, 0, blocks, kinds);
	}
	cut(kinds, blocks, false, out);
	if (runs_chunks(out) <= CUTTER_FINE_MAX_CHUNKS)
		return;
	ends = ends_of(out);
	cut(kinds, blocks, true, out);
	out->fine_ends = ends;
}

bool runs_fine_ends_possible(const struct runs *runs, const uint8_t *fine_ends)
{
	uint32_t at = 0, open = 0, chunks = 0;

	for (uint32_t n = 0; n < runs->count; n++) {
		const struct run *run = &runs->items[n];

		if (run->kind == RUN_ZERO && open)
			return false;
		for (uint32_t i = 0; i < run->blocks; i++, at++) {
			bool end = fine_ends[at / 8] >> at % 8 & 1;

			if (run->kind == RUN_ZERO ? end : ++open > CHUNK_MAX_BLOCKS)
				return false;
			chunks += end;
			open = end ? 0 : open;
		}
	}
	for (; at < REGION_BLOCKS; at++)
		if (fine_ends[at / 8] >> at % 8 & 1)
			return false;
	return open == 0 && chunks > CUTTER_FINE_MAX_CHUNKS;
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
