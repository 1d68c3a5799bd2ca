// SPDX-License-Identifier: Apache-2.0
/* What dir.c and dir_open.c share of kind dir. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <pthread.h>

#include "store/kind.h"
#include "store/known.h"
#include "store/nameset.h"
#include "store/pack.h"
#include "store/segments.h"

#define OPEN_PACKS_MAX 64

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

/* A pack open for reading. */
struct open_pack {
	struct name name;
	int fd;
	uint64_t used; /* when, by dir.clock */
};

struct dir {
	struct store base;
	char *path;
	char *packs, *index_dir, *refs, *tmp, *lost;
	int lock_fd;
	uint64_t reserve_bytes;
	uint64_t temp_count;
	pthread_mutex_t mutex;
	struct segments index;
	struct known known;

	/* The group of puts since the last commit. */
	struct nameset pending;
	struct pending_place *places; /* by position in pending */
	uint32_t places_cap;
	struct pack_writer writers[RECORD_NODE + 1];
	uint32_t writer_pack[RECORD_NODE + 1]; /* their positions in group, once they hold records */
	struct group_pack *group;
	uint32_t group_count, group_cap;
	uint64_t pending_bytes;
	struct err group_failed; /* why what was put cannot be committed, if so */
	struct err broken;	 /* why nothing more may be written, if so */

	struct open_pack packs_open[OPEN_PACKS_MAX];
	uint64_t clock;
};

/* A path in tmp/ that is not used; the caller frees. */
char *dir_temp(struct dir *d);
/* List records of these packs as one durable segment of the index; sorts the entries. *renamed as
 * of segments_add. */
int dir_index_add(struct dir *d, const struct name *packs, uint32_t pack_count, uint8_t *entries,
		  uint64_t count, bool *renamed, struct err *e);
/* Forget what was put since the last commit, its packs too. */
void dir_group_abandon(struct dir *d);
/* ERR_FULL when the file system has less room than is kept in reserve. */
int dir_room_check(struct dir *d, struct err *e);

/* Make the store at d->path if there is none yet. */
int dir_make(const char *path, struct err *e);
/* The file `format`: checks the version, fills the identity. */
int dir_format_read(struct dir *d, struct err *e);
/* After taking the lock for writing: clear tmp/, adopt packs that the index does not list. */
int dir_recover(struct dir *d, struct err *e);

#endif
