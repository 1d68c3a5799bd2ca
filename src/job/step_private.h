// SPDX-License-Identifier: Apache-2.0
/* What step.c (jobs) and step_run.c (their runs) share. */
#ifndef JOB_STEP_PRIVATE_H
#define JOB_STEP_PRIVATE_H

#include "job/step.h"

struct step {
	struct job_state *s;
	const struct job_rules *rules;
	const struct job_event *event;
	int64_t now;
	struct job_actions *actions;
};

void step_act(struct step *p, enum job_action_kind kind, const char *text);
/* A sentence into a field: cut to what the row holds, at a whole character. */
void step_say(char **field, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool job_is(const struct job_row *job, const char *state);
/* First slot of the grid after now. */
int64_t grid_after(const struct job_row *job, int64_t slot, int64_t now);

/* The run is over: `state` is its last word, and the job has no active run any more. */
void run_end(struct step *p, const char *state);
/* The job is over, as COMPLETED, FAILED or DELETED. */
void job_end(struct step *p, const char *state, const char *notify);

int step_run_event(struct step *p, struct err *e);

#endif
