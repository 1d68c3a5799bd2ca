// SPDX-License-Identifier: Apache-2.0
/*
 * Which names are surely not in a segment of the index, from memory: a Bloom filter in blocks of 64
 * bytes, ten bits a name (34 MB for a TiB of chunks of 40 KiB), one miss of the processor's cache to
 * ask. Most names that a new server brings are not there, and without it each would be searched in
 * every segment, on the disk where the page cache does not hold them. Names are hashes already; one
 * who chooses them makes only his own answers slower.
 */
#ifndef STORE_FILTER_H
#define STORE_FILTER_H

#include <stdbool.h>

#include "store/segment.h"

struct filter {
	uint64_t *words;
	uint64_t blocks; /* 0: no filter, anything may be there */
};

void filter_make(struct filter *f, const struct store_segment *s);
void filter_release(struct filter *f);
bool filter_may_have(const struct filter *f, const uint8_t *name);

#endif
