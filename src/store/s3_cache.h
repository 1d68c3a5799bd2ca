// SPDX-License-Identifier: Apache-2.0
/*
 * What was read of objects lately, bounded in bytes: a miss fetches more than was asked for, so that
 * neighbours up to 128 KiB apart cost one request, and the more the longer reading goes forward.
 * Objects never change while they are cached here. Any thread.
 */
#ifndef STORE_S3_CACHE_H
#define STORE_S3_CACHE_H

#include "store/s3.h"

struct s3_cache;

struct s3_cache *s3_cache_new(struct s3 *s);
void s3_cache_free(struct s3_cache *c);
/* Exactly these bytes of an object; ERR_CORRUPT when it or they are not there. */
int s3_cache_read(struct s3_cache *c, const char *key, uint64_t offset, void *to, size_t n,
		  struct err *e);
/* The object is gone. */
void s3_cache_forget(struct s3_cache *c, const char *key);

#endif
