// SPDX-License-Identifier: Apache-2.0
/*
 * What a reference keeps alive: its data begin with the roots of trees, whatever follows is a
 * description that the store does not look at. Layout: man/godwit-store.5.
 */
#ifndef STORE_ROOTS_H
#define STORE_ROOTS_H

#include "base/err.h"
#include "base/mem.h"
#include "block/name.h"

#define ROOTS_MAX 256 /* in one reference */

void roots_encode(const struct name *roots, size_t count, struct buf *out);
/* The number of roots, in a heap array; *used is where the description begins. ERR_CORRUPT when
 * the data do not begin with roots. */
int roots_decode(const uint8_t *data, size_t n, struct name **roots, size_t *used, struct err *e);

#endif
