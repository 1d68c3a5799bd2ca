// SPDX-License-Identifier: Apache-2.0
/* Kind dir when things go wrong: killed writers, failing operations, damaged files. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "store/disk.h"
#include "base/le.h"
#include "store/lease.h"
#include "store/pack.h"
#include "store/roots.h"
#include "store/segments.h"

static char path[200], where[250];

static int set_up(void **state)
{
	(void)state;
	char id[ID_BYTES];
	id_make(id, "godwit-dir-", 12);
	snprintf(path, sizeof path, "%s/%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", id);
	snprintf(where, sizeof where, "dir:%s?reserve=0", path);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disk_fault = NULL;
	assert_ok(file_remove_tree(path, err));
	return 0;
}

#define BYTES 3000

static void bytes_of(uint32_t number, uint8_t out[BYTES], struct name *name)
{
	for (uint32_t i = 0; i < BYTES; i++)
		out[i] = (uint8_t)((number * 2654435761u + i * 40503u) >> 11);
	memcpy(out, &number, sizeof number);
	name_of(out, BYTES, name);
}

static int put_number(struct store *s, uint32_t number, struct err *e)
{
	uint8_t bytes[BYTES];
	struct record r = {.kind = number % 3 == 0 ? RECORD_NODE : RECORD_CHUNK,
			   .plain_len = BYTES,
			   .stored_len = BYTES,
			   .stored = bytes};
	bytes_of(number, bytes, &r.name);
	return store_put(s, "red", &r, e);
}

static void expect_number(struct store *s, uint32_t number, bool known)
{
	uint8_t bytes[BYTES], have;
	struct name name;
	struct buf plain = {0};
	struct err e = {0};
	bytes_of(number, bytes, &name);
	if (store_get(s, &name, &plain, &e) < 0)
		fail_msg("record %u is gone: %s", number, e.text);
	assert_int_equal(plain.len, BYTES);
	assert_memory_equal(plain.data, bytes, BYTES);
	assert_ok(store_has(s, NULL, &name, 1, &have, err));
	assert_int_equal(have, 1);
	assert_ok(store_has(s, "red", &name, 1, &have, err));
	if (known)
		assert_int_equal(have, 1);
	buf_release(&plain);
}

static struct store *opened(bool write)
{
	struct store *s;
	assert_ok(store_open(where, write, write, &s, err));
	return s;
}

static unsigned files_in(const char *sub)
{
	char dir_path[300];
	unsigned count = 0;
	snprintf(dir_path, sizeof dir_path, "%s/%s", path, sub);
	DIR *dir = opendir(dir_path);
	assert_non_null(dir);
	const struct dirent *entry;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.' && strcmp(entry->d_name, "lost") != 0;
	closedir(dir);
	return count;
}

static int last_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	assert_string_equal(ref, "last");
	assert_int_equal(n, sizeof(uint32_t));
	memcpy(context, data, n);
	return 0;
}

/* Killed writers */

/* Puts and commits until it is killed; tells through the pipe what was committed. */
static void child_writes(int report, uint32_t from)
{
	struct store *s;
	struct err e = {0};
	if (store_open(where, true, false, &s, &e) < 0) {
		fprintf(stderr, "child: %s\n", e.text);
		_exit(1);
	}
	for (uint32_t number = from;; number++) {
		if (put_number(s, number, &e) < 0)
			break;
		if (number % 7 != 6)
			continue;
		if (store_commit(s, NULL, &e) < 0 ||
		    store_ref_set(s, "last", &number, sizeof number, &e) < 0 ||
		    write(report, &number, sizeof number) != sizeof number)
			break;
	}
	fprintf(stderr, "child: %s\n", e.text);
	_exit(1);
}

