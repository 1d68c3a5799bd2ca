// SPDX-License-Identifier: Apache-2.0
/*
 * What every kind of store must do. Argument: the kind; without it, all of them in turn that need no
 * server. Kind s3 takes the options of its place from GODWIT_TEST_S3 ("endpoint=http://…").
 */
#include "../unit/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "store/store.h"

static char where[400], scratch[200];
static bool on_disk;

/* Another place for a store of this kind. */
static void place_new(const char *kind)
{
	char id[ID_BYTES];
	id_make(id, "godwit-store-", 12);
	on_disk = strcmp(kind, "dir") == 0;
	snprintf(scratch, sizeof scratch, "%s/%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
		 id);
	if (on_disk)
		snprintf(where, sizeof where, "dir:%s?reserve=0", scratch);
	else if (strcmp(kind, "s3") == 0)
		snprintf(where, sizeof where, "s3:godwit-test/%s?%s", id, getenv("GODWIT_TEST_S3"));
	else
		snprintf(where, sizeof where, "%s:%s", kind, id);
}

static int set_up(void **state)
{
	place_new(*state);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_ok(file_remove_tree(scratch, err));
	return 0;
}

static struct store *opened(bool write, bool create)
{
	struct store *s;
	assert_ok(store_open(where, write, create, &s, err));
	return s;
}

/* Bytes that compress to about half, different for each seed. */
static void fill(uint8_t *to, size_t n, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = i % 2 ? (uint8_t)seed : (uint8_t)x;
	}
}

static int put(struct store *s, const char *group, enum codec codec, const void *plain, uint32_t n,
	       struct name *name)
{
	struct record r = {0};
	struct buf packed = {0};
	struct err e = {0};
	name_of(plain, n, name);
	r.name = *name;
	record_pack(&r, codec, 1, plain, n, &packed);
	int got = store_put(s, group, &r, &e);
	buf_release(&packed);
	if (got < 0)
		fail_msg("put: %s", e.text);
	return got;
}

static int put_number(struct store *s, const char *group, uint64_t number, struct name *name)
{
	uint8_t bytes[100];
	fill(bytes, sizeof bytes, number);
	return put(s, group, CODEC_LZ4, bytes, sizeof bytes, name);
}

static void expect(struct store *s, const struct name *name, const void *plain, size_t n)
{
	struct buf got = {0};
	buf_add_str(&got, "before");
	assert_ok(store_get(s, name, &got, err));
	assert_int_equal(got.len, 6 + n);
	assert_memory_equal(got.data, "before", 6);
	assert_memory_equal(got.data + 6, plain, n);
	buf_release(&got);
}

static void expect_number(struct store *s, uint64_t number)
{
	uint8_t bytes[100];
	struct name name;
	fill(bytes, sizeof bytes, number);
	name_of(bytes, sizeof bytes, &name);
	expect(s, &name, bytes, sizeof bytes);
}

static bool has(struct store *s, const char *group, const struct name *name)
{
	uint8_t have = 7;
	assert_ok(store_has(s, group, name, 1, &have, err));
	assert_true(have <= 1);
	return have;
}

static void all_codecs_round_trip(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 2, 33, 34, 4096, 40960, 300001, RECORD_MAX_PLAIN};
	struct store *s = opened(true, true);
	uint8_t *bytes = xmalloc(RECORD_MAX_PLAIN);
	for (unsigned codec = CODEC_RAW; codec <= CODEC_LZ4; codec++)
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			struct name name;
			fill(bytes, sizes[i], codec * 100 + i);
			put(s, NULL, (enum codec)codec, bytes, sizes[i], &name);
			expect(s, &name, bytes, sizes[i]); /* before the commit */
			if (i % 3 == 0)
				assert_ok(store_commit(s, NULL, err));
			expect(s, &name, bytes, sizes[i]); /* and some after it */
		}
	free(bytes);
	store_close(s);
}

