// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "block/tree.h"

typedef int again_fn(const uint8_t *data, size_t n, struct buf *out);

static int page_again(const uint8_t *data, size_t n, struct buf *out)
{
	struct runs runs = {0};
	uint32_t blocks;
	int ok = page_decode(data, n, &runs, &blocks, NULL);
	if (ok == 0)
		page_encode(&runs, blocks, out);
	runs_release(&runs);
	return ok;
}

static int branch_again(const uint8_t *data, size_t n, struct buf *out)
{
	static struct name pages[TREE_FANOUT];
	uint32_t count;
	int ok = branch_decode(data, n, pages, &count, NULL);
	if (ok == 0)
		branch_encode(pages, count, out);
	return ok;
}

static int root_again(const uint8_t *data, size_t n, struct buf *out)
{
	struct disk_root root;
	int ok = disk_root_decode(data, n, &root, NULL);
	if (ok == 0) {
		disk_root_encode(&root, out);
		disk_root_release(&root);
	}
	return ok;
}

static int outline_again(const uint8_t *data, size_t n, struct buf *out)
{
	struct runs runs = {0};
	int ok = runs_outline_decode(data, n, &runs, NULL);
	if (ok == 0)
		runs_outline_encode(&runs, out);
	runs_release(&runs);
	return ok;
}

static int ops_again(const uint8_t *data, size_t n, struct buf *out)
{
	struct ops ops = {0};
	int ok = ops_decode(data, n, &ops, NULL);
	if (ok == 0)
		ops_encode(&ops, out);
	ops_release(&ops);
	return ok;
}

/* Whole bytes come back; shortened, lengthened or flipped ones are refused or come back too. At
 * least `refused` of the flips of one bit must be refused. */
static void assert_strict(const struct buf *whole, again_fn *again, uint32_t refused)
{
	struct buf out = {0};
	uint8_t *data = xmalloc(whole->len + 1);
	uint32_t refusals = 0;
	memcpy(data, whole->data, whole->len);
	data[whole->len] = 0;
	assert_int_equal(again(data, whole->len, &out), 0);
	assert_int_equal(out.len, whole->len);
	assert_memory_equal(out.data, whole->data, whole->len);
	for (size_t n = 0; n < whole->len; n++)
		assert_int_equal(again(data, n, &out), -1);
	assert_int_equal(again(data, whole->len + 1, &out), -1);
	for (size_t bit = 0; bit < whole->len * 8; bit++) {
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		buf_clear(&out);
		if (again(data, whole->len, &out) < 0) {
			refusals++;
		} else {
			assert_int_equal(out.len, whole->len);
			assert_memory_equal(out.data, data, whole->len);
		}
		data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(refusals >= refused);
	free(data);
	buf_release(&out);
}

static const struct name names[] = {{{1, 2, 3}}, {{4, 5, 6}}, {{0}}};

static void pages_are_strict(void **state)
{
	(void)state;
	struct runs runs = {0};
	struct buf whole = {0};
	runs_push(&runs, RUN_ZERO, 10, NULL);
	runs_push(&runs, RUN_ZERO, 1, NULL); /* joined */
	page_encode(&runs, 11, &whole);
	assert_int_equal(whole.len, 0); /* all zero: no page */
	runs_push(&runs, RUN_DATA, 128, &names[0]);
	runs_push(&runs, RUN_DATA, 3, &names[1]);
	runs_push(&runs, RUN_ZERO, 16000, NULL);
	assert_int_equal(runs.count, 4);
	page_encode(&runs, 11 + 128 + 3 + 16000, &whole);
	assert_int_equal(whole.len, 16 + 4 * 4 + 2 * 32);
	assert_strict(&whole, page_again, (16 + 4 * 4) * 8 - 8);
	buf_clear(&whole);
	runs_outline_encode(&runs, &whole);
	assert_strict(&whole, outline_again, 100);
	runs_release(&runs);
	buf_release(&whole);
}

/* Runs of one block each, in coarse mode: half of them in its chunks of four. */
static void coarse_pages_are_strict(void **state)
{
	(void)state;
	enum { CHUNKS = CUTTER_FINE_MAX_CHUNKS + 4 };
	struct runs runs = {.coarse = true}, back = {0};
	struct buf whole = {0};
	struct err e = {0};
	uint32_t blocks;
	runs.fine_ends = xcalloc(1, REGION_BITS_BYTES);
	for (uint32_t i = 0; i < CHUNKS / 4; i++)
		runs_push(&runs, RUN_DATA, 4, &names[0]);
	runs_push(&runs, RUN_ZERO, 8, NULL);
	memset(runs.fine_ends, 0xff, CHUNKS / 8);
	runs.fine_ends[CHUNKS / 8] |= 0x0f;
	page_encode(&runs, CHUNKS + 8, &whole);
	assert_ok(page_decode(whole.data, whole.len, &back, &blocks, err));
	assert_true(back.coarse);
	assert_memory_equal(back.fine_ends, runs.fine_ends, REGION_BITS_BYTES);
	for (size_t cut = 1; cut <= REGION_BITS_BYTES; cut *= 2)
		assert_int_equal(page_decode(whole.data, whole.len - cut, &back, &blocks, &e), -1);
	uint8_t *ends = whole.data + whole.len - REGION_BITS_BYTES;
	/* One in the zeroes, one behind the region, none at the end of the data, too few. */
	static const struct {
		uint32_t bit;
	} flips[] = {{CHUNKS}, {CHUNKS + 8}, {REGION_BLOCKS - 1}, {CHUNKS - 1}};
	for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
		ends[flips[i].bit / 8] ^= (uint8_t)(1u << flips[i].bit % 8);
		assert_int_equal(page_decode(whole.data, whole.len, &back, &blocks, &e), -1);
		assert_int_equal(e.kind, ERR_CORRUPT);
		ends[flips[i].bit / 8] ^= (uint8_t)(1u << flips[i].bit % 8);
	}
	memset(ends, 0, 1);
	assert_int_equal(page_decode(whole.data, whole.len, &back, &blocks, &e), -1);
	runs_release(&runs);
	runs_release(&back);
	buf_release(&whole);
}

