// SPDX-License-Identifier: Apache-2.0
/*
 * The block bitmaps of ext2, ext3 and ext4: Documentation/filesystems/ext4 of Linux. Numbers are
 * little-endian. Every group's descriptor and bitmap must hold its checksum and count, or nothing
 * of the file system is believed.
 */
#include "block/used_ext.h"

#include <stdlib.h>

#include <isa-l/crc.h>

#include "base/mem.h"

#define SUPER_AT	   1024u
#define SUPER_BYTES	   1024u
#define MAX_GROUPS	   524288u /* 64 TiB in blocks of 4 KiB */
#define JOURNAL_INODE	   8u
#define COMPAT_JOURNAL	   0x4u
#define COMPAT_SPARSE2	   0x200u
#define COMPAT_FAST_COMMIT 0x400u
/* dir_prealloc, has_journal, ext_attr, resize_inode, dir_index, sparse_super2, fast_commit,
 * stable_inodes, orphan_file */
#define COMPAT_KNOWN	   (0x1u | COMPAT_JOURNAL | 0x38u | COMPAT_SPARSE2 | COMPAT_FAST_COMMIT | 0x1800u)
#define INCOMPAT_RECOVER   0x4u
#define INCOMPAT_META_BG   0x10u
#define INCOMPAT_64BIT	   0x80u
#define INCOMPAT_SEED	   0x2000u
/* filetype, extents, mmp, flex_bg, ea_inode, largedir, inline_data, encrypt, casefold */
#define INCOMPAT_KNOWN                                                                             \
	(0x2u | 0x40u | 0x100u | 0x200u | 0x400u | 0x4000u | 0x8000u | 0x10000u | 0x20000u |       \
	 INCOMPAT_RECOVER | INCOMPAT_META_BG | INCOMPAT_64BIT | INCOMPAT_SEED)
#define RO_SPARSE	 0x1u
#define RO_GDT_CSUM	 0x10u
#define RO_METADATA_CSUM 0x400u
/* large_file, huge_file, dir_nlink, extra_isize, quota, readonly, project, verity, orphan_present;
 * not bigalloc */
#define RO_KNOWN                                                                                   \
	(0x2u | 0x8u | 0x20u | 0x40u | 0x100u | 0x1000u | 0x2000u | 0x8000u | 0x10000u |           \
	 RO_SPARSE | RO_GDT_CSUM | RO_METADATA_CSUM)
#define STATE_CLEAN	   1u	/* unmounted, or with a journal; no error seen */
#define GROUP_UNINIT	   0x2u /* its block bitmap was never written */
#define DESC_CHECKSUM	   0x1e
#define DESC_BITMAP_HI_END 0x3a

uint32_t ext_crc32c(uint32_t crc, const void *data, uint32_t n)
{
	return crc32_iscsi((unsigned char *)(uintptr_t)data, (int)n, crc);
}

/* CRC-16 of the polynomial 0x8005, reflected: descriptors before metadata_csum. */
static uint16_t crc16(uint16_t crc, const uint8_t *data, size_t n)
{
	static const uint16_t table[16] = {0x0000, 0xcc01, 0xd801, 0x1400, 0xf001, 0x3c00,
					   0x2800, 0xe401, 0xa001, 0x6c00, 0x7800, 0xb401,
					   0x5000, 0x9c01, 0x8801, 0x4400};
	for (size_t i = 0; i < n; i++) {
		crc = (uint16_t)(crc >> 4 ^ table[(crc ^ data[i]) & 15]);
		crc = (uint16_t)(crc >> 4 ^ table[(crc ^ data[i] >> 4) & 15]);
	}
	return crc;
}

int ext_home_block(struct ext *x, uint64_t block, uint8_t *to, struct err *e)
{
	if (block >= x->blocks)
		return volume_doubt(x->v, "a block number is outside of the file system");
	return volume_read(x->v, block * x->block_bytes, x->block_bytes, to, e);
}

/* --- the superblock --- */

static bool power_of(uint32_t n, uint32_t base)
{
	while (n > 1 && n % base == 0)
		n /= base;
	return n == 1;
}

