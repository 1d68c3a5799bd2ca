// SPDX-License-Identifier: Apache-2.0
/* A limit on bytes a second: a token bucket on whatever clock the caller passes. */
#ifndef COPY_THROTTLE_H
#define COPY_THROTTLE_H

#include <stdint.h>

struct throttle {
	int64_t bytes_per_second; /* 0: no limit */
	int64_t credit;		  /* bytes that may go now; negative: owed */
	int64_t rest;		  /* byte-milliseconds not yet a byte */
	int64_t at_ms;
};

/* Starts with a tenth of a second's bytes, which is also the most it saves up. */
void throttle_init(struct throttle *t, int64_t bytes_per_second, int64_t now_ms);

/* Take `bytes`; returns how many ms from `now_ms` the caller must wait before it sends them. A
 * clock that steps back gives nothing and takes nothing. */
int64_t throttle_take(struct throttle *t, int64_t bytes, int64_t now_ms);

#endif
