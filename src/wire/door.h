// SPDX-License-Identifier: Apache-2.0
/*
 * The messages of the data door, between a connector and the service. man/godwit-door.7 tells the
 * conversation. C: sent by the connector, S: by the service, K: by the copying child to the intake,
 * I: by the intake to the copying child.
 */
#ifndef WIRE_DOOR_H
#define WIRE_DOOR_H

#include "base/shape.h"
#include "wire/machine.h"

#define DOOR_PROTOCOL 2

enum door_type {
	DOOR_FAULT = 1, /* S, I, K: fault; the sender closes after it */

	DOOR_ENROL = 10, /* C: a connector without certificate asks for one */
	DOOR_ENROLLED,	 /* S */

	DOOR_HELLO = 20, /* C: opens a control connection */
	DOOR_WELCOME,	 /* S: what this connector holds; one or more, `last` on the last */
	DOOR_HEARTBEAT,	 /* C: every HEARTBEAT_MS; renews all its leases */
	DOOR_LIST,	 /* S: send the inventory */
	DOOR_INVENTORY,	 /* C: a part of it, in order; `last` on the last */
	DOOR_WORK,	 /* S: a run, leased to this connector */
	DOOR_STAGE,	 /* C: the run entered a stage */
	DOOR_SNAPSHOT,	 /* C: the point in time was taken; its disks */
	DOOR_COPIED,	 /* C: every disk was copied and finished */
	DOOR_FAILED,	 /* C: the run failed, with the sentence */
	DOOR_COMMITTED,	 /* S: the version is durable: the old point may go, the job may end */
	DOOR_CANCEL,	 /* S: give the run up and undo what was made for it */
	DOOR_RELEASED,	 /* C: nothing of this run is left but its point for the next one */
	DOOR_FORGET,	 /* S: the job that a point was kept for is over: remove the point */
	DOOR_FORGOTTEN,	 /* C: it is gone */
	DOOR_RETIRE,	 /* S: this connector was disassociated: it removes all it made, and ends */

	DOOR_STREAM = 40,    /* C: opens a connection for one disk of a run */
	DOOR_READY,	     /* I: what of this disk is durable already */
	DOOR_LAYOUT,	     /* K: how the disk is divided; before any region */
	DOOR_OUTLINE_WANTED, /* K: the outline of a region in the base */
	DOOR_OUTLINE,	     /* I */
	DOOR_REGION,	     /* K: the ops of a region */
	DOOR_NEED,	     /* I: which of its chunks to send */
	DOOR_CHUNK,	     /* K */
	DOOR_DURABLE,	     /* I: regions that will never be asked for again */
	DOOR_PROGRESS,	     /* K: counters, about once a second */
	DOOR_FINISH,	     /* K: every region was sent */
	DOOR_FINISHED,	     /* I: the root of the disk, durable */
};

struct door_fault {
	char *kind; /* err_kind_word */
	char *text;
};

struct door_enrol {
	char *token;   /* the one-time secret */
	char *name;    /* how people call this connector */
	char *request; /* PKCS#10 in PEM */
};

struct door_enrolled {
	char *connector_id;
	char *certificate; /* PEM */
	char *authority;   /* PEM, to verify the service with from now on */
};

struct door_hello {
	int64_t protocol;
	char *version;
	char *capabilities; /* comma-separated words of the API's enum ConnectorCapability */
	char *manager_id, *manager_name, *manager_type; /* type NULL: the API has no word for it */
	char *ip, *mac;
	char *host; /* of the connector */
};

/* A disk of a run: what the service knows of it from the version before. */
struct door_base {
	char *key;
	int64_t number;
	int64_t size_bytes; /* of the base */
	struct bytes root;  /* of the base, 32 bytes, or empty: none */
};

struct door_work {
	char *run_id, *job_id;
	int64_t token; /* fencing: goes into everything said about this run */
	char *vm_id;
	char *base_point;  /* the point the base version was taken at, or NULL: full copy */
	char *point;	   /* the point this run has taken already (a resumed run), or NULL */
	struct list bases; /* of struct door_base */
	int64_t copied;	   /* its disks are durable: only keep the point until COMMITTED */
};

