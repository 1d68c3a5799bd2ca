// SPDX-License-Identifier: Apache-2.0
/* The disk being copied: a file or block device, or behind one or more NBD connections. Used by one
 * thread at a time. */
#ifndef COPY_SOURCE_H
#define COPY_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "block/extent.h"
#include "copy/copy.h"

#define SOURCE_REQUEST_BYTES (1u << 20)
#define SOURCE_IN_FLIGHT     4 /* requests of each connection */
#define SOURCE_GIVE_UP_MS    (120 * 1000)
#define SOURCE_EXTENTS_MAX   (1u << 20) /* a longer list is kept more coarsely */
#define SOURCE_HANDLES_MAX   16

struct source;

/* Handshake on every socket (they stay the caller's: they are duplicated). ERR_CONFLICT when the
 * dirty context was asked for and the server does not have it. */
int source_open(const struct copy_source *from, struct source **out, struct err *e);
void source_close(struct source *s);
uint64_t source_size(const struct source *s);

/* Called now and then in a long walk; non-zero ends it. */
typedef int source_tick_fn(void *context, struct err *e);

/* What does not read as zero, and (with a dirty context) what changed, over the whole disk. Where
 * the server does not tell, everything is data. */
int source_map(struct source *s, struct extents *data, struct extents *dirty, source_tick_fn *tick,
	       void *context, struct err *e);

/* Read ranges, relative to `offset`, to the same places of `to`. Many requests in flight. */
int source_read(struct source *s, uint64_t offset, const struct extents *ranges, uint8_t *to,
		struct err *e);

/* layout_read_fn, with the source as context. */
int source_read_any(void *source, uint64_t offset, uint32_t length, void *to, struct err *e);

#endif
