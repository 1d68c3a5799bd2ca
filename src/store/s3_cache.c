// SPDX-License-Identifier: Apache-2.0
#include "store/s3_cache.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define AHEAD_MIN_BYTES (128 * KIB)
#define AHEAD_MAX_BYTES (4 * MIB)
#define CACHE_MAX_BYTES (32 * MIB)

/* A part of an object, there or being fetched. */
struct window {
	struct window *next;
	char *key;
	uint64_t at;
	size_t len; /* while being fetched, what was asked for */
	struct buf bytes;
	bool fetching, forgotten;
	uint64_t used; /* when, by cache.clock */
};

struct s3_cache {
	struct s3 *s3;
	pthread_mutex_t mutex;
	pthread_cond_t fetched;
	struct window *windows;
	uint64_t bytes, clock;
};

struct s3_cache *s3_cache_new(struct s3 *s)
{
	struct s3_cache *c = xcalloc(1, sizeof *c);
	c->s3 = s;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->fetched, NULL);
	return c;
}

static void window_free(struct s3_cache *c, struct window *w)
{
	for (struct window **at = &c->windows; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	c->bytes -= w->len;
	buf_release(&w->bytes);
	free(w->key);
	free(w);
}

void s3_cache_free(struct s3_cache *c)
{
	if (!c)
		return;
	while (c->windows)
		window_free(c, c->windows);
	pthread_mutex_destroy(&c->mutex);
	pthread_cond_destroy(&c->fetched);
	free(c);
}

static struct window *window_find(struct s3_cache *c, const char *key, uint64_t offset, size_t n)
{
	for (struct window *w = c->windows; w; w = w->next)
		if (w->at <= offset && offset + n <= w->at + w->len && !w->forgotten &&
		    strcmp(w->key, key) == 0)
			return w;
	return NULL;
}

/* How much to fetch: the double of a window that ends shortly before, else the least. */
static size_t ahead(const struct s3_cache *c, const char *key, uint64_t offset, size_t n)
{
	size_t most = AHEAD_MIN_BYTES;
	for (const struct window *w = c->windows; w; w = w->next) {
		uint64_t end = w->at + w->len;
		if (w->at < offset && offset <= end + AHEAD_MIN_BYTES &&
		    offset + AHEAD_MIN_BYTES >= end && 2 * w->len > most &&
		    strcmp(w->key, key) == 0)
			most = 2 * w->len;
	}
	if (most > AHEAD_MAX_BYTES)
		most = AHEAD_MAX_BYTES;
	return n > most ? n : most;
}

static void make_room(struct s3_cache *c, size_t more)
{
	while (c->bytes + more > CACHE_MAX_BYTES) {
		struct window *oldest = NULL;
		for (struct window *w = c->windows; w; w = w->next)
			if (!w->fetching && (!oldest || w->used < oldest->used))
				oldest = w;
		if (!oldest)
			return;
		window_free(c, oldest);
	}
}

/* A ranged GET; a range that goes beyond the object's end is answered shorter. */
static int fetch(struct s3 *s, const char *key, uint64_t offset, size_t n, struct buf *out,
		 struct err *e)
{
	char range[64];
	struct err why = {0};
	struct http_answer a;
	snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)offset,
		 (unsigned long long)(offset + n - 1));
	struct http_header header = {"Range", range};
	struct s3_call c = {.method = "GET",
			    .key = key,
			    .headers = &header,
			    .header_count = 1,
			    .max = n,
			    .accept = 416};
	int status = s3_send(s, &c, &a, &why);
	if (status == 206) {
		*out = a.body;
		a.body = (struct buf){0};
	} else if (status == 416) {
		err_set(e, ERR_CORRUPT,
			"%s of store %s ends before byte %llu; put it back from a "
			"backup",
			key, s->place.where, (unsigned long long)offset);
	} else if (status > 0) {
		err_set(e, ERR_INVALID, "the server of store %s does not heed ranges; use another",
			s->place.where);
	} else if (why.kind == ERR_NOT_FOUND) {
		err_set(e, ERR_CORRUPT, "%s (%s is missing; put it back from a backup)", why.text,
			key);
	} else {
		err_set(e, why.kind, "%s", why.text);
	}
	http_answer_release(&a);
	return status == 206 ? 0 : -1;
}

static int window_fetch(struct s3_cache *c, const char *key, uint64_t offset, size_t n,
			struct window **out, struct err *e)
{
	struct window *w = xcalloc(1, sizeof *w);
	w->key = xstrdup(key);
	w->at = offset;
	w->len = ahead(c, key, offset, n);
	w->fetching = true;
	make_room(c, w->len);
	w->next = c->windows;
	c->windows = w;
	c->bytes += w->len;
	pthread_mutex_unlock(&c->mutex);
	int result = fetch(c->s3, key, offset, w->len, &w->bytes, e);
	pthread_mutex_lock(&c->mutex);
	w->fetching = false;
	c->bytes -= w->len - w->bytes.len;
	w->len = w->bytes.len;
	pthread_cond_broadcast(&c->fetched);
	if (result == 0 && w->len < n)
		result = err_set(e, ERR_CORRUPT,
				 "%s of store %s ends before byte %llu; put it back from a backup",
				 key, c->s3->place.where, (unsigned long long)(offset + n));
	if (result < 0) {
		window_free(c, w);
		return -1;
	}
	*out = w;
	return 0;
}

int s3_cache_read(struct s3_cache *c, const char *key, uint64_t offset, void *to, size_t n,
		  struct err *e)
{
	struct window *w;
	int result = 0;
	pthread_mutex_lock(&c->mutex);
	while ((w = window_find(c, key, offset, n)) && w->fetching)
		pthread_cond_wait(&c->fetched, &c->mutex);
	if (!w)
		result = window_fetch(c, key, offset, n, &w, e);
	if (result == 0) {
		memcpy(to, w->bytes.data + (offset - w->at), n);
		w->used = ++c->clock;
		if (w->forgotten)
			window_free(c, w);
	}
	pthread_mutex_unlock(&c->mutex);
	return result;
}

void s3_cache_forget(struct s3_cache *c, const char *key)
{
	pthread_mutex_lock(&c->mutex);
	for (struct window *w = c->windows, *next; w; w = next) {
		next = w->next;
		if (strcmp(w->key, key) != 0)
			continue;
		w->forgotten = true;
		if (!w->fetching)
			window_free(c, w);
	}
	pthread_mutex_unlock(&c->mutex);
}
