// SPDX-License-Identifier: Apache-2.0
/*
 * The init of a guest that is nothing but disks and a serial line. It loads the modules that
 * /modules lists, says GUEST-READY, and then obeys lines: "w OFFSET LENGTH BYTE [LETTER]" writes to
 * /dev/vda (or another letter), past every cache, and answers "WROTE LENGTH", or "WROTE -1" after an
 * error; "f OFFSET LENGTH BYTE [LETTER]" writes the same in many small pieces, in order; "q" switches
 * off.
 *
 * With "ab=OFFSET:OFFSET" on the kernel's command line it obeys nothing: for ever it writes a number
 * that counts up at the first offset and then, when that is on the disk, at the second; it tells
 * every hundredth as "AB NUMBER".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		printf("module %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void write_disk(char letter, long offset, size_t length, size_t piece, int byte)
{
	char path[] = "/dev/vda";
	path[sizeof path - 2] = letter;
	int fd = open(path, O_WRONLY | O_SYNC);
	char *data = malloc(piece);
	size_t done = 0;
	ssize_t n = fd >= 0 && data ? 1 : -1;
	if (n > 0)
		memset(data, byte, piece);
	while (n > 0 && done < length) {
		n = pwrite(fd, data, piece < length - done ? piece : length - done,
			   offset + (long)done);
		if (n > 0)
			done += (size_t)n;
	}
	if (fd >= 0 && fsync(fd) < 0)
		n = -1;
	if (fd >= 0)
		close(fd);
	free(data);
	printf("WROTE %zd\n", n < 0 ? n : (ssize_t)done);
}

static void write_number(int fd, long offset, long number)
{
	char block[4096] = "";
	snprintf(block, sizeof block, "%020ld\n", number);
	if (pwrite(fd, block, sizeof block, offset) != sizeof block || fsync(fd) < 0)
		printf("AB failed: %s\n", strerror(errno));
}

static void write_in_order(const char *where)
{
	long a, b;
	int fd = open("/dev/vda", O_WRONLY | O_SYNC);
	if (fd < 0 || sscanf(where, "%ld:%ld", &a, &b) != 2)
		return;
	for (long number = 1;; number++) {
		write_number(fd, a, number);
		write_number(fd, b, number);
		if (number % 100 == 0)
			printf("AB %ld\n", number);
	}
}

int main(void)
{
	char line[512];
	long offset;
	size_t length;
	int byte;
	setvbuf(stdout, NULL, _IONBF, 0);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	FILE *list = fopen("/modules", "r");
	while (list && fgets(line, sizeof line, list)) {
		line[strcspn(line, "\n")] = '\0';
		load_module(line);
	}
	for (int i = 0; i < 100 && access("/dev/vda", F_OK) < 0; i++)
		usleep(50000);
	printf("GUEST-READY\n");
	if (getenv("ab"))
		write_in_order(getenv("ab"));
	while (fgets(line, sizeof line, stdin)) {
		char letter = 'a';
		if (sscanf(line, "w %ld %zu %d %c", &offset, &length, &byte, &letter) >= 3)
			write_disk(letter, offset, length, length, byte);
		else if (sscanf(line, "f %ld %zu %d %c", &offset, &length, &byte, &letter) >= 3)
			write_disk(letter, offset, length, 256 * 1024, byte);
		else if (*line == 'q')
			reboot(RB_POWER_OFF);
	}
	for (;;)
		pause();
}
