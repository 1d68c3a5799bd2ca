// SPDX-License-Identifier: Apache-2.0
/*
 * The layout of a disk from its partition table. MBR: the IBM/Microsoft format as fdisk(8) writes
 * it; GPT: UEFI specification, chapter 5. Every byte of the disk is hostile.
 */
#include "block/partition.h"

#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "base/le.h"
#include "base/mem.h"

#define SECTOR		512u
#define SECTOR_MAX	4096u
#define MBR_ENTRIES	446
#define MBR_ENTRY	16
#define MBR_GPT		0xee
#define MBR_DYNAMIC	0x42
#define MAX_LOGICALS	LAYOUT_MAX_SEGMENTS
#define GPT_HEADER	92
#define GPT_MAX_ENTRIES (512u << 10) /* bytes of the entry array */
#define GPT_ENTRY_MIN	128

struct table {
	layout_read_fn *read;
	void *context;
	uint64_t size;
	struct partitions *partitions;
};

/* AF9B60A0-1431-4F62-BC68-3311714A69AD, as GPT writes it */
static const uint8_t gpt_dynamic[16] = {0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f,
					0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad};

/* A partition outside of the disk (one cut off by a smaller copy) divides nothing. */
static bool add_partition(struct table *t, uint64_t sector, uint64_t sectors, uint32_t sector_bytes,
			  bool dynamic)
{
	struct partitions *p = t->partitions;
	uint64_t disk = t->size / sector_bytes;
	if (sector == 0 || sector >= disk)
		return true;
	if (p->count == MAX_PARTITIONS)
		return false;
	if (sectors > disk - sector)
		sectors = disk - sector;
	p->items[p->count++] = (struct partition){sector * sector_bytes, sectors * sector_bytes,
						  dynamic};
	return true;
}

static bool gpt_header_whole(const uint8_t *header, uint32_t sector_bytes)
{
	uint8_t copy[SECTOR_MAX];
	uint32_t bytes = le32_get(header + 12);
	if (memcmp(header, "EFI PART", 8) != 0 || bytes < GPT_HEADER || bytes > sector_bytes)
		return false;
	memcpy(copy, header, bytes);
	memset(copy + 16, 0, 4); /* the checksum itself counts as zero */
	return crc32_gzip_refl(0, copy, bytes) == le32_get(header + 16) &&
	       le64_get(header + 24) == 1; /* it says that it lies where it does */
}

static int read_gpt_entries(struct table *t, const uint8_t *header, uint32_t sector_bytes,
			    struct err *e)
{
	static const uint8_t unused[16];
	uint64_t at = le64_get(header + 72);
	uint32_t count = le32_get(header + 80), entry = le32_get(header + 84);
	if (entry < GPT_ENTRY_MIN || entry > sector_bytes || entry % 8 != 0 || count == 0 ||
	    count > GPT_MAX_ENTRIES / entry || at < 2 || at >= t->size / sector_bytes)
		return PARTITIONS_DAMAGED;
	uint32_t bytes = count * entry;
	int result = -1;
	uint8_t *entries = xmalloc(bytes);
	if (t->read(t->context, at * sector_bytes, bytes, entries, e) < 0)
		goto out;
	result = PARTITIONS_DAMAGED;
	if (crc32_gzip_refl(0, entries, bytes) != le32_get(header + 88))
		goto out;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *p = entries + (size_t)i * entry;
		uint64_t first = le64_get(p + 32), last = le64_get(p + 40);
		if (memcmp(p, unused, sizeof unused) != 0 &&
		    !add_partition(t, first, last >= first ? last - first + 1 : 0, sector_bytes,
				   memcmp(p, gpt_dynamic, sizeof gpt_dynamic) == 0))
			goto out;
	}
	result = PARTITIONS_FOUND;
out:
	free(entries);
	return result;
}

