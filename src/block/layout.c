// SPDX-License-Identifier: Apache-2.0
#include "block/layout.h"

#include <assert.h>
#include <inttypes.h>

static uint64_t regions_in(uint64_t length)
{
	return length / REGION_BYTES + (length % REGION_BYTES != 0);
}

void layout_plain(struct layout *layout, uint64_t size)
{
	layout->size = size;
	layout->segment_count = 1;
	layout->segments[0] = (struct segment){.start = 0, .length = size, .first_region = 0};
}

int layout_from_starts(struct layout *layout, uint64_t size, const uint64_t *starts, uint32_t count,
		       struct err *e)
{
	if (count >= LAYOUT_MAX_SEGMENTS)
		return err_set(e, ERR_CORRUPT, "a disk has %u segments, more than %u", count + 1,
			       LAYOUT_MAX_SEGMENTS);
	layout_plain(layout, size);
	for (uint32_t i = 0; i < count; i++) {
		struct segment *last = &layout->segments[i];
		if (starts[i] <= last->start || starts[i] >= size)
			return err_set(e, ERR_CORRUPT,
				       "segment %u of a disk of %" PRIu64
				       " bytes cannot start at byte %" PRIu64,
				       i + 1, size, starts[i]);
		last->length = starts[i] - last->start;
		layout->segments[i + 1] = (struct segment){
		    .start = starts[i],
		    .length = size - starts[i],
		    .first_region = last->first_region + regions_in(last->length)};
		layout->segment_count++;
	}
	return 0;
}

bool layout_equal(const struct layout *a, const struct layout *b)
{
	if (a->size != b->size || a->segment_count != b->segment_count)
		return false;
	for (uint32_t i = 0; i < a->segment_count; i++)
		if (a->segments[i].start != b->segments[i].start)
			return false;
	return true;
}

uint64_t layout_regions(const struct layout *layout)
{
	const struct segment *last = &layout->segments[layout->segment_count - 1];
	return last->first_region + regions_in(last->length);
}

void layout_region(const struct layout *layout, uint64_t number, uint64_t *offset, uint32_t *length)
{
	assert(number < layout_regions(layout));
	uint32_t i = layout->segment_count - 1;
	while (layout->segments[i].first_region > number)
		i--;
	const struct segment *segment = &layout->segments[i];
	uint64_t inside = (number - segment->first_region) * REGION_BYTES;
	uint64_t left = segment->length - inside;
	*offset = segment->start + inside;
	*length = left < REGION_BYTES ? (uint32_t)left : REGION_BYTES;
}

uint64_t layout_region_at(const struct layout *layout, uint64_t offset)
{
	assert(offset < layout->size);
	uint32_t i = layout->segment_count - 1;
	while (layout->segments[i].start > offset)
		i--;
	const struct segment *segment = &layout->segments[i];
	return segment->first_region + (offset - segment->start) / REGION_BYTES;
}
