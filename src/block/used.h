// SPDX-License-Identifier: Apache-2.0
/*
 * Used-block maps: which bytes of a disk need not be read, because the file system that owns them
 * says that they are free. A pure function of the disk's bytes; nothing is mounted or changed.
 *
 * What "safe" means here. The disk is one point in time of a machine that may be running, as if its
 * power had failed at that moment. Whoever boots the copy first lets each file system recover
 * (replay its log), and only then reads it. A range is called unused only when, in the state AFTER
 * that recovery, no file, directory or structure of the file system can refer to it. So a copy that
 * holds zeroes there recovers to the same files, and checks as clean, as one that holds the source's
 * bytes. What is lost is what no program can reach: remains of deleted files and the contents of
 * swap. On any doubt (an unknown feature, a checksum that fails, a log that is not understood, two
 * signatures in one place, counts that disagree) the whole file system counts as used, and a note
 * says why.
 *
 * Which state is proven, for each kind:
 *  ext4, ext3   the block bitmaps and group descriptors in their last committed version of the
 *               journal, and else from their place, checked by checksum (metadata_csum) and by
 *               their free counts. A block that only an uncommitted transaction allocated is free
 *               after recovery, whatever was written there meanwhile: in data=ordered as in
 *               data=writeback nothing that recovery keeps points to it. A block that an
 *               uncommitted transaction freed is still used. data=journal keeps its data in the
 *               journal, which is read, for blocks that are in use.
 *  ext2         (and ext4 without a journal) only when unmounted cleanly: the order in which such a
 *               system writes bitmaps and inodes proves nothing, and fsck believes the inodes.
 *  xfs          only with a log that changes nothing: an unmount record ends it, or every record
 *               behind its tail changes the superblock alone, which is how freezing (and no running
 *               system) leaves it. Then the tree of free space of each allocation group is what
 *               recovery leaves, checked against its header.
 *  ntfs         only with a log closed cleanly, no flag in $Volume, no hiberfil.sys and no shadow
 *               copies (they refer to clusters that the bitmap calls free). A log filled with
 *               0xff is ntfs-3g's, which leaves no trace of whether it still writes: used.
 *  swap         everything behind the header of a swap partition, unless it holds the image of a
 *               hibernated system. One such image keeps everything of its disk used: what the
 *               sleeping system remembers of its file systems is not on the disk.
 * LUKS, LVM, md, DRBD, bcache, btrfs, ZFS and whatever else is not known: used. So is everything
 * outside of partitions, and partitions that overlap.
 */
#ifndef BLOCK_USED_H
#define BLOCK_USED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "block/extent.h"
#include "block/layout.h"

#define USED_MIN_BYTES	(64u << 10) /* a shorter unused range is not worth a seek: left out */
#define USED_MAX_RANGES 262144u	    /* when there are more, the longest */
#define USED_MAX_NOTES	256u

/* What was found in one partition, or on a disk without any. */
struct used_note {
	uint64_t start, length; /* of the partition, bytes */
	const char *kind; /* "ext2", "ext3", "ext4", "xfs", "ntfs", "swap", "LVM", …, "unknown" */
	const char *why;  /* NULL: the map is used. Else a phrase: why everything is read. */
	uint64_t unused_bytes; /* of `unused` within it */
};

struct used_map {
	struct extents unused; /* absolute; whole blocks of the layout */
	struct used_note notes[USED_MAX_NOTES];
	uint32_t note_count; /* partitions after the last note are read whole */
};

/*
 * The map of a disk of `layout->size` bytes; `map` is overwritten, used_map_release frees it.
 * `layout` is that of layout_of_disk, so that unused ranges are whole blocks of it. Fails only when
 * `read` does (`map` is then empty); hostile bytes only make everything used. Reads the bitmaps or
 * trees of free space, and the part of the log that recovery would replay; needs under 64 MiB.
 */
int used_map_of_disk(const struct layout *layout, layout_read_fn *read, void *context,
		     struct used_map *map, struct err *e);
void used_map_release(struct used_map *map);

#endif
