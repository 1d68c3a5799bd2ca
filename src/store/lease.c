// SPDX-License-Identifier: Apache-2.0
#include "store/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "store/roots.h"

#define ATTEMPTS	3 /* a writer that starts clears temporary files, perhaps ours */
#define DESCRIPTION_MAX 1024

/* A process, so that another that got its number is not taken for it. */
struct holder {
	char boot[40];
	int64_t pid_namespace, pid, started, renewed_ms;
};

struct lease {
	struct store *store;
	char ref[ID_BYTES];
	struct buf data;
	size_t roots_len;
	char *who;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool ending;
	pthread_t thread;
};

static void boot_read(char out[40])
{
	struct buf text = {0};
	if (file_read("/proc/sys/kernel/random/boot_id", 64, &text, NULL) < 0)
		buf_clear(&text);
	snprintf(out, 40, "%.36s", buf_str(&text));
	buf_release(&text);
}

static int64_t pid_namespace(void)
{
	struct stat st;
	return stat("/proc/self/ns/pid", &st) == 0 ? (int64_t)st.st_ino : 0;
}

/* When a process began, in ticks since boot; 0 when there is none. */
static int64_t process_started(int64_t pid)
{
	char path[40];
	struct buf text = {0};
	int64_t started = 0;
	snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
	if (file_read(path, 4096, &text, NULL) == 0) {
		/* After the name, which may hold anything, the state is field 3, this one 22. */
		const char *at = strrchr(buf_str(&text), ')');
		for (int field = 2; at && field < 22; field++)
			at = strchr(at + 1, ' ');
		started = at ? strtoll(at + 1, NULL, 10) : 0;
	}
	buf_release(&text);
	return started;
}

static void describe(struct lease *l)
{
	char boot[40];
	boot_read(boot);
	l->data.len = l->roots_len;
	buf_printf(&l->data,
		   "boot %s\nnamespace %" PRId64 "\npid %d\nstarted %" PRId64 "\nrenewed %" PRId64
		   "\nwho %s\n",
		   boot, pid_namespace(), (int)getpid(), process_started(getpid()), clock_now_ms(),
		   l->who);
}

bool lease_counts(const uint8_t *description, size_t n, int64_t now_ms)
{
	struct holder h;
	char boot[40],
	    *text = xstrndup((const char *)description, n < DESCRIPTION_MAX ? n : DESCRIPTION_MAX);
	int fields = sscanf(text,
			    "boot %39s\nnamespace %" SCNd64 "\npid %" SCNd64 "\nstarted %" SCNd64
			    "\nrenewed %" SCNd64,
			    h.boot, &h.pid_namespace, &h.pid, &h.started, &h.renewed_ms);
	free(text);
	if (fields != 5)
		return true; /* of a newer godwit: rather too long than too short */
	boot_read(boot);
	if (strcmp(h.boot, boot) == 0 && h.pid_namespace == pid_namespace())
		return process_started(h.pid) == h.started;
	return now_ms - h.renewed_ms < READER_LEASE_MS;
}

static int lease_write(struct lease *l, struct err *e)
{
	struct err why = {0};
	describe(l);
	for (unsigned i = 0; i < ATTEMPTS; i++)
		if (store_ref_set(l->store, l->ref, l->data.data, l->data.len, &why) == 0)
			return 0;
	return err_set(e, why.kind, "%s", why.text);
}

static void *renew(void *context)
{
	struct lease *l = context;
	struct err why = {0};
	pthread_mutex_lock(&l->mutex);
	while (!l->ending) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += READER_LEASE_MS / 4 / 1000;
		if (pthread_cond_timedwait(&l->wake, &l->mutex, &until) == ETIMEDOUT &&
		    !l->ending && lease_write(l, &why) < 0)
			log_debug("a lease cannot be renewed: %s", why.text);
	}
	pthread_mutex_unlock(&l->mutex);
	return NULL;
}

static void lease_free(struct lease *l)
{
	pthread_mutex_destroy(&l->mutex);
	pthread_cond_destroy(&l->wake);
	buf_release(&l->data);
	free(l->who);
	free(l);
}

int lease_take(struct store *s, const struct name *roots, size_t count, const char *who,
	       struct lease **out, struct err *e)
{
	struct lease *l = xcalloc(1, sizeof *l);
	struct err why = {0};
	*out = NULL;
	l->store = s;
	l->who = xstrdup(who);
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->wake, NULL);
	id_make(l->ref, LEASE_PREFIX, 16);
	roots_encode(roots, count, &l->data);
	l->roots_len = l->data.len;
	if (lease_write(l, &why) < 0) {
		lease_free(l);
		if (why.kind == ERR_DENIED)
			return 0;
		err_set(e, why.kind, "%s", why.text);
		return err_prefix(e, "cannot keep what is read from being collected");
	}
	int number = pthread_create(&l->thread, NULL, renew, l);
	if (number) {
		store_ref_set(s, l->ref, NULL, 0, NULL);
		lease_free(l);
		return err_errno(e, number, "cannot start a thread for the lease");
	}
	*out = l;
	return 0;
}

void lease_release(struct lease *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->mutex);
	l->ending = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->mutex);
	pthread_join(l->thread, NULL);
	store_ref_set(l->store, l->ref, NULL, 0, NULL);
	lease_free(l);
}
