// SPDX-License-Identifier: Apache-2.0
#include "scratch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"

static char path[64];

static void clean_up(void)
{
	file_remove_tree(path, NULL);
}

const char *scratch_dir(void)
{
	if (!*path) {
		strcpy(path, access("/dev/shm", W_OK) ? "/tmp/godwit-fuzz.XXXXXX"
						      : "/dev/shm/godwit-fuzz.XXXXXX");
		assert(mkdtemp(path));
		atexit(clean_up);
	}
	return path;
}
