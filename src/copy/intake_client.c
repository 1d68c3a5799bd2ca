// SPDX-License-Identifier: Apache-2.0
/* The service's side of the intake. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "copy/intake.h"
#include "copy/intake_wire.h"
#include "io/process.h"
#include "wire/wire.h"

#define CONTROL_FD 3
#define STOP_MS	   10000

/* A stream the intake has and has not told the end of. */
struct taken {
	char *stream_id, *run_id;
	int64_t number;
};

struct intake {
	char *program, *store_where, *journal_dir;
	intake_note_fn *note;
	void *context;

	pthread_mutex_t asking; /* one request at a time; also starting and stopping */
	bool has_reader;
	pthread_t reader;
	int64_t last_request;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	bool alive;
	pid_t pid;
	int fd;
	bool answered;
	int64_t waits_for; /* number of the request in flight; 0: INTAKE_OPENED */
	struct intake_answer answer;
	bool collecting, collect_ended;
	struct intake_collected collected; /* how the last one ended */
	struct taken *taken;
	size_t taken_count, taken_cap;
};

/* --- the reader thread --- */

static void taken_forget(struct intake *k, const char *stream_id)
{
	for (size_t i = 0; i < k->taken_count; i++) {
		if (!text_equal(k->taken[i].stream_id, stream_id))
			continue;
		free(k->taken[i].stream_id);
		free(k->taken[i].run_id);
		k->taken[i] = k->taken[--k->taken_count];
		return;
	}
}

static int read_answer(struct intake *k, uint16_t type, const struct buf *body, struct err *e)
{
	struct intake_answer a;

	if (wire_decode(&intake_answer_shape, body->data, body->len, &a, e))
		return -1;
	pthread_mutex_lock(&k->lock);
	if (a.request == k->waits_for && (type == INTAKE_OPENED) == (k->waits_for == 0) &&
	    !k->answered) {
		k->answer = a;
		a = (struct intake_answer){0};
		k->answered = true;
		pthread_cond_broadcast(&k->changed);
	}
	pthread_mutex_unlock(&k->lock);
	shape_release(&intake_answer_shape, &a);
	return 0;
}

static int read_note(struct intake *k, uint16_t type, const struct buf *body, struct err *e)
{
	struct intake_note note;

	if (wire_decode(&intake_note_shape, body->data, body->len, &note, e))
		return -1;
	if (type == INTAKE_ENDED) {
		pthread_mutex_lock(&k->lock);
		taken_forget(k, note.stream_id);
		pthread_mutex_unlock(&k->lock);
	}
	k->note(k->context, type, &note);
	shape_release(&intake_note_shape, &note);
	return 0;
}

static void take_collected(struct intake *k, struct intake_collected *how)
{
	pthread_mutex_lock(&k->lock);
	shape_release(&intake_collected_shape, &k->collected);
	k->collected = *how;
	k->collecting = false;
	k->collect_ended = true;
	pthread_mutex_unlock(&k->lock);
}

static int read_collected(struct intake *k, const struct buf *body, struct err *e)
{
	struct intake_collected how;

	if (wire_decode(&intake_collected_shape, body->data, body->len, &how, e))
		return -1;
	take_collected(k, &how);
	return 0;
}

static int read_one(struct intake *k, uint16_t type, const struct buf *body, struct err *e)
{
	switch (type) {
	case INTAKE_OPENED:
	case INTAKE_ANSWER: return read_answer(k, type, body, e);
	case INTAKE_COLLECTED: return read_collected(k, body, e);
	case INTAKE_PROGRESS:
	case INTAKE_FINISHED:
	case INTAKE_ENDED: return read_note(k, type, body, e);
	default: return err_set(e, ERR_INVALID, "the intake sent message %u", type);
	}
}

/* Every stream it had ends, as far as the service is concerned. */
static void tell_all_ended(struct intake *k)
{
	for (;;) {
		struct intake_note note = {0};

		pthread_mutex_lock(&k->lock);
		if (k->taken_count) {
			struct taken *t = &k->taken[--k->taken_count];

			note.stream_id = t->stream_id;
			note.run_id = t->run_id;
			note.number = t->number;
		}
		pthread_mutex_unlock(&k->lock);
		if (!note.stream_id)
			return;
		text_set(&note.kind, err_kind_word(ERR_UNAVAILABLE));
		text_set(&note.text, "the intake process ended; the copy resumes where it was");
		k->note(k->context, INTAKE_ENDED, &note);
		shape_release(&intake_note_shape, &note);
	}
}

