// SPDX-License-Identifier: Apache-2.0
/* Sorted lists of byte ranges of a disk: what is allocated, what is zero, what changed. */
#ifndef BLOCK_EXTENT_H
#define BLOCK_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent {
	uint64_t offset, length; /* bytes */
};

/* Sorted by offset, no two touching or overlapping, none empty. All zero is an empty list. */
struct extents {
	struct extent *items;
	size_t count, cap;
};

void extents_release(struct extents *list);
/* Add a range, joined to those it overlaps or touches. Any order is right; the one a walk over a
 * disk gives is fast. Bytes past 2^64 - 1 are left out. */
void extents_append(struct extents *list, uint64_t offset, uint64_t length);
/* Widen every range to multiples of `grain` (a power of two), at most to `size`; joins. */
void extents_align(struct extents *list, uint64_t grain, uint64_t size);
/* Append to `out` the part of `list` inside [offset, offset + length). */
void extents_slice(const struct extents *list, uint64_t offset, uint64_t length,
		   struct extents *out);
/* out = a and b; out = a without b. `out` must be empty and neither argument. */
void extents_intersect(const struct extents *a, const struct extents *b, struct extents *out);
void extents_subtract(const struct extents *a, const struct extents *b, struct extents *out);
uint64_t extents_total(const struct extents *list);
bool extents_touch(const struct extents *list, uint64_t offset, uint64_t length);

#endif
