// SPDX-License-Identifier: Apache-2.0
/*
 * Metadata in memory, for tests and short-lived services.
 *
 * A table is an immutable set of sorted arrays of rows, one array for the key and one for each
 * index. Tables and rows are shared by count: a transaction holds the tables it began with, a write
 * transaction copies a table's arrays before its first change of it, and committing exchanges the
 * pointers. So readers never wait, and undoing is forgetting. A scan holds its table too: what its
 * callback writes is not seen by it.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "meta/kind.h"
#include "meta/rows.h"

#define INDEXES_MAX 4

struct kept {
	_Alignas(max_align_t) atomic_uint holders;
	/* the row follows */
};

struct table {
	atomic_uint holders;
	const struct meta_table *meta;
	size_t count, cap;
	struct kept **order[1 + INDEXES_MAX]; /* by key, then by each index */
};

struct memory {
	struct meta meta;
	pthread_mutex_t write;	/* held by the write transaction */
	pthread_mutex_t tables; /* guards the pointers below */
	struct table *committed[];
};

struct memory_tx {
	struct meta_tx tx;
	struct table *table[];
};

static void *row_of(struct kept *k)
{
	return k + 1;
}

static void kept_drop(const struct shape *shape, struct kept *k)
{
	if (atomic_fetch_sub(&k->holders, 1) == 1) {
		shape_release(shape, row_of(k));
		free(k);
	}
}

static struct table *table_hold(struct table *t)
{
	atomic_fetch_add(&t->holders, 1);
	return t;
}

static void table_drop(struct table *t)
{
	if (atomic_fetch_sub(&t->holders, 1) != 1)
		return;
	for (size_t i = 0; i < t->count; i++)
		kept_drop(t->meta->shape, t->order[0][i]);
	for (size_t i = 0; i < COUNT_OF(t->order); i++)
		free(t->order[i]);
	free(t);
}

static struct table *table_new(const struct meta_table *meta)
{
	assert(meta->index_count <= INDEXES_MAX);
	struct table *t = xcalloc(1, sizeof *t);
	t->holders = 1;
	t->meta = meta;
	return t;
}

/* The caller's own table, to change: the same one when nobody else holds it. Takes over `t`. */
static struct table *table_own(struct table *t)
{
	if (atomic_load(&t->holders) == 1)
		return t;
	struct table *own = table_new(t->meta);
	own->count = own->cap = t->count;
	for (unsigned i = 0; i <= t->meta->index_count && t->count; i++) {
		own->order[i] = xreallocarray(NULL, t->count, sizeof **own->order);
		memcpy(own->order[i], t->order[i], t->count * sizeof **own->order);
	}
	for (size_t i = 0; i < own->count; i++)
		atomic_fetch_add(&own->order[0][i]->holders, 1);
	table_drop(t);
	return own;
}

