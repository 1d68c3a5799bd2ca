// SPDX-License-Identifier: Apache-2.0
/*
 * Kind memory: a store that lives as long as someone has it open. "memory:" is private to its
 * opener, "memory:NAME" is shared by all in this process that open that name.
 *
 * Everything is kept in the order it was put; `committed` marks how much of it readers see, and
 * what the writer leaves uncommitted when it closes is forgotten, as a crash forgets it elsewhere.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/shape.h"
#include "base/text.h"
#include "store/kind.h"
#include "store/nameset.h"

struct kept {
	uint16_t codec, kind;
	uint32_t plain_len, stored_len;
	uint8_t *stored;
};

struct group {
	char *text;
	struct nameset known;
	uint32_t committed;
};

struct ref {
	char *text;
	struct bytes data;
};

/* What all openers of one name share. */
struct shelf {
	struct shelf *next;
	char *place;
	char identity[ID_BYTES];
	unsigned openers;
	bool has_writer;
	pthread_mutex_t mutex;
	struct nameset names;
	struct kept *kept; /* by the position of the name */
	uint32_t kept_cap, committed;
	uint64_t bytes;
	struct group *groups;
	size_t group_count, group_cap;
	struct ref *refs;
	size_t ref_count, ref_cap;
	struct marking *marking; /* of a collection that runs */
};

/* By position of the names that were there when the collection began. */
struct marking {
	struct store_live live; /* first */
	struct shelf *shelf;
	uint32_t count;
	uint8_t *nodes, *leaves;
};

struct memory {
	struct store base;
	struct shelf *shelf;
};

static struct shelf *shelves; /* those with a name */
static pthread_mutex_t shelves_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct shelf *shelf_find(const char *place)
{
	struct shelf *shelf = shelves;
	while (shelf && strcmp(shelf->place, place) != 0)
		shelf = shelf->next;
	return *place ? shelf : NULL;
}

static struct shelf *shelf_new(const char *place)
{
	struct shelf *shelf = xcalloc(1, sizeof *shelf);
	shelf->place = xstrdup(place);
	id_make(shelf->identity, "memory-", 16);
	pthread_mutex_init(&shelf->mutex, NULL);
	if (*place) {
		shelf->next = shelves;
		shelves = shelf;
	}
	return shelf;
}

static void shelf_forget_uncommitted(struct shelf *shelf)
{
	for (uint32_t i = shelf->committed; i < shelf->names.count; i++) {
		shelf->bytes -= shelf->kept[i].stored_len;
		free(shelf->kept[i].stored);
	}
	nameset_truncate(&shelf->names, shelf->committed);
	for (size_t i = 0; i < shelf->group_count; i++)
		nameset_truncate(&shelf->groups[i].known, shelf->groups[i].committed);
}

static void shelf_free(struct shelf *shelf)
{
	for (struct shelf **at = &shelves; *at; at = &(*at)->next)
		if (*at == shelf) {
			*at = shelf->next;
			break;
		}
	shelf->committed = 0;
	for (size_t i = 0; i < shelf->group_count; i++) {
		shelf->groups[i].committed = 0;
		free(shelf->groups[i].text);
	}
	shelf_forget_uncommitted(shelf);
	for (size_t i = 0; i < shelf->ref_count; i++) {
		free(shelf->refs[i].text);
		free(shelf->refs[i].data.data);
	}
	pthread_mutex_destroy(&shelf->mutex);
	free(shelf->place);
	free(shelf->kept);
	free(shelf->groups);
	free(shelf->refs);
	free(shelf);
}