static void packing_saves_or_stays_raw(void **state)
{
	(void)state;
	uint8_t noise[10000], text[10000];
	struct record r;
	struct buf packed = {0}, plain = {0};
	random_bytes(noise, sizeof noise);
	memset(text, 'x', sizeof text);
	for (unsigned codec = CODEC_ZSTD; codec <= CODEC_LZ4; codec++) {
		record_pack(&r, (enum codec)codec, 1, noise, sizeof noise, &packed);
		assert_int_equal(r.codec, CODEC_RAW);
		assert_ptr_equal(r.stored, noise);
		assert_int_equal(r.stored_len, sizeof noise);
		record_pack(&r, (enum codec)codec, 1, text, sizeof text, &packed);
		assert_int_equal(r.codec, codec);
		assert_true(r.stored_len < 500);
		buf_clear(&plain);
		assert_ok(record_unpack(&r, &plain, err));
		assert_memory_equal(plain.data, text, sizeof text);
		struct err e = {0};
		r.plain_len--; /* one byte more than it says */
		assert_int_equal(record_unpack(&r, &plain, &e), -1);
		assert_int_equal(e.kind, ERR_CORRUPT);
		assert_int_equal(plain.len, sizeof text);
	}
	buf_release(&packed);
	buf_release(&plain);
}

static void a_chunk_is_kept_once_and_groups_learn_apart(void **state)
{
	(void)state;
	struct store *s = opened(true, true);
	struct store_space one, two;
	struct name name, other;
	assert_int_equal(put_number(s, "red", 1, &name), 1);
	assert_int_equal(put_number(s, "red", 1, &name), 0);
	assert_ok(store_commit(s, &one, err));
	assert_true(has(s, "red", &name));
	assert_false(has(s, "blue", &name));
	assert_true(has(s, NULL, &name));
	assert_int_equal(put_number(s, "blue", 1, &name), 0);
	assert_true(has(s, "blue", &name));
	assert_int_equal(put_number(s, NULL, 2, &other), 1);
	assert_false(has(s, "red", &other));
	assert_true(has(s, NULL, &other));
	assert_ok(store_commit(s, &two, err));
	assert_true(has(s, "blue", &name));
	assert_true(two.stored_bytes > one.stored_bytes);
	assert_true(two.stored_bytes <= 2 * one.stored_bytes + 10);
	store_close(s);
}

static void what_is_committed_is_there_when_opened_again(void **state)
{
	(void)state;
	struct store *s = opened(true, true);
	struct store *beside = opened(false, false); /* keeps the kinds without a disk alive */
	char identity[40];
	struct name name, lost;
	strcpy(identity, store_get_facts(s)->identity);
	put_number(s, "red", 1, &name);
	assert_ok(store_commit(s, NULL, err));
	put_number(s, "red", 2, &lost);
	store_close(s);
	s = opened(true, false);
	assert_string_equal(store_get_facts(s)->identity, identity);
	assert_true(store_get_facts(s)->writable);
	expect_number(s, 1);
	assert_true(has(s, "red", &name));
	assert_false(has(s, "red", &lost));
	assert_false(has(s, NULL, &lost));
	assert_int_equal(put_number(s, "red", 2, &lost), 1);
	expect_number(s, 2);
	store_close(s);
	store_close(beside);
}

static int count_refs(void *context, const char *ref, const uint8_t *data, size_t n)
{
	assert_true((strcmp(ref, "a.1") == 0 && n == 3 && memcmp(data, "new", 3) == 0) ||
		    (strcmp(ref, "b-2_x") == 0 && n == 0));
	return ++*(int *)context >= 10;
}

static int stop_at_once(void *context, const char *ref, const uint8_t *data, size_t n)
{
	(void)context;
	(void)ref;
	(void)data;
	(void)n;
	return 42;
}

