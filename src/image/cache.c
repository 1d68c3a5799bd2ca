// SPDX-License-Identifier: Apache-2.0
/*
 * Invariants, under the mutex:
 *  1. Every item in a bucket is loading or ready; the ready ones are in the list of ages, and the
 *     other way round.
 *  2. `used` is the sum of the costs of the ready ones.
 *  3. An item that is referenced is never freed, and a ready one never leaves the cache: what is in
 *     use may therefore go beyond the bound, by as much as the threads hold at once.
 *  4. A loading item is referenced by its loader; of one name there is at most one item in a bucket.
 */
#include "image/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* names are hashes: two of their bytes spread well */

struct cache {
	pthread_mutex_t mutex;
	pthread_cond_t settled; /* an item that was loading is ready or failed */
	size_t max_bytes, used;
	struct item *buckets[BUCKETS];
	struct item *newest, *oldest;
};

struct cache *cache_new(size_t max_bytes)
{
	struct cache *cache = xcalloc(1, sizeof *cache);

	pthread_mutex_init(&cache->mutex, NULL);
	pthread_cond_init(&cache->settled, NULL);
	cache->max_bytes = max_bytes;
	return cache;
}

size_t cache_max_bytes(const struct cache *cache)
{
	return cache->max_bytes;
}

static void item_free(struct item *item)
{
	runs_release(&item->runs);
	free(item->ends);
	buf_release(&item->plain);
	free(item);
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	for (struct item *item = cache->newest, *older; item; item = older) {
		older = item->older;
		assert(item->references == 0);
		item_free(item);
	}
	pthread_cond_destroy(&cache->settled);
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

static void unlink_bucket(struct cache *cache, struct item *item)
{
	struct item **at = bucket_of(cache, &item->name);

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
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
	unlink_bucket(cache, item);
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

static struct item *begin(struct cache *cache, const struct name *name)
{
	struct item **bucket = bucket_of(cache, name), *item = xcalloc(1, sizeof *item);

	item->name = *name;
	item->references = 1;
	item->next = *bucket;
	*bucket = item;
	return item;
}

static void drop(struct cache *cache, struct item *item)
{
	assert(item->references > 0);
	item->references--;
	if (item->state == ITEM_FAILED && item->references == 0)
		item_free(item);
	else if (cache->used > cache->max_bytes)
		shrink(cache);
}

struct item *cache_get(struct cache *cache, const struct name *name, bool *load)
{
	struct item *item;

	*load = false;
	pthread_mutex_lock(&cache->mutex);
	while ((item = find(cache, name))) {
		item->references++;
		while (item->state == ITEM_LOADING)
			pthread_cond_wait(&cache->settled, &cache->mutex);
		if (item->state == ITEM_READY) {
			unlink_age(cache, item);
			link_newest(cache, item);
			break;
		}
		drop(cache, item); /* perhaps we fare better, or have a reason of our own */
	}
	if (!item) {
		item = begin(cache, name);
		*load = true;
	}
	pthread_mutex_unlock(&cache->mutex);
	return item;
}

struct item *cache_claim(struct cache *cache, const struct name *name)
{
	struct item *item = NULL;

	pthread_mutex_lock(&cache->mutex);
	if (!find(cache, name))
		item = begin(cache, name);
	pthread_mutex_unlock(&cache->mutex);
	return item;
}

void cache_loaded(struct cache *cache, struct item *item)
{
	pthread_mutex_lock(&cache->mutex);
	item->state = ITEM_READY;
	link_newest(cache, item);
	cache->used += item->cost;
	shrink(cache);
	pthread_cond_broadcast(&cache->settled);
	pthread_mutex_unlock(&cache->mutex);
}

void cache_failed(struct cache *cache, struct item *item)
{
	pthread_mutex_lock(&cache->mutex);
	item->state = ITEM_FAILED;
	unlink_bucket(cache, item);
	drop(cache, item);
	pthread_cond_broadcast(&cache->settled);
	pthread_mutex_unlock(&cache->mutex);
}

void cache_drop(struct cache *cache, struct item *item)
{
	pthread_mutex_lock(&cache->mutex);
	drop(cache, item);
	pthread_mutex_unlock(&cache->mutex);
}
