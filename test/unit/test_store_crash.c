// SPDX-License-Identifier: Apache-2.0
/*
 * Kind dir when power fails: every prefix of what a writer did to the disk, with what was not
 * synced lost, kept or torn, must open as a store in which all that was acknowledged is readable
 * and nothing is claimed that is not.
 *
 * The writer collects garbage too: what was live stays, whatever the collection was doing.
 *
 * All prefixes with GODWIT_THOROUGH in the environment, else a sample; GODWIT_SEED repeats one.
 */
#include "test.h"

#include <dirent.h>
#include <unistd.h>

#include "base/text.h"
#include "disk_model.h"
#include "io/file.h"
#include "store/store.h"

#define SAMPLES	   80
#define BYTES	   700
#define ROUNDS	   14 /* enough for segments to be merged */
#define EACH_ROUND 5
#define NUMBERS	   (ROUNDS * EACH_ROUND)

static char path[200], where[250];
static uint64_t seed;

static int set_up(void **state)
{
	(void)state;
	char id[ID_BYTES];
	const char *given = getenv("GODWIT_SEED"), *dir = getenv("TMPDIR");
	if (!dir)
		dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of stores */
	id_make(id, "godwit-crash-", 12);
	snprintf(path, sizeof path, "%s/%s", dir, id);
	snprintf(where, sizeof where, "dir:%s?reserve=0", path);
	if (given)
		seed = strtoull(given, NULL, 10);
	else
		random_bytes(&seed, sizeof seed), seed >>= 20;
	print_message("GODWIT_SEED=%llu\n", (unsigned long long)seed);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_ok(file_remove_tree(path, err));
	return 0;
}

static uint64_t chance(void)
{
	static uint64_t x;
	if (!x)
		x = seed * 2 + 1;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 11;
}

/* --- what is written --- */

static void bytes_of(uint32_t number, uint8_t out[BYTES], struct name *name)
{
	for (uint32_t i = 0; i < BYTES; i++)
		out[i] = (uint8_t)((number * 2654435761u + i * 40503u) >> 11);
	memcpy(out, &number, sizeof number);
	name_of(out, BYTES, name);
}

static void put_number(struct store *s, uint32_t number)
{
	uint8_t bytes[BYTES];
	struct record r = {.kind = number % 3 == 0 ? RECORD_NODE : RECORD_CHUNK,
			   .plain_len = BYTES,
			   .stored_len = BYTES,
			   .stored = bytes};
	bytes_of(number, bytes, &r.name);
	assert_ok(store_put(s, "red", &r, err));
}

/* What was acknowledged when so many operations were done. */
struct ack {
	unsigned at;
	uint8_t must[NUMBERS]; /* is committed, known of the group, and was not freed */
	uint32_t last;	       /* the reference `last` is this or what comes next; 0: not set */
	int passing;	       /* the reference `passing`: 1 is there, 0 is not, -1 either */
};

struct history {
	struct ack acks[ROUNDS * 4 + 8];
	unsigned count;
	struct ack now;
};

static void acknowledge(struct history *h, const struct disk_model *m)
{
	h->now.at = disk_model_count(m);
	h->acks[h->count++] = h->now;
}

/* Marks what `must` says. */
static int mark(void *context, struct store_live *live, struct err *e)
{
	const uint8_t *must = context;
	(void)e;
	for (uint32_t number = 0; number < NUMBERS; number++) {
		uint8_t bytes[BYTES];
		struct name name;
		bytes_of(number, bytes, &name);
		if (must[number])
			store_live_add(live, LIVE_LEAF, &name, 1, NULL);
	}
	return 0;
}

static void collect(struct store *s, uint8_t *must, struct store_collected *out)
{
	struct store_collecting plan = {.mark = mark, .context = must};
	assert_ok(store_collect(s, &plan, out, err));
}

