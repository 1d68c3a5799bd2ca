// SPDX-License-Identifier: Apache-2.0
/* What every kind of metadata keeps to, against each of them; and what is special about sqlite. */
#include "../unit/test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/mem.h"
#include "base/text.h"
#include "meta/rows.h"
#include "meta/sqlite_text.h"

#define TEXT(literal) ((char *)(literal)) /* rows own theirs; these are only read */

struct place {
	const char *kind;
	char folder[64];
	char where[128];
	struct meta *meta;
};

static int open_place(struct place *p, const char *kind)
{
	p->kind = kind;
	snprintf(p->folder, sizeof p->folder, "/tmp/godwit-meta-XXXXXX");
	if (!mkdtemp(p->folder))
		return -1;
	snprintf(p->where, sizeof p->where, "memory:");
	if (strcmp(kind, "sqlite") == 0)
		snprintf(p->where, sizeof p->where, "sqlite:%s/meta.db", p->folder);
	return meta_open(p->where, &p->meta, NULL);
}

static int make_memory(void **state)
{
	static struct place p;
	*state = &p;
	return open_place(&p, "memory");
}

static int make_sqlite(void **state)
{
	static struct place p;
	*state = &p;
	return open_place(&p, "sqlite");
}

static int drop(void **state)
{
	struct place *p = *state;
	meta_close(p->meta);
	char name[128];
	static const char *const files[] = {"meta.db", "meta.db-wal", "meta.db-shm"};
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		snprintf(name, sizeof name, "%s/%s", p->folder, files[i]);
		unlink(name);
	}
	return rmdir(p->folder);
}

static struct meta_tx *begin(struct meta *m, bool write)
{
	struct meta_tx *tx;
	assert_ok(meta_begin(m, write, &tx, err));
	return tx;
}

static void end(struct meta_tx *tx, bool keep)
{
	assert_ok(meta_end(tx, keep, err));
}

static void set_setting(struct meta_tx *tx, const char *name, const char *value)
{
	struct setting_row row = {.name = (char *)name, .value = (char *)value};
	assert_ok(meta_put(tx, &meta_settings, &row, err));
}

/* The value of a setting, "(none)" when there is none; valid until the next call. */
static const char *setting(struct meta_tx *tx, const char *name)
{
	static char value[64];
	struct setting_row row;
	struct err e = {0};
	snprintf(value, sizeof value, "(none)");
	if (meta_get(tx, &meta_settings, name, &row, &e) == 0) {
		snprintf(value, sizeof value, "%s", row.value ? row.value : "(null)");
		shape_release(meta_settings.shape, &row);
	} else {
		assert_int_equal(e.kind, ERR_NOT_FOUND);
	}
	return value;
}

static int count_row(void *context, const void *row)
{
	(void)row;
	++*(unsigned *)context;
	return 0;
}

static unsigned count_all(struct meta_tx *tx, const struct meta_table *t)
{
	unsigned n = 0;
	struct meta_scan all = {0};
	assert_ok(meta_scan(tx, t, &all, count_row, &n, err));
	return n;
}

