// SPDX-License-Identifier: Apache-2.0
/*
 * The writer's lock of kind s3. It needs of the server that what was written is read (as Amazon S3
 * and Ceph give since 2020 and ever), and works best where a PUT with If-None-Match: * fails when
 * the object is there. It does not use If-Match, which some servers compare wrongly.
 *
 * Taking: list lock/; when the highest generation g is held, busy; make g+1 if it is not there;
 * when g was taken for stale, look again at it and step back if its owner wrote meanwhile.
 * Renewing: write g, then list; when a higher one is there, the lock is lost.
 * So of an owner who comes back and one who takes over at least one sees the other:
 * if the owner's list did not show g+1, it wrote g before g+1 was made and looked back from.
 */
#include <openssl/crypto.h>
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
#include "store/s3.h"

#define LOCK_BYTES_MAX 4096

struct s3_lock {
	struct s3 *s3;
	uint64_t generation;
	char id[ID_BYTES];
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t mutex;
	pthread_cond_t woken;
	bool stop;
	int64_t renewed; /* when the last renewal that succeeded began */
	uint64_t renewals;
	struct err lost; /* who has it now, if not we */
};

/* A lock as found. */
struct found {
	uint64_t generation; /* 0: none */
	char id[ID_BYTES];
	char host[80];
	char process[160]; /* what tells its process from all others of that machine */
	bool held, ours_is_dead;
	int64_t age_ms; /* since it was written, by the server's clock */
	int64_t modified;
};

/* Keeps counting while the machine sleeps. */
static int64_t boot_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* This boot of this machine, and the namespace in which process numbers count. */
static void machine_text(char out[100])
{
	struct buf boot = {0};
	struct stat st = {0};
	file_read("/proc/sys/kernel/random/boot_id", 64, &boot, NULL);
	stat("/proc/self/ns/pid", &st);
	snprintf(out, 100, "%.36s %llu", buf_str(&boot), (unsigned long long)st.st_ino);
	buf_release(&boot);
}

/* "PID STARTED", or "" when there is no such process. */
static void process_text(long pid, char out[48])
{
	struct buf stat_text = {0};
	char path[48];
	unsigned long long started = 0;
	out[0] = '\0';
	snprintf(path, sizeof path, "/proc/%ld/stat", pid);
	if (file_read(path, 4096, &stat_text, NULL) == 0) {
		const char *rest = strrchr(buf_str(&stat_text), ')'); /* behind the name */
		char state = 0;
		if (rest &&
		    sscanf(rest,
			   ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			   "%*s %*s %*s %*s %*s %*s %llu",
			   &state, &started) == 2 &&
		    state != 'Z' && state != 'X')
			snprintf(out, 48, "%ld %llu", pid, started);
	}
	buf_release(&stat_text);
}

static void lock_text(const struct s3_lock *l, bool held, struct buf *out)
{
	char host[80] = "", machine[100], process[48];
	gethostname(host, sizeof host - 1);
	for (char *p = host; *p; p++)
		if (*p <= ' ' || *p > '~')
			*p = '?';
	machine_text(machine);
	process_text(getpid(), process);
	buf_printf(out,
		   "godwit lock 1\nstate %s\nowner %s\nhost %s\nmachine %s\nprocess %s\n"
		   "renewals %llu\n",
		   held ? "held" : "free", l->id, host, machine, process,
		   (unsigned long long)l->renewals);
}

static void lock_key(uint64_t generation, char out[32])
{
	snprintf(out, 32, "lock/%016llx", (unsigned long long)generation);
}

static bool line_value(const char *text, const char *word, char *out, size_t room)
{
	char *before = xasprintf("\n%s ", word);
	const char *at = strstr(text, before);
	out[0] = '\0';
	if (at) {
		at += strlen(before);
		snprintf(out, room, "%.*s", (int)strcspn(at, "\n"), at);
	}
	free(before);
	return at;
}

