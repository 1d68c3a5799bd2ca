// SPDX-License-Identifier: Apache-2.0
/* What the parts of kind s3 share: the place, one request with its retries, the writer's lock. */
#ifndef STORE_S3_H
#define STORE_S3_H

#include "io/http.h"

#define S3_KEY_MAX	    1024 /* the protocol's own bound */
#define S3_CONNECTIONS	    8
#define S3_LIST_BYTES_MAX   (8u << 20) /* a page of at most 1000 keys */
#define S3_PATIENCE_MS	    (5 * 60 * 1000)
#define S3_OPEN_PATIENCE_MS (8 * 1000)
#define S3_LOCK_RENEW_MS    (15 * 1000)
#define S3_LOCK_TRUST_MS    (45 * 1000) /* what we change, we change within this of a renewal */
#define S3_LOCK_STALE_MS    (60 * 1000) /* others take the lock over after this */
#define S3_LOCK_SETTLE_MS   (3 * 1000)
#define S3_CONNECT_MS	    (10 * 1000)
#define S3_STALLED_MS	    (30 * 1000)

struct s3_lock;

/* BUCKET[/PREFIX][?name=value&…] */
struct s3_place {
	char *bucket;
	char *prefix; /* "" or ending in a slash */
	char *where;  /* "s3:BUCKET/PREFIX" */
	char *endpoint, *region;
	char *ca_file, *cache_dir, *credentials_file; /* or NULL */
	char *sse, *sse_key;			      /* or NULL */
	char *key_id, *secret, *token;		      /* by s3_credentials_find */
};

/* ERR_INVALID names what is wrong. On failure `p` is released. */
int s3_place_parse(const char *place, struct s3_place *p, struct err *e);
/* From the file, or without one from the environment. */
int s3_credentials_find(struct s3_place *p, struct err *e);
void s3_place_release(struct s3_place *p);

struct s3 {
	struct s3_place place;
	struct http *http;
	int64_t patience_ms; /* how long a request is tried again */
};

struct s3_call {
	const char *method;
	const char *key;   /* under the prefix, or NULL for the bucket itself */
	const char *query; /* encoded; or NULL */
	const struct http_header *headers;
	unsigned header_count;
	const void *body;
	size_t body_len;
	uint64_t max; /* of the answer's body */
	bool to_file; /* the body goes to_fd, which is emptied before each try */
	int to_fd;
	int accept;	       /* a status besides 2xx that is no error, or 0 */
	bool encrypt;	       /* with the headers for server-side encryption */
	bool once;	       /* do not try again */
	int64_t limit_ms;      /* for each try, or 0 */
	struct s3_lock *fence; /* held at each try, or NULL */
};

/* Send and try again on what may pass: no answer, 5xx, 408, 429, SlowDown. The answer's status, or
 * -1 with a sentence that names request, bucket, status, the error's code and a cure. The caller
 * releases `a`, on failure too. */
int s3_send(struct s3 *s, const struct s3_call *c, struct http_answer *a, struct err *e);
/* Send what has no body in its answer. */
int s3_do(struct s3 *s, const struct s3_call *c, struct err *e);
/* Each key under `folder` without the prefix and the folder. */
int s3_list(struct s3 *s, const char *folder,
	    int (*each)(void *context, const char *name, struct err *e), void *context,
	    struct err *e);

/*
 * The writer's lock: objects lock/GENERATION, of which the highest counts. A writer makes the next
 * one, so none is ever written by two, and writes it again every 15 seconds. It may be taken over
 * when it says that it is free, when its process is seen to be gone on this machine, or when by the
 * server's clock nothing was heard of it for a minute. The rule in full: man/godwit-s3.7.
 */

int s3_lock_take(struct s3 *s, struct s3_lock **out, struct err *e);
uint64_t s3_lock_generation(const struct s3_lock *l);
/* We are still the writer, for S3_LOCK_STALE_MS - S3_LOCK_TRUST_MS at least; asks the server when
 * it was not heard of lately. ERR_CONFLICT when another took the lock. */
int s3_lock_check(struct s3_lock *l, struct err *e);
/* Give it back. NULL is fine. */
void s3_lock_release(struct s3_lock *l);

#endif
