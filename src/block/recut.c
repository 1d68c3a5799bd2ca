// SPDX-License-Identifier: Apache-2.0
/*
 * Cutting only what changed. At every cut the cutter forgets all before it, and what it does next
 * depends on the blocks it sees and on whether the block after a chunk is zero. So the cutter is
 * run from an old cut before a change until it cuts, after the change, where it cut before: from
 * there to the next change all is as it was.
 */
#include "block/cutter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* What is known of each block of the region. */
enum {
	CHANGED = 1,
	WAS_ZERO = 2,  /* zero in the base */
	WAS_START = 4, /* a run of the base starts here */
	LOADED = 8,    /* its bytes are in the buffer */
};

struct recut {
	const struct runs *base;
	const struct extents *dirty;
	bool coarse; /* the mode it cuts in */
	uint32_t blocks;
	uint8_t *region;
	uint8_t *marks; /* of each block */
	recut_read_fn *read;
	void *context;
	struct ops *out;
	uint32_t base_run;   /* the base's run at or before base_start … */
	uint32_t base_start; /* … and the block it starts at */
};

void ops_release(struct ops *ops)
{
	free(ops->items);
	free(ops->fine_ends);
	*ops = (struct ops){0};
}

static struct op *push_op(struct ops *ops, enum op_kind kind, uint32_t count)
{
	VEC_GROW(ops->items, ops->count, ops->cap);
	struct op *op = &ops->items[ops->count++];
	*op = (struct op){.kind = (uint16_t)kind, .count = (uint16_t)count};
	return op;
}

static void push_zero(struct ops *ops, uint32_t blocks)
{
	struct op *last = ops->count ? &ops->items[ops->count - 1] : NULL;
	if (last && last->kind == OP_ZERO)
		last->count = (uint16_t)(last->count + blocks);
	else
		push_op(ops, OP_ZERO, blocks);
}

static void push_keep(struct ops *ops, uint32_t base_run)
{
	struct op *last = ops->count ? &ops->items[ops->count - 1] : NULL;
	if (last && last->kind == OP_KEEP && last->skip + last->count == base_run)
		last->count++;
	else
		push_op(ops, OP_KEEP, 1)->skip = base_run;
}

static void mark_changed(struct recut *r, uint32_t from, uint32_t end)
{
	for (uint32_t i = from; i < end; i++)
		r->marks[i] |= CHANGED;
}

static void mark_blocks(struct recut *r)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < r->blocks; i++)
		r->marks[i] &= LOADED;
	for (uint32_t n = 0; n < r->base->count && at < r->blocks; n++) {
		const struct run *run = &r->base->items[n];
		r->marks[at] |= WAS_START;
		for (uint32_t i = 0; i < run->blocks && at < r->blocks; i++, at++)
			if (run->kind == RUN_ZERO)
				r->marks[at] |= WAS_ZERO;
	}
	/* A region that grew or shrank: its old last block may have been short, its old last chunk
	 * was closed by the end. */
	if (runs_blocks(r->base) != r->blocks)
		mark_changed(r, at ? at - 1 : 0, r->blocks);
	for (size_t n = 0; n < r->dirty->count; n++) {
		uint64_t size = (uint64_t)r->blocks * BLOCK_BYTES;
		uint64_t from = r->dirty->items[n].offset, length = r->dirty->items[n].length;
		if (from >= size)
			continue;
		if (length > size - from)
			length = size - from;
		mark_changed(r, (uint32_t)(from / BLOCK_BYTES),
			     (uint32_t)((from + length + BLOCK_BYTES - 1) / BLOCK_BYTES));
	}
}

/* Zero in the base and not changed since: need not be read. */
static bool known_zero(const struct recut *r, uint32_t block)
{
	return (r->marks[block] & (WAS_ZERO | CHANGED)) == WAS_ZERO;
}

/* Note what of [from, end) has to be read; known zeroes are filled in. */
static void want(struct recut *r, uint32_t from, uint32_t end, struct extents *out)
{
	for (uint32_t i = from; i < end; i++) {
		if (r->marks[i] & LOADED)
			continue;
		r->marks[i] |= LOADED;
		if (known_zero(r, i))
			memset(r->region + (size_t)i * BLOCK_BYTES, 0, BLOCK_BYTES);
		else
			extents_append(out, (uint64_t)i * BLOCK_BYTES, BLOCK_BYTES);
	}
}

