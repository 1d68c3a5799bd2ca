// SPDX-License-Identifier: Apache-2.0
/* Kind s3 where it fails: wrong ways in, damaged objects, a gateway that dies, two writers. */
#include "../unit/test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "io/http.h"
#include "io/process.h"
#include "store/store.h"

#define BYTES 3000

static char where[500], prefix[ID_BYTES], endpoint[200];

/* The prefix "" is none; options begin with '&'. */
static void place(const char *bucket, const char *options)
{
	snprintf(where, sizeof where, "s3:%s/%s?endpoint=%s%s", bucket, prefix, endpoint, options);
}

static int set_up(void **state)
{
	(void)state;
	id_make(prefix, "p-", 12);
	snprintf(endpoint, sizeof endpoint, "%s", strchr(getenv("GODWIT_TEST_S3"), '=') + 1);
	place("godwit-faults", "");
	return 0;
}

static void ceph(const char *verb, const char *more)
{
	const char *const argv[] = {getenv("GODWIT_TEST_CEPH"), verb,
				    getenv("GODWIT_TEST_CEPH_DIR"), more, NULL};
	struct buf out = {0};
	assert_ok(process_run(&(struct process_plan){.argv = argv}, 180000, 65536, &out, err));
	buf_release(&out);
}

static struct store *opened(bool write)
{
	struct store *s;
	assert_ok(store_open(where, write, write, &s, err));
	return s;
}

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
	struct record r = {.plain_len = BYTES, .stored_len = BYTES, .stored = bytes};
	bytes_of(number, bytes, &r.name);
	return store_put(s, "red", &r, e);
}

static int get_number(struct store *s, uint32_t number, struct err *e)
{
	uint8_t bytes[BYTES];
	struct name name;
	struct buf plain = {0};
	bytes_of(number, bytes, &name);
	int result = store_get(s, &name, &plain, e);
	if (result == 0) {
		assert_int_equal(plain.len, BYTES);
		assert_memory_equal(plain.data, bytes, BYTES);
	}
	buf_release(&plain);
	return result;
}

static void put_and_commit(uint32_t from, uint32_t to)
{
	struct store *s = opened(true);
	for (uint32_t number = from; number < to; number++)
		assert_ok(put_number(s, number, err));
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
}

/* The sentence has the kind and all these words, and no secret. */
static void expect_words(const struct err *e, enum err_kind kind, const char *words[], size_t count)
{
	if (e->kind != kind)
		fail_msg("%s, not %s: %s", err_kind_word(e->kind), err_kind_word(kind), e->text);
	for (size_t i = 0; i < count; i++)
		if (!strstr(e->text, words[i]))
			fail_msg("\"%s\" is not in: %s", words[i], e->text);
	assert_null(strstr(e->text, getenv("AWS_SECRET_ACCESS_KEY")));
}

#define EXPECT_WORDS(e, kind, ...)                                                                 \
	do {                                                                                       \
		const char *expected[] = {__VA_ARGS__};                                            \
		expect_words(e, kind, expected, COUNT_OF(expected));                               \
	} while (0)

static void expect_refused(bool write, struct err *e)
{
	struct store *s = NULL;
	assert_int_equal(store_open(where, write, write, &s, e), -1);
	assert_null(s);
}

/* Ways in */

static void wrong_places_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"s3:",
					  "s3:ab",
					  "s3:Upper",
					  "s3:bucket/../x",
					  "s3:bucket//x",
					  "s3:bucket/a b",
					  "s3:bucket?endpoint=http://192.0.2.1",
					  "s3:bucket?endpoint=https://me:pw@host",
					  "s3:bucket?endpoint=https://host/path",
					  "s3:bucket?endpoint=ftp://host",
					  "s3:bucket?secret=topsecret",
					  "s3:bucket?region=a%20b",
					  "s3:bucket?region=a%2",
					  "s3:bucket?sse=DES",
					  "s3:bucket?region=x&region=y",
					  "s3:bucket?cache=here",
					  "s3:bucket?credentials="};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct err e = {0};
		struct store *s;
		if (store_open(bad[i], true, true, &s, &e) == 0)
			fail_msg("%s is no place", bad[i]);
		if (e.kind != ERR_INVALID)
			fail_msg("%s: %s", bad[i], e.text);
		assert_null(strstr(e.text, "topsecret"));
	}
}

static void nobody_at_the_endpoint(void **state)
{
	(void)state;
	struct err e = {0};
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:1");
	place("godwit-faults", "");
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_UNAVAILABLE, "127.0.0.1:1", "godwit-faults");
}

