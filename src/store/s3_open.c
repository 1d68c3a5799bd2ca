// SPDX-License-Identifier: Apache-2.0
#include "store/s3_open.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "store/depot.h"
#include "store/s3_xml.h"

int s3_bucket_make(struct s3 *s, struct err *e)
{
	struct buf body = {0};
	/* Not HEAD, whose answer cannot say what is wrong. */
	struct s3_call look = {
	    .method = "GET", .query = "list-type=2&max-keys=1&prefix=format", .accept = 404};
	struct s3_call put = {.method = "PUT"};
	int status = s3_do(s, &look, e);
	if (status != 404)
		return status < 0 ? -1 : 0;
	/* Only Amazon wants the region named, and there not that of the first. */
	if (strstr(s->place.endpoint, ".amazonaws.com") &&
	    strcmp(s->place.region, "us-east-1") != 0) {
		buf_printf(&body,
			   "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/"
			   "2006-03-01/\"><LocationConstraint>%s</LocationConstraint>"
			   "</CreateBucketConfiguration>",
			   s->place.region);
		put.body = body.data;
		put.body_len = body.len;
	}
	put.accept = 409; /* another made it meanwhile, or it is somebody's */
	status = s3_do(s, &put, e);
	buf_release(&body);
	if (status == 409) {
		look.accept = 0;
		status = s3_do(s, &look, e);
	}
	return status < 0 ? -1 : 0;
}

/* Making a store may have left these before `format`; anything else is somebody's. */
static int stranger_visit(void *context, const char *name, struct err *e)
{
	static const char *const ours[] = {"lock/", "packs/", "index/",	 "known/",
					   "refs/", "lost/",  "staging/"};
	const struct s3 *s = context;
	for (size_t i = 0; i < COUNT_OF(ours); i++)
		if (text_starts(name, ours[i]))
			return 0;
	char shown[81];
	snprintf(shown, sizeof shown, "%s", name);
	for (char *p = shown; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return err_set(e, ERR_CONFLICT,
		       "%s holds \"%s\" and is no store; give a prefix under which nothing is",
		       s->place.where, shown);
}

int s3_format_make(struct s3 *s, struct err *e)
{
	static const struct http_header if_none = {"If-None-Match", "*"};
	struct buf text = {0};
	int status = s3_do(s, &(struct s3_call){.method = "GET", .key = "format", .accept = 404},
			   e);
	if (status != 404)
		return status < 0 ? -1 : 0;
	if (s3_list(s, "", stranger_visit, s, e) < 0)
		return -1;
	depot_format_make(&text);
	struct s3_call put = {.method = "PUT",
			      .key = "format",
			      .headers = &if_none,
			      .header_count = 1,
			      .body = text.data,
			      .body_len = text.len,
			      .accept = 412, /* another made it meanwhile */
			      .encrypt = true};
	status = s3_do(s, &put, e);
	buf_release(&text);
	return status < 0 ? -1 : 0;
}

/* PUT of a lifecycle configuration wants this header (Amazon S3 API reference). */
static void content_md5(const struct buf *body, char out[32])
{
	uint8_t digest[16];
	if (EVP_Digest(body->data, body->len, digest, NULL, EVP_md5(), NULL) != 1)
		memset(digest, 0, sizeof digest);
	EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

static void lifecycle_add(struct s3 *s, const struct buf *now)
{
	struct buf body = {0};
	struct err why = {0};
	char md5[32];
	if (s3_lifecycle_add(now->len ? now->data : NULL, now->len, s->place.prefix, &body, &why) <
	    0)
		return;
	content_md5(&body, md5);
	struct http_header headers[] = {{"Content-MD5", md5}, {"Content-Type", "application/xml"}};
	struct s3_call put = {.method = "PUT",
			      .query = "lifecycle=",
			      .headers = headers,
			      .header_count = COUNT_OF(headers),
			      .body = body.data,
			      .body_len = body.len,
			      .once = true};
	if (s3_do(s, &put, &why) < 0)
		log_debug("store %s: %s", s->place.where, why.text);
	buf_release(&body);
}

int s3_lifecycle_check(struct s3 *s, bool add, struct err *e)
{
	struct err why = {0};
	struct s3_lifecycle rules = {0};
	struct http_answer a;
	struct buf document = {0};
	int result = 0;
	struct s3_call get = {
	    .method = "GET", .query = "lifecycle=", .max = S3_XML_MAX, .accept = 404};
	int status = s3_send(s, &get, &a, &why);
	if (status == 200) {
		document = a.body;
		a.body = (struct buf){0};
		result = s3_lifecycle_parse(document.data, document.len, s->place.prefix, &rules,
					    e);
		if (result < 0)
			err_prefix(e, "the lifecycle rules of bucket %s", s->place.bucket);
	} else if (status < 0 && why.kind == ERR_UNAVAILABLE) {
		result = err_set(e, why.kind, "%s", why.text);
	} else if (status < 0) {
		/* Servers without lifecycle rules, and credentials that may not see them. */
		log_debug("store %s: %s", s->place.where, why.text);
		add = false;
	}
	if (rules.harm[0])
		result = err_set(
		    e, ERR_CONFLICT,
		    "lifecycle rule %s in bucket %s, where store %s keeps what it must "
		    "not lose; remove the rule or choose another prefix",
		    rules.harm, s->place.bucket, s->place.where);
	if (result == 0 && add && !rules.staging)
		lifecycle_add(s, &document);
	http_answer_release(&a);
	buf_release(&document);
	return result;
}
