// SPDX-License-Identifier: Apache-2.0
#include "store/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define BITS_PER_NAME 10
#define BLOCK_BITS    512
#define BLOCK_WORDS   (BLOCK_BITS / 64)
#define PROBES	      6

/* The block follows the order of the names, so that making a filter goes through memory once. */
static uint64_t *block_of(const struct filter *f, const uint8_t *name)
{
	uint64_t key;
	memcpy(&key, name, sizeof key);
	key = __builtin_bswap64(key);
	return f->words + (uint64_t)((unsigned __int128)key * f->blocks >> 64) * BLOCK_WORDS;
}

static uint64_t bits_of(const uint8_t *name)
{
	uint64_t bits;
	memcpy(&bits, name + 8, sizeof bits); /* 9 for each probe */
	return bits;
}

void filter_make(struct filter *f, const struct store_segment *s)
{
	f->blocks = s->count * BITS_PER_NAME / BLOCK_BITS + 1;
	f->words = xcalloc(f->blocks, BLOCK_BITS / 8);
	for (uint64_t i = 0; i < s->count; i++) {
		const uint8_t *name = s->entries + i * SEGMENT_ENTRY_BYTES;
		uint64_t *block = block_of(f, name), bits = bits_of(name);
		for (unsigned p = 0; p < PROBES; p++, bits >>= 9)
			block[bits % BLOCK_BITS / 64] |= 1ull << bits % 64;
	}
}

void filter_release(struct filter *f)
{
	free(f->words);
	*f = (struct filter){0};
}

bool filter_may_have(const struct filter *f, const uint8_t *name)
{
	if (!f->blocks)
		return true;
	const uint64_t *block = block_of(f, name);
	uint64_t bits = bits_of(name);
	for (unsigned p = 0; p < PROBES; p++, bits >>= 9)
		if (!(block[bits % BLOCK_BITS / 64] >> bits % 64 & 1))
			return false;
	return true;
}