static void write_file(const char *path, mode_t mode, const char *text)
{
	assert_ok(file_write(path, text, strlen(text), mode, err));
}

static void wrong_keys_are_named(void **state)
{
	(void)state;
	struct err e = {0};
	char path[300], options[400];
	snprintf(path, sizeof path, "%s/keys", getenv("TMPDIR"));
	snprintf(options, sizeof options, "&credentials=%s", path);
	place("godwit-faults", options);
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_NOT_FOUND, path);
	write_file(path, 0644, "[default]\naws_access_key_id=testkey\n");
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_DENIED, path, "chmod 600");
	write_file(path, 0600, "[default]\naws_access_key_id=testkey\n");
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_INVALID, path, "aws_secret_access_key");
	write_file(path, 0600, "[default]\naws_access_key_id=testkey\naws_secret_access_key=no\n");
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_DENIED, "403 SignatureDoesNotMatch", "godwit-faults",
		     "check the secret key");
	write_file(path, 0600, "[default]\naws_access_key_id=nobody\naws_secret_access_key=no\n");
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_DENIED, "403 InvalidAccessKeyId", "check the access key");
	write_file(path, 0600,
		   "[other]\naws_access_key_id = nobody\naws_secret_access_key = no\n[default]\n"
		   "aws_access_key_id = testkey\naws_secret_access_key = testsecret\n");
	store_close(opened(true));
	unlink(path);
}

static void a_stranger_may_not_enter(void **state)
{
	(void)state;
	struct err e = {0};
	char path[300], options[400];
	store_close(opened(true));
	ceph("user", "stranger");
	snprintf(path, sizeof path, "%s/stranger", getenv("TMPDIR"));
	snprintf(options, sizeof options, "&credentials=%s", path);
	write_file(path, 0600,
		   "[default]\naws_access_key_id=stranger\n"
		   "aws_secret_access_key=stranger-secret\n");
	place("godwit-faults", options);
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_DENIED, "403 AccessDenied", "godwit-faults", "the right to list");
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_DENIED, "403 AccessDenied", "format");
	unlink(path);
}

static void no_store_and_no_bucket_are_not_found(void **state)
{
	(void)state;
	struct err e = {0};
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_NOT_FOUND, "there is no store in s3:godwit-faults/");
	place("godwit-nowhere", "");
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_NOT_FOUND, "godwit-nowhere");
}

/* A client of the tests' own */

static int direct(const char *method, const char *path, const char *query, const struct buf *body,
		  struct http_answer *a)
{
	struct http *h;
	struct http_plan plan = {
	    .origin = endpoint, .connections = 1, .connect_ms = 5000, .stalled_ms = 30000};
	struct http_signer signer = {getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"),
				     NULL, "us-east-1", "s3"};
	struct http_request r = {.method = method,
				 .path = path,
				 .query = query,
				 .body = body ? body->data : NULL,
				 .body_len = body ? body->len : 0};
	assert_ok(http_open(&plan, &h, err));
	assert_ok(http_send(h, &r, &signer, 30000, 128 * MIB, -1, a, err));
	http_close(h);
	return a->status;
}

static void direct_put(const char *path, const char *query, const struct buf *body)
{
	struct http_answer a;
	assert_int_equal(direct("PUT", path, query, body, &a), 200);
	http_answer_release(&a);
}

/* The path of the first object under a folder of this test's prefix. */
static void first_of(const char *folder, char out[400])
{
	char query[300];
	struct http_answer a;
	snprintf(query, sizeof query, "list-type=2&prefix=%s%%2F%s%%2F", prefix, folder);
	assert_int_equal(direct("GET", "/godwit-faults", query, NULL, &a), 200);
	const char *key = strstr(buf_str(&a.body), "<Key>");
	assert_non_null(key);
	key += strlen("<Key>");
	snprintf(out, 400, "/godwit-faults/%.*s", (int)strcspn(key, "<"), key);
	http_answer_release(&a);
}

static void flip_a_bit(const char *path, int64_t offset)
{
	struct http_answer a;
	assert_int_equal(direct("GET", path, "", NULL, &a), 200);
	a.body.data[offset < 0 ? (int64_t)a.body.len + offset : offset] ^= 0x10;
	direct_put(path, "", &a.body);
	http_answer_release(&a);
}

/* Damage */

