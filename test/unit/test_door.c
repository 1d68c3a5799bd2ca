// SPDX-License-Identifier: Apache-2.0
/* The data door, with a real intake process behind it, metadata in memory, and clients that speak
 * frames by hand: what it must refuse, and that it takes the same thing when it is right. */
#include "test.h"

#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/file.h"
#include "io/tls.h"
#include "job/door.h"
#include "wire/door.h"
#include "wire/wire.h"

#define RUN	    "sms-run-1"
#define JOB	    "sms-job-1"
#define DISK_BYTES  (8ll << 20)
#define TEXT(words) ((char *)(words)) /* a message is not written to */

static char self[4096]; /* this program is its own intake: see main */

struct world {
	char dir[64], tls_dir[96], where[64];
	struct service s;
	struct intake *intake;
	struct door *door;
	char *store;
};

/* --- rows --- */

static void put(struct world *w, const struct meta_table *t, const void *row)
{
	struct meta_tx *tx;
	assert_ok(meta_begin(w->s.meta, true, &tx, err));
	assert_ok(meta_put(tx, t, row, err));
	assert_ok(meta_end(tx, true, err));
}

static void get(struct world *w, const struct meta_table *t, const char *key, void *row)
{
	struct meta_tx *tx;
	assert_ok(meta_begin(w->s.meta, false, &tx, err));
	assert_ok(meta_get(tx, t, key, row, err));
	assert_ok(meta_end(tx, true, err));
}

static void put_connector(struct world *w, const char *id, int64_t disassociated)
{
	struct connector_row row = {.associated = 1, .disassociated = disassociated};
	text_set(&row.id, id);
	put(w, &meta_connectors, &row);
	shape_release(meta_connectors.shape, &row);
}

static void put_job(struct world *w)
{
	struct job_row job = {.failure_limit = 3, .boot_test_every = 1};
	struct run_row run = {.sequence = 1};
	text_set(&job.id, JOB);
	text_set(&job.server_id, "s-1");
	text_set(&job.manager_id, "m-1");
	text_set(&job.vm_id, "vm-1");
	text_set(&job.vm_name, "web");
	text_set(&job.state, "ACTIVE");
	text_set(&job.boot_test, "off");
	text_set(&job.active_run_id, RUN);
	text_set(&run.id, RUN);
	text_set(&run.job_id, JOB);
	text_set(&run.state, "PENDING");
	text_set(&run.type, "AUTOMATIC");
	text_set(&run.stage, "Scheduled");
	put(w, &meta_jobs, &job);
	put(w, &meta_runs, &run);
	shape_release(meta_jobs.shape, &job);
	shape_release(meta_runs.shape, &run);
}

static void put_token(struct world *w, const char *secret, int64_t expires, const char *used_by)
{
	struct enrol_token_row row = {.created = 1, .expires = expires};
	char hex[NAME_HEX_BYTES];
	struct name digest;
	name_of(secret, strlen(secret), &digest);
	name_hex(&digest, hex);
	text_set(&row.secret_sha256, hex);
	text_set(&row.used_by, used_by);
	put(w, &meta_enrol_tokens, &row);
	shape_release(meta_enrol_tokens.shape, &row);
}

static void assert_stage(struct world *w, const char *stage)
{
	struct run_row run;
	get(w, &meta_runs, RUN, &run);
	assert_string_equal(run.stage, stage);
	shape_release(meta_runs.shape, &run);
}

/* --- the world --- */

static int make(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);
	char journal[96];
	int port;
	*state = w;
	snprintf(w->dir, sizeof w->dir, "/tmp/godwit-door-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->tls_dir, sizeof w->tls_dir, "%s/tls", w->dir);
	snprintf(journal, sizeof journal, "%s/journal", w->dir);
	w->store = xasprintf("dir:%s/store", w->dir);
	assert_ok(file_make_dirs(w->tls_dir, 0700, err));
	assert_ok(file_make_dirs(journal, 0700, err));
	assert_ok(tls_make_authority(w->tls_dir, "127.0.0.1", err));
	w->s.rules = &job_rules_unlimited;
	w->s.state_dir = w->dir;
	w->s.store_where = w->store;
	assert_ok(meta_open("memory:", &w->s.meta, err));
	assert_ok(intake_start(self, w->store, journal, door_note, &w->s, &w->intake, err));
	assert_ok(door_open(&w->s, w->intake, w->tls_dir, "127.0.0.1:0", &w->door, &port, err));
	snprintf(w->where, sizeof w->where, "127.0.0.1:%d", port);
	put_connector(w, "c-one", 0);
	put_connector(w, "c-two", 0);
	put_connector(w, "c-gone", 1);
	return 0;
}

