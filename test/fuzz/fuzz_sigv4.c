// SPDX-License-Identifier: Apache-2.0
/*
 * Lines: the Authorization header, the path, the query, the date, then headers as "name:value". What
 * parses is used to sign, and what is signed must parse and give the same signature again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/sigv4.h"

#define HEADERS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *next_line(char **rest)
{
	static char none[] = "";
	char *line = strsep(rest, "\n");
	return line ? line : none;
}

static void sign_and_check(const struct http_request *r, const char *amz_date)
{
	struct buf value = {0};
	struct sigv4_authorization a;
	struct err e = {0};
	char again[65];
	int64_t ms;
	if (amz_date_parse(amz_date, &ms) &&
	    !sigv4_sign(r, amz_date, "region", "sms", "AKID", "secret", &value, &e) &&
	    !sigv4_parse(buf_str(&value), &a, &e)) {
		assert(!sigv4_signature(r, a.signed_headers, amz_date, a.region, a.service,
					"secret", again, &e));
		assert(!strcmp(a.signature, again));
	}
	buf_release(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = xstrndup((const char *)data, n), *rest = text;
	const char *authorization = next_line(&rest);
	struct http_header headers[HEADERS_MAX];
	struct http_request r = {.method = "POST", .headers = headers, .body = data, .body_len = n};
	r.path = next_line(&rest);
	r.query = next_line(&rest);
	const char *amz_date = next_line(&rest);
	while (rest && r.header_count < HEADERS_MAX) {
		char *value = next_line(&rest);
		headers[r.header_count].name = strsep(&value, ":");
		headers[r.header_count++].value = value ? value : "";
	}
	struct sigv4_authorization a;
	struct err e = {0};
	char out[65];
	if (!sigv4_parse(authorization, &a, &e))
		sigv4_signature(&r, a.signed_headers, amz_date, a.region, a.service, "secret", out,
				&e);
	sign_and_check(&r, amz_date);
	free(text);
	return 0;
}
