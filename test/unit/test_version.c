// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <pthread.h>

#include "made_disk.h"

static int begin(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);

	fill_disk(f);
	assert_ok(store_open("memory:version", true, true, &f->store, err));
	put_disk(f);
	f->cache = version_cache_new(8 * MIB);
	assert_ok(version_open(f->store, &f->root, f->cache, &f->version, err));
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;

	version_close(f->version);
	version_cache_free(f->cache);
	store_close(f->store);
	free(f->disk);
	free(f);
	return 0;
}

static void check_read(struct fixture *f, uint64_t offset, uint32_t length)
{
	uint8_t *got = xmalloc(length);

	memset(got, 0xa5, length);
	assert_ok(version_read(f->version, got, offset, length, err));
	if (memcmp(got, f->disk + offset, length) != 0)
		fail_msg("%u bytes at %llu differ", length, (unsigned long long)offset);
	free(got);
}

static void every_place_reads_back(void **state)
{
	struct fixture *f = *state;
	static const uint64_t places[] = {0,
					  4096,
					  3 * MIB + 4096,
					  10 * MIB,
					  10 * MIB + 700 * KIB,
					  REGION_BYTES,
					  2ull * REGION_BYTES,
					  DISK_BYTES - 4096};
	static const uint32_t lengths[] = {1, 511, 512, 4096, 4097, 65536, 600001};

	assert_int_equal(version_size(f->version), DISK_BYTES);
	for (size_t i = 0; i < COUNT_OF(places); i++)
		for (size_t k = 0; k < COUNT_OF(lengths); k++)
			for (int shift = -1; shift <= 1; shift++) {
				uint64_t offset = places[i] + (uint64_t)shift;

				if (offset < DISK_BYTES && offset + lengths[k] <= DISK_BYTES)
					check_read(f, offset, lengths[k]);
			}
	for (uint64_t offset = 0; offset < DISK_BYTES; offset += 33 * MIB)
		check_read(
		    f, offset,
		    (uint32_t)(DISK_BYTES - offset < 33 * MIB ? DISK_BYTES - offset : 33 * MIB));
	check_read(f, DISK_BYTES - 1, 1);
	check_read(f, DISK_BYTES, 0);
}