static void a_flipped_bit_is_found(void **state)
{
	(void)state;
	struct err e = {0};
	char pack[400];
	put_and_commit(0, 3);
	first_of("packs", pack);
	flip_a_bit(pack, 32 + 72 + 10); /* in the bytes of the first record */
	struct store *s = opened(false);
	assert_int_equal(get_number(s, 0, &e), -1);
	char name[65];
	snprintf(name, sizeof name, "%.64s", strrchr(pack, '/') + 1);
	EXPECT_WORDS(&e, ERR_CORRUPT, "wrong checksum", name);
	assert_ok(get_number(s, 1, err));
	store_close(s);
}

static void a_missing_pack_is_found(void **state)
{
	(void)state;
	struct err e = {0};
	struct http_answer a;
	char pack[400];
	put_and_commit(0, 3);
	first_of("packs", pack);
	assert_int_equal(direct("DELETE", pack, "", NULL, &a), 204);
	http_answer_release(&a);
	struct store *s = opened(false);
	assert_int_equal(get_number(s, 0, &e), -1);
	EXPECT_WORDS(&e, ERR_CORRUPT, "404 NoSuchKey", "is missing", "backup");
	store_close(s);
}

static void a_damaged_segment_is_set_aside_and_its_packs_adopted(void **state)
{
	(void)state;
	struct err e = {0};
	char segment[400], lost[400];
	put_and_commit(0, 3);
	first_of("index", segment);
	flip_a_bit(segment, -3);
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_CORRUPT, "index/", "damaged");
	struct store *s = opened(true);
	for (uint32_t number = 0; number < 3; number++)
		assert_ok(get_number(s, number, err));
	store_close(s);
	first_of("lost", lost);
	assert_string_equal(strrchr(lost, '/'), strrchr(segment, '/'));
}

static unsigned files_in(const char *dir_path)
{
	unsigned count = 0;
	DIR *dir = opendir(dir_path);
	assert_non_null(dir);
	const struct dirent *entry;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void segments_are_kept_nearby_and_not_believed(void **state)
{
	(void)state;
	char cache[300], options[400], index[400];
	snprintf(cache, sizeof cache, "%s/cache-%s", getenv("TMPDIR"), prefix);
	snprintf(index, sizeof index, "%s/index", cache);
	put_and_commit(0, 5);
	snprintf(options, sizeof options, "&cache=%s", cache);
	place("godwit-faults", options);
	struct store *s = opened(false);
	assert_ok(get_number(s, 2, err));
	store_close(s);
	assert_int_equal(files_in(index), 1);
	DIR *dir = opendir(index);
	const struct dirent *entry;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			char path[700];
			struct buf bytes = {0};
			snprintf(path, sizeof path, "%s/%s", index, entry->d_name);
			assert_ok(file_read(path, MIB, &bytes, err));
			bytes.data[100] ^= 1;
			assert_ok(file_write(path, bytes.data, bytes.len, 0600, err));
			buf_release(&bytes);
		}
	closedir(dir);
	s = opened(true);
	assert_ok(get_number(s, 3, err));
	for (uint32_t number = 5; number < 40; number++) { /* merges, so copies go too */
		assert_ok(put_number(s, number, err));
		assert_ok(store_commit(s, NULL, err));
	}
	store_close(s);
	s = opened(false);
	for (uint32_t number = 0; number < 40; number++)
		assert_ok(get_number(s, number, err));
	store_close(s);
	assert_true(files_in(index) < 20);
	assert_int_equal(files_in(cache), 2); /* index and known, nothing temporary */
	assert_ok(file_remove_tree(cache, err));
}

/* The bucket */

static void lifecycle(const char *bucket, const char *rules)
{
	struct buf body = {0};
	char path[100];
	snprintf(path, sizeof path, "/%s", bucket);
	buf_printf(&body, "<LifecycleConfiguration>%s</LifecycleConfiguration>", rules);
	direct_put(path, "lifecycle=", &body);
	buf_release(&body);
}

