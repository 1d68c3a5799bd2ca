// SPDX-License-Identifier: Apache-2.0
/*
 * A depot: records in packs, found through segments of an index, with references beside them, over
 * files of any kind (files.h). Kinds dir and s3 are depots. Layout and every byte:
 * man/godwit-store.5; the invariants are in depot.c.
 */
#ifndef STORE_DEPOT_H
#define STORE_DEPOT_H

#include <pthread.h>

#include "store/files.h"
#include "store/kind.h"
#include "store/known.h"
#include "store/nameset.h"
#include "store/pack.h"
#include "store/segments.h"

/* Where a record is that is put and not yet committed. */
struct pending_place {
	uint32_t pack; /* position in dir.group */
	uint32_t offset, stored_len;
};

/* A pack written since the last commit; it has no name until it is sealed. */
struct group_pack {
	enum record_kind kind;
	bool sealed;
	struct name name;
};

struct depot {
	struct store base;
	struct files *files;
	pthread_mutex_t mutex;
	struct segments index;
	struct known known;

	/* The group of puts since the last commit. */
	struct nameset pending;
	struct pending_place *places; /* by position in pending */
	uint32_t places_cap;
	struct pack_writer writers[RECORD_NODE + 1];
	uint32_t
	    writer_pack[RECORD_NODE + 1]; /* their positions in group, once they hold records */
	struct group_pack *group;
	uint32_t group_count, group_cap;
	uint64_t pending_bytes;
	struct err group_failed; /* why what was put cannot be committed, if so */
	struct err broken;	 /* why nothing more may be written, if so */
};

/* Open the depot in these files, which it takes (closed on failure too). Damaged files are set aside
 * and packs that the index does not list adopted when it is opened for writing. */
int depot_open(struct files *files, bool write, struct store **out, struct err *e);

/* The verbs of kinds that are depots. */
void depot_close(struct store *s);
int depot_has(struct store *s, const char *group, const struct name *names, size_t n, uint8_t *have,
	      struct err *e);
int depot_put(struct store *s, const char *group, const struct record *r, struct err *e);
int depot_get(struct store *s, const struct name *name, struct record *r, struct buf *stored,
	      struct err *e);
int depot_commit(struct store *s, struct store_space *space, struct err *e);
int depot_ref_set(struct store *s, const char *ref, const void *data, size_t n, struct err *e);
int depot_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e);
int depot_collect(struct store *s, const struct store_collecting *plan, struct store_collected *out,
		  struct err *e);

/* The file `format` of a new depot. */
void depot_format_make(struct buf *out);

/* Between the depot*.c. */

/* Somebody relies on this entry from now on. Under the mutex. */
void depot_pin(const struct spot *spot);
/* After a collection freed something: cut the lists down that name it. `files` are the held segments
 * of the index. */
int depot_collect_lists(struct depot *d, const struct segment_file *files, size_t count,
			const struct store_collecting *plan, struct err *e);

/* List records of these packs as one durable segment of the index; sorts the entries. *placed as
 * of segments_add. */
int depot_index_add(struct depot *d, const struct name *packs, uint32_t pack_count,
		    uint8_t *entries, uint64_t count, bool *placed, struct err *e);
/* The file `format`: checks the version, fills the identity. */
int depot_format_read(struct depot *d, struct err *e);
/* Of the writer: adopt packs that the index does not list. */
int depot_recover(struct depot *d, struct err *e);

#endif
