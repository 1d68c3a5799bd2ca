// SPDX-License-Identifier: Apache-2.0
/*
 * A folder of segments, <number>.idx or <number>.ids, looked at as one sorted set. Numbers only
 * grow. A merged segment lists the ones it replaces, which no longer count even where a crash left
 * their files.
 */
#ifndef STORE_SEGMENTS_H
#define STORE_SEGMENTS_H

#include "store/files.h"
#include "store/segment.h"

struct segment_file {
	uint64_t number;
	void *map;
	size_t size;
	struct store_segment segment;
};

struct segments {
	struct files *at;
	enum segment_kind kind;
	char *folder;
	struct segment_file *files; /* from the newest; without those replaced */
	size_t count;
	uint64_t *listed; /* numbers in the folder when it was last read, sorted */
	size_t listed_count;
	uint64_t next_number; /* above all that were ever seen */
};

/* Take the folder's segments in; one that does not exist is empty. Damaged segments are set aside
 * for the writer, else they are ERR_CORRUPT. */
int segments_load(struct segments *s, struct files *at, enum segment_kind kind, const char *folder,
		  bool write, struct err *e);
/* List the folder again. 1 when it had changed. */
int segments_refresh(struct segments *s, struct err *e);
void segments_release(struct segments *s);
bool segments_find(const struct segments *s, const struct name *name, struct place *place);
/* Make a segment durable as the newest of the folder. *placed tells, on failure too, whether it has
 * or may have its place. */
int segments_add(struct segments *s, const struct store_segment *segment, bool *placed,
		 struct err *e);
/* Merge when there are many, remove what was replaced. A failure leaves all as it was. */
int segments_tidy(struct segments *s, struct err *e);
uint64_t segments_record_bytes(const struct segments *s);

#endif
