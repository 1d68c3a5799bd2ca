// SPDX-License-Identifier: Apache-2.0
/*
 * Metadata in an SQLite database: tables, indexes and statements are generated from the shapes.
 *
 * Invariants:
 * 1. A transaction has a connection for itself from begin to end: the only writing one, held under
 *    a mutex, or one of a pool of reading ones. So no connection is used by two threads.
 * 2. WAL with synchronous=FULL: when `end` returned 0 the writes survive a power cut, and a process
 *    killed in the middle of a transaction leaves nothing of it.
 * 3. A statement is out of its connection's cache while it is stepped, so that a callback of a scan
 *    may use the same transaction.
 * 4. A scan is one or more queries that each read one stretch of one index in its order.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/mem.h"
#include "base/text.h"
#include "meta/kind.h"
#include "meta/rows.h"
#include "meta/sqlite_text.h"
#include "wire/wire.h"

#define APPLICATION_ID	0x67647774 /* "gdwt" */
#define BUSY_TIMEOUT_MS 10000
#define IDLE_READERS	8

/* Version 1 is made from the shapes, and so is a fresh database of the newest version. A database
 * of version n is brought to n + 1 by migrations[n]. */
static const char *const migrations[] = {
    NULL,
    "CREATE INDEX \"job_base\" ON \"job\"(\"base_connector_id\",\"state\")",
    "ALTER TABLE \"image\" ADD COLUMN \"overlay_of\" TEXT",
};
#define NEWEST_VERSION ((int)COUNT_OF(migrations))

struct cached {
	char *sql;
	sqlite3_stmt *statement;
};

struct connection {
	sqlite3 *db;
	struct cached *cached;
	size_t count, cap;
	struct connection *next; /* idle */
};

struct sqlite {
	struct meta meta;
	char *path;
	pthread_mutex_t write; /* held by the write transaction, which uses `writer` */
	struct connection *writer;
	pthread_mutex_t pool;
	struct connection *idle;
	unsigned idle_count;
};

struct sqlite_tx {
	struct meta_tx tx;
	struct connection *c;
};

static int fail(sqlite3 *db, const char *what, struct err *e)
{
	int code = sqlite3_errcode(db) & 0xff;
	enum err_kind kind = ERR_IO;
	switch (code) {
	case SQLITE_FULL: kind = ERR_FULL; break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: kind = ERR_BUSY; break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: kind = ERR_CORRUPT; break;
	case SQLITE_CONSTRAINT: kind = ERR_CONFLICT; break;
	case SQLITE_PERM:
	case SQLITE_READONLY:
	case SQLITE_AUTH: kind = ERR_DENIED; break;
	}
	const char *path = sqlite3_db_filename(db, "main");
	return err_set(e, kind, "metadata in %s: cannot %s: %s", path ? path : "?", what,
		       sqlite3_errmsg(db));
}

static int run_sql(sqlite3 *db, const char *sql, struct err *e)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(db, sql, e);
	return 0;
}

/* A statement ready to be bound, out of the cache; give it back with statement_return. */
static int statement_take(struct connection *c, const char *sql, struct cached *out, struct err *e)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->cached[i].sql, sql) == 0) {
			*out = c->cached[i];
			c->cached[i] = c->cached[--c->count];
			return 0;
		}
	if (sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &out->statement, NULL) !=
	    SQLITE_OK)
		return fail(c->db, sql, e);
	out->sql = xstrdup(sql);
	return 0;
}

static void statement_return(struct connection *c, struct cached s)
{
	sqlite3_reset(s.statement);
	sqlite3_clear_bindings(s.statement);
	VEC_GROW(c->cached, c->count, c->cap);
	c->cached[c->count++] = s;
}

static void connection_close(struct connection *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		sqlite3_finalize(c->cached[i].statement);
		free(c->cached[i].sql);
	}
	free(c->cached);
	int code = sqlite3_close(c->db);
	assert(code == SQLITE_OK);
	free(c);
}

static int connection_open(const char *path, bool write, struct connection **out, struct err *e)
{
	struct connection *c = xcalloc(1, sizeof *c);
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
	if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK) {
		if (c->db)
			fail(c->db, "open it", e);
		else
			err_set(e, ERR_IO, "metadata in %s: cannot open it", path);
		goto failed;
	}
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	/* A quoted name that is no column is an error, not a text. */
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	if (run_sql(c->db, "PRAGMA synchronous=FULL", e) < 0)
		goto failed;
	if (!write && run_sql(c->db, "PRAGMA query_only=1", e) < 0)
		goto failed;
	*out = c;
	return 0;
