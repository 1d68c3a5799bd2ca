// SPDX-License-Identifier: Apache-2.0
#include "io/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "io/stream_engine.h"
#include "wire/door.h"
#include "wire/wire.h"

struct stream {
	int fd;
	int wake; /* eventfd, readable once the stream was shut down */
	const struct stream_engine *engine;
	void *self;
	int64_t timeout_ms;

	pthread_mutex_t writing; /* held for a whole write, so that frames do not mix */
	pthread_mutex_t lock;	 /* of `failed` */
	struct err failed;	 /* kind not ERR_NONE: the error that sticks */
};

/* --- over a plain descriptor --- */

struct plain {
	int fd;
	bool socket;
};

static ssize_t plain_result(ssize_t n, short events, short *events_out, struct err *e)
{
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR) {
		*events_out = events;
		return ENGINE_AGAIN;
	}
	return err_errno(e, errno, "the connection to the other side was lost");
}

/* A pipe is asked whether it would block, because its blocking is shared with other holders. */
static bool pipe_would_block(const struct plain *p, short events)
{
	struct pollfd pfd = {p->fd, events, 0};
	return !p->socket && poll(&pfd, 1, 0) == 0;
}

static ssize_t plain_read(void *self, void *to, size_t n, short *events, struct err *e)
{
	struct plain *p = self;
	*events = POLLIN;
	if (pipe_would_block(p, POLLIN))
		return ENGINE_AGAIN;
	ssize_t got = p->socket ? recv(p->fd, to, n, MSG_DONTWAIT) : read(p->fd, to, n);
	return plain_result(got, POLLIN, events, e);
}

static ssize_t plain_write(void *self, const void *from, size_t n, short *events, struct err *e)
{
	struct plain *p = self;
	*events = POLLOUT;
	if (pipe_would_block(p, POLLOUT))
		return ENGINE_AGAIN;
	ssize_t put = p->socket ? send(p->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL)
				: write(p->fd, from, n < PIPE_BUF ? n : PIPE_BUF);
	return plain_result(put, POLLOUT, events, e);
}

static ssize_t plain_ready(void *self, short *events, struct err *e)
{
	struct plain *p = self;
	struct pollfd pfd = {p->fd, POLLIN, 0};
	*events = POLLIN;
	int n = poll(&pfd, 1, 0);
	if (n < 0 && errno != EINTR)
		return err_errno(e, errno, "cannot wait for the other side");
	return n > 0 ? 1 : ENGINE_AGAIN;
}

static void plain_close(void *self)
{
	free(self);
}

static const struct stream_engine plain_engine = {
    .read = plain_read,
    .write = plain_write,
    .ready = plain_ready,
    .close = plain_close,
};

/* --- the stream --- */

struct stream *stream_of_engine(int fd, const struct stream_engine *engine, void *self)
{
	struct stream *s = xcalloc(1, sizeof *s);
	s->fd = fd;
	s->engine = engine;
	s->self = self;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->writing, NULL);
	if (s->wake < 0)
		err_errno(&s->failed, errno, "cannot prepare a connection");
	return s;
}

struct stream *stream_of_fd(int fd)
{
	struct stat st;
	struct plain *p = xcalloc(1, sizeof *p);
	p->fd = fd;
	p->socket = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	return stream_of_engine(fd, &plain_engine, p);
}

void *stream_engine_of(const struct stream *s, const struct stream_engine *engine)
{
	return s->engine == engine ? s->self : NULL;
}

void stream_close(struct stream *s)
{
	if (!s)
		return;
	s->engine->close(s->self);
	close(s->fd);
	if (s->wake >= 0)
		close(s->wake);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->writing);
	free(s);
}

int stream_fd(const struct stream *s)
{
	return s->fd;
}

void stream_set_timeout(struct stream *s, int64_t ms)
{
	s->timeout_ms = ms;
}

static int check_failed(struct stream *s, struct err *e)
{
	pthread_mutex_lock(&s->lock);
	bool failed = s->failed.kind != ERR_NONE;
	if (failed && e)
		*e = s->failed;
	pthread_mutex_unlock(&s->lock);
	return failed ? -1 : 0;
}