static void what_is_outside_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	uint64_t length;
	uint8_t byte[2];
	bool zero;

	assert_int_equal(version_read(f->version, byte, DISK_BYTES - 1, 2, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(version_read(f->version, byte, UINT64_MAX, 2, &e), -1);
	assert_int_equal(version_extent(f->version, 1, UINT64_MAX, &length, &zero, &e), -1);
}

static void extents_cover_the_disk_and_are_true(void **state)
{
	struct fixture *f = *state;
	uint64_t zeroes = 0, length;

	for (uint64_t offset = 0; offset < DISK_BYTES; offset += length) {
		bool zero;

		assert_ok(
		    version_extent(f->version, offset, DISK_BYTES - offset, &length, &zero, err));
		assert_true(length > 0 && length <= DISK_BYTES - offset);
		if (zero) {
			zeroes += length;
			for (uint64_t i = 0; i < length; i++)
				if (f->disk[offset + i])
					fail_msg("byte %llu is not zero",
						 (unsigned long long)(offset + i));
		}
	}
	assert_true(zeroes > DISK_BYTES - 5 * MIB);
	/* A zero region and the zeroes before the next data are one extent; `length` bounds it. */
	bool zero;
	assert_ok(version_extent(f->version, REGION_BYTES + 1, 1000, &length, &zero, err));
	assert_true(zero && length == 1000);
	assert_ok(version_extent(f->version, 11 * MIB, DISK_BYTES - 11 * MIB, &length, &zero, err));
	assert_true(zero && 11 * MIB + length == REGION_BYTES - 8192);
}

static void a_version_that_is_not_there_says_so(void **state)
{
	struct fixture *f = *state;
	struct name other = f->root;
	struct version *v = NULL;
	struct err e = {0};

	other.bytes[0] ^= 1;
	assert_int_equal(version_open(f->store, &other, f->cache, &v, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "cannot open the disk version"));
	/* A chunk is no root. */
	assert_int_equal(version_open(f->store, &f->some_chunk, f->cache, &v, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
}

/* A page that names a chunk of another length, and one that names a chunk the store lacks. */
static void a_wrong_tree_is_an_error_not_bytes(void **state)
{
	struct fixture *f = *state;
	struct disk_root root = {.cutter_version = CUTTER_VERSION, .branch_count = 1};
	struct name missing = f->some_chunk;

	missing.bytes[5] ^= 0x40;
	layout_plain(&root.layout, 2 * BLOCK_BYTES * 16);
	for (int i = 0; i < 2; i++) {
		struct name page, branch, name;
		struct runs runs = {0};
		struct buf node = {0};
		struct version *v;
		struct err e = {0};
		uint8_t byte;

		runs_push(&runs, RUN_DATA, 32, i ? &missing : &f->some_chunk);
		page_encode(&runs, 32, &node);
		assert_ok(store_put_node(f->store, &node, &page, err));
		buf_clear(&node);
		branch_encode(&page, 1, &node);
		assert_ok(store_put_node(f->store, &node, &branch, err));
		buf_clear(&node);
		root.branches = &branch;
		disk_root_encode(&root, &node);
		assert_ok(store_put_node(f->store, &node, &name, err));
		assert_ok(version_open(f->store, &name, f->cache, &v, err));
		assert_int_equal(version_read(v, &byte, 0, 1, &e), -1);
		assert_int_equal(e.kind, i ? ERR_NOT_FOUND : ERR_CORRUPT);
		assert_non_null(strstr(e.text, "region 0"));
		version_close(v);
		runs_release(&runs);
		buf_release(&node);
	}
}

/* Many threads over few chunks, with a cache that holds hardly any: in order, and all over. */
struct crowd {
	struct fixture *f;
	struct version *version;
	unsigned number;
	bool ok;
};

static void *read_much(void *arg)
{
	struct crowd *c = arg;
	uint32_t length = 100000, random = c->number * 2654435761u + 1;
	uint8_t *got = xmalloc(length);

	c->ok = true;
	for (unsigned i = 0; i < 120 && c->ok; i++) {
		uint64_t offset = c->number % 2 ? (uint64_t)i * length : (random >> 4) % (4 * MIB);
		struct err e = {0};

		random = random * 1664525u + 1013904223u;
		c->ok = version_read(c->version, got, offset, length, &e) == 0 &&
			memcmp(got, c->f->disk + offset, length) == 0;
	}
	free(got);
	return NULL;
}

static void a_crowd_reads_what_is_there(void **state)
{
	struct fixture *f = *state;
	struct version_cache *cache = version_cache_new(MIB);
	struct crowd crowd[8];
	pthread_t threads[COUNT_OF(crowd)];
	struct version *v;

	assert_ok(version_open(f->store, &f->root, cache, &v, err));
	for (unsigned i = 0; i < COUNT_OF(crowd); i++) {
		crowd[i] = (struct crowd){.f = f, .version = v, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, read_much, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < COUNT_OF(crowd); i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < COUNT_OF(crowd); i++)
		assert_true(crowd[i].ok);
	version_close(v);
	version_cache_free(cache);
}

static int put_back(void *context, uint64_t offset, const void *data, uint32_t length,
		    struct err *e)
{
	(void)e;
	assert_true(offset + length <= DISK_BYTES);
	memcpy((uint8_t *)context + offset, data, length);
	return 0;
}

static void stretches_make_up_the_disk(void **state)
{
	struct fixture *f = *state;
	uint8_t *got = xcalloc(1, DISK_BYTES);
	uint64_t length;

	for (uint64_t offset = 0; offset < DISK_BYTES; offset += length) {
		length = version_stretch(f->version, offset);
		assert_true(length > 0 && length <= DISK_BYTES - offset);
		assert_ok(version_each(f->version, offset, length, put_back, got, err));
	}
	assert_memory_equal(got, f->disk, DISK_BYTES);
	free(got);
}

/* As a walk over all bytes finds them. */
static void differences_are_found_to_the_block(void **state)
{
	struct fixture *f = *state;
	uint8_t *before = xmalloc(DISK_BYTES);
	struct extents found = {0}, expected = {0};
	struct version *after;

	memcpy(before, f->disk, DISK_BYTES);
	f->disk[4096 + 5] ^= 1;
	memset(f->disk + 10 * MIB + 4096, 0, 8192);		   /* data to zero */
	memset(f->disk + REGION_BYTES + 3 * MIB + 100, 'y', 5000); /* a region that had no page */
	noise(f->disk + 2ull * REGION_BYTES, 4096);
	f->disk[DISK_BYTES - 1] ^= 0x80;
	put_disk(f);
	assert_ok(version_open(f->store, &f->root, f->cache, &after, err));
	assert_ok(version_diff(f->version, after, &found, err));
	for (uint64_t at = 0; at < DISK_BYTES; at += 4096) {
		uint64_t n = DISK_BYTES - at < 4096 ? DISK_BYTES - at : 4096;

		if (memcmp(before + at, f->disk + at, n) != 0)
			extents_append(&expected, at, n);
	}
	assert_int_equal(found.count, expected.count);
	assert_memory_equal(found.items, expected.items, found.count * sizeof *found.items);
	assert_int_equal(extents_total(&found), 4096 + 8192 + 8192 + 4096 + 513);
	extents_release(&found);
	assert_ok(version_diff(after, after, &found, err));
	assert_int_equal(found.count, 0);
	version_close(after);
	extents_release(&found);
	extents_release(&expected);
	free(before);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_place_reads_back),
	    TEST(a_crowd_reads_what_is_there),
	    TEST(differences_are_found_to_the_block),
	    TEST(stretches_make_up_the_disk),
	    TEST(what_is_outside_is_refused),
	    TEST(extents_cover_the_disk_and_are_true),
	    TEST(a_version_that_is_not_there_says_so),
	    TEST(a_wrong_tree_is_an_error_not_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
