// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/shape.h"
#include "base/text.h"

struct leaf {
	char *name;
	int64_t number;
};
struct tree {
	char *name;
	struct bytes blob;
	struct list leaves;
};
static const struct field leaf_fields[] = {FIELD_TEXT_OF(leaf, name, 10),
					   FIELD_INT_OF(leaf, number, 0)};
static const struct shape leaf_shape = SHAPE(leaf, leaf_fields);
static const struct field tree_fields[] = {FIELD_TEXT_OF(tree, name, 10),
					   FIELD_BYTES_OF(tree, blob, 10),
					   FIELD_LIST_OF(tree, leaves, 10, &leaf_shape)};
static const struct shape tree_shape = SHAPE(tree, tree_fields);

static void shapes_copy_and_compare_deeply(void **state)
{
	(void)state;
	struct tree a = {0}, b;
	text_set(&a.name, "oak");
	bytes_set(&a.blob, "\0x", 2);
	for (int i = 0; i < 5; i++) {
		struct leaf *l = list_push(&a.leaves, sizeof *l);
		text_setf(&l->name, "leaf %d", i);
		l->number = i;
	}
	shape_copy(&tree_shape, &b, &a);
	assert_true(shape_equal(&tree_shape, &a, &b));
	((struct leaf *)b.leaves.items)[4].number = 9;
	assert_false(shape_equal(&tree_shape, &a, &b));
	shape_release(&tree_shape, &a);
	shape_release(&tree_shape, &b);
	assert_null(b.leaves.items);
}

static void errors_keep_kind_and_sentence(void **state)
{
	(void)state;
	struct err e = {0};
	assert_int_equal(err_set(&e, ERR_FULL, "disk %d is full", 3), -1);
	err_prefix(&e, "run %s", "r1");
	assert_string_equal(e.text, "run r1: disk 3 is full");
	assert_int_equal(e.kind, ERR_FULL);
	err_set(&e, e.kind, "again: %s", e.text); /* its own text as an argument */
	assert_string_equal(e.text, "again: run r1: disk 3 is full");
	err_errno(&e, ENOSPC, "cannot write");
	assert_int_equal(e.kind, ERR_FULL);
	for (int k = ERR_NONE; k <= ERR_IO; k++)
		assert_int_equal(err_kind_from_word(err_kind_word((enum err_kind)k)), k);
	assert_int_equal(err_set(NULL, ERR_IO, "nobody cares"), -1);
}

static void numbers_and_sizes_are_checked(void **state)
{
	(void)state;
	struct err e = {0};
	int64_t n;
	uint64_t size;
	assert_int_equal(number_parse("count", "24", 1, 24, &n, &e), 0);
	assert_int_equal(n, 24);
	static const char *const bad[] = {"", "25", "0", "3x", " 3", "99999999999999999999"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(number_parse("count", bad[i], 1, 24, &n, &e), -1);
	assert_non_null(strstr(e.text, "count must be a whole number from 1 to 24"));
	assert_int_equal(size_parse("size", "3G", 1, UINT64_MAX, &size, &e), 0);
	assert_int_equal(size, 3ull << 30);
	static const char *const bad_sizes[] = {"", "G", "-1", "1GB", "99999999T", "1.5G"};
	for (size_t i = 0; i < COUNT_OF(bad_sizes); i++)
		assert_int_equal(size_parse("size", bad_sizes[i], 1, 1ull << 50, &size, &e), -1);
}

static void utf8_is_checked_strictly(void **state)
{
	(void)state;
	assert_int_equal(utf8_valid("abc", 3), 3);
	assert_int_equal(utf8_valid("a\xc3\xa4\xe4\xb8\xad\xf0\x9f\x90\xa6", 10), 10);
	assert_int_equal(utf8_valid("a\xc0\x80", 3), 1);	/* overlong */
	assert_int_equal(utf8_valid("\xed\xa0\x80", 3), 0);	/* surrogate */
	assert_int_equal(utf8_valid("ab\xe4\xb8", 4), 2);	/* cut off */
	assert_int_equal(utf8_valid("\xf4\x90\x80\x80", 4), 0); /* beyond U+10FFFF */
}

static void texts_for_people(void **state)
{
	(void)state;
	char out[32];
	size_text(1536, out);
	assert_string_equal(out, "1.5 KiB");
	size_text(0, out);
	assert_string_equal(out, "0 B");
	duration_text(65000, out);
	assert_string_equal(out, "65 s");
	clock_text(1477006131856, out);
	assert_string_equal(out, "2016-10-20T23:28:51.856Z");
	uint8_t raw[2];
	assert_true(hex_decode("0aFf", 2, raw));
	assert_int_equal(raw[1], 255);
	assert_false(hex_decode("0aF", 2, raw));
	char id[ID_BYTES];
	id_make(id, "sms-job-", 8);
	assert_int_equal(strlen(id), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shapes_copy_and_compare_deeply),
	    cmocka_unit_test(errors_keep_kind_and_sentence),
	    cmocka_unit_test(numbers_and_sizes_are_checked),
	    cmocka_unit_test(utf8_is_checked_strictly),
	    cmocka_unit_test(texts_for_people),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