static bool has_super(const struct ext *x, uint32_t group)
{
	if (group == 0)
		return true;
	if (x->compat & COMPAT_SPARSE2)
		return group == le32_get(x->super + 0x24c) || group == le32_get(x->super + 0x250);
	return !(x->ro_compat & RO_SPARSE) || power_of(group, 3) || power_of(group, 5) ||
	       power_of(group, 7);
}

static int check_features(struct ext *x)
{
	struct volume *v = x->v;
	const uint8_t *s = x->super;
	if (le32_get(s + 0x4c) == 0) { /* the first revision has neither features nor sizes */
		x->inode_bytes = 128;
	} else {
		x->compat = le32_get(s + 0x5c);
		x->incompat = le32_get(s + 0x60);
		x->ro_compat = le32_get(s + 0x64);
		x->inode_bytes = le16_get(s + 0x58);
	}
	bool journal = x->compat & COMPAT_JOURNAL;
	v->kind = (x->incompat & ~0x16u) || (x->ro_compat & ~0x3u) ? "ext4"
		  : journal					   ? "ext3"
								   : "ext2";
	if ((x->compat & ~COMPAT_KNOWN) || (x->incompat & ~INCOMPAT_KNOWN) ||
	    (x->ro_compat & ~RO_KNOWN))
		return volume_doubt(v, "it has a feature that is not known");
	if ((x->ro_compat & RO_METADATA_CSUM) && (x->ro_compat & RO_GDT_CSUM))
		return volume_doubt(v, "its features contradict one another");
	if (le32_get(s + 0x48) != 0)
		return volume_doubt(v, "it was not made by Linux");
	if (le16_get(s + 0x3a) != STATE_CLEAN)
		return volume_doubt(v, "it was not unmounted cleanly, or has errors");
	if (!journal && (x->incompat & INCOMPAT_RECOVER))
		return volume_doubt(v, "it needs recovery and has no journal");
	x->dirty = x->incompat & INCOMPAT_RECOVER;
	if (x->ro_compat & RO_METADATA_CSUM) {
		if (s[0x175] != 1 || ext_crc32c(~0u, s, 0x3fc) != le32_get(s + 0x3fc))
			return volume_doubt(v, "its superblock fails its checksum");
		x->seed = (x->incompat & INCOMPAT_SEED) ? le32_get(s + 0x270)
							: ext_crc32c(~0u, s + 0x68, 16);
	}
	return FINE;
}

static int check_sizes(struct ext *x)
{
	const uint8_t *s = x->super;
	uint32_t log_block = le32_get(s + 0x18);
	if (log_block > 6 || le32_get(s + 0x1c) != log_block)
		return volume_doubt(x->v, "its block size is absurd");
	x->block_bytes = 1024u << log_block;
	x->blocks = le32_get(s + 4);
	x->desc_bytes = 32;
	if (x->incompat & INCOMPAT_64BIT) {
		x->blocks |= (uint64_t)le32_get(s + 0x150) << 32;
		x->desc_bytes = le16_get(s + 0xfe);
	}
	x->first_block = le32_get(s + 0x14);
	x->blocks_per_group = le32_get(s + 0x20);
	x->inodes_per_group = le32_get(s + 0x28);
	if (x->blocks == 0 || x->blocks > x->v->length / x->block_bytes)
		return volume_doubt(x->v, "it is larger than its partition");
	if (x->first_block != (x->block_bytes == 1024) || x->first_block >= x->blocks ||
	    x->blocks_per_group < 64 || x->blocks_per_group > 8 * x->block_bytes ||
	    x->blocks_per_group % 8 || le32_get(s + 0x24) != x->blocks_per_group ||
	    x->inodes_per_group < JOURNAL_INODE || x->inodes_per_group > 8 * x->block_bytes ||
	    x->inode_bytes < 128 || x->inode_bytes > x->block_bytes ||
	    (x->inode_bytes & (x->inode_bytes - 1)) || x->desc_bytes < 32 || x->desc_bytes > 1024 ||
	    (x->desc_bytes & (x->desc_bytes - 1)) ||
	    ((x->incompat & INCOMPAT_64BIT) && x->desc_bytes < 64))
		return volume_doubt(x->v, "its superblock is absurd");
	x->descs_per_block = x->block_bytes / x->desc_bytes;
	uint64_t groups = (x->blocks - x->first_block + x->blocks_per_group - 1) /
			  x->blocks_per_group;
	if (groups > MAX_GROUPS)
		return volume_doubt(x->v, "it has more block groups than are looked at");
	x->groups = (uint32_t)groups;
	return FINE;
}

