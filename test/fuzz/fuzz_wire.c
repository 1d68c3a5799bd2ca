// SPDX-License-Identifier: Apache-2.0
/* A frame's type (two bytes) and body: what decodes must encode to the same bytes again. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/door.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2)
		return 0;
	const struct shape *shape = door_shape((uint16_t)(data[0] | data[1] << 8));
	if (!shape)
		return 0;
	void *object = xcalloc(1, shape->size);
	struct buf again = {0};
	if (wire_decode(shape, data + 2, n - 2, object, NULL) == 0) {
		assert(wire_check(shape, object, NULL) == 0);
		wire_encode(shape, object, &again);
		assert(again.len == n - 2 && (n == 2 || !memcmp(again.data, data + 2, n - 2)));
		shape_release(shape, object);
	}
	free(object);
	buf_release(&again);
	return 0;
}