static void references_are_set_listed_and_deleted(void **state)
{
	(void)state;
	struct store *s = opened(true, true);
	struct store *reader = opened(false, false);
	int count = 0;
	assert_ok(store_ref_set(s, "a.1", "old bytes", 9, err));
	assert_ok(store_ref_set(s, "a.1", "new", 3, err));
	assert_ok(store_ref_set(s, "b-2_x", "", 0, err));
	assert_ok(store_ref_set(s, "c", "x", 1, err));
	assert_ok(store_ref_set(s, "c", NULL, 0, err));
	assert_ok(store_ref_set(s, "never", NULL, 0, err));
	assert_ok(store_ref_each(reader, count_refs, &count, err));
	assert_int_equal(count, 2);
	assert_int_equal(store_ref_each(s, stop_at_once, NULL, NULL), 42);
	store_close(s);
	s = opened(true, false);
	count = 0;
	assert_ok(store_ref_each(s, count_refs, &count, err));
	assert_int_equal(count, 2);
	store_close(reader);
	store_close(s);
}

static void a_reader_sees_later_commits(void **state)
{
	(void)state;
	struct store *s = opened(true, true);
	struct store *reader = opened(false, false);
	struct name name;
	assert_false(store_get_facts(reader)->writable);
	for (uint64_t i = 0; i < 30; i++) { /* enough for merges */
		put_number(s, "red", i, &name);
		assert_false(has(reader, NULL, &name));
		assert_false(has(reader, "red", &name));
		struct buf plain = {0};
		struct err e = {0};
		assert_int_equal(store_get(reader, &name, &plain, &e), -1);
		assert_int_equal(e.kind, ERR_NOT_FOUND);
		buf_release(&plain);
		assert_ok(store_commit(s, NULL, err));
		assert_true(has(reader, "red", &name));
		assert_true(has(reader, NULL, &name));
		expect_number(reader, i);
		expect_number(reader, i / 2);
	}
	store_close(reader);
	store_close(s);
}

static void expect_error(int result, const struct err *e, enum err_kind kind)
{
	assert_int_equal(result, -1);
	if (e->kind != kind)
		fail_msg("%s, not %s: %s", err_kind_word(e->kind), err_kind_word(kind), e->text);
	assert_true(e->text[0] != '\0');
}

static void misuse_is_refused_in_words(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *other;
	expect_error(store_open(where, false, false, &other, &e), &e, ERR_NOT_FOUND);
	expect_error(store_open("tape:x", false, false, &other, &e), &e, ERR_INVALID);
	expect_error(store_open("fault:x", true, true, &other, &e), &e, ERR_INVALID);
	expect_error(store_open("fault:1x:memory:", true, true, &other, &e), &e, ERR_INVALID);
	struct store *s = opened(true, true), *reader = opened(false, false);
	expect_error(store_open(where, true, false, &other, &e), &e, ERR_BUSY);
	struct name name;
	struct record r = {.codec = CODEC_RAW, .plain_len = 3, .stored_len = 3};
	r.stored = (const uint8_t *)"abc";
	expect_error(store_put(s, NULL, &r, &e), &e, ERR_INVALID); /* no name */
	name_of("abc", 3, &r.name);
	expect_error(store_put(reader, NULL, &r, &e), &e, ERR_DENIED);
	expect_error(store_commit(reader, NULL, &e), &e, ERR_DENIED);
	expect_error(store_ref_set(reader, "a", "b", 1, &e), &e, ERR_DENIED);
	static const char *const bad[] = {"", "..", ".a", "a/b", "a b", "\xc3\xa4"};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		expect_error(store_put(s, bad[i], &r, &e), &e, ERR_INVALID);
		expect_error(store_ref_set(s, bad[i], "b", 1, &e), &e, ERR_INVALID);
	}
	expect_error(store_ref_set(s, "Upper", "b", 1, &e), &e, ERR_INVALID);
	struct record wrong[] = {r, r, r, r, r};
	wrong[0].codec = 3;
	wrong[1].kind = 2;
	wrong[2].plain_len = 4;
	wrong[3].plain_len = RECORD_MAX_PLAIN + 1;
	wrong[4].stored_len = 0;
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect_error(store_put(s, NULL, &wrong[i], &e), &e, ERR_INVALID);
	assert_false(has(s, NULL, &r.name));
	/* A record that is not what its name says can be put by a wrong caller, never got. */
	name_of("abd", 3, &r.name);
	name = r.name;
	assert_ok(store_put(s, NULL, &r, err));
	struct buf plain = {0};
	expect_error(store_get(s, &name, &plain, &e), &e, ERR_CORRUPT);
	assert_int_equal(plain.len, 0);
	buf_release(&plain);
	store_close(reader);
	store_close(s);
}