static int load_wanted(struct recut *r, struct extents *wanted, struct err *e)
{
	int result = 0;
	if (wanted->count)
		result = r->read(r->context, wanted, r->region, e);
	extents_release(wanted);
	return result < 0 ? -1 : 0;
}

static int load(struct recut *r, uint32_t from, uint32_t end, struct err *e)
{
	struct extents wanted = {0};
	want(r, from, end, &wanted);
	return load_wanted(r, &wanted, e);
}

/* Move to the base's run that holds `block`. Called with ascending blocks. */
static const struct run *base_run_at(struct recut *r, uint32_t block)
{
	while (r->base_start + r->base->items[r->base_run].blocks <= block)
		r->base_start += r->base->items[r->base_run++].blocks;
	return &r->base->items[r->base_run];
}

/* Where the cutter has to start for a change at `changed`, nothing being changed from `from` (a cut
 * of the base, or inside a zero run) to there. */
static uint32_t window_start(const struct recut *r, uint32_t from, uint32_t changed)
{
	uint32_t start = changed;
	/* In a zero run every block is a cut, but data before the run may have been closed by it. */
	if (r->marks[changed] & WAS_ZERO) {
		if (start == from || r->marks[start - 1] & WAS_ZERO)
			return start;
		start--;
	}
	while (start > from && !(r->marks[start] & WAS_START))
		start--;
	return start;
}

/* The runs of the base from block `from` up to `end`, unchanged. */
static void keep(struct recut *r, uint32_t from, uint32_t end)
{
	while (from < end) {
		const struct run *run = base_run_at(r, from);
		uint32_t run_end = r->base_start + run->blocks;
		if (r->base_start == from && run_end <= end) {
			push_keep(r->out, r->base_run);
		} else {
			assert(run->kind == RUN_ZERO);
			push_zero(r->out, (run_end < end ? run_end : end) - from);
		}
		from = run_end < end ? run_end : end;
	}
}

/* Whether the base had a cut before this block, which is as it was. */
static bool old_cut(const struct recut *r, uint32_t block)
{
	return !(r->marks[block] & CHANGED) && r->marks[block] & (WAS_START | WAS_ZERO);
}

/* Run the cutter from `at` until, after the change at `changed`, it is in step with the base again;
 * returns that block. */
static int64_t cut_window(struct recut *r, uint32_t at, uint32_t changed, struct err *e)
{
	uint32_t open = 0; /* blocks in the open chunk */
	for (; at < r->blocks; at++) {
		if (at > changed && old_cut(r, at) && (open == 0 || known_zero(r, at)))
			break;
		if (!(r->marks[at] & LOADED)) {
			uint32_t end = at + 1;
			while (end < r->blocks && !old_cut(r, end))
				end++;
			if (load(r, at, end, e) < 0)
				return -1;
		}
		const uint8_t *block = r->region + (size_t)at * BLOCK_BYTES;
		if (block_is_zero(block)) {
			if (open)
				push_op(r->out, OP_DATA, open);
			open = 0;
			push_zero(r->out, 1);
		} else if (cutter_closes(block, ++open, r->coarse)) {
			push_op(r->out, OP_DATA, open);
			open = 0;
		}
	}
	if (open)
		push_op(r->out, OP_DATA, open);
	return at;
}

static uint32_t chunks_of(const struct runs *base, const struct ops *ops)
{
	uint32_t chunks = 0;
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct op *op = &ops->items[i];
		chunks += op->kind == OP_DATA;
		for (uint32_t n = 0; op->kind == OP_KEEP && n < op->count; n++)
			chunks += base->items[op->skip + n].kind == RUN_DATA;
	}
	return chunks;
}

static uint32_t next_changed(const struct recut *r, uint32_t from)
{
	while (from < r->blocks && !(r->marks[from] & CHANGED))
		from++;
	return from;
}

/* Read at once all that the windows of all changes surely need: a source may be far away. */
static int load_foreseen(struct recut *r, struct err *e)
{
	struct extents wanted = {0};
	uint32_t at = 0, changed;
	while ((changed = next_changed(r, at)) < r->blocks) {
		uint32_t start = window_start(r, at, changed), end = changed;
		while (end < r->blocks && !old_cut(r, end))
			end++;
		want(r, start, end, &wanted);
		at = end;
	}
	return load_wanted(r, &wanted, e);
}

