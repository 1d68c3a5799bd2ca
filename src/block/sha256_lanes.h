// SPDX-License-Identifier: Apache-2.0
/* SHA-256 of two messages at once: one stream of rounds waits for its own results most of the time,
 * two fill the gaps. Seen only in block/. */
#ifndef BLOCK_SHA256_LANES_H
#define BLOCK_SHA256_LANES_H

#include "block/name.h"

/* Whether this processor can: x86-64 with the SHA extensions. */
bool sha256_lanes_here(void);
/* Name every job; only where sha256_lanes_here, and every length a multiple of 64. */
void sha256_lanes(const struct name_job *jobs, size_t count);

#endif