/* --- the groups --- */

static uint64_t group_start(const struct ext *x, uint32_t group)
{
	return x->first_block + (uint64_t)group * x->blocks_per_group;
}

static uint32_t group_blocks(const struct ext *x, uint32_t group)
{
	uint64_t left = x->blocks - group_start(x, group);
	return left < x->blocks_per_group ? (uint32_t)left : x->blocks_per_group;
}

static bool in_meta_group(const struct ext *x, uint32_t desc_block)
{
	return (x->incompat & INCOMPAT_META_BG) && desc_block >= le32_get(x->super + 0x104);
}

static uint64_t desc_block_at(const struct ext *x, uint32_t desc_block)
{
	if (!in_meta_group(x, desc_block))
		return x->first_block + 1ull + desc_block;
	uint32_t group = desc_block * x->descs_per_block;
	return group_start(x, group) + has_super(x, group);
}

/* Blocks at the start of a group for superblock and descriptors: what mke2fs and the kernel count
 * as used where a bitmap was never written. */
static uint32_t base_blocks(const struct ext *x, uint32_t group)
{
	uint32_t all = (x->groups + x->descs_per_block - 1) / x->descs_per_block;
	uint32_t which = group % x->descs_per_block, super = has_super(x, group);
	if (in_meta_group(x, group / x->descs_per_block))
		return super + (which <= 1 || which == x->descs_per_block - 1);
	if (x->incompat & INCOMPAT_META_BG) {
		uint32_t first = le32_get(x->super + 0x104);
		all = first < all ? first : all;
	}
	return super ? 1 + all + le16_get(x->super + 0xce) : 0;
}

static bool desc_whole(const struct ext *x, uint32_t group, const uint8_t *d)
{
	static const uint8_t zero[2];
	uint32_t number = htole32(group);
	const uint32_t rest = DESC_CHECKSUM + 2;
	if (x->ro_compat & RO_METADATA_CSUM) {
		uint32_t crc = ext_crc32c(x->seed, &number, sizeof number);
		crc = ext_crc32c(crc, d, DESC_CHECKSUM);
		crc = ext_crc32c(crc, zero, sizeof zero);
		crc = ext_crc32c(crc, d + rest, x->desc_bytes - rest);
		return (crc & 0xffff) == le16_get(d + DESC_CHECKSUM);
	}
	if (x->ro_compat & RO_GDT_CSUM) {
		uint16_t crc = crc16(0xffff, x->super + 0x68, 16);
		crc = crc16(crc, (const uint8_t *)&number, sizeof number);
		crc = crc16(crc, d, DESC_CHECKSUM);
		if (x->incompat & INCOMPAT_64BIT)
			crc = crc16(crc, d + rest, x->desc_bytes - rest);
		return crc == le16_get(d + DESC_CHECKSUM);
	}
	return true;
}

static bool bitmap_whole(const struct ext *x, const uint8_t *d, const uint8_t *bitmap)
{
	if (!(x->ro_compat & RO_METADATA_CSUM))
		return true;
	uint32_t crc = ext_crc32c(x->seed, bitmap, x->blocks_per_group / 8);
	if ((crc & 0xffff) != le16_get(d + 0x18))
		return false;
	return x->desc_bytes < DESC_BITMAP_HI_END || crc >> 16 == le16_get(d + 0x38);
}

static uint64_t desc_number(const struct ext *x, const uint8_t *d, uint32_t low, uint32_t high)
{
	uint64_t number = le32_get(d + low);
	if (x->desc_bytes >= 64)
		number |= (uint64_t)le32_get(d + high) << 32;
	return number;
}

/* Ranges that are used whatever the bitmaps say, one growing run for each kind. */
struct kept {
	struct extents list;
	struct extent runs[3];
};

static void keep(struct kept *k, int kind, uint64_t offset, uint64_t length)
{
	struct extent *run = &k->runs[kind];
	if (run->offset + run->length == offset) {
		run->length += length;
		return;
	}
	if (run->length) {
		VEC_GROW(k->list.items, k->list.count, k->list.cap);
		k->list.items[k->list.count++] = *run;
	}
	*run = (struct extent){offset, length};
}

