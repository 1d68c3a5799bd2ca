// SPDX-License-Identifier: Apache-2.0
/*
 * What of a disk of a run is durable: a file per run and disk, appended to after each commit of
 * the store. It belongs to one point in time, size, base and layout; for another it starts anew.
 *
 * Format, little-endian: "GWJOURN1", u32 length of the header body, body {u64 size, 32 bytes base
 * root, u32 length + point, u32 count + u64 starts}, 8 bytes check; then records {u64 region, 32
 * bytes page name, 8 bytes check}. A check is the first bytes of the SHA-256 of what it follows.
 * The first record that does not check is where a crash tore the file: it ends there.
 */
#ifndef COPY_JOURNAL_H
#define COPY_JOURNAL_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "block/layout.h"
#include "block/name.h"

#define JOURNAL_POINT_MAX 1024

struct journal {
	int fd; /* locked: one stream of a disk at a time */
	bool started;
	char *path;
	struct layout layout; /* when started */
	uint64_t end;	      /* bytes that are whole */
	struct buf pending;   /* records not yet written */
};

/* Called for each whole record, in order. */
typedef void journal_record_fn(void *context, uint64_t region, const struct name *page);

/* Open the journal of a disk. When it is of this point, size and base its records are told and
 * `started` is set; else it is empty. ERR_BUSY when another stream keeps it for `wait_ms`,
 * ERR_INVALID for a run id that cannot be a file name. */
int journal_open(const char *dir, const char *run_id, unsigned number, const char *point,
		 uint64_t size, const struct name *base_root, int64_t wait_ms,
		 journal_record_fn *record, void *context, struct journal *out, struct err *e);
void journal_close(struct journal *j);

/* Empty it and write the header. */
int journal_start(struct journal *j, const char *point, const struct name *base_root,
		  const struct layout *layout, struct err *e);
/* Empty it. */
int journal_drop(struct journal *j, struct err *e);

void journal_add(struct journal *j, uint64_t region, const struct name *page);
/* Make what was added durable. */
int journal_sync(struct journal *j, struct err *e);

/* The header and records in bytes, as journal_open reads them: the length that is whole, 0 when
 * the header is not (layout and point untouched then). */
size_t journal_scan(const uint8_t *data, size_t n, const char *point, uint64_t size,
		    const struct name *base_root, struct layout *layout, journal_record_fn *record,
		    void *context);

/* The pages that any journal in a file names, and the base it grew from (zero: none): what a
 * collection must leave. 0, also for one that was torn at its beginning. */
typedef void journal_page_fn(void *context, const struct name *page);
int journal_pages(const char *path, struct name *base_root, journal_page_fn *page, void *context,
		  struct err *e);

#endif
