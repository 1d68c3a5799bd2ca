// SPDX-License-Identifier: Apache-2.0
#include "disk_model.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/file.h"
#include "store/disk.h"

#define FILE_MAX (64u << 20)

struct op {
	enum disk_op_kind kind;
	char *path, *to;
	uint8_t *data;
	uint64_t n, offset;
};

/* What is there before the first operation: a directory when data is NULL. */
struct base {
	char *path;
	uint8_t *data;
	size_t n;
};

struct disk_model {
	char *dir;
	struct base *bases;
	size_t base_count, base_cap;
	struct op *ops;
	size_t count, cap;
	struct disk_watch watch;
};

/* --- recording --- */

static void record(void *context, const struct disk_op *op)
{
	struct disk_model *m = context;
	if (strncmp(op->path, m->dir, strlen(m->dir)) != 0)
		return;
	VEC_GROW(m->ops, m->count, m->cap);
	struct op *o = &m->ops[m->count++];
	*o = (struct op){.kind = op->kind,
			 .path = xstrdup(op->path),
			 .to = xstrdup(op->to),
			 .n = op->n,
			 .offset = op->offset};
	if (op->data) {
		o->data = xmalloc(op->n + 1);
		memcpy(o->data, op->data, op->n);
	}
}

static void base_take(struct disk_model *m, const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		char *path = xasprintf("%s/%s", dir, entry->d_name);
		struct base base = {.path = path};
		if (entry->d_type != DT_DIR) {
			struct buf data = {0};
			assert_ok(file_read(path, FILE_MAX, &data, err));
			buf_reserve(&data, 1);
			base.data = data.data;
			base.n = data.len;
		}
		VEC_GROW(m->bases, m->base_count, m->base_cap);
		m->bases[m->base_count++] = base;
		if (!base.data)
			base_take(m, path);
	}
	closedir(d);
}

struct disk_model *disk_model_start(const char *dir)
{
	struct disk_model *m = xcalloc(1, sizeof *m);
	m->dir = xstrdup(dir);
	m->watch = (struct disk_watch){record, m};
	base_take(m, dir);
	disk_watch = &m->watch;
	return m;
}

void disk_model_stop(struct disk_model *m)
{
	if (disk_watch == &m->watch)
		disk_watch = NULL;
}

void disk_model_free(struct disk_model *m)
{
	disk_model_stop(m);
	for (size_t i = 0; i < m->base_count; i++) {
		free(m->bases[i].path);
		free(m->bases[i].data);
	}
	for (size_t i = 0; i < m->count; i++) {
		free(m->ops[i].path);
		free(m->ops[i].to);
		free(m->ops[i].data);
	}
	free(m->bases);
	free(m->ops);
	free(m->dir);
	free(m);
}

unsigned disk_model_count(const struct disk_model *m)
{
	return (unsigned)m->count;
}

/* --- a disk --- */

/* The contents of a file: what is durable, and the writes since. */
struct inode {
	bool is_dir;
	uint8_t *data;
	size_t n;
	const struct op **pending;
	size_t pending_count, pending_cap;
};

/* A name and what it stands for; inode -1: the name is gone. */
struct entry {
	char *path;
	int inode;
};

struct entries {
	struct entry *items;
	size_t count, cap;
};

struct disk {
	struct inode *inodes;
	size_t inode_count, inode_cap;
	struct entries now;	/* as the process sees it */
	struct entries durable; /* as it is on the disk */
	struct entries pending; /* changes of names that no sync_dir made durable, in order */
};

static int entries_find(const struct entries *e, const char *path)
{
	for (size_t i = 0; i < e->count; i++)
		if (strcmp(e->items[i].path, path) == 0)
			return e->items[i].inode;
	return -1;
}

static void entries_push(struct entries *e, const char *path, int inode)
{
	VEC_GROW(e->items, e->count, e->cap);
	e->items[e->count++] = (struct entry){xstrdup(path), inode};
}

static void entries_set(struct entries *e, const char *path, int inode)
{
	for (size_t i = 0; i < e->count; i++)
		if (strcmp(e->items[i].path, path) == 0) {
			e->items[i].inode = inode;
			return;
		}
	entries_push(e, path, inode);
}

static void entries_release(struct entries *e)
{
	for (size_t i = 0; i < e->count; i++)
		free(e->items[i].path);
	free(e->items);
}

static int inode_add(struct disk *d, bool is_dir)
{
	VEC_GROW(d->inodes, d->inode_count, d->inode_cap);
	d->inodes[d->inode_count] = (struct inode){.is_dir = is_dir};
	return (int)d->inode_count++;
}

static void inode_apply(struct inode *i, const struct op *op, uint64_t n)
{
	uint64_t end = op->kind == DISK_WRITE ? op->offset + n : op->n;
	if (end > i->n || op->kind == DISK_TRUNCATE) {
		i->data = xreallocarray(i->data, end + 1, 1);
		if (end > i->n)
			memset(i->data + i->n, 0, end - i->n);
		i->n = end;
	}
	if (op->kind == DISK_WRITE)
		memcpy(i->data + op->offset, op->data, n);
}

static void name_change(struct disk *d, const char *path, int inode)
{
	entries_set(&d->now, path, inode);
	entries_push(&d->pending, path, inode);
}

