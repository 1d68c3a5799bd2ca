// SPDX-License-Identifier: Apache-2.0
/* Time: milliseconds everywhere. Decisions take `now` as an argument; only programs read it here. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_TEXT_BYTES 32

int64_t clock_now_ms(void);  /* since 1970, may step; for schedules and records */
int64_t clock_mono_ms(void); /* never steps; for waits and rates */
void clock_sleep_ms(int64_t ms);

/* "2026-11-21T04:05:06.789Z" */
void clock_text(int64_t ms, char out[CLOCK_TEXT_BYTES]);

#endif
