// SPDX-License-Identifier: Apache-2.0
/* The name of a chunk or a tree node: SHA-256 of its plain bytes. */
#ifndef BLOCK_NAME_H
#define BLOCK_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_BYTES     32
#define NAME_HEX_BYTES 65

struct name {
	uint8_t bytes[NAME_BYTES];
};

void name_of(const void *data, size_t n, struct name *out);

struct name_job {
	const uint8_t *data;
	size_t len; /* any length; multiples of 64 run in lanes */
	struct name *out;
};
/* Name many chunks. This is the place where several lanes run at once. */
void name_many(const struct name_job *jobs, size_t count);

void name_hex(const struct name *name, char out[NAME_HEX_BYTES]);
bool name_parse(const char *hex, struct name *out);
int name_compare(const struct name *a, const struct name *b); /* as memcmp */
bool name_is_zero(const struct name *name);		      /* all zero bytes: "no name" */

#endif
