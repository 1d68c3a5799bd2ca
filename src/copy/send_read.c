// SPDX-License-Identifier: Apache-2.0
#include "copy/send.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limits.h"
#include "block/tree.h"

/* Where a region lies and what is to be read of it, relative to its start. */
struct piece {
	uint64_t region, offset;
	uint32_t length, blocks;
	struct extents data, dirty;
};

static void relative(const struct extents *list, uint64_t offset, uint32_t length,
		     bool whole_blocks, struct extents *out)
{
	struct extents part = {0};

	extents_slice(list, offset, length, &part);
	for (size_t i = 0; i < part.count; i++)
		extents_append(out, part.items[i].offset - offset, part.items[i].length);
	if (whole_blocks)
		extents_align(out, BLOCK_BYTES, length);
	extents_release(&part);
}

static void piece_release(struct piece *p)
{
	extents_release(&p->data);
	extents_release(&p->dirty);
}

static bool is_done(const struct sender *s, uint64_t region)
{
	return region / 8 < s->done_len && (s->done[region / 8] >> region % 8 & 1);
}

/* Of an increment. */
static bool region_wanted(const struct sender *s, uint64_t region)
{
	uint64_t offset;
	uint32_t length;

	layout_region(&s->layout, region, &offset, &length);
	return !is_done(s, region) && extents_touch(&s->dirty, offset, length);
}

/* Whether a region has to be sent at all. */
static bool piece_wanted(struct sender *s, uint64_t region, struct piece *p)
{
	*p = (struct piece){.region = region};
	layout_region(&s->layout, region, &p->offset, &p->length);
	p->blocks = (p->length + BLOCK_BYTES - 1) / BLOCK_BYTES;
	if (is_done(s, region))
		return false;
	if (s->increment && !region_wanted(s, region))
		return false;
	relative(&s->data, p->offset, p->length, true, &p->data);
	if (s->increment)
		relative(&s->dirty, p->offset, p->length, false, &p->dirty);
	/* What nobody sends is zero, unless it is inherited. */
	return s->increment || s->has_base || p->data.count > 0;
}

/* --- slots --- */

static uint64_t piece_cost(const struct sender *s, const struct piece *p)
{
	uint64_t cost = extents_total(&p->data);

	/* A recut reads a chunk before and after each change. */
	if (s->increment) {
		uint64_t around = extents_total(&p->dirty) +
				  2ull * CHUNK_MAX_BYTES * p->dirty.count;
		cost = around < REGION_BYTES ? around : REGION_BYTES;
	}
	return cost;
}

static uint64_t resident_of(const struct sender *s, bool free_slots)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		if ((s->slots[i].state == SLOT_FREE) == free_slots)
			sum += s->slots[i].resident;
	return sum;
}

static void slot_drop(struct slot *slot)
{
	madvise(slot->data, REGION_BYTES, MADV_DONTNEED);
	slot->resident = 0;
}

/* The free slot with most memory, if there is one and memory for `cost` bytes. */
static struct slot *slot_free_for(struct sender *s, uint64_t cost)
{
	uint64_t held = resident_of(s, false);
	struct slot *best = NULL;

	if (held > 0 && held + cost > LIMIT_MEMORY_PER_DISK_BYTES)
		return NULL;
	for (unsigned i = 0; i < SLOTS; i++)
		if (s->slots[i].state == SLOT_FREE &&
		    (!best || s->slots[i].resident > best->resident))
			best = &s->slots[i];
	return best;
}

/* Make `slot`, not free any more, hold `cost` bytes more, and all slots together no more than the
 * limit. */
static void slot_fit(struct sender *s, struct slot *slot, uint64_t cost)
{
	uint64_t held = resident_of(s, false) - slot->resident, most = LIMIT_MEMORY_PER_DISK_BYTES;

	if (slot->resident + cost > REGION_BYTES)
		slot->resident = REGION_BYTES - cost;
	if (held + slot->resident + cost > most)
		slot_drop(slot);
	slot->resident += cost;
	for (unsigned i = 0; i < SLOTS; i++)
		if (s->slots[i].state == SLOT_FREE &&
		    held + slot->resident + resident_of(s, true) > most)
			slot_drop(&s->slots[i]);
}

/* Wait for a free slot and for memory; NULL when the copy was given up. */
static struct slot *slot_take(struct sender *s, const struct piece *p)
{
	uint64_t cost = piece_cost(s, p);
	struct slot *slot = NULL;

	pthread_mutex_lock(&s->lock);
	while (!s->stop && !(slot = slot_free_for(s, cost)))
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->stop)
		slot = NULL;
	if (slot) {
		slot->state = SLOT_READING;
		slot->order = s->next_order++;
		slot->region = p->region;
		slot_fit(s, slot, cost);
	}
	pthread_mutex_unlock(&s->lock);
	return slot;
}

static void count_read(struct sender *s, uint64_t bytes)
{
	pthread_mutex_lock(&s->lock);
	s->progress.bytes_read += (int64_t)bytes;
	pthread_mutex_unlock(&s->lock);
}

/* --- a whole region --- */

static void ops_of_runs(struct runs *runs, struct ops *ops)
{
	ops->count = ops->cap = runs->count;
	ops->items = xcalloc(runs->count + 1, sizeof *ops->items);
	ops->coarse = runs->coarse;
	ops->fine_ends = runs->fine_ends;
	runs->fine_ends = NULL;
	for (uint32_t i = 0; i < runs->count; i++) {
		const struct run *run = &runs->items[i];

		ops->items[i] = (struct op){.kind = run->kind == RUN_ZERO ? OP_ZERO : OP_DATA,
					    .count = run->blocks};
	}
}

