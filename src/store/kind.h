// SPDX-License-Identifier: Apache-2.0
/* What a kind of store provides. Seen only inside store/; only store.c calls through it. */
#ifndef STORE_KIND_H
#define STORE_KIND_H

#include "store/store.h"

struct store_ops {
	const char *kind;
	int (*open)(const char *place, bool write, bool create, struct store **out, struct err *e);
	void (*close)(struct store *s);
	int (*has)(struct store *s, const char *group, const struct name *names, size_t n,
		   uint8_t *have, struct err *e);
	int (*put)(struct store *s, const char *group, const struct record *r, struct err *e);
	/* The record, its stored bytes appended to `stored` (r->stored is set by the caller). */
	int (*get)(struct store *s, const struct name *name, struct record *r, struct buf *stored,
		   struct err *e);
	int (*commit)(struct store *s, struct store_space *space, struct err *e);
	int (*ref_set)(struct store *s, const char *ref, const void *data, size_t n, struct err *e);
	int (*ref_each)(struct store *s, store_ref_fn *each, void *context, struct err *e);
	/* NULL: this kind frees nothing. */
	int (*collect)(struct store *s, const struct store_collecting *plan,
		       struct store_collected *out, struct err *e);
};

struct store_live {
	void (*add)(struct store_live *live, enum live_kind kind, const struct name *names,
		    size_t n, uint8_t *states);
};

struct store {
	const struct store_ops *ops;
	struct store_facts facts;
};

extern const struct store_ops store_dir_ops;
extern const struct store_ops store_memory_ops;
extern const struct store_ops store_fault_ops;
extern const struct store_ops store_s3_ops;

#endif
