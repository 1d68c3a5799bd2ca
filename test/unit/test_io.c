// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/file.h"
#include "io/process.h"
#include "io/stream.h"
#include "wire/door.h"
#include "wire/wire.h"

struct pair {
	struct stream *a, *b;
};

static void pair_open(struct pair *p)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p->a = stream_of_fd(fds[0]);
	p->b = stream_of_fd(fds[1]);
}

static void pair_close(struct pair *p)
{
	stream_close(p->a);
	stream_close(p->b);
}

static void frames_arrive_whole_and_in_order(void **state)
{
	(void)state;
	struct pair p;
	struct err e;
	struct door_run got;
	struct buf body = {0};
	uint16_t type;
	pair_open(&p);
	for (int64_t i = 0; i < 3; i++) {
		struct door_run run = {.run_id = (char *)"smsrun-1", .token = i};
		assert_ok(frame_write(p.a, DOOR_COPIED, &door_run_shape, &run, err));
	}
	assert_ok(frame_write(p.a, DOOR_FINISH, door_shape(DOOR_FINISH), NULL, err));
	for (int64_t i = 0; i < 3; i++) {
		assert_ok(frame_expect(p.b, DOOR_COPIED, &door_run_shape, &got, err));
		assert_int_equal(got.token, i);
		shape_release(&door_run_shape, &got);
	}
	assert_ok(frame_expect(p.b, DOOR_FINISH, door_shape(DOOR_FINISH), NULL, err));
	assert_int_equal(stream_wait(p.b, 0, &e), 0);
	stream_close(p.a);
	p.a = NULL;
	assert_int_equal(stream_wait(p.b, -1, &e), 1);
	assert_int_equal(frame_read(p.b, &type, &body, &e), 0);
	buf_release(&body);
	pair_close(&p);
}

