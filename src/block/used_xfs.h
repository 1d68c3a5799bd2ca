// SPDX-License-Identifier: Apache-2.0
/* An XFS file system; between its two files. */
#ifndef BLOCK_USED_XFS_H
#define BLOCK_USED_XFS_H

#include "block/used_private.h"

struct xfs {
	struct volume *v;
	bool v5;
	uint32_t block_bytes, sector_bytes, ag_blocks, ag_count, ag_shift;
	uint64_t blocks;
	uint8_t uuid[16];      /* of the log */
	uint8_t meta_uuid[16]; /* of blocks of metadata */
	uint64_t log_start;    /* block number */
	uint32_t log_blocks;
};

/* FINE when recovery would find nothing in the log but new versions of the superblock. */
int xfs_log_empty(struct xfs *x, struct err *e);
/* The checksum of `n` bytes with the 4 bytes at `at` counted as zero. */
uint32_t xfs_crc(const uint8_t *data, uint32_t n, uint32_t at);

#endif
