// SPDX-License-Identifier: Apache-2.0
/* What a kind of metadata engine provides. Seen only inside meta/; only meta.c calls through it. */
#ifndef META_KIND_H
#define META_KIND_H

#include "meta/meta.h"

struct meta_ops {
	const char *kind;
	int (*open)(const char *place, struct meta **out, struct err *e);
	void (*close)(struct meta *m);
	int (*begin)(struct meta *m, bool write, struct meta_tx **out, struct err *e);
	int (*end)(struct meta_tx *tx, bool keep, struct err *e);
	int (*get)(struct meta_tx *tx, const struct meta_table *t, const char *key, void *row,
		   struct err *e);
	int (*put)(struct meta_tx *tx, const struct meta_table *t, const void *row, struct err *e);
	int (*remove)(struct meta_tx *tx, const struct meta_table *t, const char *key,
		      struct err *e);
	int (*scan)(struct meta_tx *tx, const struct meta_table *t, const struct meta_scan *scan,
		    meta_row_fn *each, void *context, struct err *e);
};

struct meta {
	const struct meta_ops *ops;
};

/* First member of each kind's transaction. */
struct meta_tx {
	struct meta *meta;
	bool write;
	bool failed;
};

extern const struct meta_ops meta_sqlite_ops;
extern const struct meta_ops meta_memory_ops;

/* Helpers of the kinds, in meta.c. */

/* The order of an index: its columns, then the key; `index` NULL is the key alone. Returns how many
 * fields were put into `order`. */
#define META_ORDER_MAX 4
unsigned meta_order(const struct meta_table *t, const char *index,
		    const struct field *order[META_ORDER_MAX]);
const char *meta_key(const struct meta_table *t, const void *row);
/* The refusal of a unique index, ERR_CONFLICT. */
int meta_conflict(const struct meta_table *t, const struct meta_index *index, const void *row,
		  const char *holder, struct err *e);

#endif
