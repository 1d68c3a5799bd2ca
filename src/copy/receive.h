// SPDX-License-Identifier: Apache-2.0
/*
 * The receiving half of a copy: receive.c holds the conversation, receive_chunk.c takes chunks,
 * receive_tree.c reads the base's tree and writes the new one. Seen only here.
 */
#ifndef COPY_RECEIVE_H
#define COPY_RECEIVE_H

#include "block/tree.h"
#include "copy/flight.h"
#include "copy/copy.h"
#include "copy/journal.h"
#include "copy/wanted.h"

#define OPEN_MAX FLIGHT_REGIONS

/* A region whose ops came and whose chunks have not all. */
struct open_region {
	bool used;
	uint64_t number;
	struct ops ops;
	struct runs runs;	/* what it becomes */
	const struct op **data; /* the OP_DATA of ops, in order */
	uint8_t *need;		/* one bit each: asked for and not come */
	uint32_t data_count;
	uint32_t missing; /* distinct names not there yet, whoever was asked for them */
};

/* A chunk as it came. */
struct arrived {
	int64_t region;
	const struct op *op; /* of an open region, which stays open: the chunk is missing in it */
	uint16_t codec;
	struct bytes stored;
};

struct receiver {
	struct store *store;
	const struct copy_intake *job;
	struct stream *from;
	copy_note_fn *note;
	void *context;

	struct journal journal;
	bool has_base, inherits, has_layout;
	struct disk_root base;
	struct layout layout;
	uint64_t regions;
	struct name *pages; /* of this version, by region */
	uint8_t *done;	    /* bit: durable, or to be with the next commit */
	uint32_t branch;    /* of the base, decoded; UINT32_MAX: none */
	struct name branch_pages[TREE_FANOUT];

	struct flight flight; /* names what this stream relies on */
	struct open_region open[OPEN_MAX];
	struct wanted wanted;
	struct buf group; /* u64 each: regions of the next commit */
	int64_t group_bytes, group_since_ms;
	int64_t bytes_stored;
	struct buf node;

	struct arrived *batch; /* chunks that came and were not looked at yet */
	uint32_t batch_count;
	uint64_t batch_plain_bytes;
	struct buf plain; /* of the batch */
};

static inline bool bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

struct open_region *receive_find_open(struct receiver *r, int64_t number);
/* Every chunk of the region is there: its page is put, and it belongs to the next commit. */
int receive_region_whole(struct receiver *r, struct open_region *o, struct err *e);

/* Chunks are looked at several at once, since hashing runs in lanes: take keeps one (its bytes are
 * moved out of the message), flush decompresses, hashes and puts all that were kept. A batch is
 * bounded; take flushes a full one. */
int receive_chunk_take(struct receiver *r, struct door_chunk *m, struct err *e);
int receive_chunk_flush(struct receiver *r, struct err *e);
void receive_chunk_release(struct receiver *r);

/* The runs of a region in the base: without one, or where it is zero, one run of zeroes. */
int receive_base_runs(struct receiver *r, uint64_t region, uint32_t blocks, struct runs *out,
		      struct err *e);
/* Put a tree node and count it. */
int receive_put_node(struct receiver *r, const struct buf *node, struct name *out, struct err *e);
/* Put branches and root, taking from the base what was not sent; not committed. */
int receive_put_root(struct receiver *r, struct name *out, struct err *e);

#endif
