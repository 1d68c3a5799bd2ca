// SPDX-License-Identifier: Apache-2.0
#include "store/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/disk.h"

void known_init(struct known *k, const char *dir, const char *lost)
{
	*k = (struct known){.dir = xstrdup(dir), .lost = xstrdup(lost)};
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
	free(k->dir);
	free(k->lost);
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
	char *dir = xasprintf("%s/%s", k->dir, text);
	int result = segments_load(&g->segments, SEGMENT_KNOWN, dir, k->lost, e);
	free(dir);
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

static int group_commit(const struct known *k, struct known_group *g, const char *temp,
			struct err *e)
{
	struct err ignored = {0};
	bool renamed;
	size_t bytes = g->pending.count * (size_t)NAME_BYTES;
	if (!g->segments.count &&
	    (disk_make_dir(g->segments.dir, e) < 0 || disk_sync_dir(k->dir, e) < 0))
		return -1;
	uint8_t *entries = xmalloc(bytes);
	memcpy(entries, g->pending.names, bytes);
	segment_sort(entries, g->pending.count);
	struct store_segment part = {
	    .kind = SEGMENT_KNOWN, .entries = entries, .count = g->pending.count};
	int result = segments_add(&g->segments, &part, temp, &renamed, e);
	free(entries);
	if (result < 0)
		return -1;
	nameset_release(&g->pending);
	if (segments_tidy(&g->segments, temp, &ignored) < 0)
		log_debug("store: %s", ignored.text);
	return 0;
}

int known_commit(struct known *k, const char *temp, struct err *e)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->groups[i]->pending.count && group_commit(k, k->groups[i], temp, e) < 0)
			return -1;
	return 0;
}