static int drop(void **state)
{
	struct world *w = *state;
	door_close(w->door);
	intake_stop(w->intake);
	meta_close(w->s.meta);
	assert_ok(file_remove_tree(w->dir, err));
	free(w->store);
	free(w);
	return 0;
}

/* --- clients --- */

static struct stream *dial_with(struct world *w, const char *cert, const char *key)
{
	struct tls *tls;
	struct stream *s;
	char ca[128];
	int fd;
	snprintf(ca, sizeof ca, "%s/ca.pem", w->tls_dir);
	assert_ok(tls_client(ca, NULL, cert, key, &tls, err));
	assert_ok(tcp_connect(w->where, 5000, &fd, err));
	assert_ok(tls_connect(tls, fd, NULL, &s, err));
	stream_set_timeout(s, 20000);
	tls_free(tls);
	return s;
}

/* A connection of this connector; NULL: of one without a certificate. */
static struct stream *dial(struct world *w, const char *connector_id)
{
	char cert[128], key[128], *request, *certificate;
	if (!connector_id)
		return dial_with(w, NULL, NULL);
	snprintf(cert, sizeof cert, "%s/%s.pem", w->dir, connector_id);
	snprintf(key, sizeof key, "%s/%s.key", w->dir, connector_id);
	assert_ok(tls_make_request(key, "any", &request, err));
	assert_ok(tls_sign_request(w->tls_dir, request, connector_id, 1, &certificate, err));
	assert_ok(file_write(cert, certificate, strlen(certificate), 0600, err));
	free(request);
	free(certificate);
	return dial_with(w, cert, key);
}

static void say(struct stream *s, uint16_t type, const void *message)
{
	assert_ok(frame_write(s, type, door_shape(type), message, err));
}

static void hear(struct stream *s, uint16_t type, void *message)
{
	assert_ok(frame_expect(s, type, door_shape(type), message, err));
}

/* The answer is a fault of this kind whose sentence has these words. Closes. */
static void expect_fault(struct stream *s, enum err_kind kind, const char *words)
{
	struct buf body = {0};
	struct door_fault fault;
	uint16_t type = 0;
	assert_ok(frame_read(s, &type, &body, err));
	assert_int_equal(type, DOOR_FAULT);
	assert_ok(wire_decode(&door_fault_shape, body.data, body.len, &fault, err));
	assert_string_equal(fault.kind, err_kind_word(kind));
	if (!strstr(fault.text, words))
		fail_msg("'%s' does not say '%s'", fault.text, words);
	shape_release(&door_fault_shape, &fault);
	buf_release(&body);
	stream_close(s);
}

static struct door_hello hello_of(void)
{
	return (struct door_hello){.protocol = DOOR_PROTOCOL,
				   .version = TEXT("test"),
				   .manager_id = TEXT("m-1"),
				   .manager_name = TEXT("lab")};
}

static struct stream *control(struct world *w, const char *connector_id)
{
	struct stream *s = dial(w, connector_id);
	struct door_hello hello = hello_of();
	struct door_welcome welcome;
	say(s, DOOR_HELLO, &hello);
	hear(s, DOOR_WELCOME, &welcome);
	assert_int_equal(welcome.last, 1);
	assert_string_equal(welcome.connector_id, connector_id);
	shape_release(&door_welcome_shape, &welcome);
	return s;
}

static void say_stage(struct stream *s, const char *run_id, int64_t token, const char *stage)
{
	struct door_stage m = {.run_id = (char *)run_id, .token = token, .stage = (char *)stage};
	say(s, DOOR_STAGE, &m);
}

/* The next word is `type` about this run. */
static void expect_run(struct stream *s, uint16_t type, const char *run_id)
{
	struct door_run m;
	hear(s, type, &m);
	assert_string_equal(m.run_id, run_id);
	shape_release(&door_run_shape, &m);
}

/* Words are heard in order: when this one is answered, those before it were heard, and none of
 * them was answered. */
static void settle(struct stream *s)
{
	say_stage(s, "sms-run-none", 1, "Validating");
	expect_run(s, DOOR_CANCEL, "sms-run-none");
}

