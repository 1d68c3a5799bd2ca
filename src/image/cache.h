// SPDX-License-Identifier: Apache-2.0
/* A bounded cache of what was read from the store, by name: pages, decoded, and plain chunks. The
 * longest unused goes first. Thread-safe; seen only inside image/. */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "base/mem.h"
#include "block/cutter.h"
#include "block/name.h"

/* What is kept under a name. Not changed once it is in a cache. */
struct item {
	struct name name;
	struct runs runs; /* of a page */
	uint32_t *ends;	  /* of a page: the block after each run */
	struct buf plain; /* of a chunk */
	size_t cost;	  /* bytes it holds */
	unsigned references;
	struct item *next; /* in its bucket */
	struct item *newer, *older;
};

struct cache;

struct cache *cache_new(size_t max_bytes);
void cache_free(struct cache *cache);

/* The item of a name, referenced, or NULL. */
struct item *cache_get(struct cache *cache, const struct name *name);
/* Takes a new item; gives it back referenced, or the one that another thread added before. */
struct item *cache_add(struct cache *cache, struct item *item);
/* Give a reference back. */
void cache_drop(struct cache *cache, struct item *item);

void item_free(struct item *item);

#endif
