// SPDX-License-Identifier: Apache-2.0
/*
 * The intake: the one process that writes the store. It holds no key and no metadata; the service
 * hands it connected streams, and it tells the service how they go.
 *
 * The two talk over a pair of sequenced-packet sockets, a frame of wire.h in each message; an
 * INTAKE_STREAM message carries the descriptor of the stream. Requests have a number, which their
 * INTAKE_ANSWER repeats; notes about streams have none.
 */
#ifndef COPY_INTAKE_H
#define COPY_INTAKE_H

#include "base/err.h"
#include "base/shape.h"
#include "copy/copy.h"

/* --- the messages --- */

enum intake_type {
	INTAKE_OPENED = 1, /* from the intake, first: the store is open; or it could not be */

	INTAKE_STREAM = 10, /* to it: intake_job with one descriptor */
	INTAKE_CANCEL,	    /* to it: intake_request, text = stream id */
	INTAKE_REF,	    /* to it: intake_request, text = reference, data; empty deletes */
	INTAKE_SPACE,	    /* to it: intake_request */
	INTAKE_FORGET,	    /* to it: intake_request, text = run id */
	INTAKE_COLLECT,	    /* to it: intake_request; INTAKE_COLLECTED follows when it ended */
	INTAKE_ANSWER,	    /* from it: intake_answer, to every one of these */

	INTAKE_PROGRESS = 20, /* from it: intake_note */
	INTAKE_FINISHED,      /* from it: intake_note with root and bytes_stored */
	INTAKE_ENDED,	  /* from it, last of a stream: intake_note; kind "none": all went well */
	INTAKE_COLLECTED, /* from it: intake_collected; of no stream */
};

/* One stream to serve. */
struct intake_job {
	int64_t request;
	char *stream_id; /* chosen by the service, different for every stream */
	char *group;	 /* trust group of the sender */
	char *run_id;
	int64_t number; /* of the disk */
	char *point;
	int64_t size_bytes;
	struct bytes base_root; /* 32 bytes, or empty: none */
};

struct intake_request {
	int64_t request;
	char *text;
	struct bytes data;
};

struct intake_answer {
	int64_t request;
	char *kind; /* NULL: done */
	char *text;
	int64_t stored_bytes, free_bytes, total_bytes; /* INTAKE_SPACE, INTAKE_OPENED */
};

struct intake_note {
	char *stream_id, *run_id;
	int64_t number;
	int64_t bytes_total, bytes_done, bytes_read, bytes_new, bytes_sent, chunks, chunks_new;
	struct bytes root; /* FINISHED: 32 bytes */
	int64_t bytes_stored;
	char *kind; /* ENDED: err_kind_word, NULL when the disk was finished */
	char *text;
};

/* What a collection did, as struct store_collected tells it. */
struct intake_collected {
	int64_t names, live_names, record_bytes, live_bytes, freed_bytes;
	int64_t packs, packs_removed, packs_rewritten, packs_spoiled;
	char *kind; /* err_kind_word, NULL: it went to its end */
	char *text;
};

extern const struct shape intake_collected_shape;
extern const struct shape intake_job_shape, intake_request_shape, intake_answer_shape,
    intake_note_shape;

/* --- the process --- */

/* What the program does after exec with the control socket as `control_fd`: opens the store for
 * writing (making it when missing) and serves until the other side closes. The exit status. */
int copy_intake_main(int control_fd, const char *store_where, const char *journal_dir);

/* --- the service's side --- */

struct intake;

/* What happens to a stream: `type` is INTAKE_PROGRESS, INTAKE_FINISHED or INTAKE_ENDED (exactly
 * once for every stream taken, the last word on it, also when the process dies: then with kind
 * "unavailable"). Called on a thread of the intake's client, one at a time; it must not call the
 * intake_ functions below. The note is the caller's for the time of the call. */
typedef void intake_note_fn(void *context, enum intake_type type, const struct intake_note *note);

/* Start `program` (a path, as process_sibling gives it) with the arguments "--intake", store_where,
 * journal_dir and the control socket as descriptor 3; returns when its store is open. When the
 * process dies it is started again at the next use. */
int intake_start(const char *program, const char *store_where, const char *journal_dir,
		 intake_note_fn *note, void *context, struct intake **out, struct err *e);
/* Ends the process after what is durable; its streams end as "unavailable". Frees. */
void intake_stop(struct intake *intake);

/* Hand over a connected stream; `fd` is closed here in any case. job->request is ignored.
 * ERR_INVALID when the job is out of its bounds, ERR_UNAVAILABLE when there is no process. */
int intake_stream(struct intake *intake, const struct intake_job *job, int fd, struct err *e);
/* End a stream; it is no error when there is none of this id. Its ENDED note comes. */
int intake_cancel(struct intake *intake, const char *stream_id, struct err *e);
/* Set or (data NULL) delete a reference of the store; durable when it returns. */
int intake_ref_set(struct intake *intake, const char *ref, const void *data, size_t n,
		   struct err *e);
/* Commits what was put. */
int intake_space(struct intake *intake, struct store_space *space, struct err *e);
/* Returns when everything that the intake said before has been told to the note function. What a
 * sender says after its FINISHED comes another way and may be faster than the note of it. */
int intake_settle(struct intake *intake, struct err *e);
/* Begin to free what nothing needs; ERR_BUSY while that goes on already. */
int intake_collect(struct intake *intake, struct err *e);
/* 1 when a collection that was begun has ended since this was asked last: *out (released by the
 * caller) says how; 0 when not. When the process died it ended as "unavailable". */
int intake_collect_ended(struct intake *intake, struct intake_collected *out);
/* Forget the journals of a run, and what kept its disks. */
int intake_forget(struct intake *intake, const char *run_id, struct err *e);

#endif
