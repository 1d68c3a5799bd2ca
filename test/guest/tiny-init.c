// SPDX-License-Identifier: Apache-2.0
/*
 * The init of a guest that is nothing but a disk and a serial line. It loads the modules that
 * /modules lists, says GUEST-READY, and then obeys lines: "w OFFSET LENGTH BYTE" writes to /dev/vda,
 * past every cache, and answers "WROTE LENGTH"; "q" switches off.
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

static void write_disk(long offset, size_t length, int byte)
{
	int fd = open("/dev/vda", O_WRONLY | O_SYNC);
	char *data = malloc(length);
	ssize_t n = -1;
	if (fd >= 0 && data) {
		memset(data, byte, length);
		n = pwrite(fd, data, length, offset);
		fsync(fd);
	}
	if (fd >= 0)
		close(fd);
	free(data);
	printf("WROTE %zd\n", n);
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
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "w %ld %zu %d", &offset, &length, &byte) == 3)
			write_disk(offset, length, byte);
		else if (*line == 'q')
			reboot(RB_POWER_OFF);
	}
	for (;;)
		pause();
}
