// SPDX-License-Identifier: Apache-2.0
/* Making a bucket into a store, and what is looked at when one is opened. */
#ifndef STORE_S3_OPEN_H
#define STORE_S3_OPEN_H

#include "store/s3.h"

/* The bucket is there; made if missing. */
int s3_bucket_make(struct s3 *s, struct err *e);
/* The file `format` is there; made if missing, unless other things are under the prefix. */
int s3_format_make(struct s3 *s, struct err *e);
/* No lifecycle rule takes away what is under the prefix: ERR_CONFLICT names the rule. With `add`
 * the one for staging/ is added where the server lets us. */
int s3_lifecycle_check(struct s3 *s, bool add, struct err *e);

#endif