static void found_parse(const char *text, struct found *f)
{
	char state[8], machine[100], here[100], process[48], now[48];
	line_value(text, "state", state, sizeof state);
	line_value(text, "owner", f->id, sizeof f->id);
	line_value(text, "host", f->host, sizeof f->host);
	line_value(text, "machine", machine, sizeof machine);
	line_value(text, "process", process, sizeof process);
	for (char *p = f->host; *p; p++)
		if (*p <= ' ' || *p > '~')
			*p = '?';
	f->held = strcmp(state, "free") != 0;
	machine_text(here);
	if (strcmp(machine, here) == 0 && *process) {
		process_text(strtol(process, NULL, 10), now);
		f->ours_is_dead = strcmp(process, now) != 0;
	}
	snprintf(f->process, sizeof f->process, "%.*s", (int)strcspn(process, " "), process);
}

/* Read lock/generation: 1, or 0 when it is gone. */
static int lock_read(struct s3 *s, uint64_t generation, struct found *f, struct err *e)
{
	char key[32], date[64], modified[64];
	struct http_answer a;
	int64_t now;
	lock_key(generation, key);
	*f = (struct found){.generation = generation};
	struct s3_call c = {.method = "GET", .key = key, .max = LOCK_BYTES_MAX, .accept = 404};
	int result = s3_send(s, &c, &a, e);
	if (result == 404) {
		result = 0;
	} else if (result > 0) {
		result = 1;
		found_parse(buf_str(&a.body), f);
		/* Without the server's two dates it is never stale. */
		if (http_answer_header(&a, "Date", date, sizeof date) &&
		    http_answer_header(&a, "Last-Modified", modified, sizeof modified) &&
		    http_date_parse(date, &now) && http_date_parse(modified, &f->modified))
			f->age_ms = now - f->modified;
	}
	http_answer_release(&a);
	return result;
}

static int highest_visit(void *context, const char *name, struct err *e)
{
	char *end;
	(void)e;
	uint64_t generation = strtoull(name, &end, 16), *highest = context;
	if (end == name + 16 && *end == '\0' && generation > *highest)
		*highest = generation;
	return 0;
}

static int highest_find(struct s3 *s, uint64_t *highest, struct err *e)
{
	*highest = 0;
	return s3_list(s, "lock", highest_visit, highest, e);
}

/* Write ours. With `fresh` only if there is none: 412 when there is. */
static int lock_write(struct s3_lock *l, bool held, bool fresh, bool once, struct err *e)
{
	static const struct http_header if_none = {"If-None-Match", "*"};
	struct buf text = {0};
	char key[32];
	lock_key(l->generation, key);
	lock_text(l, held, &text);
	struct s3_call c = {.method = "PUT",
			    .key = key,
			    .headers = &if_none,
			    .header_count = fresh,
			    .body = text.data,
			    .body_len = text.len,
			    .accept = fresh ? 412 : 0,
			    .encrypt = true,
			    .once = once,
			    .limit_ms = S3_LOCK_RENEW_MS};
	int result = s3_do(l->s3, &c, e);
	buf_release(&text);
	return result;
}

static void lock_remove(struct s3 *s, uint64_t generation)
{
	char key[32];
	lock_key(generation, key);
	s3_do(s, &(struct s3_call){.method = "DELETE", .key = key, .once = true}, NULL);
}

static int busy(const struct s3 *s, const struct found *f, struct err *e)
{
	return err_set(e, ERR_BUSY,
		       "store %s has a writer already: process %s on %s, last heard of %lld s ago; "
		       "when that is gone, try again after a minute",
		       s->place.where, f->process, f->host,
		       (long long)(f->age_ms > 0 ? f->age_ms / 1000 : 0));
}

/* The renewal: write, then see whether anyone took over. */
static int renew(struct s3_lock *l, bool once, struct err *e)
{
	uint64_t highest;
	struct found f;
	int64_t began = boot_ms();
	l->renewals++;
	if (lock_write(l, true, false, once, e) < 0 || highest_find(l->s3, &highest, e) < 0)
		return -1;
	if (highest <= l->generation) {
		l->renewed = began;
		return 0;
	}
	if (lock_read(l->s3, highest, &f, e) < 0)
		return -1;
	return err_set(&l->lost, ERR_CONFLICT,
		       "store %s was taken over by process %s on %s; end one of the two services",
		       l->s3->place.where, f.process, f.host);
}