static void rows_are_put_and_got_and_deleted(void **state)
{
	struct place *p = *state;
	struct meta_tx *tx = begin(p->meta, true);
	set_setting(tx, "a", "1");
	set_setting(tx, "b", NULL);
	assert_string_equal(setting(tx, "a"), "1"); /* its own writes */
	set_setting(tx, "a", "2");
	end(tx, true);
	tx = begin(p->meta, false);
	assert_string_equal(setting(tx, "a"), "2");
	assert_string_equal(setting(tx, "b"), "(null)");
	assert_string_equal(setting(tx, "c"), "(none)");
	assert_int_equal(count_all(tx, &meta_settings), 2);
	end(tx, true);
	tx = begin(p->meta, true);
	assert_ok(meta_delete(tx, &meta_settings, "a", err));
	struct err e = {0};
	assert_int_equal(meta_delete(tx, &meta_settings, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	end(tx, true);
	tx = begin(p->meta, false);
	assert_string_equal(setting(tx, "a"), "(none)");
	end(tx, false);
}

/* Any table: a row with every field filled comes back equal, and so does an empty one. */
static void fill(const struct shape *shape, void *object, unsigned seed)
{
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: *field_int(f, object) = (int64_t)(seed * 1000003 + i) - 5; break;
		case FIELD_TEXT:
			text_setf(field_text(f, object), "%s \xc3\xa4 %u", f->name, seed);
			break;
		case FIELD_BYTES: bytes_set(field_bytes(f, object), "\0\xff\0x", 4); break;
		case FIELD_LIST:
			for (unsigned k = 0; k < 3; k++)
				fill(f->of, list_push(field_list(f, object), f->of->size),
				     seed + k);
			break;
		}
	}
}

static void every_table_keeps_every_field(void **state)
{
	struct place *p = *state;
	for (unsigned t = 0; t < meta_table_count; t++) {
		const struct meta_table *table = meta_tables[t];
		void *full = xcalloc(1, table->shape->size), *got = xcalloc(1, table->shape->size);
		void *empty = xcalloc(1, table->shape->size);
		fill(table->shape, full, t + 1);
		text_set(field_text(&table->shape->fields[0], empty), "empty");
		struct meta_tx *tx = begin(p->meta, true);
		assert_ok(meta_put(tx, table, full, err));
		assert_ok(meta_put(tx, table, empty, err));
		end(tx, true);
		tx = begin(p->meta, false);
		const char *key = *field_text(&table->shape->fields[0], full);
		assert_ok(meta_get(tx, table, key, got, err));
		assert_true(shape_equal(table->shape, got, full));
		shape_release(table->shape, got);
		assert_ok(meta_get(tx, table, "empty", got, err));
		assert_true(shape_equal(table->shape, got, empty));
		shape_release(table->shape, got);
		end(tx, false);
		shape_release(table->shape, full);
		shape_release(table->shape, empty);
		free(full);
		free(got);
		free(empty);
	}
}

