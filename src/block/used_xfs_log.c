// SPDX-License-Identifier: Apache-2.0
/*
 * Whether recovery would change the free space of an XFS file system: fs/xfs/xfs_log_recover.c of
 * Linux. The log is a ring of sectors, each stamped with the number of its round; where the number
 * falls by one is its head. A log is empty when the record before the head is an unmount record.
 * Freezing flushes everything and then logs the superblock once more on purpose (so that files
 * deleted while open are found after a crash); so records that change the superblock alone count
 * as nothing, too. Everything else is a log that would have to be replayed: a doubt.
 */
#include <stdlib.h>

#include <isa-l/crc.h>

#include "base/mem.h"
#include "block/used_xfs.h"

#define SECTOR	       512u
#define HEADER_MAGIC   0xfeedbabeu
#define HEADER_STRUCT  328u /* of the first sector of a record, what its checksum covers */
#define HEADER_CRC     32u
#define HEADER_CYCLES  44u    /* the first words of the first 64 sectors of data */
#define HEADER_COVERS  32768u /* bytes of data; for each further ones there is a sector more */
#define HEADER_MORE    260u   /* of that sector, what the checksum covers */
#define MAX_DATA_BYTES (8 * HEADER_COVERS)
#define RECORD_SECTORS (512u + 8u) /* the longest: 256 KiB and its headers */
#define IN_FLIGHT      8192u	   /* sectors: twice what may be written out of order */
#define MAX_SECTORS    (8u << 20)
#define MAX_WALK       4096u /* sectors of records that change the superblock */
#define OP_BYTES       12u
#define OP_START       0x1u
#define OP_COMMIT      0x2u
#define OP_UNMOUNT     0x20u
#define TRANSACTION    0x5452414eu /* "TRAN" */
#define ITEM_BUFFER    0x123cu
#define BUFFER_BYTES   24u
#define BUFFER_CANCEL  0x2u

static const char not_empty[] = "its log would have to be replayed";

struct log {
	struct xfs *x;
	uint64_t start; /* bytes */
	uint32_t sectors, head, cycle;
};

struct record {
	uint32_t at, cycle, header_sectors, data_bytes, ops;
	uint64_t tail;
	uint8_t header[SECTOR];
};

static int sector_at(struct log *log, uint64_t number, const uint8_t **sector, struct err *e)
{
	return volume_at(log->x->v, log->start + number % log->sectors * SECTOR, SECTOR, sector, e);
}

static int cycle_at(struct log *log, uint32_t number, uint32_t *cycle, struct err *e)
{
	const uint8_t *sector;
	int result = sector_at(log, number, &sector, e);
	if (result != FINE)
		return result;
	uint32_t first = be32_at(sector);
	*cycle = first == HEADER_MAGIC ? be32_at(sector + 4) : first;
	return FINE;
}

static int find_head(struct log *log, struct err *e)
{
	uint32_t last, low = 0, high = log->sectors - 1;
	int result = cycle_at(log, 0, &log->cycle, e);
	if (result == FINE)
		result = cycle_at(log, high, &last, e);
	if (result != FINE)
		return result;
	if (log->cycle == 0)
		return volume_doubt(log->x->v, not_empty);
	if (last == log->cycle) {
		log->head = 0;
		return FINE;
	}
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2, cycle;
		if ((result = cycle_at(log, middle, &cycle, e)) != FINE)
			return result;
		if (cycle == log->cycle)
			low = middle;
		else
			high = middle;
	}
	log->head = high;
	return FINE;
}

/* Nothing was being written when the moment came: no gap on either side of the head. */
static int check_around_head(struct log *log, struct err *e)
{
	uint32_t from = log->head > IN_FLIGHT ? log->head - IN_FLIGHT : 0;
	uint32_t end = log->sectors - log->head > IN_FLIGHT ? log->head + IN_FLIGHT : log->sectors;
	/* With the head at 0, the ring's end is what is before it. */
	if (log->head == 0) {
		from = log->sectors > IN_FLIGHT ? log->sectors - IN_FLIGHT : 0;
		end = log->sectors;
	}
	for (uint32_t i = from; i < end; i++) {
		uint32_t cycle;
		int result = cycle_at(log, i, &cycle, e);
		if (result != FINE)
			return result;
		uint32_t expected = log->head && i >= log->head ? log->cycle - 1 : log->cycle;
		if (cycle != expected)
			return volume_doubt(log->x->v, not_empty);
	}
	return FINE;
}

