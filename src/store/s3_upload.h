// SPDX-License-Identifier: Apache-2.0
/*
 * Whole local files on their way into the bucket, a few at a time, so that the next pack is filled
 * while the last one is sent. Any thread may call these.
 */
#ifndef STORE_S3_UPLOAD_H
#define STORE_S3_UPLOAD_H

#include "store/s3.h"

struct s3_uploads;

struct s3_uploads *s3_uploads_new(struct s3 *s);
/* Waits for what is on its way. */
void s3_uploads_free(struct s3_uploads *u);
/* Send the file's bytes as an object; waits while too many are on their way. The descriptor is
 * duplicated. */
int s3_upload_begin(struct s3_uploads *u, int fd, const char *key, struct err *e);
/* Wait for those below a folder; fails when one of them could not be sent, until that is forgotten or
 * sent again. */
int s3_uploads_wait(struct s3_uploads *u, const char *folder, struct err *e);
/* The object is not wanted any more: wait for it, and forget a failure. */
void s3_upload_forget(struct s3_uploads *u, const char *key);
/* 1 and the bytes when the object is still on its way, 0 when not. */
int s3_upload_read(struct s3_uploads *u, const char *key, uint64_t offset, void *to, size_t n,
		   struct err *e);

/* PUT a file at once. */
int s3_put_file(struct s3 *s, int fd, const char *key, struct err *e);

#endif
