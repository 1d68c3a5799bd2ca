// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <isa-l/crc.h>

#include "base/mem.h"
#include "block/layout.h"

#define DISK_BYTES (4u << 20)

static uint8_t disk[DISK_BYTES];
static uint64_t bytes_read;

static int read_disk(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	(void)context;
	(void)e;
	memset(to, 0, length);
	bytes_read += length;
	if (offset < DISK_BYTES)
		memcpy(to, disk + offset,
		       length < DISK_BYTES - offset ? length : DISK_BYTES - offset);
	return 0;
}

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void mbr_entry(uint64_t sector, int entry, uint8_t type, uint32_t start, uint32_t count)
{
	uint8_t *at = disk + sector * 512 + 446 + entry * 16;
	at[4] = type;
	put32(at + 8, start);
	put32(at + 12, count);
	disk[sector * 512 + 510] = 0x55;
	disk[sector * 512 + 511] = 0xaa;
}

/* The starts of the segments after 0, in sectors, as text. */
static void assert_layout(const char *expected)
{
	struct layout layout, again;
	struct buf text = {0};
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	bytes_read = 0;
	assert_ok(layout_of_disk(&layout, DISK_BYTES, read_disk, NULL, err));
	assert_true(bytes_read <= 1 << 20);
	for (uint32_t i = 1; i < layout.segment_count; i++) {
		starts[i - 1] = layout.segments[i].start;
		buf_printf(&text, "%s%lu", i > 1 ? " " : "", (unsigned long)(starts[i - 1] / 512));
	}
	assert_string_equal(buf_str(&text), expected);
	assert_ok(layout_from_starts(&again, DISK_BYTES, starts, layout.segment_count - 1, err));
	assert_true(layout_equal(&layout, &again));
	buf_release(&text);
	memset(disk, 0, sizeof disk);
}

static void mbr_tables_divide(void **state)
{
	(void)state;
	assert_layout("");
	mbr_entry(0, 0, 0x83, 2048, 1000);
	assert_layout(""); /* on the grid */
	mbr_entry(0, 0, 0x07, 63, 1000);
	assert_layout("63");
	mbr_entry(0, 0, 0x07, 63, 1000);
	mbr_entry(0, 1, 0x83, 63 + 1000, 100); /* on the grid of the first */
	mbr_entry(0, 2, 0x83, 2048, 100);      /* on the disk's, not on the first's */
	mbr_entry(0, 3, 0x83, 9000, 100);      /* outside */
	assert_layout("63 2048");
	mbr_entry(0, 0, 0x83, 64, 900);
	mbr_entry(0, 3, 0x0f, 1000, 4000); /* logical partitions, 63 sectors behind their tables */
	mbr_entry(1000, 0, 0x83, 63, 500);
	mbr_entry(1000, 1, 0x05, 1000, 600);
	mbr_entry(2000, 0, 0x83, 63, 500);
	mbr_entry(2000, 1, 0x05, 2002, 600);
	mbr_entry(3002, 0, 0x83, 63, 500);
	assert_layout("1063 3065");
}

static void damaged_tables_divide_nothing(void **state)
{
	(void)state;
	mbr_entry(0, 0, 0x07, 63, 1000);
	disk[511] = 0; /* no signature */
	assert_layout("");
	mbr_entry(0, 0, 0x07, 63, 1000);
	disk[446 + 16] = 0x31; /* the boot sector of a file system */
	assert_layout("");
	mbr_entry(0, 0, 0x07, 63, 100);
	mbr_entry(0, 1, 0x05, 1000, 4000);
	mbr_entry(1000, 1, 0x05, 500, 500); /* a loop of two */
	mbr_entry(1500, 1, 0x05, 0, 500);
	assert_layout("");
	mbr_entry(0, 0, 0x07, 63, 100);
	mbr_entry(0, 1, 0x05, 100, 8000);
	for (uint32_t i = 0; i < 300; i++) { /* more than can be */
		mbr_entry(100 + i * 2, 0, 0x83, 1, 1);
		mbr_entry(100 + i * 2, 1, 0x05, (i + 1) * 2, 2);
	}
	assert_layout("");
	mbr_entry(0, 0, 0x07, 63, 100);
	mbr_entry(0, 1, 0x05, 0xffffffff, 8000); /* outside */
	assert_layout("");
}

