// SPDX-License-Identifier: Apache-2.0
/*
 * The file operations that durability of kind dir rests on: every change it makes to the disk goes
 * through one of these. Tests make the Nth of them fail, and from then on all, as a disk that dies;
 * or they watch them, to build what a power cut could have left at any point.
 */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

struct disk_fault {
	uint64_t after;	  /* this many operations pass, the next one fails */
	int errnum;	  /* with this error; a failing write writes half of its bytes */
	bool stays;	  /* all that follow fail too */
	uint64_t counted; /* out: operations seen */
	bool struck;	  /* out: one failed */
};

/* NULL but in tests. */
extern struct disk_fault *disk_fault;

enum disk_op_kind {
	DISK_CREATE,
	DISK_WRITE,
	DISK_TRUNCATE,
	DISK_SYNC,
	DISK_RENAME,
	DISK_SYNC_DIR,
	DISK_MAKE_DIR,
	DISK_REMOVE,
};

/* An operation that succeeded. */
struct disk_op {
	enum disk_op_kind kind;
	const char *path, *to; /* `to` of DISK_RENAME */
	const void *data;      /* of DISK_WRITE */
	uint64_t n, offset;    /* its size and place; the new size of DISK_TRUNCATE is n */
};

struct disk_watch {
	void (*done)(void *context, const struct disk_op *op);
	void *context;
};

/* NULL but in tests. */
extern struct disk_watch *disk_watch;

/* A new file that must not exist, open for reading and writing; its descriptor. */
int disk_create(const char *path, struct err *e);
/* Set `bytes` of room aside for the file without changing its size. Where the file system cannot,
 * nothing happens. */
int disk_reserve(int fd, const char *path, uint64_t bytes, struct err *e);
int disk_write_at(int fd, const char *path, const void *from, size_t n, uint64_t offset,
		  struct err *e);
int disk_truncate(int fd, const char *path, uint64_t size, struct err *e);
int disk_sync(int fd, const char *path, struct err *e);
int disk_rename(const char *from, const char *to, struct err *e);
int disk_sync_dir(const char *dir, struct err *e);
int disk_make_dir(const char *dir, struct err *e); /* one that exists is fine */
int disk_remove(const char *path, struct err *e);  /* one that is missing is fine */

/* Create aside at `temp`, write, sync, rename to `path`, sync `dir`, which holds `path`. */
int disk_replace(const char *temp, const char *path, const char *dir, const void *data, size_t n,
		 struct err *e);

#endif
