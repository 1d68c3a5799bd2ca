// SPDX-License-Identifier: Apache-2.0
/*
 * Leases: whoever reads versions for a while (an export, a served image, a verification) keeps them
 * from being collected, though the image be deleted meanwhile. A lease is a reference "lease-…" that
 * a reader may set too: its roots, and who holds it, on which boot of which machine, as which
 * process, renewed when. It goes with its holder's end; one whose process is gone, or that nobody
 * renewed for an hour where that cannot be seen, does not count any more.
 */
#ifndef STORE_LEASE_H
#define STORE_LEASE_H

#include <stdbool.h>

#include "store/store.h"

#define LEASE_PREFIX "lease-"

struct lease;

/* Keep these roots until lease_release or the end of this process. Take it before the first read.
 * `who` is for people. On a file system that cannot be written nothing is collected either:
 * then *out is NULL, and all is well. */
int lease_take(struct store *s, const struct name *roots, size_t count, const char *who,
	       struct lease **out, struct err *e);
/* NULL is fine. */
void lease_release(struct lease *lease);

/* Does a lease with this description (what follows its roots) still count? */
bool lease_counts(const uint8_t *description, size_t n, int64_t now_ms);

#endif