static int read_record(struct log *log, uint32_t at, struct record *r, struct err *e)
{
	const uint8_t *sector;
	int result = sector_at(log, at, &sector, e);
	if (result != FINE)
		return result;
	memcpy(r->header, sector, SECTOR);
	const uint8_t *h = r->header;
	uint32_t version = be32_at(h + 8), size = be32_at(h + 320);
	r->at = at;
	r->cycle = be32_at(h + 4);
	r->data_bytes = be32_at(h + 12);
	r->tail = be64_at(h + 24);
	r->ops = be32_at(h + 40);
	r->header_sectors = 1;
	if ((version & 2) && size > HEADER_COVERS && size <= MAX_DATA_BYTES)
		r->header_sectors = (size + HEADER_COVERS - 1) / HEADER_COVERS;
	if (be32_at(h) != HEADER_MAGIC || (version != 1 && version != 2) ||
	    be64_at(h + 16) != ((uint64_t)r->cycle << 32 | at) || be32_at(h + 300) != 1 ||
	    memcmp(h + 304, log->x->uuid, 16) != 0 || r->data_bytes == 0 ||
	    r->data_bytes > r->header_sectors * HEADER_COVERS || r->data_bytes % SECTOR)
		return volume_doubt(log->x->v, not_empty);
	return FINE;
}

/* The data of a record with its own first words. */
static int read_data(struct log *log, const struct record *r, uint8_t *data, struct err *e)
{
	static uint8_t zero[4];
	uint8_t *header = (uint8_t *)(uintptr_t)r->header;
	uint32_t crc = crc32_iscsi(header, HEADER_CRC, ~0u), stored = le32_get(header + HEADER_CRC);
	crc = crc32_iscsi(zero, sizeof zero, crc);
	crc = crc32_iscsi(header + HEADER_CRC + 4, HEADER_STRUCT - HEADER_CRC - 4, crc);
	for (uint32_t i = 1; i * HEADER_COVERS < r->data_bytes; i++) {
		const uint8_t *more;
		int result = sector_at(log, (uint64_t)r->at + i, &more, e);
		if (result != FINE)
			return result;
		crc = crc32_iscsi((uint8_t *)(uintptr_t)more, HEADER_MORE, crc);
	}
	for (uint32_t i = 0; i < r->data_bytes / SECTOR; i++) {
		const uint8_t *sector;
		uint64_t number = (uint64_t)r->at + r->header_sectors + i;
		int result = sector_at(log, number, &sector, e);
		if (result != FINE)
			return result;
		/* Past the ring's end the next round has begun. */
		if (be32_at(sector) != r->cycle + (number >= log->sectors))
			return volume_doubt(log->x->v, not_empty);
		memcpy(data + i * SECTOR, sector, SECTOR);
		crc = crc32_iscsi(data + i * SECTOR, SECTOR, crc);
		if (i < HEADER_COVERS / SECTOR)
			memcpy(data + i * SECTOR, header + HEADER_CYCLES + i * 4, 4);
	}
	if (stored && ~crc != stored) /* mkfs and xfs_repair write none */
		return volume_doubt(log->x->v, "a record of its log fails its checksum");
	return FINE;
}

/* The next operation: its data, or NULL when there is none in what the header covers. */
static const uint8_t *next_op(const struct record *r, const uint8_t *data, uint32_t *at,
			      uint32_t *left, uint32_t *length, uint32_t *flags)
{
	uint32_t end = r->data_bytes < HEADER_COVERS ? r->data_bytes : HEADER_COVERS;
	if (*left == 0 || end - *at < OP_BYTES)
		return NULL;
	const uint8_t *op = data + *at;
	*length = be32_at(op + 4);
	*flags = op[9];
	*at += OP_BYTES;
	if (*length > end - *at)
		return NULL;
	*at += *length;
	--*left;
	return op + OP_BYTES;
}

/* Whole transactions, each of one or more buffers that are the superblock: its first operation says
 * that it starts, the second has its header, then each buffer's description and that many regions;
 * the last says that it is committed. Descriptions have the byte order of the machine. */
