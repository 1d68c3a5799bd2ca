// SPDX-License-Identifier: Apache-2.0
/*
 * Used-block maps against what the file systems' own tools say is free, on images that those tools
 * made. usedmap_live.sh holds them against file systems at work.
 */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "block/used_private.h"

static char dir[] = "/tmp/usedmap.XXXXXX";
static char *image;
static struct used_map map;
static int image_fd = -1;
static uint64_t bytes_read;

static int read_image(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	(void)context;
	bytes_read += length;
	ssize_t n = pread(image_fd, to, length, (off_t)offset);
	if (n < 0)
		return err_set(e, ERR_IO, "the image cannot be read");
	memset((uint8_t *)to + n, 0, length - (size_t)n);
	return 0;
}

static int shell(const char *command)
{
	setenv("IMAGE", image, 1);
	setenv("DIR", dir, 1);
	return system(command);
}

/* A missing tool skips the test. */
static void must(const char *command)
{
	int status = shell(command);
	if (WEXITSTATUS(status) == 127) {
		print_message("a tool is missing: %s\n", command);
		skip();
	}
	if (status != 0)
		fail_msg("exit %d: %s", WEXITSTATUS(status), command);
}

static uint64_t map_image(void)
{
	struct layout layout;
	struct stat st;
	used_map_release(&map);
	image_fd = open(image, O_RDONLY | O_CLOEXEC);
	assert_true(image_fd >= 0);
	assert_int_equal(fstat(image_fd, &st), 0);
	bytes_read = 0;
	assert_ok(layout_of_disk(&layout, (uint64_t)st.st_size, read_image, NULL, err));
	assert_ok(used_map_of_disk(&layout, read_image, NULL, &map, err));
	close(image_fd);
	return extents_total(&map.unused);
}

static void assert_note(uint32_t i, const char *kind, const char *why)
{
	assert_true(i < map.note_count);
	const struct used_note *note = &map.notes[i];
	if (strcmp(note->kind, kind) != 0 || (note->why == NULL) != (why == NULL) ||
	    (why && strcmp(why, note->why) != 0))
		fail_msg("%s (%s), not %s (%s)", note->kind, note->why ? note->why : "used", kind,
			 why ? why : "used");
	if (why)
		assert_int_equal(note->unused_bytes, 0);
}

/* The map is exactly these free ranges, as far as they hold 64 KiB of whole blocks. */
static void assert_map_is(const struct extents *truth)
{
	struct extents expected = {0};
	for (size_t i = 0; i < truth->count; i++) {
		uint64_t from = (truth->items[i].offset + 4095) / 4096 * 4096;
		uint64_t end = (truth->items[i].offset + truth->items[i].length) / 4096 * 4096;
		if (from < end && end - from >= USED_MIN_BYTES)
			extents_append(&expected, from, end - from);
	}
	for (size_t i = 0; i < expected.count && i < map.unused.count; i++)
		if (memcmp(&expected.items[i], &map.unused.items[i], sizeof expected.items[i]) != 0)
			fail_msg("range %zu is %lu+%lu, not %lu+%lu", i,
				 (unsigned long)map.unused.items[i].offset,
				 (unsigned long)map.unused.items[i].length,
				 (unsigned long)expected.items[i].offset,
				 (unsigned long)expected.items[i].length);
	assert_int_equal(expected.count, map.unused.count);
	assert_true(expected.count > 0);
	extents_release(&expected);
}

/* Lines "first last" (units, both within the range) that `command` prints. */
static void read_truth(const char *command, uint64_t unit, struct extents *truth)
{
	unsigned long first, last;
	FILE *p = popen(command, "r");
	assert_non_null(p);
	while (fscanf(p, "%lu %lu", &first, &last) == 2)
		extents_append(truth, first * unit, (last - first + 1) * unit);
	assert_int_equal(pclose(p), 0);
}

