// SPDX-License-Identifier: Apache-2.0
/*
 * The law of increments: applying the ops of a recut to the base gives, run for run, what cutting
 * the whole changed region gives. Tried on random edits of regions made of what disks hold.
 */
#include "test.h"

#include "block/cutter.h"
#include "block/tree.h"

#define EDITS	     10000
#define MAX_BLOCKS   512
#define COARSE_EDITS 24

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t random_below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 32) % n);
}

/* Blocks to build regions from: those that never close a fine chunk, those with the slack of a
 * file's end, those closed by their hash. */
enum { PLAIN, TAIL, HASH, STYLES, PER_STYLE = 16 };
static uint8_t pool[STYLES][PER_STYLE][BLOCK_BYTES];

static int make_pool(void **state)
{
	(void)state;
	for (int style = 0; style < STYLES; style++)
		for (int i = 0; i < PER_STYLE; i++) {
			uint8_t *block = pool[style][i];
			do
				for (uint32_t at = 0; at < BLOCK_BYTES; at++)
					block[at] = (uint8_t)(1 + random_below(255));
			while (cutter_closes(block, 1, false) != (style == HASH));
			if (style == TAIL)
				memset(block + BLOCK_BYTES - 32, 0, 32);
		}
	return 0;
}

struct disk {
	uint8_t *data;
	uint32_t blocks;
	uint8_t *region; /* what a recut reads into */
	uint32_t read;	 /* blocks it read */
};

static int read_disk(void *context, const struct extents *ranges, uint8_t *region, struct err *e)
{
	struct disk *disk = context;
	uint64_t size = (uint64_t)disk->blocks * BLOCK_BYTES;
	(void)e;
	for (size_t i = 0; i < ranges->count; i++) {
		const struct extent *x = &ranges->items[i];
		assert_true(x->offset % BLOCK_BYTES == 0 && x->length % BLOCK_BYTES == 0);
		assert_true(x->offset < size && x->length <= size - x->offset);
		memcpy(region + x->offset, disk->data + x->offset, x->length);
		disk->read += (uint32_t)(x->length / BLOCK_BYTES);
	}
	return 0;
}

/* Few chunks where `weight` of plain blocks is high. */
static void fill(struct disk *disk, uint32_t from, uint32_t count, uint32_t weight)
{
	for (uint32_t i = from; i < from + count; i++) {
		uint8_t *block = disk->data + (size_t)i * BLOCK_BYTES;
		uint32_t what = random_below(weight + 3);
		if (what == weight + 2)
			memset(block, 0, BLOCK_BYTES);
		else
			memcpy(block,
			       pool[what < weight    ? PLAIN
				    : what == weight ? TAIL
						     : HASH][random_below(PER_STYLE)],
			       BLOCK_BYTES);
	}
}

static void edit(struct disk *disk, struct extents *dirty)
{
	uint32_t first = random_below(disk->blocks);
	uint32_t count = 1 + random_below(random_below(4) ? 3 : 40);
	uint32_t style = random_below(7);
	if (count > disk->blocks - first)
		count = disk->blocks - first;
	uint64_t offset = (uint64_t)first * BLOCK_BYTES, length = (uint64_t)count * BLOCK_BYTES;
	uint8_t *at = disk->data + offset;
	if (style == 0) {
		memset(at, 0, length);
	} else if (style == 1) { /* some bytes only, reported as such */
		offset += random_below(BLOCK_BYTES);
		length = 1 + random_below(40);
		if (length > (uint64_t)disk->blocks * BLOCK_BYTES - offset)
			length = (uint64_t)disk->blocks * BLOCK_BYTES - offset;
		memset(disk->data + offset, (int)random_below(2), length);
	} else if (style == 2) { /* the slack of the last block comes or goes */
		at += length - BLOCK_BYTES;
		memset(at + BLOCK_BYTES - 32, (int)random_below(2), 32);
	} else if (style < 6) {
		fill(disk, first, count, random_below(2) ? 1 : 500);
	} /* else reported as changed, but as it was */
	extents_append(dirty, offset, length);
}

