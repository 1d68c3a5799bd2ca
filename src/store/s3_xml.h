// SPDX-License-Identifier: Apache-2.0
/* The XML answers of S3 (Amazon S3 API reference), as pure functions of bytes; bounded. */
#ifndef STORE_S3_XML_H
#define STORE_S3_XML_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

#define S3_XML_MAX	 (8u << 20)
#define S3_LIST_KEYS_MAX 1000
#define S3_TOKEN_MAX	 2048
#define S3_RULES_MAX	 1000

/* <Error>: what went wrong. Texts are cut, control characters made blanks. */
struct s3_error {
	char code[64];
	char message[200];
};

/* False when it is no such document. */
bool s3_error_parse(const void *xml, size_t n, struct s3_error *out);

/* <ListBucketResult> with encoding-type=url. */
struct s3_page {
	char **keys; /* decoded */
	size_t count;
	char *next; /* the continuation token, or NULL at the end */
};

/* ERR_INVALID for what is no such document or out of its bounds. */
int s3_page_parse(const void *xml, size_t n, struct s3_page *out, struct err *e);
void s3_page_release(struct s3_page *page);

/* What the bucket's <LifecycleConfiguration> does to objects below a prefix. */
struct s3_lifecycle {
	char harm[300]; /* a rule that deletes or archives them: "rule "x" deletes …", or "" */
	bool staging;	/* a rule that expires staging/ below the prefix is there */
};

int s3_lifecycle_parse(const void *xml, size_t n, const char *prefix, struct s3_lifecycle *out,
		       struct err *e);
/* The document with one rule more, which expires what is below staging/ after 7 days. NULL, 0 for
 * `xml` and `n` begins a new one. */
int s3_lifecycle_add(const void *xml, size_t n, const char *prefix, struct buf *out, struct err *e);

#endif
