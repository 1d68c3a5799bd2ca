// SPDX-License-Identifier: Apache-2.0
/*
 * Kind dir on a file system that really gets full, in the middle of a put and of a commit: the
 * caller hears "full", what was durable stays, and work goes on when there is room again. Needs
 * root, for the small file systems; they are mounted where nobody else sees them.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "store/store.h"

#define BYTES	3000
#define SKIPPED 77

static char place[200], image[200], path[250], where[300], ballast_path[250];
static bool skipped;

static int sh(const char *command)
{
	return system(command); /* NOLINT: a fixed command with our own paths */
}

static bool mounted(const char *fs)
{
	char command[600];
	if (strcmp(fs, "tmpfs") == 0)
		return mount("tmpfs", place, "tmpfs", 0, "size=80m") == 0;
	snprintf(command, sizeof command,
		 "truncate -s 100M %s && mkfs.ext4 -q -m 0 %s && mount -o loop %s %s 2>/dev/null",
		 image, image, image, place);
	return sh(command) == 0;
}

static int set_up(void **state)
{
	char id[ID_BYTES];
	id_make(id, "godwit-full-", 12);
	snprintf(place, sizeof place, "%s/%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", id);
	snprintf(image, sizeof image, "%s.img", place);
	snprintf(path, sizeof path, "%s/store", place);
	snprintf(where, sizeof where, "dir:%s?reserve=0", path);
	snprintf(ballast_path, sizeof ballast_path, "%s/ballast", place);
	assert_ok(file_make_dirs(place, 0700, err));
	if (!mounted(*state)) {
		print_message("skipped: a small %s cannot be mounted here\n", (char *)*state);
		skipped = true;
		skip();
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	umount2(place, MNT_DETACH);
	rmdir(place);
	unlink(image);
	return 0;
}

static void bytes_of(uint32_t number, uint8_t out[BYTES], struct name *name)
{
	uint32_t x = number * 2654435761u + 1;
	for (uint32_t i = 0; i < BYTES; i++) {
		x = x * 1664525u + 1013904223u;
		out[i] = (uint8_t)(x >> 24);
	}
	memcpy(out, &number, sizeof number);
	name_of(out, BYTES, name);
}

static int put_number(struct store *s, uint32_t number, struct err *e)
{
	uint8_t bytes[BYTES];
	struct record r = {.plain_len = BYTES, .stored_len = BYTES, .stored = bytes};
	bytes_of(number, bytes, &r.name);
	return store_put(s, "red", &r, e);
}

static bool number_holds(struct store *s, uint32_t number)
{
	uint8_t bytes[BYTES], have;
	struct name name;
	struct buf plain = {0};
	bytes_of(number, bytes, &name);
	assert_ok(store_has(s, NULL, &name, 1, &have, err));
	if (have) {
		assert_ok(store_get(s, &name, &plain, err));
		assert_int_equal(plain.len, BYTES);
		assert_memory_equal(plain.data, bytes, BYTES);
	}
	buf_release(&plain);
	return have;
}

static void expect_numbers(uint32_t from, uint32_t to)
{
	for (unsigned write = 0; write < 2; write++) {
		struct store *s;
		assert_ok(store_open(where, write, false, &s, err));
		for (uint32_t number = from; number < to; number++)
			assert_true(number_holds(s, number));
		store_close(s);
	}
}

static void expect_reader(uint32_t to)
{
	struct store *s;
	assert_ok(store_open(where, false, false, &s, err));
	for (uint32_t number = 0; number < to; number++)
		assert_true(number_holds(s, number));
	store_close(s);
}

/* Take all room but `left` bytes. */
static void fill_up(uint64_t left)
{
	uint64_t free_bytes, total_bytes, size = 0;
	uint8_t block[4096] = {1};
	int fd = open(ballast_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_ok(file_space(place, &free_bytes, &total_bytes, err));
	if (free_bytes > left && fallocate(fd, 0, 0, (off_t)(free_bytes - left)) == 0)
		size = free_bytes - left;
	assert_ok(file_space(place, &free_bytes, &total_bytes, err));
	while (free_bytes > left && pwrite(fd, block, sizeof block, (off_t)size) == sizeof block) {
		size += sizeof block;
		assert_ok(file_space(place, &free_bytes, &total_bytes, err));
	}
	close(fd);
}

static void make_room(void)
{
	assert_int_equal(unlink(ballast_path), 0);
}

static void full_in_the_middle_of_puts(void **state)
{
	(void)state;
	struct store *s;
	struct err e = {0};
	uint32_t number = 0, committed = 0;
	assert_ok(store_open(where, true, true, &s, err));
	int result;
	while ((result = put_number(s, number, &e)) >= 0) {
		assert_int_equal(result, 1);
		if (++number % 1000 == 0) {
			assert_ok(store_commit(s, NULL, err));
			committed = number;
		}
		assert_true(number < 60000);
	}
	assert_int_equal(e.kind, ERR_FULL);
	assert_true(committed >= 3000);
	assert_ok(store_ref_set(s, "last", &committed, sizeof committed, err));
	assert_ok(store_commit(s, NULL, err)); /* what had room is kept */
	store_close(s);
	expect_numbers(0, number);
	assert_ok(store_open(where, true, false, &s, err));
	assert_int_equal(put_number(s, number, &e), -1);
	assert_int_equal(e.kind, ERR_FULL);
	store_close(s);
}

/* Ever more pages are left while a commit writes its index and what the group knows. The pack is as
 * large as the room set aside for it, so that ending it frees nothing. */
static void full_in_the_middle_of_a_commit(void **state)
{
	(void)state;
	enum { BEFORE = 300, ALL = BEFORE + PACK_TARGET_BYTES / (BYTES + 112) - 20 };
	struct store *s;
	unsigned failed = 0;
	bool done = false;
	assert_ok(store_open(where, true, true, &s, err));
	for (uint32_t number = 0; number < BEFORE; number++)
		assert_int_equal(put_number(s, number, NULL), 1);
	assert_ok(store_commit(s, NULL, err));
	for (unsigned pages = 0; !done && pages < 300; pages += 30) {
		struct err e = {0};
		for (uint32_t number = BEFORE; number < ALL; number++)
			assert_true(put_number(s, number, NULL) >= 0);
		fill_up(pages * 4096ull);
		done = store_commit(s, NULL, &e) == 0;
		if (!done) {
			failed++;
			assert_int_equal(e.kind, ERR_FULL);
			for (uint32_t number = 0; number < ALL; number++)
				assert_true(number_holds(s, number) || number >= BEFORE);
			expect_reader(BEFORE);
		}
		make_room();
	}
	assert_true(done && failed > 1);
	store_close(s);
	expect_numbers(0, ALL);
}

static int mark_few(void *context, struct store_live *live, struct err *e)
{
	(void)context;
	(void)e;
	for (uint32_t number = 0; number < 3000; number++) {
		uint8_t bytes[BYTES];
		struct name name;
		bytes_of(number, bytes, &name);
		store_live_add(live, LIVE_LEAF, &name, 1, NULL);
	}
	return 0;
}

/* Packs with nothing live go first, which needs next to no room and makes some for the copies. */
static void collecting_frees_a_full_disk(void **state)
{
	(void)state;
	struct store *s;
	struct err e = {0};
	struct store_collecting plan = {.mark = mark_few};
	struct store_collected out;
	uint32_t number = 0;
	assert_ok(store_open(where, true, true, &s, err));
	while (put_number(s, number, &e) >= 0)
		number++;
	assert_int_equal(e.kind, ERR_FULL);
	assert_ok(store_commit(s, NULL, err));
	fill_up(128 * KIB);
	assert_int_equal(put_number(s, number, &e), -1);
	assert_ok(store_collect(s, &plan, &out, err));
	assert_true(out.packs_removed >= 1 && out.packs_rewritten == 1);
	assert_true(out.freed_bytes > out.record_bytes / 2);
	assert_int_equal(put_number(s, number, NULL), 1);
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
	expect_numbers(0, 3000);
	expect_numbers(number, number + 1);
}

/* A disk that was left full opens for reading and for writing. */
static void a_full_store_opens(void **state)
{
	(void)state;
	struct store *s;
	assert_ok(store_open(where, true, true, &s, err));
	for (uint32_t number = 0; number < 100; number++)
		assert_int_equal(put_number(s, number, NULL), 1);
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
	fill_up(0);
	expect_numbers(0, 100);
	make_room();
	assert_ok(store_open(where, true, false, &s, err));
	assert_int_equal(put_number(s, 100, NULL), 1);
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
	expect_numbers(0, 101);
}

int main(void)
{
#define ON(test, fs)                                                                               \
	{                                                                                          \
#test " on " fs, test, set_up, tear_down, (void *)(uintptr_t)(fs)                  \
	}
	const struct CMUnitTest tests[] = {
	    ON(full_in_the_middle_of_puts, "tmpfs"),   ON(full_in_the_middle_of_a_commit, "tmpfs"),
	    ON(collecting_frees_a_full_disk, "tmpfs"), ON(a_full_store_opens, "tmpfs"),
	    ON(full_in_the_middle_of_puts, "ext4"),    ON(full_in_the_middle_of_a_commit, "ext4"),
	    ON(collecting_frees_a_full_disk, "ext4"),  ON(a_full_store_opens, "ext4"),
	};
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fputs("skipped: needs root, to mount small file systems\n", stderr);
		return SKIPPED;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? 1 : skipped ? SKIPPED : 0;
}
