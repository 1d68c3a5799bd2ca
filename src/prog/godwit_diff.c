// SPDX-License-Identifier: Apache-2.0
/* image diff: where two images differ, in bytes of their disks or in files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "prog/godwit_local.h"
#include "store/lease.h"
#include "store/lease.h"

#define CACHE_BYTES (64 * MIB)

struct pair {
	struct cli *cli;
	struct local a, b;
};

static const char *key_of(const struct local *l, unsigned disk)
{
	return text_of(json_array_get(l->disks, disk), "key");
}

/* The disk of `b` that is this disk of `a`; -1 when there is none. */
static int counterpart(const struct local *a, unsigned disk, const struct local *b)
{
	for (unsigned i = 0; i < b->count; i++)
		if (strcmp(key_of(a, disk), key_of(b, i)) == 0)
			return (int)i;
	return -1;
}

/* --- in bytes --- */

static int diff_disk(struct store *store, const struct name *a, const struct name *b,
		     struct extents *out, struct err *e)
{
	struct version_cache *cache = version_cache_new(CACHE_BYTES);
	const struct name roots[] = {*a, *b};
	struct version *va = NULL, *vb = NULL;
	struct lease *lease = NULL;
	int result = -1;

	if (lease_take(store, roots, COUNT_OF(roots), "image diff", &lease, e) == 0 &&
	    version_open(store, a, cache, &va, e) == 0 &&
	    version_open(store, b, cache, &vb, e) == 0)
		result = version_diff(va, vb, out, e);
	version_close(va);
	version_close(vb);
	version_cache_free(cache);
	lease_release(lease);
	return result;
}

static json_t *extents_json(const struct extents *list)
{
	json_t *out = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(out, json_pack("{s:I, s:I}", "offset",
						     (json_int_t)list->items[i].offset, "length",
						     (json_int_t)list->items[i].length));
	return out;
}

static void show_disk(const struct cli *c, const char *key, const struct extents *changed,
		      json_t *disks)
{
	uint64_t total = extents_total(changed);
	char size[24];

	if (c->json) {
		json_array_append_new(disks, json_pack("{s:s, s:I, s:o}", "key", key,
						       "bytesChanged", (json_int_t)total, "extents",
						       extents_json(changed)));
		return;
	}
	size_text(total, size);
	printf("disk ");
	show_text(key);
	printf(": %s in %zu places\n", size, changed->count);
	for (size_t i = 0; i < changed->count; i++)
		printf("  %llu %llu\n", (unsigned long long)changed->items[i].offset,
		       (unsigned long long)changed->items[i].length);
}

static void show_lonely(const struct cli *c, const char *key, const char *image, json_t *disks)
{
	if (c->json) {
		json_array_append_new(disks, json_pack("{s:s, s:s}", "key", key, "only", image));
		return;
	}
	printf("disk ");
	show_text(key);
	printf(": only in %s\n", image);
}

static int diff_bytes(struct pair *p, struct err *e)
{
	struct cli *c = p->cli;
	json_t *disks = json_array();
	uint64_t total = 0;
	struct store *store;
	struct lease *lease = NULL;
	struct name roots[2 * LIMIT_DISKS_PER_SERVER];
	unsigned root_count = 0;
	int result = store_open(p->a.store, false, false, &store, e);

	for (unsigned i = 0; i < p->a.count; i++)
		roots[root_count++] = p->a.serve[i].root;
	for (unsigned i = 0; i < p->b.count; i++)
		roots[root_count++] = p->b.serve[i].root;
	if (result == 0)
		result = lease_take(store, roots, root_count, "image diff", &lease, e);

	for (unsigned i = 0; i < p->a.count && result == 0; i++) {
		int k = counterpart(&p->a, i, &p->b);
		struct extents changed = {0};

		if (k < 0) {
			show_lonely(c, key_of(&p->a, i), c->args[0], disks);
			continue;
		}
		result = diff_disk(store, &p->a.serve[i].root, &p->b.serve[k].root, &changed, e);
		total += extents_total(&changed);
		if (result == 0)
			show_disk(c, key_of(&p->a, i), &changed, disks);
		extents_release(&changed);
	}
	for (unsigned i = 0; i < p->b.count && result == 0; i++)
		if (counterpart(&p->b, i, &p->a) < 0)
			show_lonely(c, key_of(&p->b, i), c->args[1], disks);
	if (result == 0 && c->json) {
		json_t *answer = json_pack("{s:s, s:s, s:I, s:O}", "from", c->args[0], "to",
					   c->args[1], "bytesChanged", (json_int_t)total, "disks",
					   disks);

		show_json(answer);
		json_decref(answer);
	}
	json_decref(disks);
	lease_release(lease);
	if (store)
		store_close(store);
	return result;
}

int cmd_image_diff(struct cli *c, struct err *e)
{
	struct pair p = {.cli = c};
	int result = local_open_image(c, c->args[0], &p.a, e);

	if (result < 0)
		return -1;
	result = local_open_image(c, c->args[1], &p.b, e);
	if (result == 0) {
		result = cli_value(c, "files") ? diff_files(c, &p.a, &p.b, e) : diff_bytes(&p, e);
		local_release(&p.b);
	}
	local_release(&p.a);
	return result;
}
