// SPDX-License-Identifier: Apache-2.0
/* From a disk to its partitions and what is on each; swap; the map of them all. */
#include "block/used.h"

#include <stdlib.h>

#include "base/mem.h"
#include "block/partition.h"
#include "block/used_private.h"

/* --- what is never looked into --- */

struct signature {
	uint64_t offset;
	uint8_t length;
	bool from_end; /* `offset` counts back from the end of the volume */
	char bytes[16];
	const char *kind;
};

/* A map is believed only where none of these is: a file system that was here before leaves its
 * superblock where the new owner does not write, and a mirror's half looks like a file system. */
static const struct signature foreign[] = {
    {0, 6, false, "LUKS\xba\xbe", "LUKS"},
    {0, 8, false, "LABELONE", "LVM"},
    {512, 8, false, "LABELONE", "LVM"},
    {1024, 8, false, "LABELONE", "LVM"},
    {1536, 8, false, "LABELONE", "LVM"},
    {0, 4, false, "\xfc\x4e\x2b\xa9", "md"},
    {4096, 4, false, "\xfc\x4e\x2b\xa9", "md"},
    {4096 + 24, 16, false, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
     "bcache"},
    {4096 + 24, 16, false, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
     "bcachefs"},
    {65536 + 64, 8, false, "_BHRfS_M", "btrfs"},
    {3, 8, false, "-FVE-FS-", "BitLocker"},
    {3, 8, false, "EXFAT   ", "exfat"},
    {3, 4, false, "ReFS", "ReFS"},
    {54, 3, false, "FAT", "fat"},
    {82, 5, false, "FAT32", "fat"},
    {32, 8, false, "ORCLDISK", "Oracle ASM"},
    {0, 22 - 6, false, "bluestore block ", "BlueStore"},
    {1024, 4, false, "\x10\x20\xf5\xf2", "f2fs"},
    {1024 + 6, 2, false, "\x34\x34", "nilfs2"},
    {32768, 4, false, "JFS1", "jfs"},
    {65536 + 52, 8, false, "ReIsEr2F", "reiserfs"},
    {65536 + 52, 8, false, "ReIsEr3F", "reiserfs"},
    {65536 + 52, 7, false, "ReIsErF", "reiserfs"},
    {8192 + 1372, 4, false, "\x54\x19\x01\x00", "ufs"},
    {65536 + 1372, 4, false, "\x19\x01\x54\x19", "ufs"},
};

static int find_signature(struct volume *v, const struct signature *list, size_t count,
			  struct err *e)
{
	const uint8_t *at;
	int result;
	for (size_t i = 0; i < count; i++) {
		const struct signature *s = &list[i];
		uint64_t offset = s->from_end ? (v->length & ~511ull) - s->offset : s->offset;
		if (offset >= v->length || v->length - offset < s->length)
			continue;
		if ((result = volume_at(v, offset, s->length, &at, e)) != FINE)
			return result;
		if (memcmp(at, s->bytes, s->length) == 0) {
			v->kind = s->kind;
			return FINE;
		}
	}
	return FINE;
}

/* md keeps its superblock behind the data in versions 0.90 (64 KiB from the end, at least) and 1.0
 * (8 KiB). Its bytes are of the machine's order in 0.90. */
static int find_md_at_end(struct volume *v, struct err *e)
{
	const uint64_t sectors = v->length / 512;
	const uint64_t places[] = {(v->length & ~65535ull) - 65536, ((sectors - 16) & ~7ull) * 512};
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		const uint8_t *at;
		if (places[i] >= v->length)
			continue;
		int result = volume_at(v, places[i], 4, &at, e);
		if (result != FINE)
			return result;
		if (le32_get(at) == 0xa92b4efc || be32_at(at) == 0xa92b4efc)
			v->kind = "md";
	}
	return FINE;
}

/* A disk with a partition table may yet be a member of an array that has the table: by md, by Intel's
 * or another controller's format (SNIA DDF), or by DRBD. */
static int find_member(struct volume *v, struct err *e)
{
	static const struct signature members[] = {
	    {1024, 16, true, "Intel Raid ISM C", "Intel RAID"},
	    {512, 4, true, "\xde\x11\xde\x11", "DDF"},
	    {4096 - 60, 4, true, "\x83\x74\x02\x6b", "DRBD"},
	    {4096 - 60, 4, true, "\x83\x74\x02\x6d", "DRBD"},
	};
	int result = find_signature(v, members, COUNT_OF(members), e);
	return result == FINE && !v->kind ? find_md_at_end(v, e) : result;
}