static int cut_whole(struct sender *s, const struct piece *p, struct slot *slot, struct err *e)
{
	struct runs runs = {0};

	if (source_read(s->source, p->offset, &p->data, slot->data, e))
		return -1;
	/* A short last block counts as filled up with zeroes. */
	memset(slot->data + p->length, 0, (uint64_t)p->blocks * BLOCK_BYTES - p->length);
	count_read(s, extents_total(&p->data));
	cut_region(slot->data, p->blocks, &p->data, &runs);
	ops_of_runs(&runs, &slot->ops);
	runs_release(&runs);
	return 0;
}

/* --- the changed part of a region --- */

struct recut {
	struct sender *sender;
	const struct piece *piece;
};

/* recut_read_fn: reads what is data, and what is not is zero without reading. */
static int recut_read(void *context, const struct extents *ranges, uint8_t *region, struct err *e)
{
	const struct recut *c = context;
	struct extents want = {0};
	int result;

	for (size_t i = 0; i < ranges->count; i++)
		memset(region + ranges->items[i].offset, 0, ranges->items[i].length);
	extents_intersect(ranges, &c->piece->data, &want);
	result = source_read(c->sender->source, c->piece->offset, &want, region, e);
	count_read(c->sender, extents_total(&want));
	extents_release(&want);
	return result;
}

/* Ask for outlines of regions from *next on, as many as there are places for. */
static int ask_outlines(struct sender *s, uint64_t *next, struct err *e)
{
	uint64_t regions = layout_regions(&s->layout);

	for (; *next < regions; ++*next) {
		struct door_outline ask = {.region = (int64_t)*next};
		struct outline *o = NULL;

		if (!region_wanted(s, *next))
			continue;
		pthread_mutex_lock(&s->lock);
		for (unsigned i = 0; i < OUTLINES_AHEAD && !o; i++)
			if (!s->outlines[i].asked)
				o = &s->outlines[i];
		if (o)
			*o = (struct outline){.asked = true, .region = *next};
		pthread_mutex_unlock(&s->lock);
		if (!o)
			return 0;
		if (frame_write(s->to, DOOR_OUTLINE_WANTED, &door_outline_shape, &ask, e))
			return -1;
	}
	return 0;
}

static struct outline *outline_of(struct sender *s, uint64_t region)
{
	for (unsigned i = 0; i < OUTLINES_AHEAD; i++)
		if (s->outlines[i].asked && s->outlines[i].region == region)
			return &s->outlines[i];
	return NULL;
}

/* Wait for the outline of a region in the base, which was asked for. */
static int take_outline(struct sender *s, uint64_t region, struct runs *out, struct err *e)
{
	struct outline *o;
	int result = 0;

	pthread_mutex_lock(&s->lock);
	o = outline_of(s, region);
	while (!s->stop && !o->came)
		pthread_cond_wait(&s->changed, &s->lock);
	if (o->came) {
		*out = o->runs;
		*o = (struct outline){0};
	} else {
		result = err_set(e, ERR_UNAVAILABLE, "the copy was given up");
	}
	pthread_mutex_unlock(&s->lock);
	return result;
}

static void mark_chunks(struct slot *slot, const struct runs *base)
{
	uint32_t block = 0, n = 0;

	for (uint32_t i = 0; i < slot->ops.count; i++)
		slot->data_count += slot->ops.items[i].kind == OP_DATA;
	slot->chunks = xcalloc(slot->data_count + 1, sizeof *slot->chunks);
	for (uint32_t i = 0; i < slot->ops.count; i++) {
		const struct op *op = &slot->ops.items[i];

		if (op->kind == OP_DATA)
			slot->chunks[n++] = (struct slot_chunk){.op = i, .first_block = block};
		if (op->kind != OP_KEEP)
			block += op->count;
		for (uint32_t k = 0; op->kind == OP_KEEP && k < op->count; k++)
			block += base->items[op->skip + k].blocks;
	}
}

static int cut_piece(struct sender *s, const struct piece *p, struct slot *slot, struct err *e)
{
	struct recut context = {.sender = s, .piece = p};
	struct runs base = {0};
	int result;

	if (s->increment) {
		result = take_outline(s, p->region, &base, e);
		if (result == 0 && runs_blocks(&base) != p->blocks)
			result = err_set(e, ERR_INVALID,
					 "the outline of region %llu is not its own",
					 (unsigned long long)p->region);
		if (result == 0)
			result = recut_region(&base, &p->dirty, p->blocks, slot->data, recut_read,
					      &context, &slot->ops, e);
		slot->work = extents_total(&p->dirty);
	} else {
		result = cut_whole(s, p, slot, e);
		slot->work = extents_total(&p->data);
	}
	if (result == 0)
		mark_chunks(slot, &base);
	runs_release(&base);
	return result;
}

void *send_reader(void *sender)
{
	struct sender *s = sender;
	uint64_t regions = layout_regions(&s->layout), asked = 0;
	struct err why = {0};

	for (uint64_t region = 0; region < regions; region++) {
		struct piece p;
		struct slot *slot = NULL;
		int result = 0;

		if (s->increment && ask_outlines(s, &asked, &why)) {
			send_failed(s, &why);
			return NULL;
		}
		if (piece_wanted(s, region, &p)) {
			slot = slot_take(s, &p);
			result = slot ? cut_piece(s, &p, slot, &why) : -1;
		}
		piece_release(&p);
		if (result) {
			if (slot)
				send_failed(s, &why);
			return NULL;
		}
		if (slot) {
			pthread_mutex_lock(&s->lock);
			/* A recut names what it cuts. */
			slot->state = s->increment || !slot->data_count ? SLOT_CUT : SLOT_UNNAMED;
			pthread_cond_broadcast(&s->changed);
			pthread_mutex_unlock(&s->lock);
		}
	}
	pthread_mutex_lock(&s->lock);
	s->read_all = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
