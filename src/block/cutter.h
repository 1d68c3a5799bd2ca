// SPDX-License-Identifier: Apache-2.0
/*
 * The chunk cutter, version 1: cuts where files end.
 *
 * Input is a region, block by block (4 KiB). An all-zero block belongs to a zero run and never to
 * a chunk. A chunk closes after block i when
 *   - the last 32 bytes of the block are zero (the slack after a file's end), or
 *   - XXH3_64(block, seed) % 24 == 0 (in data without such tails, 96 KiB on average), or
 *   - it is 512 KiB long, or
 *   - the next block is all zero, or the region ends.
 * In coarse mode the first two close only a chunk of at least 16 KiB. A region is cut in fine mode;
 * when that gives more than 8192 chunks it is cut again in coarse mode. Both are functions of the
 * region's bytes alone, and at every cut the cutter forgets all before it: that is why an increment
 * may re-cut only from the cut before a change to the first old cut after it. A region cut in coarse
 * mode remembers where its fine chunks ended, so that an increment can count them anew without
 * reading all of it.
 * The last block of a disk may be short: it is cut and named as if filled up with zeroes.
 */
#ifndef BLOCK_CUTTER_H
#define BLOCK_CUTTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/extent.h"
#include "block/layout.h"
#include "block/name.h"

#define CUTTER_VERSION		 1
#define CUTTER_SEED		 0x676f6477697401ull
#define CHUNK_MAX_BYTES		 (512u << 10)
#define CHUNK_MAX_BLOCKS	 (CHUNK_MAX_BYTES / BLOCK_BYTES)
#define CUTTER_COARSE_MIN_BLOCKS 4
#define CUTTER_FINE_MAX_CHUNKS	 8192

enum run_kind { RUN_ZERO = 0, RUN_DATA = 1 };

/* A piece of a region: a stretch of zero blocks (as long as possible) or one chunk. */
struct run {
	uint16_t kind;
	uint16_t blocks;
	struct name name; /* RUN_DATA: of the plain chunk, whole blocks */
};

/* A bit for each block of a region, the lowest of a byte first. */
#define REGION_BITS_BYTES (REGION_BLOCKS / 8)

/* The runs of a region, in order, covering it exactly. All zero is an empty value. */
struct runs {
	struct run *items;
	uint32_t count, cap;
	bool coarse;
	uint8_t *fine_ends; /* when coarse: set for the last block of each fine chunk; else NULL */
};

void runs_release(struct runs *runs);
void runs_clear(struct runs *runs);
void runs_push(struct runs *runs, enum run_kind kind, uint32_t blocks, const struct name *name);
uint32_t runs_blocks(const struct runs *runs); /* sum */
uint32_t runs_chunks(const struct runs *runs); /* how many of them are data; 0: all is zero */
/* Whether `fine_ends` can be those of coarse runs: in no zero block, at the end of every stretch of
 * data, no further apart than a chunk is long, and more than a fine region may have. */
bool runs_fine_ends_possible(const struct runs *runs, const uint8_t *fine_ends);

bool block_is_zero(const void *block);
/* Whether a chunk closes after this block of data, its `chunk_blocks`th, whatever comes next. */
bool cutter_closes(const uint8_t *block, uint32_t chunk_blocks, bool coarse);

/* Cut a whole region held in memory; `blocks` is its length (the tail of a short last block zeroed
 * by the caller). `present`, whole blocks relative to the region, tells what of it to look at: the
 * rest is zero without being touched; NULL: all. Names are not computed: name_runs does that. */
void cut_region(const uint8_t *data, uint32_t blocks, const struct extents *present,
		struct runs *out);
/* Compute the names of the data runs of a region in memory. */
void name_runs(const uint8_t *data, struct runs *runs);

/* One step of an increment: what to do with a stretch of the region's runs. */
enum op_kind { OP_KEEP = 0, OP_ZERO = 1, OP_DATA = 2 };

struct op {
	uint16_t kind;
	uint16_t count;	  /* OP_KEEP: that many runs of the base, in order; else blocks */
	uint32_t skip;	  /* OP_KEEP: index of the first base run kept */
	struct name name; /* OP_DATA */
};

struct ops {
	struct op *items;
	uint32_t count, cap;
	bool coarse;
	uint8_t *fine_ends; /* when coarse: of the region as it is now; else NULL */
};

void ops_release(struct ops *ops);

/* Reads ranges of the region (whole blocks) to their places in `region`. */
typedef int recut_read_fn(void *context, const struct extents *ranges, uint8_t *region,
			  struct err *e);

/*
 * Cut again the changed part of a region: `base` are its runs in the version before, `dirty` the
 * changed ranges in bytes relative to the region (any alignment), `region` a buffer of the region's
 * size into which what is read is put at its own place, so that OP_DATA can be sent from it.
 * Reads from the start of the run before each dirty range to the first old cut after it, what can
 * be foreseen of that at once, and all when the region changes its mode. The runs that the ops give
 * are the same, run for run, as cut_region of the changed region gives.
 */
int recut_region(const struct runs *base, const struct extents *dirty, uint32_t blocks,
		 uint8_t *region, recut_read_fn *read, void *context, struct ops *out,
		 struct err *e);

/* Apply ops to base runs. ERR_INVALID when they do not cover exactly `blocks`, keep a run that does
 * not exist or out of order, or hold a chunk longer than CHUNK_MAX_BLOCKS. Adjacent zero runs are
 * joined, as the cutter would. */
int ops_apply(const struct runs *base, const struct ops *ops, uint32_t blocks, struct runs *out,
	      struct err *e);

#endif