struct door_welcome {
	char *connector_id;
	int64_t heartbeat_ms;
	int64_t last;
	struct list held;   /* of struct door_work */
	struct list points; /* of struct door_point: what must stay in the hypervisor */
};

struct door_point {
	char *vm_id, *point;
};

struct door_heartbeat {
	int64_t healthy;
	char *reason; /* when not */
};

struct door_list {
	int64_t import;
};

struct door_inventory {
	int64_t import;
	int64_t last;
	struct list machines; /* of struct machine */
	char *refusal;	      /* the inventory failed, with the sentence; then no machines */
};

struct door_stage {
	char *run_id;
	int64_t token;
	char *stage; /* a word of job/stage.h */
};

struct door_snapshot_disk {
	char *key;
	int64_t number;
	int64_t size_bytes;
	int64_t changed_bytes; /* in the change list; -1: no list, everything is read */
	char *reason;	       /* why everything is read, or NULL */
};

struct door_snapshot {
	char *run_id;
	int64_t token;
	char *point;
	int64_t keeps_point;  /* the point can be the base of an increment */
	char *consistency;    /* "crash", "file-system", "application" */
	struct bytes machine; /* struct machine as it is now, encoded */
	struct list disks;    /* of struct door_snapshot_disk */
};

struct door_run { /* COPIED, COMMITTED, CANCEL, RELEASED */
	char *run_id;
	int64_t token;
};

struct door_forget { /* FORGET, FORGOTTEN */
	char *job_id, *vm_id, *point;
};

struct door_retire {
	char *connector_id;
};

struct door_failed {
	char *run_id;
	int64_t token;
	char *kind;
	char *text;
};

struct door_stream {
	char *run_id;
	int64_t token;
	int64_t number; /* of the disk */
	char *point;
	int64_t size_bytes;
};

struct door_ready {
	int64_t has_base; /* regions not sent stay as in the base; else they are zero */
	int64_t base_size_bytes;
	struct bytes base_starts; /* u64 each: starts of the base's segments after 0 */
	struct bytes done;	  /* bit r set: region r is durable (of this point) */
};

struct door_layout {
	int64_t size_bytes;  /* of the disk as it is read */
	struct bytes starts; /* u64 each, little-endian */
};

struct door_region {
	int64_t region;
	struct bytes ops; /* ops_encode */
};

struct door_outline { /* OUTLINE_WANTED with runs empty, OUTLINE */
	int64_t region;
	struct bytes runs; /* runs_outline_encode */
};

struct door_need {
	int64_t region;
	struct bytes need; /* one bit for each OP_DATA of the region, in order */
};

struct door_chunk {
	int64_t region;
	int64_t index; /* among the region's OP_DATA */
	int64_t codec;
	int64_t plain_len;
	struct bytes stored;
};

struct door_durable {
	struct bytes regions; /* u64 each */
};

struct door_progress {
	int64_t bytes_total; /* that this run has to look at */
	int64_t bytes_done;  /* of them */
	int64_t bytes_read;  /* from the source */
	int64_t bytes_new;   /* plain bytes of chunks that had to be sent */
	int64_t bytes_sent;  /* as they went over the wire */
	int64_t chunks, chunks_new;
};

struct door_finished {
	struct bytes root;    /* 32 bytes */
	int64_t bytes_stored; /* that the store grew by */
};

extern const struct shape door_fault_shape, door_enrol_shape, door_enrolled_shape, door_hello_shape,
    door_base_shape, door_work_shape, door_welcome_shape, door_point_shape, door_heartbeat_shape,
    door_list_shape, door_inventory_shape, door_stage_shape, door_snapshot_disk_shape,
    door_snapshot_shape, door_run_shape, door_forget_shape, door_retire_shape, door_failed_shape,
    door_stream_shape, door_ready_shape, door_layout_shape, door_region_shape, door_outline_shape,
    door_need_shape, door_chunk_shape, door_durable_shape, door_progress_shape, door_finished_shape;

/* The shape of a type's body (FINISH has an empty one), NULL for an unknown type; and its word. */
const struct shape *door_shape(uint16_t type);
const char *door_word(uint16_t type);

#endif
