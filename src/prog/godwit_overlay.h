// SPDX-License-Identifier: Apache-2.0
/* Overlay files: see overlay_file.c. */
#ifndef PROG_GODWIT_OVERLAY_H
#define PROG_GODWIT_OVERLAY_H

#include "base/text.h"
#include "prog/godwit_local.h"

struct overlay_info {
	char image_id[ID_BYTES];
	unsigned disk;
	int64_t size_bytes;
};

/* The file of a disk; the caller frees. */
char *overlay_file(const char *file, unsigned disk);
/* The name of the base's export. */
void overlay_export(char *out, size_t size, const char *image_id, unsigned disk);
/* Whose overlay a file is. ERR_BUSY while something has it open for writing. */
int overlay_read(const char *file, struct overlay_info *info, struct err *e);
/* It is the one of this disk. */
int overlay_check(const char *file, const char *image_id, unsigned disk, int64_t size_bytes,
		  struct err *e);

#endif