static void *read_all(void *context)
{
	struct intake *k = context;
	struct buf body = {0};
	uint16_t type;
	int fd, socket = k->fd;
	pid_t pid = k->pid;

	while (intake_receive(socket, &type, &body, &fd, NULL) > 0) {
		if (fd >= 0)
			close(fd);
		if (read_one(k, type, &body, NULL))
			break;
	}
	buf_release(&body);
	pthread_mutex_lock(&k->lock);
	k->alive = false;
	close(k->fd);
	k->fd = -1;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
	process_stop(pid, STOP_MS);
	if (k->collecting) {
		struct intake_collected how = {0};

		text_set(&how.kind, err_kind_word(ERR_UNAVAILABLE));
		text_set(&how.text, "the intake process ended; the next collection goes on");
		take_collected(k, &how);
	}
	tell_all_ended(k);
	return NULL;
}

/* --- starting --- */

/* Wait for the answer in flight; under the lock. */
static int wait_answer(struct intake *k, struct intake_answer *out, struct err *e)
{
	while (!k->answered && k->alive)
		pthread_cond_wait(&k->changed, &k->lock);
	if (!k->answered)
		return err_set(e, ERR_UNAVAILABLE, "the intake process ended; try again");
	*out = k->answer;
	k->answer = (struct intake_answer){0};
	if (out->kind) {
		err_set(e, err_kind_from_word(out->kind), "%s", out->text ? out->text : "");
		shape_release(&intake_answer_shape, out);
		return -1;
	}
	return 0;
}

static int spawn(struct intake *k, struct err *e)
{
	const char *argv[] = {k->program, "--intake", k->store_where, k->journal_dir, NULL};
	int pair[2];
	struct process_fd fds[] = {{.to = CONTROL_FD},
				   {.from = STDERR_FILENO, .to = STDERR_FILENO}};
	struct process_plan plan = {.argv = argv, .fds = fds, .fd_count = COUNT_OF(fds)};
	char **environment;
	int result;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_errno(e, errno, "cannot make a socket for the intake");
	fds[0].from = pair[1];
	environment = store_environment(k->store_where);
	plan.env = (const char *const *)environment;
	result = process_start(&plan, &k->pid, e);
	store_environment_free(environment);
	if (result) {
		close(pair[0]);
		close(pair[1]);
		return -1;
	}
	close(pair[1]);
	k->fd = pair[0];
	return 0;
}

/* Start the process unless it runs; with `asking` held. */
static int ensure(struct intake *k, struct err *e)
{
	struct intake_answer opened;
	int number, result;

	pthread_mutex_lock(&k->lock);
	result = k->alive;
	pthread_mutex_unlock(&k->lock);
	if (result)
		return 0;
	if (k->has_reader)
		pthread_join(k->reader, NULL);
	k->has_reader = false;
	if (spawn(k, e))
		return -1;
	k->alive = true;
	k->answered = false;
	k->waits_for = 0;
	number = pthread_create(&k->reader, NULL, read_all, k);
	if (number) {
		k->alive = false;
		close(k->fd);
		k->fd = -1;
		process_stop(k->pid, STOP_MS);
		return err_errno(e, number, "cannot start a thread for the intake");
	}
	k->has_reader = true;
	pthread_mutex_lock(&k->lock);
	result = wait_answer(k, &opened, e);
	pthread_mutex_unlock(&k->lock);
	if (result)
		return err_prefix(e, "the intake cannot start");
	shape_release(&intake_answer_shape, &opened);
	return 0;
}

int intake_start(const char *program, const char *store_where, const char *journal_dir,
		 intake_note_fn *note, void *context, struct intake **out, struct err *e)
{
	struct intake *k = xcalloc(1, sizeof *k);
	int result;

	k->program = xstrdup(program);
	k->store_where = xstrdup(store_where);
	k->journal_dir = xstrdup(journal_dir);
	k->note = note;
	k->context = context;
	k->fd = -1;
	pthread_mutex_init(&k->asking, NULL);
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->changed, NULL);
	pthread_mutex_lock(&k->asking);
	result = ensure(k, e);
	pthread_mutex_unlock(&k->asking);
	if (result) {
		intake_stop(k);
		return -1;
	}
	*out = k;
	return 0;
}

void intake_stop(struct intake *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->asking);
	pthread_mutex_lock(&k->lock);
	if (k->alive)
		shutdown(k->fd, SHUT_RDWR); /* it commits and exits; the reader reaps it */
	pthread_mutex_unlock(&k->lock);
	if (k->has_reader)
		pthread_join(k->reader, NULL);
	pthread_mutex_unlock(&k->asking);
	pthread_mutex_destroy(&k->asking);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->changed);
	shape_release(&intake_answer_shape, &k->answer);
	free(k->taken);
	free(k->program);
	free(k->store_where);
	free(k->journal_dir);
	free(k);
}

/* --- requests --- */

/* Send and wait; `number` is where the object keeps its request's number. With `asking` held. */
static int ask(struct intake *k, enum intake_type type, const struct shape *shape, void *object,
	       int64_t *number, int fd, struct intake_answer *answer, struct err *e)
{
	int result;

	*number = ++k->last_request;
	pthread_mutex_lock(&k->lock);
	k->answered = false;
	k->waits_for = *number;
	result = k->alive ? intake_send(k->fd, type, shape, object, fd, e)
			  : err_set(e, ERR_UNAVAILABLE, "the intake process ended; try again");
	if (result == 0)
		result = wait_answer(k, answer, e);
	pthread_mutex_unlock(&k->lock);
	return result;
}