/* Make the error stick unless an earlier one did; that one is what the caller gets. */
static int fail(struct stream *s, const struct err *why, struct err *e)
{
	pthread_mutex_lock(&s->lock);
	if (s->failed.kind == ERR_NONE)
		s->failed = *why;
	pthread_mutex_unlock(&s->lock);
	return check_failed(s, e);
}

void stream_shutdown(struct stream *s)
{
	struct err why;
	err_set(&why, ERR_UNAVAILABLE, "the connection was shut down on this side");
	fail(s, &why, NULL);
	eventfd_write(s->wake, 1);
	shutdown(s->fd, SHUT_RDWR); /* a pipe refuses, which does not matter */
}

static int poll_until(struct pollfd *fds, nfds_t count, int64_t ms, struct err *e)
{
	int64_t end = clock_mono_ms() + ms;
	for (;;) {
		int64_t left = ms < 0 ? -1 : end - clock_mono_ms();
		int wait = left < 0 ? (ms < 0 ? -1 : 0) : left > INT_MAX ? INT_MAX : (int)left;
		int n = poll(fds, count, wait);
		if (n > 0)
			return 1;
		if (n < 0 && errno != EINTR)
			return err_errno(e, errno, "cannot wait for the other side");
		if (ms >= 0 && clock_mono_ms() >= end)
			return 0;
	}
}

int fd_poll(int fd, short events, int64_t ms, struct err *e)
{
	struct pollfd pfd = {fd, events, 0};
	return poll_until(&pfd, 1, ms, e);
}

/* 1: try again, 0 after `ms`, -1. */
static int wait_for(struct stream *s, short events, int64_t ms, struct err *e)
{
	struct pollfd fds[] = {{s->fd, events, 0}, {s->wake, POLLIN, 0}};
	int n = poll_until(fds, 2, ms, e);
	return check_failed(s, e) < 0 ? -1 : n;
}

/* After ENGINE_AGAIN: wait, and give up when nothing moves. */
static int wait_to_move(struct stream *s, short events, struct err *e)
{
	struct err why = {0};
	int n = wait_for(s, events, s->timeout_ms ? s->timeout_ms : -1, &why);
	if (n > 0)
		return 0;
	if (n == 0)
		err_set(&why, ERR_UNAVAILABLE, "the other side did nothing for %" PRId64 " s",
			(s->timeout_ms + 999) / 1000);
	return fail(s, &why, e);
}

int stream_wait(struct stream *s, int64_t ms, struct err *e)
{
	int64_t end = clock_mono_ms() + ms;
	for (;;) {
		struct err why = {0};
		short events;
		if (check_failed(s, e) < 0)
			return -1;
		ssize_t n = s->engine->ready(s->self, &events, &why);
		if (n == 1)
			return 1;
		if (n == ENGINE_FAILED)
			return fail(s, &why, e);
		int64_t left = ms < 0 ? -1 : end - clock_mono_ms();
		if (ms >= 0 && left < 0)
			left = 0;
		int woke = wait_for(s, events, left, &why);
		if (woke < 0)
			return fail(s, &why, e);
		if (woke == 0)
			return 0;
	}
}

int stream_read_some(struct stream *s, void *to, size_t n, struct err *e)
{
	if (n > INT_MAX)
		n = INT_MAX;
	for (;;) {
		struct err why = {0};
		short events;
		if (check_failed(s, e) < 0)
			return -1;
		ssize_t got = s->engine->read(s->self, to, n, &events, &why);
		if (got >= 0)
			return check_failed(s, e) < 0 ? -1 : (int)got;
		if (got == ENGINE_FAILED)
			return fail(s, &why, e);
		if (wait_to_move(s, events, e) < 0)
			return -1;
	}
}

/* As stream_read, but a close before the first byte is 0, else 1. */
static int read_or_end(struct stream *s, void *to, size_t n, struct err *e)
{
	size_t have = 0;
	while (have < n) {
		int got = stream_read_some(s, (char *)to + have, n - have, e);
		if (got < 0)
			return -1;
		if (got == 0 && have == 0)
			return 0;
		if (got == 0) {
			struct err why;
			err_set(&why, ERR_UNAVAILABLE,
				"the other side closed the connection in the middle of a message");
			return fail(s, &why, e);
		}
		have += (size_t)got;
	}
	return 1;
}

