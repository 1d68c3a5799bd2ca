// SPDX-License-Identifier: Apache-2.0
/*
 * usedmap_zero IMAGE [FILL | reads]: prints what is in each partition of a disk image, one line each (kind,
 * unused bytes, why it is read whole). With FILL, a number, every unused byte becomes that. With "reads", the
 * places that were read are printed instead, offset and length in bytes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/used.h"

static bool print_reads;

static int read_image(void *context, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	ssize_t n = pread(*(int *)context, to, length, (off_t)offset);
	if (print_reads)
		printf("%lu %u\n", (unsigned long)offset, length);
	if (n < 0)
		return err_set(e, ERR_IO, "the image cannot be read");
	memset((uint8_t *)to + n, 0, length - (size_t)n);
	return 0;
}

static int fill(int fd, const struct extents *list, int byte)
{
	static uint8_t block[65536];
	memset(block, byte, sizeof block);
	for (size_t i = 0; i < list->count; i++) {
		uint64_t at = list->items[i].offset, end = at + list->items[i].length;
		while (at < end) {
			size_t n = end - at < sizeof block ? end - at : sizeof block;
			if (pwrite(fd, block, n, (off_t)at) != (ssize_t)n)
				return -1;
			at += n;
		}
	}
	return fsync(fd);
}

int main(int argc, char **argv)
{
	static struct used_map map;
	struct layout layout;
	struct stat st;
	struct err e = {0};
	print_reads = argc > 2 && strcmp(argv[2], "reads") == 0;
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "usage: usedmap_zero IMAGE [FILL | reads]\n");
		return 2;
	}
	if (layout_of_disk(&layout, (uint64_t)st.st_size, read_image, &fd, &e) < 0 ||
	    used_map_of_disk(&layout, read_image, &fd, &map, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	for (uint32_t i = 0; i < map.note_count && !print_reads; i++)
		printf("%s %lu %s\n", map.notes[i].kind, (unsigned long)map.notes[i].unused_bytes,
		       map.notes[i].why ? map.notes[i].why : "used");
	if (argc > 2 && !print_reads && fill(fd, &map.unused, atoi(argv[2])) < 0) {
		perror(argv[1]);
		return 1;
	}
	used_map_release(&map);
	close(fd);
	return 0;
}