static void a_fault_becomes_its_error(void **state)
{
	(void)state;
	struct pair p;
	struct err fault, e;
	struct door_ready ready;
	pair_open(&p);
	err_set(&fault, ERR_FULL, "the store is full");
	assert_ok(frame_fault(p.a, &fault, err));
	assert_int_equal(frame_expect(p.b, DOOR_READY, &door_ready_shape, &ready, &e), -1);
	assert_int_equal(e.kind, ERR_FULL);
	assert_string_equal(e.text, "the store is full");
	assert_ok(frame_write(p.a, DOOR_FINISH, door_shape(DOOR_FINISH), NULL, err));
	assert_int_equal(frame_expect(p.b, DOOR_READY, &door_ready_shape, &ready, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	pair_close(&p);
}

static void a_broken_stream_stays_broken(void **state)
{
	(void)state;
	struct pair p;
	struct err e, again;
	struct buf body = {0};
	uint16_t type;
	pair_open(&p);
	assert_ok(stream_write(p.a, "\xff\xff\xff\xff\x01\x00", 6, err));
	assert_int_equal(frame_read(p.b, &type, &body, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(stream_write(p.b, "x", 1, &again), -1);
	assert_string_equal(e.text, again.text);
	pair_close(&p);

	pair_open(&p); /* closed in the middle of a frame */
	assert_ok(stream_write(p.a, "\x09\x00\x00\x00\x01\x00zz", 8, err));
	stream_close(p.a);
	p.a = NULL;
	assert_int_equal(frame_read(p.b, &type, &body, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	pair_close(&p);
	buf_release(&body);
}

static void silence_and_shutdown_end_a_read(void **state)
{
	(void)state;
	struct pair p;
	struct err e;
	char byte;
	pair_open(&p);
	stream_set_timeout(p.a, 20);
	assert_int_equal(stream_read(p.a, &byte, 1, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	stream_shutdown(p.b);
	assert_int_equal(stream_read(p.b, &byte, 1, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	pair_close(&p);
}

static void *read_one(void *stream)
{
	char byte;
	struct err e;
	return (void *)(intptr_t)(stream_read(stream, &byte, 1, &e) < 0 ? e.kind : ERR_NONE);
}

static void shutdown_wakes_a_blocked_reader(void **state)
{
	(void)state;
	struct pair p;
	pthread_t thread;
	void *kind;
	pair_open(&p);
	assert_int_equal(pthread_create(&thread, NULL, read_one, p.a), 0);
	stream_shutdown(p.a);
	assert_int_equal(pthread_join(thread, &kind), 0);
	assert_int_equal((intptr_t)kind, ERR_UNAVAILABLE);
	pair_close(&p);
}

struct flood {
	struct stream *stream;
	int result;
};

static void *write_many(void *context)
{
	struct flood *f = context;
	uint8_t block[200000];
	memset(block, 7, sizeof block);
	for (int64_t i = 0; i < 20 && f->result == 0; i++) {
		struct door_chunk chunk = {
		    .region = 1, .index = i, .stored = {block, sizeof block}};
		f->result = frame_write(f->stream, DOOR_CHUNK, &door_chunk_shape, &chunk, NULL);
	}
	return NULL;
}

static void big_frames_go_both_ways_at_once(void **state)
{
	(void)state;
	struct pair p;
	pthread_t threads[2];
	pair_open(&p);
	struct flood floods[2] = {{p.a, 0}, {p.b, 0}};
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, &floods[i]), 0);
	for (int i = 0; i < 20; i++)
		for (int side = 0; side < 2; side++) {
			struct door_chunk chunk;
			assert_ok(frame_expect(side ? p.a : p.b, DOOR_CHUNK, &door_chunk_shape,
					       &chunk, err));
			assert_int_equal(chunk.index, i);
			assert_int_equal(chunk.stored.len, 200000);
			shape_release(&door_chunk_shape, &chunk);
		}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(floods[i].result, 0);
	}
	pair_close(&p);
}

static void what_is_out_of_bounds_is_not_sent(void **state)
{
	(void)state;
	struct pair p;
	struct err e;
	char *name = xasprintf("%*s", LIMIT_NAME_BYTES + 1, "x");
	struct door_enrol enrol = {.name = name};
	pair_open(&p);
	assert_int_equal(frame_write(p.a, DOOR_ENROL, &door_enrol_shape, &enrol, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	enrol.name = (char *)"\xff";
	assert_int_equal(frame_write(p.a, DOOR_ENROL, &door_enrol_shape, &enrol, &e), -1);
	enrol.name = (char *)"web";
	assert_ok(frame_write(p.a, DOOR_ENROL, &door_enrol_shape, &enrol, err));
	pair_close(&p);
	free(name);
}

static char *scratch(void)
{
	char *dir = xstrdup("/tmp/godwit-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return dir;
}

static void files_are_replaced_whole(void **state)
{
	(void)state;
	struct buf got = {0};
	struct err e;
	struct stat st;
	char *dir = scratch(), *deep = xasprintf("%s/a/b//c", dir);
	char *path = xasprintf("%s/key", deep), *link = xasprintf("%s/link", deep);
	assert_ok(file_make_dirs(deep, 0700, err));
	assert_ok(file_make_dirs(deep, 0700, err));
	assert_ok(file_write(path, "old", 3, 0600, err));
	assert_ok(file_write(path, "newer", 5, 0640, err));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(file_read(path, 4, &got, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(got.len, 0);
	assert_ok(file_read(path, 5, &got, err));
	assert_string_equal(buf_str(&got), "newer");
	assert_int_equal(file_read("/nonexistent", 5, &got, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(file_make_dirs(path, 0700, &e), -1);

	/* A link is removed, not followed. */
	assert_int_equal(symlink("/etc", link), 0);
	assert_ok(file_remove_tree(dir, err));
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
	assert_ok(file_remove_tree(dir, err));

	uint64_t free_bytes, total;
	assert_ok(file_space("/tmp", &free_bytes, &total, err));
	assert_true(free_bytes <= total && total > 0);
	buf_release(&got);
	free(dir);
	free(deep);
	free(path);
	free(link);
}

static void offsets_are_read_and_written(void **state)
{
	(void)state;
	struct err e;
	char got[4];
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_ok(fd_write_at(fd, "abcd", 4, 100, err));
	assert_ok(fd_read_at(fd, got, 4, 100, err));
	assert_memory_equal(got, "abcd", 4);
	assert_int_equal(fd_read_at(fd, got, 4, 101, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
	close(fd);
}

#define RUN(out, e, ...)                                                                           \
	process_run(&(struct process_plan){.argv = (const char *const[]){__VA_ARGS__, NULL}}, -1,  \
		    1000, out, e)

static void programs_run_to_their_end(void **state)
{
	(void)state;
	struct buf out = {0};
	struct err e;
	assert_ok(RUN(&out, err, "echo", "it is", "so"));
	assert_string_equal(buf_str(&out), "it is so\n");
	assert_int_equal(RUN(NULL, &e, "sh", "-c", "echo one >&2; echo 'the why' >&2; exit 3"), -1);
	assert_int_equal(e.kind, ERR_IO);
	assert_string_equal(e.text, "'sh' failed with status 3: the why");
	assert_int_equal(RUN(NULL, &e, "no-such-program"), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "no-such-program"));
	assert_int_equal(RUN(NULL, &e, "/etc/passwd"), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(RUN(&out, &e, "yes"), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	buf_release(&out);

	const char *const sleep[] = {"sleep", "1000", NULL};
	assert_int_equal(process_run(&(struct process_plan){.argv = sleep}, 50, 0, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
}

static void a_child_has_only_what_it_was_given(void **state)
{
	(void)state;
	struct buf out = {0};
	int kept = open("/dev/zero", O_RDONLY); /* not close-on-exec, on purpose */
	const char *const argv[] = {"sh", "-c", "ls /proc/$$/fd; env | sort | cut -d= -f1", NULL};
	const char *const env[] = {"EXTRA=1", NULL};
	struct process_fd fds[] = {{kept, 5}};
	struct process_plan plan = {.argv = argv, .env = env, .fds = fds, .fd_count = 1};
	setenv("GODWIT_TEST", "1", 1);
	setenv("SECRET", "1", 1);
	assert_ok(process_run(&plan, -1, 1000, &out, err));
	assert_string_equal(buf_str(&out), "0\n1\n2\n5\nEXTRA\nGODWIT_TEST\nLANG\nPATH\nPWD\n");
	buf_release(&out);
	close(kept);
}

static void crossed_descriptors_are_sorted_out(void **state)
{
	(void)state;
	struct buf out = {0};
	int a[2], b[2];
	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	assert_int_equal(write(a[1], "A\n", 2), 2);
	assert_int_equal(write(b[1], "B\n", 2), 2);
	const char *const argv[] = {"bash", "-c", "read -u $0 x; read -u $1 y; echo $x$y",
				    NULL,   NULL, NULL};
	char first[16], second[16];
	const char *full[6];
	memcpy(full, argv, sizeof argv);
	snprintf(first, sizeof first, "%d", a[0]);
	snprintf(second, sizeof second, "%d", b[0]);
	full[3] = first;
	full[4] = second;
	struct process_fd fds[] = {{a[0], b[0]}, {b[0], a[0]}};
	struct process_plan plan = {.argv = full, .fds = fds, .fd_count = 2};
	assert_ok(process_run(&plan, -1, 1000, &out, err));
	assert_string_equal(buf_str(&out), "BA\n");
	buf_release(&out);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void a_process_is_waited_for_and_stopped(void **state)
{
	(void)state;
	pid_t pid;
	int status;
	struct err e;
	const char *const argv[] = {"sleep", "1000", NULL};
	struct process_plan plan = {.argv = argv};
	assert_ok(process_start(&plan, &pid, err));
	assert_int_equal(process_wait(pid, 0, &status, &e), 0);
	assert_int_equal(process_wait(pid, 10, &status, &e), 0);
	process_stop(pid, 5000);
	assert_int_equal(waitpid(pid, NULL, 0), -1);

	const char *const stubborn[] = {"sh", "-c", "trap '' TERM; echo; exec sleep 1000", NULL};
	int ready[2];
	char byte;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	struct process_fd fds[] = {{ready[1], 1}};
	plan = (struct process_plan){.argv = stubborn, .fds = fds, .fd_count = 1};
	assert_ok(process_start(&plan, &pid, err));
	assert_int_equal(read(ready[0], &byte, 1), 1);
	process_stop(pid, 20);
	assert_int_equal(waitpid(pid, NULL, 0), -1);
	close(ready[0]);
	close(ready[1]);
}

static void a_child_without_network_has_loopback_alone(void **state)
{
	(void)state;
	struct buf out = {0};
	const char *const argv[] = {"sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1", NULL};
	struct process_plan plan = {.argv = argv, .no_network = true};
	struct err e;
	if (process_run(&plan, -1, 1000, &out, &e) < 0) {
		assert_non_null(strstr(e.text, "network namespace"));
		print_message("no network namespaces here: %s\n", e.text);
		buf_release(&out);
		skip();
	}
	assert_string_equal(buf_str(&out), "    lo\n");
	buf_release(&out);
}

static void descriptors_pass(void **state)
{
	(void)state;
	int sockets[2], sent[2], got[4];
	unsigned count;
	char data[8], byte;
	struct err e;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	assert_int_equal(pipe2(sent, O_CLOEXEC), 0);
	assert_ok(fd_send(sockets[0], "pipe", 4, sent, 2, err));
	assert_int_equal(fd_receive(sockets[1], data, sizeof data, got, &count, &e), 4);
	assert_memory_equal(data, "pipe", 4);
	assert_int_equal(count, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(sent[0], &byte, 1), 1);
	close(sockets[0]);
	assert_int_equal(fd_receive(sockets[1], data, sizeof data, got + 2, &count, &e), 0);
	assert_int_equal(count, 0);
	close(sockets[1]);
	for (int i = 0; i < 2; i++) {
		close(sent[i]);
		close(got[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_arrive_whole_and_in_order),
	    cmocka_unit_test(a_fault_becomes_its_error),
	    cmocka_unit_test(a_broken_stream_stays_broken),
	    cmocka_unit_test(silence_and_shutdown_end_a_read),
	    cmocka_unit_test(shutdown_wakes_a_blocked_reader),
	    cmocka_unit_test(big_frames_go_both_ways_at_once),
	    cmocka_unit_test(what_is_out_of_bounds_is_not_sent),
	    cmocka_unit_test(files_are_replaced_whole),
	    cmocka_unit_test(offsets_are_read_and_written),
	    cmocka_unit_test(programs_run_to_their_end),
	    cmocka_unit_test(a_child_has_only_what_it_was_given),
	    cmocka_unit_test(crossed_descriptors_are_sorted_out),
	    cmocka_unit_test(a_process_is_waited_for_and_stopped),
	    cmocka_unit_test(a_child_without_network_has_loopback_alone),
	    cmocka_unit_test(descriptors_pass),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
