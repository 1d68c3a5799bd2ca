// SPDX-License-Identifier: Apache-2.0
/* The byte layouts of man/godwit-tree.5. Integers are little-endian. */
#include "block/tree.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/limits.h"

#define PAGE_MAGIC	   0x67705747u /* "GWpg" */
#define BRANCH_MAGIC	   0x72625747u /* "GWbr" */
#define ROOT_MAGIC	   0x74725747u /* "GWrt" */
#define NODE_VERSION	   1
#define FLAG_COARSE	   1
#define HEADER_BYTES	   16
#define ROOT_BYTES	   48
#define OUTLINE_BYTES	   8
#define RUN_BYTES	   4
#define ENDS_BYTES(coarse) ((coarse) ? (size_t)REGION_BITS_BYTES : 0)

static_assert(HEADER_BYTES + REGION_BLOCKS * (RUN_BYTES + NAME_BYTES) + REGION_BITS_BYTES <=
		  TREE_NODE_MAX_BYTES,
	      "a page of the worst region fits into a node");

/* A node begins with magic, version and 16 bits of flags. */
static void put_node_header(struct buf *out, uint32_t magic, uint16_t flags)
{
	buf_add_le32(out, magic);
	buf_add_le16(out, NODE_VERSION);
	buf_add_le16(out, flags);
}

static int check_node_header(const char *what, const uint8_t *data, size_t n, size_t least,
			     uint32_t magic, uint16_t known_flags, struct err *e)
{
	if (n < least || n > TREE_NODE_MAX_BYTES || le32_get(data) != magic)
		return err_set(e, ERR_CORRUPT, "a tree node of %zu bytes is no %s", n, what);
	if (le16_get(data + 4) != NODE_VERSION)
		return err_set(e, ERR_INVALID,
			       "a %s has format %u, this program reads format %u; update it", what,
			       le16_get(data + 4), NODE_VERSION);
	if (le16_get(data + 6) & ~known_flags)
		return err_set(e, ERR_CORRUPT, "a %s has unknown flags %#x", what,
			       le16_get(data + 6));
	return 0;
}

static void put_run_table(struct buf *out, const struct runs *runs)
{
	for (uint32_t i = 0; i < runs->count; i++) {
		buf_add_le16(out, runs->items[i].kind);
		buf_add_le16(out, runs->items[i].blocks);
	}
}

/* Runs without their names. The table must be the one the cutter would give: no empty run, no two
 * zero runs side by side, no chunk that is too long, no fine region of too many chunks. */
static int get_run_table(const char *what, const uint8_t *at, uint32_t count, bool coarse,
			 struct runs *out, struct err *e)
{
	uint32_t sum = 0;
	uint16_t before = RUN_DATA;
	for (uint32_t i = 0; i < count; i++, at += RUN_BYTES) {
		uint16_t kind = le16_get(at), blocks = le16_get(at + 2);
		if (kind != RUN_ZERO && kind != RUN_DATA)
			return err_set(e, ERR_CORRUPT, "run %u of a %s is of unknown kind %u", i,
				       what, kind);
		if (blocks == 0 || (kind == RUN_DATA && blocks > CHUNK_MAX_BLOCKS) ||
		    blocks > REGION_BLOCKS - sum)
			return err_set(e, ERR_CORRUPT, "run %u of a %s cannot have %u blocks", i,
				       what, blocks);
		if (kind == RUN_ZERO && before == RUN_ZERO && i > 0)
			return err_set(e, ERR_CORRUPT, "runs %u and %u of a %s are both zero",
				       i - 1, i, what);
		runs_push(out, (enum run_kind)kind, blocks, NULL);
		sum += blocks;
		before = kind;
	}
	if (!coarse && runs_chunks(out) > CUTTER_FINE_MAX_CHUNKS)
		return err_set(e, ERR_CORRUPT, "a %s has %u chunks though not cut in coarse mode",
			       what, runs_chunks(out));
	return 0;
}

static void put_ends(struct buf *out, bool coarse, const uint8_t *fine_ends)
{
	assert(coarse == (fine_ends != NULL));
	if (coarse)
		buf_add(out, fine_ends, REGION_BITS_BYTES);
}