static void resize(struct disk *disk, uint32_t blocks)
{
	if (blocks == disk->blocks)
		return;
	if (blocks > disk->blocks)
		fill(disk, disk->blocks, blocks - disk->blocks, 2);
	/* The last block may have been a short one, or is now. */
	uint32_t last = (blocks < disk->blocks ? blocks : disk->blocks) - 1;
	if (random_below(2))
		memset(disk->data + (size_t)last * BLOCK_BYTES + 1024, (int)random_below(2),
		       BLOCK_BYTES - 1024);
	disk->blocks = blocks;
}

struct tally {
	uint32_t kept_runs, ops_kept, ops_zero, ops_data, long_chunks;
	uint32_t to_coarse, to_fine, stay_coarse;
	uint64_t blocks, blocks_read;
};

static void count_ops(struct tally *t, const struct ops *ops)
{
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct op *op = &ops->items[i];
		t->ops_kept += op->kind == OP_KEEP;
		t->kept_runs += op->kind == OP_KEEP ? op->count : 0;
		t->ops_zero += op->kind == OP_ZERO;
		t->ops_data += op->kind == OP_DATA;
		t->long_chunks += op->kind == OP_DATA && op->count == CHUNK_MAX_BLOCKS;
	}
}

static void assert_same_runs(const struct runs *a, const struct runs *b)
{
	assert_int_equal(a->coarse, b->coarse);
	if (a->coarse)
		assert_memory_equal(a->fine_ends, b->fine_ends, REGION_BITS_BYTES);
	assert_int_equal(a->count, b->count);
	for (uint32_t i = 0; i < a->count; i++) {
		assert_int_equal(a->items[i].kind, b->items[i].kind);
		assert_int_equal(a->items[i].blocks, b->items[i].blocks);
		assert_memory_equal(a->items[i].name.bytes, b->items[i].name.bytes, NAME_BYTES);
	}
}

/* One increment as the sender and the receiver do it, against a full cut. `base` becomes the runs
 * of the disk as it is. */
static void check_increment(struct disk *disk, const struct extents *dirty, struct runs *base,
			    struct tally *t)
{
	struct runs outline = {0}, expected = {0}, got = {0};
	struct ops ops = {0}, sent = {0};
	struct buf wire = {0};
	size_t bytes = (size_t)disk->blocks * BLOCK_BYTES;

	memset(disk->region, 0xa5, bytes); /* what is not read must not matter */
	runs_outline_encode(base, &wire);
	assert_ok(runs_outline_decode(wire.data, wire.len, &outline, err));
	disk->read = 0;
	assert_ok(
	    recut_region(&outline, dirty, disk->blocks, disk->region, read_disk, disk, &ops, err));
	buf_clear(&wire);
	ops_encode(&ops, &wire);
	assert_ok(ops_decode(wire.data, wire.len, &sent, err));
	assert_ok(ops_apply(base, &sent, disk->blocks, &got, err));

	cut_region(disk->data, disk->blocks, NULL, &expected);
	name_runs(disk->data, &expected);
	assert_same_runs(&got, &expected);

	count_ops(t, &sent);
	t->blocks += disk->blocks;
	t->blocks_read += disk->read;
	t->to_coarse += !base->coarse && expected.coarse;
	t->to_fine += base->coarse && !expected.coarse;
	t->stay_coarse += base->coarse && expected.coarse;
	runs_release(base);
	*base = expected;
	runs_release(&outline);
	runs_release(&got);
	ops_release(&ops);
	ops_release(&sent);
	buf_release(&wire);
}

static void disk_open(struct disk *disk, uint32_t blocks)
{
	disk->data = xcalloc(blocks, BLOCK_BYTES);
	disk->region = xcalloc(blocks, BLOCK_BYTES);
	disk->blocks = blocks;
}