struct group_places {
	uint64_t bitmap, inode_bitmap, inode_table;
	uint32_t table_blocks;
};

static int find_places(struct ext *x, const uint8_t *d, struct group_places *at)
{
	at->bitmap = desc_number(x, d, 0, 0x20);
	at->inode_bitmap = desc_number(x, d, 4, 0x24);
	at->inode_table = desc_number(x, d, 8, 0x28);
	at->table_blocks = (uint32_t)(((uint64_t)x->inodes_per_group * x->inode_bytes +
				       x->block_bytes - 1) /
				      x->block_bytes);
	if (at->bitmap <= x->first_block || at->bitmap >= x->blocks ||
	    at->inode_bitmap <= x->first_block || at->inode_bitmap >= x->blocks ||
	    at->inode_table <= x->first_block || at->inode_table >= x->blocks ||
	    at->table_blocks > x->blocks - at->inode_table)
		return volume_doubt(x->v, "a group descriptor points outside of the file system");
	return FINE;
}

static uint32_t blocks_inside(uint64_t start, uint32_t length, uint64_t at, uint32_t n)
{
	uint64_t from = at > start ? at : start, end = at + n, last = start + length;
	if (end > last)
		end = last;
	return end > from ? (uint32_t)(end - from) : 0;
}

/* A group without a bitmap: only its own structures are used. */
static uint32_t free_uninit(struct ext *x, uint32_t group, const struct group_places *at)
{
	uint64_t start = group_start(x, group);
	uint32_t length = group_blocks(x, group), base = base_blocks(x, group);
	if (base > length)
		base = length;
	uint64_t first = start + base;
	uint32_t left = length - base;
	volume_free(x->v, first * x->block_bytes, (uint64_t)left * x->block_bytes);
	return left - blocks_inside(first, left, at->bitmap, 1) -
	       blocks_inside(first, left, at->inode_bitmap, 1) -
	       blocks_inside(first, left, at->inode_table, at->table_blocks);
}

static int read_group(struct ext *x, uint32_t group, const uint8_t *d, struct kept *k,
		      uint8_t *bitmap, struct err *e)
{
	struct group_places at;
	uint32_t free_blocks = le16_get(d + 0xc), flags = le16_get(d + 0x12), found;
	int result;
	if (x->desc_bytes >= 64)
		free_blocks |= (uint32_t)le16_get(d + 0x2c) << 16;
	if (!desc_whole(x, group, d))
		return volume_doubt(x->v, "a group descriptor fails its checksum");
	if ((result = find_places(x, d, &at)) != FINE)
		return result;
	keep(k, 0, at.bitmap * x->block_bytes, x->block_bytes);
	keep(k, 1, at.inode_bitmap * x->block_bytes, x->block_bytes);
	keep(k, 2, at.inode_table * x->block_bytes, (uint64_t)at.table_blocks * x->block_bytes);
	if (flags & GROUP_UNINIT) {
		if (!(x->ro_compat & (RO_METADATA_CSUM | RO_GDT_CSUM)))
			return volume_doubt(x->v, "a group without a bitmap has no checksum");
		found = free_uninit(x, group, &at);
	} else {
		if ((result = ext_block(x, at.bitmap, bitmap, e)) != FINE)
			return result;
		if (!bitmap_whole(x, d, bitmap))
			return volume_doubt(x->v, "a block bitmap fails its checksum");
		found = (uint32_t)volume_free_bits(x->v, bitmap, group_blocks(x, group),
						   group_start(x, group) * x->block_bytes,
						   x->block_bytes);
	}
	if (found != free_blocks)
		return volume_doubt(x->v, "a bitmap and its count of free blocks disagree");
	return FINE;
}

