// SPDX-License-Identifier: Apache-2.0
/* A disk root or a branch: what decodes encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "block/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct name pages[TREE_FANOUT];
	struct disk_root root;
	struct buf again = {0};
	uint32_t count;
	if (disk_root_decode(data, n, &root, NULL) == 0) {
		disk_root_encode(&root, &again);
		assert(again.len == n && !memcmp(again.data, data, n));
		disk_root_release(&root);
	}
	buf_clear(&again);
	if (branch_decode(data, n, pages, &count, NULL) == 0) {
		branch_encode(pages, count, &again);
		assert(again.len == n && !memcmp(again.data, data, n));
	}
	buf_release(&again);
	return 0;
}
