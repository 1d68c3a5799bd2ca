// SPDX-License-Identifier: Apache-2.0
#include "image/image.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "block/tree.h"
#include "image/cache.h"

/* An extent is not followed through more pages than this: an answer stays quick. */
#define EXTENT_MAX_PAGES 16

struct branch {
	uint32_t count;
	struct name pages[TREE_FANOUT];
};

struct version {
	struct store *store;
	struct disk_root root;
	struct cache *pages, *chunks;
	pthread_mutex_t mutex;	  /* of `branches` */
	struct branch **branches; /* read when first needed, kept: 32 KiB for 64 GiB of disk */
};

int version_open(struct store *store, const struct name *root, uint64_t cache_bytes,
		 struct version **out, struct err *e)
{
	struct version *v = xcalloc(1, sizeof *v);
	char hex[NAME_HEX_BYTES];
	struct buf node = {0};
	int result;

	result = store_get(store, root, &node, e);
	if (result == 0)
		result = disk_root_decode(node.data, node.len, &v->root, e);
	buf_release(&node);
	if (result < 0) {
		name_hex(root, hex);
		free(v);
		return err_prefix(e, "cannot open the disk version %.16s…", hex);
	}
	v->store = store;
	v->pages = cache_new(cache_bytes / 4);
	v->chunks = cache_new(cache_bytes - cache_bytes / 4);
	v->branches = xcalloc(v->root.branch_count, sizeof *v->branches);
	pthread_mutex_init(&v->mutex, NULL);
	*out = v;
	return 0;
}

void version_close(struct version *v)
{
	if (!v)
		return;
	for (uint32_t i = 0; i < v->root.branch_count; i++)
		free(v->branches[i]);
	free(v->branches);
	cache_free(v->pages);
	cache_free(v->chunks);
	disk_root_release(&v->root);
	pthread_mutex_destroy(&v->mutex);
	free(v);
}

uint64_t version_size(const struct version *v)
{
	return v->root.layout.size;
}

/* --- the tree --- */

/* How many pages a branch must have. */
static uint32_t branch_pages(const struct version *v, uint32_t number)
{
	uint64_t left = layout_regions(&v->root.layout) - (uint64_t)number * TREE_FANOUT;

	return left < TREE_FANOUT ? (uint32_t)left : TREE_FANOUT;
}

static int branch_load(struct version *v, uint32_t number, struct branch **out, struct err *e)
{
	struct branch *branch = xcalloc(1, sizeof *branch);
	struct buf node = {0};
	int result = 0;

	if (name_is_zero(&v->root.branches[number])) {
		branch->count = branch_pages(v, number); /* all names zero: no pages */
	} else {
		result = store_get(v->store, &v->root.branches[number], &node, e);
		if (result == 0)
			result = branch_decode(node.data, node.len, branch->pages, &branch->count,
					       e);
		if (result == 0 && branch->count != branch_pages(v, number))
			result = err_set(e, ERR_CORRUPT,
					 "branch %u of the version has %u pages, not %u", number,
					 branch->count, branch_pages(v, number));
	}
	buf_release(&node);
	if (result < 0)
		free(branch);
	else
		*out = branch;
	return result;
}

static int page_name(struct version *v, uint64_t region, struct name *out, struct err *e)
{
	uint32_t number = (uint32_t)(region / TREE_FANOUT);
	struct branch *branch = NULL;
	int result = 0;

	pthread_mutex_lock(&v->mutex);
	if (!v->branches[number])
		result = branch_load(v, number, &v->branches[number], e);
	branch = v->branches[number];
	pthread_mutex_unlock(&v->mutex);
	if (result == 0)
		*out = branch->pages[region % TREE_FANOUT];
	return result;
}

static int page_load(struct version *v, const struct name *name, uint32_t blocks, struct item **out,
		     struct err *e)
{
	struct item *page = xcalloc(1, sizeof *page);
	struct buf node = {0};
	uint32_t has = 0, end = 0;

	page->name = *name;
	if (store_get(v->store, name, &node, e) < 0 ||
	    page_decode(node.data, node.len, &page->runs, &has, e) < 0)
		goto fail;
	if (has != blocks) {
		err_set(e, ERR_CORRUPT, "a page of the version has %u blocks, not %u", has, blocks);
		goto fail;
	}
	page->ends = xcalloc(page->runs.count, sizeof *page->ends);
	for (uint32_t i = 0; i < page->runs.count; i++)
		page->ends[i] = end += page->runs.items[i].blocks;
	page->cost = sizeof *page + page->runs.cap * sizeof *page->runs.items +
		     page->runs.count * sizeof *page->ends;
	buf_release(&node);
	*out = cache_add(v->pages, page);
	return 0;
fail:
	buf_release(&node);
	item_free(page);
	return -1;
}

/* The page of a region, referenced; NULL in *out when the region is all zero. */
static int page_get(struct version *v, uint64_t region, uint32_t length, struct item **out,
		    struct err *e)
{
	struct name name;

	*out = NULL;
	if (page_name(v, region, &name, e) < 0)
		return err_prefix(e, "region %" PRIu64, region);
	if (name_is_zero(&name))
		return 0;
	*out = cache_get(v->pages, &name);
	if (*out)
		return 0;
	if (page_load(v, &name, (length + BLOCK_BYTES - 1) / BLOCK_BYTES, out, e) < 0)
		return err_prefix(e, "region %" PRIu64, region);
	return 0;
}

