// SPDX-License-Identifier: Apache-2.0
#include "guest/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

#define LINE_MAX_BYTES	  (1u << 20)
#define ANSWER_TIMEOUT_MS 30000

struct qmp {
	int fd;
	struct buf in; /* received, not yet taken */
	qmp_event_fn *on_event;
	void *context;
};

int unix_connect(const char *path, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t room = sizeof address.sun_path;
	int fd;

	if ((size_t)snprintf(address.sun_path, room, "%s", path) >= room)
		return err_set(e, ERR_INVALID,
			       "the path '%s…' is longer than the %zu bytes that a unix socket "
			       "allows; use a shorter scratch folder",
			       address.sun_path, room - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		err_errno(e, errno, "cannot connect to '%s'", path);
		close(fd);
		return -1;
	}
	return fd;
}

/* Receive what is there. 0 also when nothing was, -1 when the socket is closed. */
static int receive(struct qmp *q, struct err *e)
{
	for (;;) {
		ssize_t n;

		if (q->in.len > LINE_MAX_BYTES)
			return err_set(e, ERR_IO, "QEMU's monitor sent an endless line");
		buf_reserve(&q->in, 65536);
		n = recv(q->fd, q->in.data + q->in.len, 65535, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return err_set(e, ERR_UNAVAILABLE, "QEMU closed its monitor");
		q->in.len += (size_t)n;
		q->in.data[q->in.len] = 0;
	}
}

/* Take a message out of what was received; NULL when there is no whole one. */
static json_t *take_message(struct qmp *q)
{
	uint8_t *end;
	json_t *message = NULL;

	while (!message && q->in.len && (end = memchr(q->in.data, '\n', q->in.len))) {
		size_t n = (size_t)(end - q->in.data);

		message = json_loadb((const char *)q->in.data, n, 0, NULL);
		q->in.len -= n + 1;
		memmove(q->in.data, end + 1, q->in.len);
	}
	return message;
}

/* The next message that is no event; NULL when there is none yet. */
static json_t *take_answer(struct qmp *q)
{
	json_t *message;

	while ((message = take_message(q))) {
		const char *event = json_string_value(json_object_get(message, "event"));

		if (!event)
			return message;
		q->on_event(q->context, event, json_object_get(message, "data"));
		json_decref(message);
	}
	return NULL;
}

static json_t *wait_answer(struct qmp *q, struct err *e)
{
	int64_t end = clock_mono_ms() + ANSWER_TIMEOUT_MS;
	json_t *answer;

	while (!(answer = take_answer(q))) {
		struct pollfd p = {.fd = q->fd, .events = POLLIN};
		int64_t left = end - clock_mono_ms();

		if (left <= 0) {
			err_set(e, ERR_UNAVAILABLE, "QEMU's monitor did not answer within %d s",
				ANSWER_TIMEOUT_MS / 1000);
			return NULL;
		}
		poll(&p, 1, (int)left);
		if (receive(q, e) < 0)
			return NULL;
	}
	return answer;
}

int qmp_ask(struct qmp *q, const char *command, json_t *arguments, json_t **value, struct err *e)
{
	json_t *request = json_pack("{s:s}", "execute", command), *answer, *fault;
	char *text;
	ssize_t sent;
	int result = -1;

	if (arguments)
		json_object_set_new(request, "arguments", arguments);
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	/* Smaller than any socket buffer: one send takes it whole. */
	sent = send(q->fd, text, strlen(text), MSG_NOSIGNAL);
	if (sent != (ssize_t)strlen(text)) {
		err_set(e, ERR_UNAVAILABLE, "QEMU's monitor does not take commands");
		free(text);
		return -1;
	}
	free(text);
	answer = wait_answer(q, e);
	if (!answer)
		return -1;
	fault = json_object_get(answer, "error");
	if (fault) {
		const char *words = json_string_value(json_object_get(fault, "desc"));

		err_set(e, ERR_IO, "QEMU refused '%s': %s", command,
			words ? words : "no reason given");
	} else {
		*value = json_incref(json_object_get(answer, "return"));
		result = 0;
	}
	json_decref(answer);
	return result;
}

int qmp_run(struct qmp *q, const char *command, json_t *arguments, struct err *e)
{
	json_t *value = NULL;
	int result = qmp_ask(q, command, arguments, &value, e);

	json_decref(value);
	return result;
}

int qmp_take_events(struct qmp *q, struct err *e)
{
	int result = receive(q, e);
	json_t *stray = take_answer(q);

	json_decref(stray);
	return result;
}

int qmp_open(const char *socket_path, qmp_event_fn *on_event, void *context, struct qmp **out,
	     struct err *e)
{
	struct qmp *q = xcalloc(1, sizeof *q);
	json_t *greeting = NULL;

	q->on_event = on_event;
	q->context = context;
	q->fd = unix_connect(socket_path, e);
	if (q->fd >= 0)
		greeting = wait_answer(q, e);
	json_decref(greeting);
	if (!greeting || qmp_run(q, "qmp_capabilities", NULL, e) < 0) {
		qmp_close(q);
		return -1;
	}
	*out = q;
	return 0;
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		close(q->fd);
	buf_release(&q->in);
	free(q);
}

int qmp_fd(const struct qmp *q)
{
	return q->fd;
}
