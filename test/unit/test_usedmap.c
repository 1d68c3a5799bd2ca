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
#include "block/used.h"

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
	};
	setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
