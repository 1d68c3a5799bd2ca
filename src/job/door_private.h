// SPDX-License-Identifier: Apache-2.0
/* Shared by the files of the data door: door.c (connections), door_control.c, door_stream.c. */
#ifndef JOB_DOOR_PRIVATE_H
#define JOB_DOOR_PRIVATE_H

#include <pthread.h>

#include "io/stream.h"
#include "io/tls.h"
#include "job/door.h"
#include "wire/door.h"

struct connection {
	struct door *door;
	struct connection *next;
	int fd;
	struct stream *stream;
	pthread_mutex_t write_lock; /* frames of several threads stay whole */
	char *connector_id;	    /* of the verified certificate, or NULL */
	char *run_id;		    /* of a stream */
	bool control;
	bool linked; /* identified: others may find it */
};

struct door {
	struct service *service;
	struct intake *intake;
	struct tls *tls;
	char *tls_dir;
	int listen_fd;
	pthread_t acceptor;
	pthread_mutex_t lock;	    /* connections; held while sending to one found there */
	pthread_mutex_t grant_lock; /* one connector enrols at a time */
	pthread_cond_t idle;
	struct connection *connections;
	unsigned connection_count;
	bool closing;
};

/* The three conversations. Each returns when the connection is over. */
int door_enrol(struct connection *c, const struct buf *body, struct err *e);
int door_control(struct connection *c, const struct buf *body, struct err *e);
int door_stream(struct connection *c, const struct buf *body, struct err *e);

/* The connection is identified (connector_id, control, run_id are set): others may find it. */
void door_link(struct connection *c);
struct connection *door_find_control(struct door *d, const char *connector_id); /* lock held */
int door_send(struct connection *c, uint16_t type, const void *message, struct err *e);
void door_cut_streams(struct door *d, const char *run_id);

struct door_runs {
	struct run_row *items;
	size_t count, cap;
};

/* The runs that name this connector. */
int door_runs_of(struct meta_tx *tx, const char *connector_id, struct door_runs *out,
		 struct err *e);
void door_runs_release(struct door_runs *runs);
bool door_run_is_live(const struct run_row *run);
/* The work of a run as its connector is told it. */
int door_describe(struct meta_tx *tx, const struct run_row *run, struct door_work *work,
		  struct err *e);
/* Tell a connector what it holds, in as many frames as it takes; renews its leases. */
int door_welcome(struct connection *c, struct err *e);

/* Take the lease of a run for a connector and describe the work. */
int door_lease(struct door *d, const char *run_id, const char *connector_id, int64_t now,
	       struct door_work *work, struct err *e);

#endif