static void *renew_thread(void *context)
{
	struct s3_lock *l = context;
	struct err e = {0};
	pthread_mutex_lock(&l->mutex);
	while (!l->stop && l->lost.kind == ERR_NONE) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += S3_LOCK_RENEW_MS / 1000;
		while (!l->stop && pthread_cond_timedwait(&l->woken, &l->mutex, &until) == 0)
			;
		if (!l->stop && renew(l, true, &e) < 0)
			log_debug("%s", e.text);
	}
	pthread_mutex_unlock(&l->mutex);
	return NULL;
}

/* Make generation g+1. 1: we have it; 0: another was faster. */
static int lock_make(struct s3_lock *l, struct err *e)
{
	struct found f;
	int64_t began = boot_ms();
	int status = lock_write(l, true, true, false, e);
	if (status < 0)
		return -1;
	/* A try whose answer was lost may have made it: its text tells. */
	if (status == 412) {
		int got = lock_read(l->s3, l->generation, &f, e);
		if (got <= 0 || strcmp(f.id, l->id) != 0)
			return got < 0 ? -1 : 0;
	} else {
		/* Does the server heed the condition? Where it does, the second one fails. */
		status = lock_write(l, true, true, false, e);
		if (status < 0)
			return -1;
		if (status != 412) {
			log_debug("store %s: the server does not know If-None-Match; the lock is "
				  "settled by waiting",
				  l->s3->place.where);
			clock_sleep_ms(S3_LOCK_SETTLE_MS);
			int got = lock_read(l->s3, l->generation, &f, e);
			if (got <= 0 || strcmp(f.id, l->id) != 0)
				return got < 0 ? -1 : 0;
		}
	}
	l->renewed = began;
	return 1;
}

static int lock_try(struct s3_lock *l, struct err *e)
{
	struct found before = {0}, after = {0};
	uint64_t highest;
	int got = 0;
	if (highest_find(l->s3, &highest, e) < 0 ||
	    (highest && (got = lock_read(l->s3, highest, &before, e)) < 0))
		return -1;
	bool stale = got && before.held && !before.ours_is_dead;
	if (stale && before.age_ms < S3_LOCK_STALE_MS)
		return busy(l->s3, &before, e);
	l->generation = highest + 1;
	got = lock_make(l, e);
	if (got == 0 && lock_read(l->s3, l->generation, &after, e) >= 0)
		return busy(l->s3, &after, e);
	if (got <= 0)
		return -1;
	if (stale && lock_read(l->s3, highest, &after, e) > 0 &&
	    after.modified != before.modified) {
		lock_remove(l->s3, l->generation);
		return busy(l->s3, &after, e);
	}
	if (highest)
		lock_remove(l->s3, highest);
	return 0;
}

int s3_lock_take(struct s3 *s, struct s3_lock **out, struct err *e)
{
	struct s3_lock *l = xcalloc(1, sizeof *l);
	pthread_condattr_t monotonic;
	l->s3 = s;
	id_make(l->id, "writer-", 24);
	pthread_mutex_init(&l->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->woken, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (lock_try(l, e) < 0) {
		l->generation = 0; /* nothing to give back */
		s3_lock_release(l);
		return -1;
	}
	l->has_thread = pthread_create(&l->thread, NULL, renew_thread, l) == 0;
	if (!l->has_thread) {
		s3_lock_release(l);
		return err_set(e, ERR_IO, "cannot start a thread to renew the store's lock");
	}
	*out = l;
	return 0;
}

uint64_t s3_lock_generation(const struct s3_lock *l)
{
	return l->generation;
}

int s3_lock_check(struct s3_lock *l, struct err *e)
{
	int result = 0;
	pthread_mutex_lock(&l->mutex);
	if (l->lost.kind == ERR_NONE && boot_ms() - l->renewed > S3_LOCK_TRUST_MS)
		result = renew(l, false, e);
	if (l->lost.kind != ERR_NONE)
		result = err_set(e, l->lost.kind, "%s", l->lost.text);
	pthread_mutex_unlock(&l->mutex);
	return result;
}

void s3_lock_release(struct s3_lock *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->mutex);
	l->stop = true;
	pthread_cond_signal(&l->woken);
	pthread_mutex_unlock(&l->mutex);
	if (l->has_thread)
		pthread_join(l->thread, NULL);
	if (l->generation && l->lost.kind == ERR_NONE)
		lock_write(l, false, false, true, NULL);
	pthread_mutex_destroy(&l->mutex);
	pthread_cond_destroy(&l->woken);
	free(l);
}