/* Lease the run; the token of the lease. */
static int64_t grant(struct world *w, struct stream *s, const char *connector_id)
{
	struct door_work work;
	/* The door finds a connection from the moment after WELCOME on. */
	settle(s);
	assert_ok(door_grant(w->door, RUN, connector_id, clock_now_ms(), err));
	hear(s, DOOR_WORK, &work);
	assert_string_equal(work.run_id, RUN);
	assert_string_equal(work.vm_id, "vm-1");
	int64_t token = work.token;
	shape_release(&door_work_shape, &work);
	return token;
}

static void say_snapshot(struct stream *s, int64_t token, const char *point)
{
	struct door_snapshot_disk disk = {
	    .key = TEXT("vda"), .number = 0, .size_bytes = DISK_BYTES, .changed_bytes = -1};
	struct door_snapshot m = {.run_id = TEXT(RUN),
				  .token = token,
				  .point = (char *)point,
				  .consistency = TEXT("crash"),
				  .disks = {.items = &disk, .count = 1}};
	say(s, DOOR_SNAPSHOT, &m);
}

/* A leased run that copies from point godwit-p1. */
static struct stream *copying(struct world *w, int64_t *token)
{
	put_job(w);
	struct stream *s = control(w, "c-one");
	*token = grant(w, s, "c-one");
	say_stage(s, RUN, *token, "Snapshotting");
	say_snapshot(s, *token, "godwit-p1");
	say_stage(s, RUN, *token, "Uploading");
	settle(s);
	assert_stage(w, "Uploading");
	return s;
}

/* --- enrolment --- */

static void ask_to_enrol(struct world *w, struct stream *s, const char *secret)
{
	char key[128], *request;
	snprintf(key, sizeof key, "%s/new.key", w->dir);
	assert_ok(tls_make_request(key, "new", &request, err));
	struct door_enrol ask = {.token = (char *)secret, .name = TEXT("new"), .request = request};
	say(s, DOOR_ENROL, &ask);
	free(request);
}

static void enrolment(void **state)
{
	struct world *w = *state;
	struct door_enrolled answer;
	struct connector_row row;
	char cert[128], key[128];
	int64_t now = clock_now_ms();
	put_token(w, "good", now + 60000, NULL);
	put_token(w, "old", now - 1, NULL);
	put_token(w, "used", now + 60000, "c-one");

	struct stream *s = dial(w, NULL);
	ask_to_enrol(w, s, "bad");
	expect_fault(s, ERR_DENIED, "unknown");
	s = dial(w, NULL);
	ask_to_enrol(w, s, "old");
	expect_fault(s, ERR_DENIED, "expired");
	s = dial(w, NULL);
	ask_to_enrol(w, s, "used");
	expect_fault(s, ERR_DENIED, "used already");

	s = dial(w, NULL);
	ask_to_enrol(w, s, "good");
	hear(s, DOOR_ENROLLED, &answer);
	stream_close(s);
	get(w, &meta_connectors, answer.connector_id, &row);
	assert_string_equal(row.name, "new");
	shape_release(meta_connectors.shape, &row);
	/* Its certificate opens the door. */
	snprintf(cert, sizeof cert, "%s/new.pem", w->dir);
	snprintf(key, sizeof key, "%s/new.key", w->dir);
	assert_ok(file_write(cert, answer.certificate, strlen(answer.certificate), 0600, err));
	s = dial_with(w, cert, key);
	struct door_hello hello = hello_of();
	struct door_welcome welcome;
	say(s, DOOR_HELLO, &hello);
	hear(s, DOOR_WELCOME, &welcome);
	assert_int_equal(welcome.last, 1);
	assert_string_equal(welcome.connector_id, answer.connector_id);
	shape_release(&door_welcome_shape, &welcome);
	stream_close(s);

	s = dial(w, NULL);
	ask_to_enrol(w, s, "good");
	expect_fault(s, ERR_DENIED, answer.connector_id);
	shape_release(&door_enrolled_shape, &answer);
}

/* --- who may hold a control connection --- */

