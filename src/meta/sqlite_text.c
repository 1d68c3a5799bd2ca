// SPDX-License-Identifier: Apache-2.0
#include "meta/sqlite_text.h"

#include "base/text.h"
#include "meta/kind.h"

static const char *column_type(const struct field *f)
{
	switch (f->type) {
	case FIELD_INT: return "INTEGER NOT NULL DEFAULT 0";
	case FIELD_TEXT: return "TEXT";
	case FIELD_BYTES:
	case FIELD_LIST: return "BLOB";
	}
	return "";
}

static void add_columns(const struct meta_table *t, struct buf *sql)
{
	for (size_t i = 0; i < t->shape->field_count; i++)
		buf_printf(sql, "%s\"%s\"", i ? "," : "", t->shape->fields[i].name);
}

static const char *key_name(const struct meta_table *t)
{
	return t->shape->fields[0].name;
}

void sqlite_text_create(const struct meta_table *t, struct buf *sql)
{
	buf_printf(sql, "CREATE TABLE \"%s\"(\"%s\" TEXT NOT NULL PRIMARY KEY", t->name,
		   key_name(t));
	for (size_t i = 1; i < t->shape->field_count; i++)
		buf_printf(sql, ",\"%s\" %s", t->shape->fields[i].name,
			   column_type(&t->shape->fields[i]));
	buf_add_str(sql, ") WITHOUT ROWID;\n");
	for (unsigned i = 0; i < t->index_count; i++) {
		const struct meta_index *index = &t->indexes[i];
		buf_printf(sql, "CREATE %sINDEX \"%s_%s\" ON \"%s\"(",
			   index->unique ? "UNIQUE " : "", t->name, index->name, t->name);
		for (unsigned k = 0; k < COUNT_OF(index->columns) && index->columns[k]; k++)
			buf_printf(sql, "%s\"%s\"", k ? "," : "", index->columns[k]);
		buf_add_str(sql, ");\n"); /* the key follows by itself: WITHOUT ROWID */
	}
}

void sqlite_text_get(const struct meta_table *t, struct buf *sql)
{
	buf_add_str(sql, "SELECT ");
	add_columns(t, sql);
	buf_printf(sql, " FROM \"%s\" WHERE \"%s\"=?", t->name, key_name(t));
}

void sqlite_text_put(const struct meta_table *t, struct buf *sql)
{
	buf_printf(sql, "INSERT INTO \"%s\"(", t->name);
	add_columns(t, sql);
	buf_add_str(sql, ")VALUES(?");
	for (size_t i = 1; i < t->shape->field_count; i++)
		buf_add_str(sql, ",?");
	/* Not REPLACE, which would silently delete the row that a unique index protects. */
	buf_printf(sql, ")ON CONFLICT(\"%s\")DO UPDATE SET ", key_name(t));
	for (size_t i = 1; i < t->shape->field_count; i++)
		buf_printf(sql, "%s\"%s\"=excluded.\"%s\"", i > 1 ? "," : "",
			   t->shape->fields[i].name, t->shape->fields[i].name);
}

void sqlite_text_remove(const struct meta_table *t, struct buf *sql)
{
	buf_printf(sql, "DELETE FROM \"%s\" WHERE \"%s\"=?", t->name, key_name(t));
}

void sqlite_text_holder(const struct meta_table *t, const struct meta_index *index, struct buf *sql)
{
	buf_printf(sql, "SELECT \"%s\" FROM \"%s\" WHERE ", key_name(t), t->name);
	for (unsigned k = 0; k < COUNT_OF(index->columns) && index->columns[k]; k++)
		buf_printf(sql, "\"%s\" IS ? AND ", index->columns[k]);
	buf_printf(sql, "\"%s\"<>? LIMIT 1", key_name(t));
}

unsigned sqlite_text_stretches(const struct meta_table *t, const struct meta_scan *scan,
			       struct sqlite_stretch out[SQLITE_STRETCHES_MAX])
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = 0, last = scan->equal_count + scan->after_count;
	unsigned key = meta_order(t, scan->index, order) - 1; /* never NULL */
	if (scan->after_count == 0 || scan->inclusive)
		out[n++] = (struct sqlite_stretch){last, RANGE_NONE};
	for (unsigned i = last; i > scan->equal_count; i--) {
		bool text = order[i - 1]->type == FIELD_TEXT && i - 1 != key;
		bool null = text && !scan->values[i - 1].text;
		if (!scan->descending)
			out[n++] = (struct sqlite_stretch){i - 1, RANGE_OVER};
		else if (!null)
			out[n++] = (struct sqlite_stretch){i - 1, RANGE_UNDER};
		if (scan->descending && text && !null)
			out[n++] = (struct sqlite_stretch){i - 1, RANGE_NULL};
	}
	return n;
}

bool sqlite_text_takes_value(const struct field *column, const struct meta_value *value,
			     const struct sqlite_stretch *stretch, unsigned i)
{
	if (i == stretch->equal && stretch->range == RANGE_NULL)
		return false;
	return column->type != FIELD_TEXT || value->text;
}

void sqlite_text_scan(const struct meta_table *t, const struct meta_scan *scan,
		      const struct sqlite_stretch *stretch, struct buf *sql)
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = meta_order(t, scan->index, order);
	buf_add_str(sql, "SELECT ");
	add_columns(t, sql);
	buf_printf(sql, " FROM \"%s\"", t->name);
	if (scan->index) /* an error rather than a walk through the table if it were of no use */
		buf_printf(sql, " INDEXED BY \"%s_%s\"", t->name, scan->index);
	for (unsigned i = 0; i < stretch->equal + (stretch->range != RANGE_NONE); i++) {
		bool value = sqlite_text_takes_value(order[i], &scan->values[i], stretch, i);
		const char *test = value ? "=?" : " IS NULL";
		if (i == stretch->equal && stretch->range == RANGE_OVER)
			test = value ? ">?" : " IS NOT NULL";
		else if (i == stretch->equal && stretch->range == RANGE_UNDER)
			test = "<?";
		buf_printf(sql, " %s \"%s\"%s", i ? "AND" : "WHERE", order[i]->name, test);
	}
	buf_add_str(sql, " ORDER BY ");
	for (unsigned i = 0; i < n; i++)
		buf_printf(sql, "%s\"%s\"%s", i ? "," : "", order[i]->name,
			   scan->descending ? " DESC" : "");
}
