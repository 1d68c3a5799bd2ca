// SPDX-License-Identifier: Apache-2.0
/* The first bytes of a disk of 64 MiB: every layout covers it, segment after segment. */
#include <assert.h>
#include <string.h>

#include "block/layout.h"

#define DISK_BYTES (64ull << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct image {
	const uint8_t *data;
	size_t n;
};

static int read_image(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	const struct image *image = context;
	(void)e;
	memset(to, 0, length);
	if (offset < image->n)
		memcpy(to, image->data + offset,
		       length < image->n - offset ? length : image->n - offset);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct image image = {data, n};
	struct layout layout;
	uint64_t end = 0;
	int found = layout_of_disk(&layout, DISK_BYTES, read_image, &image, NULL);
	assert(found == 0);
	for (uint32_t i = 0; i < layout.segment_count; i++) {
		assert(layout.segments[i].start == end && layout.segments[i].length > 0);
		uint64_t number = layout_region_at(&layout, end), offset;
		uint32_t length;
		layout_region(&layout, number, &offset, &length);
		assert(number == layout.segments[i].first_region && offset == end && length > 0);
		end += layout.segments[i].length;
	}
	assert(end == DISK_BYTES);
	assert(layout_region_at(&layout, end - 1) + 1 == layout_regions(&layout));
	return 0;
}