/* All but every `n`th number may go from now on. */
static void collect_most(struct store *s, struct history *h, const struct disk_model *m, unsigned n)
{
	struct store_collected out;
	for (uint32_t number = 0; number < NUMBERS; number++)
		h->now.must[number] &= number % n == 0;
	acknowledge(h, m);
	collect(s, h->now.must, &out);
	assert_true(out.freed_bytes > 0);
	assert_true(out.packs_removed + out.packs_rewritten > 0);
}

static void work(struct history *h, const struct disk_model *m)
{
	struct store *s;
	uint32_t number = 0;
	assert_ok(store_open(where, true, false, &s, err));
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t first = number;
		for (unsigned i = 0; i < EACH_ROUND; i++)
			put_number(s, number++);
		/* Of what was freed some comes again. */
		for (uint32_t again = 1; again < number; again += 7)
			put_number(s, again);
		assert_ok(store_commit(s, NULL, err));
		for (uint32_t again = 1; again < number; again += 7)
			h->now.must[again] = 1;
		memset(h->now.must + first, 1, EACH_ROUND);
		acknowledge(h, m);
		assert_ok(store_ref_set(s, "last", &number, sizeof number, err));
		h->now.last = number;
		h->now.passing = -1;
		acknowledge(h, m);
		assert_ok(store_ref_set(s, "passing", round % 2 ? NULL : "x", 1, err));
		h->now.passing = round % 2 == 0;
		acknowledge(h, m);
		h->now.passing = -1; /* from the next operation on it may be changing */
		if (round % 4 == 2)
			collect_most(s, h, m, round % 8 == 2 ? 5 : 3);
	}
	store_close(s);
}

/* --- what must hold --- */

static unsigned files_in(const char *sub)
{
	char *dir_path = xasprintf("%s/%s", path, sub);
	unsigned count = 0;
	DIR *dir = opendir(dir_path);
	const struct dirent *entry;
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.' && strcmp(entry->d_name, "lost") != 0;
	closedir(dir);
	free(dir_path);
	return count;
}

struct seen_refs {
	uint32_t last;
	bool passing;
};

static int see_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	struct seen_refs *seen = context;
	if (strcmp(ref, "last") == 0 && n == sizeof seen->last)
		memcpy(&seen->last, data, n);
	else if (strcmp(ref, "passing") == 0 && n == 1)
		seen->passing = true;
	else
		fail_msg("an unknown reference %s of %zu bytes", ref, n);
	return 0;
}

/* 1 when the number is claimed; then it was read. */
static bool number_holds(struct store *s, uint32_t number)
{
	uint8_t bytes[BYTES], have, known;
	struct name name;
	struct buf plain = {0};
	struct err e = {0};
	bytes_of(number, bytes, &name);
	assert_ok(store_has(s, NULL, &name, 1, &have, err));
	assert_ok(store_has(s, "red", &name, 1, &known, err));
	if (known && !have)
		fail_msg("number %u is known and not there", number);
	if (have && store_get(s, &name, &plain, &e) < 0)
		fail_msg("number %u is claimed and cannot be read: %s", number, e.text);
	if (have && (plain.len != BYTES || memcmp(plain.data, bytes, BYTES) != 0))
		fail_msg("number %u has other bytes", number);
	buf_release(&plain);
	return have && known;
}

static void store_holds(struct store *s, const struct ack *a)
{
	struct seen_refs seen = {0};
	assert_ok(store_ref_each(s, see_ref, &seen, err));
	if (seen.last < a->last || seen.last > a->last + EACH_ROUND)
		fail_msg("reference is %u, acknowledged %u", seen.last, a->last);
	if (a->passing >= 0)
		assert_int_equal(seen.passing, a->passing);
	for (uint32_t number = 0; number < NUMBERS; number++)
		if (!number_holds(s, number) && a->must[number])
			fail_msg("number %u was acknowledged and is gone", number);
}

