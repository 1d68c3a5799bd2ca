// SPDX-License-Identifier: Apache-2.0
/* The pages of an open version; seen only inside image/. */
#ifndef IMAGE_VERSION_H
#define IMAGE_VERSION_H

#include "block/layout.h"
#include "image/cache.h"
#include "image/image.h"

const struct layout *version_layout(const struct version *v);
/* The name of a region's page, zero when it has none. */
int version_page_name(struct version *v, uint64_t region, struct name *out, struct err *e);
/* The page of a region, referenced; NULL in *out when the region is all zero. */
int version_page(struct version *v, uint64_t region, struct item **out, struct err *e);
void version_page_drop(struct version *v, struct item *page);

#endif