static int memory_open(const char *place, bool write, bool create, struct store **out,
		       struct err *e)
{
	int result = -1;
	pthread_mutex_lock(&shelves_mutex);
	struct shelf *shelf = shelf_find(place);
	if (!shelf && !create) {
		err_set(e, ERR_NOT_FOUND, "there is no store memory:%.200s in this process", place);
		goto out;
	}
	if (shelf && write && shelf->has_writer) {
		err_set(e, ERR_BUSY, "store memory:%.200s has a writer already", place);
		goto out;
	}
	if (!shelf)
		shelf = shelf_new(place);
	shelf->openers++;
	shelf->has_writer |= write;
	struct memory *m = xcalloc(1, sizeof *m);
	m->shelf = shelf;
	strcpy(m->base.facts.identity, shelf->identity);
	*out = &m->base;
	result = 0;
out:
	pthread_mutex_unlock(&shelves_mutex);
	return result;
}

static void memory_close(struct store *s)
{
	struct memory *m = (struct memory *)s;
	struct shelf *shelf = m->shelf;
	pthread_mutex_lock(&shelves_mutex);
	if (s->facts.writable) {
		pthread_mutex_lock(&shelf->mutex);
		shelf_forget_uncommitted(shelf);
		shelf->has_writer = false;
		pthread_mutex_unlock(&shelf->mutex);
	}
	if (--shelf->openers == 0)
		shelf_free(shelf);
	pthread_mutex_unlock(&shelves_mutex);
	free(m);
}

static struct group *group_find(struct shelf *shelf, const char *text)
{
	for (size_t i = 0; i < shelf->group_count; i++)
		if (strcmp(shelf->groups[i].text, text) == 0)
			return &shelf->groups[i];
	return NULL;
}

/* The position of a name that this opener may see, or -1. */
static int64_t visible(const struct store *s, const struct nameset *set, uint32_t committed,
		       const struct name *name)
{
	int64_t at = nameset_find(set, name);
	return s->facts.writable || at < (int64_t)committed ? at : -1;
}

/* Somebody relies on this name from now on. */
static void pin(struct shelf *shelf, int64_t at)
{
	if (shelf->marking && at < (int64_t)shelf->marking->count)
		shelf->marking->leaves[at] = 1;
}

static int memory_has(struct store *s, const char *group, const struct name *names, size_t n,
		      uint8_t *have, struct err *e)
{
	(void)e;
	struct shelf *shelf = ((struct memory *)s)->shelf;
	pthread_mutex_lock(&shelf->mutex);
	const struct group *g = group ? group_find(shelf, group) : NULL;
	for (size_t i = 0; i < n; i++) {
		if (group && (!g || visible(s, &g->known, g->committed, &names[i]) < 0))
			continue;
		int64_t at = visible(s, &shelf->names, shelf->committed, &names[i]);
		have[i] = at >= 0;
		if (at >= 0)
			pin(shelf, at);
	}
	pthread_mutex_unlock(&shelf->mutex);
	return 0;
}

static void group_learn(struct shelf *shelf, const char *text, const struct name *name)
{
	struct group *g = group_find(shelf, text);
	if (!g) {
		VEC_GROW(shelf->groups, shelf->group_count, shelf->group_cap);
		g = &shelf->groups[shelf->group_count++];
		*g = (struct group){.text = xstrdup(text)};
	}
	if (nameset_find(&g->known, name) < 0)
		nameset_add(&g->known, name);
}

static int memory_put(struct store *s, const char *group, const struct record *r, struct err *e)
{
	(void)e;
	struct shelf *shelf = ((struct memory *)s)->shelf;
	int result = 0;
	pthread_mutex_lock(&shelf->mutex);
	int64_t there = nameset_find(&shelf->names, &r->name);
	if (there >= 0) {
		pin(shelf, there);
	} else {
		VEC_GROW(shelf->kept, shelf->names.count, shelf->kept_cap);
		struct kept *kept = &shelf->kept[nameset_add(&shelf->names, &r->name)];
		*kept = (struct kept){r->codec, r->kind, r->plain_len, r->stored_len, NULL};
		kept->stored = xmalloc(r->stored_len);
		memcpy(kept->stored, r->stored, r->stored_len);
		shelf->bytes += r->stored_len;
		result = 1;
	}
	if (group)
		group_learn(shelf, group, &r->name);
	pthread_mutex_unlock(&shelf->mutex);
	return result;
}