/* Half of many files go again, so that free space is in pieces. */
#define FILL                                                                                       \
	"cd $DIR && rm -rf tree && mkdir -p tree/a/b && for i in $(seq 60); do head -c $((i * "    \
	"2777)) /dev/urandom > tree/a/f$i; done && head -c 3000000 /dev/urandom > tree/a/b/big "   \
	"&& "                                                                                      \
	"for i in $(seq 2 2 60); do echo rm a/f$i; done > rm.cmd"

static void ext_maps_are_those_of_dumpe2fs(void **state)
{
	static const char *const options[] = {
	    "-t ext4 -b 4096",
	    "-t ext4 -b 1024",
	    "-t ext4 -b 2048",
	    "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg",
	    "-t ext4 -b 4096 -O ^metadata_csum,^64bit,uninit_bg",
	    "-t ext4 -b 1024 -O ^64bit",
	    "-t ext4 -b 1024 -O ^flex_bg",
	    "-t ext4 -b 1024 -O ^flex_bg,^metadata_csum,uninit_bg",
	    "-t ext4 -b 1024 -O meta_bg,^resize_inode",
	    "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg,^sparse_super",
	    "-t ext4 -b 1024 -O sparse_super2,^resize_inode",
	    "-t ext4 -b 4096 -O ^has_journal",
	    "-t ext4 -b 4096 -O metadata_csum_seed,inline_data,quota,project,orphan_file",
	    "-t ext4 -b 1024 -g 1024 -I 1024",
	    "-t ext3 -b 1024",
	    "-t ext3 -b 4096",
	    "-t ext2 -b 1024",
	    "-t ext2 -b 2048 -O ^sparse_super,^resize_inode",
	    "-t ext2 -b 1024 -r 0",
	};
	(void)state;
	must(FILL);
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		struct extents truth = {0};
		uint64_t unit = strstr(options[i], "4096")   ? 4096
				: strstr(options[i], "2048") ? 2048
							     : 1024;
		char *make = xasprintf(
		    "rm -f $IMAGE; mke2fs -q -F %s -d $DIR/tree $IMAGE 60000k "
		    "2> $DIR/log && debugfs -w -f $DIR/rm.cmd $IMAGE > $DIR/log 2>&1",
		    options[i]);
		must(make);
		map_image();
		print_message("%s: %s, %zu ranges, %lu of 60000 KiB, %lu KiB read\n", options[i],
			      map.notes[0].why ? map.notes[0].why : "used", map.unused.count,
			      (unsigned long)extents_total(&map.unused) / 1024,
			      (unsigned long)bytes_read / 1024);
		assert_note(0,
			    strstr(options[i], "ext2")	 ? "ext2"
			    : strstr(options[i], "ext3") ? "ext3"
							 : "ext4",
			    NULL);
		read_truth("dumpe2fs $IMAGE 2> /dev/null | sed -n 's/^  Free blocks: //p' | "
			   "tr -s ', ' '\\n' | awk -F- '/./ { print $1, $NF }'",
			   unit, &truth);
		assert_map_is(&truth);
		extents_release(&truth);
		free(make);
	}
}

static void xfs_maps_are_those_of_xfs_db(void **state)
{
	static const struct {
		const char *options;
		uint64_t unit;
	} made[] = {
	    {"", 4096},
	    {"-m crc=0,finobt=0", 4096},
	    {"-m crc=0,finobt=0 -l version=1,size=64m", 4096},
	    {"-b size=1024 -d agcount=4", 1024},
	    {"-s size=4096 -d agcount=3 -m rmapbt=1,reflink=1", 4096},
	    {"-d agcount=2 -l size=65m,su=65536", 4096},
	};
	(void)state;
	must(FILL " && { echo /boot; echo 0 0; echo d--755 0 0; for i in $(seq 60); do "
		  "echo f$i ---644 0 0 $DIR/tree/a/f$i; done; echo $; } > $DIR/proto");
	for (size_t i = 0; i < COUNT_OF(made); i++) {
		struct extents truth = {0};
		char *make = xasprintf("rm -f $IMAGE && truncate -s 330M $IMAGE && mkfs.xfs -q %s "
				       "-p $DIR/proto $IMAGE",
				       made[i].options);
		must(make);
		map_image();
		print_message("%s: %zu ranges, %lu KiB read\n", made[i].options, map.unused.count,
			      (unsigned long)bytes_read / 1024);
		assert_note(0, "xfs", NULL);
		/* Lists of single blocks are kept for the trees themselves. */
		read_truth("n=$(xfs_db -r -c 'sb 0' -c 'p agblocks' $IMAGE | tr -dc 0-9); "
			   "xfs_db -r -c 'freesp -d' $IMAGE | awk -v n=$n '/^ *from/ { exit } "
			   "NF == 3 && $3 > 1 { print $1 * n + $2, $1 * n + $2 + $3 - 1 }'",
			   made[i].unit, &truth);
		assert_map_is(&truth);
		extents_release(&truth);
		free(make);
	}
}