/* The ops that make `base`, cut in this mode, the region as it is now. */
static int recut_changes(struct recut *r, const struct runs *base, bool coarse, struct err *e)
{
	uint32_t at = 0;
	r->base = base;
	r->coarse = coarse;
	r->base_run = r->base_start = 0;
	r->out->count = 0;
	mark_blocks(r);
	if (load_foreseen(r, e) < 0)
		return -1;
	while (at < r->blocks) {
		uint32_t changed = next_changed(r, at);
		if (changed == r->blocks) {
			keep(r, at, changed);
			break;
		}
		uint32_t start = window_start(r, at, changed);
		keep(r, at, start);
		int64_t end = cut_window(r, start, changed, e);
		if (end < 0)
			return -1;
		at = (uint32_t)end;
	}
	return 0;
}

static int recut_all(struct recut *r, struct err *e)
{
	struct runs runs = {0};
	if (load(r, 0, r->blocks, e) < 0)
		return -1;
	cut_region(r->region, r->blocks, NULL, &runs);
	r->out->count = 0;
	r->out->coarse = runs.coarse;
	r->out->fine_ends = runs.fine_ends;
	runs.fine_ends = NULL;
	for (uint32_t i = 0; i < runs.count; i++)
		push_op(r->out, runs.items[i].kind == RUN_ZERO ? OP_ZERO : OP_DATA,
			runs.items[i].blocks);
	runs_release(&runs);
	return 0;
}

/* The runs a coarse region would have in fine mode, without names. */
static void fine_runs(const struct runs *coarse, struct runs *out)
{
	uint32_t at = 0, open = 0;
	for (uint32_t n = 0; n < coarse->count; n++) {
		const struct run *run = &coarse->items[n];
		if (run->kind == RUN_ZERO) {
			runs_push(out, RUN_ZERO, run->blocks, NULL);
			at += run->blocks;
			continue;
		}
		for (uint32_t i = 0; i < run->blocks; i++, at++) {
			open++;
			if (coarse->fine_ends[at / 8] >> at % 8 & 1) {
				runs_push(out, RUN_DATA, open, NULL);
				open = 0;
			}
		}
	}
	assert(open == 0);
}

/* Where the chunks of `base`, changed by ops, end. */
static uint8_t *ops_ends(const struct runs *base, const struct ops *ops)
{
	uint8_t *ends = xcalloc(1, REGION_BITS_BYTES);
	uint32_t at = 0;
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct op *op = &ops->items[i];
		uint32_t pieces = op->kind == OP_KEEP ? op->count : 1;
		for (uint32_t n = 0; n < pieces; n++) {
			const struct run *run = op->kind == OP_KEEP ? &base->items[op->skip + n]
								    : NULL;
			at += run ? run->blocks : op->count;
			if (run ? run->kind == RUN_DATA : op->kind == OP_DATA)
				ends[(at - 1) / 8] |= 1u << (at - 1) % 8;
		}
	}
	return ends;
}

static void name_ops(const struct recut *r)
{
	struct name_job *jobs = xcalloc(r->out->count, sizeof *jobs);
	size_t count = 0, at = 0;
	for (uint32_t i = 0; i < r->out->count; i++) {
		struct op *op = &r->out->items[i];
		if (op->kind == OP_KEEP) {
			for (uint32_t n = 0; n < op->count; n++)
				at += r->base->items[op->skip + n].blocks;
			continue;
		}
		if (op->kind == OP_DATA)
			jobs[count++] = (struct name_job){r->region + at * BLOCK_BYTES,
							  (size_t)op->count * BLOCK_BYTES,
							  &op->name};
		at += op->count;
	}
	assert(at == r->blocks);
	name_many(jobs, count);
	free(jobs);
}