static void a_rule_that_expires_ours_is_refused(void **state)
{
	(void)state;
	struct err e = {0};
	struct http_answer a;
	char rule[400];
	place("godwit-rules", "");
	store_close(opened(true));
	assert_int_equal(direct("GET", "/godwit-rules", "lifecycle=", NULL, &a), 200);
	assert_non_null(strstr(buf_str(&a.body), prefix)); /* ours, for staging/ */
	assert_non_null(strstr(buf_str(&a.body), "<Days>7</Days>"));
	http_answer_release(&a);
	snprintf(rule, sizeof rule,
		 "<Rule><ID>clean up</ID><Filter><Prefix>%s/packs/</Prefix></Filter>"
		 "<Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>",
		 prefix);
	lifecycle("godwit-rules", rule);
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_CONFLICT, "\"clean up\" deletes", "/packs/", "godwit-rules",
		     "remove the rule");
	expect_refused(false, &e);
	EXPECT_WORDS(&e, ERR_CONFLICT, "clean up");
	snprintf(rule, sizeof rule,
		 "<Rule><ID>elsewhere</ID><Filter><Prefix>other/</Prefix></Filter>"
		 "<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>");
	lifecycle("godwit-rules", rule);
	store_close(opened(true));
	assert_int_equal(direct("GET", "/godwit-rules", "lifecycle=", NULL, &a), 200);
	assert_non_null(strstr(buf_str(&a.body), "elsewhere")); /* ours came beside it */
	assert_non_null(strstr(buf_str(&a.body), "<Days>7</Days>"));
	http_answer_release(&a);
}

static void a_prefix_with_other_things_is_left_alone(void **state)
{
	(void)state;
	struct err e = {0};
	struct buf body = {0};
	char path[200];
	store_close(opened(true)); /* the bucket */
	id_make(prefix, "p-", 12);
	place("godwit-faults", "");
	snprintf(path, sizeof path, "/godwit-faults/%s/holiday.jpg", prefix);
	buf_add_str(&body, "x");
	direct_put(path, "", &body);
	buf_release(&body);
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_CONFLICT, "holiday.jpg", "is no store");
}

static void objects_are_encrypted_when_asked(void **state)
{
	(void)state;
	struct err e = {0};
	struct http_answer a;
	char pack[400], value[100];
	place("godwit-faults", "&sse=aws:kms:test-key");
	put_and_commit(0, 3);
	first_of("packs", pack);
	assert_int_equal(direct("HEAD", pack, "", NULL, &a), 200);
	assert_true(http_answer_header(&a, "x-amz-server-side-encryption", value, sizeof value));
	assert_string_equal(value, "aws:kms");
	http_answer_release(&a);
	place("godwit-faults", "");
	struct store *s = opened(false);
	assert_ok(get_number(s, 1, err));
	store_close(s);
	place("godwit-faults", "&sse=aws:kms:no-such-key");
	id_make(prefix, "p-", 12);
	place("godwit-faults", "&sse=aws:kms:no-such-key");
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_DENIED, "403", "no-such-key");
}

/* The gateway dies */

struct progress {
	struct store *store;
	uint32_t committed;
	bool stop;
	struct err failed;
	pthread_mutex_t mutex;
};

static void *work(void *context)
{
	struct progress *p = context;
	bool stop = false;
	for (uint32_t number = 0; !stop;) {
		for (uint32_t end = number + 2000; number < end; number++)
			if (put_number(p->store, number, &p->failed) < 0)
				return NULL;
		if (store_commit(p->store, NULL, &p->failed) < 0 ||
		    store_ref_set(p->store, "last", &number, sizeof number, &p->failed) < 0)
			return NULL;
		pthread_mutex_lock(&p->mutex);
		p->committed = number;
		stop = p->stop;
		pthread_mutex_unlock(&p->mutex);
	}
	return NULL;
}

static uint32_t committed(struct progress *p)
{
	pthread_mutex_lock(&p->mutex);
	uint32_t number = p->committed;
	pthread_mutex_unlock(&p->mutex);
	return number;
}

static void wait_beyond(struct progress *p, pthread_t thread, uint32_t number)
{
	while (committed(p) <= number) {
		if (p->failed.kind != ERR_NONE) {
			pthread_join(thread, NULL);
			fail_msg("the work ended: %s", p->failed.text);
		}
		clock_sleep_ms(50);
	}
}

static int last_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	assert_string_equal(ref, "last");
	assert_int_equal(n, sizeof(uint32_t));
	memcpy(context, data, n);
	return 0;
}

static void a_gateway_that_dies_only_delays(void **state)
{
	(void)state;
	struct progress p = {.mutex = PTHREAD_MUTEX_INITIALIZER, .store = opened(true)};
	pthread_t thread;
	uint32_t last = 0;
	assert_int_equal(pthread_create(&thread, NULL, work, &p), 0);
	for (unsigned death = 0; death < 2; death++) {
		wait_beyond(&p, thread, committed(&p));
		ceph("kill", NULL);
		clock_sleep_ms(3000);
		ceph("gateway", NULL);
		wait_beyond(&p, thread, committed(&p));
	}
	pthread_mutex_lock(&p.mutex);
	p.stop = true;
	pthread_mutex_unlock(&p.mutex);
	pthread_join(thread, NULL);
	if (p.failed.kind != ERR_NONE)
		fail_msg("the work ended: %s", p.failed.text);
	store_close(p.store);
	struct store *s = opened(false);
	for (uint32_t number = 0; number < p.committed; number++)
		assert_ok(get_number(s, number, err));
	assert_ok(store_ref_each(s, last_ref, &last, err));
	assert_int_equal(last, p.committed);
	store_close(s);
}

