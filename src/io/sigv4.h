// SPDX-License-Identifier: Apache-2.0
/* AWS Signature Version 4 (spec: the AWS Signature Version 4 signing process): signing and checking, pure. */
#ifndef IO_SIGV4_H
#define IO_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct http_header {
	const char *name, *value;
};

struct http_request {
	const char *method, *path, *query; /* path as received; query "" */
	const struct http_header *headers;
	unsigned header_count;
	const void *body;
	size_t body_len;
	const char *payload_sha256; /* of the body in hexadecimal where it is known already, or NULL */
};

/* The Authorization header, parsed. Strings point into `storage`. */
struct sigv4_authorization {
	char storage[1024];
	const char *access_key_id, *date, *region, *service;
	const char *signed_headers; /* "a;b;c" */
	const char *signature;	    /* 64 hexadecimal digits */
};

/* Parse the header's value; strict, bounded. ERR_INVALID says which part is wrong. */
int sigv4_parse(const char *value, struct sigv4_authorization *out, struct err *e);

/* The signature of a request (64 digits + NUL) for the given signed headers. ERR_INVALID when a
 * named header is missing. */
int sigv4_signature(const struct http_request *r, const char *signed_headers, const char *amz_date,
		    const char *region, const char *service, const char *secret, char out[65],
		    struct err *e);

/* Value of the Authorization header for a request whose headers (host, x-amz-date, x-amz-target,
 * content-type …) are all to be signed. */
int sigv4_sign(const struct http_request *r, const char *amz_date, const char *region,
	       const char *service, const char *access_key_id, const char *secret, struct buf *out,
	       struct err *e);

/* "20261121T040506Z" to ms and back; false when malformed. */
bool amz_date_parse(const char *text, int64_t *ms);
void amz_date_text(int64_t ms, char out[17]);

#endif