static void a_killed_writer_loses_nothing_committed(void **state)
{
	(void)state;
	enum { KILLS = 30 };
	uint32_t first[KILLS], last[KILLS], from = 0;
	store_close(opened(true));
	for (unsigned i = 0; i < KILLS; i++) {
		int report[2];
		uint16_t delay;
		assert_int_equal(pipe(report), 0);
		pid_t child = fork();
		if (child == 0)
			child_writes(report[1], from);
		close(report[1]);
		random_bytes(&delay, sizeof delay);
		uint32_t number;
		first[i] = last[i] = from;
		/* Every other one lives until it committed once, so that there is much to lose. */
		if (i % 2 && read(report[0], &number, sizeof number) == sizeof number)
			last[i] = number + 1;
		usleep(delay % 30000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		while (read(report[0], &number, sizeof number) == sizeof number)
			last[i] = number + 1;
		close(report[0]);
		struct store *reader = opened(false); /* before anything is repaired */
		for (number = first[i]; number < last[i]; number++)
			expect_number(reader, number, true);
		store_close(reader);
		from = last[i] + 7 - last[i] % 7 + 7000;
	}
	struct store *s = opened(true);
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(files_in("tmp/lost"), 0);
	for (unsigned i = 0; i < KILLS; i++)
		for (uint32_t number = first[i]; number < last[i]; number++)
			expect_number(s, number, true);
	uint32_t ref = 0;
	assert_ok(store_ref_each(s, last_ref, &ref, err));
	assert_true(ref + 1 >= last[KILLS - 1] && ref > 0);
	store_close(s);
}

/* Failing operations */

struct progress {
	uint32_t from;	    /* where this attempt began */
	uint32_t committed; /* numbers from there to below this are */
	uint32_t ref;	    /* set last */
};

static int work(struct progress *p, struct err *e)
{
	struct store *s;
	int result = -1;
	if (store_open(where, true, false, &s, e) < 0)
		return -1;
	for (uint32_t number = p->from; number < p->from + 8; number++) {
		if (put_number(s, number, e) < 0)
			goto out;
		if (number % 4 != 3)
			continue;
		if (store_commit(s, NULL, e) < 0)
			goto out;
		p->committed = number + 1;
		if (store_ref_set(s, "last", &p->committed, sizeof p->committed, e) < 0)
			goto out;
		p->ref = p->committed;
	}
	result = 0;
out:
	store_close(s);
	return result;
}

static void check_after_fault(const struct progress *p, uint64_t after)
{
	for (unsigned write = 0; write < 2; write++) {
		struct store *s;
		struct err e = {0};
		uint32_t ref = 0;
		if (store_open(where, write, false, &s, &e) < 0)
			fail_msg("after operation %llu failed: %s", (unsigned long long)after,
				 e.text);
		for (uint32_t number = p->from; number < p->committed; number++)
			expect_number(s, number, true);
		assert_ok(store_ref_each(s, last_ref, &ref, err));
		/* A reference whose setting failed may be the old or the new one. */
		assert_true(ref == p->ref || ref == p->committed);
		store_close(s);
	}
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(files_in("tmp/lost"), 0);
}

/* One store lives through a failure at every `step`th operation of two commits, whatever merges
 * those bring. With GODWIT_THOROUGH in the environment at every one, which takes half a minute. */
static void fail_each_operation(int errnum, bool stays, unsigned step)
{
	struct disk_fault fault = {.struck = true};
	struct progress p = {0};
	step = getenv("GODWIT_THOROUGH") ? 1 : step;
	uint32_t committed_to[1000], attempts = 0;
	store_close(opened(true));
	for (uint64_t after = 0; fault.struck; after += step) {
		struct err e = {0};
		p.from = p.committed = attempts * 8;
		fault = (struct disk_fault){.after = after, .errnum = errnum, .stays = stays};
		disk_fault = &fault;
		int result = work(&p, &e);
		disk_fault = NULL;
		if (!fault.struck)
			assert_int_equal(result, 0);
		if (result < 0)
			assert_true(e.text[0] != '\0');
		if (result < 0 && errnum == ENOSPC)
			assert_int_equal(e.kind, ERR_FULL);
		if (p.committed == p.from)
			p.committed = p.ref; /* none of this attempt */
		if (p.committed > p.from)
			check_after_fault(&p, after);
		struct store *s = opened(false);
		uint32_t ref = p.ref;
		assert_ok(store_ref_each(s, last_ref, &ref, err));
		p.ref = ref;
		store_close(s);
		assert_true(attempts < COUNT_OF(committed_to));
		committed_to[attempts++] = p.committed;
	}
	assert_true(fault.counted > 60);
	struct store *s = opened(true);
	for (uint32_t a = 0; a < attempts; a++)
		for (uint32_t number = a * 8; number < committed_to[a]; number++)
			expect_number(s, number, true);
	for (uint32_t number = 0; number < attempts * 8; number++)
		assert_ok(put_number(s, number, err));
	assert_ok(store_commit(s, NULL, err));
	for (uint32_t number = 0; number < attempts * 8; number++)
		expect_number(s, number, true);
	store_close(s);
}

static void any_operation_may_fail_once(void **state)
{
	(void)state;
	fail_each_operation(EIO, false, 13);
}

static void the_disk_may_die_at_any_operation(void **state)
{
	(void)state;
	fail_each_operation(EIO, true, 17);
}

static void the_disk_may_fill_at_any_operation(void **state)
{
	(void)state;
	fail_each_operation(ENOSPC, false, 23);
}

static void making_a_store_may_fail_anywhere(void **state)
{
	(void)state;
	struct disk_fault fault = {.struck = true};
	for (uint64_t after = 0; fault.struck; after += 41) {
		struct store *s;
		fault = (struct disk_fault){.after = after, .errnum = EIO, .stays = true};
		disk_fault = &fault;
		int result = store_open(where, true, true, &s, NULL);
		disk_fault = NULL;
		assert_int_equal(result, fault.struck ? -1 : 0);
		if (result == 0)
			store_close(s);
		store_close(opened(true));
		assert_ok(file_remove_tree(path, err));
	}
}

/* Without room for a pack a put fails and what was put before is committed all the same. */
static void a_full_put_leaves_the_group_as_it_was(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *s = opened(true);
	assert_ok(put_number(s, 1, err)); /* a chunk; its pack is open now */
	struct disk_fault fault = {.after = 1, .errnum = ENOSPC};
	disk_fault = &fault;
	assert_int_equal(put_number(s, 3, &e), -1); /* a node needs another */
	assert_int_equal(e.kind, ERR_FULL);
	disk_fault = NULL;
	assert_ok(store_commit(s, NULL, err));
	expect_number(s, 1, true);
	assert_int_equal(put_number(s, 3, NULL), 1);
	store_close(s);
}

static void the_reserve_is_kept(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *s;
	snprintf(where, sizeof where, "dir:%s?reserve=1T", path);
	s = opened(true);
	assert_int_equal(put_number(s, 1, &e), -1);
	assert_int_equal(e.kind, ERR_FULL);
	assert_non_null(strstr(e.text, "reserve"));
	store_close(s);
	snprintf(where, sizeof where, "dir:%s?reserve=x", path);
	assert_int_equal(store_open(where, true, true, &s, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

/* Damaged files */

/* The first file with this ending below `sub`. */
static bool file_find(const char *sub, const char *ending, char *out, size_t room)
{
	bool found = false;
	DIR *dir = opendir(sub);
	assert_non_null(dir);
	const struct dirent *entry;
	while (!found && (entry = readdir(dir))) {
		char *end = strstr(entry->d_name, ending);
		char below[400];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof below, "%s/%s", sub, entry->d_name);
		if (entry->d_type == DT_DIR)
			found = file_find(below, ending, out, room);
		else if (end && strcmp(end, ending) == 0)
			found = snprintf(out, room, "%s", below) > 0;
	}
	closedir(dir);
	return found;
}

static void damage(const char *file, uint64_t offset)
{
	uint8_t byte;
	int fd = open(file, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

static void committed_store(uint32_t numbers)
{
	struct store *s = opened(true);
	for (uint32_t i = 0; i < numbers; i++)
		assert_ok(put_number(s, i * 3 + 1, err)); /* chunks only */
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
}

static void a_damaged_record_is_never_returned(void **state)
{
	(void)state;
	char file[500];
	uint8_t bytes[BYTES];
	struct name name;
	committed_store(2);
	assert_true(file_find(path, ".pack", file, sizeof file));
	bytes_of(1, bytes, &name);
	static const uint64_t offsets[] = {33, 70, 100, 103, 500, 2000};
	for (size_t i = 0; i < COUNT_OF(offsets); i++) {
		struct buf plain = {0};
		struct err e = {0};
		damage(file, offsets[i]);
		struct store *s = opened(false);
		assert_int_equal(store_get(s, &name, &plain, &e), -1);
		assert_int_equal(e.kind, ERR_CORRUPT);
		assert_non_null(strstr(e.text, "pack"));
		assert_int_equal(plain.len, 0);
		expect_number(s, 4, true); /* its neighbour is well */
		store_close(s);
		damage(file, offsets[i]); /* back */
	}
	unlink(file);
	struct store *s = opened(false);
	struct buf plain = {0};
	struct err e = {0};
	assert_int_equal(store_get(s, &name, &plain, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
	assert_non_null(strstr(e.text, "missing"));
	store_close(s);
}

static void a_lost_index_is_made_again_from_the_packs(void **state)
{
	(void)state;
	char file[500];
	struct store *s;
	struct err e = {0};
	committed_store(20);
	assert_true(file_find(path, ".idx", file, sizeof file));
	damage(file, 100);
	assert_int_equal(store_open(where, false, false, &s, &e),
			 -1); /* a reader repairs nothing */
	assert_int_equal(e.kind, ERR_CORRUPT);
	s = opened(true);
	for (uint32_t i = 0; i < 20; i++)
		expect_number(s, i * 3 + 1, true);
	assert_int_equal(files_in("tmp/lost"), 1);
	store_close(s);
	assert_true(file_find(path, ".idx", file, sizeof file));
	unlink(file);
	s = opened(true);
	for (uint32_t i = 0; i < 20; i++)
		expect_number(s, i * 3 + 1, true);
	store_close(s);
}

static void damaged_and_torn_packs_are_put_aside(void **state)
{
	(void)state;
	char file[500];
	struct store *s;
	struct name name;
	uint8_t bytes[BYTES], have;
	committed_store(20);
	assert_true(file_find(path, ".idx", file, sizeof file));
	unlink(file);
	assert_true(file_find(path, ".pack", file, sizeof file));
	damage(file, 5000);
	s = opened(true);
	assert_int_equal(files_in("tmp/lost"), 1);
	bytes_of(1, bytes, &name);
	assert_ok(store_has(s, "red", &name, 1, &have, err)); /* known, but not there */
	assert_int_equal(have, 0);
	assert_int_equal(put_number(s, 1, NULL), 1);
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
	assert_true(file_find(path, ".idx", file, sizeof file));
	unlink(file);
	snprintf(file, sizeof file, "%s/packs/00/%064d.pack", path, 0);
	assert_ok(file_write(file, "torn", 4, 0600, err));
	s = opened(true);
	expect_number(s, 1, true);
	assert_int_equal(files_in("tmp/lost"), 2);
	store_close(s);
}

static void foreign_places_are_refused(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *s;
	char file[300];
	assert_ok(file_make_dirs(path, 0700, err));
	snprintf(file, sizeof file, "%s/photo.jpg", path);
	assert_ok(file_write(file, "x", 1, 0600, err));
	assert_int_equal(store_open(where, true, true, &s, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	unlink(file);
	store_close(opened(true));
	snprintf(file, sizeof file, "%s/format", path);
	static const char newer[] = "godwit store 2\nidentity x\nkey-domain 0\n";
	assert_ok(file_write(file, newer, strlen(newer), 0600, err));
	assert_int_equal(store_open(where, false, false, &s, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.text, "format 2"));
}

static void checksums_are_crc32c(void **state)
{
	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u); /* RFC 3720's check value */
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

/* Many commits leave few segments, and what was merged away goes. */
static void segments_stay_few(void **state)
{
	(void)state;
	struct store *s = opened(true);
	struct store_space space = {0};
	unsigned most = 0;
	for (uint32_t i = 0; i < 60; i++) {
		assert_ok(put_number(s, i, err));
		assert_ok(store_commit(s, &space, err));
		unsigned now = files_in("index");
		most = now > most ? now : most;
	}
	assert_true(most <= 20);
	assert_int_equal(space.stored_bytes, 60 * (uint64_t)(BYTES + RECORD_HEADER_BYTES));
	for (uint32_t i = 0; i < 60; i++)
		expect_number(s, i, true);
	store_close(s);
}

/* --- collecting --- */

#define COLLECTED 40 /* numbers of one attempt */

/* Of the attempts before, and of this one, every fifth number stays. */
static int mark_fifth(void *context, struct store_live *live, struct err *e)
{
	uint32_t end = *(uint32_t *)context;
	(void)e;
	for (uint32_t number = 0; number < end; number += 5) {
		uint8_t bytes[BYTES];
		struct name name;
		bytes_of(number, bytes, &name);
		store_live_add(live, LIVE_LEAF, &name, 1, NULL);
	}
	return 0;
}

static void expect_fifths(struct store *s, uint32_t end)
{
	for (uint32_t number = 0; number < end; number++) {
		uint8_t bytes[BYTES], have;
		struct name name;
		bytes_of(number, bytes, &name);
		assert_ok(store_has(s, NULL, &name, 1, &have, err));
		if (have || number % 5 == 0)
			expect_number(s, number, number % 5 == 0);
	}
}

static void collect_with_faults(int errnum, bool stays, unsigned step)
{
	struct disk_fault fault = {.struck = true};
	struct store_collected out;
	uint32_t end = 0;
	unsigned failures = 0;
	step = getenv("GODWIT_THOROUGH") ? 1 : step;
	for (uint64_t after = 0; fault.struck; after += step) {
		struct store *s = opened(true), *reader = opened(false);
		struct store_collecting plan = {.mark = mark_fifth, .context = &end};
		struct err e = {0};
		for (uint32_t i = 0; i < COLLECTED; i++, end++) {
			assert_ok(put_number(s, end, err));
			if (i % 8 == 7)
				assert_ok(store_commit(s, NULL, err));
		}
		fault = (struct disk_fault){.after = after, .errnum = errnum, .stays = stays};
		disk_fault = &fault;
		int result = store_collect(s, &plan, &out, &e);
		disk_fault = NULL;
		if (result < 0) {
			failures++;
			assert_true(e.text[0] != '\0');
		}
		expect_fifths(s, end); /* in the process that failed, for a reader, and anew */
		expect_fifths(reader, end);
		store_close(s);
		s = opened(true);
		expect_fifths(s, end);
		assert_int_equal(files_in("tmp"), 0);
		assert_int_equal(files_in("tmp/lost"), 0);
		assert_ok(store_collect(s, &plan, &out, err));
		expect_fifths(s, end);
		expect_fifths(reader, end);
		store_close(reader);
		store_close(s);
	}
	assert_true(failures > 3);
}

static void a_collection_may_fail_anywhere(void **state)
{
	(void)state;
	collect_with_faults(EIO, false, 7);
}

static void a_disk_may_die_in_a_collection(void **state)
{
	(void)state;
	collect_with_faults(EIO, true, 11);
}

struct seen_lease {
	unsigned leases, counting;
};

static int see_lease(void *context, const char *ref, const uint8_t *data, size_t n)
{
	struct seen_lease *seen = context;
	struct name *roots;
	size_t used;
	if (strncmp(ref, LEASE_PREFIX, strlen(LEASE_PREFIX)) != 0)
		return 0;
	assert_int_equal(roots_decode(data, n, &roots, &used, NULL), 2);
	assert_int_equal(roots[1].bytes[0], 7);
	seen->leases++;
	seen->counting += lease_counts(data + used, n - used, clock_now_ms());
	free(roots);
	return 0;
}

static void a_lease_goes_with_its_process(void **state)
{
	(void)state;
	const struct name roots[2] = {{{1}}, {{7}}};
	struct seen_lease seen = {0};
	struct lease *lease;
	struct store *s = opened(true), *reader = opened(false);
	pid_t child = fork();
	if (child == 0) {
		struct store *own;
		_exit(store_open(where, false, false, &own, NULL) < 0 ||
		      lease_take(own, roots, 2, "a test", &lease, NULL) < 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_ok(store_ref_each(s, see_lease, &seen, err));
	assert_int_equal(seen.leases, 1); /* left behind, */
	assert_int_equal(seen.counting, 0);
	assert_ok(lease_take(reader, roots, 2, "a test", &lease, err));
	seen = (struct seen_lease){0};
	assert_ok(store_ref_each(s, see_lease, &seen, err));
	assert_int_equal(seen.leases, 2);
	assert_int_equal(seen.counting, 1);
	lease_release(lease);
	seen = (struct seen_lease){0};
	assert_ok(store_ref_each(s, see_lease, &seen, err));
	assert_int_equal(seen.leases, 1);
	/* Of another boot or machine only the time tells. */
	static const char other[] = "boot 0\nnamespace 1\npid 1\nstarted 1\nrenewed 1000\nwho x\n";
	assert_true(
	    lease_counts((const uint8_t *)other, strlen(other), 1000 + READER_LEASE_MS / 2));
	assert_false(lease_counts((const uint8_t *)other, strlen(other), 1000 + READER_LEASE_MS));
	assert_true(lease_counts((const uint8_t *)"new", 3, 0));
	store_close(reader);
	store_close(s);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    EACH(checksums_are_crc32c),
	    EACH(a_full_put_leaves_the_group_as_it_was),
	    EACH(the_reserve_is_kept),
	    EACH(a_damaged_record_is_never_returned),
	    EACH(a_lost_index_is_made_again_from_the_packs),
	    EACH(damaged_and_torn_packs_are_put_aside),
	    EACH(foreign_places_are_refused),
	    EACH(segments_stay_few),
	    EACH(making_a_store_may_fail_anywhere),
	    EACH(a_collection_may_fail_anywhere),
	    EACH(a_disk_may_die_in_a_collection),
	    EACH(a_lease_goes_with_its_process),
	    EACH(any_operation_may_fail_once),
	    EACH(the_disk_may_die_at_any_operation),
	    EACH(the_disk_may_fill_at_any_operation),
	    EACH(a_killed_writer_loses_nothing_committed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
