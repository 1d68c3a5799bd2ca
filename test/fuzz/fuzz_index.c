// SPDX-License-Identifier: Apache-2.0
/*
 * A segment of either kind, as it is and with its checksums put right: what parses has every entry
 * where a search finds it, and merged with itself into a new file it has the same entries.
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
#include "store/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Entries of the index have only the beginning of a name; any end finds them. */
static void name_at(const struct store_segment *s, uint64_t i, struct name *out)
{
	memset(out, 0x5a, sizeof *out);
	memcpy(out->bytes, s->entries + i * SEGMENT_ENTRY_BYTES,
	       s->kind == SEGMENT_INDEX ? INDEX_PREFIX_BYTES : NAME_BYTES);
}

static void find_all(const struct store_segment *s, const struct store_segment *in)
{
	for (uint64_t i = 0; i < s->count; i++) {
		struct name name;
		struct place here, there;
		name_at(s, i, &name);
		int64_t here_at = segment_find(s, &name), there_at = segment_find(in, &name);
		assert(here_at >= 0 && there_at >= 0);
		if (s->kind == SEGMENT_INDEX) {
			segment_place_at(s, (uint64_t)here_at, &here);
			segment_place_at(in, (uint64_t)there_at, &there);
			assert(name_compare(&here.pack, &there.pack) == 0 &&
			       here.offset == there.offset && here.stored_len == there.stored_len);
		}
		name.bytes[0] ^= 1; /* most likely there is none: it must only end */
		segment_find(s, &name);
	}
}

static void merge(const struct store_segment *s)
{
	const struct store_segment parts[] = {*s, *s};
	const uint64_t replaced[] = {7, 8};
	const struct pack_drop drops[] = {{{{1}}, 9}};
	const struct segment_notes notes = {replaced, 2, drops, 1};
	struct pack_drop drop;
	struct store_segment merged;
	struct buf file = {0};
	char *path = xasprintf("%s/segment", scratch_dir());
	int fd = segment_write(path, parts, 2, &notes, NULL);
	assert(fd >= 0 && close(fd) == 0);
	assert(file_read(path, 64 * MIB, &file, NULL) == 0);
	assert(segment_parse(s->kind, file.data, file.len, &merged, NULL) == 0);
	assert(merged.count == s->count && merged.replaced_count == 2 && merged.drop_count == 1);
	segment_drop_at(&merged, 0, &drop);
	assert(name_compare(&drop.pack, &drops[0].pack) == 0 && drop.below == 9);
	find_all(s, &merged);
	assert(unlink(path) == 0);
	free(path);
	buf_release(&file);
}

static void try_segment(enum segment_kind kind, const uint8_t *data, size_t n)
{
	struct store_segment s;
	struct err e = {0};
	if (segment_parse(kind, data, n, &s, &e) < 0) {
		assert(e.kind == ERR_CORRUPT);
		return;
	}
	find_all(&s, &s);
	merge(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_segment(SEGMENT_INDEX, data, n);
	try_segment(SEGMENT_KNOWN, data, n);
	if (n >= SEGMENT_HEADER_BYTES) {
		uint8_t *copy = xmalloc(n);
		memcpy(copy, data, n);
		le32_put(copy + 56,
			 crc32c(0, copy + SEGMENT_HEADER_BYTES, n - SEGMENT_HEADER_BYTES));
		le32_put(copy + 60, crc32c(0, copy, 60));
		try_segment(SEGMENT_INDEX, copy, n);
		try_segment(SEGMENT_KNOWN, copy, n);
		/* In order, which random bytes are not. */
		struct store_segment s = {.pack_count = le32_get(copy + 12),
					  .count = le64_get(copy + 16)};
		uint64_t room = n - SEGMENT_HEADER_BYTES;
		if (s.pack_count <= room / NAME_BYTES &&
		    s.count <= (room - s.pack_count * NAME_BYTES) / SEGMENT_ENTRY_BYTES) {
			segment_sort(copy + SEGMENT_HEADER_BYTES + s.pack_count * NAME_BYTES,
				     s.count);
			le32_put(copy + 56, crc32c(0, copy + SEGMENT_HEADER_BYTES, room));
			le32_put(copy + 60, crc32c(0, copy, 60));
			try_segment(SEGMENT_INDEX, copy, n);
			try_segment(SEGMENT_KNOWN, copy, n);
		}
		free(copy);
	}
	return 0;
}
