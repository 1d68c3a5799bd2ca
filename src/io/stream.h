// SPDX-License-Identifier: Apache-2.0
/*
 * A two-way byte stream with frames on it: over a descriptor, or over TLS on one. Whole reads and
 * writes only; one thread may read while others write (a whole write, so a whole frame, at a time). An
 * error sticks: what comes after it fails with the same sentence.
 *
 * Programs ignore SIGPIPE (signal(SIGPIPE, SIG_IGN)) before they use streams over pipes;
 * over sockets and TLS none is raised.
 */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/shape.h"

struct stream;

/* Takes the descriptor. */
struct stream *stream_of_fd(int fd);
void stream_close(struct stream *s);
int stream_fd(const struct stream *s);

/* Give up a read or write that makes no progress for so long (0: wait forever): ERR_UNAVAILABLE. */
void stream_set_timeout(struct stream *s, int64_t ms);
/* Wake a thread blocked in the stream and fail everything from now on; any thread may call it. */
void stream_shutdown(struct stream *s);

/* Wait until something can be read: 1, 0 after `ms`, -1. Knows of bytes TLS holds already. */
int stream_wait(struct stream *s, int64_t ms, struct err *e);

/* Exactly n bytes. The other side closing in the middle is ERR_UNAVAILABLE. */
int stream_read(struct stream *s, void *to, size_t n, struct err *e);
int stream_write(struct stream *s, const void *from, size_t n, struct err *e);
/* Some bytes: at least one, at most n; 0 when the other side closed. */
int stream_read_some(struct stream *s, void *to, size_t n, struct err *e);

/* One frame. `body` is overwritten. A clean close before a frame is 0, else 1 or -1. */
int frame_read(struct stream *s, uint16_t *type, struct buf *body, struct err *e);
int frame_write(struct stream *s, uint16_t type, const struct shape *shape, const void *object,
		struct err *e);
/* Read a frame that must be of `type`; a DOOR_FAULT instead becomes the error it carries. */
int frame_expect(struct stream *s, uint16_t type, const struct shape *shape, void *object,
		 struct err *e);
/* Send the error as DOOR_FAULT. */
int frame_fault(struct stream *s, const struct err *fault, struct err *e);

#endif
