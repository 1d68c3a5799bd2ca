// SPDX-License-Identifier: Apache-2.0
/*
 * A journal of the disk that its header tells of (the point is always "point"), as it is and with
 * its checks put right: the whole part reads the same again, also from a file, and what is added
 * to the file is read back behind it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "copy/copy.h"
#include "copy/journal.h"
#include "io/file.h"
#include "scratch.h"
#include "base/le.h"

#define POINT	     "point"
#define BODY_AT	     12
#define BASE_AT	     (BODY_AT + 8)
#define CHECK_BYTES  8
#define RECORD_BYTES (8 + NAME_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct told {
	uint64_t count, newest, most;
};

struct journaled {
	uint64_t size;
	struct name base;
};

static void take(void *context, uint64_t region, const struct name *page)
{
	struct told *t = context;
	(void)page;
	assert(region < t->most);
	t->newest = region;
	t->count++;
}

static void open_journal(const struct journaled *d, struct told *told, struct journal *j)
{
	*told = (struct told){.most = UINT64_MAX};
	assert(journal_open(scratch_dir(), "run", 1, POINT, d->size, &d->base, 0, take, told, j,
			    NULL) == 0);
}

static void count_page(void *context, const struct name *page)
{
	uint64_t *count = context;
	assert(!name_is_zero(page));
	++*count;
}

/* What a collection reads of it, which knows neither point nor disk. */
static void try_pages(const uint8_t *data, size_t n, const struct name *base, uint64_t most)
{
	char *path = xasprintf("%s/any.1", scratch_dir());
	struct name found;
	uint64_t count = 0;
	assert(file_write(path, data, n, 0600, NULL) == 0);
	assert(journal_pages(path, &found, count_page, &count, NULL) == 0);
	assert(count <= most && (!base || name_compare(&found, base) == 0));
	assert(copy_journal_remove(scratch_dir(), "any", NULL) == 0);
	assert(journal_pages(path, &found, count_page, &count, NULL) == 0 && name_is_zero(&found));
	free(path);
}

/* The same bytes as a file, which grows by a record. */
static void try_file(const struct journaled *d, const uint8_t *data, size_t n, size_t whole,
		     uint64_t count)
{
	char *path = xasprintf("%s/run.1", scratch_dir());
	struct journal j;
	struct told told;
	assert(file_write(path, data, n, 0600, NULL) == 0);
	open_journal(d, &told, &j);
	assert(j.end == whole && told.count == count);
	uint64_t last = layout_regions(&j.layout) - 1;
	journal_add(&j, last, &d->base);
	assert(journal_sync(&j, NULL) == 0);
	journal_close(&j);
	open_journal(d, &told, &j);
	assert(told.count == count + 1 && told.newest == last);
	struct layout layout = j.layout;
	assert(journal_start(&j, POINT, &d->base, &layout, NULL) == 0);
	journal_close(&j);
	open_journal(d, &told, &j);
	assert(told.count == 0 && j.started && layout_equal(&layout, &j.layout));
	assert(journal_drop(&j, NULL) == 0 && !j.started);
	journal_close(&j);
	assert(copy_journal_remove(scratch_dir(), "run", NULL) == 0);
	free(path);
}

static void try_journal(const uint8_t *data, size_t n)
{
	struct journaled d = {0};
	static struct layout layout;
	struct told told = {.most = LIMIT_DISK_MAX_BYTES / REGION_BYTES + LAYOUT_MAX_SEGMENTS};
	if (n >= BASE_AT + NAME_BYTES) {
		d.size = le64_get(data + BODY_AT);
		memcpy(d.base.bytes, data + BASE_AT, NAME_BYTES);
	}
	if (d.size < LIMIT_DISK_MIN_BYTES || d.size > LIMIT_DISK_MAX_BYTES)
		d.size = LIMIT_DISK_MIN_BYTES; /* the receiver asks for no other */
	size_t whole = journal_scan(data, n, POINT, d.size, &d.base, &layout, take, &told);
	assert(whole <= n);
	try_pages(data, n, whole ? &d.base : NULL, n / RECORD_BYTES);
	if (!whole)
		return;
	struct told again = {.most = layout_regions(&layout)};
	assert(journal_scan(data, whole, POINT, d.size, &d.base, &layout, take, &again) == whole);
	assert(again.count == told.count);
	try_file(&d, data, n, whole, told.count);
}

static size_t put_check(uint8_t *data, size_t from, size_t to)
{
	struct name check;
	name_of(data + from, to - from, &check);
	memcpy(data + to, check.bytes, CHECK_BYTES);
	return to + CHECK_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	try_journal(data, n);
	if (n >= BODY_AT && le32_get(data + 8) + (uint64_t)BODY_AT + CHECK_BYTES <= n) {
		uint8_t *copy = xmalloc(n);
		memcpy(copy, data, n);
		size_t at = put_check(copy, 0, BODY_AT + le32_get(data + 8));
		while (n - at >= RECORD_BYTES + CHECK_BYTES)
			at = put_check(copy, at, at + RECORD_BYTES);
		try_journal(copy, n);
		free(copy);
	}
	return 0;
}