static void strangers(void **state)
{
	struct world *w = *state;
	struct door_hello hello = hello_of();
	struct stream *s = dial(w, NULL);
	say(s, DOOR_HELLO, &hello);
	expect_fault(s, ERR_DENIED, "certificate");
	/* One that was ours is also told to clean up, and its name by which. */
	struct door_retire retire;
	s = dial(w, "c-gone");
	say(s, DOOR_HELLO, &hello);
	hear(s, DOOR_RETIRE, &retire);
	assert_string_equal(retire.connector_id, "c-gone");
	shape_release(&door_retire_shape, &retire);
	expect_fault(s, ERR_DENIED, "c-gone was disassociated");
	s = dial(w, "c-never-heard-of");
	say(s, DOOR_HELLO, &hello);
	expect_fault(s, ERR_DENIED, "c-never-heard-of");
	s = dial(w, "c-one");
	hello.protocol = DOOR_PROTOCOL + 1;
	say(s, DOOR_HELLO, &hello);
	expect_fault(s, ERR_INVALID, "protocol");
	s = dial(w, "c-one");
	struct door_run run = {.run_id = TEXT(RUN), .token = 1};
	say(s, DOOR_COPIED, &run);
	expect_fault(s, ERR_INVALID, "begins with");
	/* And while it is connected, with its next heartbeat. */
	s = control(w, "c-one");
	put_connector(w, "c-one", 1);
	struct door_heartbeat beat = {.healthy = 1};
	say(s, DOOR_HEARTBEAT, &beat);
	hear(s, DOOR_RETIRE, &retire);
	shape_release(&door_retire_shape, &retire);
	expect_fault(s, ERR_DENIED, "c-one was disassociated");
	put_connector(w, "c-one", 0);
	stream_close(control(w, "c-one"));
}

/* --- streams --- */

static struct stream *stream_as(struct world *w, const char *connector_id,
				const struct door_stream *want)
{
	struct stream *s = dial(w, connector_id);
	say(s, DOOR_STREAM, want);
	return s;
}

static void streams(void **state)
{
	struct world *w = *state;
	int64_t token;
	struct stream *s = copying(w, &token), *stream;
	const struct door_stream good = {.run_id = TEXT(RUN),
					 .token = token,
					 .point = TEXT("godwit-p1"),
					 .size_bytes = DISK_BYTES};
	struct door_stream want = good;
	struct door_ready ready;

	want.token--;
	expect_fault(stream_as(w, "c-one", &want), ERR_DENIED, "not leased");
	want = good;
	expect_fault(stream_as(w, NULL, &want), ERR_DENIED, "certificate");
	expect_fault(stream_as(w, "c-two", &want), ERR_DENIED, "not leased to connector c-two");
	want.point = TEXT("godwit-p0");
	expect_fault(stream_as(w, "c-one", &want), ERR_CONFLICT, "godwit-p0");
	want = good;
	want.size_bytes += 512;
	expect_fault(stream_as(w, "c-one", &want), ERR_INVALID, "bytes, not");
	want = good;
	want.number = 1;
	expect_fault(stream_as(w, "c-one", &want), ERR_NOT_FOUND, RUN ".1");
	want = good;
	want.run_id = TEXT("sms-run-none");
	expect_fault(stream_as(w, "c-one", &want), ERR_NOT_FOUND, "sms-run-none");

	stream = stream_as(w, "c-one", &good);
	hear(stream, DOOR_READY, &ready);
	assert_int_equal(ready.has_base, 0);
	shape_release(&door_ready_shape, &ready);

	/* A newer lease ends the stream of the older one, and its token with it. */
	assert_ok(door_grant(w->door, RUN, "c-one", clock_now_ms(), err));
	struct err e = {0};
	assert_true(frame_expect(stream, DOOR_DURABLE, &door_durable_shape, &ready, &e) < 0);
	stream_close(stream);
	expect_fault(stream_as(w, "c-one", &good), ERR_DENIED, "not leased");
	stream_close(s);
}

/* --- what is said of a run --- */

static void say_all(struct stream *s, int64_t token, uint16_t answer)
{
	struct door_run copied = {.run_id = TEXT(RUN), .token = token};
	struct door_failed failed = {.run_id = TEXT(RUN),
				     .token = token,
				     .kind = TEXT("io"),
				     .text = TEXT("the disk is broken")};
	say_stage(s, RUN, token, "Validating");
	expect_run(s, answer, RUN);
	say_snapshot(s, token, "godwit-evil");
	expect_run(s, answer, RUN);
	say(s, DOOR_COPIED, &copied);
	expect_run(s, answer, RUN);
	say(s, DOOR_FAILED, &failed);
	expect_run(s, answer, RUN);
}

