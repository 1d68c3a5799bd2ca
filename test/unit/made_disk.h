// SPDX-License-Identifier: Apache-2.0
/* A disk made up in memory and put into a store as a version, for the tests that read one back. */
#ifndef MADE_DISK_H
#define MADE_DISK_H

#include "test.h"

#include "base/limits.h"
#include "image/image.h"

/* Not a multiple of a block, three regions: mixed, all zero, mixed. */
#define DISK_BYTES (2ull * REGION_BYTES + 5 * MIB + 513)

struct fixture {
	uint8_t *disk;
	struct store *store;
	struct name root;
	struct name some_chunk;
	struct version_cache *cache;
	struct version *version;
};

static uint32_t noise_state = 1;

static void noise(uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		noise_state = noise_state * 1664525u + 1013904223u;
		to[i] = (uint8_t)(noise_state >> 24);
	}
}

static void put_chunk(struct store *store, const struct name *name, const uint8_t *data, size_t n)
{
	struct buf scratch = {0};
	struct record r = {.name = *name, .kind = RECORD_CHUNK};

	record_pack(&r, CODEC_ZSTD, 1, data, (uint32_t)n, &scratch);
	assert_ok(store_put(store, NULL, &r, err));
	buf_release(&scratch);
}

/* Cut a region of the disk and put its chunks and its page; the zero name when it is all zero. */
static void put_region(struct fixture *f, uint64_t offset, uint32_t length, struct name *page)
{
	uint32_t blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES, at = 0;
	uint8_t *region = xcalloc(blocks, BLOCK_BYTES);
	struct runs runs = {0};
	struct buf node = {0};
	bool data = false;

	memcpy(region, f->disk + offset, length);
	cut_region(region, blocks, NULL, &runs);
	name_runs(region, &runs);
	for (uint32_t i = 0; i < runs.count; i++) {
		const struct run *run = &runs.items[i];

		if (run->kind == RUN_DATA) {
			put_chunk(f->store, &run->name, region + (size_t)at * BLOCK_BYTES,
				  (size_t)run->blocks * BLOCK_BYTES);
			f->some_chunk = run->name;
			data = true;
		}
		at += run->blocks;
	}
	*page = (struct name){0};
	if (data) {
		page_encode(&runs, blocks, &node);
		assert_ok(store_put_node(f->store, &node, page, err));
	}
	buf_release(&node);
	runs_release(&runs);
	free(region);
}

static void put_disk(struct fixture *f)
{
	struct disk_root root = {.cutter_version = CUTTER_VERSION, .branch_count = 1};
	struct name pages[3], branch;
	struct buf node = {0};

	layout_plain(&root.layout, DISK_BYTES);
	assert_int_equal(layout_regions(&root.layout), 3);
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t offset;
		uint32_t length;

		layout_region(&root.layout, i, &offset, &length);
		put_region(f, offset, length, &pages[i]);
	}
	branch_encode(pages, 3, &node);
	assert_ok(store_put_node(f->store, &node, &branch, err));
	buf_clear(&node);
	root.branches = &branch;
	disk_root_encode(&root, &node);
	assert_ok(store_put_node(f->store, &node, &f->root, err));
	assert_ok(store_commit(f->store, NULL, err));
	buf_release(&node);
}

static void fill_disk(struct fixture *f)
{
	f->disk = xcalloc(1, DISK_BYTES);
	noise(f->disk + 4096, 3 * MIB);
	memset(f->disk + 10 * MIB, 'x', 700 * KIB);
	noise(f->disk + REGION_BYTES - 8192, 8192);
	noise(f->disk + 2ull * REGION_BYTES, 12345);
	noise(f->disk + DISK_BYTES - 600, 600);
}

#endif