static int memory_get(struct store *s, const struct name *name, struct record *r,
		      struct buf *stored, struct err *e)
{
	struct shelf *shelf = ((struct memory *)s)->shelf;
	int result = 0;
	pthread_mutex_lock(&shelf->mutex);
	int64_t at = visible(s, &shelf->names, shelf->committed, name);
	if (at >= 0) {
		const struct kept *kept = &shelf->kept[at];
		*r = (struct record){.name = *name,
				     .codec = kept->codec,
				     .kind = kept->kind,
				     .plain_len = kept->plain_len,
				     .stored_len = kept->stored_len};
		buf_add(stored, kept->stored, kept->stored_len);
	} else {
		char hex[NAME_HEX_BYTES];
		name_hex(name, hex);
		result = err_set(e, ERR_NOT_FOUND, "chunk %s is not in the store memory:%.200s",
				 hex, shelf->place);
	}
	pthread_mutex_unlock(&shelf->mutex);
	return result;
}

static int memory_commit(struct store *s, struct store_space *space, struct err *e)
{
	(void)e;
	struct shelf *shelf = ((struct memory *)s)->shelf;
	pthread_mutex_lock(&shelf->mutex);
	shelf->committed = shelf->names.count;
	for (size_t i = 0; i < shelf->group_count; i++)
		shelf->groups[i].committed = shelf->groups[i].known.count;
	*space = (struct store_space){.stored_bytes = shelf->bytes};
	pthread_mutex_unlock(&shelf->mutex);
	return 0;
}

static int memory_ref_set(struct store *s, const char *ref, const void *data, size_t n,
			  struct err *e)
{
	(void)e;
	struct shelf *shelf = ((struct memory *)s)->shelf;
	pthread_mutex_lock(&shelf->mutex);
	size_t at = 0;
	while (at < shelf->ref_count && strcmp(shelf->refs[at].text, ref) != 0)
		at++;
	if (data) {
		if (at == shelf->ref_count) {
			VEC_GROW(shelf->refs, shelf->ref_count, shelf->ref_cap);
			shelf->refs[shelf->ref_count++] = (struct ref){.text = xstrdup(ref)};
		}
		bytes_set(&shelf->refs[at].data, data, n);
	} else if (at < shelf->ref_count) {
		free(shelf->refs[at].text);
		free(shelf->refs[at].data.data);
		shelf->refs[at] = shelf->refs[--shelf->ref_count];
	}
	pthread_mutex_unlock(&shelf->mutex);
	return 0;
}

static int memory_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e)
{
	(void)e;
	struct shelf *shelf = ((struct memory *)s)->shelf;
	/* `each` may call the store, so it runs on a copy and outside of the lock. */
	pthread_mutex_lock(&shelf->mutex);
	size_t count = shelf->ref_count;
	struct ref *refs = xcalloc(count, sizeof *refs);
	for (size_t i = 0; i < count; i++) {
		refs[i].text = xstrdup(shelf->refs[i].text);
		bytes_set(&refs[i].data, shelf->refs[i].data.data, shelf->refs[i].data.len);
	}
	pthread_mutex_unlock(&shelf->mutex);
	int result = 0;
	for (size_t i = 0; i < count; i++) {
		if (result == 0)
			result = each(context, refs[i].text, refs[i].data.data, refs[i].data.len);
		free(refs[i].text);
		free(refs[i].data.data);
	}
	free(refs);
	return result;
}

/* --- collecting --- */

