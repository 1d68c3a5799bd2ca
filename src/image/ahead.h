// SPDX-License-Identifier: Apache-2.0
/* Reading ahead: finds out who reads one offset after the other, and lets threads of its own fetch
 * what comes next. Thread-safe; seen only inside image/. */
#ifndef IMAGE_AHEAD_H
#define IMAGE_AHEAD_H

#include <stdint.h>

/* Bring a range of the disk into the cache; called on threads of ours, several at once. A range
 * that cannot be had is for the reader to find out. */
typedef void ahead_fetch_fn(void *context, uint64_t offset, uint32_t length);

struct ahead;

/* `size` is the disk's; never more than `window_bytes` are fetched ahead of a reader. */
struct ahead *ahead_new(ahead_fetch_fn *fetch, void *context, uint64_t size, uint64_t window_bytes);
/* Waits for the fetches under way. */
void ahead_free(struct ahead *ahead);
/* A read begins. */
void ahead_note(struct ahead *ahead, uint64_t offset, uint64_t length);

#endif
