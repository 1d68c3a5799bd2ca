// SPDX-License-Identifier: Apache-2.0
/* A small client of QEMU's monitor protocol on a unix socket (QEMU's docs/interop/qmp-spec). */
#ifndef GUEST_QMP_H
#define GUEST_QMP_H

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

struct qmp;

/* Called for every event, with its name and its data (borrowed, may be NULL). */
typedef void qmp_event_fn(void *context, const char *event, json_t *data);

/* Connect and agree on capabilities. */
int qmp_open(const char *socket_path, qmp_event_fn *on_event, void *context, struct qmp **out,
	     struct err *e);
void qmp_close(struct qmp *q);
int qmp_fd(const struct qmp *q);

/* Run a command; `arguments` is taken and may be NULL. Events that come before the answer are
 * handed over. An error answer is ERR_IO with QEMU's words. */
int qmp_run(struct qmp *q, const char *command, json_t *arguments, struct err *e);
/* The same, and what the command returned: the caller's to release. */
int qmp_ask(struct qmp *q, const char *command, json_t *arguments, json_t **answer, struct err *e);
/* Hand over the events that have come, without waiting. 0, or -1 when QEMU closed the socket. */
int qmp_take_events(struct qmp *q, struct err *e);

/* Connect to a unix socket; non-blocking afterwards. The descriptor, or -1. */
int unix_connect(const char *path, struct err *e);

#endif
