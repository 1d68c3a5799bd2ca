// SPDX-License-Identifier: Apache-2.0
/*
 * The free space of XFS: "XFS Algorithms & Data Structures" and fs/xfs/libxfs/xfs_format.h of Linux.
 * Numbers are big-endian, checksums little-endian. Each allocation group has a tree of its free
 * extents by block number; it must have the magic, checksums, owners, order and totals that the
 * group's header tells of, or nothing of the file system is believed.
 */
#include "block/used_xfs.h"

#include <isa-l/crc.h>

#include "base/mem.h"

#define SUPER_BYTES	   264u
#define SUPER_CRC	   224u
#define AGF_BYTES	   224u
#define AGF_CRC		   216u
#define MAX_AGS		   1048576u
#define MAX_LEVELS	   8u
#define RO_KNOWN	   0xfu /* finobt, rmapbt, reflink, inobtcnt */
/* ftype, spinodes, meta_uuid, bigtime, nrext64, exchrange, parent; not needsrepair, metadir */
#define INCOMPAT_KNOWN	   0xefu
#define INCOMPAT_META_UUID 0x4u
#define NONE		   0xffffffffu

static const char broken_tree[] = "a tree of its free space is damaged";

uint32_t xfs_crc(const uint8_t *data, uint32_t n, uint32_t at)
{
	static uint8_t zero[4];
	uint32_t crc = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)at, ~0u);
	crc = crc32_iscsi(zero, 4, crc);
	return ~crc32_iscsi((unsigned char *)(uintptr_t)(data + at + 4), (int)(n - at - 4), crc);
}

static bool whole(const struct xfs *x, const uint8_t *data, uint32_t n, uint32_t at)
{
	return !x->v5 || xfs_crc(data, n, at) == le32_get(data + at);
}

