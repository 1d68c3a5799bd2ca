// SPDX-License-Identifier: Apache-2.0
/*
 * The journal of ext3 and ext4 as fs/jbd2/recovery.c of Linux replays it. Numbers are big-endian.
 * Where recovery would stop or complain, or where two versions of it might differ, nothing is
 * believed: only a log that ends as a log does, in a block of no or another transaction.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "block/used_ext.h"

#define MAGIC		   0xc03b3998u
#define KIND_DESCRIPTOR	   1u
#define KIND_COMMIT	   2u
#define KIND_SUPER_1	   3u
#define KIND_SUPER_2	   4u
#define KIND_REVOKE	   5u
#define COMPAT_CHECKSUM	   0x1u
#define INCOMPAT_REVOKE	   0x1u
#define INCOMPAT_64BIT	   0x2u
#define INCOMPAT_CSUM_2	   0x8u
#define INCOMPAT_CSUM_3	   0x10u
#define INCOMPAT_FAST	   0x20u
#define INCOMPAT_READABLE  (INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_CSUM_2 | INCOMPAT_CSUM_3)
#define TAG_ESCAPED	   1u
#define TAG_SAME_UUID	   2u
#define TAG_DELETED	   4u
#define TAG_LAST	   8u
#define HEADER_BYTES	   12u
#define JOURNAL_SUPER	   1024u
#define MAX_JOURNAL_BLOCKS (1u << 24)
#define MAX_RUNS	   131072u
#define MAX_NEWERS	   524288u
#define MAX_REVOKED	   524288u
#define MAX_NODES	   65536u
#define MAX_DEPTH	   5u

static const char strange_inode[] = "its journal's inode is absurd";
static const char strange_log[] = "its journal is not understood";

/* --- where the journal lies --- */

static int add_run(struct ext *x, uint64_t physical, uint32_t length)
{
	struct ext_runs *r = &x->journal;
	if (physical <= x->first_block || physical >= x->blocks || length > x->blocks - physical ||
	    length > MAX_JOURNAL_BLOCKS - r->length)
		return volume_doubt(x->v, strange_inode);
	struct ext_run *last = r->count ? &r->items[r->count - 1] : NULL;
	if (last && last->physical + last->length == physical) {
		last->length += length;
	} else {
		if (r->count == MAX_RUNS)
			return volume_doubt(x->v, strange_inode);
		VEC_GROW(r->items, r->count, r->cap);
		r->items[r->count++] = (struct ext_run){physical, r->length, length};
	}
	r->length += length;
	return FINE;
}

static int walk_extents(struct ext *x, const uint8_t *node, uint32_t bytes, uint32_t depth,
			uint32_t *nodes, struct err *e)
{
	uint32_t entries = le16_get(node + 2);
	int result = FINE;
	if (le16_get(node) != 0xf30a || le16_get(node + 6) != depth ||
	    entries > (bytes - HEADER_BYTES) / 12 || entries == 0)
		return volume_doubt(x->v, strange_inode);
	uint8_t *child = depth ? xmalloc(x->block_bytes) : NULL;
	for (uint32_t i = 0; i < entries && result == FINE; i++) {
		const uint8_t *entry = node + HEADER_BYTES + i * 12;
		if (le32_get(entry) != x->journal.length) {
			result = volume_doubt(x->v, strange_inode); /* a hole */
		} else if (depth == 0) {
			uint32_t length = le16_get(entry + 4);
			if (length == 0 || length > 32768)
				result = volume_doubt(x->v, strange_inode);
			else
				result = add_run(
				    x, le32_get(entry + 8) | (uint64_t)le16_get(entry + 6) << 32,
				    length);
		} else if (++*nodes > MAX_NODES) {
			result = volume_doubt(x->v, strange_inode);
		} else {
			uint64_t block = le32_get(entry + 4) | (uint64_t)le16_get(entry + 8) << 32;
			if ((result = ext_home_block(x, block, child, e)) == FINE)
				result = walk_extents(x, child, x->block_bytes, depth - 1, nodes,
						      e);
		}
	}
	free(child);
	return result;
}

