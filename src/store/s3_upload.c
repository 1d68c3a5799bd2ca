// SPDX-License-Identifier: Apache-2.0
#include "store/s3_upload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "io/file.h"

#define UPLOADS_MAX 3

struct upload {
	struct s3_uploads *all;
	char *key;
	int fd;
	pthread_t thread;
	bool used, done;
	struct err failed;
};

/* One that could not be sent. */
struct failure {
	struct failure *next;
	char *key;
	struct err why;
};

struct s3_uploads {
	struct s3 *s3;
	pthread_mutex_t mutex;
	pthread_cond_t done;
	struct upload uploads[UPLOADS_MAX];
	struct failure *failures;
};

int s3_put_file(struct s3 *s, int fd, const char *key, struct err *e)
{
	struct stat st;
	void *map;
	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "cannot look at the file for %s", key);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(e, errno, "cannot map the file for %s", key);
	struct s3_call c = {.method = "PUT",
			    .key = key,
			    .body = map,
			    .body_len = (size_t)st.st_size,
			    .encrypt = true};
	int result = s3_do(s, &c, e);
	munmap(map, (size_t)st.st_size);
	return result < 0 ? -1 : 0;
}

struct s3_uploads *s3_uploads_new(struct s3 *s)
{
	struct s3_uploads *u = xcalloc(1, sizeof *u);
	u->s3 = s;
	pthread_mutex_init(&u->mutex, NULL);
	pthread_cond_init(&u->done, NULL);
	return u;
}

/* Take a finished one off the list. */
static void reap(struct s3_uploads *u, struct upload *up)
{
	pthread_join(up->thread, NULL);
	if (up->failed.kind != ERR_NONE) {
		struct failure *f = xcalloc(1, sizeof *f);
		*f = (struct failure){u->failures, up->key, up->failed};
		u->failures = f;
		up->key = NULL;
	}
	close(up->fd);
	free(up->key);
	*up = (struct upload){0};
}

static void failure_forget(struct s3_uploads *u, const char *key)
{
	for (struct failure **at = &u->failures; *at;) {
		struct failure *f = *at;
		if (strcmp(f->key, key) != 0) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		free(f->key);
		free(f);
	}
}

void s3_uploads_free(struct s3_uploads *u)
{
	if (!u)
		return;
	s3_uploads_wait(u, "", NULL);
	while (u->failures)
		failure_forget(u, u->failures->key);
	pthread_mutex_destroy(&u->mutex);
	pthread_cond_destroy(&u->done);
	free(u);
}

static void *upload_thread(void *context)
{
	struct upload *up = context;
	struct err why = {0};
	int result = s3_put_file(up->all->s3, up->fd, up->key, &why);
	pthread_mutex_lock(&up->all->mutex);
	if (result < 0)
		up->failed = why;
	up->done = true;
	pthread_cond_broadcast(&up->all->done);
	pthread_mutex_unlock(&up->all->mutex);
	return NULL;
}

/* A free place, waited for. Called with the mutex. */
static struct upload *place_wait(struct s3_uploads *u)
{
	for (;;) {
		for (size_t i = 0; i < UPLOADS_MAX; i++) {
			if (u->uploads[i].done)
				reap(u, &u->uploads[i]);
			if (!u->uploads[i].used)
				return &u->uploads[i];
		}
		pthread_cond_wait(&u->done, &u->mutex);
	}
}

int s3_upload_begin(struct s3_uploads *u, int fd, const char *key, struct err *e)
{
	int result = 0;
	pthread_mutex_lock(&u->mutex);
	struct upload *up = place_wait(u);
	failure_forget(u, key);
	*up = (struct upload){.all = u, .key = xstrdup(key), .used = true};
	up->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (up->fd < 0)
		result = err_errno(e, errno, "cannot send %s", key);
	else if (pthread_create(&up->thread, NULL, upload_thread, up) != 0)
		result = err_set(e, ERR_IO, "cannot start a thread to send %s", key);
	if (result < 0) {
		if (up->fd >= 0)
			close(up->fd);
		free(up->key);
		*up = (struct upload){0};
	}
	pthread_mutex_unlock(&u->mutex);
	return result;
}

/* Wait for those whose keys begin so. Called with the mutex. */
static void wait_for(struct s3_uploads *u, const char *begin)
{
	for (size_t i = 0; i < UPLOADS_MAX; i++) {
		struct upload *up = &u->uploads[i];
		while (up->used && !up->done && text_starts(up->key, begin))
			pthread_cond_wait(&u->done, &u->mutex);
		if (up->used && up->done)
			reap(u, up);
	}
}

int s3_uploads_wait(struct s3_uploads *u, const char *folder, struct err *e)
{
	int result = 0;
	pthread_mutex_lock(&u->mutex);
	wait_for(u, folder);
	for (const struct failure *f = u->failures; f; f = f->next)
		if (text_starts(f->key, folder))
			result = err_set(e, f->why.kind, "%s", f->why.text);
	pthread_mutex_unlock(&u->mutex);
	return result;
}

void s3_upload_forget(struct s3_uploads *u, const char *key)
{
	pthread_mutex_lock(&u->mutex);
	wait_for(u, key);
	failure_forget(u, key);
	pthread_mutex_unlock(&u->mutex);
}

int s3_upload_read(struct s3_uploads *u, const char *key, uint64_t offset, void *to, size_t n,
		   struct err *e)
{
	int result = 0;
	pthread_mutex_lock(&u->mutex);
	for (size_t i = 0; i < UPLOADS_MAX && result == 0; i++) {
		struct upload *up = &u->uploads[i];
		if (up->used && !(up->done && up->failed.kind == ERR_NONE) &&
		    strcmp(up->key, key) == 0)
			result = fd_read_at(up->fd, to, n, offset, e) < 0 ? -1 : 1;
	}
	pthread_mutex_unlock(&u->mutex);
	return result;
}
