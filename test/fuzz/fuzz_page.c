// SPDX-License-Identifier: Apache-2.0
/* A page: what decodes covers its blocks and encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "block/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct runs runs = {0};
	struct buf again = {0};
	uint32_t blocks;
	if (page_decode(data, n, &runs, &blocks, NULL) == 0) {
		assert(runs_blocks(&runs) == blocks && blocks <= REGION_BLOCKS);
		page_encode(&runs, blocks, &again);
		assert(again.len == n && !memcmp(again.data, data, n));
	}
	runs_release(&runs);
	buf_release(&again);
	return 0;
}