failed:
	connection_close(c);
	return -1;
}

static int read_number(struct connection *c, const char *sql, int64_t *out, struct err *e)
{
	struct cached s;
	if (statement_take(c, sql, &s, e) < 0)
		return -1;
	int result = 0;
	if (sqlite3_step(s.statement) == SQLITE_ROW)
		*out = sqlite3_column_int64(s.statement, 0);
	else
		result = fail(c->db, sql, e);
	statement_return(c, s);
	return result;
}

static int create_tables(struct connection *c, struct err *e)
{
	struct buf sql = {0};
	for (unsigned i = 0; i < meta_table_count; i++)
		sqlite_text_create(meta_tables[i], &sql);
	int result = run_sql(c->db, buf_str(&sql), e);
	buf_release(&sql);
	return result;
}

/* In one transaction: a fresh database gets its tables, an older one its migrations. */
static int migrate(struct connection *c, const char *path, struct err *e)
{
	int64_t version = 0, application = 0, tables = 0;
	if (run_sql(c->db, "BEGIN IMMEDIATE", e) < 0)
		return -1;
	if (read_number(c, "PRAGMA user_version", &version, e) < 0 ||
	    read_number(c, "PRAGMA application_id", &application, e) < 0 ||
	    read_number(c, "SELECT count(*) FROM sqlite_schema", &tables, e) < 0)
		goto failed;
	if (tables && application != APPLICATION_ID) {
		err_set(e, ERR_INVALID,
			"%s is a database of another program; name a file of its own for "
			"the metadata",
			path);
		goto failed;
	}
	if (version > NEWEST_VERSION) {
		err_set(e, ERR_CONFLICT,
			"%s is of a newer godwit (its format is %d, this one knows up to %d); "
			"run that version, or restore the backup from before it",
			path, (int)version, NEWEST_VERSION);
		goto failed;
	}
	if (tables == 0 && create_tables(c, e) < 0)
		goto failed;
	for (int64_t v = version; tables && v < NEWEST_VERSION; v++)
		if (migrations[v] && run_sql(c->db, migrations[v], e) < 0)
			goto failed;
	char pragmas[96];
	sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id=%d;PRAGMA user_version=%d",
			 APPLICATION_ID, NEWEST_VERSION);
	if (run_sql(c->db, pragmas, e) < 0 || run_sql(c->db, "COMMIT", e) < 0)
		goto failed;
	return 0;
failed:
	sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return -1;
}

/* Every statement must fit the tables: a database made by hand is refused here, not in mid-run. */
static int check_tables(struct connection *c, struct err *e)
{
	int result = 0;
	for (unsigned i = 0; i < meta_table_count && result == 0; i++) {
		struct buf sql = {0};
		struct cached s;
		sqlite_text_get(meta_tables[i], &sql);
		result = statement_take(c, buf_str(&sql), &s, e);
		if (result == 0)
			statement_return(c, s);
		buf_release(&sql);
	}
	return result;
}

static void sqlite_close_it(struct meta *meta)
{
	struct sqlite *m = (struct sqlite *)meta;
	while (m->idle) {
		struct connection *c = m->idle;
		m->idle = c->next;
		connection_close(c);
	}
	connection_close(m->writer); /* last: it folds the log into the database */
	pthread_mutex_destroy(&m->write);
	pthread_mutex_destroy(&m->pool);
	free(m->path);
	free(m);
}

static int sqlite_open_it(const char *place, struct meta **out, struct err *e)
{
	if (!*place)
		return err_set(e, ERR_INVALID, "sqlite: needs the path of a file after it");
	/* The database holds secret keys: its log and index files take over these rights. */
	int fd = open(place, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "metadata in %s: cannot open it", place);
	close(fd);
	struct sqlite *m = xcalloc(1, sizeof *m);
	m->meta.ops = &meta_sqlite_ops;
	m->path = xstrdup(place);
	pthread_mutex_init(&m->write, NULL);
	pthread_mutex_init(&m->pool, NULL);
	if (connection_open(place, true, &m->writer, e) < 0 ||
	    run_sql(m->writer->db, "PRAGMA journal_mode=WAL", e) < 0 ||
	    migrate(m->writer, place, e) < 0 || check_tables(m->writer, e) < 0) {
		sqlite_close_it(&m->meta);
		return -1;
	}
	*out = &m->meta;
	return 0;
}

