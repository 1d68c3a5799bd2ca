// SPDX-License-Identifier: Apache-2.0
/* What carries a stream's bytes; seen only inside this room (stream.c, tls.c). */
#ifndef IO_STREAM_ENGINE_H
#define IO_STREAM_ENGINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "io/stream.h"

/* Verbs never block. They return a count of bytes, 0 from `read` for a clean end, ENGINE_AGAIN with
 * *events set to what poll() should wait for, or ENGINE_FAILED with `e`. */
#define ENGINE_AGAIN  (-2)
#define ENGINE_FAILED (-1)

struct stream_engine {
	ssize_t (*read)(void *self, void *to, size_t n, short *events, struct err *e);
	ssize_t (*write)(void *self, const void *from, size_t n, short *events, struct err *e);
	/* 1: `read` would not say ENGINE_AGAIN */
	ssize_t (*ready)(void *self, short *events, struct err *e);
	void (*close)(void *self); /* frees it; the descriptor is the stream's */
};

struct stream *stream_of_engine(int fd, const struct stream_engine *engine, void *self);

/* The engine's own part, when it is of that kind; else NULL. */
void *stream_engine_of(const struct stream *s, const struct stream_engine *engine);

/* Wait for the events: 1, 0 after `ms` (-1: no limit), -1. */
int fd_poll(int fd, short events, int64_t ms, struct err *e);

#endif
