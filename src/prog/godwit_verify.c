// SPDX-License-Identifier: Apache-2.0
/* image verify: everything of an image read and hashed. */
#include <stdio.h>

#include "base/text.h"
#include "copy/copy.h"
#include "prog/godwit_local.h"
#include "store/lease.h"

struct verification {
	const struct cli *cli;
	unsigned disk;
	json_t *bad;
};

static void found_bad(void *context, const struct name *name, uint64_t offset, uint64_t length,
		      const struct err *why)
{
	struct verification *v = context;
	char hex[NAME_HEX_BYTES];
	name_hex(name, hex);
	json_array_append_new(v->bad, json_pack("{s:i, s:s, s:I, s:I, s:s}", "disk", (int)v->disk,
						"chunk", hex, "offset", (json_int_t)offset,
						"length", (json_int_t)length, "reason", why->text));
	if (v->cli->json)
		return;
	printf("disk %u, bytes %llu to %llu: chunk %s: ", v->disk, (unsigned long long)offset,
	       (unsigned long long)(offset + length), hex);
	show_text(why->text);
	putchar('\n');
}

static void no_step(void *context, uint64_t done, uint64_t total)
{
	(void)context, (void)done, (void)total;
}

int cmd_image_verify(struct cli *c, struct err *e)
{
	struct local l;
	struct store *store;
	uint64_t all = 0, bad = 0;
	char size[24];
	if (local_open(c, &l, e) < 0)
		return -1;
	struct verification v = {.cli = c, .bad = json_array()};
	int result = store_open(l.store, false, false, &store, e);
	if (result < 0)
		goto out;
	struct lease *lease = NULL;
	struct name roots[LIMIT_DISKS_PER_SERVER];
	for (unsigned i = 0; i < l.count; i++)
		roots[i] = l.serve[i].root;
	result = lease_take(store, roots, l.count, "image verify", &lease, e);
	for (v.disk = 0; v.disk < l.count && result == 0; v.disk++) {
		uint64_t checked = 0, broken = 0;
		result = copy_verify(store, &l.serve[v.disk].root, found_bad, no_step, &v, &checked,
				     &broken, e);
		all += checked;
		bad += broken;
	}
	lease_release(lease);
	store_close(store);
	if (result < 0)
		goto out;
	size_text(all, size);
	if (c->json) {
		json_t *answer = json_pack("{s:s, s:I, s:O}", "imageId", c->args[0], "bytesChecked",
					   (json_int_t)all, "bad", v.bad);
		show_json(answer);
		json_decref(answer);
	} else if (!bad) {
		printf("image %s is whole: %s read and hashed\n", c->args[0], size);
	}
	if (bad)
		result = err_set(e, ERR_CORRUPT, "image %s has %llu bad chunks", c->args[0],
				 (unsigned long long)bad);
out:
	json_decref(v.bad);
	local_release(&l);
	return result;
}