/* A block of pointers; at depth 0 `block` is of the journal itself. */
static int walk_pointers(struct ext *x, uint32_t block, uint32_t depth, uint32_t needed,
			 struct err *e)
{
	int result;
	if (depth == 0)
		return add_run(x, block, 1);
	uint8_t *pointers = xmalloc(x->block_bytes);
	result = ext_home_block(x, block, pointers, e);
	for (uint32_t i = 0; i < x->block_bytes / 4 && result == FINE && x->journal.length < needed;
	     i++)
		result = walk_pointers(x, le32_get(pointers + i * 4), depth - 1, needed, e);
	free(pointers);
	return result;
}

static int find_journal(struct ext *x, const uint8_t *inode, struct err *e)
{
	const uint8_t *map = inode + 0x28;
	uint64_t bytes = le32_get(inode + 4) | (uint64_t)le32_get(inode + 0x6c) << 32;
	uint32_t nodes = 0;
	int result = FINE;
	if ((le16_get(inode) & 0xf000) != 0x8000 || bytes / x->block_bytes > MAX_JOURNAL_BLOCKS ||
	    bytes < JOURNAL_SUPER)
		return volume_doubt(x->v, strange_inode);
	uint32_t needed = (uint32_t)(bytes / x->block_bytes);
	if (le32_get(inode + 0x20) & 0x80000) {
		uint32_t depth = le16_get(map + 6);
		if (depth > MAX_DEPTH)
			return volume_doubt(x->v, strange_inode);
		result = walk_extents(x, map, 60, depth, &nodes, e);
	} else {
		for (uint32_t i = 0; i < 15 && result == FINE && x->journal.length < needed; i++)
			result = walk_pointers(x, le32_get(map + i * 4), i < 12 ? 0 : i - 11,
					       needed, e);
	}
	if (result == FINE && (x->journal.length < needed || needed == 0))
		result = volume_doubt(x->v, strange_inode);
	return result;
}

static int log_block(struct ext *x, uint32_t logical, uint8_t *to, struct err *e)
{
	const struct ext_runs *r = &x->journal;
	size_t low = 0, high = r->count;
	if (logical >= r->length)
		return volume_doubt(x->v, strange_log);
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (r->items[middle].logical <= logical)
			low = middle;
		else
			high = middle;
	}
	return ext_home_block(x, r->items[low].physical + (logical - r->items[low].logical), to, e);
}

/* --- what is in it --- */

struct log {
	struct ext *x;
	uint32_t first, end;	      /* blocks of the journal between which it goes round */
	uint32_t at, sequence;	      /* the next block; the transaction expected there */
	uint32_t incompat, tag_bytes; /* of a tag without its uuid */
	uint32_t seed;
	uint32_t visited; /* blocks since the start: at most once round */
	uint8_t *block, *data;
};

static bool has_checksums(const struct log *log)
{
	return log->incompat & (INCOMPAT_CSUM_2 | INCOMPAT_CSUM_3);
}

/* The next block of the log, round its end; not read when `to` is NULL. */
static int step(struct log *log, uint8_t *to, uint32_t *logical, struct err *e)
{
	if (log->visited++ >= log->end - log->first)
		return volume_doubt(log->x->v, strange_log);
	*logical = log->at++;
	if (log->at == log->end)
		log->at = log->first;
	return to ? log_block(log->x, *logical, to, e) : FINE;
}

/* The checksum of a block of the log itself, kept as a number of 4 bytes at `at` in it. */
static bool block_whole(const struct log *log, uint8_t *block, uint32_t at)
{
	uint32_t stored = be32_at(block + at);
	if (!has_checksums(log))
		return true;
	memset(block + at, 0, 4);
	return ext_crc32c(log->seed, block, log->x->block_bytes) == stored;
}

static bool data_whole(const struct log *log, const uint8_t *tag)
{
	uint32_t sequence = htobe32(log->sequence);
	if (!has_checksums(log))
		return true;
	uint32_t crc = ext_crc32c(log->seed, &sequence, sizeof sequence);
	crc = ext_crc32c(crc, log->data, log->x->block_bytes);
	return log->incompat & INCOMPAT_CSUM_3 ? crc == be32_at(tag + 12)
					       : (crc & 0xffff) == be16_at(tag + 4);
}

