// SPDX-License-Identifier: Apache-2.0
/* One request to the object store: signed, tried again where that may help, its failure in words. */
#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "store/s3.h"
#include "store/s3_xml.h"

#define HEADERS_MAX	 8
#define RETRY_LONGEST_MS (20 * 1000)
#define LIST_PAGES_MAX	 100000

/* What the service's error codes mean to the caller, and the cure. (Amazon S3 API reference, list of
 * error codes; QuotaExceeded is Ceph's.) */
static const struct code {
	const char *code;
	enum err_kind kind;
	bool passes;
	const char *cure;
} codes[] = {
    {"AccessDenied", ERR_DENIED, false,
     "give these credentials the right to list the bucket and to read, write and delete in it"},
    {"InvalidAccessKeyId", ERR_DENIED, false, "check the access key"},
    {"SignatureDoesNotMatch", ERR_DENIED, false, "check the secret key and the region"},
    {"InvalidToken", ERR_DENIED, false, "check the session token"},
    {"ExpiredToken", ERR_DENIED, false, "get new temporary credentials"},
    {"RequestTimeTooSkewed", ERR_DENIED, false, "set this machine's clock"},
    {"AuthorizationHeaderMalformed", ERR_INVALID, false, "check the region"},
    {"PermanentRedirect", ERR_INVALID, false, "check the endpoint and the region"},
    {"NoSuchBucket", ERR_NOT_FOUND, false, "check the bucket's name and the endpoint"},
    {"BucketAlreadyExists", ERR_CONFLICT, false, "choose another name for the bucket"},
    {"QuotaExceeded", ERR_FULL, false, "raise the quota or make room in the bucket"},
    {"SlowDown", ERR_UNAVAILABLE, true, "try again later"},
    {"RequestTimeout", ERR_UNAVAILABLE, true, "check the network"},
    {"InternalError", ERR_UNAVAILABLE, true, "try again later"},
    {"ServiceUnavailable", ERR_UNAVAILABLE, true, "try again later"},
    {"OperationAborted", ERR_UNAVAILABLE, true, "try again later"},
};

static struct code verdict(int status, const char *code)
{
	for (size_t i = 0; i < COUNT_OF(codes); i++)
		if (strcmp(code, codes[i].code) == 0)
			return codes[i];
	struct code v = {code, ERR_INVALID, false, "check the endpoint and the options"};
	if (status == 401 || status == 403)
		v = (struct code){code, ERR_DENIED, false, codes[0].cure};
	else if (status == 404)
		v = (struct code){code, ERR_NOT_FOUND, false, "check the bucket and the prefix"};
	else if (status == 409 || status == 412)
		v = (struct code){code, ERR_CONFLICT, false, "see who else writes to it"};
	else if (status == 507)
		v = (struct code){code, ERR_FULL, false, "make room in the object store"};
	else if (status == 408 || status == 429 || (status >= 500 && status != 501))
		v = (struct code){code, ERR_UNAVAILABLE, true, "try again later"};
	return v;
}

/* Fill `e` from an answer that is no success; true when trying again may help. */
static bool explain(const struct s3 *s, const struct s3_call *c, const struct http_answer *a,
		    struct err *e)
{
	struct s3_error x;
	const struct s3_place *p = &s->place;
	s3_error_parse(a->body.data, a->body.len, &x);
	struct code v = verdict(a->status, x.code);
	err_set(e, v.kind, "%s %s%s in bucket %s at %s: %d%s%s%s%.150s%s; %s", c->method,
		c->key ? p->prefix : "", c->key ? c->key : "(the bucket itself)", p->bucket,
		http_host(s->http), a->status, x.code[0] ? " " : "", x.code,
		x.message[0] ? " (" : "", x.message, x.message[0] ? ")" : "", v.cure);
	return v.passes;
}

static void encryption_headers(const struct s3_place *p, struct http_header *headers,
			       unsigned *count)
{
	if (p->sse)
		headers[(*count)++] = (struct http_header){"x-amz-server-side-encryption", p->sse};
	if (p->sse_key)
		headers[(*count)++] = (struct http_header){
		    "x-amz-server-side-encryption-aws-kms-key-id", p->sse_key};
}

static int file_empty(int fd, struct err *e)
{
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, ERR_IO, "cannot empty a temporary file");
	return 0;
}

