// SPDX-License-Identifier: Apache-2.0
/*
 * A folder of segments, <number>.idx or <number>.ids, looked at as one sorted set. Numbers only
 * grow. A merged segment lists the ones it replaces, which no longer count even where a crash left
 * their files. One that drops packs says that entries of older segments for them do not count.
 *
 * A collection marks what is live in the segments that were there when it began, and holds them:
 * they are neither merged nor unmapped until it lets go.
 */
#ifndef STORE_SEGMENTS_H
#define STORE_SEGMENTS_H

#include "store/files.h"
#include "store/filter.h"
#include "store/segment.h"

/* Of a collection: bits by position of the entry, and by number of the pack. */
struct segment_marks {
	uint8_t *nodes;	    /* live and reached as a tree's node */
	uint8_t *leaves;    /* live as anything else */
	uint8_t *condemned; /* packs of which what is not live does not count any more */
};

struct segment_file {
	uint64_t number;
	void *map;
	size_t size;
	struct store_segment segment;
	struct filter filter;	     /* of the writer's index */
	uint8_t *dead_packs;	     /* dropped by another segment, bit by number; NULL: none */
	uint64_t record_bytes;	     /* without those in dead packs */
	struct segment_marks *marks; /* of the collection that holds it, or NULL */
};

/* An entry. */
struct spot {
	const struct segment_file *file;
	uint64_t position;
};

struct segments {
	struct files *at;
	enum segment_kind kind;
	bool write; /* for the writer */
	char *folder;
	bool damaged;		    /* some were set aside when it was loaded */
	uint64_t hold_below;	    /* segments of lower numbers are held */
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
/* The entry that counts for a name, of the newest segment that has one. */
bool segments_locate(const struct segments *s, const struct name *name, struct spot *out);
bool segments_find(const struct segments *s, const struct name *name, struct place *place);
/* Make a segment durable as the newest of the folder. *placed tells, on failure too, whether it has
 * or may have its place. */
int segments_add(struct segments *s, const struct store_segment *segment,
		 const struct segment_notes *notes, bool *placed, struct err *e);
/* As segments_add, for a file that segment_write made at `temp`, which is closed and gone in any
 * case. */
int segments_put(struct segments *s, int fd, const char *temp, bool *placed, struct err *e);
/* The numbers that a segment in place of these must say it replaces, a heap array: theirs, and those
 * of files that are replaced already and still there, as what said so goes with them. */
void segments_replaced(const struct segments *s, const struct segment_file *instead, size_t count,
		       uint64_t **numbers, size_t *number_count);
/* The drops that a segment in place of these must repeat, as others still list the packs: a heap
 * array. */
void segments_drops_left(const struct segments *s, const struct segment_file *instead, size_t count,
			 struct pack_drop **drops, size_t *drop_count);
/* Merge when there are many, remove what was replaced. A failure leaves all as it was. */
int segments_tidy(struct segments *s, struct err *e);
uint64_t segments_record_bytes(const struct segments *s);

#endif
