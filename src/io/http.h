// SPDX-License-Identifier: Apache-2.0
/*
 * A small HTTP/1.1 client on libcurl: one request, one answer, both bounded. Connections are kept
 * and used again, a bounded number of them; no redirect is followed and nothing is tried twice,
 * which is the caller's business.
 */
#ifndef IO_HTTP_H
#define IO_HTTP_H

#include "io/sigv4.h"

struct http;

struct http_plan {
	const char *origin;   /* "https://host:port" */
	const char *ca_file;  /* whom to trust instead of the system's authorities; or NULL */
	unsigned connections; /* at most so many requests at a time; more wait */
	int64_t connect_ms;   /* to give up connecting */
	int64_t stalled_ms;   /* to give up when less than 1 KiB/s moves for so long */
};

/* Who signs, by AWS Signature Version 4. */
struct http_signer {
	const char *access_key_id, *secret, *session_token; /* session_token may be NULL */
	const char *region, *service;
};

struct http_answer {
	int status;
	struct buf headers; /* as received, at most LIMIT_REQUEST_HEADER_BYTES */
	struct buf body;    /* at most what was asked for; empty when it went to a file */
	uint64_t body_len;
};

/* ERR_INVALID for an origin that is none, or with a path, a user or a password in it. */
int http_open(const struct http_plan *plan, struct http **out, struct err *e);
void http_close(struct http *h);

/* "host:port" as in the Host header: without the port when it is the scheme's own. */
const char *http_host(const struct http *h);

/*
 * Send a request and receive its answer, whatever its status. Any thread may call it. Host is added
 * to the headers; with a signer, so are x-amz-date, x-amz-content-sha256 and Authorization. `path`
 * and `query` go out as they are. A 2xx body longer than `max` is ERR_INVALID; with `to_fd` not -1
 * it is written to that file from its position on. `limit_ms` bounds the whole call (0: no limit).
 * ERR_UNAVAILABLE when there is no answer or not all of it, ERR_DENIED when the server's certificate
 * is not trusted. The caller releases `a`, on failure too.
 */
int http_send(struct http *h, const struct http_request *r, const struct http_signer *signer,
	      int64_t limit_ms, uint64_t max, int to_fd, struct http_answer *a, struct err *e);
void http_answer_release(struct http_answer *a);

/* Copy a header of the answer, without outer spaces, cut at `room`; false when there is none. */
bool http_answer_header(const struct http_answer *a, const char *name, char *out, size_t room);

/* "Sat, 21 Nov 2026 07:46:05 GMT" (RFC 9110 §5.6.7, the form servers send) to ms; false when it is
 * none. */
bool http_date_parse(const char *text, int64_t *ms);

#endif
