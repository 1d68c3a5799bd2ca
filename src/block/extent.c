// SPDX-License-Identifier: Apache-2.0
#include "block/extent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static uint64_t end_of(const struct extent *x)
{
	return x->offset + x->length;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Index of the first extent that ends at or after `offset`; count when there is none. */
static size_t first_ending_at(const struct extents *list, uint64_t offset)
{
	size_t low = 0, high = list->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (end_of(&list->items[middle]) < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void extents_release(struct extents *list)
{
	free(list->items);
	*list = (struct extents){0};
}

void extents_append(struct extents *list, uint64_t offset, uint64_t length)
{
	length = min64(length, UINT64_MAX - offset);
	if (length == 0)
		return;
	uint64_t end = offset + length;
	size_t first = first_ending_at(list, offset), after = first;
	while (after < list->count && list->items[after].offset <= end) {
		offset = min64(offset, list->items[after].offset);
		end = max64(end, end_of(&list->items[after]));
		after++;
	}
	if (after == first) {
		VEC_GROW(list->items, list->count, list->cap);
		memmove(list->items + first + 1, list->items + first,
			(list->count - first) * sizeof *list->items);
		list->count++;
	} else {
		memmove(list->items + first + 1, list->items + after,
			(list->count - after) * sizeof *list->items);
		list->count -= after - first - 1;
	}
	list->items[first] = (struct extent){offset, end - offset};
}

void extents_align(struct extents *list, uint64_t grain, uint64_t size)
{
	assert(grain && (grain & (grain - 1)) == 0);
	struct extents out = {0};
	for (size_t i = 0; i < list->count; i++) {
		uint64_t from = list->items[i].offset & ~(grain - 1);
		uint64_t end = min64(end_of(&list->items[i]), size), over = end & (grain - 1);
		if (over)
			end += min64(grain - over, size - end);
		if (from < end)
			extents_append(&out, from, end - from);
	}
	extents_release(list);
	*list = out;
}

void extents_slice(const struct extents *list, uint64_t offset, uint64_t length,
		   struct extents *out)
{
	uint64_t end = offset + min64(length, UINT64_MAX - offset);
	for (size_t i = first_ending_at(list, offset); i < list->count; i++) {
		const struct extent *x = &list->items[i];
		if (x->offset >= end)
			break;
		uint64_t from = max64(x->offset, offset), to = min64(end_of(x), end);
		if (from < to)
			extents_append(out, from, to - from);
	}
}

void extents_intersect(const struct extents *a, const struct extents *b, struct extents *out)
{
	for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
		const struct extent *x = &a->items[i], *y = &b->items[j];
		uint64_t from = max64(x->offset, y->offset), to = min64(end_of(x), end_of(y));
		if (from < to)
			extents_append(out, from, to - from);
		if (end_of(x) < end_of(y))
			i++;
		else
			j++;
	}
}

void extents_subtract(const struct extents *a, const struct extents *b, struct extents *out)
{
	size_t j = 0;
	for (size_t i = 0; i < a->count; i++) {
		uint64_t from = a->items[i].offset, end = end_of(&a->items[i]);
		while (j < b->count && end_of(&b->items[j]) <= from)
			j++;
		for (size_t k = j; k < b->count && b->items[k].offset < end; k++) {
			if (b->items[k].offset > from)
				extents_append(out, from, b->items[k].offset - from);
			from = end_of(&b->items[k]);
		}
		if (from < end)
			extents_append(out, from, end - from);
	}
}

uint64_t extents_total(const struct extents *list)
{
	uint64_t total = 0;
	for (size_t i = 0; i < list->count; i++)
		total += list->items[i].length;
	return total;
}

bool extents_touch(const struct extents *list, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + min64(length, UINT64_MAX - offset);
	size_t i = first_ending_at(list, offset);
	if (i < list->count && end_of(&list->items[i]) == offset)
		i++; /* ends where the range begins: no byte in common */
	return i < list->count && list->items[i].offset < end && length > 0;
}