/* The ends of the fine chunks, behind the runs of a region in coarse mode. */
static int get_ends(const char *what, const uint8_t *at, struct runs *out, struct err *e)
{
	if (!out->coarse)
		return 0;
	if (!runs_fine_ends_possible(out, at))
		return err_set(e, ERR_CORRUPT,
			       "a %s is of coarse mode, but the ends of its fine chunks are "
			       "impossible",
			       what);
	out->fine_ends = xmalloc(REGION_BITS_BYTES);
	memcpy(out->fine_ends, at, REGION_BITS_BYTES);
	return 0;
}

void page_encode(const struct runs *runs, uint32_t blocks, struct buf *out)
{
	uint32_t chunks = runs_chunks(runs);
	assert(runs_blocks(runs) == blocks);
	if (chunks == 0)
		return;
	buf_reserve(out, HEADER_BYTES + runs->count * RUN_BYTES + chunks * NAME_BYTES);
	put_node_header(out, PAGE_MAGIC, runs->coarse ? FLAG_COARSE : 0);
	buf_add_le32(out, blocks);
	buf_add_le32(out, runs->count);
	put_run_table(out, runs);
	for (uint32_t i = 0; i < runs->count; i++)
		if (runs->items[i].kind == RUN_DATA)
			buf_add(out, runs->items[i].name.bytes, NAME_BYTES);
	put_ends(out, runs->coarse, runs->fine_ends);
}

int page_decode(const uint8_t *data, size_t n, struct runs *out, uint32_t *blocks, struct err *e)
{
	runs_clear(out);
	if (check_node_header("page", data, n, HEADER_BYTES, PAGE_MAGIC, FLAG_COARSE, e) < 0)
		return -1;
	uint32_t total = le32_get(data + 8), count = le32_get(data + 12);
	bool coarse = le16_get(data + 6) & FLAG_COARSE;
	if (total == 0 || total > REGION_BLOCKS || count > total ||
	    n < HEADER_BYTES + (size_t)count * RUN_BYTES)
		return err_set(e, ERR_CORRUPT, "a page of %zu bytes claims %u blocks in %u runs", n,
			       total, count);
	if (get_run_table("page", data + HEADER_BYTES, count, coarse, out, e) < 0)
		return -1;
	uint32_t chunks = runs_chunks(out);
	const uint8_t *names = data + HEADER_BYTES + count * RUN_BYTES;
	if (runs_blocks(out) != total || chunks == 0 ||
	    n != HEADER_BYTES + count * RUN_BYTES + chunks * NAME_BYTES + ENDS_BYTES(coarse))
		return err_set(
		    e, ERR_CORRUPT,
		    "a page of %zu bytes and %u blocks has %u blocks and %u chunks in its runs", n,
		    total, runs_blocks(out), chunks);
	for (uint32_t i = 0; i < count; i++) {
		if (out->items[i].kind != RUN_DATA)
			continue;
		memcpy(out->items[i].name.bytes, names, NAME_BYTES);
		names += NAME_BYTES;
		if (name_is_zero(&out->items[i].name))
			return err_set(e, ERR_CORRUPT, "run %u of a page has no name", i);
	}
	out->coarse = coarse;
	*blocks = total;
	return get_ends("page", names, out, e);
}

static bool names_all_zero(const struct name *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!name_is_zero(&names[i]))
			return false;
	return true;
}

void branch_encode(const struct name *pages, uint32_t count, struct buf *out)
{
	assert(count > 0 && count <= TREE_FANOUT);
	if (names_all_zero(pages, count))
		return;
	put_node_header(out, BRANCH_MAGIC, 0);
	buf_add_le32(out, count);
	buf_add_le32(out, 0);
	buf_add(out, pages, count * sizeof *pages);
}

int branch_decode(const uint8_t *data, size_t n, struct name pages[TREE_FANOUT], uint32_t *count,
		  struct err *e)
{
	if (check_node_header("branch", data, n, HEADER_BYTES, BRANCH_MAGIC, 0, e) < 0)
		return -1;
	uint32_t names = le32_get(data + 8);
	if (names == 0 || names > TREE_FANOUT || le32_get(data + 12) != 0 ||
	    n != HEADER_BYTES + names * NAME_BYTES)
		return err_set(e, ERR_CORRUPT, "a branch of %zu bytes claims %u pages", n, names);
	memcpy(pages, data + HEADER_BYTES, names * NAME_BYTES);
	if (names_all_zero(pages, names))
		return err_set(e, ERR_CORRUPT, "a branch of %u pages names none", names);
	*count = names;
	return 0;
}

