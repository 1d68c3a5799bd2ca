// SPDX-License-Identifier: Apache-2.0
/*
 * Packs: files of up to 32 MiB that hold records of one kind one after the other, and end in a
 * table of them. Every byte: man/godwit-store.5. What parses is a pure function of bytes.
 *
 *   header 32 | { record header 72, stored bytes } … | { name 32, offset 4, stored_len 4 } … |
 *   trailer 64, ending in the SHA-256 of table and trailer, which is the pack's name
 */
#ifndef STORE_PACK_H
#define STORE_PACK_H

#include <stdbool.h>

#include "store/store.h"

#define PACK_HEADER_BYTES   32
#define PACK_TRAILER_BYTES  64
#define PACK_ENTRY_BYTES    40
#define RECORD_HEADER_BYTES 72

/* CRC-32C (Castagnoli) of the bytes, following those whose checksum is `before` (0 at first). */
uint32_t crc32c(uint32_t before, const void *data, size_t n);

struct pack_entry {
	struct name name;
	uint32_t offset; /* of the record's header */
	uint32_t stored_len;
};

/* A pack in memory; points into it. */
struct pack_view {
	const uint8_t *data;
	size_t size;
	enum record_kind kind;
	uint32_t count;
	const uint8_t *table;
	struct name name; /* by its own table */
};

/* ERR_CORRUPT with what is wrong. Checks header, trailer, table and that entries lie inside, in
 * order and apart; not the records. */
int pack_parse(const uint8_t *data, size_t n, struct pack_view *out, struct err *e);
void pack_entry_at(const struct pack_view *pack, uint32_t i, struct pack_entry *out);
/* Every record is the one its entry says and has its checksum. */
int pack_check_records(const struct pack_view *pack, struct err *e);

void record_header_encode(const struct record *r, uint8_t out[RECORD_HEADER_BYTES]);
/* A record from its header and the bytes behind it, of which there are `n` together; r->stored
 * points into them. Checks both checksums and the bounds; ERR_CORRUPT. */
int record_parse(const uint8_t *data, size_t n, struct record *r, struct err *e);

/* A pack being written, aside at `temp`. All zero (fd 0 is never one of ours): none. */
struct pack_writer {
	int fd;
	char *temp;
	uint32_t used; /* bytes of header and records */
	struct pack_entry *entries;
	uint32_t count, cap;
	uint32_t flushing; /* up to here the kernel was asked to begin writing */
};

int pack_writer_open(struct pack_writer *w, const char *temp, enum record_kind kind, struct err *e);
/* There is room for a record of `stored_len`. */
bool pack_writer_fits(const struct pack_writer *w, uint32_t stored_len);
/* On failure the pack is as it was. */
int pack_writer_append(struct pack_writer *w, const struct record *r, struct err *e);
/* Write the table at its end; `out` is the pack's name. */
int pack_writer_finish(struct pack_writer *w, struct name *out, struct err *e);
/* Its file has its place, so closing must not remove it. */
void pack_writer_placed(struct pack_writer *w);
/* Forget it, and remove its file unless that has its place. */
void pack_writer_close(struct pack_writer *w);

/* "packs/xx" and "packs/xx/<name>.pack"; the caller frees. */
char *pack_folder(const struct name *pack);
char *pack_key(const struct name *pack);

#endif