/* One try: the status of a success, 0 when trying again may help, -1 when not; with the reason. */
static int attempt(struct s3 *s, const struct s3_call *c, struct http_answer *a, struct err *e)
{
	const struct s3_place *p = &s->place;
	struct http_header headers[HEADERS_MAX + 2];
	unsigned count = c->header_count;
	struct http_signer signer = {p->key_id, p->secret, p->token, p->region, "s3"};
	char *path = xasprintf("/%s%s%s%s", p->bucket, c->key ? "/" : "", c->key ? p->prefix : "",
			       c->key ? c->key : "");
	for (unsigned i = 0; i < count; i++)
		headers[i] = c->headers[i];
	if (c->encrypt)
		encryption_headers(p, headers, &count);
	struct http_request r = {.method = c->method,
				 .path = path,
				 .query = c->query ? c->query : "",
				 .headers = headers,
				 .header_count = count,
				 .body = c->body,
				 .body_len = c->body_len};
	int result = -1;
	if (c->to_file && file_empty(c->to_fd, e) < 0) {
		*a = (struct http_answer){0};
	} else if (http_send(s->http, &r, &signer, c->limit_ms, c->max, c->to_file ? c->to_fd : -1,
			     a, e) < 0) {
		if (e->kind == ERR_UNAVAILABLE)
			result = 0;
		err_prefix(e, "%s %s%s in bucket %s", c->method, c->key ? p->prefix : "",
			   c->key ? c->key : "(the bucket itself)", p->bucket);
	} else if (a->status / 100 == 2 || (a->status == c->accept && c->accept)) {
		result = a->status;
	} else {
		result = explain(s, c, a, e) ? 0 : -1;
	}
	free(path);
	return result;
}

/* Half to all of the delay, so that many who failed together do not come again together. */
static int64_t jittered(int64_t delay)
{
	uint32_t r;
	random_bytes(&r, sizeof r);
	return delay / 2 + (int64_t)(r % (uint32_t)(delay / 2 + 1));
}

int s3_send(struct s3 *s, const struct s3_call *c, struct http_answer *a, struct err *e)
{
	struct err why = {0};
	int64_t started = clock_mono_ms(), delay = 2 * RETRY_MIN_MS;
	for (;;) {
		int result = -1;
		*a = (struct http_answer){0};
		if (!c->fence || s3_lock_check(c->fence, &why) == 0)
			result = attempt(s, c, a, &why);
		if (result > 0)
			return result;
		int64_t wait = jittered(delay);
		if (result < 0 || c->once || clock_mono_ms() - started + wait > s->patience_ms)
			return err_set(e, why.kind, "%s", why.text);
		log_debug("store %s: %s; again in %lld ms", s->place.where, why.text,
			  (long long)wait);
		http_answer_release(a);
		clock_sleep_ms(wait);
		delay = delay * 2 > RETRY_LONGEST_MS ? RETRY_LONGEST_MS : delay * 2;
	}
}

int s3_do(struct s3 *s, const struct s3_call *c, struct err *e)
{
	struct http_answer a;
	struct s3_call call = *c;
	if (!call.max)
		call.max = 64 * KIB;
	int result = s3_send(s, &call, &a, e);
	http_answer_release(&a);
	return result;
}

static void query_value(struct buf *out, const char *value)
{
	for (const char *p = value; *p; p++)
		if (isalnum((unsigned char)*p) || strchr("-._~", *p))
			buf_add_byte(out, (uint8_t)*p);
		else
			buf_printf(out, "%%%02X", (unsigned char)*p);
}

/* A page of a list; the continuation token is taken from and left in `page`. */
static int list_page(struct s3 *s, const char *below, struct s3_page *page, struct err *e)
{
	struct buf query = {0};
	struct http_answer a;
	buf_add_str(&query, "list-type=2&encoding-type=url&prefix=");
	query_value(&query, below);
	if (page->next) {
		buf_add_str(&query, "&continuation-token=");
		query_value(&query, page->next);
	}
	s3_page_release(page);
	struct s3_call c = {.method = "GET", .query = buf_str(&query), .max = S3_LIST_BYTES_MAX};
	int result = s3_send(s, &c, &a, e);
	if (result > 0 && s3_page_parse(a.body.data, a.body.len, page, e) < 0)
		result = err_prefix(e, "the list of bucket %s at %s", s->place.bucket,
				    http_host(s->http));
	http_answer_release(&a);
	buf_release(&query);
	return result < 0 ? -1 : 0;
}

int s3_list(struct s3 *s, const char *folder,
	    int (*each)(void *context, const char *name, struct err *e), void *context,
	    struct err *e)
{
	struct s3_page page = {0};
	char *below = xasprintf("%s%s%s", s->place.prefix, folder, *folder ? "/" : "");
	int result = 0;
	for (unsigned pages = 0; result == 0; pages++) {
		if (pages == LIST_PAGES_MAX)
			result = err_set(e, ERR_INVALID, "bucket %s: the list of %s has no end",
					 s->place.bucket, below);
		else
			result = list_page(s, below, &page, e);
		for (size_t i = 0; i < page.count && result == 0; i++)
			if (text_starts(page.keys[i], below))
				result = each(context, page.keys[i] + strlen(below), e);
		if (!page.next)
			break;
	}
	s3_page_release(&page);
	free(below);
	return result;
}
