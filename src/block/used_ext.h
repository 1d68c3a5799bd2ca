// SPDX-License-Identifier: Apache-2.0
/* An ext2, ext3 or ext4 file system as it is after recovery; between its two files. */
#ifndef BLOCK_USED_EXT_H
#define BLOCK_USED_EXT_H

#include "block/used_private.h"

#define EXT_BLOCK_MAX_BYTES 65536u

/* Where the journal has a newer version of a block. */
struct ext_newer {
	uint64_t block;
	uint32_t log_block; /* of the journal */
	uint32_t escaped : 1, order : 31;
};

struct ext_newers {
	struct ext_newer *items;
	size_t count, cap;
};

struct ext_blocks {
	uint64_t *items;
	size_t count, cap;
};

/* A run of the journal file: blocks of it from `logical` on. */
struct ext_run {
	uint64_t physical;
	uint32_t logical, length;
};

struct ext_runs {
	struct ext_run *items;
	size_t count, cap;
	uint32_t length; /* blocks of the file mapped so far */
};

struct ext {
	struct volume *v;
	const uint8_t *super; /* 1024 bytes */
	uint32_t block_bytes, first_block, blocks_per_group, groups;
	uint32_t desc_bytes, descs_per_block, inode_bytes, inodes_per_group;
	uint64_t blocks;
	uint32_t compat, incompat, ro_compat;
	uint32_t seed; /* of checksums */
	bool dirty;    /* the journal must be replayed */
	struct ext_runs journal;
	struct ext_newers newers;  /* sorted; one for each block */
	struct ext_blocks revoked; /* sorted */
};

/* A block as it is in its place. */
int ext_home_block(struct ext *x, uint64_t block, uint8_t *to, struct err *e);
/* A block as it is after recovery. */
int ext_block(struct ext *x, uint64_t block, uint8_t *to, struct err *e);
/* Finds the journal by its inode in `inode`, and in it the last committed versions. */
int ext_journal_read(struct ext *x, const uint8_t *inode, struct err *e);
void ext_journal_release(struct ext *x);

/* CRC-32C as the kernel counts it: no inversions. */
uint32_t ext_crc32c(uint32_t crc, const void *data, uint32_t n);

#endif
