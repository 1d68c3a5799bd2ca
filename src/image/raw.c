// SPDX-License-Identifier: Apache-2.0
/* A version written to a raw file, without a detour through NBD: threads take one stretch of the
 * disk after the other, and every chunk goes from the store to its place. */
#include "image/image.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/file.h"

#define THREADS_MAX 8

struct writer {
	struct version *version;
	int fd;
	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t changed;
	uint64_t next, done, size; /* bytes of the disk: handed out, written */
	unsigned running;
	struct err why; /* kind not ERR_NONE: the first failure */
};

static int write_piece(void *context, uint64_t offset, const void *data, uint32_t length,
		       struct err *e)
{
	return fd_write_at(((struct writer *)context)->fd, data, length, offset, e);
}

/* The next stretch ends where a region may: no page is read by two threads. */
static uint64_t take(struct writer *w, uint64_t *offset)
{
	uint64_t length = w->size - w->next;

	if (w->why.kind != ERR_NONE || length == 0)
		return 0;
	*offset = w->next;
	length = version_stretch(w->version, w->next);
	w->next += length;
	return length;
}

static void *work(void *arg)
{
	struct writer *w = arg;
	struct err why = {0};
	uint64_t offset, length;

	pthread_mutex_lock(&w->mutex);
	while ((length = take(w, &offset)) > 0) {
		int result;

		pthread_mutex_unlock(&w->mutex);
		result = version_each(w->version, offset, length, write_piece, w, &why);
		/* The disk may as well begin to write: in the end all has to be there. */
		if (result == 0)
			sync_file_range(w->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
		pthread_mutex_lock(&w->mutex);
		if (result < 0 && w->why.kind == ERR_NONE)
			w->why = why;
		w->done += length;
		pthread_cond_signal(&w->changed);
	}
	w->running--;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

static unsigned thread_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
}

int version_write(struct version *v, int fd, image_step_fn *step, void *context, struct err *e)
{
	struct writer w = {.version = v, .fd = fd, .size = version_size(v)};
	pthread_t threads[THREADS_MAX];
	unsigned wanted = thread_count(), started = 0;

	pthread_mutex_init(&w.mutex, NULL);
	pthread_cond_init(&w.changed, NULL);
	pthread_mutex_lock(&w.mutex);
	while (started < wanted && pthread_create(&threads[started], NULL, work, &w) == 0)
		started++;
	w.running = started;
	if (!started)
		err_set(&w.why, ERR_UNAVAILABLE, "no thread can be started");
	while (w.running) {
		uint64_t done;

		pthread_cond_wait(&w.changed, &w.mutex);
		done = w.done;
		pthread_mutex_unlock(&w.mutex);
		if (step)
			step(context, done, w.size);
		pthread_mutex_lock(&w.mutex);
	}
	pthread_mutex_unlock(&w.mutex);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&w.changed);
	pthread_mutex_destroy(&w.mutex);
	if (w.why.kind != ERR_NONE)
		return err_set(e, w.why.kind, "%s", w.why.text);
	return 0;
}