static void disk_close(struct disk *disk)
{
	free(disk->data);
	free(disk->region);
}

static void an_increment_equals_a_full_cut(void **state)
{
	(void)state;
	struct tally t = {0};
	struct disk disk = {0};
	struct runs base = {0};
	disk_open(&disk, MAX_BLOCKS);
	for (int n = 0; n < EDITS; n++) {
		struct extents dirty = {0};
		if (n % 40 == 0) { /* another region, sometimes one that is long or all zero */
			disk.blocks = random_below(6) ? 8 + random_below(60)
						      : 128 + random_below(385);
			fill(&disk, 0, disk.blocks, random_below(3) ? random_below(8) : 5000);
			if (n % 400 == 0)
				memset(disk.data, 0, (size_t)disk.blocks * BLOCK_BYTES);
			cut_region(disk.data, disk.blocks, NULL, &base);
			name_runs(disk.data, &base);
		}
		for (uint32_t edits = random_below(5); edits > 0; edits--)
			edit(&disk, &dirty);
		if (random_below(20) == 0)
			resize(&disk,
			       1 + random_below(disk.blocks + 20 < MAX_BLOCKS ? disk.blocks + 20
									      : MAX_BLOCKS));
		check_increment(&disk, &dirty, &base, &t);
		extents_release(&dirty);
	}
	print_message("kept %u ops %u runs, zero %u, data %u (%u long), read %lu of %lu blocks\n",
		      t.ops_kept, t.kept_runs, t.ops_zero, t.ops_data, t.long_chunks,
		      (unsigned long)t.blocks_read, (unsigned long)t.blocks);
	/* All that the law is about did happen, and an increment is worth it. */
	assert_true(t.ops_kept > EDITS / 2 && t.kept_runs > EDITS && t.ops_zero > EDITS / 10);
	assert_true(t.ops_data > EDITS / 2 && t.long_chunks > 10);
	assert_true(t.blocks_read < t.blocks * 6 / 10);
	runs_release(&base);
	disk_close(&disk);
}

/* Regions on both sides of the number of chunks from which on the cutter is coarse. */
static void coarse_regions_are_cut_again_whole(void **state)
{
	(void)state;
	enum { BLOCKS = CUTTER_FINE_MAX_CHUNKS + 8 };
	struct tally t = {0};
	struct disk disk = {0};
	struct runs base = {0};
	disk_open(&disk, BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++)
		disk.data[(size_t)i * BLOCK_BYTES] = (uint8_t)(1 + random_below(255));
	cut_region(disk.data, disk.blocks, NULL, &base);
	name_runs(disk.data, &base);
	assert_true(base.coarse);
	for (int n = 0; n < COARSE_EDITS; n++) {
		struct extents dirty = {0};
		/* Blocks that end chunks of their own, or zero blocks that are none. */
		uint32_t count = 16 + random_below(16), first = random_below(BLOCKS - count);
		for (uint32_t i = first; i < first + count; i++)
			disk.data[(size_t)i * BLOCK_BYTES] = n % 3 == 0
								 ? 0
								 : (uint8_t)(1 + random_below(255));
		if (n % 3 == 1) { /* what the edit before took away comes back */
			for (uint32_t i = 0; i < BLOCKS; i++)
				disk.data[(size_t)i * BLOCK_BYTES] |= 1;
			first = 0;
			count = BLOCKS;
		}
		extents_append(&dirty, (uint64_t)first * BLOCK_BYTES,
			       (uint64_t)count * BLOCK_BYTES);
		check_increment(&disk, &dirty, &base, &t);
		extents_release(&dirty);
	}
	assert_true(t.to_coarse > 4 && t.to_fine > 4 && t.stay_coarse > 4);
	runs_release(&base);
	disk_close(&disk);
}

