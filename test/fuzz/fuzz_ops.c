// SPDX-License-Identifier: Apache-2.0
/* Ops of a region applied to a fixed base, and outlines: refused, or a region that has a page. */
#include <assert.h>
#include <string.h>

#include "block/tree.h"

#define BLOCKS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_ops(const uint8_t *data, size_t n)
{
	const struct name name = {{1}};
	struct runs base = {0}, out = {0}, back = {0};
	struct ops ops = {0};
	struct buf bytes = {0};
	uint32_t blocks;
	for (uint32_t i = 0; i < BLOCKS / 8; i++)
		runs_push(&base, i % 2 ? RUN_ZERO : RUN_DATA, 8, &name);
	if (ops_decode(data, n, &ops, NULL) == 0) {
		ops_encode(&ops, &bytes);
		assert(bytes.len == n && !memcmp(bytes.data, data, n));
		if (ops_apply(&base, &ops, BLOCKS, &out, NULL) == 0 && runs_chunks(&out) > 0) {
			buf_clear(&bytes);
			page_encode(&out, BLOCKS, &bytes);
			assert(page_decode(bytes.data, bytes.len, &back, &blocks, NULL) == 0);
		}
	}
	runs_release(&base);
	runs_release(&out);
	runs_release(&back);
	ops_release(&ops);
	buf_release(&bytes);
}

static void try_outline(const uint8_t *data, size_t n)
{
	struct runs runs = {0};
	struct buf bytes = {0};
	if (runs_outline_decode(data, n, &runs, NULL) == 0) {
		runs_outline_encode(&runs, &bytes);
		assert(bytes.len == n && !memcmp(bytes.data, data, n));
	}
	runs_release(&runs);
	buf_release(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_ops(data, n);
	try_outline(data, n);
	return 0;
}
