// SPDX-License-Identifier: Apache-2.0
/*
 * What the service knows, as rows of tables (meta/rows.h). Kinds: sqlite, memory.
 *
 * A row is a plain struct with a shape; its first field is TEXT and its key. Reads and writes happen
 * inside a transaction; a write transaction is atomic, durable when `meta_end` returned 0, and sees
 * its own writes. One write transaction at a time (a second begin waits); readers see the state
 * before or after it, never a part. A struct meta may be used by many threads; a struct meta_tx by
 * the thread that began it.
 */
#ifndef META_META_H
#define META_META_H

#include <stdbool.h>

#include "base/err.h"
#include "base/shape.h"

/* An index: rows in the order of these columns (then the key), NULL and 0 first. */
struct meta_index {
	const char *name;
	const char *columns[3]; /* unused: NULL */
	bool unique;		/* among rows whose first column is not NULL */
};

struct meta_table {
	const char *name;
	const struct shape *shape;
	const struct meta_index *indexes;
	unsigned index_count;
};

struct meta;
struct meta_tx;

/* "sqlite:/path/to/file" or "memory:". Makes or migrates the tables; ERR_CONFLICT when the
 * database is of a newer godwit. */
int meta_open(const char *where, struct meta **out, struct err *e);
void meta_close(struct meta *m);

int meta_begin(struct meta *m, bool write, struct meta_tx **out, struct err *e);
/* Ends it in any case; `keep` false, or a failed write in it, undoes all its writes: ERR_CONFLICT
 * when they were to be kept. (Deleting what is not there is no failed write.) */
int meta_end(struct meta_tx *tx, bool keep, struct err *e);

/* The row of a key into `row` (overwritten; the caller releases). ERR_NOT_FOUND. */
int meta_get(struct meta_tx *tx, const struct meta_table *t, const char *key, void *row,
	     struct err *e);
/* Insert, or replace the row of the same key. ERR_CONFLICT where a unique index forbids it. */
int meta_put(struct meta_tx *tx, const struct meta_table *t, const void *row, struct err *e);
/* ERR_NOT_FOUND when there is none. */
int meta_delete(struct meta_tx *tx, const struct meta_table *t, const char *key, struct err *e);

/* A bound of a scan: values for the first columns of the index, as many as `count`; TEXT columns
 * take text, INT columns take number. A fourth value is the key. */
struct meta_value {
	const char *text;
	int64_t number;
};

struct meta_scan {
	const char *index;    /* NULL: by key; then value 0 is the key */
	unsigned equal_count; /* rows whose first columns equal values[0 … equal_count) */
	unsigned after_count; /* and which come after values[equal_count … + after_count), */
	struct meta_value values[4]; /* compared column by column, the last value exclusive */
	bool inclusive;		     /* the last value inclusive */
	bool descending;	     /* backwards: "after" is towards the smaller */
	unsigned limit;		     /* 0: none */
};

/* Call `each` for every row in order until it returns non-zero (which is returned); `row` is valid
 * during the call. `each` may read in the same transaction; whether the scan sees what it writes to
 * the same table is not said. */
typedef int meta_row_fn(void *context, const void *row);
int meta_scan(struct meta_tx *tx, const struct meta_table *t, const struct meta_scan *scan,
	      meta_row_fn *each, void *context, struct err *e);

#endif