uint32_t disk_root_branches(const struct layout *layout)
{
	return (uint32_t)((layout_regions(layout) + TREE_FANOUT - 1) / TREE_FANOUT);
}

void disk_root_release(struct disk_root *root)
{
	free(root->branches);
	*root = (struct disk_root){0};
}

void disk_root_encode(const struct disk_root *root, struct buf *out)
{
	const struct layout *layout = &root->layout;
	assert(root->branch_count == disk_root_branches(layout) && layout->segment_count > 0);
	put_node_header(out, ROOT_MAGIC, 0);
	buf_add_le64(out, layout->size);
	buf_add_le64(out, root->key_domain);
	buf_add_le32(out, root->cutter_version);
	buf_add_le32(out, BLOCK_BYTES);
	buf_add_le32(out, REGION_BYTES);
	buf_add_le32(out, TREE_FANOUT);
	buf_add_le32(out, layout->segment_count - 1);
	buf_add_le32(out, root->branch_count);
	for (uint32_t i = 1; i < layout->segment_count; i++)
		buf_add_le64(out, layout->segments[i].start);
	buf_add(out, root->branches, root->branch_count * sizeof *root->branches);
}

static int decode_layout(const uint8_t *data, size_t n, struct layout *out, struct err *e)
{
	uint64_t starts[LAYOUT_MAX_SEGMENTS], size = le64_get(data + 8);
	uint32_t count = le32_get(data + 40);
	if (size < LIMIT_DISK_MIN_BYTES || size > LIMIT_DISK_MAX_BYTES)
		return err_set(e, ERR_CORRUPT, "a disk root claims a disk of %" PRIu64 " bytes",
			       size);
	if (count >= LAYOUT_MAX_SEGMENTS || n < ROOT_BYTES + count * sizeof *starts)
		return err_set(e, ERR_CORRUPT, "a disk root of %zu bytes claims %u segments", n,
			       count + 1);
	for (uint32_t i = 0; i < count; i++)
		starts[i] = le64_get(data + ROOT_BYTES + i * sizeof *starts);
	return layout_from_starts(out, size, starts, count, e);
}

int disk_root_decode(const uint8_t *data, size_t n, struct disk_root *out, struct err *e)
{
	*out = (struct disk_root){0};
	if (check_node_header("disk root", data, n, ROOT_BYTES, ROOT_MAGIC, 0, e) < 0)
		return -1;
	out->key_domain = le64_get(data + 16);
	out->cutter_version = le32_get(data + 24);
	if (out->cutter_version != CUTTER_VERSION)
		return err_set(e, ERR_INVALID,
			       "a disk was cut by rule %u, this program knows rule %u; update it",
			       out->cutter_version, CUTTER_VERSION);
	if (le32_get(data + 28) != BLOCK_BYTES || le32_get(data + 32) != REGION_BYTES ||
	    le32_get(data + 36) != TREE_FANOUT)
		return err_set(e, ERR_INVALID,
			       "a disk root has blocks of %u bytes, regions of %u bytes and a "
			       "fan-out of %u, which this program does not read",
			       le32_get(data + 28), le32_get(data + 32), le32_get(data + 36));
	if (decode_layout(data, n, &out->layout, e) < 0)
		return -1;
	uint32_t branches = le32_get(data + 44);
	size_t names_at = ROOT_BYTES + (out->layout.segment_count - 1) * sizeof(uint64_t);
	if (branches != disk_root_branches(&out->layout) ||
	    n != names_at + (size_t)branches * NAME_BYTES)
		return err_set(e, ERR_CORRUPT,
			       "a disk root of %zu bytes for %" PRIu64
			       " regions claims %u branches",
			       n, layout_regions(&out->layout), branches);
	out->branch_count = branches;
	out->branches = xcalloc(branches, sizeof *out->branches);
	memcpy(out->branches, data + names_at, branches * sizeof *out->branches);
	return 0;
}