static void patch(uint64_t offset, const void *bytes, size_t n)
{
	int fd = open(image, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), n);
	close(fd);
}

/* As Windows leaves the log, which mkntfs fills with 0xff: two restart pages. */
static void close_log(uint64_t unit, uint8_t flags)
{
	uint8_t page[4096];
	unsigned long at = 0;
	FILE *p = popen(
	    "ntfsinfo -f -i 2 -v $IMAGE 2> /dev/null | awk '/^\\t*0x0\\t/ { print $2 }'", "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%lx", &at), 1);
	assert_int_equal(pclose(p), 0);
	at *= unit;
	memset(page, 0, sizeof page);
	memcpy(page, "RSTR\x1e\0\x09\0", 8);
	page[17] = page[21] = 0x10; /* pages of 4 KiB */
	page[24] = 0x30;
	page[28] = 1;
	page[30] = 1; /* the number that stands at the end of each sector */
	page[0x30 + 10] = page[0x30 + 11] = page[0x30 + 12] = page[0x30 + 13] = 0xff;
	page[0x30 + 14] = flags;
	for (int i = 1; i <= 8; i++)
		page[i * 512 - 2] = 1;
	patch(at, page, sizeof page);
	patch(at + 4096, page, sizeof page);
}

#define MAKE_NTFS(options)                                                                         \
	"rm -f $IMAGE && truncate -s 40M $IMAGE && mkntfs -q -F -Q " options                       \
	" $IMAGE > $DIR/log 2>&1 && for i in 7 20 33 60; do ntfscp -q $IMAGE $DIR/tree/a/f$i f$i " \
	"> $DIR/log 2>&1 || exit 1; done"

static void ntfs_maps_are_the_bitmap(void **state)
{
	static const struct {
		const char *make;
		uint64_t unit;
	} made[] = {
	    {MAKE_NTFS("-c 4096"), 4096},
	    {MAKE_NTFS("-c 512"), 512},
	    {MAKE_NTFS("-c 65536"), 65536},
	    {MAKE_NTFS("-c 4096 -s 4096"), 4096},
	};
	static const uint8_t dirty[2] = {1, 0};
	(void)state;
	must(FILL);
	for (size_t i = 0; i < COUNT_OF(made); i++) {
		struct extents truth = {0};
		char *count = xasprintf("ntfscat -i 6 $IMAGE | python3 -c 'import sys\n"
					"b = sys.stdin.buffer.read()\n"
					"for i in range(%lu):\n"
					" if not b[i // 8] >> i %% 8 & 1: print(i, i)'",
					(40ul << 20) / made[i].unit - 1);
		must(made[i].make);
		map_image();
		assert_note(0, "ntfs",
			    "its log was emptied by another system, which may still write");
		close_log(made[i].unit, 0);
		map_image();
		assert_note(0, "ntfs", "its log would have to be replayed");
		close_log(made[i].unit, 2);
		map_image();
		assert_note(0, "ntfs", NULL);
		read_truth(count, made[i].unit, &truth);
		assert_map_is(&truth);
		extents_release(&truth);
		free(count);
	}
	/* Shadow copies; then a sleeping system; then a volume to be checked. */
	must(MAKE_NTFS("-c 4096"));
	close_log(4096, 2);
	static const char shadow[] = "\x6b\x87\x08\x38\x76\xc1\x48\x4e"
				     "\xb7\xae\x04\x04\x6e\x6c\xc7\x52";
	patch(0x1e00, shadow, 16);
	map_image();
	assert_note(0, "ntfs", NULL);
	patch(0x1e00 + 48, dirty, 1);
	map_image();
	assert_note(0, "ntfs", "it has shadow copies, which use what is free");
	must(MAKE_NTFS(
	    "-c 4096") " && ntfscp -q $IMAGE $DIR/tree/a/f1 HiberFil.sys > $DIR/log 2>&1");
	close_log(4096, 2);
	map_image();
	assert_note(0, "ntfs", "it has a hiberfil.sys: a system may sleep in it");
	must(MAKE_NTFS("-c 4096") " && ntfslabel $IMAGE label > $DIR/log 2>&1 && "
				  "ntfsfix $IMAGE > $DIR/log 2>&1");
	close_log(4096, 2);
	map_image();
	assert_note(0, "ntfs", "it is marked for a check");
}

