// SPDX-License-Identifier: Apache-2.0
#include "image/image.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "block/tree.h"
#include "image/ahead.h"
#include "image/cache.h"
#include "image/version.h"

/* An extent is not followed through more pages than this: an answer stays quick. */
#define EXTENT_MAX_PAGES 16
#define AHEAD_MAX_BYTES	 (4 * MIB)

struct version_cache {
	struct cache *pages, *chunks; /* apart: what a guest wrote may look like a page */
};

struct branch {
	uint32_t count;
	struct name pages[TREE_FANOUT];
};

struct version {
	struct store *store;
	struct disk_root root;
	struct cache *pages, *chunks; /* of the shared cache */
	struct ahead *ahead;
	pthread_mutex_t mutex;	  /* of the pointers in `branches` */
	struct branch **branches; /* read when first needed, kept: 32 KiB for 64 GiB of disk */
};

struct version_cache *version_cache_new(uint64_t bytes)
{
	struct version_cache *cache = xcalloc(1, sizeof *cache);

	cache->pages = cache_new(bytes / 8);
	cache->chunks = cache_new(bytes - bytes / 8);
	return cache;
}

void version_cache_free(struct version_cache *cache)
{
	if (!cache)
		return;
	cache_free(cache->pages);
	cache_free(cache->chunks);
	free(cache);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void fetch_ahead(void *version, uint64_t offset, uint32_t length);

int version_open(struct store *store, const struct name *root, struct version_cache *cache,
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
	v->pages = cache->pages;
	v->chunks = cache->chunks;
	v->ahead = ahead_new(fetch_ahead, v, v->root.layout.size,
			     least(cache_max_bytes(v->chunks) / 8, AHEAD_MAX_BYTES));
	v->branches = xcalloc(v->root.branch_count, sizeof *v->branches);
	pthread_mutex_init(&v->mutex, NULL);
	*out = v;
	return 0;
}

void version_close(struct version *v)
{
	if (!v)
		return;
	ahead_free(v->ahead);
	for (uint32_t i = 0; i < v->root.branch_count; i++)
		free(v->branches[i]);
	free(v->branches);
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

/* A branch is read with no lock held; of two threads that do, the first one's is kept. */
static int branch_get(struct version *v, uint32_t number, struct branch **out, struct err *e)
{
	struct branch *loaded = NULL;

	pthread_mutex_lock(&v->mutex);
	*out = v->branches[number];
	pthread_mutex_unlock(&v->mutex);
	if (*out)
		return 0;
	if (branch_load(v, number, &loaded, e) < 0)
		return -1;
	pthread_mutex_lock(&v->mutex);
	if (v->branches[number])
		free(loaded);
	else
		v->branches[number] = loaded;
	*out = v->branches[number];
	pthread_mutex_unlock(&v->mutex);
	return 0;
}

/* Fill an item with a page and the places where its runs end. */
static int page_load(struct version *v, struct item *page, struct err *e)
{
	struct buf node = {0};
	uint32_t blocks = 0, end = 0;
	int result = store_get(v->store, &page->name, &node, e);

	if (result == 0)
		result = page_decode(node.data, node.len, &page->runs, &blocks, e);
	buf_release(&node);
	if (result < 0)
		return -1;
	page->ends = xcalloc(page->runs.count, sizeof *page->ends);
	for (uint32_t i = 0; i < page->runs.count; i++)
		page->ends[i] = end += page->runs.items[i].blocks;
	page->cost = sizeof *page + page->runs.cap * sizeof *page->runs.items +
		     page->runs.count * sizeof *page->ends;
	return 0;
}

const struct layout *version_layout(const struct version *v)
{
	return &v->root.layout;
}

int version_page_name(struct version *v, uint64_t region, struct name *out, struct err *e)
{
	struct branch *branch;

	if (branch_get(v, (uint32_t)(region / TREE_FANOUT), &branch, e) < 0)
		return err_prefix(e, "region %" PRIu64, region);
	*out = branch->pages[region % TREE_FANOUT];
	return 0;
}

/* The page of a region, referenced; NULL in *out when the region is all zero. */
static int page_get(struct version *v, uint64_t region, uint32_t length, struct item **out,
		    struct err *e)
{
	uint32_t blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES, has;
	const struct name *name;
	struct branch *branch;
	struct item *page;
	bool load;

	*out = NULL;
	if (branch_get(v, (uint32_t)(region / TREE_FANOUT), &branch, e) < 0)
		return err_prefix(e, "region %" PRIu64, region);
	name = &branch->pages[region % TREE_FANOUT];
	if (name_is_zero(name))
		return 0;
	page = cache_get(v->pages, name, &load);
	if (load && page_load(v, page, e) < 0) {
		cache_failed(v->pages, page);
		return err_prefix(e, "region %" PRIu64, region);
	}
	if (load)
		cache_loaded(v->pages, page);
	has = page->runs.count ? page->ends[page->runs.count - 1] : 0;
	if (has != blocks) {
		cache_drop(v->pages, page);
		return err_set(e, ERR_CORRUPT, "region %" PRIu64 ": its page has %u blocks, not %u",
			       region, has, blocks);
	}
	*out = page;
	return 0;
}

int version_page(struct version *v, uint64_t region, struct item **out, struct err *e)
{
	uint64_t start;
	uint32_t length;

	layout_region(&v->root.layout, region, &start, &length);
	return page_get(v, region, length, out, e);
}

void version_page_drop(struct version *v, struct item *page)
{
	cache_drop(v->pages, page);
}

/* Fill an item that we are to load; the reference is gone when it fails. */
static int chunk_load(struct version *v, struct item *chunk, struct err *e)
{
	if (store_get(v->store, &chunk->name, &chunk->plain, e) < 0) {
		cache_failed(v->chunks, chunk);
		return -1;
	}
	chunk->cost = sizeof *chunk + chunk->plain.cap;
	cache_loaded(v->chunks, chunk);
	return 0;
}

/* A chunk's plain bytes, referenced. */
static int chunk_get(struct version *v, const struct run *run, struct item **out, struct err *e)
{
	size_t length = (size_t)run->blocks * BLOCK_BYTES;
	struct item *chunk;
	bool load;

	chunk = cache_get(v->chunks, &run->name, &load);
	if (load && chunk_load(v, chunk, e) < 0)
		return -1;
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
	ahead_note(v->ahead, offset, length);
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

/* Load what nobody has or loads, of [at, at + length) of a region. */
static void fetch_page(struct version *v, const struct item *page, uint32_t at, uint32_t length)
{
	uint32_t end = (at + length + BLOCK_BYTES - 1) / BLOCK_BYTES;

	for (uint32_t i = run_at(page, at / BLOCK_BYTES); i < page->runs.count; i++) {
		const struct run *run = &page->runs.items[i];
		struct item *chunk = NULL;

		if (page->ends[i] - run->blocks >= end)
			break;
		if (run->kind == RUN_DATA)
			chunk = cache_claim(v->chunks, &run->name);
		if (chunk && chunk_load(v, chunk, NULL) == 0)
			cache_drop(v->chunks, chunk);
	}
}

static void fetch_ahead(void *version, uint64_t offset, uint32_t length)
{
	struct version *v = version;

	while (length > 0) {
		uint64_t region = layout_region_at(&v->root.layout, offset), start;
		uint32_t region_length, n;
		struct item *page;

		layout_region(&v->root.layout, region, &start, &region_length);
		n = (uint32_t)least(start + region_length - offset, length);
		if (page_get(v, region, region_length, &page, NULL) < 0)
			return;
		if (page) {
			fetch_page(v, page, (uint32_t)(offset - start), n);
			cache_drop(v->pages, page);
		}
		offset += n;
		length -= n;
	}
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

/* --- all of it, in order --- */

#define STRETCH_BYTES (8 * MIB)
#define BATCH_BYTES   (512 * KIB)

uint64_t version_stretch(const struct version *v, uint64_t offset)
{
	uint64_t start, next;
	uint32_t length;

	layout_region(&v->root.layout, layout_region_at(&v->root.layout, offset), &start, &length);
	next = start + (offset - start) / STRETCH_BYTES * STRETCH_BYTES + STRETCH_BYTES;
	return least(next, start + length) - offset;
}

/* Chunks on their way to the piece function, hashed together. */
struct batch {
	struct name names[STORE_GET_MAX];
	struct buf plains[STORE_GET_MAX];
	uint64_t at[STORE_GET_MAX];
	uint32_t length[STORE_GET_MAX];
	size_t count, bytes;
};

static int batch_flush(struct version *v, struct batch *b, version_piece_fn *piece, void *context,
		       struct err *e)
{
	size_t count = b->count;

	b->count = b->bytes = 0;
	for (size_t i = 0; i < count; i++)
		buf_clear(&b->plains[i]);
	if (store_get_many(v->store, b->names, count, b->plains, e) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		uint64_t length = least(b->length[i], version_size(v) - b->at[i]);

		if (b->plains[i].len != b->length[i])
			return err_set(e, ERR_CORRUPT,
				       "a chunk of %zu bytes stands where %u are needed",
				       b->plains[i].len, b->length[i]);
		if (piece(context, b->at[i], b->plains[i].data, (uint32_t)length, e) < 0)
			return -1;
	}
	return 0;
}

/* The chunks that begin in [from, until) of a region at `start`. */
static int each_in_page(struct version *v, const struct item *page, uint64_t start, uint32_t from,
			uint32_t until, struct batch *b, version_piece_fn *piece, void *context,
			struct err *e)
{
	for (uint32_t i = run_at(page, from / BLOCK_BYTES); i < page->runs.count; i++) {
		const struct run *run = &page->runs.items[i];
		uint64_t at = (uint64_t)(page->ends[i] - run->blocks) * BLOCK_BYTES;

		if (at >= until)
			break;
		if (at < from || run->kind == RUN_ZERO)
			continue;
		b->names[b->count] = run->name;
		b->at[b->count] = start + at;
		b->length[b->count++] = run->blocks * BLOCK_BYTES;
		b->bytes += run->blocks * BLOCK_BYTES;
		if ((b->count == STORE_GET_MAX || b->bytes >= BATCH_BYTES) &&
		    batch_flush(v, b, piece, context, e) < 0)
			return -1;
	}
	return batch_flush(v, b, piece, context, e);
}

int version_each(struct version *v, uint64_t offset, uint64_t length, version_piece_fn *piece,
		 void *context, struct err *e)
{
	struct batch *batch = xcalloc(1, sizeof *batch);
	int result = check_range(v, offset, length, e);

	while (result == 0 && length > 0) {
		uint64_t region = layout_region_at(&v->root.layout, offset), start, n;
		uint32_t region_length;
		struct item *page;

		layout_region(&v->root.layout, region, &start, &region_length);
		n = least(start + region_length - offset, length);
		result = page_get(v, region, region_length, &page, e);
		if (result == 0 && page) {
			result = each_in_page(v, page, start, (uint32_t)(offset - start),
					      (uint32_t)(offset - start + n), batch, piece, context,
					      e);
			if (result < 0)
				err_prefix(e, "region %" PRIu64, region);
			cache_drop(v->pages, page);
		}
		offset += n;
		length -= n;
	}
	for (size_t i = 0; i < STORE_GET_MAX; i++)
		buf_release(&batch->plains[i]);
	free(batch);
	return result;
}
