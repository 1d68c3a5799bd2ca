// SPDX-License-Identifier: Apache-2.0
/* Reading a partition through a window, and collecting its free ranges in bounded memory. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "block/used_private.h"

#define READ_LEAST 4096u

int volume_doubt(struct volume *v, const char *why)
{
	if (!v->why)
		v->why = why;
	return DOUBT;
}

int volume_at(struct volume *v, uint64_t offset, uint32_t length, const uint8_t **bytes,
	      struct err *e)
{
	assert(length <= VOLUME_WINDOW_BYTES);
	if (offset > v->length || length > v->length - offset)
		return volume_doubt(v, "it points outside of its partition");
	uint64_t window_end = v->window_at + v->window_bytes;
	if (offset < v->window_at || offset + length > window_end) {
		/* Twice as much each time while it goes on where the last read ended. */
		uint64_t want = READ_LEAST, left = v->length - offset;
		if (v->window_bytes && offset >= v->window_at && offset <= window_end)
			want = 2ull * v->window_bytes;
		if (want < length)
			want = length;
		if (want > VOLUME_WINDOW_BYTES)
			want = VOLUME_WINDOW_BYTES;
		if (want > left)
			want = left;
		if (!v->window)
			v->window = xmalloc(VOLUME_WINDOW_BYTES);
		v->window_bytes = 0;
		if (v->read(v->context, v->start + offset, (uint32_t)want, v->window, e) < 0)
			return READ_FAILED;
		v->window_at = offset;
		v->window_bytes = (uint32_t)want;
	}
	*bytes = v->window + (offset - v->window_at);
	return FINE;
}

int volume_read(struct volume *v, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	const uint8_t *bytes;
	int result = volume_at(v, offset, length, &bytes, e);
	if (result == FINE)
		memcpy(to, bytes, length);
	return result;
}

static int compare_lengths(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x < *y) - (*x > *y);
}

/* Leaves the longest USED_MAX_RANGES. */
static void drop_short(struct volume *v)
{
	struct extents *list = &v->unused;
	size_t kept = 0, longer = 0;
	if (list->count <= USED_MAX_RANGES)
		return;
	uint64_t *lengths = xcalloc(list->count, sizeof *lengths);
	for (size_t i = 0; i < list->count; i++)
		lengths[i] = list->items[i].length;
	qsort(lengths, list->count, sizeof *lengths, compare_lengths);
	uint64_t least = lengths[USED_MAX_RANGES - 1];
	while (lengths[longer] > least)
		longer++;
	free(lengths);
	size_t equal = USED_MAX_RANGES - longer;
	for (size_t i = 0; i < list->count; i++) {
		uint64_t length = list->items[i].length;
		if (length > least || (length == least && equal && equal--))
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
	v->too_short = least;
}

static void flush_pending(struct volume *v)
{
	uint64_t length = v->pending_end - v->pending;
	if (length >= USED_MIN_BYTES && length >= v->too_short) {
		extents_append(&v->unused, v->pending, length);
		if (v->unused.count >= 2 * USED_MAX_RANGES)
			drop_short(v);
	}
	v->pending = v->pending_end;
}

void volume_free(struct volume *v, uint64_t offset, uint64_t length)
{
	assert(offset >= v->pending_end && offset <= v->length && length <= v->length - offset);
	if (offset != v->pending_end) {
		flush_pending(v);
		v->pending = offset;
	}
	v->pending_end = offset + length;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

void volume_finish(struct volume *v, struct extents *kept)
{
	struct extents joined = {0}, rest = {0};
	flush_pending(v);
	if (kept->count) {
		qsort(kept->items, kept->count, sizeof *kept->items, compare_offsets);
		for (size_t i = 0; i < kept->count; i++)
			extents_append(&joined, kept->items[i].offset, kept->items[i].length);
		extents_release(kept);
		extents_subtract(&v->unused, &joined, &rest);
		extents_release(&v->unused);
		extents_release(&joined);
		v->unused = rest;
	}
	drop_short(v);
}

static bool bit_of(const uint8_t *bitmap, uint64_t i)
{
	return bitmap[i / 8] >> i % 8 & 1;
}

/* The first bit from `i` on that is not `value`, or `bits`. */
static uint64_t run_end(const uint8_t *bitmap, uint64_t i, uint64_t bits, bool value)
{
	const uint8_t same = value ? 0xff : 0;
	while (i < bits) {
		if (i % 8 == 0 && bits - i >= 8 && bitmap[i / 8] == same)
			i += 8;
		else if (bit_of(bitmap, i) == value)
			i++;
		else
			break;
	}
	return i;
}

uint64_t volume_free_bits(struct volume *v, const uint8_t *bitmap, uint64_t bits, uint64_t at,
			  uint32_t unit_bytes)
{
	uint64_t count = 0;
	for (uint64_t i = run_end(bitmap, 0, bits, true); i < bits;) {
		uint64_t end = run_end(bitmap, i, bits, false);
		volume_free(v, at + i * unit_bytes, (end - i) * unit_bytes);
		count += end - i;
		i = run_end(bitmap, end, bits, true);
	}
	return count;
}