static int compare_text(const char *a, const char *b)
{
	if (!a || !b)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int compare_number(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_rows(const struct field *const *order, unsigned n, void *a, void *b)
{
	int c = 0;
	for (unsigned i = 0; i < n && c == 0; i++)
		c = order[i]->type == FIELD_TEXT
			? compare_text(*field_text(order[i], a), *field_text(order[i], b))
			: compare_number(*field_int(order[i], a), *field_int(order[i], b));
	return c;
}

static int compare_values(const struct field *const *order, unsigned n, void *row,
			  const struct meta_value *values)
{
	int c = 0;
	for (unsigned i = 0; i < n && c == 0; i++)
		c = order[i]->type == FIELD_TEXT
			? compare_text(*field_text(order[i], row), values[i].text)
			: compare_number(*field_int(order[i], row), values[i].number);
	return c;
}

static const char *index_name(const struct table *t, unsigned which)
{
	return which ? t->meta->indexes[which - 1].name : NULL;
}

/* Where the row is, or would be, in that order. */
static size_t place_of_row(const struct table *t, unsigned which, void *row)
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = meta_order(t->meta, index_name(t, which), order);
	size_t low = 0, high = t->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_rows(order, n, row_of(t->order[which][middle]), row) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The first place whose leading `n` columns are not below the values (or, with `after`, are above). */
static size_t place_of_values(const struct table *t, unsigned which, unsigned n,
			      const struct meta_value *values, bool after)
{
	const struct field *order[META_ORDER_MAX];
	meta_order(t->meta, index_name(t, which), order);
	size_t low = 0, high = t->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = compare_values(order, n, row_of(t->order[which][middle]), values);
		if (c < 0 || (after && c == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct kept *find(const struct table *t, const char *key)
{
	struct meta_value value = {.text = key};
	size_t i = place_of_values(t, 0, 1, &value, false);
	if (i < t->count && strcmp(meta_key(t->meta, row_of(t->order[0][i])), key) == 0)
		return t->order[0][i];
	return NULL;
}

static void take_out(struct table *t, struct kept *k)
{
	for (unsigned i = 0; i <= t->meta->index_count; i++) {
		size_t at = place_of_row(t, i, row_of(k));
		assert(t->order[i][at] == k);
		memmove(&t->order[i][at], &t->order[i][at + 1],
			(t->count - at - 1) * sizeof *t->order[i]);
	}
	t->count--;
	kept_drop(t->meta->shape, k);
}

static void put_in(struct table *t, struct kept *k)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 8;
		for (unsigned i = 0; i <= t->meta->index_count; i++)
			t->order[i] = xreallocarray(t->order[i], t->cap, sizeof *t->order[i]);
	}
	for (unsigned i = 0; i <= t->meta->index_count; i++) {
		size_t at = place_of_row(t, i, row_of(k));
		memmove(&t->order[i][at + 1], &t->order[i][at],
			(t->count - at) * sizeof *t->order[i]);
		t->order[i][at] = k;
	}
	t->count++;
}

/* The key of another row that holds the same values of a unique index, or NULL. */
static const char *holder_of(const struct table *t, unsigned which, const void *row)
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = meta_order(t->meta, index_name(t, which), order) - 1;
	struct meta_value values[META_ORDER_MAX] = {0};
	for (unsigned i = 0; i < n; i++) {
		if (order[i]->type == FIELD_TEXT)
			values[i].text = *field_text(order[i], (void *)row);
		else
			values[i].number = *field_int(order[i], (void *)row);
	}
	if (order[0]->type == FIELD_TEXT && !values[0].text)
		return NULL;
	for (size_t i = place_of_values(t, which, n, values, false); i < t->count; i++) {
		void *other = row_of(t->order[which][i]);
		if (compare_values(order, n, other, values) != 0)
			return NULL;
		if (strcmp(meta_key(t->meta, other), meta_key(t->meta, row)) != 0)
			return meta_key(t->meta, other);
	}
	return NULL;
}

static struct table **table_of(struct meta_tx *tx, const struct meta_table *meta)
{
	struct memory_tx *m = (struct memory_tx *)tx;
	for (unsigned i = 0; i < meta_table_count; i++)
		if (meta_tables[i] == meta)
			return &m->table[i];
	assert(!"not a table of meta_tables");
	return NULL;
}

static int memory_open(const char *place, struct meta **out, struct err *e)
{
	if (*place)
		return err_set(
		    e, ERR_INVALID,
		    "memory: keeps nothing outside of the process, so '%s' means nothing", place);
	struct memory *m = xcalloc(1, sizeof *m + meta_table_count * sizeof *m->committed);
	m->meta.ops = &meta_memory_ops;
	pthread_mutex_init(&m->write, NULL);
	pthread_mutex_init(&m->tables, NULL);
	for (unsigned i = 0; i < meta_table_count; i++)
		m->committed[i] = table_new(meta_tables[i]);
	*out = &m->meta;
	return 0;
}

static void memory_close(struct meta *meta)
{
	struct memory *m = (struct memory *)meta;
	for (unsigned i = 0; i < meta_table_count; i++)
		table_drop(m->committed[i]);
	pthread_mutex_destroy(&m->write);
	pthread_mutex_destroy(&m->tables);
	free(m);
}

static int memory_begin(struct meta *meta, bool write, struct meta_tx **out, struct err *e)
{
	(void)e;
	struct memory *m = (struct memory *)meta;
	if (write)
		pthread_mutex_lock(&m->write);
	struct memory_tx *t = xcalloc(1, sizeof *t + meta_table_count * sizeof *t->table);
	t->tx.meta = meta;
	t->tx.write = write;
	pthread_mutex_lock(&m->tables);
	for (unsigned i = 0; i < meta_table_count; i++)
		t->table[i] = table_hold(m->committed[i]);
	pthread_mutex_unlock(&m->tables);
	*out = &t->tx;
	return 0;
}

static int memory_end(struct meta_tx *tx, bool keep, struct err *e)
{
	(void)e;
	struct memory_tx *t = (struct memory_tx *)tx;
	struct memory *m = (struct memory *)tx->meta;
	if (tx->write && keep) {
		pthread_mutex_lock(&m->tables);
		for (unsigned i = 0; i < meta_table_count; i++) {
			struct table *old = m->committed[i];
			m->committed[i] = t->table[i];
			t->table[i] = old;
		}
		pthread_mutex_unlock(&m->tables);
	}
	if (tx->write)
		pthread_mutex_unlock(&m->write);
	for (unsigned i = 0; i < meta_table_count; i++)
		table_drop(t->table[i]);
	free(t);
	return 0;
}

static int memory_get(struct meta_tx *tx, const struct meta_table *meta, const char *key, void *row,
		      struct err *e)
{
	struct kept *k = find(*table_of(tx, meta), key);
	if (!k)
		return err_set(e, ERR_NOT_FOUND, "there is no %s '%.128s'", meta->name, key);
	shape_copy(meta->shape, row, row_of(k));
	return 0;
}

static int memory_put(struct meta_tx *tx, const struct meta_table *meta, const void *row,
		      struct err *e)
{
	struct table **t = table_of(tx, meta);
	for (unsigned i = 0; i < meta->index_count; i++) {
		const char *holder = meta->indexes[i].unique ? holder_of(*t, i + 1, row) : NULL;
		if (holder)
			return meta_conflict(meta, &meta->indexes[i], row, holder, e);
	}
	struct kept *k = xmalloc(sizeof *k + meta->shape->size);
	k->holders = 1;
	shape_copy(meta->shape, row_of(k), row);
	*t = table_own(*t);
	struct kept *old = find(*t, meta_key(meta, row));
	if (old)
		take_out(*t, old);
	put_in(*t, k);
	return 0;
}

static int memory_remove(struct meta_tx *tx, const struct meta_table *meta, const char *key,
			 struct err *e)
{
	struct table **t = table_of(tx, meta);
	if (!find(*t, key))
		return err_set(e, ERR_NOT_FOUND, "there is no %s '%.128s'", meta->name, key);
	*t = table_own(*t);
	take_out(*t, find(*t, key));
	return 0;
}

static unsigned index_number(const struct meta_table *meta, const char *name)
{
	unsigned which = 0;
	for (unsigned i = 0; name && i < meta->index_count; i++)
		if (strcmp(meta->indexes[i].name, name) == 0)
			which = i + 1;
	return which;
}

static int memory_scan(struct meta_tx *tx, const struct meta_table *meta,
		       const struct meta_scan *scan, meta_row_fn *each, void *context,
		       struct err *e)
{
	(void)e;
	struct table *t = table_hold(*table_of(tx, meta));
	unsigned which = index_number(meta, scan->index);
	unsigned equal = scan->equal_count, bound = equal + scan->after_count;
	size_t from = place_of_values(t, which, equal, scan->values, false);
	size_t to = place_of_values(t, which, equal, scan->values, true);
	if (scan->after_count && !scan->descending)
		from = place_of_values(t, which, bound, scan->values, !scan->inclusive);
	else if (scan->after_count)
		to = place_of_values(t, which, bound, scan->values, scan->inclusive);
	int result = 0;
	for (size_t i = 0; from + i < to && result == 0; i++) {
		if (scan->limit && i == scan->limit)
			break;
		size_t at = scan->descending ? to - 1 - i : from + i;
		result = each(context, row_of(t->order[which][at]));
	}
	table_drop(t);
	return result;
}

const struct meta_ops meta_memory_ops = {
    .kind = "memory",
    .open = memory_open,
    .close = memory_close,
    .begin = memory_begin,
    .end = memory_end,
    .get = memory_get,
    .put = memory_put,
    .remove = memory_remove,
    .scan = memory_scan,
};
