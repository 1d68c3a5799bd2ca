// SPDX-License-Identifier: Apache-2.0
#include "store/segment.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/disk.h"
#include "base/le.h"
#include "store/nameset.h"
#include "store/pack.h"

#define SEGMENT_FORMAT 1
#define WRITE_BYTES    (1 * MIB)

static const char magics[][8] = {
    [SEGMENT_INDEX] = "gwindex\n",
    [SEGMENT_KNOWN] = "gwknown\n",
};

static unsigned key_bytes(enum segment_kind kind)
{
	return kind == SEGMENT_INDEX ? INDEX_PREFIX_BYTES : NAME_BYTES;
}

static const uint8_t *entry_at(const struct store_segment *s, uint64_t i)
{
	return s->entries + i * SEGMENT_ENTRY_BYTES;
}

static int entries_check(const struct store_segment *s, struct err *e)
{
	for (uint64_t i = 0; i < s->count; i++) {
		const uint8_t *entry = entry_at(s, i);
		if (i && memcmp(entry - SEGMENT_ENTRY_BYTES, entry, key_bytes(s->kind)) >= 0)
			return err_set(e, ERR_CORRUPT, "its entries are not in order");
		if (s->kind == SEGMENT_INDEX && le32_get(entry + 20) >= s->pack_count)
			return err_set(e, ERR_CORRUPT, "an entry is in a pack it does not list");
	}
	return 0;
}

int segment_parse(enum segment_kind kind, const uint8_t *data, size_t n, struct store_segment *out,
		  struct err *e)
{
	if (n < SEGMENT_HEADER_BYTES || memcmp(data, magics[kind], sizeof magics[kind]) != 0)
		return err_set(e, ERR_CORRUPT, "it does not begin as its kind does");
	if (le32_get(data + 60) != crc32c(0, data, 60))
		return err_set(e, ERR_CORRUPT, "its header has a wrong checksum");
	if (le32_get(data + 8) != SEGMENT_FORMAT)
		return err_set(e, ERR_CORRUPT, "it has format %u, this godwit reads %u",
			       le32_get(data + 8), SEGMENT_FORMAT);
	struct store_segment s = {.kind = kind,
				  .pack_count = le32_get(data + 12),
				  .count = le64_get(data + 16),
				  .record_bytes = le64_get(data + 24),
				  .replaced_count = le32_get(data + 32),
				  .drop_count = le32_get(data + 48)};
	if (le32_get(data + 36) != 0 || le64_get(data + 40) != 0)
		return err_set(e, ERR_CORRUPT, "it belongs to a key this godwit does not know");
	uint64_t room = n - SEGMENT_HEADER_BYTES;
	uint64_t sides = s.pack_count * (uint64_t)NAME_BYTES + s.replaced_count * 8ull +
			 s.drop_count * (uint64_t)SEGMENT_DROP_BYTES;
	if (sides > room || s.count > (room - sides) / SEGMENT_ENTRY_BYTES ||
	    sides + s.count * SEGMENT_ENTRY_BYTES != room)
		return err_set(e, ERR_CORRUPT, "its counts do not fit its size");
	s.packs = data + SEGMENT_HEADER_BYTES;
	s.entries = s.packs + s.pack_count * (size_t)NAME_BYTES;
	s.replaced = s.entries + s.count * SEGMENT_ENTRY_BYTES;
	s.drops = s.replaced + s.replaced_count * (size_t)8;
	if (le32_get(data + 56) != crc32c(0, s.packs, room))
		return err_set(e, ERR_CORRUPT, "it has a wrong checksum");
	if (entries_check(&s, e) < 0)
		return -1;
	*out = s;
	return 0;
}

static uint64_t key_number(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap64(v);
}

/* Names are evenly spread, so the place of one is guessed by proportion; every other step halves,
 * so that chosen names cannot make it slow. */
