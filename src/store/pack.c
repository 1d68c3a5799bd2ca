// SPDX-License-Identifier: Apache-2.0
#include "store/pack.h"

#include <fcntl.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/disk.h"
#include "base/le.h"

#define PACK_FORMAT 1
#define FLUSH_BYTES (4 * MIB)

static const char header_magic[8] = "gwpack\r\n";
static const char trailer_magic[8] = "gwtable\n";

uint32_t crc32c(uint32_t before, const void *data, size_t n)
{
	uint32_t crc = ~before;
	const uint8_t *p = data;
	while (n) {
		int part = n > 1u << 30 ? 1 << 30 : (int)n;
		crc = crc32_iscsi((unsigned char *)(uintptr_t)p, part, crc);
		p += part;
		n -= (size_t)part;
	}
	return ~crc;
}

/* Offsets: name 0, plain_len 32, stored_len 36, codec 40, kind 42, key generation 44, salt 48,
 * checksum of the stored bytes 64, checksum of the 68 bytes before 68. */
void record_header_encode(const struct record *r, uint8_t out[RECORD_HEADER_BYTES])
{
	memset(out, 0, RECORD_HEADER_BYTES);
	memcpy(out, r->name.bytes, NAME_BYTES);
	le32_put(out + 32, r->plain_len);
	le32_put(out + 36, r->stored_len);
	le16_put(out + 40, r->codec);
	le16_put(out + 42, r->kind);
	le32_put(out + 64, crc32c(0, r->stored, r->stored_len));
	le32_put(out + 68, crc32c(0, out, 68));
}

int record_parse(const uint8_t *data, size_t n, struct record *r, struct err *e)
{
	static const uint8_t no_key[20];
	if (n < RECORD_HEADER_BYTES)
		return err_set(e, ERR_CORRUPT, "the record's header is cut short");
	if (le32_get(data + 68) != crc32c(0, data, 68))
		return err_set(e, ERR_CORRUPT, "the record's header has a wrong checksum");
	memcpy(r->name.bytes, data, NAME_BYTES);
	r->plain_len = le32_get(data + 32);
	r->stored_len = le32_get(data + 36);
	r->codec = le16_get(data + 40);
	r->kind = le16_get(data + 42);
	r->stored = data + RECORD_HEADER_BYTES;
	if (memcmp(data + 44, no_key, sizeof no_key) != 0)
		return err_set(e, ERR_CORRUPT,
			       "the record is encrypted, which this godwit cannot "
			       "read");
	if (r->stored_len == 0 || r->stored_len > n - RECORD_HEADER_BYTES)
		return err_set(e, ERR_CORRUPT, "the record is cut short");
	if (le32_get(data + 64) != crc32c(0, r->stored, r->stored_len))
		return err_set(e, ERR_CORRUPT, "the record's bytes have a wrong checksum");
	return 0;
}

int pack_parse(const uint8_t *data, size_t n, struct pack_view *out, struct err *e)
{
	if (n < PACK_HEADER_BYTES + PACK_TRAILER_BYTES || n > PACK_MAX_BYTES)
		return err_set(e, ERR_CORRUPT, "a pack cannot have %zu bytes", n);
	if (memcmp(data, header_magic, sizeof header_magic) != 0)
		return err_set(e, ERR_CORRUPT, "it is no pack");
	if (le32_get(data + 28) != crc32c(0, data, 28))
		return err_set(e, ERR_CORRUPT, "the pack's header has a wrong checksum");
	if (le32_get(data + 8) != PACK_FORMAT)
		return err_set(e, ERR_CORRUPT, "the pack has format %u, this godwit reads %u",
			       le32_get(data + 8), PACK_FORMAT);
	uint32_t kind = le32_get(data + 12);
	if (kind > RECORD_NODE || le64_get(data + 16) != 0)
		return err_set(e, ERR_CORRUPT, "the pack's kind or key domain is unknown");
	const uint8_t *trailer = data + n - PACK_TRAILER_BYTES;
	if (memcmp(trailer, trailer_magic, sizeof trailer_magic) != 0)
		return err_set(e, ERR_CORRUPT, "the pack has no table at its end");
	uint32_t count = le32_get(trailer + 8), at = le32_get(trailer + 12);
	if (at < PACK_HEADER_BYTES || at > n ||
	    n - at != (uint64_t)count * PACK_ENTRY_BYTES + PACK_TRAILER_BYTES)
		return err_set(e, ERR_CORRUPT, "the pack's table does not fit its size");
	*out = (struct pack_view){data, n, (enum record_kind)kind, count, data + at, {{0}}};
	name_of(out->table, n - at - NAME_BYTES, &out->name);
	if (memcmp(out->name.bytes, trailer + 32, NAME_BYTES) != 0)
		return err_set(e, ERR_CORRUPT, "the pack's table has a wrong SHA-256");
	uint64_t end = PACK_HEADER_BYTES;
	for (uint32_t i = 0; i < count; i++) {
		struct pack_entry entry;
		pack_entry_at(out, i, &entry);
		if (entry.offset < end || entry.stored_len == 0)
			return err_set(e, ERR_CORRUPT, "entry %u of the pack's table overlaps", i);
		end = (uint64_t)entry.offset + RECORD_HEADER_BYTES + entry.stored_len;
		if (end > at)
			return err_set(e, ERR_CORRUPT, "entry %u of the pack's table lies outside",
				       i);
	}
	return 0;
}