static void nodes_are_put_under_their_name(void **state)
{
	(void)state;
	struct store *s = opened(true, true);
	struct buf node = {0};
	struct name name, expected;
	for (int i = 0; i < 3000; i++)
		buf_printf(&node, "line %d\n", i);
	assert_int_equal(store_put_node(s, &node, &name, NULL), 1);
	assert_int_equal(store_put_node(s, &node, &name, NULL), 0);
	name_of(node.data, node.len, &expected);
	assert_memory_equal(&name, &expected, sizeof name);
	put_number(s, NULL, 5, &expected); /* data beside nodes */
	assert_ok(store_commit(s, NULL, err));
	expect(s, &name, node.data, node.len);
	buf_release(&node);
	store_close(s);
}

static void many_small_records(void **state)
{
	(void)state;
	enum { RECORDS = 50000 };
	struct store *s = opened(true, true);
	struct name *names = xcalloc(RECORDS, sizeof *names);
	uint8_t *have = xcalloc(RECORDS, 1);
	for (uint64_t i = 0; i < RECORDS; i++) {
		assert_int_equal(put_number(s, "red", i, &names[i]), 1);
		if (i % 4500 == 4499)
			assert_ok(store_commit(s, NULL, err));
	}
	assert_ok(store_commit(s, NULL, err));
	struct store *reader = opened(false, false);
	struct store *both[] = {s, reader};
	for (size_t b = 0; b < 2; b++) {
		assert_ok(store_has(both[b], "red", names, RECORDS, have, err));
		for (size_t i = 0; i < RECORDS; i++)
			assert_int_equal(have[i], 1);
		for (size_t i = 0; i < RECORDS; i++)
			names[i].bytes[9] ^= 1;
		assert_ok(store_has(both[b], NULL, names, RECORDS, have, err));
		for (size_t i = 0; i < RECORDS; i++) {
			assert_int_equal(have[i], 0);
			names[i].bytes[9] ^= 1;
		}
		for (uint64_t i = 0; i < RECORDS; i += 37)
			expect_number(both[b], i);
	}
	store_close(reader);
	store_close(s);
	free(names);
	free(have);
}

/* --- a call that fails --- */

struct work_done {
	uint64_t committed; /* numbers below are */
	bool ref;
};

/* Puts, asks, reads, commits and sets references until a call fails. */
static int work(const char *place, struct work_done *done, struct err *e)
{
	struct store *s;
	struct buf node = {0}, plain = {0};
	struct name name;
	uint8_t bytes[100], have;
	int result = -1, count = 0;
	assert_ok(store_open(place, true, true, &s, err));
	for (uint64_t i = 0; i < 6; i++) {
		struct record r = {.codec = CODEC_RAW,
				   .plain_len = sizeof bytes,
				   .stored_len = sizeof bytes,
				   .stored = bytes};
		fill(bytes, sizeof bytes, i);
		name_of(bytes, sizeof bytes, &r.name);
		if (store_has(s, "red", &r.name, 1, &have, e) < 0 ||
		    (!have && store_put(s, "red", &r, e) < 0))
			goto out;
		buf_clear(&plain);
		if (store_get(s, &r.name, &plain, e) < 0)
			goto out;
		assert_memory_equal(plain.data, bytes, sizeof bytes);
		buf_clear(&node);
		buf_printf(&node, "node %d", (int)i);
		if (store_put_node(s, &node, &name, e) < 0 || store_commit(s, NULL, e) < 0)
			goto out;
		done->committed = i + 1;
	}
	if (store_ref_set(s, "a.1", "new", 3, e) < 0)
		goto out;
	done->ref = true;
	if (store_ref_set(s, "c", "x", 1, e) < 0 || store_ref_set(s, "c", NULL, 0, e) < 0 ||
	    store_ref_set(s, "b-2_x", "", 0, e) < 0 || store_ref_each(s, count_refs, &count, e) < 0)
		goto out;
	assert_int_equal(count, 2);
	result = 0;
out:
	store_close(s);
	buf_release(&node);
	buf_release(&plain);
	return result;
}

