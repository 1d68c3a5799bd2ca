// SPDX-License-Identifier: Apache-2.0
/* The tree of the base, read where it is needed, and the new one. */
#include "copy/receive.h"

#include <inttypes.h>
#include <string.h>

/* --- the base --- */

static int base_page_name(struct receiver *r, uint64_t region, struct name *out, struct err *e)
{
	uint32_t branch = region / TREE_FANOUT, count = 0;
	const struct name *name;

	memset(out, 0, sizeof *out);
	if (!r->inherits)
		return 0;
	name = &r->base.branches[branch];
	if (r->branch != branch) {
		memset(r->branch_pages, 0, sizeof r->branch_pages);
		buf_clear(&r->node);
		if (!name_is_zero(name) &&
		    (store_get(r->store, name, &r->node, e) ||
		     branch_decode(r->node.data, r->node.len, r->branch_pages, &count, e)))
			return err_prefix(e, "the version this disk grew from");
		r->branch = branch;
	}
	*out = r->branch_pages[region % TREE_FANOUT];
	return 0;
}

int receive_base_runs(struct receiver *r, uint64_t region, uint32_t blocks, struct runs *out,
		      struct err *e)
{
	struct name page;
	uint32_t has;

	if (base_page_name(r, region, &page, e))
		return -1;
	if (name_is_zero(&page)) {
		runs_push(out, RUN_ZERO, blocks, NULL);
		return 0;
	}
	buf_clear(&r->node);
	if (store_get(r->store, &page, &r->node, e) ||
	    page_decode(r->node.data, r->node.len, out, &has, e))
		return err_prefix(e, "region %" PRIu64 " of the version this disk grew from",
				  region);
	if (has != blocks)
		return err_set(e, ERR_CORRUPT,
			       "region %" PRIu64
			       " of the version this disk grew from has %u blocks, not %u",
			       region, has, blocks);
	return 0;
}

int receive_put_node(struct receiver *r, const struct buf *node, struct name *out, struct err *e)
{
	struct name name;
	int added;

	name_of(node->data, node->len, &name);
	flight_node(&r->flight, &name);
	added = store_put_node(r->store, node, out, e);
	if (added > 0)
		r->bytes_stored += node->len;
	return added < 0 ? -1 : 0;
}

/* --- the new tree --- */

static int put_branch(struct receiver *r, uint32_t branch, struct name *out, struct err *e)
{
	uint64_t first = (uint64_t)branch * TREE_FANOUT, left = r->regions - first;
	uint32_t count = left < TREE_FANOUT ? left : TREE_FANOUT;
	bool zero = true;
	struct buf node = {0};
	int result;

	for (uint32_t i = 0; i < count; i++) {
		struct name *page = &r->pages[first + i];

		if (!bit(r->done, first + i) && base_page_name(r, first + i, page, e))
			return -1;
		zero &= name_is_zero(page);
	}
	memset(out, 0, sizeof *out);
	if (zero)
		return 0;
	branch_encode(r->pages + first, count, &node);
	result = receive_put_node(r, &node, out, e);
	buf_release(&node);
	return result;
}

int receive_put_root(struct receiver *r, struct name *out, struct err *e)
{
	struct disk_root root = {.layout = r->layout,
				 .cutter_version = CUTTER_VERSION,
				 .branch_count = (r->regions + TREE_FANOUT - 1) / TREE_FANOUT};
	struct buf node = {0};
	int result = -1;

	root.branches = xcalloc(root.branch_count, sizeof *root.branches);
	for (uint32_t i = 0; i < root.branch_count; i++)
		if (put_branch(r, i, &root.branches[i], e))
			goto out;
	disk_root_encode(&root, &node);
	result = receive_put_node(r, &node, out, e);
out:
	disk_root_release(&root);
	buf_release(&node);
	return result;
}
