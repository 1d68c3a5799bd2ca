// SPDX-License-Identifier: Apache-2.0
/*
 * Depots, the end of a collection: what groups are known to have put is cut down to what is there,
 * and an index with many dead entries is written anew. Both files are written without the mutex
 * from segments that are held, and take their place under it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/depot.h"

#define SLICE	      8192
#define STALE_PART    16    /* a group's lists are written anew when this part of them is stale */
#define DEAD_PART     4	    /* the index, when this part is dead */
#define SMALL_ENTRIES 65536 /* or always, as long as it is so small */

/* Segments about to be replaced by one. */
struct rewrite {
	struct segments *segments;
	struct store_segment *parts;
	struct segment_file *files;
	size_t count;
	uint64_t entries, stale;
};

static void rewrite_begin(struct rewrite *w, struct segments *s, const struct segment_file *files,
			  size_t count)
{
	*w = (struct rewrite){.segments = s, .count = count};
	w->files = xcalloc(count, sizeof *w->files);
	w->parts = xcalloc(count, sizeof *w->parts);
	for (size_t i = 0; i < count; i++) {
		w->files[i] = files[i];
		w->parts[i] = files[i].segment;
		w->entries += files[i].segment.count;
	}
}

static void rewrite_release(struct rewrite *w)
{
	for (size_t i = 0; i < w->count; i++) {
		free((void *)(uintptr_t)w->parts[i].keep);
		free((void *)(uintptr_t)w->parts[i].dead_packs);
	}
	free(w->files);
	free(w->parts);
}

static int rewrite_do(struct depot *d, struct rewrite *w, struct err *e)
{
	struct pack_drop *drops;
	struct segment_notes notes = {0};
	uint64_t *numbers;
	bool placed;
	pthread_mutex_lock(&d->mutex);
	char *temp = files_temp(d->files);
	segments_replaced(w->segments, w->files, w->count, &numbers, &notes.replaced_count);
	segments_drops_left(w->segments, w->files, w->count, &drops, &notes.drop_count);
	pthread_mutex_unlock(&d->mutex);
	notes.drops = drops;
	notes.replaced = numbers;
	int fd = segment_write(temp, w->parts, w->count, &notes, e), result = -1;
	if (fd >= 0) {
		pthread_mutex_lock(&d->mutex);
		result = segments_put(w->segments, fd, temp, &placed, e);
		pthread_mutex_unlock(&d->mutex);
	}
	free(numbers);
	free(drops);
	free(temp);
	return result;
}

/* --- the index --- */

static int index_rewrite(struct depot *d, const struct segment_file *files, size_t count,
			 struct err *e)
{
	struct rewrite w;
	int result = 0;
	rewrite_begin(&w, &d->index, files, count);
	pthread_mutex_lock(&d->mutex);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < d->index.count; k++) {
			const struct segment_file *f = &d->index.files[k];
			size_t bytes = f->segment.pack_count / 8 + 1;
			if (f->number != files[i].number || !f->dead_packs)
				continue;
			uint8_t *dead = xmalloc(bytes);
			memcpy(dead, f->dead_packs, bytes);
			w.parts[i].dead_packs = dead;
		}
	pthread_mutex_unlock(&d->mutex);
	for (size_t i = 0; i < count; i++)
		for (uint64_t k = 0; w.parts[i].dead_packs && k < w.parts[i].count; k++) {
			uint32_t pack = segment_pack_at(&w.parts[i], k);
			w.stale += w.parts[i].dead_packs[pack / 8] >> pack % 8 & 1;
		}
	if (w.stale && (w.entries <= SMALL_ENTRIES || w.stale >= w.entries / DEAD_PART))
		result = rewrite_do(d, &w, e);
	rewrite_release(&w);
	return result;
}

/* --- what groups put --- */

/* Which entries of a part are in the index or about to be. */
static void names_look_up(struct depot *d, struct rewrite *w, size_t part)
{
	struct store_segment *s = &w->parts[part];
	uint8_t *keep = xcalloc(1, s->count / 8 + 1);
	for (uint64_t i = 0; i < s->count;) {
		uint64_t to = s->count - i > SLICE ? i + SLICE : s->count;
		pthread_mutex_lock(&d->mutex);
		for (; i < to; i++) {
			struct name name;
			memcpy(name.bytes, s->entries + i * SEGMENT_ENTRY_BYTES, NAME_BYTES);
			if (segments_find(&d->index, &name, NULL) ||
			    nameset_find(&d->pending, &name) >= 0)
				keep[i / 8] |= (uint8_t)(1u << i % 8);
			else
				w->stale++;
		}
		pthread_mutex_unlock(&d->mutex);
	}
	s->keep = keep;
}

static int group_prune(struct depot *d, const char *text, const struct store_collecting *plan,
		       struct err *e)
{
	struct known_group *g;
	struct rewrite w;
	pthread_mutex_lock(&d->mutex);
	int result = known_get(&d->known, text, &g, e);
	if (result == 0) {
		g->segments.hold_below = g->segments.next_number;
		rewrite_begin(&w, &g->segments, g->segments.files, g->segments.count);
	}
	pthread_mutex_unlock(&d->mutex);
	if (result < 0)
		return -1;
	for (size_t i = 0; i < w.count && !(plan->stop && *plan->stop); i++)
		names_look_up(d, &w, i);
	if (!(plan->stop && *plan->stop) && w.stale && w.stale >= w.entries / STALE_PART)
		result = rewrite_do(d, &w, e);
	pthread_mutex_lock(&d->mutex);
	g->segments.hold_below = 0;
	pthread_mutex_unlock(&d->mutex);
	rewrite_release(&w);
	return result;
}

struct groups {
	char **items;
	size_t count, cap;
};

/* `name` is "GROUP/NUMBER.ids". */
static int group_note(void *context, const char *name, struct err *e)
{
	struct groups *groups = context;
	const char *slash = strchr(name, '/');
	(void)e;
	if (!slash)
		return 0;
	size_t n = (size_t)(slash - name);
	for (size_t i = 0; i < groups->count; i++)
		if (strlen(groups->items[i]) == n && memcmp(groups->items[i], name, n) == 0)
			return 0;
	VEC_GROW(groups->items, groups->count, groups->cap);
	groups->items[groups->count++] = xstrndup(name, n);
	return 0;
}

int depot_collect_lists(struct depot *d, const struct segment_file *files, size_t count,
			const struct store_collecting *plan, struct err *e)
{
	struct groups groups = {0};
	int result = d->files->ops->list(d->files, "known", group_note, &groups, e);
	for (size_t i = 0; i < groups.count; i++) {
		if (result == 0)
			result = group_prune(d, groups.items[i], plan, e);
		free(groups.items[i]);
	}
	free(groups.items);
	if (result == 0)
		result = index_rewrite(d, files, count, e);
	return result;
}