static void words_of_a_run_not_leased(void **state)
{
	struct world *w = *state;
	int64_t token;
	struct stream *s = copying(w, &token), *other = control(w, "c-two");
	struct run_row run;
	say_all(s, token - 1, DOOR_CANCEL);
	say_all(other, token, DOOR_CANCEL);
	get(w, &meta_runs, RUN, &run);
	assert_string_equal(run.stage, "Uploading");
	assert_string_equal(run.state, "ACTIVE");
	assert_string_equal(run.point, "godwit-p1");

	/* It is over: deleted, then, of another, an image. */
	text_set(&run.state, "DELETED");
	put(w, &meta_runs, &run);
	say_all(s, token, DOOR_CANCEL);
	text_set(&run.state, "COMPLETED");
	text_set(&run.ami_id, "ami-1");
	put(w, &meta_runs, &run);
	say_all(s, token, DOOR_COMMITTED);
	say_all(other, token, DOOR_CANCEL); /* it is none of theirs */
	shape_release(meta_runs.shape, &run);

	/* Whoever let go of it is not told again. */
	struct door_run released = {.run_id = TEXT(RUN), .token = token};
	say(s, DOOR_RELEASED, &released);
	settle(s);
	get(w, &meta_runs, RUN, &run);
	assert_null(run.connector_id);
	shape_release(meta_runs.shape, &run);
	stream_close(s);
	stream_close(other);
}

static void another_point_counts_as_read_again(void **state)
{
	struct world *w = *state;
	int64_t token;
	struct stream *s = copying(w, &token);
	struct run_row run;
	struct run_disk_row disk;
	get(w, &meta_run_disks, RUN ".0", &disk);
	assert_int_equal(disk.size_bytes, DISK_BYTES);
	disk.bytes_done = 5000;
	put(w, &meta_run_disks, &disk);
	shape_release(meta_run_disks.shape, &disk);

	say_snapshot(s, token, "godwit-p1"); /* the same found again: nothing is lost */
	settle(s);
	get(w, &meta_runs, RUN, &run);
	assert_int_equal(run.bytes_reread, 0);
	shape_release(meta_runs.shape, &run);
	get(w, &meta_run_disks, RUN ".0", &disk);
	assert_int_equal(disk.bytes_done, 5000);
	shape_release(meta_run_disks.shape, &disk);

	for (int i = 0; i < 2; i++) {
		say_snapshot(s, token, "godwit-p2");
		settle(s);
		get(w, &meta_runs, RUN, &run);
		assert_int_equal(run.bytes_reread, 5000);
		assert_string_equal(run.point, "godwit-p2");
		shape_release(meta_runs.shape, &run);
	}
	get(w, &meta_run_disks, RUN ".0", &disk);
	assert_int_equal(disk.bytes_done, 0);
	shape_release(meta_run_disks.shape, &disk);
	stream_close(s);
}

static void copied_needs_every_root_and_stays(void **state)
{
	struct world *w = *state;
	int64_t token;
	struct stream *s = copying(w, &token);
	struct run_disk_row disk;
	struct run_row run;
	char root[NAME_HEX_BYTES];
	struct name digest;
	struct door_run copied = {.run_id = TEXT(RUN), .token = token};
	say(s, DOOR_COPIED, &copied);
	/* It is asked for again, under the same lease. */
	struct door_work work;
	hear(s, DOOR_WORK, &work);
	assert_string_equal(work.run_id, RUN);
	assert_int_equal(work.token, token);
	assert_int_equal(work.copied, 0);
	shape_release(&door_work_shape, &work);
	settle(s);
	assert_stage(w, "Uploading");

	get(w, &meta_run_disks, RUN ".0", &disk);
	name_of("disk", 4, &digest);
	name_hex(&digest, root);
	text_set(&disk.root, root);
	put(w, &meta_run_disks, &disk);
	shape_release(meta_run_disks.shape, &disk);
	say(s, DOOR_COPIED, &copied);
	settle(s);
	assert_stage(w, "Converting");

	/* A connector that was started again must not take from it what it copied. */
	say_snapshot(s, token, "godwit-p2");
	say_stage(s, RUN, token, "Validating");
	settle(s);
	assert_stage(w, "Converting");
	get(w, &meta_runs, RUN, &run);
	assert_string_equal(run.point, "godwit-p1");
	assert_int_equal(run.bytes_reread, 0);
	shape_release(meta_runs.shape, &run);
	get(w, &meta_run_disks, RUN ".0", &disk);
	assert_string_equal(disk.root, root);
	shape_release(meta_run_disks.shape, &disk);
	stream_close(s);

	/* It is told what it holds, and that there is nothing to copy. */
	struct door_hello hello = hello_of();
	struct door_welcome welcome;
	s = dial(w, "c-one");
	say(s, DOOR_HELLO, &hello);
	hear(s, DOOR_WELCOME, &welcome);
	assert_int_equal(welcome.last, 1);
	assert_int_equal(welcome.held.count, 1);
	const struct door_work *held = welcome.held.items;
	assert_string_equal(held->run_id, RUN);
	assert_string_equal(held->point, "godwit-p1");
	assert_int_equal(held->copied, 1);
	shape_release(&door_welcome_shape, &welcome);
	stream_close(s);
}

