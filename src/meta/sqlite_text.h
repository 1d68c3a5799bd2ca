// SPDX-License-Identifier: Apache-2.0
/*
 * The SQL of the sqlite kind, generated from tables and scans. Pure functions of their arguments.
 * Parameters are numbered by their order in the text.
 */
#ifndef META_SQLITE_TEXT_H
#define META_SQLITE_TEXT_H

#include "base/mem.h"
#include "meta/meta.h"

/* A scan whose bound has several columns is several stretches of the index, one after the other:
 * after (a, b) is "the first is a and the second is over b", then "the first is over a". Each is one
 * query that reads only what it returns, whatever is NULL, which SQLite's row values cannot do. */
enum sqlite_range {
	RANGE_NONE,
	RANGE_OVER,  /* column `equal` over its value; everything but NULL when that is NULL */
	RANGE_UNDER, /* under its value, NULL aside */
	RANGE_NULL,  /* NULL: what is under every text */
};
struct sqlite_stretch {
	unsigned equal; /* leading columns equal to their values */
	enum sqlite_range range;
};
#define SQLITE_STRETCHES_MAX 9

/* The stretches of a scan, in order; returns how many. */
unsigned sqlite_text_stretches(const struct meta_table *t, const struct meta_scan *scan,
			       struct sqlite_stretch out[SQLITE_STRETCHES_MAX]);
/* The query of one: its parameters are the values that take one, by sqlite_text_takes_value. */
void sqlite_text_scan(const struct meta_table *t, const struct meta_scan *scan,
		      const struct sqlite_stretch *stretch, struct buf *sql);
bool sqlite_text_takes_value(const struct field *column, const struct meta_value *value,
			     const struct sqlite_stretch *stretch, unsigned i);

void sqlite_text_create(const struct meta_table *t, struct buf *sql); /* table and indexes */
void sqlite_text_get(const struct meta_table *t, struct buf *sql);    /* by key */
void sqlite_text_put(const struct meta_table *t, struct buf *sql);    /* all fields */
void sqlite_text_remove(const struct meta_table *t, struct buf *sql); /* by key */
/* The key of another row with the same values of a unique index: values, then the own key. */
void sqlite_text_holder(const struct meta_table *t, const struct meta_index *index,
			struct buf *sql);

#endif
