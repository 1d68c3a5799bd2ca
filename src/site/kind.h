// SPDX-License-Identifier: Apache-2.0
/* What a kind of site provides. Seen only inside site/; only site.c calls through it. */
#ifndef SITE_KIND_H
#define SITE_KIND_H

#include "site/site.h"

/* What to remove: see site_sweep and site_forget. */
struct site_removal {
	const char *prefix;	      /* of the names that are ours */
	const struct site_keep *keep; /* sorted by site_keep_compare */
	unsigned keep_count;
	const struct site_keep *only; /* just this point, and nothing else; or NULL */
};
int site_keep_compare(const void *a, const void *b);
/* The entry that keeps a point, or NULL. */
const struct site_keep *site_kept(const struct site_removal *r, const char *vm_id,
				  const char *point);

struct site_ops {
	const char *kind;
	int (*open)(const char *place, const char *scratch_dir, struct site **out, struct err *e);
	void (*close)(struct site *s);
	int (*list)(struct site *s, site_machine_fn *each, void *context, struct err *e);
	int (*begin)(struct site *s, const struct site_want *want, struct site_point *p,
		     struct err *e);
	int (*dial)(struct site *s, struct site_point *p, unsigned disk, int *fd, struct err *e);
	int (*poll)(struct site *s, struct site_point *p, struct err *e);
	int (*end)(struct site *s, struct site_point *p, bool committed, struct err *e);
	int (*sweep)(struct site *s, const struct site_removal *what, unsigned *removed,
		     struct err *e);
	void (*free_state)(void *state); /* memory only */
};

struct site {
	const struct site_ops *ops;
	struct site_facts facts;
};

extern const struct site_ops site_libvirt_ops;
extern const struct site_ops site_memory_ops;

#endif
