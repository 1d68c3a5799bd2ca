// SPDX-License-Identifier: Apache-2.0
/*
 * Kind dir: a depot in a directory. Everything is written in tmp/, synced and renamed to its place;
 * settling is syncing the directory of that place. The holder of the lock on `lock` writes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "store/depot.h"
#include "store/disk.h"

#define OPEN_FILES_MAX 64

/* A file open for reading. */
struct open_file {
	char *key;
	int fd;
	uint64_t used;	  /* when, by dir.clock */
	unsigned readers; /* that read it now, without the mutex: it stays open */
};

struct dir {
	struct files base;
	char *path, *tmp;
	int lock_fd;
	pthread_mutex_t mutex;
	struct open_file open[OPEN_FILES_MAX];
	uint64_t clock;
};

char *files_temp(struct files *f)
{
	return xasprintf("%s/%s%llu", f->temp_dir, f->temp_tag,
			 (unsigned long long)f->temp_count++);
}

void files_unmap(void *data, size_t n)
{
	munmap(data, n);
}

static char *path_of(struct files *f, const char *key)
{
	return xasprintf("%s/%s", ((struct dir *)f)->path, key);
}

static void cut_last(char *path)
{
	*strrchr(path, '/') = '\0';
}

/* The verbs of files.h */

/* Rename; the folder of a group is made when its first segment comes. */
static int rename_into(const char *temp, const char *path, struct err *e)
{
	struct err why = {0};
	if (disk_rename(temp, path, &why) == 0)
		return 0;
	if (why.kind != ERR_NOT_FOUND)
		return err_set(e, why.kind, "%s", why.text);
	char *folder = xstrdup(path);
	cut_last(folder);
	int result = disk_make_dir(folder, e);
	cut_last(folder);
	if (result == 0 && disk_sync_dir(folder, e) < 0)
		result = -1;
	free(folder);
	return result < 0 ? -1 : disk_rename(temp, path, e);
}

static int dir_place(struct files *f, int fd, const char *temp, const char *key, bool *placed,
		     struct err *e)
{
	char *path = path_of(f, key);
	int result = disk_sync(fd, temp, e);
	if (result == 0)
		result = rename_into(temp, path, e);
	*placed = result == 0;
	free(path);
	return result;
}

static int dir_settle(struct files *f, const char *folder, struct err *e)
{
	char *path = path_of(f, folder);
	int result = disk_sync_dir(path, e);
	free(path);
	return result;
}

static int dir_write(struct files *f, const char *key, const void *data, size_t n, struct err *e)
{
	char *path = path_of(f, key), *folder = path_of(f, key), *temp = files_temp(f);
	cut_last(folder);
	int result = disk_replace(temp, path, folder, data, n, e);
	free(temp);
	free(folder);
	free(path);
	return result;
}

static int dir_remove(struct files *f, const char *key, struct err *e)
{
	struct dir *d = (struct dir *)f;
	pthread_mutex_lock(&d->mutex);
	for (size_t i = 0; i < OPEN_FILES_MAX; i++) {
		struct open_file *o = &d->open[i];
		if (o->readers || !o->key || strcmp(o->key, key) != 0)
			continue;
		close(o->fd); /* an open file would keep its room */
		free(o->key);
		*o = (struct open_file){0};
	}
	pthread_mutex_unlock(&d->mutex);
	char *path = path_of(f, key);
	int result = disk_remove(path, e);
	free(path);
	return result;
}

static int dir_set_aside(struct files *f, const char *key, char to[512], struct err *e)
{
	const char *name = strrchr(key, '/') + 1;
	char *path = path_of(f, key);
	char *lost = xasprintf("%s/lost/%s", f->temp_dir, name);
	int result = disk_rename(path, lost, e);
	snprintf(to, 512, "%s", lost);
	free(lost);
	free(path);
	return result;
}

static int list(const char *path, const char *before, files_each_fn *each, void *context,
		struct err *e)
{
	DIR *dir = opendir(path);
	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return err_errno(e, errno, "cannot read the directory %s", path);
	const struct dirent *entry;
	int result = 0;
	while (result == 0 && (errno = 0, entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		char *name = xasprintf("%s%s", before, entry->d_name);
		if (entry->d_type == DT_DIR) {
			char *sub = xasprintf("%s/%s", path, entry->d_name);
			char *sub_before = xasprintf("%s/", name);
			result = list(sub, sub_before, each, context, e);
			free(sub_before);
			free(sub);
		} else {
			result = each(context, name, e);
		}
		free(name);
	}
	if (result == 0 && errno)
		result = err_errno(e, errno, "cannot read the directory %s", path);
	closedir(dir);
	return result;
}

static int dir_list(struct files *f, const char *folder, files_each_fn *each, void *context,
		    struct err *e)
{
	char *path = path_of(f, folder);
	int result = list(path, "", each, context, e);
	free(path);
	return result;
}

static int dir_map(struct files *f, const char *key, uint64_t max, void **data, size_t *n,
		   struct err *e)
{
	struct stat st;
	char *path = path_of(f, key);
	void *map = MAP_FAILED;
	int result = -1, fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_errno(e, errno, "cannot open %s", path);
		goto out;
	}
	if (st.st_size <= 0 || (uint64_t)st.st_size > max) {
		err_set(e, ERR_CORRUPT, "%s cannot have %lld bytes", path, (long long)st.st_size);
		goto out;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		err_errno(e, errno, "cannot map %s", path);
		goto out;
	}
	*data = map;
	*n = (size_t)st.st_size;
	result = 0;
out:
	if (fd >= 0)
		close(fd);
	free(path);
	return result;
}