static bool is_in(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static void names_sync(struct disk *d, const char *dir)
{
	size_t kept = 0;
	for (size_t i = 0; i < d->pending.count; i++) {
		struct entry e = d->pending.items[i];
		if (is_in(e.path, dir)) {
			entries_set(&d->durable, e.path, e.inode);
			free(e.path);
		} else {
			d->pending.items[kept++] = e;
		}
	}
	d->pending.count = kept;
}

static struct inode *inode_of(struct disk *d, const char *path)
{
	int inode = entries_find(&d->now, path);
	if (inode < 0)
		fail_msg("%s is written and is not there", path);
	return &d->inodes[inode];
}

static void op_play(struct disk *d, const struct op *op)
{
	struct inode *i;
	switch (op->kind) {
	case DISK_CREATE: name_change(d, op->path, inode_add(d, false)); break;
	case DISK_WRITE:
	case DISK_TRUNCATE:
		i = inode_of(d, op->path);
		VEC_GROW(i->pending, i->pending_count, i->pending_cap);
		i->pending[i->pending_count++] = op;
		break;
	case DISK_SYNC:
		i = inode_of(d, op->path);
		for (size_t p = 0; p < i->pending_count; p++)
			inode_apply(i, i->pending[p], i->pending[p]->n);
		i->pending_count = 0;
		break;
	case DISK_RENAME: {
		int inode = entries_find(&d->now, op->path);
		assert_true(inode >= 0);
		name_change(d, op->path, -1);
		name_change(d, op->to, inode);
		break;
	}
	case DISK_SYNC_DIR: names_sync(d, op->path); break;
	case DISK_MAKE_DIR:
		if (entries_find(&d->now, op->path) < 0)
			name_change(d, op->path, inode_add(d, true));
		break;
	case DISK_REMOVE:
		if (entries_find(&d->now, op->path) >= 0)
			name_change(d, op->path, -1);
		break;
	}
}

static void disk_begin(struct disk *d, const struct disk_model *m)
{
	for (size_t b = 0; b < m->base_count; b++) {
		const struct base *base = &m->bases[b];
		int inode = inode_add(d, !base->data);
		if (base->data) {
			struct inode *i = &d->inodes[inode];
			i->n = base->n;
			i->data = xmalloc(base->n + 1);
			memcpy(i->data, base->data, base->n);
		}
		entries_push(&d->now, base->path, inode);
		entries_push(&d->durable, base->path, inode);
	}
}

static void disk_release(struct disk *d)
{
	for (size_t i = 0; i < d->inode_count; i++) {
		free(d->inodes[i].data);
		free(d->inodes[i].pending);
	}
	free(d->inodes);
	entries_release(&d->now);
	entries_release(&d->durable);
	entries_release(&d->pending);
}

/* --- the power fails --- */

static uint64_t chance(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 11;
}

static void data_cut(struct inode *i, enum cut cut, uint64_t *seed)
{
	for (size_t p = 0; p < i->pending_count; p++) {
		const struct op *op = i->pending[p];
		uint64_t n = op->n;
		if (cut == CUT_ALL_LOST || cut == CUT_DATA_LOST ||
		    (cut == CUT_RANDOM && chance(seed) % 3 == 0))
			continue;
		if (cut == CUT_RANDOM && op->kind == DISK_WRITE && p + 1 == i->pending_count)
			n = chance(seed) % (op->n + 1);
		inode_apply(i, op, n);
	}
}

static void names_cut(struct disk *d, enum cut cut, uint64_t *seed)
{
	for (size_t p = 0; p < d->pending.count; p++) {
		if (cut == CUT_ALL_LOST || cut == CUT_NAMES_LOST ||
		    (cut == CUT_RANDOM && chance(seed) % 2))
			continue;
		entries_set(&d->durable, d->pending.items[p].path, d->pending.items[p].inode);
	}
}

/* Everything goes but directories that `keep` has (NULL: those too). */
static void files_remove(const char *dir, const struct disk *keep)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		char *path = xasprintf("%s/%s", dir, entry->d_name);
		if (entry->d_type != DT_DIR)
			assert_int_equal(unlink(path), 0);
		else {
			bool stays = keep && entries_find(&keep->durable, path) >= 0;
			files_remove(path, stays ? keep : NULL);
			if (!stays)
				assert_int_equal(rmdir(path), 0);
		}
		free(path);
	}
	closedir(d);
}

static void file_make(const char *path, const struct inode *i)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 && errno == ENOENT)
		return; /* its directory was lost */
	assert_true(fd >= 0);
	assert_ok(fd_write_at(fd, i->data, i->n, 0, err));
	close(fd);
}

void disk_model_cut(const struct disk_model *m, unsigned count, enum cut cut, uint64_t seed)
{
	struct disk d = {0};
	seed = seed * 0x9e3779b97f4a7c15ull + count + 1;
	disk_begin(&d, m);
	for (unsigned i = 0; i < count; i++)
		op_play(&d, &m->ops[i]);
	for (size_t i = 0; i < d.inode_count; i++)
		data_cut(&d.inodes[i], cut, &seed);
	names_cut(&d, cut, &seed);
	files_remove(m->dir, &d);
	for (size_t i = 0; i < d.durable.count; i++) {
		const struct entry *e = &d.durable.items[i];
		if (e->inode >= 0 && d.inodes[e->inode].is_dir)
			assert_true(mkdir(e->path, 0700) == 0 || errno == EEXIST ||
				    errno == ENOENT);
	}
	for (size_t i = 0; i < d.durable.count; i++) {
		const struct entry *e = &d.durable.items[i];
		if (e->inode >= 0 && !d.inodes[e->inode].is_dir)
			file_make(e->path, &d.inodes[e->inode]);
	}
	disk_release(&d);
}
