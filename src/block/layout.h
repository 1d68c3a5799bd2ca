// SPDX-License-Identifier: Apache-2.0
/*
 * How a disk is divided before it is cut: segments, and regions of 64 MiB in them.
 *
 * Blocks of 4 KiB are counted from the start of a segment. A disk is one segment, unless its
 * partition table (MBR with logical partitions, or GPT) has a partition that does not begin on a
 * 4 KiB boundary (old systems begin at sector 63): a new segment begins at every partition that is
 * off the 4 KiB grid of the segment before it, so that file data sits on the grid of its own file
 * system. The layout is a function of the disk's bytes alone: equal disks have equal layouts.
 *
 * A region is 64 MiB of one segment counted from the segment's start (the last one shorter); it is
 * the unit of work, of resume and of the tree (a page). Regions are numbered through all segments.
 */
#ifndef BLOCK_LAYOUT_H
#define BLOCK_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define BLOCK_BYTES	    4096u
#define REGION_BYTES	    (64u << 20)
#define REGION_BLOCKS	    (REGION_BYTES / BLOCK_BYTES)
#define LAYOUT_MAX_SEGMENTS 256

struct segment {
	uint64_t start, length; /* bytes */
	uint64_t first_region;	/* number of its first region */
};

struct layout {
	uint64_t size; /* of the disk, bytes; need not be a multiple of a block */
	uint32_t segment_count;
	struct segment segments[LAYOUT_MAX_SEGMENTS];
};

/* Reads `length` bytes at `offset` of the disk into `to`; a read past the end gives zeroes. */
typedef int layout_read_fn(void *context, uint64_t offset, uint32_t length, void *to,
			   struct err *e);

/* One segment over the whole disk. */
void layout_plain(struct layout *layout, uint64_t size);

/* The layout of a disk, from its partition table. A damaged or absurd table is no error: it gives
 * the plain layout. Fails only when `read` does. Touches at most 1 MiB of the disk. */
int layout_of_disk(struct layout *layout, uint64_t size, layout_read_fn *read, void *context,
		   struct err *e);

/* From the starts of segments after 0, ascending, each inside the disk (as a version records
 * them); ERR_CORRUPT else. */
int layout_from_starts(struct layout *layout, uint64_t size, const uint64_t *starts, uint32_t count,
		       struct err *e);

bool layout_equal(const struct layout *a, const struct layout *b);
uint64_t layout_regions(const struct layout *layout);
/* Where region `number` lies. */
void layout_region(const struct layout *layout, uint64_t number, uint64_t *offset,
		   uint32_t *length);
/* The region that holds byte `offset` (< size). */
uint64_t layout_region_at(const struct layout *layout, uint64_t offset);

#endif