/* What the cut left is a store, to a reader, to a writer, and for more work. */
static void check(const struct ack *a)
{
	struct store *s;
	assert_ok(store_open(where, false, false, &s, err));
	store_holds(s, a);
	store_close(s);
	assert_ok(store_open(where, true, false, &s, err));
	store_holds(s, a);
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(files_in("tmp/lost"), 0);
	if (chance() % 2) {
		struct ack must = *a;
		struct store_collected out;
		collect(s, must.must, &out);
		store_holds(s, a);
		assert_int_equal(out.packs_spoiled, 0);
	}
	for (uint32_t number = 0; number < NUMBERS; number++)
		put_number(s, number);
	assert_ok(store_commit(s, NULL, err));
	for (uint32_t number = 0; number < NUMBERS; number++)
		assert_true(number_holds(s, number));
	store_close(s);
}

static const struct ack *ack_at(const struct history *h, unsigned count)
{
	const struct ack *found = &h->acks[0];
	for (unsigned i = 0; i < h->count && h->acks[i].at <= count; i++)
		found = &h->acks[i];
	return found;
}

/* The power fails, and once more while the store is opened again. */
static void cut_twice(const struct disk_model *m, unsigned count, enum cut cut, const struct ack *a)
{
	struct store *s;
	disk_model_cut(m, count, cut, seed);
	struct disk_model *again = disk_model_start(path);
	assert_ok(store_open(where, true, false, &s, err));
	put_number(s, 0);
	assert_ok(store_commit(s, NULL, err));
	struct ack must = *a;
	struct store_collected out;
	collect(s, must.must, &out);
	store_close(s);
	disk_model_stop(again);
	disk_model_cut(again, (unsigned)(chance() % (disk_model_count(again) + 1)), CUT_RANDOM,
		       chance());
	disk_model_free(again);
	check(a);
}

static void cut_everywhere(const struct disk_model *m, const struct history *h)
{
	unsigned count = disk_model_count(m);
	bool all = getenv("GODWIT_THOROUGH");
	unsigned cuts = all ? (count + 1) * CUTS : SAMPLES;
	print_message("%u operations, %u cuts\n", count, cuts);
	for (unsigned i = 0; i < cuts; i++) {
		unsigned at = all ? i / CUTS : (unsigned)(chance() % (count + 1));
		enum cut cut = (enum cut)(i % CUTS);
		struct ack a = *ack_at(h, at);
		if (at > a.at)
			a.passing = -1;
		disk_model_cut(m, at, cut, seed);
		check(&a);
		if (i % 8 == 0)
			cut_twice(m, at, cut, &a);
	}
}

static void power_may_fail_at_any_operation(void **state)
{
	(void)state;
	struct store *s;
	struct history h = {.now = {.passing = -1}};
	assert_ok(store_open(where, true, true, &s, err));
	store_close(s);
	struct disk_model *m = disk_model_start(path);
	acknowledge(&h, m);
	work(&h, m);
	disk_model_stop(m);
	cut_everywhere(m, &h);
	disk_model_free(m);
}

/* Until the file `format` is there, there is no store, and making it begins again. */
static void power_may_fail_while_a_store_is_made(void **state)
{
	(void)state;
	struct store *s;
	assert_ok(file_make_dirs(path, 0700, err));
	struct disk_model *m = disk_model_start(path);
	assert_ok(store_open(where, true, true, &s, err));
	store_close(s);
	disk_model_stop(m);
	unsigned count = disk_model_count(m), step = getenv("GODWIT_THOROUGH") ? 1 : 67;
	for (unsigned at = 0; at <= count; at += at + step < count ? step : 1)
		for (enum cut cut = 0; cut < CUTS; cut++) {
			struct name name = {{1}};
			uint8_t have;
			disk_model_cut(m, at, cut, seed);
			assert_ok(store_open(where, true, true, &s, err));
			put_number(s, at);
			assert_ok(store_commit(s, NULL, err));
			assert_true(number_holds(s, at));
			assert_ok(store_has(s, NULL, &name, 1, &have, err));
			assert_int_equal(have, 0);
			store_close(s);
		}
	disk_model_free(m);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    EACH(power_may_fail_at_any_operation),
	    EACH(power_may_fail_while_a_store_is_made),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
