// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#define CHECK_BYTES 6
#define TOKEN_BYTES 256 /* text, with its NUL */

/* --- base64url without padding (RFC 4648 §5) -------------------------------------------------- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64url_encode(const uint8_t *data, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)data[i] << 16;
		v |= i + 1 < n ? (uint32_t)data[i + 1] << 8 : 0;
		v |= i + 2 < n ? data[i + 2] : 0;
		for (unsigned k = 0; k < (n - i < 3 ? n - i + 1 : 4); k++)
			buf_add_byte(out, (uint8_t)alphabet[v >> (18 - 6 * k) & 63]);
	}
}

/* Bytes decoded, or -1. `out` has room for 3/4 of the text. */
static int base64url_decode(const char *text, uint8_t *out)
{
	uint32_t v = 0;
	unsigned bits = 0;
	int n = 0;
	for (; *text; text++) {
		const char *at = strchr(alphabet, *text);
		if (!at)
			return -1;
		v = v << 6 | (uint32_t)(at - alphabet);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(v >> bits);
			v &= (1u << bits) - 1;
		}
	}
	return bits < 6 && v == 0 ? n : -1;
}

/* --- tokens ---------------------------------------------------------------------------------- */

/* Over what the token belongs to and what it says. It is no secret: a token forged with care is
 * just another place to begin. */
static void check_sum(const struct api_call *call, const char *filter, const char *position,
		      uint8_t out[CHECK_BYTES])
{
	struct buf all = {0};
	uint8_t digest[32];
	buf_printf(&all, "%s\n%s\n%s", call->op->name, filter ? filter : "", position);
	if (EVP_Digest(all.data, all.len, digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	memcpy(out, digest, CHECK_BYTES);
	buf_release(&all);
}

static bool token_decode(const struct api_call *call, const char *token, const char *filter,
			 struct api_page *page)
{
	uint8_t raw[TOKEN_BYTES], sum[CHECK_BYTES];
	if (strlen(token) >= TOKEN_BYTES)
		return false;
	int n = base64url_decode(token, raw);
	if (n <= CHECK_BYTES)
		return false;
	raw[n] = '\0';
	char *position = (char *)raw + CHECK_BYTES;
	check_sum(call, filter, position, sum);
	char *space = strchr(position, ' ');
	if (strlen(position) != (size_t)n - CHECK_BYTES || memcmp(raw, sum, CHECK_BYTES) || !space)
		return false;
	*space = '\0';
	if (strlen(space + 1) >= sizeof page->key ||
	    number_parse("position", position, INT64_MIN, INT64_MAX, &page->number, NULL))
		return false;
	snprintf(page->key, sizeof page->key, "%s", space + 1);
	page->has_after = true;
	return true;
}

int api_page_begin(struct api_call *call, const json_t *in, const char *filter,
		   struct api_page *page)
{
	*page = (struct api_page){0};
	int64_t size = in_integer(in, "maxResults", call->op->default_page);
	if (size < 1 || size > LIMIT_PAGE)
		return api_fail(call, "InvalidParameterException",
				"maxResults is %" PRId64 " but must be from 1 to %d", size,
				LIMIT_PAGE);
	page->size = (unsigned)size;
	const char *token = in_text(in, "nextToken");
	if (token && *token && !token_decode(call, token, filter, page))
		return api_fail(call, "InvalidParameterException",
				"nextToken is not one that %s returned for this request",
				call->op->name);
	return 0;
}

void api_page_more(struct api_call *call, json_t *out, const char *filter, int64_t number,
		   const char *key)
{
	struct buf raw = {0}, token = {0};
	uint8_t sum[CHECK_BYTES];
	char *position = xasprintf("%" PRId64 " %s", number, key);
	check_sum(call, filter, position, sum);
	buf_add(&raw, sum, sizeof sum);
	buf_add_str(&raw, position);
	base64url_encode(raw.data, raw.len, &token);
	out_text(out, "nextToken", buf_str(&token));
	free(position);
	buf_release(&raw);
	buf_release(&token);
}

/* --- rows ------------------------------------------------------------------------------------ */

int api_rows_add(void *context, const void *row)
{
	struct api_rows *rows = context;
	if (rows->keep && !rows->keep(row, rows->context))
		return 0;
	if (rows->count == rows->cap) {
		rows->cap = rows->cap ? rows->cap * 2 : 16;
		rows->items = xreallocarray(rows->items, rows->cap, rows->shape->size);
	}
	shape_copy(rows->shape, api_rows_at(rows, rows->count++), row);
	return rows->limit && rows->count >= rows->limit;
}

void *api_rows_at(const struct api_rows *rows, unsigned i)
{
	return rows->items + (size_t)i * rows->shape->size;
}

void api_rows_release(struct api_rows *rows)
{
	for (unsigned i = 0; i < rows->count; i++)
		shape_release(rows->shape, api_rows_at(rows, i));
	free(rows->items);
	*rows = (struct api_rows){.shape = rows->shape};
}