int stream_read(struct stream *s, void *to, size_t n, struct err *e)
{
	if (n == 0)
		return 0;
	int got = read_or_end(s, to, n, e);
	if (got == 0) {
		struct err why;
		err_set(&why, ERR_UNAVAILABLE, "the other side closed the connection");
		return fail(s, &why, e);
	}
	return got < 0 ? -1 : 0;
}

static int write_all(struct stream *s, const char *from, size_t n, struct err *e)
{
	while (n) {
		struct err why = {0};
		short events;
		if (check_failed(s, e) < 0)
			return -1;
		ssize_t put = s->engine->write(s->self, from, n, &events, &why);
		if (put == ENGINE_FAILED)
			return fail(s, &why, e);
		if (put == ENGINE_AGAIN) {
			if (wait_to_move(s, events, e) < 0)
				return -1;
			continue;
		}
		from += put;
		n -= (size_t)put;
	}
	return 0;
}

int stream_write(struct stream *s, const void *from, size_t n, struct err *e)
{
	pthread_mutex_lock(&s->writing);
	int result = write_all(s, from, n, e);
	pthread_mutex_unlock(&s->writing);
	return result;
}

/* --- frames --- */

int frame_read(struct stream *s, uint16_t *type, struct buf *body, struct err *e)
{
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t length;
	struct err why = {0};
	int got = read_or_end(s, header, sizeof header, e);
	if (got <= 0)
		return got;
	if (wire_frame_header(header, &length, type, &why) < 0)
		return fail(s, &why, e);
	buf_clear(body);
	buf_reserve(body, length);
	if (stream_read(s, body->data, length, e) < 0)
		return -1;
	body->len = length;
	body->data[length] = '\0';
	return 1;
}

int frame_write(struct stream *s, uint16_t type, const struct shape *shape, const void *object,
		struct err *e)
{
	struct buf frame = {0};
	int result = -1;
	if (wire_check(shape, object, e) < 0)
		return -1;
	wire_frame_begin(&frame);
	wire_encode(shape, object, &frame);
	if (frame.len - FRAME_HEADER_BYTES > LIMIT_FRAME_BYTES) {
		err_set(e, ERR_INVALID, "a message '%s' of %zu bytes; at most %llu are allowed",
			door_word(type), frame.len - FRAME_HEADER_BYTES, LIMIT_FRAME_BYTES);
	} else {
		wire_frame_end(&frame, 0, type);
		result = stream_write(s, frame.data, frame.len, e);
	}
	buf_release(&frame);
	return result;
}

static int received_fault(const struct buf *body, struct err *e)
{
	struct door_fault fault;
	if (wire_decode(&door_fault_shape, body->data, body->len, &fault, e) < 0)
		return -1;
	enum err_kind kind = err_kind_from_word(fault.kind ? fault.kind : "");
	err_set(e, kind == ERR_NONE ? ERR_IO : kind, "%s",
		fault.text ? fault.text : "the other side gave no reason");
	shape_release(&door_fault_shape, &fault);
	return -1;
}

int frame_expect(struct stream *s, uint16_t type, const struct shape *shape, void *object,
		 struct err *e)
{
	struct buf body = {0};
	uint16_t got_type;
	int result = -1;
	int got = frame_read(s, &got_type, &body, e);
	if (got < 0)
		goto out;
	if (got == 0)
		err_set(e, ERR_UNAVAILABLE,
			"the other side closed the connection where '%s' should have come",
			door_word(type));
	else if (got_type == DOOR_FAULT && type != DOOR_FAULT)
		received_fault(&body, e);
	else if (got_type != type)
		err_set(e, ERR_INVALID, "the other side sent '%s' (%u) where '%s' should have come",
			door_word(got_type), got_type, door_word(type));
	else
		result = wire_decode(shape, body.data, body.len, object, e);
out:
	buf_release(&body);
	return result;
}

int frame_fault(struct stream *s, const struct err *fault, struct err *e)
{
	/* A sentence is cut where a character begins, and its bytes may have come from anywhere. */
	struct door_fault message = {.kind = (char *)err_kind_word(fault->kind)};
	char text[LIMIT_SENTENCE_BYTES];
	snprintf(text, sizeof text, "%s", fault->text);
	text[utf8_valid(text, strlen(text))] = '\0';
	message.text = text;
	return frame_write(s, DOOR_FAULT, &door_fault_shape, &message, e);
}
