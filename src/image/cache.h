// SPDX-License-Identifier: Apache-2.0
/*
 * A bounded cache of what was read from the store, by name: pages, decoded, or plain chunks. The
 * longest unused goes first. What several threads want at once is loaded by one of them, with no
 * lock held. Thread-safe; seen only inside image/.
 */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include <stdbool.h>

#include "base/mem.h"
#include "block/cutter.h"
#include "block/name.h"

enum item_state { ITEM_LOADING, ITEM_READY, ITEM_FAILED };

/* What is kept under a name. Changed only by the thread that loads it. */
struct item {
	struct name name;
	struct runs runs; /* of a page */
	uint32_t *ends;	  /* of a page: the block after each run */
	struct buf plain; /* of a chunk */
	size_t cost;	  /* bytes it holds */
	enum item_state state;
	unsigned references;
	struct item *next; /* in its bucket */
	struct item *newer, *older;
};

struct cache;

struct cache *cache_new(size_t max_bytes);
void cache_free(struct cache *cache);
size_t cache_max_bytes(const struct cache *cache);

/* The item of a name, referenced. With *load true the caller is the one to fill it and `cost`, and
 * then says cache_loaded or cache_failed; else it is whole (another thread's loading is waited
 * for). */
struct item *cache_get(struct cache *cache, const struct name *name, bool *load);
/* As cache_get with *load true; NULL when it is there or another thread loads it. */
struct item *cache_claim(struct cache *cache, const struct name *name);

/* It is whole; the reference stays. */
void cache_loaded(struct cache *cache, struct item *item);
/* It could not be loaded: as if it had never been asked for. Takes the reference. */
void cache_failed(struct cache *cache, struct item *item);
/* Give a reference back. */
void cache_drop(struct cache *cache, struct item *item);

#endif
