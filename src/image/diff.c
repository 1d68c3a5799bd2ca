// SPDX-License-Identifier: Apache-2.0
/* Where two versions differ. Pages of one name are passed over, and so are chunks of one name at one
 * place; what is left is read from both and compared block by block. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "image/version.h"

#define PIECE_BYTES (1u << 20)

struct differ {
	struct version *a, *b;
	struct extents *out;
	uint8_t *left, *right; /* PIECE_BYTES each */
};

/* Compare bytes that both have. */
static int compare(struct differ *d, uint64_t offset, uint64_t length, struct err *e)
{
	while (length > 0) {
		uint32_t n = length < PIECE_BYTES ? (uint32_t)length : PIECE_BYTES;

		if (version_read(d->a, d->left, offset, n, e) < 0 ||
		    version_read(d->b, d->right, offset, n, e) < 0)
			return -1;
		for (uint32_t at = 0; at < n; at += BLOCK_BYTES) {
			uint32_t block = n - at < BLOCK_BYTES ? n - at : BLOCK_BYTES;

			if (memcmp(d->left + at, d->right + at, block) != 0)
				extents_append(d->out, offset + at, block);
		}
		offset += n;
		length -= n;
	}
	return 0;
}

static bool is_same(const struct run *a, uint32_t a_start, const struct run *b, uint32_t b_start)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == RUN_ZERO || (a_start == b_start && a->blocks == b->blocks &&
				       name_compare(&a->name, &b->name) == 0);
}

/* A page, or the one run of a region that has none. */
struct side {
	const struct run *runs;
	uint32_t at, start, end; /* the run looked at, in blocks */
	struct run zero;
};

static void side_begin(struct side *s, const struct item *page, uint32_t blocks)
{
	s->zero = (struct run){.kind = RUN_ZERO, .blocks = (uint16_t)blocks};
	s->runs = page ? page->runs.items : &s->zero;
	s->at = s->start = 0;
	s->end = s->runs[0].blocks;
}

static void side_next(struct side *s, uint32_t blocks)
{
	if (s->end == blocks)
		return;
	s->at++;
	s->start = s->end;
	s->end += s->runs[s->at].blocks;
}

static int compare_pages(struct differ *d, const struct item *pa, const struct item *pb,
			 uint64_t offset, uint32_t length, struct err *e)
{
	uint32_t blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES, at = 0;
	struct side a, b;

	side_begin(&a, pa, blocks);
	side_begin(&b, pb, blocks);
	while (at < blocks) {
		uint32_t end = a.end < b.end ? a.end : b.end;
		uint64_t from = (uint64_t)at * BLOCK_BYTES, until = (uint64_t)end * BLOCK_BYTES;

		if (until > length)
			until = length;
		if (!is_same(&a.runs[a.at], a.start, &b.runs[b.at], b.start) &&
		    compare(d, offset + from, until - from, e) < 0)
			return -1;
		at = end;
		if (a.end == end)
			side_next(&a, blocks);
		if (b.end == end)
			side_next(&b, blocks);
	}
	return 0;
}

static int compare_region(struct differ *d, uint64_t region, struct err *e)
{
	struct item *pa = NULL, *pb = NULL;
	struct name na, nb;
	uint64_t offset;
	uint32_t length;
	int result;

	if (version_page_name(d->a, region, &na, e) < 0 ||
	    version_page_name(d->b, region, &nb, e) < 0)
		return -1;
	if (name_compare(&na, &nb) == 0)
		return 0;
	layout_region(version_layout(d->a), region, &offset, &length);
	result = version_page(d->a, region, &pa, e);
	if (result == 0)
		result = version_page(d->b, region, &pb, e);
	if (result == 0)
		result = compare_pages(d, pa, pb, offset, length, e);
	if (pa)
		version_page_drop(d->a, pa);
	if (pb)
		version_page_drop(d->b, pb);
	return result;
}

/* Regions that do not lie at the same places: a new partition table, or another size. */
static int compare_all(struct differ *d, uint64_t size, struct err *e)
{
	for (uint64_t at = 0; at < size;) {
		uint64_t n, m;
		bool za, zb;

		if (version_extent(d->a, at, size - at, &n, &za, e) < 0 ||
		    version_extent(d->b, at, size - at, &m, &zb, e) < 0)
			return -1;
		if (m < n)
			n = m;
		if (!(za && zb) && compare(d, at, n, e) < 0)
			return -1;
		at += n;
	}
	return 0;
}

int version_diff(struct version *a, struct version *b, struct extents *out, struct err *e)
{
	uint64_t small = version_size(a), large = version_size(b);
	struct differ d = {a, b, out, xmalloc(PIECE_BYTES), xmalloc(PIECE_BYTES)};
	int result = 0;

	if (small > large) {
		small = version_size(b);
		large = version_size(a);
	}
	if (layout_equal(version_layout(a), version_layout(b))) {
		uint64_t regions = layout_regions(version_layout(a));

		for (uint64_t i = 0; i < regions && result == 0; i++)
			result = compare_region(&d, i, e);
	} else {
		result = compare_all(&d, small, e);
		if (result == 0 && large > small)
			extents_append(out, small, large - small);
	}
	free(d.left);
	free(d.right);
	return result;
}