/* --- collecting --- */

struct marking {
	struct store *store;
	uint64_t count; /* of numbers put before */
	int calls;
	bool again;
};

static void name_of_number(uint64_t number, struct name *name)
{
	uint8_t bytes[100];
	fill(bytes, sizeof bytes, number);
	name_of(bytes, sizeof bytes, name);
}

/* Marks every third number and asks for 1, puts 2 (there already) and 1000 (new). */
static int mark_third(void *context, struct store_live *live, struct err *e)
{
	struct marking *m = context;
	struct store_collected out;
	struct store_collecting again = {.mark = mark_third, .context = m};
	struct name name;
	uint8_t state = 9;
	struct err why = {0};
	(void)e;
	m->calls++;
	for (uint64_t i = 0; i < m->count; i += 3) {
		name_of_number(i, &name);
		store_live_add(live, LIVE_NODE, &name, 1, &state);
		assert_int_equal(state, LIVE_FRESH);
		store_live_add(live, LIVE_NODE, &name, 1, &state);
		assert_int_equal(state, LIVE_KNOWN);
		store_live_add(live, LIVE_LEAF, &name, 1, &state); /* as a leaf it was not */
		assert_int_equal(state, LIVE_FRESH);
	}
	name_of_number(999999, &name);
	store_live_add(live, LIVE_LEAF, &name, 1, &state);
	assert_int_equal(state, LIVE_MISSING);
	name_of_number(1, &name);
	assert_true(has(m->store, "red", &name));
	assert_int_equal(put_number(m->store, "blue", 2, &name), 0);
	assert_int_equal(put_number(m->store, "red", 1000, &name), !m->again);
	assert_int_equal(store_collect(m->store, &again, &out, &why), -1);
	assert_int_equal(why.kind, ERR_BUSY);
	return 0;
}

static int mark_fails(void *context, struct store_live *live, struct err *e)
{
	(void)context;
	(void)live;
	return err_set(e, ERR_CORRUPT, "no");
}

static bool stays(uint64_t number)
{
	return number % 3 == 0 || number == 1 || number == 2;
}

static void a_collection_frees_what_is_not_live(void **state)
{
	(void)state;
	enum { NUMBERS = 300 };
	struct store *s = opened(true, true), *reader = opened(false, false);
	struct marking m = {.store = s, .count = NUMBERS};
	struct store_collecting plan = {.mark = mark_third, .context = &m};
	struct store_collecting bad = {.mark = mark_fails};
	struct store_collected out;
	struct store_space before, after;
	struct name name;
	struct err e = {0};
	for (uint64_t i = 0; i < NUMBERS; i++) {
		put_number(s, "red", i, &name);
		if (i % 50 == 49)
			assert_ok(store_commit(s, &before, err));
	}
	for (uint64_t i = 0; i < NUMBERS; i++)
		expect_number(reader, i); /* so that it has the packs open */
	expect_error(store_collect(s, &bad, &out, &e), &e, ERR_CORRUPT);
	expect_error(store_collect(reader, &plan, &out, &e), &e, ERR_DENIED);
	for (uint64_t i = 0; i < NUMBERS; i++)
		expect_number(s, i);
	assert_ok(store_collect(s, &plan, &out, err));
	assert_int_equal(m.calls, 1);
	assert_int_equal(out.names, NUMBERS);
	assert_int_equal(out.live_names, NUMBERS / 3 + 2);
	assert_true(out.freed_bytes >= out.record_bytes / 2);
	for (unsigned again = 0; again < 2; again++) {
		for (uint64_t i = 0; i < NUMBERS; i++) {
			name_of_number(i, &name);
			if (stays(i)) {
				expect_number(reader, i);
				expect_number(s, i);
				assert_true(has(s, "red", &name));
			} else {
				assert_false(has(s, NULL, &name));
				assert_false(has(s, "red", &name));
			}
		}
		expect_number(s, 1000);
		assert_ok(store_commit(s, &after, err));
		expect_number(reader, 1000);
		store_close(s);
		s = opened(true, false);
	}
	assert_true(after.stored_bytes < before.stored_bytes / 2);
	/* What is gone may come again, with the very same packs. */
	for (uint64_t i = 0; i < NUMBERS; i++) {
		assert_int_equal(put_number(s, "red", i, &name), !stays(i));
		if (i % 50 == 49)
			assert_ok(store_commit(s, NULL, err));
	}
	m = (struct marking){.store = s, .count = NUMBERS, .again = true};
	plan.dry = true;
	assert_ok(store_collect(s, &plan, &out, err));
	assert_int_equal(out.freed_bytes, 0);
	for (uint64_t i = 0; i < NUMBERS; i++)
		expect_number(reader, i);
	store_close(reader);
	store_close(s);
}