static int reader_take(struct sqlite *m, struct connection **out, struct err *e)
{
	pthread_mutex_lock(&m->pool);
	struct connection *c = m->idle;
	if (c) {
		m->idle = c->next;
		m->idle_count--;
	}
	pthread_mutex_unlock(&m->pool);
	if (!c)
		return connection_open(m->path, false, out, e);
	c->next = NULL;
	*out = c;
	return 0;
}

static void reader_return(struct sqlite *m, struct connection *c)
{
	pthread_mutex_lock(&m->pool);
	bool keep = m->idle_count < IDLE_READERS && sqlite3_get_autocommit(c->db);
	if (keep) {
		c->next = m->idle;
		m->idle = c;
		m->idle_count++;
	}
	pthread_mutex_unlock(&m->pool);
	if (!keep)
		connection_close(c);
}

static int sqlite_begin(struct meta *meta, bool write, struct meta_tx **out, struct err *e)
{
	struct sqlite *m = (struct sqlite *)meta;
	struct connection *c = NULL;
	int64_t any;
	if (write) {
		pthread_mutex_lock(&m->write);
		c = m->writer;
		if (run_sql(c->db, "BEGIN IMMEDIATE", e) < 0) {
			pthread_mutex_unlock(&m->write);
			return -1;
		}
	} else {
		if (reader_take(m, &c, e) < 0)
			return -1;
		/* The first read fixes the state that the transaction sees. */
		if (run_sql(c->db, "BEGIN", e) < 0 ||
		    read_number(c, "SELECT count(*) FROM (SELECT 1 FROM setting LIMIT 1)", &any,
				e) < 0) {
			sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
			reader_return(m, c);
			return -1;
		}
	}
	struct sqlite_tx *t = xcalloc(1, sizeof *t);
	t->tx.meta = meta;
	t->tx.write = write;
	t->c = c;
	*out = &t->tx;
	return 0;
}

static int sqlite_end(struct meta_tx *tx, bool keep, struct err *e)
{
	struct sqlite_tx *t = (struct sqlite_tx *)tx;
	struct sqlite *m = (struct sqlite *)tx->meta;
	int result = 0;
	if (tx->write && keep)
		result = run_sql(t->c->db, "COMMIT", e);
	/* A failed commit may have left the transaction open, or have undone it by itself. */
	if (!sqlite3_get_autocommit(t->c->db))
		sqlite3_exec(t->c->db, "ROLLBACK", NULL, NULL, NULL);
	if (tx->write)
		pthread_mutex_unlock(&m->write);
	else
		reader_return(m, t->c);
	free(t);
	return result;
}

/* A list is one blob: the encoding of a message with this one field. */
static struct shape list_shape(const struct field *f, struct field *only)
{
	*only = *f;
	only->offset = 0;
	return (struct shape){
	    .name = f->name, .size = sizeof(struct list), .fields = only, .field_count = 1};
}

static int bind_field(sqlite3_stmt *s, int at, const struct field *f, void *row)
{
	switch (f->type) {
	case FIELD_INT: return sqlite3_bind_int64(s, at, *field_int(f, row));
	case FIELD_TEXT: return sqlite3_bind_text(s, at, *field_text(f, row), -1, SQLITE_STATIC);
	case FIELD_BYTES: {
		const struct bytes *b = field_bytes(f, row);
		return b->len ? sqlite3_bind_blob64(s, at, b->data, b->len, SQLITE_STATIC)
			      : sqlite3_bind_zeroblob(s, at, 0);
	}
	case FIELD_LIST: {
		struct field only;
		struct shape shape = list_shape(f, &only);
		struct buf b = {0};
		wire_encode(&shape, field_list(f, row), &b);
		int code = sqlite3_bind_blob64(s, at, b.data, b.len, SQLITE_TRANSIENT);
		buf_release(&b);
		return code;
	}
	}
	return SQLITE_MISUSE;
}

