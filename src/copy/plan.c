// SPDX-License-Identifier: Apache-2.0
#include "copy/plan.h"

#include <endian.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"

#define PAIR_BYTES	  16
#define CHANGED_MAX_BYTES (768 * KIB)

static const struct field plan_fields[] = {
    FIELD_TEXT_OF(copy_plan, export_name, 4096),
    FIELD_TEXT_OF(copy_plan, dirty_context, 4096),
    FIELD_INT_OF(copy_plan, has_changed, 1),
    FIELD_BYTES_OF(copy_plan, changed, CHANGED_MAX_BYTES),
    FIELD_INT_OF(copy_plan, full, 1),
    FIELD_INT_OF(copy_plan, nbd_count, COPY_PLAN_NBD_MAX),
    FIELD_INT_OF(copy_plan, bytes_per_second, INT64_MAX),
    FIELD_INT_OF(copy_plan, level, 19),
};
const struct shape copy_plan_shape = SHAPE(copy_plan, plan_fields);

void copy_plan_set_changed(struct copy_plan *plan, const struct extents *changed, uint64_t size)
{
	struct extents list = {0};
	struct buf pairs = {0};

	extents_slice(changed, 0, size, &list);
	for (uint64_t grain = 64 * KIB; list.count * PAIR_BYTES > CHANGED_MAX_BYTES; grain *= 2)
		extents_align(&list, grain, size);
	for (size_t i = 0; i < list.count; i++) {
		uint64_t pair[2] = {htole64(list.items[i].offset), htole64(list.items[i].length)};

		buf_add(&pairs, pair, sizeof pair);
	}
	bytes_set(&plan->changed, pairs.data, pairs.len);
	plan->has_changed = 1;
	buf_release(&pairs);
	extents_release(&list);
}

int copy_plan_changed(const struct copy_plan *plan, struct extents *out, struct err *e)
{
	uint64_t end = 0;

	if (plan->changed.len % PAIR_BYTES)
		return err_set(e, ERR_INVALID, "the list of changed areas ends in the middle");
	for (size_t at = 0; at < plan->changed.len; at += PAIR_BYTES) {
		uint64_t pair[2], offset, length;

		memcpy(pair, plan->changed.data + at, sizeof pair);
		offset = le64toh(pair[0]);
		length = le64toh(pair[1]);
		if (offset < end || length == 0 || length > LIMIT_DISK_MAX_BYTES ||
		    offset > LIMIT_DISK_MAX_BYTES - length)
			return err_set(e, ERR_INVALID, "the list of changed areas is out of order");
		end = offset + length;
		extents_append(out, offset, length);
	}
	return 0;
}