static bool power_of_2(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

static int read_super(struct xfs *x, struct err *e)
{
	struct volume *v = x->v;
	const uint8_t *s;
	int result = volume_at(v, 0, SUPER_BYTES, &s, e);
	if (result != FINE)
		return result;
	if (memcmp(s, "XFSB", 4) != 0)
		return DOUBT;
	v->kind = "xfs";
	uint32_t version = be16_at(s + 100) & 0xf;
	x->v5 = version == 5;
	x->block_bytes = be32_at(s + 4);
	x->blocks = be64_at(s + 8);
	x->log_start = be64_at(s + 48);
	x->ag_blocks = be32_at(s + 84);
	x->ag_count = be32_at(s + 88);
	x->log_blocks = be32_at(s + 96);
	x->sector_bytes = be16_at(s + 102);
	x->ag_shift = s[124];
	memcpy(x->uuid, s + 32, 16);
	memcpy(x->meta_uuid, s + 32, 16);
	if (version != 4 && version != 5)
		return volume_doubt(v, "its version is not known");
	if (!power_of_2(x->block_bytes) || x->block_bytes < 512 || x->block_bytes > 65536 ||
	    !power_of_2(x->sector_bytes) || x->sector_bytes < 512 ||
	    x->sector_bytes > x->block_bytes || x->ag_blocks < 16 || x->ag_count == 0 ||
	    x->ag_count > MAX_AGS || x->ag_shift > 31 || x->ag_blocks > 1u << x->ag_shift ||
	    x->blocks <= (uint64_t)(x->ag_count - 1) * x->ag_blocks ||
	    x->blocks > (uint64_t)x->ag_count * x->ag_blocks)
		return volume_doubt(v, "its superblock is absurd");
	if (x->blocks > v->length / x->block_bytes)
		return volume_doubt(v, "it is larger than its partition");
	if (s[126])
		return volume_doubt(v, "it is not completely made");
	if (!x->v5)
		return FINE;
	uint32_t incompat = be32_at(s + 216);
	if (be32_at(s + 208) || (be32_at(s + 212) & ~RO_KNOWN) || (incompat & ~INCOMPAT_KNOWN) ||
	    be32_at(s + 220))
		return volume_doubt(v, "it has a feature that is not known, or needs repair");
	if (incompat & INCOMPAT_META_UUID)
		memcpy(x->meta_uuid, s + 248, 16);
	if ((result = volume_at(v, 0, x->sector_bytes, &s, e)) != FINE)
		return result;
	return whole(x, s, x->sector_bytes, SUPER_CRC)
		   ? FINE
		   : volume_doubt(v, "its superblock fails its checksum");
}

/* --- the tree of one allocation group --- */

struct group {
	uint32_t number, blocks;
	uint32_t root, levels, free_blocks, longest;
};

static uint64_t group_block(const struct xfs *x, const struct group *g, uint32_t block)
{
	return ((uint64_t)g->number * x->ag_blocks + block) * x->block_bytes;
}

static int read_group(struct xfs *x, struct group *g, struct err *e)
{
	const uint8_t *a;
	int result = volume_at(x->v, group_block(x, g, 0) + x->sector_bytes, x->sector_bytes, &a,
			       e);
	if (result != FINE)
		return result;
	g->root = be32_at(a + 16);
	g->levels = be32_at(a + 28);
	g->free_blocks = be32_at(a + 52);
	g->longest = be32_at(a + 56);
	if (memcmp(a, "XAGF", 4) != 0 || be32_at(a + 4) != 1 || be32_at(a + 8) != g->number ||
	    be32_at(a + 12) != g->blocks || g->levels == 0 || g->levels > MAX_LEVELS ||
	    g->free_blocks > g->blocks || !whole(x, a, x->sector_bytes, AGF_CRC) ||
	    (x->v5 && memcmp(a + 64, x->meta_uuid, 16) != 0))
		return volume_doubt(x->v, "the header of an allocation group is damaged");
	return FINE;
}

struct node {
	const uint8_t *bytes; /* until the volume is read again */
	uint32_t level, records, right, left, header;
};

static int read_node(struct xfs *x, const struct group *g, uint32_t block, uint32_t level,
		     struct node *n, struct err *e)
{
	if (block == 0 || block >= g->blocks)
		return volume_doubt(x->v, broken_tree);
	uint64_t at = group_block(x, g, block);
	int result = volume_at(x->v, at, x->block_bytes, &n->bytes, e);
	if (result != FINE)
		return result;
	const uint8_t *b = n->bytes;
	n->level = be16_at(b + 4);
	n->records = be16_at(b + 6);
	n->left = be32_at(b + 8);
	n->right = be32_at(b + 12);
	n->header = x->v5 ? 56 : 16;
	uint32_t record = level ? 12 : 8;
	if (memcmp(b, x->v5 ? "AB3B" : "ABTB", 4) != 0 || n->level != level ||
	    n->records > (x->block_bytes - n->header) / record)
		return volume_doubt(x->v, broken_tree);
	if (x->v5 && (be64_at(b + 16) != at / 512 || memcmp(b + 32, x->meta_uuid, 16) != 0 ||
		      be32_at(b + 48) != g->number || !whole(x, b, x->block_bytes, 52)))
		return volume_doubt(x->v, broken_tree);
	return FINE;
}

/* The leaves from left to right. Each must have a record and add to the count of free blocks, so
 * that a chain that goes round ends soon. */
static int read_leaves(struct xfs *x, const struct group *g, uint32_t block, struct err *e)
{
	uint32_t total = 0, end = 0, longest = 0, left = NONE;
	while (block != NONE) {
		struct node n;
		int result = read_node(x, g, block, 0, &n, e);
		if (result != FINE)
			return result;
		if (n.left != left || (n.records == 0 && (left != NONE || n.right != NONE)))
			return volume_doubt(x->v, broken_tree);
		for (uint32_t i = 0; i < n.records; i++) {
			uint32_t start = be32_at(n.bytes + n.header + i * 8);
			uint32_t length = be32_at(n.bytes + n.header + i * 8 + 4);
			/* Two that touch would be one. */
			if (start <= end || start >= g->blocks || length == 0 ||
			    length > g->blocks - start || length > g->free_blocks - total)
				return volume_doubt(x->v, broken_tree);
			end = start + length;
			total += length;
			longest = length > longest ? length : longest;
			volume_free(x->v, group_block(x, g, start),
				    (uint64_t)length * x->block_bytes);
		}
		left = block;
		block = n.right;
	}
	if (total != g->free_blocks || longest != g->longest)
		return volume_doubt(x->v, "the free space of an allocation group is not what its "
					  "header says");
	return FINE;
}

static int read_tree(struct xfs *x, const struct group *g, struct err *e)
{
	uint32_t block = g->root;
	for (uint32_t level = g->levels - 1; level > 0; level--) {
		struct node n;
		int result = read_node(x, g, block, level, &n, e);
		if (result != FINE)
			return result;
		if (n.records == 0 || n.left != NONE)
			return volume_doubt(x->v, broken_tree);
		uint32_t most = (x->block_bytes - n.header) / 12;
		block = be32_at(n.bytes + n.header + most * 8);
	}
	return read_leaves(x, g, block, e);
}

int used_xfs(struct volume *v, struct err *e)
{
	struct xfs x = {.v = v};
	struct extents none = {0};
	if (v->length < 65536)
		return DOUBT;
	int result = read_super(&x, e);
	if (result == FINE)
		result = xfs_log_empty(&x, e);
	for (uint32_t i = 0; i < x.ag_count && result == FINE; i++) {
		uint64_t left = x.blocks - (uint64_t)i * x.ag_blocks;
		struct group g = {.number = i,
				  .blocks = left < x.ag_blocks ? (uint32_t)left : x.ag_blocks};
		if ((result = read_group(&x, &g, e)) == FINE)
			result = read_tree(&x, &g, e);
	}
	if (result == FINE)
		volume_finish(v, &none);
	return result;
}
