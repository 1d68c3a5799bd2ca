// SPDX-License-Identifier: Apache-2.0
#include "store/roots.h"

#include <stdlib.h>
#include <string.h>

#include "base/le.h"

#define HEADER_BYTES 8

static const char magic[] = {'r', 'o', 'o', 't', 's', '\n'};

void roots_encode(const struct name *roots, size_t count, struct buf *out)
{
	buf_add(out, magic, sizeof magic);
	buf_add_le16(out, (uint16_t)count);
	buf_add(out, roots, count * sizeof *roots);
}

int roots_decode(const uint8_t *data, size_t n, struct name **roots, size_t *used, struct err *e)
{
	size_t count = n < HEADER_BYTES ? 0 : le16_get(data + sizeof magic);
	*roots = NULL;
	if (n < HEADER_BYTES || memcmp(data, magic, sizeof magic) != 0 || count > ROOTS_MAX ||
	    (n - HEADER_BYTES) / NAME_BYTES < count)
		return err_set(e, ERR_CORRUPT, "it does not say which roots it keeps");
	*roots = xcalloc(count, sizeof **roots);
	if (count)
		memcpy(*roots, data + HEADER_BYTES, count * NAME_BYTES);
	*used = HEADER_BYTES + count * NAME_BYTES;
	return (int)count;
}