static bool changes_superblock_only(const struct record *r, const uint8_t *data)
{
	uint32_t at = 0, left = r->ops, length, flags;
	while (left) {
		const uint8_t *op = next_op(r, data, &at, &left, &length, &flags);
		if (!op || flags != OP_START || length != 0)
			return false;
		op = next_op(r, data, &at, &left, &length, &flags);
		if (!op || flags || length < 16 || le32_get(op) != TRANSACTION)
			return false;
		for (;;) {
			op = next_op(r, data, &at, &left, &length, &flags);
			if (!op)
				return false;
			if (flags == OP_COMMIT && length == 0)
				break;
			if (flags || length < BUFFER_BYTES || le16_get(op) != ITEM_BUFFER ||
			    (le16_get(op + 4) & BUFFER_CANCEL) || le64_get(op + 8) != 0)
				return false;
			for (uint32_t regions = le16_get(op + 2); regions > 1; regions--)
				if (!next_op(r, data, &at, &left, &length, &flags) || flags)
					return false;
		}
	}
	return true;
}

static bool is_unmount(const struct record *r, const uint8_t *data)
{
	return r->ops == 1 && data[9] == OP_UNMOUNT;
}

/* From the tail to the head, record by record. */
static int walk(struct log *log, uint64_t tail, uint8_t *data, struct err *e)
{
	uint32_t at = (uint32_t)tail, walked = 0;
	if (at >= log->sectors)
		return volume_doubt(log->x->v, not_empty);
	do {
		struct record r;
		int result = read_record(log, at, &r, e);
		if (result == FINE)
			result = read_data(log, &r, data, e);
		if (result != FINE)
			return result;
		/* The tail may be the record that ended the mount before. */
		bool ended = walked == 0 && is_unmount(&r, data);
		if (r.cycle != (uint32_t)(at < log->head || log->head == 0 ? log->cycle
									   : log->cycle - 1) ||
		    (walked == 0 && r.cycle != tail >> 32) ||
		    (!ended && !changes_superblock_only(&r, data)))
			return volume_doubt(log->x->v, not_empty);
		uint32_t sectors = r.header_sectors + r.data_bytes / SECTOR;
		walked += sectors;
		at = (at + sectors) % log->sectors;
	} while (at != log->head && walked < MAX_WALK);
	return at == log->head ? FINE : volume_doubt(log->x->v, not_empty);
}

static int check_log(struct log *log, uint8_t *data, struct err *e)
{
	struct record r;
	uint32_t at = log->head, back = 0;
	const uint8_t *sector;
	int result;
	do { /* the last header before the head */
		at = (at + log->sectors - 1) % log->sectors;
		if ((result = sector_at(log, at, &sector, e)) != FINE)
			return result;
		if (++back > RECORD_SECTORS)
			return volume_doubt(log->x->v, not_empty);
	} while (be32_at(sector) != HEADER_MAGIC);
	if ((result = read_record(log, at, &r, e)) != FINE ||
	    (result = read_data(log, &r, data, e)) != FINE)
		return result;
	if ((at + r.header_sectors + r.data_bytes / SECTOR) % log->sectors != log->head)
		return volume_doubt(log->x->v, not_empty);
	if (!is_unmount(&r, data))
		result = walk(log, r.tail, data, e);
	return result == FINE ? check_around_head(log, e) : result;
}

int xfs_log_empty(struct xfs *x, struct err *e)
{
	uint64_t group = x->log_start >> x->ag_shift;
	uint64_t block = x->log_start & ((1u << x->ag_shift) - 1);
	uint64_t sectors = (uint64_t)x->log_blocks * (x->block_bytes / SECTOR);
	uint64_t first = group * x->ag_blocks + block;
	if (x->log_start == 0)
		return volume_doubt(x->v, "its log is on another disk");
	if (group >= x->ag_count || block >= x->ag_blocks || first >= x->blocks ||
	    x->log_blocks > x->blocks - first || sectors > MAX_SECTORS ||
	    sectors < 2 * RECORD_SECTORS)
		return volume_doubt(x->v, "its superblock is absurd");
	struct log log = {.x = x, .start = first * x->block_bytes, .sectors = (uint32_t)sectors};
	uint8_t *data = xmalloc(MAX_DATA_BYTES);
	int result = find_head(&log, e);
	if (result == FINE)
		result = check_log(&log, data, e);
	free(data);
	return result;
}
