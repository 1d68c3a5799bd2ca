// SPDX-License-Identifier: Apache-2.0
/* Shared by loop.c and boot_queue.c. */
#ifndef JOB_LOOP_PRIVATE_H
#define JOB_LOOP_PRIVATE_H

#include <pthread.h>

#include "guest/judge.h"
#include "image/image.h"
#include "job/loop.h"
#include "wire/machine.h"

#define LOOP_SLOTS_MAX 16

/* A boot test in progress. */
struct boot_slot {
	struct loop *loop;
	char *run_id, *job_id, *image_id; /* run_id NULL: free */
	pthread_t thread;
	bool done; /* the thread can be joined; under the loop's lock */
};

struct loop {
	struct service *service;
	struct intake *intake;
	struct door *door;
	struct loop_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool woken, stopping;
	bool room; /* the store may take a new run, as of room_asked */
	int64_t room_asked;
	int64_t refs_at;  /* when references are looked at again, monotonic; 0: not yet */
	bool collecting;  /* a collection that this process began */
	bool collect_due; /* references were dropped since the last */
	struct boot_slot slots[LOOP_SLOTS_MAX];
};

/* Start the boot test of a run in stage Preparing when a slot is free and it has none yet. */
void boot_queue_offer(struct loop *l, const struct run_row *run);
/* Join the threads that ended. */
void boot_queue_reap(struct loop *l);

#endif
