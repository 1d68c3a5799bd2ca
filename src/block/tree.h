// SPDX-License-Identifier: Apache-2.0
/*
 * A disk version as a tree of names: root -> branches (1024 pages each) -> pages (one region each)
 * -> chunks. Every node is stored as a chunk is, under the SHA-256 of its bytes, so an increment
 * shares all it did not touch, and equal roots mean equal disks. Layouts: man/godwit-tree.5.
 * A region that is all zero has the page name zero ("no page"); a branch of only such has too.
 */
#ifndef BLOCK_TREE_H
#define BLOCK_TREE_H

#include "base/mem.h"
#include "block/cutter.h"

#define TREE_FANOUT	    1024
#define TREE_NODE_MAX_BYTES (1u << 20)

/* Page: the runs of one region, named. A region that is all zero has no page: nothing is appended,
 * and its page name is zero. */
void page_encode(const struct runs *runs, uint32_t blocks, struct buf *out);
/* Strict: sizes, kinds, order, sums; ERR_CORRUPT with what is wrong. What it takes encodes to the
 * same bytes again. */
int page_decode(const uint8_t *data, size_t n, struct runs *out, uint32_t *blocks, struct err *e);

/* Branch: up to TREE_FANOUT page names. All of them zero: no branch, nothing is appended. */
void branch_encode(const struct name *pages, uint32_t count, struct buf *out);
int branch_decode(const uint8_t *data, size_t n, struct name pages[TREE_FANOUT], uint32_t *count,
		  struct err *e);

/* Root of a disk. */
struct disk_root {
	struct layout layout;
	uint32_t cutter_version;
	uint64_t key_domain;   /* 0: none; names are plain SHA-256 */
	struct name *branches; /* heap; branch_count = ceil(regions / TREE_FANOUT) */
	uint32_t branch_count;
};
/* How many branches a disk of this layout has. */
uint32_t disk_root_branches(const struct layout *layout);
void disk_root_release(struct disk_root *root);
void disk_root_encode(const struct disk_root *root, struct buf *out);
int disk_root_decode(const uint8_t *data, size_t n, struct disk_root *out, struct err *e);

/* Layout of a region's runs without names, for the sender (4 bytes a run: kind, blocks). A region
 * without a page is one zero run. Names of decoded data runs are zero. */
void runs_outline_encode(const struct runs *runs, struct buf *out);
int runs_outline_decode(const uint8_t *data, size_t n, struct runs *out, struct err *e);

/* Ops of a region, for the wire. The decoder knows no base: ops_apply judges what is kept. */
void ops_encode(const struct ops *ops, struct buf *out);
int ops_decode(const uint8_t *data, size_t n, struct ops *out, struct err *e);

#endif