int64_t segment_find(const struct store_segment *s, const struct name *name)
{
	uint64_t low = 0, high = s->count; /* it is in [low, high) if anywhere */
	uint64_t low_key = 0, high_key = UINT64_MAX, key = key_number(name->bytes);
	for (unsigned step = 0; low < high; step++) {
		uint64_t middle = low + (high - low) / 2;
		if (step % 2 == 0 && high_key > low_key && key >= low_key && key <= high_key) {
			double part = (double)(key - low_key) / (double)(high_key - low_key);
			middle = low + (uint64_t)(part * (double)(high - low));
			if (middle >= high)
				middle = high - 1;
		}
		const uint8_t *entry = entry_at(s, middle);
		int order = memcmp(name->bytes, entry, key_bytes(s->kind));
		if (order == 0)
			return (int64_t)middle;
		if (order < 0) {
			high = middle;
			high_key = key_number(entry);
		} else {
			low = middle + 1;
			low_key = key_number(entry);
		}
	}
	return -1;
}

uint32_t segment_pack_at(const struct store_segment *s, uint64_t position)
{
	return le32_get(entry_at(s, position) + 20);
}

void segment_pack_name(const struct store_segment *s, uint32_t number, struct name *out)
{
	memcpy(out->bytes, s->packs + number * (size_t)NAME_BYTES, NAME_BYTES);
}

void segment_place_at(const struct store_segment *s, uint64_t position, struct place *out)
{
	const uint8_t *entry = entry_at(s, position);
	segment_pack_name(s, le32_get(entry + 20), &out->pack);
	out->offset = le32_get(entry + 24);
	out->stored_len = le32_get(entry + 28);
}

uint64_t segment_bytes_at(const struct store_segment *s, uint64_t position)
{
	return RECORD_HEADER_BYTES + (uint64_t)le32_get(entry_at(s, position) + 28);
}

void segment_drop_at(const struct store_segment *s, uint32_t i, struct pack_drop *out)
{
	const uint8_t *p = s->drops + i * (size_t)SEGMENT_DROP_BYTES;
	memcpy(out->pack.bytes, p, NAME_BYTES);
	out->below = le64_get(p + NAME_BYTES);
}

static bool bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

/* An entry that goes into what is written. */
static bool counts(const struct store_segment *s, uint64_t position)
{
	if (s->keep && !bit(s->keep, position))
		return false;
	return !s->dead_packs || !bit(s->dead_packs, segment_pack_at(s, position));
}

void index_entry_encode(const struct name *name, uint32_t pack, uint32_t offset,
			uint32_t stored_len, uint8_t out[SEGMENT_ENTRY_BYTES])
{
	memcpy(out, name->bytes, INDEX_PREFIX_BYTES);
	le32_put(out + 20, pack);
	le32_put(out + 24, offset);
	le32_put(out + 28, stored_len);
}

static int entry_compare(const void *a, const void *b)
{
	return memcmp(a, b, SEGMENT_ENTRY_BYTES);
}

void segment_sort(uint8_t *entries, uint64_t count)
{
	if (count)
		qsort(entries, count, SEGMENT_ENTRY_BYTES, entry_compare);
}

/* A file being written from its start, with the checksum of all behind the header. */
struct output {
	int fd;
	const char *path;
	struct buf buf;
	uint64_t at;
	uint32_t crc;
};

static int output_flush(struct output *out, struct err *e)
{
	if (disk_write_at(out->fd, out->path, out->buf.data, out->buf.len, out->at, e) < 0)
		return -1;
	out->crc = crc32c(out->crc, out->buf.data, out->buf.len);
	out->at += out->buf.len;
	buf_clear(&out->buf);
	return 0;
}

static int output_add(struct output *out, const void *data, size_t n, struct err *e)
{
	buf_add(&out->buf, data, n);
	return out->buf.len >= WRITE_BYTES ? output_flush(out, e) : 0;
}

/* The packs of all parts, each once; maps[part][its number] is the number in the new file. */
static void packs_unite(const struct store_segment *parts, size_t part_count, struct nameset *packs,
			uint32_t **maps)
{
	for (size_t p = 0; p < part_count; p++) {
		maps[p] = xcalloc(parts[p].pack_count, sizeof **maps);
		for (uint32_t i = 0; i < parts[p].pack_count; i++) {
			struct name name;
			if (parts[p].dead_packs && bit(parts[p].dead_packs, i))
				continue;
			segment_pack_name(&parts[p], i, &name);
			int64_t at = nameset_find(packs, &name);
			maps[p][i] = at >= 0 ? (uint32_t)at : nameset_add(packs, &name);
		}
	}
}

