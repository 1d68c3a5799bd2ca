// SPDX-License-Identifier: Apache-2.0
/*
 * The loop that carries out what the state machines decide. It keeps nothing in memory that rows do
 * not say: after a crash at any point it finds the same work again, and doing it twice is harmless.
 */
#ifndef JOB_LOOP_H
#define JOB_LOOP_H

#include "job/door.h"

struct loop_config {
	unsigned worker_slots;	  /* boot tests at once; 0: half the processors, at least 1 */
	int64_t boot_patience_ms; /* 0: by accelerator */
	int64_t hold_stage_ms;	  /* leave a run so long in each stage before going on (tests) */
};

struct loop;

int loop_start(struct service *service, struct intake *intake, struct door *door,
	       const struct loop_config *config, struct loop **out, struct err *e);
void loop_wake(struct loop *l);
/* Ends the loop's thread. Boot tests in progress are left to the end of the process, which is to
 * follow at once; they are done again after a restart. */
void loop_stop(struct loop *l);

#endif