static int find_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	(void)data;
	(void)n;
	*(bool *)context |= strcmp(ref, "a.1") == 0;
	return 0;
}

static void any_call_may_fail(void **state)
{
	const char *kind = *state;
	/* A server takes its time. */
	unsigned failures = 0, usual = strcmp(kind, "s3") == 0 ? 15 : 4,
		 step = getenv("GODWIT_THOROUGH") ? 1 : usual;
	for (unsigned lost = 0; lost < 2; lost++) {
		int result = -1;
		for (unsigned number = 1 + lost; result < 0; number += step) {
			struct work_done done = {0};
			struct err e = {0};
			char place[500];
			bool ref = false;
			struct store *s = opened(true, true);
			struct store *beside = opened(false, false);
			store_close(s);
			snprintf(place, sizeof place, "fault:%u%s:%s", number, lost ? "+" : "",
				 where);
			result = work(place, &done, &e);
			if (result < 0) {
				assert_int_equal(e.kind, ERR_IO);
				failures++;
			}
			s = opened(true, false);
			for (uint64_t i = 0; i < done.committed; i++)
				expect_number(s, i);
			assert_ok(store_ref_each(s, find_ref, &ref, err));
			assert_true(ref || !done.ref);
			store_close(s);
			done = (struct work_done){0};
			assert_ok(work(where, &done, err)); /* on what is there */
			assert_int_equal(done.committed, 6);
			store_close(beside);
			assert_ok(file_remove_tree(scratch, err));
			place_new(kind);
		}
	}
	assert_true(failures * step >= 2 * 30);
}

#define EACH(test, kind)                                                                           \
	{                                                                                          \
#test, test, set_up, tear_down, (void *)(uintptr_t)(kind)                          \
	}

int main(int argc, char **argv)
{
	static const char *const kinds[] = {"memory", "dir", "s3"};
	int failed = 0;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		const char *kind = kinds[i];
		if (argc > 1 ? strcmp(argv[1], kind) != 0 : strcmp(kind, "s3") == 0)
			continue;
		const struct CMUnitTest tests[] = {
		    EACH(all_codecs_round_trip, kind),
		    EACH(packing_saves_or_stays_raw, kind),
		    EACH(a_chunk_is_kept_once_and_groups_learn_apart, kind),
		    EACH(what_is_committed_is_there_when_opened_again, kind),
		    EACH(references_are_set_listed_and_deleted, kind),
		    EACH(a_reader_sees_later_commits, kind),
		    EACH(misuse_is_refused_in_words, kind),
		    EACH(nodes_are_put_under_their_name, kind),
		    EACH(a_collection_frees_what_is_not_live, kind),
		    EACH(any_call_may_fail, kind),
		    EACH(many_small_records, kind),
		};
		failed += cmocka_run_group_tests_name(kind, tests, NULL, NULL);
	}
	return failed != 0;
}
