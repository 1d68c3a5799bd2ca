// SPDX-License-Identifier: Apache-2.0
/*
 * The data door: where connectors enrol, hold their control connection, and send disks
 * (man/godwit-door.7). A thread per connection; what a connector says is checked against the rows
 * before it changes any: it may speak only of runs whose lease it holds, with the newest token.
 */
#ifndef JOB_DOOR_H
#define JOB_DOOR_H

#include "copy/intake.h"
#include "job/service.h"

struct door;

/* Listen on `where` ("127.0.0.1:8703") with the keys of `tls_dir`. */
int door_open(struct service *service, struct intake *intake, const char *tls_dir,
	      const char *where, struct door **out, int *port, struct err *e);
/* Ends every connection and waits for their threads. */
void door_close(struct door *d);

/* Whether a connector holds its control connection now. */
bool door_connected(struct door *d, const char *connector_id);

/* Give a run to a connected connector: raises the fencing token, sets the lease, ends streams of an
 * older lease, sends WORK. ERR_UNAVAILABLE when it is not connected. */
int door_grant(struct door *d, const char *run_id, const char *connector_id, int64_t now,
	       struct err *e);
/* Tell the connector that holds (or held) the run; nothing when it is not connected: it learns from
 * its next WELCOME. */
void door_tell_committed(struct door *d, const char *connector_id, const char *run_id,
			 int64_t token);
void door_tell_cancel(struct door *d, const char *connector_id, const char *run_id, int64_t token);

/* Tell a connector that the job which this point was kept for is over. Repeated until it answers,
 * which takes the point off the job's row. */
void door_tell_forget(struct door *d, const char *connector_id, const char *job_id,
		      const char *vm_id, const char *point);

/* Ask every connected connector for its inventory; how many were asked. */
int door_ask_inventory(struct door *d, int64_t import);

/* What the intake says about streams becomes rows: intake_start's callback, with the service as
 * context. */
void door_note(void *service, enum intake_type type, const struct intake_note *note);

#endif