static int read_tag(struct log *log, const uint8_t *tag, uint32_t flags, bool *stale, struct err *e)
{
	struct ext *x = log->x;
	uint32_t logical;
	uint64_t block = be32_at(tag);
	int result = step(log, has_checksums(log) ? log->data : NULL, &logical, e);
	if (result != FINE)
		return result;
	if (log->incompat & INCOMPAT_64BIT)
		block |= (uint64_t)be32_at(tag + 8) << 32;
	if (block >= x->blocks || (flags & TAG_DELETED))
		return volume_doubt(x->v, strange_log);
	/* In the transaction being written at this moment not all data need be there yet: only if
	 * it is committed below does this matter. */
	*stale |= !data_whole(log, tag);
	if (x->newers.count == MAX_NEWERS)
		return volume_doubt(x->v, "its journal is larger than is looked at");
	VEC_GROW(x->newers.items, x->newers.count, x->newers.cap);
	x->newers.items[x->newers.count] = (struct ext_newer){
	    block, logical, (flags & TAG_ESCAPED) != 0, (uint32_t)x->newers.count & 0x7fffffff};
	x->newers.count++;
	return FINE;
}

static int read_descriptor(struct log *log, bool *stale, struct err *e)
{
	struct ext *x = log->x;
	uint32_t end = x->block_bytes - (has_checksums(log) ? 4 : 0), at = HEADER_BYTES, flags = 0;
	int result = FINE;
	if (!block_whole(log, log->block, x->block_bytes - 4))
		return volume_doubt(x->v, "a block of its journal fails its checksum");
	while (result == FINE && !(flags & TAG_LAST)) {
		if (at + log->tag_bytes > end)
			return FINE; /* recovery, too, stops where no tag fits */
		const uint8_t *tag = log->block + at;
		flags = log->incompat & INCOMPAT_CSUM_3 ? be32_at(tag + 4) : be16_at(tag + 6);
		at += log->tag_bytes + (flags & TAG_SAME_UUID ? 0 : 16);
		result = read_tag(log, tag, flags, stale, e);
	}
	return result;
}

static int read_revokes(struct log *log)
{
	struct ext *x = log->x;
	uint32_t bytes = be32_at(log->block + HEADER_BYTES);
	uint32_t each = log->incompat & INCOMPAT_64BIT ? 8 : 4;
	if (!block_whole(log, log->block, x->block_bytes - 4))
		return volume_doubt(x->v, "a block of its journal fails its checksum");
	if (bytes < HEADER_BYTES + 4 || bytes > x->block_bytes - (has_checksums(log) ? 4 : 0))
		return volume_doubt(x->v, strange_log);
	for (uint32_t at = HEADER_BYTES + 4; at + each <= bytes; at += each) {
		if (x->revoked.count == MAX_REVOKED)
			return volume_doubt(x->v, "its journal is larger than is looked at");
		VEC_GROW(x->revoked.items, x->revoked.count, x->revoked.cap);
		x->revoked.items[x->revoked.count++] = each == 8 ? be64_at(log->block + at)
								 : be32_at(log->block + at);
	}
	return FINE;
}

/* Transaction after transaction; what follows the last commit block is forgotten, as recovery does.
 * Revoke records are kept even so: they only make blocks doubtful. */
static int read_transactions(struct log *log, struct err *e)
{
	struct ext *x = log->x;
	size_t committed = 0;
	bool stale = false;
	for (;;) {
		uint32_t logical;
		int result = step(log, log->block, &logical, e);
		if (result != FINE)
			return result;
		if (be32_at(log->block) != MAGIC || be32_at(log->block + 8) != log->sequence)
			break;
		switch (be32_at(log->block + 4)) {
		case KIND_DESCRIPTOR: result = read_descriptor(log, &stale, e); break;
		case KIND_REVOKE: result = read_revokes(log); break;
		case KIND_COMMIT:
			if (stale || !block_whole(log, log->block, 16))
				return volume_doubt(
				    x->v, "a transaction of its journal fails its checksum");
			committed = x->newers.count;
			log->sequence++;
			break;
		default: return volume_doubt(x->v, strange_log);
		}
		if (result != FINE)
			return result;
	}
	x->newers.count = committed;
	return FINE;
}