/* --- points of jobs that are over --- */

static void put_base(struct world *w, const char *state)
{
	struct job_row job;
	get(w, &meta_jobs, JOB, &job);
	text_set(&job.state, state);
	text_set(&job.base_point, "godwit-one-p1");
	text_set(&job.base_connector_id, "c-one");
	put(w, &meta_jobs, &job);
	shape_release(meta_jobs.shape, &job);
}

static void assert_base(struct world *w, bool there)
{
	struct job_row job;
	get(w, &meta_jobs, JOB, &job);
	assert_int_equal(job.base_point != NULL, there);
	assert_int_equal(job.base_connector_id != NULL, there);
	shape_release(meta_jobs.shape, &job);
}

static size_t points_of_welcome(struct world *w)
{
	struct stream *s = dial(w, "c-one");
	struct door_hello hello = hello_of();
	struct door_welcome welcome;
	say(s, DOOR_HELLO, &hello);
	hear(s, DOOR_WELCOME, &welcome);
	size_t count = welcome.points.count;
	shape_release(&door_welcome_shape, &welcome);
	stream_close(s);
	return count;
}

static void a_point_is_forgotten_once(void **state)
{
	struct world *w = *state;
	struct door_forget m,
	    gone = {.job_id = TEXT(JOB), .vm_id = TEXT("vm-1"), .point = TEXT("godwit-one-p1")};
	put_job(w);
	put_base(w, "ACTIVE");
	assert_int_equal(points_of_welcome(w), 1);
	struct stream *s = control(w, "c-one"), *other = control(w, "c-two");
	settle(s);
	/* A live job keeps its base, whatever a connector says. */
	say(s, DOOR_FORGOTTEN, &gone);
	settle(s);
	assert_base(w, true);

	put_base(w, "DELETED");
	door_tell_forget(w->door, "c-one", JOB, "vm-1", "godwit-one-p1");
	hear(s, DOOR_FORGET, &m);
	assert_string_equal(m.job_id, JOB);
	assert_string_equal(m.vm_id, "vm-1");
	assert_string_equal(m.point, "godwit-one-p1");
	shape_release(&door_forget_shape, &m);
	say(other, DOOR_FORGOTTEN, &gone);
	settle(other);
	gone.point = TEXT("godwit-one-p2");
	say(s, DOOR_FORGOTTEN, &gone);
	settle(s);
	assert_base(w, true);
	gone.point = TEXT("godwit-one-p1");
	say(s, DOOR_FORGOTTEN, &gone);
	say(s, DOOR_FORGOTTEN, &gone);
	settle(s);
	assert_base(w, false);
	stream_close(s);
	stream_close(other);
	assert_int_equal(points_of_welcome(w), 0);
}

/* --- a service that is large --- */

#define JOBS	20000
#define HELD	1500
#define DISKS	16
#define SQUARES 20 /* rows are put in so many transactions */

static void fill_job(struct job_row *job, int i)
{
	*job = (struct job_row){.failure_limit = 3, .boot_test_every = 1};
	text_setf(&job->id, "sms-job-%08d", i);
	text_setf(&job->server_id, "s-%08d", i);
	text_set(&job->manager_id, "m-1");
	text_setf(&job->vm_id, "00000000-0000-4000-8000-%012d", i);
	text_set(&job->vm_name, "web");
	text_set(&job->state, i % 3 ? "ACTIVE" : i % 2 ? "PENDING" : "PAUSED_ON_FAILURE");
	text_set(&job->boot_test, "off");
	text_setf(&job->base_point, "godwit-0123abcd-sms-run-%08d-01234567", i);
	text_set(&job->base_connector_id, "c-one");
	if (i < HELD) {
		text_setf(&job->active_run_id, "sms-run-%08d", i);
		text_set(&job->base_image_id, "ami-1");
	}
}

