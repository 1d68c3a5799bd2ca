// SPDX-License-Identifier: Apache-2.0
/* What people are told of a job's life: decided by job/step.h (ACT_NOTIFY), told after the commit. */
#ifndef JOB_NOTICE_H
#define JOB_NOTICE_H

#include "base/mem.h"
#include "job/step.h"

/* Everything is borrowed from the rows; what does not apply is NULL. */
struct notice {
	const char *event; /* "completed", "failed", "deleted", "paused" */
	const char *job_id, *run_id, *server_id, *server_name, *image_id;
	const char *sentence; /* for people: the run's when a run ended, else the job's */
};

/* The notice of `event` from the rows after the step. */
void notice_make(const struct job_state *state, const char *event, struct notice *n);

/* key="value" pairs on one line, with \" and \\ in values; what is NULL is left out. */
void notice_line(const struct notice *n, struct buf *out);

/* Writes it to the log, a failure or a pause as a warning. A struct service's notify. */
void notice_log(void *context, const struct notice *n);

#endif
