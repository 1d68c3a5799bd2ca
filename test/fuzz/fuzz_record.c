// SPDX-License-Identifier: Apache-2.0
/*
 * A record, as it is and with its checksums put right: what parses encodes to the same header, and
 * what unpacks gives the same bytes again after packing.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "store/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void pack_again(const struct buf *plain, enum codec codec)
{
	struct record r = {0};
	struct buf scratch = {0}, back = {0};
	record_pack(&r, codec, 1, plain->data, (uint32_t)plain->len, &scratch);
	assert(r.stored_len <= r.plain_len);
	assert(record_unpack(&r, &back, NULL) == 0);
	assert(back.len == plain->len && memcmp(back.data, plain->data, back.len) == 0);
	buf_release(&scratch);
	buf_release(&back);
}

static void try_record(const uint8_t *data, size_t n)
{
	struct record r;
	struct buf plain = {0};
	struct err e = {0};
	uint8_t header[RECORD_HEADER_BYTES];
	if (record_parse(data, n, &r, &e) < 0) {
		assert(e.kind == ERR_CORRUPT);
		return;
	}
	assert(r.stored == data + RECORD_HEADER_BYTES);
	assert(r.stored_len <= n - RECORD_HEADER_BYTES);
	record_header_encode(&r, header);
	assert(memcmp(header, data, sizeof header) == 0);
	if (record_unpack(&r, &plain, &e) == 0) {
		assert(plain.len == r.plain_len && plain.len <= RECORD_MAX_PLAIN);
		pack_again(&plain, (enum codec)r.codec);
	} else {
		assert(e.kind == ERR_CORRUPT && plain.len == 0);
	}
	buf_release(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_record(data, n);
	if (n > RECORD_HEADER_BYTES) {
		uint8_t *copy = xmalloc(n);
		uint32_t stored;
		memcpy(copy, data, n);
		stored = le32_get(copy + 36);
		if (stored <= n - RECORD_HEADER_BYTES)
			le32_put(copy + 64, crc32c(0, copy + RECORD_HEADER_BYTES, stored));
		le32_put(copy + 68, crc32c(0, copy, 68));
		try_record(copy, n);
		free(copy);
	}
	return 0;
}
