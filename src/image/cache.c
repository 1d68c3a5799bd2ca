// SPDX-License-Identifier: Apache-2.0
/*
 * Invariants, under the mutex:
 *  1. Every item in a bucket is in the list of ages, and the other way round.
 *  2. `used` is the sum of their costs.
 *  3. An item that is referenced is never freed and never leaves the cache: what is in use may
 *     therefore go beyond the bound, by as much as the threads hold at once.
 */
#include "image/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* names are hashes: two of their bytes spread well */

struct cache {
	pthread_mutex_t mutex;
	size_t max_bytes, used;
	struct item *buckets[BUCKETS];
	struct item *newest, *oldest;
};

struct cache *cache_new(size_t max_bytes)
{
	struct cache *cache = xcalloc(1, sizeof *cache);

	pthread_mutex_init(&cache->mutex, NULL);
	cache->max_bytes = max_bytes;
	return cache;
}

void item_free(struct item *item)
{
	runs_release(&item->runs);
	free(item->ends);
	buf_release(&item->plain);
	free(item);
}

void cache_free(struct cache *cache)
{
	for (struct item *item = cache->newest, *older; item; item = older) {
		older = item->older;
		assert(item->references == 0);
		item_free(item);
	}
	pthread_mutex_destroy(&cache->mutex);
	free(cache);
}

static struct item **bucket_of(struct cache *cache, const struct name *name)
{
	return &cache->buckets[(name->bytes[0] | name->bytes[1] << 8) % BUCKETS];
}

static struct item *find(struct cache *cache, const struct name *name)
{
	struct item *item = *bucket_of(cache, name);

	while (item && name_compare(&item->name, name) != 0)
		item = item->next;
	return item;
}

static void unlink_age(struct cache *cache, struct item *item)
{
	*(item->newer ? &item->newer->older : &cache->newest) = item->older;
	*(item->older ? &item->older->newer : &cache->oldest) = item->newer;
}

static void link_newest(struct cache *cache, struct item *item)
{
	item->newer = NULL;
	item->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = item;
	cache->newest = item;
}

static void take_out(struct cache *cache, struct item *item)
{
	struct item **at = bucket_of(cache, &item->name);

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	unlink_age(cache, item);
	cache->used -= item->cost;
	item_free(item);
}

static void shrink(struct cache *cache)
{
	for (struct item *item = cache->oldest, *newer; item && cache->used > cache->max_bytes;
	     item = newer) {
		newer = item->newer;
		if (item->references == 0)
			take_out(cache, item);
	}
}

static struct item *refer(struct cache *cache, struct item *item)
{
	item->references++;
	unlink_age(cache, item);
	link_newest(cache, item);
	return item;
}

struct item *cache_get(struct cache *cache, const struct name *name)
{
	struct item *item;

	pthread_mutex_lock(&cache->mutex);
	item = find(cache, name);
	if (item)
		refer(cache, item);
	pthread_mutex_unlock(&cache->mutex);
	return item;
}

struct item *cache_add(struct cache *cache, struct item *item)
{
	struct item *other;

	pthread_mutex_lock(&cache->mutex);
	other = find(cache, &item->name);
	if (other) {
		item_free(item);
		item = refer(cache, other);
	} else {
		struct item **bucket = bucket_of(cache, &item->name);

		item->next = *bucket;
		*bucket = item;
		item->references = 1;
		link_newest(cache, item);
		cache->used += item->cost;
		shrink(cache);
	}
	pthread_mutex_unlock(&cache->mutex);
	return item;
}

void cache_drop(struct cache *cache, struct item *item)
{
	pthread_mutex_lock(&cache->mutex);
	assert(item->references > 0);
	item->references--;
	if (cache->used > cache->max_bytes)
		shrink(cache);
	pthread_mutex_unlock(&cache->mutex);
}