static int request(struct intake *k, enum intake_type type, const char *text, const void *data,
		   size_t n, struct intake_answer *answer, struct err *e)
{
	struct intake_request m = {0};
	int result;

	text_set(&m.text, text);
	if (n)
		bytes_set(&m.data, data, n);
	pthread_mutex_lock(&k->asking);
	result = ensure(k, e);
	if (result == 0)
		result = ask(k, type, &intake_request_shape, &m, &m.request, -1, answer, e);
	pthread_mutex_unlock(&k->asking);
	shape_release(&intake_request_shape, &m);
	return result;
}

int intake_stream(struct intake *k, const struct intake_job *job, int fd, struct err *e)
{
	struct intake_answer answer = {0};
	struct intake_job own;
	struct taken *t;
	int result;

	shape_copy(&intake_job_shape, &own, job);
	pthread_mutex_lock(&k->asking);
	result = ensure(k, e);
	if (result == 0) {
		/* Listed before it is sent: its end may be told before the answer is seen. */
		pthread_mutex_lock(&k->lock);
		VEC_GROW(k->taken, k->taken_count, k->taken_cap);
		t = &k->taken[k->taken_count++];
		*t = (struct taken){.stream_id = xstrdup(own.stream_id ? own.stream_id : ""),
				    .run_id = xstrdup(own.run_id),
				    .number = own.number};
		pthread_mutex_unlock(&k->lock);
		result = ask(k, INTAKE_STREAM, &intake_job_shape, &own, &own.request, fd, &answer,
			     e);
		if (result) {
			pthread_mutex_lock(&k->lock);
			taken_forget(k, own.stream_id ? own.stream_id : "");
			pthread_mutex_unlock(&k->lock);
		}
	}
	pthread_mutex_unlock(&k->asking);
	close(fd);
	shape_release(&intake_answer_shape, &answer);
	shape_release(&intake_job_shape, &own);
	return result;
}

int intake_cancel(struct intake *k, const char *stream_id, struct err *e)
{
	struct intake_answer answer = {0};
	int result = request(k, INTAKE_CANCEL, stream_id, NULL, 0, &answer, e);

	shape_release(&intake_answer_shape, &answer);
	return result;
}

int intake_ref_set(struct intake *k, const char *ref, const void *data, size_t n, struct err *e)
{
	struct intake_answer answer = {0};
	int result;

	if (data && n == 0)
		return err_set(e, ERR_INVALID, "the reference %s is empty", ref);
	result = request(k, INTAKE_REF, ref, data, data ? n : 0, &answer, e);
	shape_release(&intake_answer_shape, &answer);
	return result;
}

int intake_space(struct intake *k, struct store_space *space, struct err *e)
{
	struct intake_answer answer = {0};

	if (request(k, INTAKE_SPACE, NULL, NULL, 0, &answer, e))
		return -1;
	*space = (struct store_space){.stored_bytes = (uint64_t)answer.stored_bytes,
				      .free_bytes = (uint64_t)answer.free_bytes,
				      .total_bytes = (uint64_t)answer.total_bytes};
	shape_release(&intake_answer_shape, &answer);
	return 0;
}

/* Notes and answers come over one socket and are read by one thread: what was sent before an answer
 * was told before it. */
int intake_settle(struct intake *k, struct err *e)
{
	struct store_space space;

	return intake_space(k, &space, e);
}

int intake_collect(struct intake *k, struct err *e)
{
	struct intake_answer answer = {0};
	int result;

	/* Before the answer comes it may have ended. */
	pthread_mutex_lock(&k->lock);
	bool was = k->collecting;
	k->collecting = true;
	pthread_mutex_unlock(&k->lock);
	result = request(k, INTAKE_COLLECT, NULL, NULL, 0, &answer, e);
	if (result < 0 && !was) {
		pthread_mutex_lock(&k->lock);
		k->collecting = false;
		pthread_mutex_unlock(&k->lock);
	}
	shape_release(&intake_answer_shape, &answer);
	return result;
}

int intake_collect_ended(struct intake *k, struct intake_collected *out)
{
	int ended;

	pthread_mutex_lock(&k->lock);
	ended = k->collect_ended;
	if (ended) {
		*out = k->collected;
		k->collected = (struct intake_collected){0};
		k->collect_ended = false;
	}
	pthread_mutex_unlock(&k->lock);
	return ended;
}

int intake_forget(struct intake *k, const char *run_id, struct err *e)
{
	struct intake_answer answer = {0};
	int result = request(k, INTAKE_FORGET, run_id, NULL, 0, &answer, e);

	shape_release(&intake_answer_shape, &answer);
	return result;
}
