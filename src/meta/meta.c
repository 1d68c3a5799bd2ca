// SPDX-License-Identifier: Apache-2.0
#include "meta/meta.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "meta/kind.h"
#include "meta/rows.h"

static const struct meta_ops *const kinds[] = {&meta_sqlite_ops, &meta_memory_ops};

const char *meta_key(const struct meta_table *t, const void *row)
{
	const struct field *f = &t->shape->fields[0];
	assert(f->type == FIELD_TEXT);
	return *field_text(f, (void *)row);
}

static const struct field *field_named(const struct meta_table *t, const char *name)
{
	for (size_t i = 0; i < t->shape->field_count; i++)
		if (strcmp(t->shape->fields[i].name, name) == 0)
			return &t->shape->fields[i];
	assert(!"an index names a column that is not in the shape");
	return NULL;
}

unsigned meta_order(const struct meta_table *t, const char *index,
		    const struct field *order[META_ORDER_MAX])
{
	const struct field *key = &t->shape->fields[0];
	unsigned n = 0;
	if (index) {
		const struct meta_index *found = NULL;
		for (unsigned i = 0; i < t->index_count; i++)
			if (strcmp(t->indexes[i].name, index) == 0)
				found = &t->indexes[i];
		assert(found && "no index of that name");
		for (unsigned i = 0; i < COUNT_OF(found->columns) && found->columns[i]; i++)
			if (strcmp(found->columns[i], key->name) != 0)
				order[n++] = field_named(t, found->columns[i]);
	}
	order[n++] = key;
	return n;
}

int meta_conflict(const struct meta_table *t, const struct meta_index *index, const void *row,
		  const char *holder, struct err *e)
{
	return err_set(
	    e, ERR_CONFLICT, "%s '%s' cannot be kept: %s '%s' has the same %s%s%s already", t->name,
	    meta_key(t, row), t->name, holder, index->columns[0], index->columns[1] ? " and " : "",
	    index->columns[1] ? index->columns[1] : "");
}

/* A row is within the bounds of its shape; what is outside was let in somewhere it should not. */
static int fits(const struct shape *shape, const void *object, const char *table, const char *key,
		enum err_kind kind, struct err *e)
{
	void *o = (void *)object; /* only read */
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: {
			int64_t n = *field_int(f, o);
			if (f->max && (n < 0 || (uint64_t)n > f->max))
				return err_set(e, kind,
					       "%s '%.64s': %s is %" PRId64 ", not 0 to %" PRIu64,
					       table, key, f->name, n, f->max);
			break;
		}
		case FIELD_TEXT: {
			const char *text = *field_text(f, o);
			size_t n = text ? strlen(text) : 0;
			if (n > f->max)
				return err_set(e, kind,
					       "%s '%.64s': %s has %zu bytes, more than %" PRIu64,
					       table, key, f->name, n, f->max);
			if (n && utf8_valid(text, n) != n)
				return err_set(e, kind, "%s '%.64s': %s is not UTF-8", table, key,
					       f->name);
			break;
		}
		case FIELD_BYTES:
			if (field_bytes(f, o)->len > f->max)
				return err_set(e, kind,
					       "%s '%.64s': %s has %zu bytes, more than %" PRIu64,
					       table, key, f->name, field_bytes(f, o)->len, f->max);
			break;
		case FIELD_LIST: {
			const struct list *list = field_list(f, o);
			if (list->count > f->max)
				return err_set(e, kind,
					       "%s '%.64s': %s has %zu items, more than %" PRIu64,
					       table, key, f->name, list->count, f->max);
			for (size_t k = 0; k < list->count; k++)
				if (fits(f->of, (char *)list->items + k * f->of->size, table, key,
					 kind, e) < 0)
					return -1;
			break;
		}
		}
	}
	return 0;
}

int meta_open(const char *where, struct meta **out, struct err *e)
{
	*out = NULL;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		size_t n = strlen(kinds[i]->kind);
		if (strncmp(where, kinds[i]->kind, n) == 0 && where[n] == ':') {
			if (kinds[i]->open(where + n + 1, out, e) < 0)
				return -1;
			assert(*out && (*out)->ops == kinds[i]);
			return 0;
		}
	}
	return err_set(
	    e, ERR_INVALID,
	    "'%s' names no place for metadata; say sqlite:/path/to/file or memory:", where);
}

void meta_close(struct meta *m)
{
	if (m)
		m->ops->close(m);
}

int meta_begin(struct meta *m, bool write, struct meta_tx **out, struct err *e)
{
	*out = NULL;
	if (m->ops->begin(m, write, out, e) < 0)
		return -1;
	assert(*out && (*out)->meta == m && (*out)->write == write);
	return 0;
}

int meta_end(struct meta_tx *tx, bool keep, struct err *e)
{
	bool undone = tx->write && keep && tx->failed;
	if (tx->meta->ops->end(tx, keep && !undone, e) < 0)
		return -1;
	if (undone)
		return err_set(e, ERR_CONFLICT,
			       "nothing of this change was kept, because a part of it failed");
	return 0;
}

int meta_get(struct meta_tx *tx, const struct meta_table *t, const char *key, void *row,
	     struct err *e)
{
	assert(key);
	memset(row, 0, t->shape->size);
	if (tx->meta->ops->get(tx, t, key, row, e) < 0)
		return -1;
	assert(text_equal(meta_key(t, row), key));
	if (fits(t->shape, row, t->name, key, ERR_CORRUPT, e) < 0) {
		shape_release(t->shape, row);
		return -1;
	}
	return 0;
}

int meta_put(struct meta_tx *tx, const struct meta_table *t, const void *row, struct err *e)
{
	assert(tx->write);
	const char *key = meta_key(t, row);
	assert(key);
	if (fits(t->shape, row, t->name, key, ERR_INVALID, e) < 0 ||
	    tx->meta->ops->put(tx, t, row, e) < 0) {
		tx->failed = true;
		return -1;
	}
	return 0;
}

int meta_delete(struct meta_tx *tx, const struct meta_table *t, const char *key, struct err *e)
{
	assert(tx->write && key);
	struct err own = {0};
	if (tx->meta->ops->remove(tx, t, key, &own) == 0)
		return 0;
	if (own.kind != ERR_NOT_FOUND)
		tx->failed = true;
	return err_set(e, own.kind, "%s", own.text);
}

struct checked_scan {
	const struct meta_table *table;
	meta_row_fn *each;
	void *context;
	struct err *e;
};

static int check_row(void *context, const void *row)
{
	struct checked_scan *c = context;
	if (fits(c->table->shape, row, c->table->name, meta_key(c->table, row), ERR_CORRUPT, c->e))
		return -1;
	return c->each(c->context, row);
}

int meta_scan(struct meta_tx *tx, const struct meta_table *t, const struct meta_scan *scan,
	      meta_row_fn *each, void *context, struct err *e)
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = meta_order(t, scan->index, order);
	assert(scan->equal_count + scan->after_count <= n);
	for (unsigned i = 0; i < n; i++)
		assert(order[i]->type == FIELD_TEXT || order[i]->type == FIELD_INT);
	struct checked_scan c = {.table = t, .each = each, .context = context, .e = e};
	return tx->meta->ops->scan(tx, t, scan, check_row, &c, e);
}
