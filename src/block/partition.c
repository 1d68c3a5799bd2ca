// SPDX-License-Identifier: Apache-2.0
/*
 * The layout of a disk from its partition table. MBR: the IBM/Microsoft format as fdisk(8) writes
 * it; GPT: UEFI specification, chapter 5. Every byte of the disk is hostile.
 */
#include "block/layout.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>

#include "base/mem.h"

#define SECTOR		512u
#define SECTOR_MAX	4096u
#define MBR_ENTRIES	446
#define MBR_ENTRY	16
#define MBR_GPT		0xee
#define MAX_PARTITIONS	1024
#define MAX_LOGICALS	LAYOUT_MAX_SEGMENTS
#define GPT_HEADER	92
#define GPT_MAX_ENTRIES (512u << 10) /* bytes of the entry array */
#define GPT_ENTRY_MIN	128

struct table {
	layout_read_fn *read;
	void *context;
	uint64_t size;
	uint64_t starts[MAX_PARTITIONS]; /* bytes, inside the disk */
	uint32_t count;
};

enum verdict { TABLE_NONE = 0, TABLE_FOUND = 1 }; /* or -1: the disk cannot be read */

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return le32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return le64toh(value);
}

/* A partition outside of the disk (one cut off by a smaller copy) divides nothing. */
static bool add_partition(struct table *t, uint64_t sector, uint32_t sector_bytes)
{
	if (sector == 0 || sector >= t->size / sector_bytes)
		return true;
	if (t->count == MAX_PARTITIONS)
		return false;
	t->starts[t->count++] = sector * sector_bytes;
	return true;
}

static bool gpt_header_whole(const uint8_t *header, uint32_t sector_bytes)
{
	uint8_t copy[SECTOR_MAX];
	uint32_t bytes = get32(header + 12);
	if (memcmp(header, "EFI PART", 8) != 0 || bytes < GPT_HEADER || bytes > sector_bytes)
		return false;
	memcpy(copy, header, bytes);
	memset(copy + 16, 0, 4); /* the checksum itself counts as zero */
	return crc32_gzip_refl(0, copy, bytes) == get32(header + 16) &&
	       get64(header + 24) == 1; /* it says that it lies where it does */
}

static int read_gpt_entries(struct table *t, const uint8_t *header, uint32_t sector_bytes,
			    struct err *e)
{
	static const uint8_t unused[16];
	uint64_t at = get64(header + 72);
	uint32_t count = get32(header + 80), entry = get32(header + 84);
	if (entry < GPT_ENTRY_MIN || entry > sector_bytes || entry % 8 != 0 || count == 0 ||
	    count > GPT_MAX_ENTRIES / entry || at < 2 || at >= t->size / sector_bytes)
		return TABLE_NONE;
	uint32_t bytes = count * entry;
	int result = -1;
	uint8_t *entries = xmalloc(bytes);
	if (t->read(t->context, at * sector_bytes, bytes, entries, e) < 0)
		goto out;
	result = TABLE_NONE;
	if (crc32_gzip_refl(0, entries, bytes) != get32(header + 88))
		goto out;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *p = entries + (size_t)i * entry;
		if (memcmp(p, unused, sizeof unused) != 0 &&
		    !add_partition(t, get64(p + 32), sector_bytes))
			goto out;
	}
	result = TABLE_FOUND;
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
	return TABLE_NONE;
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
				return TABLE_NONE;
		seen[n] = link;
		if (link >= t->size / SECTOR)
			return TABLE_NONE;
		if (t->read(t->context, link * SECTOR, SECTOR, sector, e) < 0)
			return -1;
		if (!has_signature(sector))
			return TABLE_NONE;
		const uint8_t *partition = sector + MBR_ENTRIES, *next = partition + MBR_ENTRY;
		if (partition[4] && get32(partition + 12) &&
		    !add_partition(t, link + get32(partition + 8), SECTOR))
			return TABLE_NONE;
		if (!is_extended(next[4]) || get32(next + 12) == 0)
			return TABLE_FOUND;
		link = (uint64_t)extended + get32(next + 8);
	}
	return TABLE_NONE;
}

static int read_mbr(struct table *t, const uint8_t *mbr, struct err *e)
{
	for (int i = 0; i < 4; i++) {
		const uint8_t *p = mbr + MBR_ENTRIES + i * MBR_ENTRY;
		uint32_t start = get32(p + 8), sectors = get32(p + 12);
		int ok = TABLE_FOUND;
		if (p[4] == 0 || sectors == 0)
			continue;
		if (is_extended(p[4]))
			ok = read_logicals(t, start, e);
		else if (!add_partition(t, start, SECTOR))
			ok = TABLE_NONE;
		if (ok != TABLE_FOUND)
			return ok;
	}
	return TABLE_FOUND;
}

static int read_table(struct table *t, struct err *e)
{
	uint8_t mbr[SECTOR];
	bool gpt = false;
	if (t->size < SECTOR)
		return TABLE_NONE;
	if (t->read(t->context, 0, SECTOR, mbr, e) < 0)
		return -1;
	if (!has_signature(mbr))
		return TABLE_NONE;
	for (int i = 0; i < 4; i++) {
		const uint8_t *p = mbr + MBR_ENTRIES + i * MBR_ENTRY;
		if (p[0] & 0x7f) /* neither active nor not: the boot sector of a file system */
			return TABLE_NONE;
		gpt |= p[4] == MBR_GPT;
	}
	return gpt ? read_gpt(t, e) : read_mbr(t, mbr, e);
}

static int compare_starts(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

int layout_of_disk(struct layout *layout, uint64_t size, layout_read_fn *read, void *context,
		   struct err *e)
{
	struct table t = {.read = read, .context = context, .size = size};
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	uint32_t count = 0;

	layout_plain(layout, size);
	int found = read_table(&t, e);
	if (found != TABLE_FOUND)
		return found;
	qsort(t.starts, t.count, sizeof t.starts[0], compare_starts);
	uint64_t segment = 0;
	for (uint32_t i = 0; i < t.count; i++) {
		if ((t.starts[i] - segment) % BLOCK_BYTES == 0)
			continue;
		if (count == LAYOUT_MAX_SEGMENTS - 1)
			return 0;
		segment = starts[count++] = t.starts[i];
	}
	return layout_from_starts(layout, size, starts, count, e);
}
