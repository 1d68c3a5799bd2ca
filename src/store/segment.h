// SPDX-License-Identifier: Apache-2.0
/*
 * Segments: immutable sorted files of 32-byte entries. Those of the index say where a name is
 * (20-byte prefix, pack, offset, stored length), those of a group which names it put (32 bytes).
 * Every byte: man/godwit-store.5. Parsing and searching are pure functions of bytes.
 *
 *   header 64 | pack names, 32 each | entries, 32 each, sorted | replaced segments, 8 each |
 *   dropped packs, 40 each
 */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "block/name.h"

#define SEGMENT_HEADER_BYTES 64
#define SEGMENT_ENTRY_BYTES  32
#define SEGMENT_DROP_BYTES   40
#define INDEX_PREFIX_BYTES   20
#define SEGMENT_MAX_BYTES    (1ull << 40)

enum segment_kind { SEGMENT_INDEX, SEGMENT_KNOWN };

/* A pack that was given up: entries that place something in it do not count in segments of lower
 * numbers than `below`. */
struct pack_drop {
	struct name pack;
	uint64_t below;
};

/* A segment in memory; points into it. */
struct store_segment {
	enum segment_kind kind;
	const uint8_t *packs;
	uint32_t pack_count;
	const uint8_t *entries;
	uint64_t count;
	const uint8_t *replaced; /* numbers of the segments that this one was merged from */
	uint32_t replaced_count;
	const uint8_t *drops;
	uint32_t drop_count;
	uint64_t record_bytes; /* of the records it lists, with their headers */

	/* What segment_write leaves out; NULL: nothing. */
	const uint8_t *dead_packs; /* bit by number of the pack: entries in it, and its name */
	const uint8_t *keep;	   /* bit by position of the entry: those without */
};

/* What a segment says of others. */
struct segment_notes {
	const uint64_t *replaced;
	size_t replaced_count;
	const struct pack_drop *drops;
	size_t drop_count;
};

/* Where the index says a record is. */
struct place {
	struct name pack;
	uint32_t offset, stored_len;
};

/* ERR_CORRUPT with what is wrong: sizes, checksums, order, packs that do not exist. */
int segment_parse(enum segment_kind kind, const uint8_t *data, size_t n, struct store_segment *out,
		  struct err *e);
/* The position of the entry that has the name (or of the index, its first 20 bytes), or -1. */
int64_t segment_find(const struct store_segment *s, const struct name *name);
/* The number of an index entry's pack in the segment; where the entry says that its record is. */
uint32_t segment_pack_at(const struct store_segment *s, uint64_t position);
void segment_place_at(const struct store_segment *s, uint64_t position, struct place *out);
/* The bytes of an index entry's record with its header. */
uint64_t segment_bytes_at(const struct store_segment *s, uint64_t position);
void segment_pack_name(const struct store_segment *s, uint32_t number, struct name *out);
void segment_drop_at(const struct store_segment *s, uint32_t i, struct pack_drop *out);

void index_entry_encode(const struct name *name, uint32_t pack, uint32_t offset,
			uint32_t stored_len, uint8_t out[SEGMENT_ENTRY_BYTES]);
/* Sort entries in place, for a segment in memory. */
void segment_sort(uint8_t *entries, uint64_t count);

/* Write a new file at `path` with the entries of all parts, each once; its descriptor. `notes` may
 * be NULL. */
int segment_write(const char *path, const struct store_segment *parts, size_t part_count,
		  const struct segment_notes *notes, struct err *e);

#endif
