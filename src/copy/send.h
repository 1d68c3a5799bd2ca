// SPDX-License-Identifier: Apache-2.0
/*
 * The sending half, in threads: one reads the disk and cuts region after region; WORKERS name their
 * chunks and compress, in place, those that the intake asked for; one takes what the intake answers;
 * the caller's sends regions, chunks and progress. Seen only here.
 */
#ifndef COPY_SEND_H
#define COPY_SEND_H

#include <pthread.h>

#include "block/cutter.h"
#include "block/layout.h"
#include "copy/copy.h"
#include "copy/source.h"
#include "copy/throttle.h"

#define SLOTS	       8 /* regions begun at once; their memory together is bounded besides */

#define OUTLINES_AHEAD 16 /* asked for before their regions are read: an answer takes its time */

#define WORKERS	       2
#define PACK_BATCH     16 /* chunks a worker compresses at once */
#define NAME_BATCH     64 /* chunks a worker names at once; in lanes, so that more are better */

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_UNNAMED, SLOT_CUT, SLOT_ASKED, SLOT_NEEDED };

/* A chunk of a region. What was made of it by compressing lies at the chunk's own place. */
struct slot_chunk {
	uint32_t op, first_block;
	uint32_t stored_len;
	uint16_t codec;
	bool packed; /* no worker touches it any more */
};

/* A region on its way. */
struct slot {
	enum slot_state state;
	uint64_t order; /* the oldest goes first */
	uint64_t region;
	uint8_t *data;	   /* REGION_BYTES mapped; holes cost nothing */
	uint64_t resident; /* bytes of it that may be in memory, also while it is free */
	uint64_t work;	   /* bytes that count as done with it */
	struct ops ops;
	struct slot_chunk *chunks; /* of each OP_DATA */
	uint32_t data_count;
	uint32_t next_name, named; /* the first chunk no worker took; how many are done */
	uint32_t next_pack;	   /* as next_name */
	struct bytes need;
};

/* The base's outline of a region: asked for, come, used. */
struct outline {
	bool asked, came;
	uint64_t region;
	struct runs runs;
};

struct sender {
	const struct copy_source *from;
	struct stream *to;
	struct source *source;
	struct layout layout;
	bool has_base, increment;
	uint8_t *done; /* of READY */
	size_t done_len;
	struct extents data, dirty;

	pthread_mutex_t lock; /* of all below, and of the slots' states */
	pthread_cond_t changed;
	struct slot slots[SLOTS];
	uint64_t next_order;
	bool read_all, sent_all, stop, finished, answered_all;
	struct err why;				 /* kind not ERR_NONE: the first failure */
	struct outline outlines[OUTLINES_AHEAD]; /* of regions not read yet */
	struct door_progress progress;
	struct door_finished *result;

	/* the caller's thread alone */
	struct throttle throttle;
	int64_t progress_at_ms;
};

/* Thread bodies. */
void *send_reader(void *sender);
void *send_answers(void *sender);
void *send_worker(void *sender);
/* Remember the first failure and wake everybody. */
void send_failed(struct sender *s, const struct err *why);

#endif