/* The ring of uberblocks of the first label, 1 KiB each. */
static int find_zfs(struct volume *v, struct err *e)
{
	static const uint64_t magic = 0x00bab10c;
	for (uint64_t at = 128 << 10; at < 256 << 10 && at + 1024 <= v->length; at += 1024) {
		const uint8_t *block;
		int result = volume_at(v, at, 8, &block, e);
		if (result != FINE)
			return result;
		if (le64_get(block) == magic || be64_at(block) == magic)
			v->kind = "zfs";
	}
	return FINE;
}

/* --- swap --- */

#define SWAP_VERSION	1024
#define SWAP_LAST_PAGE	1028
#define SWAP_MAGIC_SIZE 10

/* mm/swapfile.c and kernel/power/swap.c of Linux: the header fills the first page and ends with its
 * magic, in place of which a hibernated system has put its own. */
int used_swap(struct volume *v, struct err *e)
{
	static const struct {
		char magic[SWAP_MAGIC_SIZE + 1];
		uint8_t length;
	} asleep[] = {{"S1SUSPEND", 9},
		      {"S2SUSPEND", 9},
		      {"ULSUSPEND", 9},
		      {"LINHIB0001", 10},
		      {"\xed\xc3\x02\xe9\x98\x56\xe5\x0c", 8}};
	for (uint32_t page = 4096; page <= 65536; page *= 2) {
		const uint8_t *at;
		struct extents none = {0};
		if (page > v->length)
			return DOUBT;
		int result = volume_at(v, page - SWAP_MAGIC_SIZE, SWAP_MAGIC_SIZE, &at, e);
		if (result != FINE)
			return result;
		for (size_t i = 0; i < COUNT_OF(asleep); i++)
			if (memcmp(at, asleep[i].magic, asleep[i].length) == 0) {
				v->kind = "swap";
				v->hibernated = true;
				return volume_doubt(v, "it holds a hibernated system");
			}
		if (memcmp(at, "SWAPSPACE2", SWAP_MAGIC_SIZE) != 0)
			continue;
		v->kind = "swap";
		if ((result = volume_at(v, 0, SWAP_LAST_PAGE + 4, &at, e)) != FINE)
			return result;
		uint64_t pages = 1ull + le32_get(at + SWAP_LAST_PAGE);
		if (le32_get(at + SWAP_VERSION) != 1)
			return volume_doubt(v, "its version is not known");
		if (pages < 2 || pages > v->length / page)
			return volume_doubt(v, "it is larger than its partition");
		volume_free(v, page, (pages - 1) * page);
		volume_finish(v, &none);
		return FINE;
	}
	return DOUBT;
}

/* --- one volume --- */

typedef int used_fn(struct volume *v, struct err *e);

static void start_afresh(struct volume *v)
{
	extents_release(&v->unused);
	v->pending = v->pending_end = v->too_short = 0;
}

/* The one file system whose signature is here. Two are a doubt. */
static int map_volume(struct volume *v, struct err *e)
{
	static used_fn *const readers[] = {used_swap, used_ext, used_xfs, used_ntfs};
	struct extents unused = {0};
	const char *kind = NULL;
	int result = find_signature(v, foreign, COUNT_OF(foreign), e);
	if (result == FINE && !v->kind)
		result = find_member(v, e);
	if (result == FINE && !v->kind)
		result = find_zfs(v, e);
	if (v->kind)
		volume_doubt(v, "what it holds is not looked into");
	const char *other = v->kind;
	for (size_t i = 0; i < COUNT_OF(readers) && result != READ_FAILED; i++) {
		v->kind = NULL;
		if ((result = readers[i](v, e)) == FINE) {
			extents_release(&unused);
			unused = v->unused;
			v->unused = (struct extents){0};
		}
		start_afresh(v);
		if (v->kind && (kind || other))
			v->why = "it has the signatures of two kinds";
		if (v->kind)
			kind = v->kind;
	}
	v->kind = other ? other : kind ? kind : "unknown";
	if (!other && !kind)
		volume_doubt(v, "its kind is not known");
	if (v->why || result == READ_FAILED)
		extents_release(&unused);
	v->unused = unused;
	return result == READ_FAILED ? -1 : 0;
}

/* --- the disk --- */

