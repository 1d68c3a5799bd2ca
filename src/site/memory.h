// SPDX-License-Identifier: Apache-2.0
/* The memory kind's own door for tests: be the guest. */
#ifndef SITE_MEMORY_H
#define SITE_MEMORY_H

#include <stddef.h>

#include "site/site.h"

/* Write to, or read from, a disk of a machine as its guest would. The site must be of kind memory. */
int site_memory_write(struct site *s, const char *vm_id, unsigned disk, uint64_t offset,
		      const void *data, size_t n, struct err *e);
int site_memory_read(struct site *s, const char *vm_id, unsigned disk, uint64_t offset, void *data,
		     size_t n, struct err *e);

#endif