/* Many small files, and what a small change of them costs. */
static void coarse_regions_change_by_pieces(void **state)
{
	(void)state;
	enum { BLOCKS = 3 * CUTTER_FINE_MAX_CHUNKS / 2, SMALL_EDITS = 60 };
	struct tally t = {0};
	struct disk disk = {0};
	struct runs base = {0};
	disk_open(&disk, BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++)
		memcpy(disk.data + (size_t)i * BLOCK_BYTES,
		       pool[random_below(8)   ? TAIL
			    : random_below(9) ? PLAIN
					      : HASH][i % PER_STYLE],
		       BLOCK_BYTES);
	memset(disk.data + 100 * BLOCK_BYTES, 0, 300 * BLOCK_BYTES);
	fill(&disk, 500, 700, 500); /* and a long file */
	cut_region(disk.data, disk.blocks, NULL, &base);
	name_runs(disk.data, &base);
	assert_true(base.coarse);
	for (int n = 0; n < SMALL_EDITS; n++) {
		struct extents dirty = {0};
		edit(&disk, &dirty);
		check_increment(&disk, &dirty, &base, &t);
		extents_release(&dirty);
	}
	assert_int_equal(t.stay_coarse, SMALL_EDITS);
	assert_true(t.blocks_read < SMALL_EDITS * 60);
	runs_release(&base);
	disk_close(&disk);
}

static void a_small_change_reads_little(void **state)
{
	(void)state;
	enum { BLOCKS = 400 };
	struct tally t = {0};
	struct disk disk = {0};
	struct runs base = {0};
	struct extents dirty = {0};
	disk_open(&disk, BLOCKS);
	for (uint32_t i = 0; i < BLOCKS; i++) /* files of 8 blocks, every second one a hole */
		if (i / 8 % 2)
			memcpy(disk.data + (size_t)i * BLOCK_BYTES,
			       pool[i % 8 == 7 ? TAIL : PLAIN][i % PER_STYLE], BLOCK_BYTES);
	cut_region(disk.data, disk.blocks, NULL, &base);
	name_runs(disk.data, &base);
	check_increment(&disk, &dirty, &base, &t);
	assert_int_equal(disk.read, 0);
	assert_int_equal(t.ops_kept, 1);
	disk.data[202 * BLOCK_BYTES + 5] ^= 1; /* in the file at 200 … 207 */
	extents_append(&dirty, 202 * BLOCK_BYTES + 5, 1);
	check_increment(&disk, &dirty, &base, &t);
	assert_int_equal(disk.read, 8);
	extents_release(&dirty);
	disk.data[212 * BLOCK_BYTES] = 1; /* in the middle of the hole after it */
	extents_append(&dirty, 212 * BLOCK_BYTES, 1);
	check_increment(&disk, &dirty, &base, &t);
	assert_int_equal(disk.read, 1);
	extents_release(&dirty);
	runs_release(&base);
	disk_close(&disk);
}

static int refuse(void *context, const struct extents *ranges, uint8_t *region, struct err *e)
{
	(void)context;
	(void)region;
	return err_set(e, ERR_UNAVAILABLE, "no %lu blocks at %lu",
		       (unsigned long)(ranges->items[0].length / BLOCK_BYTES),
		       (unsigned long)(ranges->items[0].offset / BLOCK_BYTES));
}

