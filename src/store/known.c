// SPDX-License-Identifier: Apache-2.0
#include "store/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void known_init(struct known *k, struct files *files, bool write)
{
	*k = (struct known){.files = files, .write = write};
}

void known_release(struct known *k)
{
	for (size_t i = 0; i < k->count; i++) {
		segments_release(&k->groups[i]->segments);
		nameset_release(&k->groups[i]->pending);
		free(k->groups[i]->text);
		free(k->groups[i]);
	}
	free(k->groups);
	*k = (struct known){0};
}

int known_get(struct known *k, const char *text, struct known_group **out, struct err *e)
{
	for (size_t i = 0; i < k->count; i++)
		if (strcmp(k->groups[i]->text, text) == 0) {
			*out = k->groups[i];
			return 0;
		}
	struct known_group *g = xcalloc(1, sizeof *g);
	char *folder = xasprintf("known/%s", text);
	int result = segments_load(&g->segments, k->files, SEGMENT_KNOWN, folder, k->write, e);
	free(folder);
	if (result < 0) {
		free(g);
		return -1;
	}
	g->text = xstrdup(text);
	VEC_GROW(k->groups, k->count, k->cap);
	k->groups[k->count++] = *out = g;
	return 0;
}

bool known_has(const struct known_group *g, const struct name *name)
{
	return nameset_find(&g->pending, name) >= 0 || segments_find(&g->segments, name, NULL);
}

void known_learn(struct known_group *g, const struct name *name)
{
	if (!known_has(g, name))
		nameset_add(&g->pending, name);
}

void known_forget(struct known *k)
{
	for (size_t i = 0; i < k->count; i++)
		nameset_release(&k->groups[i]->pending);
}

static int group_commit(struct known_group *g, struct err *e)
{
	struct err ignored = {0};
	bool placed;
	size_t bytes = g->pending.count * (size_t)NAME_BYTES;
	uint8_t *entries = xmalloc(bytes);
	memcpy(entries, g->pending.names, bytes);
	segment_sort(entries, g->pending.count);
	struct store_segment part = {
	    .kind = SEGMENT_KNOWN, .entries = entries, .count = g->pending.count};
	int result = segments_add(&g->segments, &part, NULL, &placed, e);
	free(entries);
	if (result < 0)
		return -1;
	nameset_release(&g->pending);
	if (segments_tidy(&g->segments, &ignored) < 0)
		log_debug("store: %s", ignored.text);
	return 0;
}

int known_commit(struct known *k, struct err *e)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->groups[i]->pending.count && group_commit(k->groups[i], e) < 0)
			return -1;
	return 0;
}
