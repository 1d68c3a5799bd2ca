// SPDX-License-Identifier: Apache-2.0
/* Shared by the readers of the single file systems; not for other rooms. */
#ifndef BLOCK_USED_PRIVATE_H
#define BLOCK_USED_PRIVATE_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/le.h"
#include "block/used.h"

#define VOLUME_WINDOW_BYTES (256u << 10)

/* What a function that reads a volume returns: 1 fine, 0 doubt (`why` says which), -1 the disk
 * cannot be read. */
enum { READ_FAILED = -1, DOUBT = 0, FINE = 1 };

/* A partition, or a disk without any. */
struct volume {
	layout_read_fn *read;
	void *context;
	uint64_t start, length;
	uint8_t *window; /* the bytes read last */
	uint64_t window_at;
	uint32_t window_bytes;
	const char *kind, *why;
	bool hibernated;	       /* a whole system sleeps here */
	struct extents unused;	       /* relative to `start`; the longest so far */
	uint64_t pending, pending_end; /* a range that may still grow */
	uint64_t too_short;	       /* ranges shorter than this were dropped */
};

int volume_doubt(struct volume *v, const char *why);
/* Bytes of the volume, valid until the next call; length at most VOLUME_WINDOW_BYTES. Bytes past
 * the volume's end are a doubt. */
int volume_at(struct volume *v, uint64_t offset, uint32_t length, const uint8_t **bytes,
	      struct err *e);
int volume_read(struct volume *v, uint64_t offset, uint32_t length, void *to, struct err *e);
/* A free range, in ascending order. */
void volume_free(struct volume *v, uint64_t offset, uint64_t length);
/* The free ranges are complete; those in `kept` (sorted and joined here) are used after all. */
void volume_finish(struct volume *v, struct extents *kept);
/* Free runs of a bitmap of `bits` little-endian bits, 1 is used; bit 0 is byte `at` of the volume.
 * Returns the number of free bits. */
uint64_t volume_free_bits(struct volume *v, const uint8_t *bitmap, uint64_t bits, uint64_t at,
			  uint32_t unit_bytes);

/* Each looks for its signature and returns DOUBT with `kind` NULL when it is not there. */
int used_ext(struct volume *v, struct err *e);
int used_xfs(struct volume *v, struct err *e);
int used_ntfs(struct volume *v, struct err *e);
int used_swap(struct volume *v, struct err *e);

static inline uint16_t be16_at(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof value);
	return be16toh(value);
}

static inline uint32_t be32_at(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof value);
	return be32toh(value);
}

static inline uint64_t be64_at(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof value);
	return be64toh(value);
}

#endif