static void swap_is_empty_unless_a_system_sleeps_in_it(void **state)
{
	(void)state;
	must("rm -f $IMAGE && truncate -s 20M $IMAGE && mkswap $IMAGE > $DIR/log 2>&1");
	map_image();
	assert_note(0, "swap", NULL);
	assert_int_equal(map.unused.count, 1);
	assert_int_equal(map.unused.items[0].offset, 4096);
	assert_int_equal(map.unused.items[0].length, (20u << 20) - 4096);
	patch(4086, "S1SUSPEND", 10);
	map_image();
	assert_note(0, "swap", "it holds a hibernated system");
	patch(4086, "SWAPSPACE2", 10);
	must("truncate -s 19M $IMAGE");
	map_image();
	assert_note(0, "swap", "it is larger than its partition");
}

/* Partition 1 swap, off the grid; 2 ext4; 3 LVM over an ext4 that was there before; 4 nothing. */
static void partitions_have_a_note_each(void **state)
{
	(void)state;
	must("rm -f $IMAGE && truncate -s 100M $IMAGE && "
	     "printf '63,20417\\n20480,40960\\n61440,40960\\n102400,\\n' | "
	     "sfdisk -q $IMAGE && truncate -s 10208k $DIR/swap && mkswap $DIR/swap > $DIR/log 2>&1 "
	     "&& dd if=$DIR/swap of=$IMAGE bs=512 count=8 seek=63 conv=notrunc 2> $DIR/log && "
	     "mke2fs -q -F -t ext4 -E offset=$((20480 * 512)) $IMAGE 20480k && "
	     "mke2fs -q -F -t ext4 -E offset=$((61440 * 512)) $IMAGE 20480k");
	patch(61440 * 512 + 512, "LABELONE", 8);
	map_image();
	assert_int_equal(map.note_count, 4);
	assert_note(0, "swap", NULL);
	assert_note(1, "ext4", NULL);
	assert_note(2, "LVM", "it has the signatures of two kinds");
	assert_note(3, "unknown", "its kind is not known");
	assert_int_equal(map.notes[0].start, 63 * 512);
	assert_int_equal(map.unused.items[0].offset, 63 * 512 + 4096);
	assert_int_equal(map.notes[0].unused_bytes + map.notes[1].unused_bytes,
			 extents_total(&map.unused));
	assert_true(map.notes[1].unused_bytes > 10u << 20);
	/* A sleeping system: nothing is left out. */
	patch(63 * 512 + 4086, "S1SUSPEND\0", 10);
	assert_int_equal(map_image(), 0);
	assert_note(1, "ext4", "a hibernated system on this disk may use it");
	/* The whole disk is half of a mirror. */
	patch(63 * 512 + 4086, "SWAPSPACE2", 10);
	assert_true(map_image() > 0);
	patch((100u << 20) - 65536, "\xfc\x4e\x2b\xa9", 4);
	assert_int_equal(map_image(), 0);
	assert_note(0, "unknown", "its disk is a member of an array");
	patch((100u << 20) - 65536, "\0\0\0\0", 4);
	/* The second begins inside of the first. */
	patch(446 + 16 + 8, "\x40\x10\0\0", 4);
	map_image();
	assert_note(0, "unknown", "it overlaps another partition");
	assert_note(1, "unknown", "it overlaps another partition");
	/* Neither a table nor none. */
	patch(446 + 4, "\xee", 1);
	assert_int_equal(map_image(), 0);
	assert_int_equal(map.note_count, 1);
	assert_note(0, "unknown", "its partition table is damaged");
}

