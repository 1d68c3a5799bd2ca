// SPDX-License-Identifier: Apache-2.0
#include "copy/wanted.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct wanted_entry {
	struct wanted_entry *next;
	struct name name;
	void **waiters;
	size_t count, cap;
};

static struct wanted_entry **bucket_of(struct wanted *w, const struct name *name)
{
	uint32_t hash;

	memcpy(&hash, name->bytes, sizeof hash);
	return &w->buckets[hash % WANTED_BUCKETS];
}

void wanted_add(struct wanted *w, const struct name *name, void *waiter, bool *asked, bool *again)
{
	struct wanted_entry **bucket = bucket_of(w, name), *entry = *bucket;

	while (entry && name_compare(&entry->name, name) != 0)
		entry = entry->next;
	*asked = entry != NULL;
	/* A region adds all its names before the next one does, so it can only be the last. */
	*again = entry && entry->waiters[entry->count - 1] == waiter;
	if (*again)
		return;
	if (!entry) {
		entry = xcalloc(1, sizeof *entry);
		entry->name = *name;
		entry->next = *bucket;
		*bucket = entry;
	}
	VEC_GROW(entry->waiters, entry->count, entry->cap);
	entry->waiters[entry->count++] = waiter;
}

void wanted_came(struct wanted *w, const struct name *name, wanted_came_fn *came, void *context)
{
	struct wanted_entry **at = bucket_of(w, name), *entry;

	while (*at && name_compare(&(*at)->name, name) != 0)
		at = &(*at)->next;
	entry = *at;
	if (!entry)
		return;
	*at = entry->next;
	for (size_t i = 0; i < entry->count; i++)
		came(context, entry->waiters[i]);
	free(entry->waiters);
	free(entry);
}

void wanted_release(struct wanted *w)
{
	for (size_t i = 0; i < WANTED_BUCKETS; i++) {
		while (w->buckets[i]) {
			struct wanted_entry *entry = w->buckets[i];

			w->buckets[i] = entry->next;
			free(entry->waiters);
			free(entry);
		}
	}
}