void pack_entry_at(const struct pack_view *pack, uint32_t i, struct pack_entry *out)
{
	const uint8_t *p = pack->table + (size_t)i * PACK_ENTRY_BYTES;
	memcpy(out->name.bytes, p, NAME_BYTES);
	out->offset = le32_get(p + 32);
	out->stored_len = le32_get(p + 36);
}

int pack_check_records(const struct pack_view *pack, struct err *e)
{
	for (uint32_t i = 0; i < pack->count; i++) {
		struct pack_entry entry;
		struct record r;
		pack_entry_at(pack, i, &entry);
		if (record_parse(pack->data + entry.offset,
				 RECORD_HEADER_BYTES + (size_t)entry.stored_len, &r, e) < 0)
			return err_prefix(e, "record %u of the pack", i);
		if (name_compare(&r.name, &entry.name) != 0 || r.stored_len != entry.stored_len ||
		    r.kind != pack->kind)
			return err_set(e, ERR_CORRUPT, "record %u is not the one in the table", i);
	}
	return 0;
}

int pack_writer_open(struct pack_writer *w, const char *temp, enum record_kind kind, struct err *e)
{
	uint8_t header[PACK_HEADER_BYTES] = {0};
	*w = (struct pack_writer){.fd = disk_create(temp, e), .temp = xstrdup(temp)};
	if (w->fd < 0) {
		free(w->temp);
		*w = (struct pack_writer){0};
		return -1;
	}
	memcpy(header, header_magic, sizeof header_magic);
	le32_put(header + 8, PACK_FORMAT);
	le32_put(header + 12, kind);
	le32_put(header + 28, crc32c(0, header, 28));
	if (disk_reserve(w->fd, temp, PACK_TARGET_BYTES, e) < 0 ||
	    disk_write_at(w->fd, temp, header, sizeof header, 0, e) < 0) {
		pack_writer_close(w);
		return -1;
	}
	w->used = w->flushing = sizeof header;
	return 0;
}

bool pack_writer_fits(const struct pack_writer *w, uint32_t stored_len)
{
	/* The table at the end is part of the target, so that sealing needs no more room than was
	 * set aside when the pack was begun. */
	return w->used + RECORD_HEADER_BYTES + (uint64_t)stored_len +
		   (w->count + 1) * (uint64_t)PACK_ENTRY_BYTES + PACK_TRAILER_BYTES <=
	       PACK_TARGET_BYTES;
}

int pack_writer_append(struct pack_writer *w, const struct record *r, struct err *e)
{
	uint8_t header[RECORD_HEADER_BYTES];
	record_header_encode(r, header);
	if (disk_write_at(w->fd, w->temp, header, sizeof header, w->used, e) < 0 ||
	    disk_write_at(w->fd, w->temp, r->stored, r->stored_len, w->used + sizeof header, e) < 0)
		return -1;
	VEC_GROW(w->entries, w->count, w->cap);
	w->entries[w->count++] = (struct pack_entry){r->name, w->used, r->stored_len};
	w->used += (uint32_t)sizeof header + r->stored_len;
	if (w->used - w->flushing >= FLUSH_BYTES) {
		/* Only a hint, so that the sync at the end finds little left to do. */
		sync_file_range(w->fd, w->flushing, w->used - w->flushing, SYNC_FILE_RANGE_WRITE);
		w->flushing = w->used;
	}
	return 0;
}

static void footer_encode(const struct pack_writer *w, struct buf *out, struct name *name)
{
	uint8_t trailer[PACK_TRAILER_BYTES - NAME_BYTES] = {0};
	for (uint32_t i = 0; i < w->count; i++) {
		uint8_t entry[PACK_ENTRY_BYTES];
		memcpy(entry, w->entries[i].name.bytes, NAME_BYTES);
		le32_put(entry + 32, w->entries[i].offset);
		le32_put(entry + 36, w->entries[i].stored_len);
		buf_add(out, entry, sizeof entry);
	}
	memcpy(trailer, trailer_magic, sizeof trailer_magic);
	le32_put(trailer + 8, w->count);
	le32_put(trailer + 12, w->used);
	buf_add(out, trailer, sizeof trailer);
	name_of(out->data, out->len, name);
	buf_add(out, name->bytes, NAME_BYTES);
}

int pack_writer_finish(struct pack_writer *w, struct name *out, struct err *e)
{
	struct buf footer = {0};
	footer_encode(w, &footer, out);
	int result = disk_write_at(w->fd, w->temp, footer.data, footer.len, w->used, e);
	if (result == 0)
		result = disk_truncate(w->fd, w->temp, w->used + footer.len, e);
	buf_release(&footer);
	return result;
}

void pack_writer_placed(struct pack_writer *w)
{
	free(w->temp);
	w->temp = NULL;
}

void pack_writer_close(struct pack_writer *w)
{
	if (w->temp)
		disk_remove(w->temp, NULL);
	if (w->fd > 0)
		close(w->fd);
	free(w->temp);
	free(w->entries);
	*w = (struct pack_writer){0};
}

char *pack_folder(const struct name *pack)
{
	return xasprintf("packs/%02x", pack->bytes[0]);
}

char *pack_key(const struct name *pack)
{
	char hex[NAME_HEX_BYTES];
	name_hex(pack, hex);
	return xasprintf("packs/%02x/%s.pack", pack->bytes[0], hex);
}