static void memory_live_add(struct store_live *live, enum live_kind kind, const struct name *names,
			    size_t n, uint8_t *states)
{
	struct marking *m = (struct marking *)live;
	uint8_t *marks = kind == LIVE_NODE ? m->nodes : m->leaves;
	pthread_mutex_lock(&m->shelf->mutex);
	for (size_t i = 0; i < n; i++) {
		int64_t at = nameset_find(&m->shelf->names, &names[i]);
		enum live_state state = at < 0 ? LIVE_MISSING : LIVE_FRESH;
		if (at >= 0 && at < (int64_t)m->count) {
			state = marks[at] ? LIVE_KNOWN : LIVE_FRESH;
			marks[at] = 1;
		}
		if (states)
			states[i] = (uint8_t)state;
	}
	pthread_mutex_unlock(&m->shelf->mutex);
}

static void marking_count(const struct marking *m, struct store_collected *out)
{
	for (uint32_t i = 0; i < m->count; i++) {
		bool live = m->nodes[i] || m->leaves[i];
		out->names++;
		out->live_names += live;
		out->record_bytes += m->shelf->kept[i].stored_len;
		out->live_bytes += live ? m->shelf->kept[i].stored_len : 0;
	}
}

static void shelf_sweep(struct shelf *shelf, const struct marking *m, struct store_collected *out)
{
	struct nameset all = shelf->names;
	uint32_t committed = 0;
	shelf->names = (struct nameset){0};
	for (uint32_t i = 0; i < all.count; i++) {
		if (i < m->count && !m->nodes[i] && !m->leaves[i]) {
			out->freed_bytes += shelf->kept[i].stored_len;
			shelf->bytes -= shelf->kept[i].stored_len;
			free(shelf->kept[i].stored);
			continue;
		}
		shelf->kept[nameset_add(&shelf->names, &all.names[i])] = shelf->kept[i];
		committed += i < shelf->committed;
	}
	shelf->committed = committed;
	nameset_release(&all);
}

static void group_prune(const struct shelf *shelf, struct group *g)
{
	struct nameset all = g->known;
	uint32_t committed = 0;
	g->known = (struct nameset){0};
	for (uint32_t i = 0; i < all.count; i++) {
		if (nameset_find(&shelf->names, &all.names[i]) < 0)
			continue;
		nameset_add(&g->known, &all.names[i]);
		committed += i < g->committed;
	}
	g->committed = committed;
	nameset_release(&all);
}

static int memory_collect(struct store *s, const struct store_collecting *plan,
			  struct store_collected *out, struct err *e)
{
	struct shelf *shelf = ((struct memory *)s)->shelf;
	struct marking m = {.live = {memory_live_add}, .shelf = shelf};
	pthread_mutex_lock(&shelf->mutex);
	bool busy = shelf->marking;
	if (!busy) {
		m.count = shelf->names.count;
		m.nodes = xcalloc(1, m.count + 1);
		m.leaves = xcalloc(1, m.count + 1);
		shelf->marking = &m;
	}
	pthread_mutex_unlock(&shelf->mutex);
	if (busy)
		return err_set(e, ERR_BUSY, "store memory:%.200s is being collected already",
			       shelf->place);
	int result = plan->mark(plan->context, &m.live, e);
	pthread_mutex_lock(&shelf->mutex);
	if (result == 0)
		marking_count(&m, out);
	if (result == 0 && !plan->dry) {
		shelf_sweep(shelf, &m, out);
		for (size_t i = 0; i < shelf->group_count; i++)
			group_prune(shelf, &shelf->groups[i]);
	}
	shelf->marking = NULL;
	pthread_mutex_unlock(&shelf->mutex);
	free(m.nodes);
	free(m.leaves);
	return result;
}

const struct store_ops store_memory_ops = {
    .kind = "memory",
    .open = memory_open,
    .close = memory_close,
    .has = memory_has,
    .put = memory_put,
    .get = memory_get,
    .commit = memory_commit,
    .ref_set = memory_ref_set,
    .ref_each = memory_ref_each,
    .collect = memory_collect,
};