static void out_of_bounds_is_refused(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	struct meta_tx *tx = begin(p->meta, true);
	set_setting(tx, "good", "1");
	struct setting_row row = {.name = TEXT("latin"), .value = TEXT("caf\xe9")};
	assert_int_equal(meta_put(tx, &meta_settings, &row, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.text, "value is not UTF-8"));
	/* The caller that overlooked it does not get the half. */
	assert_int_equal(meta_end(tx, true, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	tx = begin(p->meta, true);
	assert_string_equal(setting(tx, "good"), "(none)");
	char *name = xmalloc(5000);
	memset(name, 'x', 4999);
	name[4999] = '\0';
	row = (struct setting_row){.name = name};
	assert_int_equal(meta_put(tx, &meta_settings, &row, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	free(name);
	end(tx, false);
	struct meta *none;
	assert_int_equal(meta_open("clay:tablet", &none, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void unique_index_refuses(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	struct meta_tx *tx = begin(p->meta, true);
	struct server_row a = {.id = TEXT("s-1"), .manager_id = TEXT("m"), .vm_id = TEXT("1")};
	struct server_row b = {.id = TEXT("s-2"), .manager_id = TEXT("m"), .vm_id = TEXT("2")};
	struct server_row half = {.id = TEXT("s-3"), .manager_id = TEXT("m")}, half2 = half;
	struct server_row loose = {.id = TEXT("s-5"), .vm_id = TEXT("1")}, loose2 = loose;
	half2.id = TEXT("s-4");
	loose2.id = TEXT("s-6");
	assert_ok(meta_put(tx, &meta_servers, &a, err));
	assert_ok(meta_put(tx, &meta_servers, &b, err));
	assert_ok(meta_put(tx, &meta_servers, &a, err)); /* itself is not in its way */
	assert_ok(meta_put(tx, &meta_servers, &half, err));
	assert_ok(meta_put(tx, &meta_servers, &loose, err));
	assert_ok(meta_put(tx, &meta_servers, &loose2, err)); /* first column NULL: not unique */
	end(tx, true);
	tx = begin(p->meta, true);
	b.vm_id = TEXT("1");
	assert_int_equal(meta_put(tx, &meta_servers, &b, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.text, "s-1"));
	end(tx, false);
	tx = begin(p->meta, true);
	assert_int_equal(meta_put(tx, &meta_servers, &half2, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	end(tx, false);
	tx = begin(p->meta, true);
	assert_int_equal(count_all(tx, &meta_servers), 5);
	/* Changing places within one transaction: through a free value. */
	assert_ok(meta_delete(tx, &meta_servers, "s-1", err));
	assert_ok(meta_put(tx, &meta_servers, &b, err));
	end(tx, true);
}

static void undo_leaves_nothing(void **state)
{
	struct place *p = *state;
	struct meta_tx *tx = begin(p->meta, true);
	set_setting(tx, "kept", "1");
	end(tx, true);
	tx = begin(p->meta, true);
	set_setting(tx, "kept", "2");
	set_setting(tx, "new", "2");
	end(tx, false);
	tx = begin(p->meta, true);
	assert_ok(meta_delete(tx, &meta_settings, "kept", err));
	end(tx, false);
	tx = begin(p->meta, false);
	assert_string_equal(setting(tx, "kept"), "1");
	assert_string_equal(setting(tx, "new"), "(none)");
	end(tx, false);
}

static void readers_see_before_or_after(void **state)
{
	struct place *p = *state;
	struct meta_tx *w = begin(p->meta, true);
	set_setting(w, "x", "old");
	end(w, true);
	struct meta_tx *before = begin(p->meta, false);
	w = begin(p->meta, true);
	set_setting(w, "x", "new");
	struct meta_tx *during = begin(p->meta, false);
	assert_string_equal(setting(during, "x"), "old");
	end(w, true);
	struct meta_tx *after = begin(p->meta, false);
	assert_string_equal(setting(before, "x"), "old");
	assert_string_equal(setting(during, "x"), "old");
	assert_string_equal(setting(after, "x"), "new");
	end(before, false);
	end(during, false);
	end(after, false);
}

/* Scans against the obvious: sort everything, drop what the bounds exclude. */
struct order {
	const struct field *fields[4];
	unsigned count;
};

static struct order order_of(const struct meta_table *t, const struct meta_index *index)
{
	struct order o = {0};
	for (unsigned i = 0; index && i < COUNT_OF(index->columns) && index->columns[i]; i++)
		for (size_t f = 1; f < t->shape->field_count; f++)
			if (strcmp(t->shape->fields[f].name, index->columns[i]) == 0)
				o.fields[o.count++] = &t->shape->fields[f];
	o.fields[o.count++] = &t->shape->fields[0];
	return o;
}

static struct meta_value value_of(const struct field *f, void *row)
{
	struct meta_value v = {0};
	if (f->type == FIELD_TEXT)
		v.text = *field_text(f, row);
	else
		v.number = *field_int(f, row);
	return v;
}

static int compare_value(struct meta_value a, struct meta_value b)
{
	if (a.text && b.text)
		return strcmp(a.text, b.text);
	if (a.text || b.text)
		return a.text ? 1 : -1;
	return a.number < b.number ? -1 : a.number > b.number;
}

static const struct order *sort_order;
static const struct shape *sort_shape;
static int compare_row(const void *a, const void *b)
{
	for (unsigned i = 0; i < sort_order->count; i++) {
		int c = compare_value(value_of(sort_order->fields[i], *(void **)a),
				      value_of(sort_order->fields[i], *(void **)b));
		if (c)
			return c;
	}
	return 0;
}

static bool wanted(const struct order *o, const struct meta_scan *s, void *row)
{
	for (unsigned i = 0; i < s->equal_count; i++)
		if (compare_value(value_of(o->fields[i], row), s->values[i]) != 0)
			return false;
	int c = 0;
	for (unsigned i = 0; i < s->after_count && c == 0; i++)
		c = compare_value(value_of(o->fields[s->equal_count + i], row),
				  s->values[s->equal_count + i]);
	if (s->after_count == 0)
		return true;
	return s->descending ? c < 0 || (c == 0 && s->inclusive)
			     : c > 0 || (c == 0 && s->inclusive);
}

struct expected {
	void **rows;
	size_t count, seen;
};

static int expect_row(void *context, const void *row)
{
	struct expected *x = context;
	if (x->seen == x->count)
		return 7;
	if (!shape_equal(sort_shape, x->rows[x->seen], row))
		return 8;
	x->seen++;
	return 0;
}

static unsigned random_below(unsigned n)
{
	return (unsigned)rand() % n;
}

static char *random_word(bool may_be_null)
{
	static const char *const words[] = {NULL, "", "a", "A", "b", "ab", "\xc3\xa4", "zz"};
	return (char *)words[may_be_null ? random_below(8) : 1 + random_below(7)];
}

static void check_scans(struct meta_tx *tx, const struct meta_table *t,
			const struct meta_index *index, void **rows, size_t count)
{
	struct order o = order_of(t, index);
	sort_order = &o;
	sort_shape = t->shape;
	qsort(rows, count, sizeof *rows, compare_row);
	for (int round = 0; round < 120; round++) {
		struct meta_scan s = {.index = index ? index->name : NULL};
		s.equal_count = random_below(o.count + 1);
		s.after_count = random_below(o.count - s.equal_count + 1);
		s.inclusive = random_below(2);
		s.descending = random_below(2);
		s.limit = random_below(2) * random_below(6);
		/* Mostly values of a row that exists, else most scans find nothing. */
		void *like = rows[random_below((unsigned)count)];
		for (unsigned i = 0; i < o.count; i++) {
			s.values[i] = value_of(o.fields[i], like);
			if (random_below(4) == 0) {
				s.values[i] = (struct meta_value){0};
				if (o.fields[i]->type == FIELD_TEXT)
					s.values[i].text = random_word(true);
				else
					s.values[i].number = (int64_t)random_below(5) - 1;
			}
		}
		struct expected x = {.rows = xcalloc(count, sizeof *x.rows)};
		for (size_t i = 0; i < count; i++) {
			void *row = rows[s.descending ? count - 1 - i : i];
			if (wanted(&o, &s, row) && !(s.limit && x.count == s.limit))
				x.rows[x.count++] = row;
		}
		assert_int_equal(meta_scan(tx, t, &s, expect_row, &x, NULL), 0);
		assert_int_equal(x.seen, x.count);
		free(x.rows);
	}
}

static void scans_equal_the_naive_model(void **state)
{
	struct place *p = *state;
	srand(4711);
	for (unsigned t = 0; t < meta_table_count; t++) {
		const struct meta_table *table = meta_tables[t];
		void *rows[150];
		struct meta_tx *tx = begin(p->meta, true);
		for (unsigned i = 0; i < COUNT_OF(rows); i++) {
			void *row = rows[i] = xcalloc(1, table->shape->size);
			for (size_t f = 0; f < table->shape->field_count; f++) {
				const struct field *field = &table->shape->fields[f];
				if (field->type == FIELD_INT)
					*field_int(field, row) = (int64_t)random_below(5) - 1;
				else if (field->type == FIELD_TEXT)
					text_set(field_text(field, row), random_word(true));
			}
			text_setf(field_text(&table->shape->fields[0], row), "%s%u",
				  random_word(false), i);
			if (table == &meta_servers)
				text_setf(&((struct server_row *)row)->vm_id, "%u", i);
			assert_ok(meta_put(tx, table, row, err));
		}
		check_scans(tx, table, NULL, rows, COUNT_OF(rows)); /* its own writes */
		end(tx, true);
		tx = begin(p->meta, false);
		for (unsigned i = 0; i < table->index_count; i++)
			check_scans(tx, table, &table->indexes[i], rows, COUNT_OF(rows));
		end(tx, false);
		for (unsigned i = 0; i < COUNT_OF(rows); i++) {
			shape_release(table->shape, rows[i]);
			free(rows[i]);
		}
	}
}

struct nested {
	struct meta_tx *tx;
	unsigned outer, inner;
};

static int read_inside(void *context, const void *row)
{
	struct nested *n = context;
	const struct setting_row *s = row;
	struct meta_scan all = {0};
	n->outer++;
	assert_string_equal(setting(n->tx, s->name), s->value);
	if (meta_scan(n->tx, &meta_settings, &all, count_row, &n->inner, NULL) != 0)
		return -1;
	return n->outer == 3 ? 42 : 0;
}

static void a_scan_may_read_and_stop(void **state)
{
	struct place *p = *state;
	struct meta_tx *tx = begin(p->meta, true);
	for (char c = 'a'; c < 'f'; c++)
		set_setting(tx, (char[]){c, 0}, "v");
	struct nested n = {.tx = tx};
	struct meta_scan all = {0};
	assert_int_equal(meta_scan(tx, &meta_settings, &all, read_inside, &n, NULL), 42);
	assert_int_equal(n.outer, 3);
	assert_int_equal(n.inner, 15);
	end(tx, false);
}

/* Threads: adders move amounts between two settings; the sum that any reader sees is constant. */
static void *move_amounts(void *context)
{
	struct meta *m = context;
	for (int i = 0; i < 25; i++) {
		struct meta_tx *tx;
		char value[32];
		if (meta_begin(m, true, &tx, NULL) < 0)
			return TEXT("begin failed");
		struct setting_row a, b;
		if (meta_get(tx, &meta_settings, "a", &a, NULL) < 0 ||
		    meta_get(tx, &meta_settings, "b", &b, NULL) < 0)
			return TEXT("get failed");
		snprintf(value, sizeof value, "%d", atoi(a.value) - 1);
		text_set(&a.value, value);
		snprintf(value, sizeof value, "%d", atoi(b.value) + 1);
		text_set(&b.value, value);
		bool ok = meta_put(tx, &meta_settings, &a, NULL) == 0 &&
			  meta_put(tx, &meta_settings, &b, NULL) == 0;
		shape_release(meta_settings.shape, &a);
		shape_release(meta_settings.shape, &b);
		if (meta_end(tx, true, NULL) < 0 || !ok)
			return TEXT("write failed");
	}
	return NULL;
}

static void *read_sums(void *context)
{
	struct meta *m = context;
	for (int i = 0; i < 100; i++) {
		struct meta_tx *tx;
		struct setting_row a, b;
		if (meta_begin(m, false, &tx, NULL) < 0)
			return TEXT("begin failed");
		if (meta_get(tx, &meta_settings, "a", &a, NULL) < 0)
			return TEXT("get failed");
		sched_yield();
		if (meta_get(tx, &meta_settings, "b", &b, NULL) < 0)
			return TEXT("get failed");
		bool ok = atoi(a.value) + atoi(b.value) == 1000;
		shape_release(meta_settings.shape, &a);
		shape_release(meta_settings.shape, &b);
		meta_end(tx, false, NULL);
		if (!ok)
			return TEXT("saw a part of a transaction");
	}
	return NULL;
}

static void threads_share_one_meta(void **state)
{
	struct place *p = *state;
	struct meta_tx *tx = begin(p->meta, true);
	set_setting(tx, "a", "1000");
	set_setting(tx, "b", "0");
	end(tx, true);
	pthread_t threads[6];
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, i % 2 ? read_sums : move_amounts, p->meta),
		    0);
	for (unsigned i = 0; i < COUNT_OF(threads); i++) {
		void *why;
		pthread_join(threads[i], &why);
		if (why)
			fail_msg("%s", (char *)why);
	}
	tx = begin(p->meta, false);
	assert_string_equal(setting(tx, "b"), "75");
	end(tx, false);
}

/* From here: sqlite alone. */

static void a_database_is_reopened(void **state)
{
	struct place *p = *state;
	struct meta_tx *tx = begin(p->meta, true);
	set_setting(tx, "x", "kept");
	end(tx, true);
	meta_close(p->meta);
	assert_ok(meta_open(p->where, &p->meta, err));
	tx = begin(p->meta, false);
	assert_string_equal(setting(tx, "x"), "kept");
	end(tx, false);
	struct stat st;
	assert_int_equal(stat(p->where + strlen("sqlite:"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void change_file(struct place *p, const char *sql)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(p->where + strlen("sqlite:"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void newer_and_foreign_databases_are_refused(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	meta_close(p->meta);
	change_file(p, "PRAGMA user_version=999");
	assert_int_equal(meta_open(p->where, &p->meta, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	/* As version 1 left it. */
	change_file(p, "DROP INDEX job_base; ALTER TABLE image DROP COLUMN overlay_of; PRAGMA "
		       "user_version=1; PRAGMA application_id=5");
	assert_int_equal(meta_open(p->where, &p->meta, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	change_file(p, "PRAGMA application_id=1734637428; ALTER TABLE job RENAME state TO mood");
	assert_int_equal(meta_open(p->where, &p->meta, &e), -1);
	assert_non_null(strstr(e.text, "state"));
	change_file(p, "ALTER TABLE job RENAME mood TO state");
	assert_ok(meta_open(p->where, &p->meta, err));
	meta_close(p->meta);
	/* It was brought to the newest version, once. */
	assert_ok(meta_open(p->where, &p->meta, err));
	change_file(p, "SELECT id FROM job INDEXED BY job_base WHERE base_connector_id IS NULL");
	change_file(p, "SELECT overlay_of FROM image");
}

static void damage_is_told(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	struct image_row row;
	change_file(p, "INSERT INTO image(id, disks) VALUES('ami-1', x'01020304')");
	struct meta_tx *tx = begin(p->meta, false);
	assert_int_equal(meta_get(tx, &meta_images, "ami-1", &row, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
	end(tx, false);
}

/* No scan walks a table where the index knows better, and none sorts. */
static void scans_use_their_index(void **state)
{
	struct place *p = *state;
	sqlite3 *db;
	unsigned checked = 0;
	assert_int_equal(sqlite3_open(p->where + strlen("sqlite:"), &db), SQLITE_OK);
	for (unsigned t = 0; t < meta_table_count; t++)
		for (unsigned i = 0; i <= meta_tables[t]->index_count; i++)
			for (unsigned shape = 0; shape < 64; shape++) {
				const struct meta_table *table = meta_tables[t];
				const struct meta_index *index = i ? &table->indexes[i - 1] : NULL;
				struct order o = order_of(table, index);
				struct meta_scan s = {.index = index ? index->name : NULL};
				s.equal_count = shape & 3;
				s.after_count = shape >> 2 & 3;
				s.descending = shape >> 4 & 1;
				for (unsigned k = 0; k < 4; k++)
					s.values[k].text = shape >> 5 ? NULL : "x";
				s.values[o.count - 1].text = "x"; /* a key is never NULL */
				if (s.equal_count + s.after_count > o.count ||
				    s.equal_count + s.after_count == 0)
					continue;
				struct sqlite_stretch stretches[SQLITE_STRETCHES_MAX];
				unsigned n = sqlite_text_stretches(table, &s, stretches);
				for (unsigned k = 0; k < n; k++) {
					struct buf sql = {0};
					buf_add_str(&sql, "EXPLAIN QUERY PLAN ");
					sqlite_text_scan(table, &s, &stretches[k], &sql);
					sqlite3_stmt *st;
					assert_int_equal(
					    sqlite3_prepare_v2(db, buf_str(&sql), -1, &st, NULL),
					    SQLITE_OK);
					bool bounded = stretches[k].equal ||
						       stretches[k].range != RANGE_NONE;
					while (sqlite3_step(st) == SQLITE_ROW) {
						const char *plan =
						    (const char *)sqlite3_column_text(st, 3);
						if (strstr(plan, "TEMP B-TREE") ||
						    (bounded && strstr(plan, "SCAN")))
							fail_msg("%s: %s", buf_str(&sql), plan);
						checked++;
					}
					sqlite3_finalize(st);
					buf_release(&sql);
				}
			}
	sqlite3_close(db);
	assert_true(checked > 100);
}

static void kill_in_mid_write_leaves_whole_transactions(void **state)
{
	struct place *p = *state;
	meta_close(p->meta);
	for (int round = 0; round < 3; round++) {
		int ends[2];
		assert_int_equal(pipe(ends), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			struct meta *m;
			if (meta_open(p->where, &m, NULL) < 0)
				_exit(1);
			for (int n = 1;; n++) {
				struct meta_tx *tx;
				char value[32];
				snprintf(value, sizeof value, "%d", round * 1000000 + n);
				struct setting_row a = {TEXT("a"), value}, b = {TEXT("b"), value};
				if (meta_begin(m, true, &tx, NULL) < 0 ||
				    meta_put(tx, &meta_settings, &a, NULL) < 0 ||
				    meta_put(tx, &meta_settings, &b, NULL) < 0 ||
				    meta_end(tx, true, NULL) < 0 ||
				    write(ends[1], &n, sizeof n) < 0)
					_exit(1);
			}
		}
		close(ends[1]);
		int told = 0, n;
		while (told < 20 && read(ends[0], &n, sizeof n) == sizeof n)
			told = n;
		assert_true(told >= 20);
		kill(child, SIGKILL);
		while (read(ends[0], &n, sizeof n) == sizeof n)
			told = n;
		close(ends[0]);
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		assert_ok(meta_open(p->where, &p->meta, err));
		struct meta_tx *tx = begin(p->meta, false);
		int a = atoi(setting(tx, "a")), b = atoi(setting(tx, "b"));
		end(tx, false);
		assert_int_equal(a, b);
		assert_true(a >= round * 1000000 + told);
		meta_close(p->meta);
	}
	assert_ok(meta_open(p->where, &p->meta, err));
}

#define BOTH(test)                                                                                 \
	{"memory: " #test, test, make_memory, drop, NULL},                                         \
	{                                                                                          \
		"sqlite: " #test, test, make_sqlite, drop, NULL                                    \
	}
#define SQLITE(test)                                                                               \
	{                                                                                          \
		"sqlite: " #test, test, make_sqlite, drop, NULL                                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SQLITE(kill_in_mid_write_leaves_whole_transactions), /* forks: before any thread */
	    BOTH(rows_are_put_and_got_and_deleted),
	    BOTH(every_table_keeps_every_field),
	    BOTH(out_of_bounds_is_refused),
	    BOTH(unique_index_refuses),
	    BOTH(undo_leaves_nothing),
	    BOTH(readers_see_before_or_after),
	    BOTH(scans_equal_the_naive_model),
	    BOTH(a_scan_may_read_and_stop),
	    BOTH(threads_share_one_meta),
	    SQLITE(a_database_is_reopened),
	    SQLITE(newer_and_foreign_databases_are_refused),
	    SQLITE(damage_is_told),
	    SQLITE(scans_use_their_index),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