static int compare_newers(const void *a, const void *b)
{
	const struct ext_newer *x = a, *y = b;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static int compare_blocks(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* One version of each block: the last. */
static void sort_newers(struct ext *x)
{
	struct ext_newers *n = &x->newers;
	size_t kept = 0;
	if (x->revoked.count)
		qsort(x->revoked.items, x->revoked.count, sizeof *x->revoked.items, compare_blocks);
	if (n->count == 0)
		return;
	qsort(n->items, n->count, sizeof *n->items, compare_newers);
	for (size_t i = 0; i < n->count; i++)
		if (i + 1 == n->count || n->items[i].block != n->items[i + 1].block)
			n->items[kept++] = n->items[i];
	n->count = kept;
}

static int check_log_super(struct log *log, uint8_t *s, uint32_t *start)
{
	struct ext *x = log->x;
	uint32_t kind = be32_at(s + 4), compat = 0, ro_compat = 0, last = be32_at(s + 16);
	if (be32_at(s) != MAGIC || (kind != KIND_SUPER_1 && kind != KIND_SUPER_2) ||
	    be32_at(s + 12) != x->block_bytes)
		return volume_doubt(x->v, strange_log);
	if (kind == KIND_SUPER_2) {
		compat = be32_at(s + 36);
		log->incompat = be32_at(s + 40);
		ro_compat = be32_at(s + 44);
	}
	log->first = be32_at(s + 20);
	log->end = last;
	log->sequence = be32_at(s + 24);
	*start = be32_at(s + 28);
	if (last > x->journal.length || log->first == 0 || log->first >= last)
		return volume_doubt(x->v, strange_log);
	if (be32_at(s + 32))
		return volume_doubt(x->v, "its journal records an error");
	if (has_checksums(log)) {
		uint32_t stored = be32_at(s + 252);
		memset(s + 252, 0, 4);
		if (s[80] != 4 || ext_crc32c(~0u, s, JOURNAL_SUPER) != stored)
			return volume_doubt(x->v, "its journal's superblock fails its checksum");
		log->seed = ext_crc32c(~0u, s + 48, 16);
	}
	if (!x->dirty) /* empty, whatever its features */
		return *start
			   ? volume_doubt(x->v, "its journal is in use, its superblock denies it")
			   : FINE;
	if ((compat & ~COMPAT_CHECKSUM) || (log->incompat & ~INCOMPAT_READABLE) || ro_compat)
		return volume_doubt(x->v, log->incompat & INCOMPAT_FAST
					      ? "its journal has fast commits"
					      : "its journal has a feature that is not known");
	if (compat || ((log->incompat & INCOMPAT_CSUM_2) && (log->incompat & INCOMPAT_CSUM_3)))
		return volume_doubt(x->v, "its journal has old checksums");
	log->tag_bytes = log->incompat & INCOMPAT_CSUM_3
			     ? 16
			     : 8 + (log->incompat & INCOMPAT_CSUM_2 ? 2 : 0) +
				   (log->incompat & INCOMPAT_64BIT ? 4 : 0);
	if (*start && (*start < log->first || *start >= log->end))
		return volume_doubt(x->v, strange_log);
	return FINE;
}

int ext_journal_read(struct ext *x, const uint8_t *inode, struct err *e)
{
	struct log log = {.x = x};
	uint32_t start = 0;
	log.block = xmalloc(x->block_bytes);
	log.data = xmalloc(x->block_bytes);
	int result = find_journal(x, inode, e);
	if (result == FINE && (result = log_block(x, 0, log.block, e)) == FINE)
		result = check_log_super(&log, log.block, &start);
	if (result == FINE && start) {
		log.at = start;
		if ((result = read_transactions(&log, e)) == FINE)
			sort_newers(x);
	}
	free(log.block);
	free(log.data);
	return result;
}

int ext_block(struct ext *x, uint64_t block, uint8_t *to, struct err *e)
{
	const struct ext_newers *n = &x->newers;
	size_t low = 0, high = n->count;
	if (x->revoked.count && bsearch(&block, x->revoked.items, x->revoked.count,
					sizeof *x->revoked.items, compare_blocks))
		return volume_doubt(x->v, "its journal revokes a bitmap");
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (n->items[middle].block < block)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == n->count || n->items[low].block != block)
		return ext_home_block(x, block, to, e);
	const uint32_t magic = htobe32(MAGIC);
	int result = log_block(x, n->items[low].log_block, to, e);
	if (result == FINE && n->items[low].escaped)
		memcpy(to, &magic, sizeof magic);
	return result;
}

void ext_journal_release(struct ext *x)
{
	free(x->journal.items);
	free(x->newers.items);
	free(x->revoked.items);
}