/* A descriptor of a file. *held is it among those kept open, with one reader more; NULL when all of
 * those are being read: then the descriptor is the caller's own. */
static int fd_of(struct dir *d, const char *key, struct open_file **held, struct err *e)
{
	struct open_file *oldest = NULL;
	for (size_t i = 0; i < OPEN_FILES_MAX; i++) {
		struct open_file *o = &d->open[i];
		if (o->key && strcmp(o->key, key) == 0) {
			o->used = ++d->clock;
			o->readers++;
			*held = o;
			return o->fd;
		}
		if (o->readers == 0 && (!oldest || o->used < oldest->used))
			oldest = o;
	}
	char *path = path_of(&d->base, key);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		err_set(e, ERR_CORRUPT, "%s is missing; put it back from a backup", path);
	else if (fd < 0)
		err_errno(e, errno, "cannot open %s", path);
	free(path);
	*held = fd < 0 ? NULL : oldest;
	if (!*held)
		return fd;
	if (oldest->key) {
		close(oldest->fd);
		free(oldest->key);
	}
	*oldest = (struct open_file){xstrdup(key), fd, ++d->clock, 1};
	return fd;
}

static int dir_read(struct files *f, const char *key, uint64_t offset, void *to, size_t n,
		    struct err *e)
{
	struct dir *d = (struct dir *)f;
	struct open_file *held;
	pthread_mutex_lock(&d->mutex);
	int fd = fd_of(d, key, &held, e);
	pthread_mutex_unlock(&d->mutex);
	if (fd < 0)
		return -1;
	int result = fd_read_at(fd, to, n, offset, e);
	if (!held) {
		close(fd);
		return result;
	}
	pthread_mutex_lock(&d->mutex);
	held->readers--;
	pthread_mutex_unlock(&d->mutex);
	return result;
}

static int dir_space(struct files *f, uint64_t *free_bytes, uint64_t *total_bytes, struct err *e)
{
	return file_space(((struct dir *)f)->path, free_bytes, total_bytes, e);
}

static void dir_files_close(struct files *f)
{
	struct dir *d = (struct dir *)f;
	for (size_t i = 0; i < OPEN_FILES_MAX; i++)
		if (d->open[i].key) {
			close(d->open[i].fd);
			free(d->open[i].key);
		}
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	pthread_mutex_destroy(&d->mutex);
	free(d->path);
	free(d->tmp);
	free(d);
}

static const struct files_ops dir_files_ops = {
    .place = dir_place,
    .settle = dir_settle,
    .write = dir_write,
    .remove = dir_remove,
    .set_aside = dir_set_aside,
    .list = dir_list,
    .map = dir_map,
    .read = dir_read,
    .space = dir_space,
    .close = dir_files_close,
};

/* Making one */

/* Only what a store's making leaves may be there, so that nobody's files become a store's. */
static int place_check(const char *path, struct err *e)
{
	static const char *const ours[] = {".",	    "..",    "lost+found", "lock", "packs",
					   "index", "known", "refs",	   "tmp"};
	DIR *dir = opendir(path);
	if (!dir)
		return err_errno(e, errno, "cannot read the directory %s", path);
	const struct dirent *entry;
	int result = 0;
	while (result == 0 && (entry = readdir(dir))) {
		bool fine = false;
		for (size_t i = 0; i < COUNT_OF(ours); i++)
			fine |= strcmp(entry->d_name, ours[i]) == 0;
		if (!fine)
			result = err_set(e, ERR_CONFLICT,
					 "%s holds \"%.80s\" and is no store; give a new or empty "
					 "directory",
					 path, entry->d_name);
	}
	closedir(dir);
	return result;
}

