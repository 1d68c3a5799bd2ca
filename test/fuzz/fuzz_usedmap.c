// SPDX-License-Identifier: Apache-2.0
/*
 * A disk of a few MiB given by its pieces: 4 bytes its size in blocks of 4 KiB, then again and again 4 bytes
 * an offset in units of 512 bytes, 2 bytes a length, that many bytes; zero elsewhere. All ranges of its
 * map are whole blocks inside the disk, sorted, long enough and within what the notes say.
 */
#include <assert.h>
#include <endian.h>
#include <string.h>

#include "block/used.h"

#define MAX_BLOCKS 0x100000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct image {
	const uint8_t *data;
	size_t n;
};

static uint32_t number(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return le32toh(value);
}

static int read_image(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	const struct image *image = context;
	(void)e;
	memset(to, 0, length);
	for (size_t at = 0; at + 6 <= image->n;) {
		uint64_t start = number(image->data + at) * 512ull;
		uint64_t bytes = image->data[at + 4] | image->data[at + 5] << 8;
		at += 6;
		if (bytes > image->n - at)
			bytes = image->n - at;
		uint64_t from = start > offset ? start : offset, end = start + bytes;
		if (end > offset + length)
			end = offset + length;
		if (from < end)
			memcpy((uint8_t *)to + (from - offset), image->data + at + (from - start),
			       end - from);
		at += bytes;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct used_map map;
	struct layout layout;
	if (n < 4)
		return 0;
	struct image image = {data + 4, n - 4};
	uint64_t size = (number(data) % MAX_BLOCKS + 1) * 4096ull, end = 0, noted = 0;
	int result = layout_of_disk(&layout, size, read_image, &image, NULL);
	assert(result == 0);
	result = used_map_of_disk(&layout, read_image, &image, &map, NULL);
	assert(result == 0);
	for (size_t i = 0; i < map.unused.count; i++) {
		const struct extent *x = &map.unused.items[i];
		assert(x->offset >= end && x->length >= USED_MIN_BYTES);
		end = x->offset + x->length;
		assert(end <= size);
		const struct segment *s = layout.segments + layout.segment_count - 1;
		while (s->start > x->offset)
			s--;
		assert((x->offset - s->start) % BLOCK_BYTES == 0);
	}
	for (uint32_t i = 0; i < map.note_count; i++) {
		noted += map.notes[i].unused_bytes;
		assert(map.notes[i].kind && (!map.notes[i].why || !map.notes[i].unused_bytes));
	}
	assert(noted == extents_total(&map.unused));
	used_map_release(&map);
	return 0;
}
