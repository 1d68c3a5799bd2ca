// SPDX-License-Identifier: Apache-2.0
/*
 * A directory of segments, <number>.idx or <number>.ids, looked at as one sorted set. Numbers only
 * grow. A merged segment lists the ones it replaces, which no longer count even where a crash left
 * their files.
 */
#ifndef STORE_SEGMENTS_H
#define STORE_SEGMENTS_H

#include "store/segment.h"

struct segment_file {
	uint64_t number;
	void *map;
	size_t size;
	struct store_segment segment;
};

struct segments {
	enum segment_kind kind;
	char *dir;
	struct segment_file *files; /* from the newest; without those replaced */
	size_t count;
	uint64_t *listed; /* numbers in the directory when it was last read, sorted */
	size_t listed_count;
	uint64_t next_number; /* above all that were ever seen */
};

/* Take the directory's segments in; one that does not exist is empty. With `lost`, damaged
 * segments are moved into that directory, else they are ERR_CORRUPT. */
int segments_load(struct segments *s, enum segment_kind kind, const char *dir, const char *lost,
		  struct err *e);
/* Read the directory again. 1 when it had changed. */
int segments_refresh(struct segments *s, struct err *e);
void segments_release(struct segments *s);
bool segments_find(const struct segments *s, const struct name *name, struct place *place);
/* Make a segment durable as the newest of the directory, which exists. `temp` is a free path on
 * the same file system. *renamed tells, on failure too, whether it has its place. */
int segments_add(struct segments *s, const struct store_segment *segment, const char *temp, bool *renamed,
		 struct err *e);
/* Merge when there are many, remove what was replaced. A failure leaves all as it was. */
int segments_tidy(struct segments *s, const char *temp, struct err *e);
uint64_t segments_record_bytes(const struct segments *s);

#endif