void runs_outline_encode(const struct runs *runs, struct buf *out)
{
	buf_add_le32(out, runs->coarse ? FLAG_COARSE : 0);
	buf_add_le32(out, runs->count);
	put_run_table(out, runs);
	put_ends(out, runs->coarse, runs->fine_ends);
}

int runs_outline_decode(const uint8_t *data, size_t n, struct runs *out, struct err *e)
{
	runs_clear(out);
	if (n < OUTLINE_BYTES || le32_get(data) & ~FLAG_COARSE ||
	    le32_get(data + 4) > REGION_BLOCKS ||
	    n != OUTLINE_BYTES + (size_t)le32_get(data + 4) * RUN_BYTES +
		     ENDS_BYTES(le32_get(data) & FLAG_COARSE))
		return err_set(e, ERR_CORRUPT, "%zu bytes are no outline of a region", n);
	uint32_t count = le32_get(data + 4);
	out->coarse = le32_get(data) & FLAG_COARSE;
	if (get_run_table("outline", data + OUTLINE_BYTES, count, out->coarse, out, e) < 0)
		return -1;
	return get_ends("outline", data + OUTLINE_BYTES + (size_t)count * RUN_BYTES, out, e);
}

void ops_encode(const struct ops *ops, struct buf *out)
{
	buf_add_le32(out, ops->coarse ? FLAG_COARSE : 0);
	buf_add_le32(out, ops->count);
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct op *op = &ops->items[i];
		buf_add_le16(out, op->kind);
		buf_add_le16(out, op->count);
		if (op->kind == OP_KEEP)
			buf_add_le32(out, op->skip);
		else if (op->kind == OP_DATA)
			buf_add(out, op->name.bytes, NAME_BYTES);
	}
	put_ends(out, ops->coarse, ops->fine_ends);
}

/* Returns the bytes used, or -1. */
static int decode_op(const uint8_t *data, size_t n, uint32_t index, struct op *op, struct err *e)
{
	if (n < RUN_BYTES)
		return err_set(e, ERR_CORRUPT, "the list of ops ends before op %u", index);
	*op = (struct op){.kind = le16_get(data), .count = le16_get(data + 2)};
	size_t body = op->kind == OP_KEEP ? sizeof op->skip : op->kind == OP_DATA ? NAME_BYTES : 0;
	if (op->kind > OP_DATA || op->count == 0 || op->count > REGION_BLOCKS ||
	    (op->kind == OP_DATA && op->count > CHUNK_MAX_BLOCKS))
		return err_set(e, ERR_CORRUPT, "op %u has kind %u and count %u", index, op->kind,
			       op->count);
	if (n < RUN_BYTES + body)
		return err_set(e, ERR_CORRUPT, "the list of ops ends inside op %u", index);
	if (op->kind == OP_KEEP)
		op->skip = le32_get(data + RUN_BYTES);
	else if (op->kind == OP_DATA)
		memcpy(op->name.bytes, data + RUN_BYTES, NAME_BYTES);
	if (op->kind == OP_DATA && name_is_zero(&op->name))
		return err_set(e, ERR_CORRUPT, "op %u has no name", index);
	return (int)(RUN_BYTES + body);
}

int ops_decode(const uint8_t *data, size_t n, struct ops *out, struct err *e)
{
	out->count = 0;
	free(out->fine_ends);
	out->fine_ends = NULL;
	if (n < OUTLINE_BYTES || le32_get(data) & ~FLAG_COARSE ||
	    le32_get(data + 4) > REGION_BLOCKS)
		return err_set(e, ERR_CORRUPT, "%zu bytes are no list of ops", n);
	out->coarse = le32_get(data) & FLAG_COARSE;
	uint32_t count = le32_get(data + 4);
	size_t at = OUTLINE_BYTES;
	for (uint32_t i = 0; i < count; i++) {
		VEC_GROW(out->items, out->count, out->cap);
		int used = decode_op(data + at, n - at, i, &out->items[i], e);
		if (used < 0)
			return -1;
		at += (size_t)used;
		out->count++;
	}
	if (n - at != ENDS_BYTES(out->coarse))
		return err_set(e, ERR_CORRUPT, "%zu bytes follow the last op", n - at);
	if (out->coarse) {
		out->fine_ends = xmalloc(REGION_BITS_BYTES);
		memcpy(out->fine_ends, data + at, REGION_BITS_BYTES);
	}
	return 0;
}
