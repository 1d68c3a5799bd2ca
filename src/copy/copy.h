// SPDX-License-Identifier: Apache-2.0
/*
 * Copying one disk: the sending half (in godwit-copy, beside the source) and the receiving half
 * (in the intake, beside the store). They talk over one stream: man/godwit-door.7.
 *
 * Invariants:
 *  1. A region is acknowledged (DURABLE) only when its page and all chunks it names are durable,
 *     and the journal says so durably.
 *  2. A journal belongs to one run, disk and point. A stream of another point starts an empty one:
 *     a version never holds blocks of two points in time.
 *  3. A root is finished only when every region was acknowledged under this point, or is inherited
 *     from the base and the sender did not call it changed.
 *  4. A page names only chunks that this stream's group put, or that the base page of the same
 *     region named (OP_KEEP).
 *  5. Everything received is decompressed within bounds and hashed before it is put.
 */
#ifndef COPY_COPY_H
#define COPY_COPY_H

#include <stdbool.h>

#include "base/err.h"
#include "block/extent.h"
#include "block/name.h"
#include "io/stream.h"
#include "store/store.h"
#include "wire/door.h"

/* --- the sender --- */

struct copy_source {
	const int *nbd_fds; /* connected sockets of one export; more than one where it may */
	unsigned nbd_count; /* 0: the disk is a local file or block device … */
	int file_fd;	    /* … open for reading, which nobody writes meanwhile */
	const char *export_name;
	const char *dirty_context;     /* or NULL */
	const struct extents *changed; /* or NULL; used when dirty_context is NULL */
	bool full;		       /* neither: read everything that is allocated */
	int level;		       /* zstd level; 0: the default */
	int64_t bytes_per_second;      /* 0: no limit */
};

/* Copy the disk behind the sockets through `to` (READY has not been read yet). Sends PROGRESS about
 * once a second. Returns when FINISHED came: *finished filled (released by the caller). */
int copy_send(const struct copy_source *from, struct stream *to, struct door_finished *finished,
	      struct err *e);

/* --- the receiver --- */

struct flights; /* flight.h */

struct copy_intake {
	const char *group; /* trust group of the sender */
	const char *run_id;
	unsigned number;
	const char *point;
	uint64_t size_bytes;
	struct name base_root; /* zero: none */
	const char *journal_dir;
	struct flights *flights; /* where a collection looks, or NULL: there is none */
};

/* Told as it happens; returning non-zero ends the stream with ERR_CONFLICT. */
typedef int copy_note_fn(void *context, const struct door_progress *progress,
			 const struct door_finished *finished);

/* Serve one stream until FINISHED was sent or the sender went away. `progress` and `finished` in
 * the note: one is NULL. Many streams may share a store (it locks for itself). */
int copy_receive(struct store *store, const struct copy_intake *job, struct stream *from,
		 copy_note_fn *note, void *context, struct err *e);

/* A finished disk of a run is kept by the reference "run-<run>.<number>" until the run is
 * forgotten. */
#define RUN_REF_PREFIX "run-"

/* Forget the journals of a run (committed, or given up). */
int copy_journal_remove(const char *journal_dir, const char *run_id, struct err *e);

/* --- the whole version, on the service's side --- */

/* Walk a version: every node and chunk is read and hashed. Calls `bad` for each that is not whole,
 * with the disk range it breaks. 0 and *checked bytes, or -1 when the walk itself could not go on
 * (the root is unreadable). */
typedef void copy_bad_fn(void *context, const struct name *name, uint64_t offset, uint64_t length,
			 const struct err *why);
typedef void copy_step_fn(void *context, uint64_t done, uint64_t total);
int copy_verify(struct store *store, const struct name *root, copy_bad_fn *bad, copy_step_fn *step,
		void *context, uint64_t *checked, uint64_t *bad_count, struct err *e);

/* --- freeing --- */

/* Free what no reference, lease, journal (of `journal_dir`, unless NULL) or stream (of `flights`,
 * unless NULL) needs. With `dry` nothing is freed, only counted; then a reader will do. A tree that
 * cannot be walked makes it fail, as then nobody knows what it needs; `stop` may be set to end it.
 * Man: godwit-store.5. */
int copy_collect(struct store *store, const char *journal_dir, struct flights *flights, bool dry,
		 const volatile bool *stop, struct store_collected *out, struct err *e);

#endif