static void a_failing_source_fails_the_recut(void **state)
{
	(void)state;
	struct runs base = {0};
	struct extents dirty = {0};
	struct ops ops = {0};
	struct err e = {0};
	uint8_t *region = xmalloc(16 * BLOCK_BYTES);
	runs_push(&base, RUN_DATA, 16, NULL);
	extents_append(&dirty, 3 * BLOCK_BYTES, 1);
	assert_int_equal(recut_region(&base, &dirty, 16, region, refuse, NULL, &ops, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_string_equal(e.text, "no 16 blocks at 0");
	base.coarse = true;
	base.fine_ends = xcalloc(1, REGION_BITS_BYTES);
	base.fine_ends[1] = 0x80;
	assert_int_equal(recut_region(&base, &dirty, 16, region, refuse, NULL, &ops, &e), -1);
	extents_release(&dirty);
	runs_release(&base);
	ops_release(&ops);
	free(region);
}

static void assert_refused(const struct runs *base, struct op *items, uint32_t count,
			   uint32_t blocks)
{
	struct ops ops = {.items = items, .count = count};
	struct runs out = {0};
	struct err e = {0};
	assert_int_equal(ops_apply(base, &ops, blocks, &out, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_true(e.text[0]);
	runs_release(&out);
}

static void hostile_ops_are_refused(void **state)
{
	(void)state;
	struct runs base = {0}, out = {0};
	const struct name name = {{1}};
	runs_push(&base, RUN_DATA, 3, &name);
	runs_push(&base, RUN_ZERO, 4, NULL);
	runs_push(&base, RUN_DATA, 5, &name);
	struct op good[] = {{OP_KEEP, 2, 0, {{0}}}, {OP_ZERO, 2, 0, {{0}}}, {OP_DATA, 3, 0, name}};
	assert_ok(ops_apply(&base, &(struct ops){.items = good, .count = 3}, 12, &out, err));
	assert_int_equal(out.count, 3);
	assert_int_equal(out.items[1].blocks, 6); /* kept and new zeroes are one run */
	assert_refused(&base, good, 3, 13);
	assert_refused(&base, good, 3, 11);
	assert_refused(&base, good, 3, 0);
	assert_refused(&base, good, 3, REGION_BLOCKS + 1);
	assert_refused(&base, NULL, 0, 12);
#define REFUSED(blocks, ...)                                                                       \
	assert_refused(&base, (struct op[]){__VA_ARGS__},                                          \
		       sizeof((struct op[]){__VA_ARGS__}) / sizeof(struct op), blocks)
	REFUSED(16, {OP_KEEP, 4, 0, {{0}}});			    /* one run too many */
	REFUSED(5, {OP_KEEP, 1, 3, {{0}}});			    /* behind the last */
	REFUSED(5, {OP_KEEP, 1, UINT32_MAX, {{0}}});		    /* wraps */
	REFUSED(6, {OP_KEEP, 1, 0, {{0}}}, {OP_KEEP, 1, 0, {{0}}}); /* twice */
	REFUSED(8, {OP_KEEP, 1, 2, {{0}}}, {OP_KEEP, 1, 0, {{0}}}); /* backwards */
	REFUSED(2, {OP_KEEP, 1, 0, {{0}}});			    /* past the end */
	REFUSED(129, {OP_DATA, 129, 0, name});			    /* too long */
	REFUSED(4, {OP_DATA, 0, 0, name}, {OP_ZERO, 4, 0, {{0}}});  /* empty */
	REFUSED(4, {7, 4, 0, {{0}}});				    /* unknown */
	REFUSED(60000, {OP_ZERO, 60000, 0, {{0}}});		    /* beyond a region */
	struct op *many = xcalloc(CUTTER_FINE_MAX_CHUNKS + 1, sizeof *many);
	for (int i = 0; i <= CUTTER_FINE_MAX_CHUNKS; i++)
		many[i] = (struct op){OP_DATA, 1, 0, name};
	assert_refused(&base, many, CUTTER_FINE_MAX_CHUNKS + 1, CUTTER_FINE_MAX_CHUNKS + 1);
	free(many);
	runs_release(&base);
	runs_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_increment_equals_a_full_cut),
	    cmocka_unit_test(coarse_regions_are_cut_again_whole),
	    cmocka_unit_test(coarse_regions_change_by_pieces),
	    cmocka_unit_test(a_small_change_reads_little),
	    cmocka_unit_test(a_failing_source_fails_the_recut),
	    cmocka_unit_test(hostile_ops_are_refused),
	};
	return cmocka_run_group_tests(tests, make_pool, NULL);
}
