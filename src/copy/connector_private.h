// SPDX-License-Identifier: Apache-2.0
/* Shared by connector.c (the control connection), connector_run.c (a run) and connector_disk.c. */
#ifndef COPY_CONNECTOR_PRIVATE_H
#define COPY_CONNECTOR_PRIVATE_H

#include <pthread.h>
#include <semaphore.h>

#include "copy/connector.h"
#include "io/stream.h"
#include "io/tls.h"
#include "site/site.h"
#include "wire/door.h"

/* Where a run is, for the announcement. */
enum run_state { RUN_VALIDATING, RUN_SNAPSHOTTING, RUN_COPYING, RUN_COPIED, RUN_BROKEN };

struct connector_run {
	struct connector *c;
	struct connector_run *next;
	struct door_work work; /* the newest lease of it */
	enum run_state state;
	struct site_point *point;      /* of the run's thread */
	char *point_name;	       /* of `point`, for others; stays when that is ended */
	struct door_snapshot snapshot; /* as announced; valid from RUN_COPYING on */
	struct err failure;
	bool committed, cancelled; /* what the service said of it */
	bool again;		   /* the service lacks a disk that we take for copied */
};

struct connector {
	struct connector_config config;
	struct site *site;
	struct tls *tls;
	char *id;	      /* as of WELCOME; there before the first run */
	pthread_mutex_t lock; /* runs, control */
	pthread_cond_t changed;
	pthread_mutex_t site_lock; /* one call into the site at a time; taken before `lock` */
	struct stream *control;	   /* NULL while not connected */
	struct connector_run *runs;
	sem_t disks; /* disks in flight */
	bool swept;
	struct forgetting *forgetting; /* points to remove, in order; under `lock` */
	unsigned forgetting_count;
};

/* Start the thread of a run; `work` is moved into it. The connector's lock is held. */
void connector_run_start(struct connector *c, struct door_work *work);
/* Tell the service where the run is; nothing while there is no connection. Lock held. */
void connector_run_announce(struct connector_run *run);
bool connector_run_is_over(struct connector_run *run); /* committed or cancelled; takes the lock */

/* Copy disk `index` of the run's point; returns when its root is durable. */
int connector_disk(struct connector_run *run, unsigned index, struct err *e);

/* --- connector_points.c: what stays in the hypervisor, and what goes --- */

/* After the first WELCOME, when no run of ours is under way yet. */
void connector_sweep(struct connector *c, const struct door_welcome *w);
/* Remove a point as soon as no run uses it, and say FORGOTTEN. Takes the lock. */
void connector_forget(struct connector *c, struct door_forget *what);
/* The thread that does so. */
int connector_forget_start(struct connector *c, struct err *e);
/* Disassociated: end every run, then remove all that bears our name. */
void connector_retire(struct connector *c, const char *connector_id);

/* Send on the control connection. Lock held. ERR_UNAVAILABLE while there is none. */
int connector_say(struct connector *c, uint16_t type, const void *message, struct err *e);
/* A new connection to the door. */
int connector_dial(struct connector *c, struct stream **out, struct err *e);

#endif
