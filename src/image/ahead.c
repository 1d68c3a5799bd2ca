// SPDX-License-Identifier: Apache-2.0
#include "image/ahead.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"

#define STREAMS	    16 /* sequential readers told apart */
#define AFTER_READS 2  /* in sequence, before anything is fetched */
#define QUEUE	    64 /* pieces waiting; when it is full nothing is fetched ahead */
#define THREADS	    2
#define PIECE_BYTES (256u << 10)
#define FIRST_BYTES (512u << 10)

/* Somebody who read up to `next`. */
struct reader {
	uint64_t next, fetched; /* what was asked to be fetched ends there */
	uint64_t window;
	uint64_t used; /* when, by ahead.clock */
	unsigned reads;
};

struct piece {
	uint64_t offset;
	uint32_t length;
};

struct ahead {
	ahead_fetch_fn *fetch;
	void *context;
	uint64_t size, window_bytes;
	pthread_mutex_t mutex;
	pthread_cond_t wanted;
	struct reader readers[STREAMS];
	uint64_t clock;
	struct piece queue[QUEUE];
	unsigned first, count;
	pthread_t threads[THREADS];
	unsigned thread_count;
	bool stop;
};

struct ahead *ahead_new(ahead_fetch_fn *fetch, void *context, uint64_t size, uint64_t window_bytes)
{
	struct ahead *a = xcalloc(1, sizeof *a);

	a->fetch = fetch;
	a->context = context;
	a->size = size;
	a->window_bytes = window_bytes;
	pthread_mutex_init(&a->mutex, NULL);
	pthread_cond_init(&a->wanted, NULL);
	return a;
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->mutex);
	a->stop = true;
	pthread_cond_broadcast(&a->wanted);
	pthread_mutex_unlock(&a->mutex);
	for (unsigned i = 0; i < a->thread_count; i++)
		pthread_join(a->threads[i], NULL);
	pthread_cond_destroy(&a->wanted);
	pthread_mutex_destroy(&a->mutex);
	free(a);
}

static void *work(void *arg)
{
	struct ahead *a = arg;

	pthread_mutex_lock(&a->mutex);
	while (!a->stop) {
		struct piece p;

		if (a->count == 0) {
			pthread_cond_wait(&a->wanted, &a->mutex);
			continue;
		}
		p = a->queue[a->first];
		a->first = (a->first + 1) % QUEUE;
		a->count--;
		pthread_mutex_unlock(&a->mutex);
		a->fetch(a->context, p.offset, p.length);
		pthread_mutex_lock(&a->mutex);
	}
	pthread_mutex_unlock(&a->mutex);
	return NULL;
}

/* The threads begin with the first sequential reader: most disks of a machine never have one. */
static void begin_threads(struct ahead *a)
{
	while (a->thread_count < THREADS &&
	       pthread_create(&a->threads[a->thread_count], NULL, work, a) == 0)
		a->thread_count++;
}

/* The reader that left off here, or the longest unused to be a new one. */
static struct reader *find_reader(struct ahead *a, uint64_t offset)
{
	struct reader *oldest = &a->readers[0];

	for (unsigned i = 0; i < STREAMS; i++) {
		struct reader *r = &a->readers[i];

		if (r->used && r->next == offset)
			return r;
		if (r->used < oldest->used)
			oldest = r;
	}
	*oldest = (struct reader){.next = offset, .window = FIRST_BYTES};
	return oldest;
}

static void want(struct ahead *a, struct reader *r, uint64_t until)
{
	while (r->fetched < until && a->count < QUEUE) {
		uint64_t left = until - r->fetched;
		struct piece *p = &a->queue[(a->first + a->count) % QUEUE];

		*p = (struct piece){r->fetched, left < PIECE_BYTES ? (uint32_t)left : PIECE_BYTES};
		a->count++;
		r->fetched += p->length;
	}
	pthread_cond_broadcast(&a->wanted);
}

void ahead_note(struct ahead *a, uint64_t offset, uint64_t length)
{
	struct reader *r;

	pthread_mutex_lock(&a->mutex);
	r = find_reader(a, offset);
	r->used = ++a->clock;
	r->next = offset + length;
	r->reads++;
	if (r->fetched < r->next)
		r->fetched = r->next;
	/* Half a window of what was fetched is left: time to ask for more. */
	if (r->reads > AFTER_READS && r->fetched - r->next <= r->window / 2) {
		uint64_t until = r->next + r->window;

		begin_threads(a);
		want(a, r, until < a->size ? until : a->size);
		r->window = r->window * 2 < a->window_bytes ? r->window * 2 : a->window_bytes;
	}
	pthread_mutex_unlock(&a->mutex);
}
