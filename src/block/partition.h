// SPDX-License-Identifier: Apache-2.0
/* The partitions of a disk: MBR with logical partitions, or GPT whose two checksums hold. */
#ifndef BLOCK_PARTITION_H
#define BLOCK_PARTITION_H

#include "block/layout.h"

#define MAX_PARTITIONS 1024

enum partition_verdict {
	PARTITIONS_NONE = 0,	/* there is no table, or a boot sector where one would be */
	PARTITIONS_FOUND = 1,	/* maybe an empty one */
	PARTITIONS_DAMAGED = 2, /* something that should be a table and makes no sense */
};

struct partition {
	uint64_t start, length; /* bytes, inside the disk; a longer one is cut there */
	bool dynamic;		/* of the Windows Logical Disk Manager: a part of a volume */
};

struct partitions {
	struct partition items[MAX_PARTITIONS]; /* in the order of the table */
	uint32_t count;
};

/* An enum partition_verdict, or -1 when `read` fails. Touches at most 1 MiB of the disk. */
int partitions_of_disk(struct partitions *partitions, uint64_t size, layout_read_fn *read,
		       void *context, struct err *e);

#endif
