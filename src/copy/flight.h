// SPDX-License-Identifier: Apache-2.0
/*
 * What streams rely on and no reference or journal names yet: the version each grew from, the pages
 * of its whole regions, the chunks of regions that are not whole. A collection asks for it.
 *
 * A stream names a region's chunks here before it asks the store for any of them, and takes them
 * back only when the region's page is put and named here: so at every moment a name that the store
 * said it has is here, in a page that is here, or was asked for after that moment. A tree node is
 * named here before it is put, since a collection may begin right after that.
 */
#ifndef COPY_FLIGHT_H
#define COPY_FLIGHT_H

#include <pthread.h>

#include "block/cutter.h"
#include "block/name.h"

#define FLIGHT_REGIONS 16 /* that a sender may have begun and not ended */

struct flight_region {
	const struct op *const *data; /* the region's chunks; borrowed */
	uint32_t count;
};

/* One stream. */
struct flight {
	struct flight *next;
	pthread_mutex_t mutex; /* of all below, and of the stream's pages and done */
	struct name base;      /* zero: none */
	struct name *pages;    /* by region; borrowed from the stream, as is done */
	uint8_t *done;	       /* bit: the region's page is meant */
	uint64_t regions;
	struct flight_region open[FLIGHT_REGIONS];
	struct name *nodes; /* that are being put; their chunks are in `open` or `pages` */
	size_t node_count, node_cap;
};

/* All of a store. All zero but for the mutex is none. */
struct flights {
	pthread_mutex_t mutex;
	struct flight *first;
};

void flights_init(struct flights *all);

/* `all` may be NULL: then nobody asks. */
void flight_begin(struct flights *all, struct flight *f, const struct name *base);
void flight_end(struct flights *all, struct flight *f);
void flight_pages(struct flight *f, struct name *pages, uint8_t *done, uint64_t regions);
void flight_open(struct flight *f, unsigned slot, const struct op *const *data, uint32_t count);
/* A tree node is about to be put: it stays here until the next region is closed, or the end. */
void flight_node(struct flight *f, const struct name *node);
/* The region in the slot is whole: its page is put. Or, with page NULL, it is given up. */
void flight_close(struct flight *f, unsigned slot, uint64_t region, const struct name *page);

struct flown {
	struct name *bases, *pages, *chunks, *nodes;
	size_t base_count, page_count, chunk_count, node_count;
	size_t base_cap, page_cap, chunk_cap, node_cap;
};
/* What all rely on now. */
void flights_gather(struct flights *all, struct flown *out);
void flown_release(struct flown *flown);

#endif