static int read_field(sqlite3_stmt *s, int at, const struct field *f, void *row, struct err *e)
{
	switch (f->type) {
	case FIELD_INT: *field_int(f, row) = sqlite3_column_int64(s, at); break;
	case FIELD_TEXT: {
		const char *text = (const char *)sqlite3_column_text(s, at);
		if (text && strlen(text) != (size_t)sqlite3_column_bytes(s, at))
			return err_set(e, ERR_CORRUPT, "%s holds a NUL", f->name);
		*field_text(f, row) = xstrdup(text);
		break;
	}
	case FIELD_BYTES: {
		const void *data = sqlite3_column_blob(s, at);
		size_t n = (size_t)sqlite3_column_bytes(s, at);
		if (n > f->max)
			return err_set(e, ERR_CORRUPT, "%s has %zu bytes", f->name, n);
		bytes_set(field_bytes(f, row), data, n);
		break;
	}
	case FIELD_LIST: {
		struct field only;
		struct shape shape = list_shape(f, &only);
		const void *data = sqlite3_column_blob(s, at);
		size_t n = (size_t)sqlite3_column_bytes(s, at);
		if (wire_decode(&shape, data, n, field_list(f, row), e) < 0)
			return err_set(e, ERR_CORRUPT, "%s cannot be read", f->name);
		break;
	}
	}
	return 0;
}

static int read_row(sqlite3_stmt *s, const struct meta_table *t, void *row, struct err *e)
{
	memset(row, 0, t->shape->size);
	for (size_t i = 0; i < t->shape->field_count; i++)
		if (read_field(s, (int)i, &t->shape->fields[i], row, e) < 0) {
			err_prefix(e, "metadata: a row of %s is damaged", t->name);
			shape_release(t->shape, row);
			return -1;
		}
	return 0;
}

static int sqlite_get(struct meta_tx *tx, const struct meta_table *t, const char *key, void *row,
		      struct err *e)
{
	struct connection *c = ((struct sqlite_tx *)tx)->c;
	struct buf sql = {0};
	struct cached s;
	int result = -1;
	sqlite_text_get(t, &sql);
	if (statement_take(c, buf_str(&sql), &s, e) < 0)
		goto out;
	sqlite3_bind_text(s.statement, 1, key, -1, SQLITE_STATIC);
	switch (sqlite3_step(s.statement)) {
	case SQLITE_ROW: result = read_row(s.statement, t, row, e); break;
	case SQLITE_DONE: err_set(e, ERR_NOT_FOUND, "there is no %s '%.128s'", t->name, key); break;
	default: fail(c->db, "read", e);
	}
	statement_return(c, s);
out:
	buf_release(&sql);
	return result;
}

/* Refuses what a unique index forbids, with a sentence that names the row that is in the way. */
static int check_unique(struct connection *c, const struct meta_table *t, unsigned which,
			const void *row, struct err *e)
{
	const struct field *order[META_ORDER_MAX];
	unsigned n = meta_order(t, t->indexes[which].name, order) - 1;
	if (order[0]->type == FIELD_TEXT && !*field_text(order[0], (void *)row))
		return 0;
	struct buf sql = {0};
	struct cached s;
	int result = -1;
	sqlite_text_holder(t, &t->indexes[which], &sql);
	if (statement_take(c, buf_str(&sql), &s, e) < 0)
		goto out;
	for (unsigned i = 0; i <= n; i++)
		bind_field(s.statement, (int)i + 1, order[i], (void *)row);
	switch (sqlite3_step(s.statement)) {
	case SQLITE_ROW:
		meta_conflict(t, &t->indexes[which], row,
			      (const char *)sqlite3_column_text(s.statement, 0), e);
		break;
	case SQLITE_DONE: result = 0; break;
	default: fail(c->db, "read", e);
	}
	statement_return(c, s);
out:
	buf_release(&sql);
	return result;
}

