// SPDX-License-Identifier: Apache-2.0
/*
 * An answer of an object store, given to each of its parsers: keys and errors are within their
 * bounds, and lifecycle rules with ours added are harmless and have it. The first line is the prefix.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_error(const uint8_t *xml, size_t n)
{
	struct s3_error error;
	bool is = s3_error_parse(xml, n, &error);
	assert(is == (error.code[0] != '\0'));
	assert(strlen(error.code) < sizeof error.code);
	assert(utf8_valid(error.message, strlen(error.message)) == strlen(error.message));
}

static void try_page(const uint8_t *xml, size_t n)
{
	struct s3_page page;
	struct err e = {0};
	if (s3_page_parse(xml, n, &page, &e) < 0) {
		assert(e.kind == ERR_INVALID && !page.keys && !page.next);
		return;
	}
	assert(page.count <= S3_LIST_KEYS_MAX);
	for (size_t i = 0; i < page.count; i++)
		assert(page.keys[i][0] && strlen(page.keys[i]) <= 1024);
	assert(!page.next || page.next[0]);
	s3_page_release(&page);
}

static void try_lifecycle(const uint8_t *xml, size_t n, const char *prefix)
{
	struct s3_lifecycle before, after;
	struct buf more = {0};
	struct err e = {0};
	if (s3_lifecycle_parse(xml, n, prefix, &before, &e) < 0) {
		assert(e.kind == ERR_INVALID);
		return;
	}
	assert(s3_lifecycle_add(xml, n, prefix, &more, NULL) == 0);
	if (more.len <= S3_XML_MAX &&
	    s3_lifecycle_parse(more.data, more.len, prefix, &after, &e) == 0) {
		assert(after.staging);
		assert(!after.harm[0] == !before.harm[0]);
	}
	buf_release(&more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct s3_lifecycle fresh;
	struct buf made = {0};
	size_t line = 0;
	while (line < n && line < 100 && data[line] != '\n')
		line++;
	char *prefix = xstrndup((const char *)data, line);
	for (char *p = prefix; *p; p++) /* what a place allows */
		if (*p < '!' || *p > '~' || strchr("<>&\"'", *p))
			*p = 'x';
	const uint8_t *xml = data + line + (line < n);
	n -= (size_t)(xml - data);
	try_error(xml, n);
	try_page(xml, n);
	try_lifecycle(xml, n, prefix);
	assert(s3_lifecycle_add(NULL, 0, prefix, &made, NULL) == 0);
	assert(s3_lifecycle_parse(made.data, made.len, prefix, &fresh, NULL) == 0);
	assert(fresh.staging && !fresh.harm[0]);
	buf_release(&made);
	free(prefix);
	return 0;
}
