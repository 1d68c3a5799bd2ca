// SPDX-License-Identifier: Apache-2.0
/* What a copying child is told: one frame of type COPY_PLAN on its standard input. */
#ifndef COPY_PLAN_H
#define COPY_PLAN_H

#include "base/err.h"
#include "base/shape.h"
#include "block/extent.h"

#define COPY_PLAN	  100
#define COPY_PLAN_NBD_MAX 8

#define COPY_FD_STREAM	  3 /* to the service */
#define COPY_FD_NBD	  4 /* the first of nbd_count connected NBD sockets */

struct copy_plan {
	char *export_name;
	char *dirty_context;  /* or NULL */
	int64_t has_changed;  /* 1: `changed` says what changed, also when it is empty */
	struct bytes changed; /* u64 offset, u64 length each, little-endian, ascending */
	int64_t full;	      /* 1: read everything, whatever the base */
	int64_t nbd_count;
	int64_t bytes_per_second; /* 0: no limit */
	int64_t level;		  /* zstd, 0: the default */
};

extern const struct shape copy_plan_shape;

/* Put a change list into a plan. A list too long for the message is told more coarsely (its ranges
 * widened until it fits), which is never wrong. `size` is the disk's. */
void copy_plan_set_changed(struct copy_plan *plan, const struct extents *changed, uint64_t size);
/* And out of it; ERR_INVALID when it is out of order. */
int copy_plan_changed(const struct copy_plan *plan, struct extents *out, struct err *e);

#endif