static void branches_are_strict(void **state)
{
	(void)state;
	struct buf whole = {0};
	branch_encode(&names[2], 1, &whole);
	assert_int_equal(whole.len, 0);
	branch_encode(names, 3, &whole);
	assert_int_equal(whole.len, 16 + 3 * 32);
	assert_strict(&whole, branch_again, 16 * 8);
	buf_release(&whole);
}

static void roots_are_strict(void **state)
{
	(void)state;
	struct buf whole = {0};
	const uint64_t starts[] = {63 * 512, 300ull << 20};
	struct disk_root root = {.cutter_version = CUTTER_VERSION, .branch_count = 2};
	assert_ok(layout_from_starts(&root.layout, 70ull << 30, starts, 2, err));
	root.branches = xcalloc(2, sizeof *root.branches);
	root.branches[1] = names[0];
	assert_int_equal(disk_root_branches(&root.layout), 2);
	disk_root_encode(&root, &whole);
	assert_int_equal(whole.len, 48 + 2 * 8 + 2 * 32);
	/* Any key domain is one, and the size and the starts have values to choose from. */
	assert_strict(&whole, root_again, (48 - 16) * 8);
	disk_root_release(&root);
	buf_release(&whole);
}

static void ops_are_strict(void **state)
{
	(void)state;
	struct buf whole = {0};
	uint8_t ends[REGION_BITS_BYTES] = {1};
	struct op items[] = {
	    {OP_KEEP, 7, 1, {{0}}}, {OP_ZERO, 5, 0, {{0}}}, {OP_DATA, 9, 0, names[0]}};
	ops_encode(&(struct ops){.items = items, .count = 3}, &whole);
	assert_int_equal(whole.len, 8 + 8 + 4 + 36);
	assert_strict(&whole, ops_again, 100);
	buf_clear(&whole);
	ops_encode(&(struct ops){.items = items, .count = 3, .coarse = true, .fine_ends = ends},
		   &whole);
	assert_int_equal(whole.len, 8 + 8 + 4 + 36 + REGION_BITS_BYTES);
	assert_strict(&whole, ops_again, 100);
	buf_release(&whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pages_are_strict),	   cmocka_unit_test(coarse_pages_are_strict),
	    cmocka_unit_test(branches_are_strict), cmocka_unit_test(roots_are_strict),
	    cmocka_unit_test(ops_are_strict),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
