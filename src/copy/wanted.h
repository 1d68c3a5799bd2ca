// SPDX-License-Identifier: Apache-2.0
/* Names a stream was asked for and has not sent yet, and which open regions wait for each. */
#ifndef COPY_WANTED_H
#define COPY_WANTED_H

#include <stdbool.h>

#include "block/name.h"

#define WANTED_BUCKETS 4096

struct wanted_entry;

/* All zero is empty. */
struct wanted {
	struct wanted_entry *buckets[WANTED_BUCKETS];
};

/* Let `waiter` wait for a name. *asked: somebody waited for it already; *again: this waiter did. */
void wanted_add(struct wanted *w, const struct name *name, void *waiter, bool *asked, bool *again);
/* The name came: calls `came` once for each that waited. */
typedef void wanted_came_fn(void *context, void *waiter);
void wanted_came(struct wanted *w, const struct name *name, wanted_came_fn *came, void *context);
void wanted_release(struct wanted *w);

#endif