static int read_gpt(struct table *t, struct err *e)
{
	static const uint32_t sector_sizes[] = {SECTOR, SECTOR_MAX};
	for (size_t i = 0; i < COUNT_OF(sector_sizes); i++) {
		uint8_t header[SECTOR_MAX];
		uint32_t bytes = sector_sizes[i];
		if (t->read(t->context, bytes, bytes, header, e) < 0)
			return -1;
		if (gpt_header_whole(header, bytes))
			return read_gpt_entries(t, header, bytes, e);
	}
	return PARTITIONS_DAMAGED;
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool has_signature(const uint8_t *sector)
{
	return sector[510] == 0x55 && sector[511] == 0xaa;
}

/* The chain of logical partitions: each link is a table of one partition, counted from the link,
 * and of the next link, counted from the extended partition. */
static int read_logicals(struct table *t, uint32_t extended, struct err *e)
{
	uint64_t seen[MAX_LOGICALS];
	uint64_t link = extended;
	for (unsigned n = 0; n < MAX_LOGICALS; n++) {
		uint8_t sector[SECTOR];
		for (unsigned i = 0; i < n; i++)
			if (seen[i] == link)
				return PARTITIONS_DAMAGED;
		seen[n] = link;
		if (link >= t->size / SECTOR)
			return PARTITIONS_DAMAGED;
		if (t->read(t->context, link * SECTOR, SECTOR, sector, e) < 0)
			return -1;
		if (!has_signature(sector))
			return PARTITIONS_DAMAGED;
		const uint8_t *partition = sector + MBR_ENTRIES, *next = partition + MBR_ENTRY;
		if (partition[4] && le32_get(partition + 12) &&
		    !add_partition(t, link + le32_get(partition + 8), le32_get(partition + 12),
				   SECTOR, partition[4] == MBR_DYNAMIC))
			return PARTITIONS_DAMAGED;
		if (!is_extended(next[4]) || le32_get(next + 12) == 0)
			return PARTITIONS_FOUND;
		link = (uint64_t)extended + le32_get(next + 8);
	}
	return PARTITIONS_DAMAGED;
}

static int read_mbr(struct table *t, const uint8_t *mbr, struct err *e)
{
	for (int i = 0; i < 4; i++) {
		const uint8_t *p = mbr + MBR_ENTRIES + i * MBR_ENTRY;
		uint32_t start = le32_get(p + 8), sectors = le32_get(p + 12);
		int ok = PARTITIONS_FOUND;
		if (p[4] == 0 || sectors == 0)
			continue;
		if (is_extended(p[4]))
			ok = read_logicals(t, start, e);
		else if (!add_partition(t, start, sectors, SECTOR, p[4] == MBR_DYNAMIC))
			ok = PARTITIONS_DAMAGED;
		if (ok != PARTITIONS_FOUND)
			return ok;
	}
	return PARTITIONS_FOUND;
}

static int read_table(struct table *t, struct err *e)
{
	uint8_t mbr[SECTOR];
	bool gpt = false;
	if (t->size < SECTOR)
		return PARTITIONS_NONE;
	if (t->read(t->context, 0, SECTOR, mbr, e) < 0)
		return -1;
	if (!has_signature(mbr))
		return PARTITIONS_NONE;
	for (int i = 0; i < 4; i++) {
		const uint8_t *p = mbr + MBR_ENTRIES + i * MBR_ENTRY;
		if (p[0] & 0x7f) /* neither active nor not: the boot sector of a file system */
			return PARTITIONS_NONE;
		gpt |= p[4] == MBR_GPT;
	}
	return gpt ? read_gpt(t, e) : read_mbr(t, mbr, e);
}

static int compare_starts(const void *a, const void *b)
{
	const struct partition *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

int partitions_of_disk(struct partitions *partitions, uint64_t size, layout_read_fn *read,
		       void *context, struct err *e)
{
	struct table t = {.read = read, .context = context, .size = size, .partitions = partitions};
	partitions->count = 0;
	return read_table(&t, e);
}

int layout_of_disk(struct layout *layout, uint64_t size, layout_read_fn *read, void *context,
		   struct err *e)
{
	struct partitions found;
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	uint32_t count = 0;

	layout_plain(layout, size);
	int verdict = partitions_of_disk(&found, size, read, context, e);
	if (verdict != PARTITIONS_FOUND)
		return verdict < 0 ? -1 : 0;
	qsort(found.items, found.count, sizeof found.items[0], compare_starts);
	uint64_t segment = 0;
	for (uint32_t i = 0; i < found.count; i++) {
		uint64_t start = found.items[i].start;
		if ((start - segment) % BLOCK_BYTES == 0)
			continue;
		if (count == LAYOUT_MAX_SEGMENTS - 1)
			return 0;
		segment = starts[count++] = start;
	}
	return layout_from_starts(layout, size, starts, count, e);
}