static void what_is_damaged_counts_as_used(void **state)
{
	static const struct {
		const char *make, *kind, *why;
	} made[] = {
	    {"mke2fs -q -F -t ext4 $IMAGE 40M && debugfs -w -R 'setb 9000 200' $IMAGE", "ext4",
	     NULL}, /* debugfs sets the counts, too */
	    {"mke2fs -q -F -t ext4 $IMAGE 40M && debugfs -w -R 'ssv state 3' $IMAGE", "ext4",
	     "it was not unmounted cleanly, or has errors"},
	    {"mke2fs -q -F -t ext2 $IMAGE 40M && debugfs -w -R 'ssv state 0' $IMAGE", "ext2",
	     "it was not unmounted cleanly, or has errors"},
	    {"mke2fs -q -F -t ext4 -O bigalloc $IMAGE 40M", "ext4",
	     "it has a feature that is not known"},
	    {"mke2fs -q -F -t ext4 -O ^has_journal $IMAGE 40M && debugfs -w -R 'feature "
	     "needs_recovery' $IMAGE",
	     "ext4", "it needs recovery and has no journal"},
	    {"mke2fs -q -F -t ext4 $IMAGE 40M && truncate -s 39M $IMAGE", "ext4",
	     "it is larger than its partition"},
	    {"mke2fs -q -F -t ext4 -b 4096 $IMAGE 40M && b=$(dumpe2fs $IMAGE 2> /dev/null | sed -n "
	     "'s/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -1) && printf '\\252' | dd "
	     "of=$IMAGE bs=1 seek=$((b * 4096 + 1000)) conv=notrunc",
	     "ext4", "a block bitmap fails its checksum"},
	    {"mke2fs -q -F -t ext3 -b 4096 $IMAGE 40M && b=$(dumpe2fs $IMAGE 2> /dev/null | sed "
	     "-n 's/.*Block bitmap at \\([0-9]*\\).*/\\1/p' | head -1) && printf '\\252' | dd "
	     "of=$IMAGE bs=1 seek=$((b * 4096 + 1000)) conv=notrunc",
	     "ext3", "a bitmap and its count of free blocks disagree"},
	    {"mke2fs -q -F -t ext4 -b 4096 $IMAGE 40M && printf '\\252' | dd of=$IMAGE bs=1 "
	     "seek=4110 conv=notrunc",
	     "ext4", "a group descriptor fails its checksum"},
	    {"mke2fs -q -F -t ext4 -b 4096 $IMAGE 40M && printf '\\252' | dd of=$IMAGE bs=1 "
	     "seek=1224 conv=notrunc",
	     "ext4", "its superblock fails its checksum"},
	    {"truncate -s 330M $IMAGE && mkfs.xfs -q $IMAGE && xfs_db -x -c 'agf 1' -c 'write -c "
	     "freeblks 77' $IMAGE",
	     "xfs", "the header of an allocation group is damaged"},
	    {"truncate -s 330M $IMAGE && mkfs.xfs -q $IMAGE && xfs_db -x -c 'agf 1' -c 'write -d "
	     "freeblks 77' $IMAGE",
	     "xfs", "a tree of its free space is damaged"},
	    {"truncate -s 330M $IMAGE && mkfs.xfs -q $IMAGE && xfs_db -x -c 'agf 1' -c 'write -d "
	     "longest 77' $IMAGE",
	     "xfs", "the free space of an allocation group is not what its header says"},
	    {"truncate -s 330M $IMAGE && mkfs.xfs -q $IMAGE && printf '\\252' | dd of=$IMAGE "
	     "bs=1 seek=300 conv=notrunc",
	     "xfs", "its superblock fails its checksum"},
	    {"truncate -s 5M $IMAGE", "unknown", "its kind is not known"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(made); i++) {
		char *make = xasprintf("exec > $DIR/log 2>&1; rm -f $IMAGE; %s", made[i].make);
		must(make);
		uint64_t unused = map_image();
		assert_note(0, made[i].kind, made[i].why);
		assert_true((unused > 0) == (made[i].why == NULL));
		free(make);
	}
}

static int refuse(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	uint64_t *left = context;
	if ((*left)-- == 0)
		return err_set(e, ERR_IO, "no %u bytes at %lu", length, (unsigned long)offset);
	return read_image(NULL, offset, length, to, e);
}

/* Each read in turn. */
static void only_reads_fail(void **state)
{
	struct layout layout;
	struct err e;
	uint64_t nth = 0;
	(void)state;
	must("rm -f $IMAGE; mke2fs -q -F -t ext4 $IMAGE 10M 2> $DIR/log");
	layout_plain(&layout, 10u << 20);
	image_fd = open(image, O_RDONLY | O_CLOEXEC);
	for (;; nth++) {
		uint64_t left = nth;
		e.kind = ERR_NONE;
		if (used_map_of_disk(&layout, refuse, &left, &map, &e) == 0)
			break;
		assert_int_equal(e.kind, ERR_IO);
		assert_int_equal(map.unused.count, 0);
		assert_int_equal(map.note_count, 0);
	}
	close(image_fd);
	assert_true(nth > 5);
	assert_note(0, "ext4", NULL);
}

/* More than a list may have: the longest stay, wherever they are. */
static void many_ranges_leave_the_longest(void **state)
{
	enum { COUNT = 900000, KINDS = 8 };
	uint64_t expected[KINDS] = {0}, kept[KINDS] = {0}, room = USED_MAX_RANGES;
	struct volume v = {.length = (uint64_t)COUNT * MIB};
	struct extents none = {0};
	(void)state;
	for (uint64_t i = 0; i < COUNT; i++) {
		uint64_t kind = i * i % 31 % KINDS;
		volume_free(&v, i * MIB, USED_MIN_BYTES + kind * 4096);
		expected[kind]++;
	}
	volume_finish(&v, &none);
	assert_int_equal(v.unused.count, USED_MAX_RANGES);
	for (size_t i = 0; i < v.unused.count; i++)
		kept[(v.unused.items[i].length - USED_MIN_BYTES) / 4096]++;
	for (int kind = KINDS - 1; kind >= 0; kind--) {
		if (expected[kind] > room)
			expected[kind] = room;
		room -= expected[kind];
		assert_int_equal(kept[kind], expected[kind]);
	}
	extents_release(&v.unused);
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	image = xasprintf("%s/image", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	used_map_release(&map);
	int status = shell("rm -rf $DIR");
	free(image);
	return status;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ext_maps_are_those_of_dumpe2fs),
	    cmocka_unit_test(xfs_maps_are_those_of_xfs_db),
	    cmocka_unit_test(ntfs_maps_are_the_bitmap),
	    cmocka_unit_test(swap_is_empty_unless_a_system_sleeps_in_it),
	    cmocka_unit_test(partitions_have_a_note_each),
	    cmocka_unit_test(what_is_damaged_counts_as_used),
	    cmocka_unit_test(only_reads_fail),
	    cmocka_unit_test(many_ranges_leave_the_longest),
	};
	setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