/* A chunk's plain bytes, referenced. */
static int chunk_get(struct version *v, const struct run *run, struct item **out, struct err *e)
{
	struct item *chunk = cache_get(v->chunks, &run->name);
	size_t length = (size_t)run->blocks * BLOCK_BYTES;

	if (!chunk) {
		chunk = xcalloc(1, sizeof *chunk);
		chunk->name = run->name;
		if (store_get(v->store, &run->name, &chunk->plain, e) < 0) {
			item_free(chunk);
			return -1;
		}
		chunk->cost = sizeof *chunk + chunk->plain.cap;
		chunk = cache_add(v->chunks, chunk);
	}
	if (chunk->plain.len != length) {
		err_set(e, ERR_CORRUPT, "a chunk of %zu bytes stands where %zu are needed",
			chunk->plain.len, length);
		cache_drop(v->chunks, chunk);
		return -1;
	}
	*out = chunk;
	return 0;
}

/* The run of a page that holds a block. */
static uint32_t run_at(const struct item *page, uint32_t block)
{
	uint32_t low = 0, high = page->runs.count - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (page->ends[middle] > block)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* --- reading --- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Bytes [at, at + length) of a region, inside it. */
static int read_page(struct version *v, const struct item *page, uint8_t *to, uint32_t at,
		     uint32_t length, struct err *e)
{
	for (uint32_t i = run_at(page, at / BLOCK_BYTES); length > 0; i++) {
		const struct run *run = &page->runs.items[i];
		uint64_t end = (uint64_t)page->ends[i] * BLOCK_BYTES;
		uint32_t inside = (uint32_t)(at - (end - (uint64_t)run->blocks * BLOCK_BYTES));
		uint32_t n = (uint32_t)least(end - at, length);

		if (run->kind == RUN_ZERO) {
			memset(to, 0, n);
		} else {
			struct item *chunk;

			if (chunk_get(v, run, &chunk, e) < 0)
				return -1;
			memcpy(to, chunk->plain.data + inside, n);
			cache_drop(v->chunks, chunk);
		}
		to += n;
		at += n;
		length -= n;
	}
	return 0;
}

static int check_range(const struct version *v, uint64_t offset, uint64_t length, struct err *e)
{
	if (length <= version_size(v) && offset <= version_size(v) - length)
		return 0;
	return err_set(e, ERR_INVALID,
		       "%" PRIu64 " bytes at %" PRIu64 " lie outside the disk of %" PRIu64, length,
		       offset, version_size(v));
}

int version_read(struct version *v, void *to, uint64_t offset, uint32_t length, struct err *e)
{
	uint8_t *at = to;

	if (check_range(v, offset, length, e) < 0)
		return -1;
	while (length > 0) {
		uint64_t region = layout_region_at(&v->root.layout, offset), start;
		uint32_t region_length, n;
		struct item *page;

		layout_region(&v->root.layout, region, &start, &region_length);
		n = (uint32_t)least(start + region_length - offset, length);
		if (page_get(v, region, region_length, &page, e) < 0)
			return -1;
		if (!page) {
			memset(at, 0, n);
		} else {
			int result = read_page(v, page, at, (uint32_t)(offset - start), n, e);

			cache_drop(v->pages, page);
			if (result < 0)
				return err_prefix(e, "region %" PRIu64, region);
		}
		at += n;
		offset += n;
		length -= n;
	}
	return 0;
}

/* How many bytes from `at` on are of one kind, up to the region's end. */
static uint64_t extent_in_page(const struct item *page, uint32_t at, uint32_t region_length,
			       bool *zero)
{
	uint32_t i = run_at(page, at / BLOCK_BYTES);
	uint16_t kind = page->runs.items[i].kind;

	while (i + 1 < page->runs.count && page->runs.items[i + 1].kind == kind)
		i++;
	*zero = kind == RUN_ZERO;
	return least((uint64_t)page->ends[i] * BLOCK_BYTES, region_length) - at;
}

int version_extent(struct version *v, uint64_t offset, uint64_t length, uint64_t *extent_length,
		   bool *zero, struct err *e)
{
	uint64_t done = 0;

	if (check_range(v, offset, length, e) < 0)
		return -1;
	for (unsigned pages = 0; done < length && pages < EXTENT_MAX_PAGES;) {
		uint64_t at = offset + done, start, n, region;
		uint32_t region_length;
		struct item *page;
		bool this_zero = true;

		region = layout_region_at(&v->root.layout, at);
		layout_region(&v->root.layout, region, &start, &region_length);
		if (page_get(v, region, region_length, &page, e) < 0)
			return -1;
		n = start + region_length - at;
		if (page) {
			n = extent_in_page(page, (uint32_t)(at - start), region_length, &this_zero);
			cache_drop(v->pages, page);
			pages++;
		}
		if (done > 0 && this_zero != *zero)
			break;
		*zero = this_zero;
		done += n;
		if (at + n < start + region_length)
			break;
	}
	*extent_length = least(done, length);
	return 0;
}