/* The mode hangs on the number of fine chunks, so those are found first, whatever the base's mode. */
static int recut_in_mode(struct recut *r, const struct runs *base, const struct runs *fine,
			 struct err *e)
{
	bool coarse;
	uint8_t *ends;
	if (recut_changes(r, fine, false, e) < 0)
		return -1;
	coarse = chunks_of(fine, r->out) > CUTTER_FINE_MAX_CHUNKS;
	if (coarse != base->coarse)
		return recut_all(r, e);
	if (!coarse)
		return 0;
	ends = ops_ends(fine, r->out);
	if (recut_changes(r, base, true, e) < 0) {
		free(ends);
		return -1;
	}
	r->out->coarse = true;
	r->out->fine_ends = ends;
	return 0;
}

int recut_region(const struct runs *base, const struct extents *dirty, uint32_t blocks,
		 uint8_t *region, recut_read_fn *read, void *context, struct ops *out,
		 struct err *e)
{
	assert(blocks > 0 && blocks <= REGION_BLOCKS);
	struct recut r = {.dirty = dirty,
			  .blocks = blocks,
			  .region = region,
			  .marks = xcalloc(blocks, 1),
			  .read = read,
			  .context = context,
			  .out = out};
	struct runs fine = {0};
	int result;
	out->count = 0;
	out->coarse = false;
	free(out->fine_ends);
	out->fine_ends = NULL;
	if (base->coarse)
		fine_runs(base, &fine);
	result = recut_in_mode(&r, base, base->coarse ? &fine : base, e);
	if (result == 0) {
		r.base = base; /* what the ops keep runs of */
		name_ops(&r);
	}
	runs_release(&fine);
	free(r.marks);
	return result;
}

/* `next`: the first run of the base that may be kept; `left`: blocks not covered yet. */
static int apply_keep(const struct runs *base, const struct op *op, uint32_t *next, uint32_t *left,
		      struct runs *out, struct err *e)
{
	if (op->skip < *next || op->skip > base->count || op->count > base->count - op->skip)
		return err_set(e, ERR_INVALID, "runs %u to %u of a base of %u cannot be kept here",
			       op->skip, op->skip + op->count, base->count);
	for (uint32_t i = op->skip; i < op->skip + op->count; i++) {
		const struct run *run = &base->items[i];
		if (run->blocks > *left)
			return err_set(e, ERR_INVALID, "kept run %u goes past the region's end", i);
		*left -= run->blocks;
		runs_push(out, (enum run_kind)run->kind, run->blocks, &run->name);
	}
	*next = op->skip + op->count;
	return 0;
}

int ops_apply(const struct runs *base, const struct ops *ops, uint32_t blocks, struct runs *out,
	      struct err *e)
{
	uint32_t next = 0, left = blocks;
	runs_clear(out);
	if (blocks == 0 || blocks > REGION_BLOCKS)
		return err_set(e, ERR_INVALID, "a region cannot have %u blocks", blocks);
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct op *op = &ops->items[i];
		if (op->kind == OP_KEEP) {
			if (apply_keep(base, op, &next, &left, out, e) < 0)
				return -1;
			continue;
		}
		if ((op->kind != OP_ZERO && op->kind != OP_DATA) || op->count == 0 ||
		    op->count > left || (op->kind == OP_DATA && op->count > CHUNK_MAX_BLOCKS))
			return err_set(e, ERR_INVALID,
				       "op %u (kind %u) cannot have %u blocks, %u are left", i,
				       op->kind, op->count, left);
		runs_push(out, op->kind == OP_ZERO ? RUN_ZERO : RUN_DATA, op->count, &op->name);
		left -= op->count;
	}
	if (left > 0)
		return err_set(e, ERR_INVALID, "ops cover %u of a region's %u blocks",
			       blocks - left, blocks);
	if (!ops->coarse && runs_chunks(out) > CUTTER_FINE_MAX_CHUNKS)
		return err_set(e, ERR_INVALID, "ops give %u chunks, not cut in coarse mode",
			       runs_chunks(out));
	out->coarse = ops->coarse;
	if (!ops->coarse)
		return 0;
	if (!ops->fine_ends || !runs_fine_ends_possible(out, ops->fine_ends))
		return err_set(e, ERR_INVALID,
			       "ops are of coarse mode, but the ends of the fine "
			       "chunks are impossible");
	out->fine_ends = xmalloc(REGION_BITS_BYTES);
	memcpy(out->fine_ends, ops->fine_ends, REGION_BITS_BYTES);
	return 0;
}