static int entries_merge(struct output *out, const struct store_segment *parts, size_t part_count,
			 uint32_t *const *maps, struct store_segment *totals, struct err *e)
{
	enum segment_kind kind = parts[0].kind;
	uint64_t *at = xcalloc(part_count, sizeof *at);
	uint8_t last[SEGMENT_ENTRY_BYTES] = {0};
	int result = 0;
	while (result == 0) {
		const uint8_t *least = NULL;
		size_t from = 0;
		for (size_t p = 0; p < part_count; p++) {
			while (at[p] < parts[p].count && !counts(&parts[p], at[p]))
				at[p]++;
			if (at[p] == parts[p].count)
				continue;
			const uint8_t *entry = entry_at(&parts[p], at[p]);
			if (!least || memcmp(entry, least, key_bytes(kind)) < 0) {
				least = entry;
				from = p;
			}
		}
		if (!least)
			break;
		at[from]++;
		if (totals->count && memcmp(least, last, key_bytes(kind)) == 0)
			continue;
		memcpy(last, least, sizeof last);
		if (kind == SEGMENT_INDEX) {
			le32_put(last + 20, maps[from][le32_get(least + 20)]);
			totals->record_bytes += RECORD_HEADER_BYTES + (uint64_t)le32_get(last + 28);
		}
		totals->count++;
		result = output_add(out, last, sizeof last, e);
	}
	free(at);
	return result;
}

static int header_write(struct output *out, const struct store_segment *totals, struct err *e)
{
	uint8_t header[SEGMENT_HEADER_BYTES] = {0};
	memcpy(header, magics[totals->kind], sizeof magics[0]);
	le32_put(header + 8, SEGMENT_FORMAT);
	le32_put(header + 12, totals->pack_count);
	le64_put(header + 16, totals->count);
	le64_put(header + 24, totals->record_bytes);
	le32_put(header + 32, totals->replaced_count);
	le32_put(header + 48, totals->drop_count);
	le32_put(header + 56, out->crc);
	le32_put(header + 60, crc32c(0, header, 60));
	return disk_write_at(out->fd, out->path, header, sizeof header, 0, e);
}

static int notes_write(struct output *out, const struct segment_notes *notes, struct err *e)
{
	uint8_t bytes[SEGMENT_DROP_BYTES];
	for (size_t i = 0; i < notes->replaced_count; i++) {
		le64_put(bytes, notes->replaced[i]);
		if (output_add(out, bytes, 8, e) < 0)
			return -1;
	}
	for (size_t i = 0; i < notes->drop_count; i++) {
		memcpy(bytes, notes->drops[i].pack.bytes, NAME_BYTES);
		le64_put(bytes + NAME_BYTES, notes->drops[i].below);
		if (output_add(out, bytes, sizeof bytes, e) < 0)
			return -1;
	}
	return 0;
}

static int body_write(struct output *out, const struct store_segment *parts, size_t part_count,
		      const struct segment_notes *notes, struct err *e)
{
	struct nameset packs = {0};
	uint32_t **maps = xcalloc(part_count, sizeof *maps);
	struct store_segment totals = {.kind = parts[0].kind,
				       .replaced_count = (uint32_t)notes->replaced_count,
				       .drop_count = (uint32_t)notes->drop_count};
	int result = -1;
	packs_unite(parts, part_count, &packs, maps);
	totals.pack_count = packs.count;
	if (output_add(out, packs.names, packs.count * sizeof *packs.names, e) < 0 ||
	    entries_merge(out, parts, part_count, maps, &totals, e) < 0 ||
	    notes_write(out, notes, e) < 0)
		goto out;
	if (output_flush(out, e) == 0 && header_write(out, &totals, e) == 0)
		result = 0;
out:
	for (size_t p = 0; p < part_count; p++)
		free(maps[p]);
	free(maps);
	nameset_release(&packs);
	return result;
}

int segment_write(const char *path, const struct store_segment *parts, size_t part_count,
		  const struct segment_notes *notes, struct err *e)
{
	static const struct segment_notes none;
	struct output out = {.fd = disk_create(path, e), .path = path, .at = SEGMENT_HEADER_BYTES};
	if (out.fd < 0)
		return -1;
	int result = body_write(&out, parts, part_count, notes ? notes : &none, e);
	buf_release(&out.buf);
	if (result == 0)
		return out.fd;
	close(out.fd);
	disk_remove(path, NULL);
	return -1;
}