static void fill_run(struct run_row *run, int i)
{
	*run = (struct run_row){.sequence = 1, .token = i + 1};
	text_setf(&run->id, "sms-run-%08d", i);
	text_setf(&run->job_id, "sms-job-%08d", i);
	text_set(&run->state, "ACTIVE");
	text_set(&run->type, "AUTOMATIC");
	text_set(&run->stage, "Uploading");
	text_set(&run->connector_id, "c-one");
	text_setf(&run->point, "godwit-0123abcd-sms-run-%08d-76543210", i);
}

static void put_image(struct world *w)
{
	struct image_row image = {0};
	struct name digest;
	char hex[NAME_HEX_BYTES];
	name_of("disk", 4, &digest);
	name_hex(&digest, hex);
	text_set(&image.id, "ami-1");
	text_set(&image.job_id, JOB);
	text_set(&image.state, "available");
	for (int i = 0; i < DISKS; i++) {
		struct image_disk *d = list_push(&image.disks, sizeof *d);
		text_setf(&d->key, "disk-of-some-name-%d", i);
		text_set(&d->root, hex);
	}
	put(w, &meta_images, &image);
	shape_release(meta_images.shape, &image);
}

static void put_many(struct world *w)
{
	put_image(w);
	for (int square = 0; square < SQUARES; square++) {
		struct meta_tx *tx;
		assert_ok(meta_begin(w->s.meta, true, &tx, err));
		for (int i = square; i < JOBS; i += SQUARES) {
			struct job_row job;
			struct run_row run;
			fill_job(&job, i);
			assert_ok(meta_put(tx, &meta_jobs, &job, err));
			shape_release(meta_jobs.shape, &job);
			if (i >= HELD)
				continue;
			fill_run(&run, i);
			assert_ok(meta_put(tx, &meta_runs, &run, err));
			shape_release(meta_runs.shape, &run);
		}
		assert_ok(meta_end(tx, true, err));
	}
}

static int number_of(const char *point)
{
	return atoi(point + strlen("godwit-0123abcd-sms-run-"));
}

static void welcome_comes_in_parts(void **state)
{
	struct world *w = *state;
	struct door_hello hello = hello_of();
	struct door_welcome part = {0};
	uint8_t *held = xcalloc(1, JOBS), *points = xcalloc(1, JOBS);
	size_t held_count = 0, point_count = 0;
	int parts = 0;
	put_many(w);
	struct stream *s = dial(w, "c-one");
	say(s, DOOR_HELLO, &hello);
	for (bool last = false; !last; parts++) {
		hear(s, DOOR_WELCOME, &part);
		assert_string_equal(part.connector_id, "c-one");
		const struct door_work *h = part.held.items;
		const struct door_point *p = part.points.items;
		for (size_t i = 0; i < part.held.count; i++, held_count++) {
			assert_int_equal(h[i].bases.count, DISKS);
			assert_int_equal(h[i].token, number_of(h[i].point) + 1);
			held[number_of(h[i].point)]++;
		}
		for (size_t i = 0; i < part.points.count; i++, point_count++)
			points[number_of(p[i].point)]++;
		last = part.last;
		shape_release(&door_welcome_shape, &part);
	}
	assert_true(parts > 4);
	assert_int_equal(held_count, HELD);
	assert_int_equal(point_count, JOBS);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(held[i], i < HELD);
		assert_int_equal(points[i], 1);
	}
	settle(s); /* nothing came after the last */
	stream_close(s);
	free(held);
	free(points);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && strcmp(argv[1], "--intake") == 0)
		return copy_intake_main(3, argv[2], argv[3]);
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(enrolment, make, drop),
	    cmocka_unit_test_setup_teardown(strangers, make, drop),
	    cmocka_unit_test_setup_teardown(streams, make, drop),
	    cmocka_unit_test_setup_teardown(words_of_a_run_not_leased, make, drop),
	    cmocka_unit_test_setup_teardown(another_point_counts_as_read_again, make, drop),
	    cmocka_unit_test_setup_teardown(copied_needs_every_root_and_stays, make, drop),
	    cmocka_unit_test_setup_teardown(a_point_is_forgotten_once, make, drop),
	    cmocka_unit_test_setup_teardown(welcome_comes_in_parts, make, drop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