static int read_groups(struct ext *x, struct err *e)
{
	struct kept k = {0};
	uint8_t *descs = xmalloc(x->block_bytes), *bitmap = xmalloc(x->block_bytes);
	int result = FINE;
	uint64_t head = (x->first_block + (uint64_t)base_blocks(x, 0)) * x->block_bytes;

	keep(&k, 0, 0, head < x->v->length ? head : x->v->length);
	for (uint32_t group = 0; group < x->groups && result == FINE; group++) {
		uint32_t nth = group % x->descs_per_block;
		if (nth == 0)
			result = ext_block(x, desc_block_at(x, group / x->descs_per_block), descs,
					   e);
		if (result == FINE)
			result = read_group(x, group, descs + nth * x->desc_bytes, &k, bitmap, e);
	}
	for (int kind = 0; kind < 3; kind++)
		keep(&k, kind, UINT64_MAX, 0); /* the run before it goes to the list */
	if (result == FINE)
		volume_finish(x->v, &k.list);
	extents_release(&k.list);
	free(descs);
	free(bitmap);
	return result;
}

/* --- the journal --- */

static int read_journal(struct ext *x, struct err *e)
{
	const uint8_t *s = x->super;
	uint8_t inode[128], *descs = xmalloc(x->block_bytes);
	int result;
	if (le32_get(s + 0xe0) != JOURNAL_INODE) {
		result = volume_doubt(x->v, "its journal is on another disk");
		goto out;
	}
	/* Recovery, too, finds the journal by what is in place. */
	if ((result = ext_home_block(x, desc_block_at(x, 0), descs, e)) != FINE)
		goto out;
	uint64_t table = desc_number(x, descs, 8, 0x28);
	if (table <= x->first_block || table >= x->blocks)
		result = volume_doubt(x->v, "a group descriptor points outside of the file system");
	else
		result = volume_read(
		    x->v, table * x->block_bytes + (uint64_t)(JOURNAL_INODE - 1) * x->inode_bytes,
		    sizeof inode, inode, e);
	if (result == FINE)
		result = ext_journal_read(x, inode, e);
out:
	free(descs);
	return result;
}

/* What recovery makes of the superblock must be the file system that is read here. */
static int check_recovered_super(struct ext *x, struct err *e)
{
	static const uint8_t same[][2] = {{0x00, 8},  {0x14, 24}, {0x38, 2}, {0x4c, 4}, {0x58, 2},
					  {0x68, 16}, {0xce, 2},  {0xe0, 4}, {0xfe, 2}};
	uint8_t *block = xmalloc(x->block_bytes);
	const uint8_t *r = block + (x->block_bytes == 1024 ? 0 : SUPER_AT);
	int result = ext_block(x, SUPER_AT / x->block_bytes, block, e);
	if (result != FINE)
		goto out;
	bool equal = memcmp(r + 0x104, x->super + 0x104, 4) == 0 &&
		     memcmp(r + 0x150, x->super + 0x150, 4) == 0 &&
		     memcmp(r + 0x24c, x->super + 0x24c, 8) == 0 &&
		     memcmp(r + 0x270, x->super + 0x270, 4) == 0;
	for (size_t i = 0; i < COUNT_OF(same); i++)
		equal &= memcmp(r + same[i][0], x->super + same[i][0], same[i][1]) == 0;
	equal &= (le32_get(r + 0x60) & ~INCOMPAT_RECOVER) == (x->incompat & ~INCOMPAT_RECOVER);
	/* The first large file, and the first orphan, set a bit. */
	equal &= ((le32_get(r + 0x64) ^ x->ro_compat) & ~0x10002u) == 0;
	equal &= le16_get(r + 0x3a) == STATE_CLEAN;
	if (!equal)
		result = volume_doubt(x->v, "its journal changes the superblock");
out:
	free(block);
	return result;
}

int used_ext(struct volume *v, struct err *e)
{
	uint8_t super[SUPER_BYTES];
	struct ext x = {.v = v, .super = super};
	int result;
	if (v->length < SUPER_AT + SUPER_BYTES)
		return DOUBT;
	if ((result = volume_read(v, SUPER_AT, SUPER_BYTES, super, e)) != FINE)
		return result;
	if (le16_get(super + 0x38) != 0xef53)
		return DOUBT;
	v->kind = "ext4";
	if ((result = check_features(&x)) == FINE && (result = check_sizes(&x)) == FINE &&
	    (x.compat & COMPAT_JOURNAL) && (result = read_journal(&x, e)) == FINE)
		result = check_recovered_super(&x, e);
	if (result == FINE)
		result = read_groups(&x, e);
	ext_journal_release(&x);
	return result;
}
