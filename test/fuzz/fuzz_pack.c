// SPDX-License-Identifier: Apache-2.0
/*
 * A pack, as it is and with its checksums put right (else a fuzzer gets no further than them): what
 * parses has its records inside and apart, a record that checks encodes to the same header, and all
 * of them of a pack that was right, written as a new one, are read back.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/file.h"
#include "scratch.h"
#include "base/le.h"
#include "store/pack.h"

#define ENTRIES_MAX 64 /* that are put right; more adds time and nothing else */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_record(const struct pack_view *pack, uint32_t i)
{
	struct pack_entry entry;
	struct record r;
	struct buf plain = {0};
	uint8_t header[RECORD_HEADER_BYTES];
	pack_entry_at(pack, i, &entry);
	const uint8_t *at = pack->data + entry.offset;
	assert(record_parse(at, RECORD_HEADER_BYTES + (size_t)entry.stored_len, &r, NULL) == 0);
	record_header_encode(&r, header);
	assert(memcmp(header, at, sizeof header) == 0);
	if (record_unpack(&r, &plain, NULL) == 0)
		assert(plain.len == r.plain_len);
	buf_release(&plain);
}

static void write_again(const struct pack_view *pack)
{
	char *temp = xasprintf("%s/pack", scratch_dir());
	struct buf file = {0};
	struct pack_writer w;
	struct pack_view back;
	struct name name;
	assert(pack_writer_open(&w, temp, pack->kind, NULL) == 0);
	for (uint32_t i = 0; i < pack->count; i++) {
		struct pack_entry entry;
		struct record r;
		pack_entry_at(pack, i, &entry);
		assert(record_parse(pack->data + entry.offset, pack->size - entry.offset, &r,
				    NULL) == 0);
		assert(pack_writer_fits(&w, r.stored_len));
		assert(pack_writer_append(&w, &r, NULL) == 0);
	}
	assert(pack_writer_finish(&w, &name, NULL) == 0);
	assert(file_read(temp, PACK_MAX_BYTES, &file, NULL) == 0);
	pack_writer_close(&w);
	assert(pack_parse(file.data, file.len, &back, NULL) == 0);
	assert(back.count == pack->count && name_compare(&back.name, &name) == 0);
	assert(pack_check_records(&back, NULL) == 0);
	free(temp);
	buf_release(&file);
}

static void try_pack(const uint8_t *data, size_t n, bool as_it_is)
{
	struct pack_view pack;
	struct err e = {0};
	if (pack_parse(data, n, &pack, &e) < 0) {
		assert(e.kind == ERR_CORRUPT);
		return;
	}
	uint64_t end = PACK_HEADER_BYTES;
	for (uint32_t i = 0; i < pack.count; i++) {
		struct pack_entry entry;
		pack_entry_at(&pack, i, &entry);
		assert(entry.offset >= end);
		end = (uint64_t)entry.offset + RECORD_HEADER_BYTES + entry.stored_len;
	}
	assert(end <= (uint64_t)(pack.table - data));
	if (pack_check_records(&pack, &e) < 0)
		return;
	for (uint32_t i = 0; i < pack.count && i < ENTRIES_MAX; i++)
		try_record(&pack, i);
	if (as_it_is) /* setting a pack's room aside takes its time */
		write_again(&pack);
}

/* The record where entry `i` says it is, when it lies before the table. */
static void put_record_right(uint8_t *data, uint32_t table, uint32_t i)
{
	const uint8_t *entry = data + table + (size_t)i * PACK_ENTRY_BYTES;
	uint64_t at = le32_get(entry + 32), stored = le32_get(entry + 36);
	if (at + RECORD_HEADER_BYTES + stored > table)
		return;
	le32_put(data + at + 64, crc32c(0, data + at + RECORD_HEADER_BYTES, stored));
	le32_put(data + at + 68, crc32c(0, data + at, 68));
}

static void put_right(uint8_t *data, size_t n)
{
	uint8_t *trailer = data + n - PACK_TRAILER_BYTES;
	uint32_t count = le32_get(trailer + 8), table = le32_get(trailer + 12);
	struct name name;
	le32_put(data + 28, crc32c(0, data, 28));
	if (table > n || n - table != (uint64_t)count * PACK_ENTRY_BYTES + PACK_TRAILER_BYTES)
		return;
	for (uint32_t i = 0; i < count && i < ENTRIES_MAX; i++)
		put_record_right(data, table, i);
	name_of(data + table, n - table - NAME_BYTES, &name);
	memcpy(trailer + PACK_TRAILER_BYTES - NAME_BYTES, name.bytes, NAME_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_pack(data, n, true);
	if (n >= PACK_HEADER_BYTES + PACK_TRAILER_BYTES) {
		uint8_t *copy = xmalloc(n);
		memcpy(copy, data, n);
		put_right(copy, n);
		try_pack(copy, n, false);
		free(copy);
	}
	return 0;
}