static int sqlite_put(struct meta_tx *tx, const struct meta_table *t, const void *row,
		      struct err *e)
{
	struct connection *c = ((struct sqlite_tx *)tx)->c;
	for (unsigned i = 0; i < t->index_count; i++)
		if (t->indexes[i].unique && check_unique(c, t, i, row, e) < 0)
			return -1;
	struct buf sql = {0};
	struct cached s;
	int result = -1;
	sqlite_text_put(t, &sql);
	if (statement_take(c, buf_str(&sql), &s, e) < 0)
		goto out;
	result = 0;
	for (size_t i = 0; i < t->shape->field_count && result == 0; i++)
		if (bind_field(s.statement, (int)i + 1, &t->shape->fields[i], (void *)row) !=
		    SQLITE_OK)
			result = fail(c->db, "write", e);
	if (result == 0 && sqlite3_step(s.statement) != SQLITE_DONE)
		result = fail(c->db, "write", e);
	statement_return(c, s);
out:
	buf_release(&sql);
	return result;
}

static int sqlite_remove(struct meta_tx *tx, const struct meta_table *t, const char *key,
			 struct err *e)
{
	struct connection *c = ((struct sqlite_tx *)tx)->c;
	struct buf sql = {0};
	struct cached s;
	int result = -1;
	sqlite_text_remove(t, &sql);
	if (statement_take(c, buf_str(&sql), &s, e) < 0)
		goto out;
	sqlite3_bind_text(s.statement, 1, key, -1, SQLITE_STATIC);
	if (sqlite3_step(s.statement) != SQLITE_DONE)
		fail(c->db, "delete", e);
	else if (sqlite3_changes(c->db) == 0)
		err_set(e, ERR_NOT_FOUND, "there is no %s '%.128s'", t->name, key);
	else
		result = 0;
	statement_return(c, s);
out:
	buf_release(&sql);
	return result;
}

static int bind_value(sqlite3_stmt *s, int at, const struct field *f, const struct meta_value *v)
{
	return f->type == FIELD_TEXT ? sqlite3_bind_text(s, at, v->text, -1, SQLITE_STATIC)
				     : sqlite3_bind_int64(s, at, v->number);
}

/* One stretch. Adds to *seen; stops at the limit, or when `each` returned other than 0. */
static int scan_stretch(struct connection *c, const struct meta_table *t,
			const struct meta_scan *scan, const struct sqlite_stretch *stretch,
			unsigned *seen, meta_row_fn *each, void *context, struct err *e)
{
	const struct field *order[META_ORDER_MAX];
	meta_order(t, scan->index, order);
	struct buf sql = {0};
	struct cached s;
	void *row = xcalloc(1, t->shape->size);
	int result = -1;
	sqlite_text_scan(t, scan, stretch, &sql);
	if (statement_take(c, buf_str(&sql), &s, e) < 0)
		goto out;
	int at = 1;
	for (unsigned i = 0; i < stretch->equal + (stretch->range != RANGE_NONE); i++)
		if (sqlite_text_takes_value(order[i], &scan->values[i], stretch, i))
			bind_value(s.statement, at++, order[i], &scan->values[i]);
	for (result = 0; result == 0 && !(scan->limit && *seen == scan->limit); ++*seen) {
		int code = sqlite3_step(s.statement);
		if (code == SQLITE_DONE)
			break;
		if (code != SQLITE_ROW) {
			result = fail(c->db, "read", e);
			break;
		}
		result = read_row(s.statement, t, row, e);
		if (result < 0)
			break;
		result = each(context, row);
		shape_release(t->shape, row);
	}
	statement_return(c, s);
out:
	free(row);
	buf_release(&sql);
	return result;
}

static int sqlite_scan(struct meta_tx *tx, const struct meta_table *t, const struct meta_scan *scan,
		       meta_row_fn *each, void *context, struct err *e)
{
	struct connection *c = ((struct sqlite_tx *)tx)->c;
	struct sqlite_stretch stretches[SQLITE_STRETCHES_MAX];
	unsigned n = sqlite_text_stretches(t, scan, stretches), seen = 0;
	int result = 0;
	for (unsigned i = 0; i < n && result == 0 && !(scan->limit && seen == scan->limit); i++)
		result = scan_stretch(c, t, scan, &stretches[i], &seen, each, context, e);
	return result;
}

const struct meta_ops meta_sqlite_ops = {
    .kind = "sqlite",
    .open = sqlite_open_it,
    .close = sqlite_close_it,
    .begin = sqlite_begin,
    .end = sqlite_end,
    .get = sqlite_get,
    .put = sqlite_put,
    .remove = sqlite_remove,
    .scan = sqlite_scan,
};