static int dirs_make(const char *path, struct err *e)
{
	static const char *const names[] = {"packs", "index", "known", "refs", "tmp", "tmp/lost"};
	char *dir = NULL;
	int result = 0;
	for (size_t i = 0; i < COUNT_OF(names) && result == 0; i++) {
		free(dir);
		dir = xasprintf("%s/%s", path, names[i]);
		result = disk_make_dir(dir, e);
	}
	for (unsigned i = 0; i < 256 && result == 0; i++) {
		free(dir);
		dir = xasprintf("%s/packs/%02x", path, i);
		result = disk_make_dir(dir, e);
	}
	free(dir);
	dir = xasprintf("%s/packs", path);
	if (result == 0)
		result = disk_sync_dir(dir, e);
	if (result == 0)
		result = disk_sync_dir(path, e);
	free(dir);
	return result;
}

static int format_write(const char *path, struct err *e)
{
	struct buf text = {0};
	char *format = xasprintf("%s/format", path), *temp = xasprintf("%s/tmp/format", path);
	depot_format_make(&text);
	int result = disk_remove(temp, e);
	if (result == 0)
		result = disk_replace(temp, format, path, text.data, text.len, e);
	buf_release(&text);
	free(format);
	free(temp);
	return result;
}

/* The file `format` is written last: without it there is no store. */
static int dir_make(const char *path, struct err *e)
{
	char *format = xasprintf("%s/format", path), *lock = xasprintf("%s/lock", path);
	int fd = -1, result = 0;
	if (access(format, F_OK) == 0)
		goto out;
	result = -1;
	if (file_make_dirs(path, 0700, e) < 0 || place_check(path, e) < 0)
		goto out;
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		err_errno(e, errno, "cannot lock %s", lock);
		goto out;
	}
	if (access(format, F_OK) == 0 || /* another made it meanwhile */
	    (dirs_make(path, e) == 0 && format_write(path, e) == 0))
		result = 0;
out:
	if (fd >= 0)
		close(fd);
	free(format);
	free(lock);
	return result;
}

/* Opening */

/* PATH or PATH?reserve=SIZE. */
static int place_parse(const char *place, struct dir *d, struct err *e)
{
	const char *option = strstr(place, "?reserve=");
	d->base.reserve_bytes = STORE_RESERVE_BYTES;
	d->path = option ? xstrndup(place, (size_t)(option - place)) : xstrdup(place);
	if (d->path[0] == '\0')
		return err_set(e, ERR_INVALID, "a store of kind dir needs a path: dir:PATH");
	if (option)
		return size_parse("the store's reserve", option + strlen("?reserve="), 0, TIB,
				  &d->base.reserve_bytes, e);
	return 0;
}

static int lock_take(struct dir *d, struct err *e)
{
	char *path = xasprintf("%s/lock", d->path);
	int result = 0;
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock_fd < 0)
		result = err_errno(e, errno, "cannot open %s", path);
	else if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0)
		result = errno == EWOULDBLOCK
			     ? err_set(e, ERR_BUSY, "store %s has a writer already", d->path)
			     : err_errno(e, errno, "cannot lock %s", path);
	free(path);
	return result;
}

/* What was being written when its writer died. */
static int temp_clear(struct dir *d, struct err *e)
{
	DIR *dir = opendir(d->tmp);
	if (!dir)
		return err_errno(e, errno, "cannot read the directory %s", d->tmp);
	const struct dirent *entry;
	int result = 0;
	while (result == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lost") == 0)
			continue;
		char *path = xasprintf("%s/%s", d->tmp, entry->d_name);
		result = disk_remove(path, e);
		free(path);
	}
	closedir(dir);
	return result;
}

static bool is_made(const struct dir *d)
{
	char *format = xasprintf("%s/format", d->path);
	bool made = access(format, F_OK) == 0;
	free(format);
	return made;
}

static int dir_open(const char *place, bool write, bool create, struct store **out, struct err *e)
{
	struct dir *d = xcalloc(1, sizeof *d);
	d->base.ops = &dir_files_ops;
	d->lock_fd = -1;
	pthread_mutex_init(&d->mutex, NULL);
	if (place_parse(place, d, e) < 0 || (create && dir_make(d->path, e) < 0))
		goto fail;
	d->tmp = xasprintf("%s/tmp", d->path);
	d->base.where = d->path;
	d->base.temp_dir = d->tmp;
	if (!write)
		id_make(d->base.temp_tag, "reader-", 8);
	if (write && is_made(d) && (lock_take(d, e) < 0 || temp_clear(d, e) < 0))
		goto fail;
	return depot_open(&d->base, write, out, e);
fail:
	dir_files_close(&d->base);
	return -1;
}

const struct store_ops store_dir_ops = {
    .kind = "dir",
    .open = dir_open,
    .close = depot_close,
    .has = depot_has,
    .put = depot_put,
    .get = depot_get,
    .commit = depot_commit,
    .ref_set = depot_ref_set,
    .ref_each = depot_ref_each,
    .collect = depot_collect,
};