/* Two writers */

/* Write a lock as another machine would have. */
static void forge_lock(uint64_t generation)
{
	struct buf body = {0};
	char path[200];
	snprintf(path, sizeof path, "/godwit-faults/%s/lock/%016llx", prefix,
		 (unsigned long long)generation);
	buf_add_str(&body, "godwit lock 1\nstate held\nowner writer-of-old\nhost elsewhere\n"
			   "machine 0 0\nprocess 4711 1\nrenewals 3\n");
	direct_put(path, "", &body);
	buf_release(&body);
}

static void a_writer_that_was_killed_is_followed_at_once(void **state)
{
	(void)state;
	struct err e = {0};
	int tell[2];
	uint32_t number = 0;
	assert_int_equal(pipe(tell), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct store *s;
		if (store_open(where, true, true, &s, &e) < 0 || put_number(s, 1, &e) < 0 ||
		    store_commit(s, NULL, &e) < 0 || put_number(s, 2, &e) < 0 ||
		    write(tell[1], &number, sizeof number) != sizeof number)
			_exit(1);
		pause();
	}
	close(tell[1]);
	assert_int_equal(read(tell[0], &number, sizeof number), sizeof number);
	close(tell[0]);
	expect_refused(true, &e);
	EXPECT_WORDS(&e, ERR_BUSY, "has a writer already", "last heard of");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	struct store *s = opened(true);
	assert_ok(get_number(s, 1, err));
	assert_int_equal(get_number(s, 2, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_close(s);
}

/* What another machine holds is taken over when nothing is heard of it any more. */
static void a_silent_writer_is_followed_after_a_minute(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *s = NULL;
	unsigned busy = 0;
	store_close(opened(true));
	forge_lock(7);
	while (store_open(where, true, false, &s, &e) < 0) {
		EXPECT_WORDS(&e, ERR_BUSY, "process 4711 on elsewhere");
		busy++;
		clock_sleep_ms(2000);
	}
	assert_true(busy > 3);
	assert_ok(put_number(s, 1, err));
	assert_ok(store_commit(s, NULL, err));
	store_close(s);
}

static void a_writer_that_was_followed_stops(void **state)
{
	(void)state;
	struct err e = {0};
	struct store *s = opened(true);
	assert_ok(put_number(s, 1, err));
	assert_ok(store_commit(s, NULL, err));
	forge_lock(99);
	while (store_ref_set(s, "last", "1234", 4, &e) == 0)
		clock_sleep_ms(500);
	EXPECT_WORDS(&e, ERR_CONFLICT, "was taken over by process 4711 on elsewhere");
	e = (struct err){0};
	int result = put_number(s, 2, &e);
	if (result > 0)
		result = store_commit(s, NULL, &e);
	assert_int_equal(result, -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_ok(get_number(s, 1, err)); /* reading goes on */
	store_close(s);
}

#define EACH(test)                                                                                 \
	{                                                                                          \
#test, test, set_up, NULL, NULL                                                    \
	}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
	    EACH(wrong_places_are_refused),
	    EACH(nobody_at_the_endpoint),
	    EACH(wrong_keys_are_named),
	    EACH(no_store_and_no_bucket_are_not_found),
	    EACH(a_stranger_may_not_enter),
	    EACH(a_flipped_bit_is_found),
	    EACH(a_missing_pack_is_found),
	    EACH(a_damaged_segment_is_set_aside_and_its_packs_adopted),
	    EACH(segments_are_kept_nearby_and_not_believed),
	    EACH(a_rule_that_expires_ours_is_refused),
	    EACH(a_prefix_with_other_things_is_left_alone),
	    EACH(objects_are_encrypted_when_asked),
	    EACH(a_gateway_that_dies_only_delays),
	    EACH(a_writer_that_was_killed_is_followed_at_once),
	    EACH(a_silent_writer_is_followed_after_a_minute),
	    EACH(a_writer_that_was_followed_stops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
