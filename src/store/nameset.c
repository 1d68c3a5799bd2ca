// SPDX-License-Identifier: Apache-2.0
#include "store/nameset.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

/* Whoever sends chunks chooses their names' bits to some extent; the seed keeps them from choosing
 * our slots. */
static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
	random_bytes(&seed, sizeof seed);
}

static uint32_t slot_of(const struct nameset *set, const struct name *name)
{
	uint64_t x;
	memcpy(&x, name->bytes, sizeof x);
	x = (x ^ seed) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(x >> 32) & (set->slot_count - 1);
}

static void slot_fill(struct nameset *set, uint32_t position)
{
	uint32_t slot = slot_of(set, &set->names[position]);
	while (set->slots[slot])
		slot = (slot + 1) & (set->slot_count - 1);
	set->slots[slot] = position + 1;
}

static void slots_rebuild(struct nameset *set, uint32_t slot_count)
{
	free(set->slots);
	set->slots = xcalloc(slot_count, sizeof *set->slots);
	set->slot_count = slot_count;
	for (uint32_t i = 0; i < set->count; i++)
		slot_fill(set, i);
}

void nameset_release(struct nameset *set)
{
	free(set->names);
	free(set->slots);
	*set = (struct nameset){0};
}

int64_t nameset_find(const struct nameset *set, const struct name *name)
{
	if (!set->slot_count)
		return -1;
	uint32_t slot = slot_of(set, name);
	for (; set->slots[slot]; slot = (slot + 1) & (set->slot_count - 1)) {
		uint32_t position = set->slots[slot] - 1;
		if (memcmp(&set->names[position], name, sizeof *name) == 0)
			return position;
	}
	return -1;
}

uint32_t nameset_add(struct nameset *set, const struct name *name)
{
	pthread_once(&seed_once, seed_make);
	VEC_GROW(set->names, set->count, set->cap);
	set->names[set->count++] = *name;
	if (2 * (uint64_t)set->count > set->slot_count)
		slots_rebuild(set, set->slot_count ? set->slot_count * 2 : 64);
	else
		slot_fill(set, set->count - 1);
	return set->count - 1;
}

void nameset_truncate(struct nameset *set, uint32_t count)
{
	if (count == 0) {
		nameset_release(set);
	} else if (count < set->count) {
		set->count = count;
		slots_rebuild(set, set->slot_count);
	}
}