static void make_gpt(uint32_t sector, const uint64_t *starts, uint32_t count)
{
	uint8_t *header = disk + sector, *entries = disk + 2 * sector;
	mbr_entry(0, 0, 0xee, 1, 0xffffffff);
	for (uint32_t i = 0; i < count; i++) {
		memset(entries + i * 128, 7, 32);
		put32(entries + i * 128 + 32, (uint32_t)starts[i]);
	}
	memcpy(header, "EFI PART", 8);
	put32(header + 8, 0x10000);
	put32(header + 12, 92);
	put32(header + 24, 1);
	put32(header + 72, 2);
	put32(header + 80, 128);
	put32(header + 84, 128);
	put32(header + 88, crc32_gzip_refl(0, entries, 128 * 128));
	put32(header + 16, crc32_gzip_refl(0, header, 92));
}

static void gpt_tables_divide(void **state)
{
	(void)state;
	static const uint64_t starts[] = {34, 2082, 2048, 0x7fffffff};
	make_gpt(512, starts, 4);
	assert_layout("34 2048 2082");
	make_gpt(4096, starts, 4); /* 4 KiB sectors are on the grid always */
	assert_layout("");
	make_gpt(512, starts, 4);
	disk[512 + 50] ^= 1; /* the header's checksum fails */
	assert_layout("");
	make_gpt(512, starts, 4);
	disk[1024 + 32] ^= 1; /* the entries' */
	assert_layout("");
	make_gpt(512, starts, 4);
	put32(disk + 512 + 80, 0xffffffff); /* absurd, with a right checksum */
	put32(disk + 512 + 16, 0);
	put32(disk + 512 + 16, crc32_gzip_refl(0, disk + 512, 92));
	assert_layout("");
}

static int refuse(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	(void)context;
	(void)to;
	return err_set(e, ERR_IO, "no %u bytes at %lu", length, (unsigned long)offset);
}

static void layouts_number_regions(void **state)
{
	(void)state;
	struct layout layout, other;
	struct err e = {0};
	const uint64_t starts[] = {63 * 512, 63 * 512 + 200ull * (1 << 20)};
	const uint64_t size = (1ull << 30) + 512;
	assert_int_equal(layout_of_disk(&layout, size, refuse, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_IO);

	assert_ok(layout_from_starts(&layout, size, starts, 2, err));
	assert_int_equal(layout_regions(&layout), 1 + 4 + 13);
	uint64_t end = 0;
	for (uint64_t n = 0; n < layout_regions(&layout); n++) {
		uint64_t offset;
		uint32_t length;
		layout_region(&layout, n, &offset, &length);
		assert_int_equal(offset, end); /* they cover the disk */
		assert_in_range(length, 1, REGION_BYTES);
		assert_int_equal(layout_region_at(&layout, offset), n);
		assert_int_equal(layout_region_at(&layout, offset + length - 1), n);
		end = offset + length;
	}
	assert_int_equal(end, size);
	layout_plain(&other, size);
	assert_false(layout_equal(&layout, &other));
	assert_int_equal(layout_regions(&other), 17);

	uint64_t bad[LAYOUT_MAX_SEGMENTS] = {0};
	assert_int_equal(layout_from_starts(&layout, size, bad, 1, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
	bad[0] = size;
	assert_int_equal(layout_from_starts(&layout, size, bad, 1, &e), -1);
	bad[0] = bad[1] = 4096;
	assert_int_equal(layout_from_starts(&layout, size, bad, 2, &e), -1);
	for (int i = 0; i < LAYOUT_MAX_SEGMENTS; i++)
		bad[i] = 512 * (i + 1);
	assert_int_equal(layout_from_starts(&layout, size, bad, LAYOUT_MAX_SEGMENTS, &e), -1);
	assert_ok(layout_from_starts(&layout, size, bad, LAYOUT_MAX_SEGMENTS - 1, err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mbr_tables_divide),
	    cmocka_unit_test(damaged_tables_divide_nothing),
	    cmocka_unit_test(gpt_tables_divide),
	    cmocka_unit_test(layouts_number_regions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
