// SPDX-License-Identifier: Apache-2.0
/*
 * Where a depot (depot.h) keeps its files: by keys such as "packs/ab/NAME.pack", each written whole
 * and once (references: again and again), read whole or in parts. Kinds: a directory
 * (files_dir.c), a bucket (files_s3.c). Seen only inside store/.
 *
 * A verb may be called by several threads; those that change something only by the writer. Errors
 * name the file and the cure.
 */
#ifndef STORE_FILES_H
#define STORE_FILES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/store.h"

struct files;

/* `name` is the key without the folder and the slash behind it. Non-zero ends the listing and is
 * returned. */
typedef int files_each_fn(void *context, const char *name, struct err *e);

struct files_ops {
	/* Give a local file, written to its end, its place as `key`. *placed tells, on failure too,
	 * whether it has or may have it; then nothing is left at `temp`. */
	int (*place)(struct files *f, int fd, const char *temp, const char *key, bool *placed,
		     struct err *e);
	/* All that has its place in the folder is durable, in this order of calls at the latest. */
	int (*settle)(struct files *f, const char *folder, struct err *e);
	/* Replace `key` by these bytes, durable when it returns. */
	int (*write)(struct files *f, const char *key, const void *data, size_t n, struct err *e);
	/* A missing one is fine. */
	int (*remove)(struct files *f, const char *key, struct err *e);
	/* Move a damaged file aside, for people to look at; `to` says where it is now. */
	int (*set_aside)(struct files *f, const char *key, char to[512], struct err *e);
	/* Every file of a folder, its sub-folders too, in no order; a missing folder is empty. */
	int (*list)(struct files *f, const char *folder, files_each_fn *each, void *context,
		    struct err *e);
	/* The whole file in memory; files_unmap gives it back. ERR_NOT_FOUND; ERR_CORRUPT when it
	 * is empty or larger than `max`. */
	int (*map)(struct files *f, const char *key, uint64_t max, void **data, size_t *n,
		   struct err *e);
	/* Part of a file, all of it; ERR_CORRUPT when the file or the part is not there. */
	int (*read)(struct files *f, const char *key, uint64_t offset, void *to, size_t n,
		    struct err *e);
	/* What there is on it and how much of that is free; zeros where nobody knows. */
	int (*space)(struct files *f, uint64_t *free_bytes, uint64_t *total_bytes, struct err *e);
	void (*close)(struct files *f);
};

struct files {
	const struct files_ops *ops;
	const char *where;	/* for sentences: "store %s" */
	const char *temp_dir;	/* a local directory for files being written */
	uint64_t reserve_bytes; /* kept free where `space` knows */
	uint64_t number_floor;	/* segments of this writer have numbers from here on */
	uint64_t temp_count;
	char temp_tag[ID_BYTES]; /* of readers, whose temporary files must not meet the writer's */
};

/* A path in the directory for temporary files that is not used; the caller frees. */
char *files_temp(struct files *f);
void files_unmap(void *data, size_t n);

#endif
