// SPDX-License-Identifier: Apache-2.0
/*
 * A set of names in memory that remembers the order they were added in: what a name stands for is
 * kept by the caller in an array of its own at the same position. All zero is an empty set.
 */
#ifndef STORE_NAMESET_H
#define STORE_NAMESET_H

#include "block/name.h"

struct nameset {
	struct name *names; /* in the order of adding */
	uint32_t count, cap;
	uint32_t *slots; /* position + 1, 0 for free */
	uint32_t slot_count;
};

void nameset_release(struct nameset *set);
/* The position of a name, or -1. */
int64_t nameset_find(const struct nameset *set, const struct name *name);
/* Add a name that is not in the set; its position. */
uint32_t nameset_add(struct nameset *set, const struct name *name);
/* Forget all from position `count` on. */
void nameset_truncate(struct nameset *set, uint32_t count);

#endif
