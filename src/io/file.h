// SPDX-License-Identifier: Apache-2.0
/* Files: durable writing (aside, sync, rename, sync the directory), reading with a bound. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

/* Replace `path` by these bytes so that after a crash it holds the old or the new ones. */
int file_write(const char *path, const void *data, size_t n, mode_t mode, struct err *e);
/* Append the whole file; ERR_NOT_FOUND, ERR_INVALID when it is larger than `max`. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);
int file_sync_dir(const char *dir, struct err *e);
/* mkdir -p with `mode` for what is made. */
int file_make_dirs(const char *dir, mode_t mode, struct err *e);
/* rm -r; a missing one is no error. Never follows a symbolic link. */
int file_remove_tree(const char *path, struct err *e);
/* Free and total bytes of the file system that holds `path`. */
int file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes, struct err *e);
/* All bytes at `offset`. */
int fd_read_at(int fd, void *to, size_t n, uint64_t offset, struct err *e);
int fd_write_at(int fd, const void *from, size_t n, uint64_t offset, struct err *e);
int fd_write_all(int fd, const void *from, size_t n, struct err *e);

#endif