/* Whole blocks of the layout inside of [offset, offset + length). */
static void add_blocks(const struct layout *layout, struct extents *out, uint64_t offset,
		       uint64_t length)
{
	for (uint32_t i = 0; i < layout->segment_count; i++) {
		const struct segment *s = &layout->segments[i];
		uint64_t from = offset > s->start ? offset - s->start : 0;
		if (offset + length <= s->start)
			break;
		uint64_t end = offset + length - s->start;
		if (end > s->length)
			end = s->length;
		from = (from + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
		end = end / BLOCK_BYTES * BLOCK_BYTES;
		if (from < end && end - from >= USED_MIN_BYTES)
			extents_append(out, s->start + from, end - from);
	}
}

static bool overlaps_another(const struct partitions *all, uint32_t which)
{
	const struct partition *p = &all->items[which];
	for (uint32_t i = 0; i < all->count; i++) {
		const struct partition *q = &all->items[i];
		if (i != which && p->start < q->start + q->length &&
		    q->start < p->start + p->length)
			return true;
	}
	return false;
}

static int map_one(struct used_map *map, const struct layout *layout, struct volume *v,
		   struct extents *all, bool *hibernated, struct err *e)
{
	struct used_note *note = &map->notes[map->note_count];
	struct extents blocks = {0};
	int result = 0;
	v->window_bytes = 0;
	v->kind = NULL;
	if (v->why)
		v->kind = "unknown";
	else
		result = map_volume(v, e);
	for (size_t i = 0; i < v->unused.count; i++)
		add_blocks(layout, &blocks, v->start + v->unused.items[i].offset,
			   v->unused.items[i].length);
	*note = (struct used_note){v->start, v->length, v->kind, v->why, extents_total(&blocks)};
	map->note_count++;
	*hibernated |= v->hibernated;
	for (size_t i = 0; i < blocks.count; i++)
		extents_append(all, blocks.items[i].offset, blocks.items[i].length);
	extents_release(&blocks);
	extents_release(&v->unused);
	v->why = NULL;
	return result;
}

/* Nothing on this disk may be left out: a system sleeps on it. */
static void keep_all(struct used_map *map, struct extents *all)
{
	extents_release(all);
	for (uint32_t i = 0; i < map->note_count; i++) {
		map->notes[i].unused_bytes = 0;
		if (!map->notes[i].why)
			map->notes[i].why = "a hibernated system on this disk may use it";
	}
}

static int compare_starts(const void *a, const void *b)
{
	const struct partition *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

/* The longest of all volumes together; what a note counts follows. */
static void limit_ranges(struct used_map *map, struct extents *all)
{
	struct volume whole = {.length = UINT64_MAX, .unused = *all};
	struct extents none = {0};
	if (all->count <= USED_MAX_RANGES)
		return;
	volume_finish(&whole, &none);
	*all = whole.unused;
	for (uint32_t i = 0; i < map->note_count; i++) {
		struct used_note *note = &map->notes[i];
		struct extents own = {0};
		extents_slice(all, note->start, note->length, &own);
		note->unused_bytes = extents_total(&own);
		extents_release(&own);
	}
}

int used_map_of_disk(const struct layout *layout, layout_read_fn *read, void *context,
		     struct used_map *map, struct err *e)
{
	struct volume v = {.read = read, .context = context};
	struct partitions *found = xcalloc(1, sizeof *found);
	struct extents all = {0};
	bool hibernated = false;
	int result;

	map->note_count = 0;
	map->unused = (struct extents){0};
	int verdict = partitions_of_disk(found, layout->size, read, context, e);
	if ((result = verdict) < 0)
		goto out;
	result = 0;
	if (verdict == PARTITIONS_DAMAGED || found->count == 0) {
		found->items[0] = (struct partition){.start = 0, .length = layout->size};
		found->count = 1;
	}
	v.length = layout->size;
	if (find_member(&v, e) < 0)
		result = -1;
	bool member = v.kind;
	v.why = NULL;
	qsort(found->items, found->count, sizeof found->items[0], compare_starts);
	for (uint32_t i = 0; i < found->count && result == 0; i++) {
		v.start = found->items[i].start;
		v.length = found->items[i].length;
		if (v.length == 0 || map->note_count == USED_MAX_NOTES)
			continue;
		if (verdict == PARTITIONS_DAMAGED)
			v.why = "its partition table is damaged";
		else if (member)
			v.why = "its disk is a member of an array";
		else if (overlaps_another(found, i))
			v.why = "it overlaps another partition";
		else if (found->items[i].dynamic)
			v.why = "it is part of a dynamic disk";
		result = map_one(map, layout, &v, &all, &hibernated, e);
		limit_ranges(map, &all);
	}
	if (hibernated)
		keep_all(map, &all);
	map->unused = all;
	all = (struct extents){0};
out:
	if (result < 0)
		used_map_release(map);
	extents_release(&all);
	free(v.window);
	free(found);
	return result;
}

void used_map_release(struct used_map *map)
{
	extents_release(&map->unused);
	map->note_count = 0;
}
