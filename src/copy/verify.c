// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/tree.h"
#include "copy/copy.h"

/* Names read and found whole lately, so that what repeats is read once: bounded, by first bytes. */
#define SEEN_ENTRIES 65536

struct seen {
	struct name name;
	uint32_t blocks; /* 0: nothing here */
};

struct walk {
	struct store *store;
	copy_bad_fn *bad;
	copy_step_fn *step;
	void *context;
	uint64_t checked, bad_count;
	struct disk_root root;
	struct seen *seen;
	struct buf plain;
};

static struct seen *seen_at(struct walk *w, const struct name *name)
{
	uint32_t hash;

	memcpy(&hash, name->bytes, sizeof hash);
	return &w->seen[hash % SEEN_ENTRIES];
}

static void broken(struct walk *w, const struct name *name, uint64_t offset, uint64_t length,
		   const struct err *why)
{
	uint64_t size = w->root.layout.size;

	/* The last block may reach past the end. */
	if (length > size - offset)
		length = size - offset;
	w->bad_count++;
	if (w->bad)
		w->bad(w->context, name, offset, length, why);
}

static void check_chunk(struct walk *w, const struct run *run, uint64_t offset)
{
	uint64_t length = (uint64_t)run->blocks * BLOCK_BYTES;
	struct seen *seen = seen_at(w, &run->name);
	struct err why = {0};

	if (seen->blocks == run->blocks && name_compare(&seen->name, &run->name) == 0) {
		w->checked += length;
		return;
	}
	buf_clear(&w->plain);
	if (store_get(w->store, &run->name, &w->plain, &why) == 0 && w->plain.len != length)
		err_set(&why, ERR_CORRUPT,
			"the chunk has %zu bytes, the version names it for %" PRIu64, w->plain.len,
			length);
	if (why.kind != ERR_NONE) {
		broken(w, &run->name, offset, length, &why);
		return;
	}
	w->checked += length;
	*seen = (struct seen){.name = run->name, .blocks = run->blocks};
}

static void check_page(struct walk *w, const struct name *page, uint64_t region)
{
	struct runs runs = {0};
	struct buf node = {0};
	struct err why = {0};
	uint64_t offset;
	uint32_t length, blocks = 0;

	layout_region(&w->root.layout, region, &offset, &length);
	if (store_get(w->store, page, &node, &why) == 0 &&
	    page_decode(node.data, node.len, &runs, &blocks, &why) == 0 &&
	    blocks != (length + BLOCK_BYTES - 1) / BLOCK_BYTES)
		err_set(&why, ERR_CORRUPT, "the page of region %" PRIu64 " is for another length",
			region);
	if (why.kind != ERR_NONE) {
		broken(w, page, offset, length, &why);
	} else {
		for (uint32_t i = 0; i < runs.count; i++) {
			if (runs.items[i].kind == RUN_DATA)
				check_chunk(w, &runs.items[i], offset);
			offset += (uint64_t)runs.items[i].blocks * BLOCK_BYTES;
		}
	}
	buf_release(&node);
	runs_release(&runs);
}

static uint64_t region_end(const struct walk *w, uint64_t region)
{
	uint64_t offset;
	uint32_t length;

	layout_region(&w->root.layout, region, &offset, &length);
	return offset + length;
}

static void check_branch(struct walk *w, uint32_t branch, uint64_t regions)
{
	static const uint64_t fanout = TREE_FANOUT;
	struct name *pages = xcalloc(TREE_FANOUT, sizeof *pages);
	const struct name *name = &w->root.branches[branch];
	uint64_t first = branch * fanout;
	uint32_t want = regions - first < fanout ? regions - first : fanout, count = 0;
	struct buf node = {0};
	struct err why = {0};

	if (!name_is_zero(name) && store_get(w->store, name, &node, &why) == 0 &&
	    branch_decode(node.data, node.len, pages, &count, &why) == 0 && count != want)
		err_set(&why, ERR_CORRUPT, "the branch lists %u pages, not %u", count, want);
	if (why.kind != ERR_NONE) {
		uint64_t offset;
		uint32_t length;

		layout_region(&w->root.layout, first, &offset, &length);
		broken(w, name, offset, region_end(w, first + want - 1) - offset, &why);
	}
	for (uint32_t i = 0; why.kind == ERR_NONE && i < want; i++) {
		if (!name_is_zero(&pages[i]))
			check_page(w, &pages[i], first + i);
		if (w->step)
			w->step(w->context, region_end(w, first + i), w->root.layout.size);
	}
	buf_release(&node);
	free(pages);
}

int copy_verify(struct store *store, const struct name *root, copy_bad_fn *bad, copy_step_fn *step,
		void *context, uint64_t *checked, uint64_t *bad_count, struct err *e)
{
	struct walk w = {.store = store, .bad = bad, .step = step, .context = context};
	uint64_t regions;
	int result = -1;

	*checked = *bad_count = 0;
	if (store_get(store, root, &w.plain, e) ||
	    disk_root_decode(w.plain.data, w.plain.len, &w.root, e)) {
		err_prefix(e, "the root of the version cannot be read");
		goto out;
	}
	w.seen = xcalloc(SEEN_ENTRIES, sizeof *w.seen);
	regions = layout_regions(&w.root.layout);
	for (uint32_t i = 0; i < w.root.branch_count; i++)
		check_branch(&w, i, regions);
	*checked = w.checked;
	*bad_count = w.bad_count;
	result = 0;
out:
	disk_root_release(&w.root);
	free(w.seen);
	buf_release(&w.plain);
	return result;
}
