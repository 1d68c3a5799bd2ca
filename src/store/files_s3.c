// SPDX-License-Identifier: Apache-2.0
/*
 * Kind s3: a depot in a bucket. The files of the directory are objects of the same bytes under the
 * prefix; each is durable when its PUT was answered. Packs are sent in the background and waited
 * for when they are settled. The writer holds the lock (s3_lock.c) and makes sure of it before each
 * change; numbers of segments begin with the lock's generation, so that no two writers ever give
 * one name to two things.
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
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "store/depot.h"
#include "store/s3_cache.h"
#include "store/s3_open.h"
#include "store/s3_upload.h"

#define GENERATION_BITS 24 /* segments of one writer: 16 million */
#define FENCED_MS	(S3_LOCK_STALE_MS - S3_LOCK_TRUST_MS)
#define TEMP_BEGINS	"godwit-s3-"

struct s3_files {
	struct files base;
	struct s3 s3;
	struct s3_lock *lock; /* of the writer */
	struct s3_uploads *uploads;
	struct s3_cache *cache;
	char *temp_dir;
	int temp_fd; /* of that directory, locked while we live */
};

static int may_write(struct s3_files *s, struct err *e)
{
	return s->lock ? s3_lock_check(s->lock, e) : 0;
}

/* Copies of segments, so that none is fetched twice: cache/FOLDER/NUMBER.idx, with the SHA-256 of
 * its bytes behind them, as nobody vouches for a local copy. */

static bool is_segment(const char *key)
{
	return text_starts(key, "index/") || text_starts(key, "known/");
}

static char *copy_path(const struct s3_files *s, const char *key)
{
	return s->s3.place.cache_dir ? xasprintf("%s/%s", s->s3.place.cache_dir, key) : NULL;
}

static int copy_check(int fd, size_t *n)
{
	struct stat st;
	struct name expected, found;
	if (fstat(fd, &st) < 0 || st.st_size <= NAME_BYTES)
		return -1;
	*n = (size_t)st.st_size - NAME_BYTES;
	if (fd_read_at(fd, expected.bytes, NAME_BYTES, *n, NULL) < 0)
		return -1;
	void *map = mmap(NULL, *n, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	name_of(map, *n, &found);
	munmap(map, *n);
	return name_compare(&expected, &found) == 0 ? 0 : -1;
}

/* A descriptor of a sound copy, or -1. */
static int copy_open(const struct s3_files *s, const char *key, size_t *n)
{
	char *path = copy_path(s, key);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0 && copy_check(fd, n) < 0) {
		close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

/* Make the file at `temp` with these bytes the copy; a failure only costs a fetch. */
static void copy_keep(const struct s3_files *s, const char *key, int fd, const char *temp,
		      const void *data, size_t n)
{
	struct name hash;
	char *path = copy_path(s, key);
	if (!path)
		return;
	char *folder = xstrdup(path);
	*strrchr(folder, '/') = '\0';
	name_of(data, n, &hash);
	if (file_make_dirs(folder, 0700, NULL) < 0 ||
	    fd_write_at(fd, hash.bytes, NAME_BYTES, n, NULL) < 0 || rename(temp, path) < 0)
		log_debug("store %s: cannot keep %s", s->s3.place.where, path);
	free(folder);
	free(path);
}

static void copy_remove(const struct s3_files *s, const char *key)
{
	char *path = is_segment(key) ? copy_path(s, key) : NULL;
	if (path)
		unlink(path);
	free(path);
}

/* The verbs of files.h */

static int s3_place(struct files *f, int fd, const char *temp, const char *key, bool *placed,
		    struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	struct stat st;
	*placed = false;
	if (may_write(s, e) < 0)
		return -1;
	struct err why = {0};
	int result = is_segment(key) ? s3_put_file(&s->s3, fd, key, &why)
				     : s3_upload_begin(s->uploads, fd, key, &why);
	/* What was refused has no place; what was not answered may have one. */
	*placed = result == 0 || why.kind == ERR_UNAVAILABLE;
	if (result < 0)
		err_set(e, why.kind, "%s", why.text);
	if (result == 0 && is_segment(key) && fstat(fd, &st) == 0 && st.st_size > 0) {
		void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED) {
			copy_keep(s, key, fd, temp, map, (size_t)st.st_size);
			munmap(map, (size_t)st.st_size);
		}
	}
	if (*placed)
		unlink(temp);
	return result;
}

static int s3_settle(struct files *f, const char *folder, struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	return text_starts(folder, "packs/") ? s3_uploads_wait(s->uploads, folder, e) : 0;
}

static int s3_write(struct files *f, const char *key, const void *data, size_t n, struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	/* Written again and again, so one that comes late must not undo another writer's. */
	struct s3_call c = {.method = "PUT",
			    .key = key,
			    .body = data,
			    .body_len = n,
			    .encrypt = true,
			    .fence = s->lock,
			    .limit_ms = FENCED_MS};
	return s3_do(&s->s3, &c, e) < 0 ? -1 : 0;
}

static int s3_remove(struct files *f, const char *key, struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	bool pack = text_starts(key, "packs/");
	/* A removal that is late must not hit what another writer has taken in meanwhile. A pack is
	 * removed because something failed, so it is not insisted on: the next writer adopts it. */
	struct s3_call c = {.method = "DELETE",
			    .key = key,
			    .accept = 404,
			    .fence = s->lock,
			    .limit_ms = FENCED_MS,
			    .once = pack};
	if (pack)
		s3_upload_forget(s->uploads, key);
	if (s3_do(&s->s3, &c, e) < 0)
		return -1;
	s3_cache_forget(s->cache, key);
	copy_remove(s, key);
	return 0;
}

static int s3_set_aside(struct files *f, const char *key, char to[512], struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	const struct s3_place *p = &s->s3.place;
	char *lost = xasprintf("lost/%s", strrchr(key, '/') + 1);
	char *from = xasprintf("/%s/%s%s", p->bucket, p->prefix, key);
	struct http_header source = {"x-amz-copy-source", from};
	struct s3_call copy = {
	    .method = "PUT", .key = lost, .headers = &source, .header_count = 1, .encrypt = true};
	int result = may_write(s, e) < 0 || s3_do(&s->s3, &copy, e) < 0 ? -1 : 0;
	if (result == 0)
		result = s3_remove(f, key, e);
	snprintf(to, 512, "%s/%s", p->where, lost);
	free(lost);
	free(from);
	return result;
}

/* A listing that is passed on, and kept to see which copies are of what is no more. */
struct listing {
	files_each_fn *each;
	void *context;
	char **names;
	size_t count, cap;
};

static int listing_visit(void *context, const char *name, struct err *e)
{
	struct listing *l = context;
	VEC_GROW(l->names, l->count, l->cap);
	l->names[l->count++] = xstrdup(name);
	return l->each(l->context, name, e);
}

static void copies_prune(const struct s3_files *s, const char *folder, const struct listing *l)
{
	char *path = copy_path(s, folder);
	DIR *dir = path ? opendir(path) : NULL;
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		bool listed = entry->d_name[0] == '.' || entry->d_type == DT_DIR;
		for (size_t i = 0; i < l->count && !listed; i++)
			listed = strcmp(l->names[i], entry->d_name) == 0;
		if (!listed)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
	free(path);
}

static int s3_list_folder(struct files *f, const char *folder, files_each_fn *each, void *context,
			  struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	struct listing l = {.each = each, .context = context};
	char *as_folder = xasprintf("%s/", folder);
	if (!s->s3.place.cache_dir || !is_segment(as_folder)) {
		free(as_folder);
		return s3_list(&s->s3, folder, each, context, e);
	}
	int result = s3_list(&s->s3, folder, listing_visit, &l, e);
	if (result == 0)
		copies_prune(s, folder, &l);
	for (size_t i = 0; i < l.count; i++)
		free(l.names[i]);
	free(l.names);
	free(as_folder);
	return result;
}

static int map_fd(const char *key, int fd, size_t n, void **data, struct err *e)
{
	void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(e, errno, "cannot map a copy of %s", key);
	*data = map;
	return 0;
}

static int fetch(struct s3_files *s, const char *key, uint64_t max, int fd, uint64_t *n,
		 struct err *e)
{
	struct http_answer a;
	struct s3_call c = {.method = "GET", .key = key, .max = max, .to_file = true, .to_fd = fd};
	int result = s3_send(&s->s3, &c, &a, e);
	*n = a.body_len;
	http_answer_release(&a);
	if (result > 0 && *n == 0)
		result = err_set(e, ERR_CORRUPT, "%s of store %s is empty", key, s->s3.place.where);
	return result < 0 ? -1 : 0;
}

static int s3_map(struct files *f, const char *key, uint64_t max, void **data, size_t *n,
		  struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	bool segment = is_segment(key);
	int result = -1, fd = segment ? copy_open(s, key, n) : -1;
	uint64_t got = *n;
	char *temp = NULL;
	if (fd >= 0) {
		result = map_fd(key, fd, *n, data, e);
		goto out;
	}
	/* Segments may be large: they lie in a file. */
	temp = segment ? files_temp(f) : xasprintf("(memory)");
	fd = segment ? open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
		     : memfd_create("object", MFD_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "cannot make a temporary file in %s for %s", s->temp_dir, key);
		goto out;
	}
	if (fetch(s, key, max, fd, &got, e) < 0 || map_fd(key, fd, (size_t)got, data, e) < 0)
		goto out;
	*n = (size_t)got;
	if (segment)
		copy_keep(s, key, fd, temp, *data, *n);
	result = 0;
out:
	if (temp && segment)
		unlink(temp);
	if (fd >= 0)
		close(fd);
	free(temp);
	return result;
}

static int s3_read(struct files *f, const char *key, uint64_t offset, void *to, size_t n,
		   struct err *e)
{
	struct s3_files *s = (struct s3_files *)f;
	int found = s->uploads ? s3_upload_read(s->uploads, key, offset, to, n, e) : 0;
	if (found)
		return found < 0 ? -1 : 0;
	return s3_cache_read(s->cache, key, offset, to, n, e);
}

/* A bucket has no size. */
static int s3_space(struct files *f, uint64_t *free_bytes, uint64_t *total_bytes, struct err *e)
{
	(void)f;
	(void)e;
	*free_bytes = *total_bytes = 0;
	return 0;
}

static void s3_files_close(struct files *f)
{
	struct s3_files *s = (struct s3_files *)f;
	s3_uploads_free(s->uploads);
	s3_cache_free(s->cache);
	s3_lock_release(s->lock);
	http_close(s->s3.http);
	s3_place_release(&s->s3.place);
	if (s->temp_dir)
		file_remove_tree(s->temp_dir, NULL);
	if (s->temp_fd >= 0)
		close(s->temp_fd);
	free(s->temp_dir);
	free(s);
}

static const struct files_ops s3_files_ops = {
    .place = s3_place,
    .settle = s3_settle,
    .write = s3_write,
    .remove = s3_remove,
    .set_aside = s3_set_aside,
    .list = s3_list_folder,
    .map = s3_map,
    .read = s3_read,
    .space = s3_space,
    .close = s3_files_close,
};

/* Opening */

/* Directories of processes that were killed: their lock is free. */
static void temp_sweep(const char *parent)
{
	DIR *dir = opendir(parent);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		if (!text_starts(entry->d_name, TEMP_BEGINS))
			continue;
		char *path = xasprintf("%s/%s", parent, entry->d_name);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;
		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			file_remove_tree(path, NULL);
		if (fd >= 0)
			close(fd);
		free(path);
	}
	if (dir)
		closedir(dir);
}

static int temp_make(struct s3_files *s, struct err *e)
{
	const char *cache = s->s3.place.cache_dir, *tmp = getenv("TMPDIR");
	const char *parent = cache ? cache : tmp && *tmp ? tmp : "/var/tmp";
	if (cache && file_make_dirs(cache, 0700, e) < 0)
		return -1;
	temp_sweep(parent);
	char *path = xasprintf("%s/" TEMP_BEGINS "XXXXXX", parent);
	if (!mkdtemp(path)) {
		err_errno(e, errno, "cannot make a temporary directory %s", path);
		free(path);
		return -1;
	}
	s->base.temp_dir = s->temp_dir = path;
	s->temp_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->temp_fd < 0 || flock(s->temp_fd, LOCK_EX | LOCK_NB) < 0)
		return err_errno(e, errno, "cannot lock %s", path);
	return 0;
}

static int connect_to(struct s3_files *s, struct err *e)
{
	const struct s3_place *p = &s->s3.place;
	struct http_plan plan = {.origin = p->endpoint,
				 .ca_file = p->ca_file,
				 .connections = S3_CONNECTIONS,
				 .connect_ms = S3_CONNECT_MS,
				 .stalled_ms = S3_STALLED_MS};
	if (s3_credentials_find(&s->s3.place, e) < 0 || temp_make(s, e) < 0)
		return -1;
	if (http_open(&plan, &s->s3.http, e) < 0)
		return err_prefix(e, "the endpoint of store %s", p->where);
	s->s3.patience_ms = S3_OPEN_PATIENCE_MS;
	s->cache = s3_cache_new(&s->s3);
	return 0;
}

/* What is there, and ours to write. */
static int enter(struct s3_files *s, bool write, bool create, struct err *e)
{
	struct s3 *s3 = &s->s3;
	struct s3_call get = {.method = "GET", .key = "format", .accept = 404};
	if (create && s3_bucket_make(s3, e) < 0)
		return -1;
	if (!create) {
		int status = s3_do(s3, &get, e);
		if (status == 404)
			return err_set(e, ERR_NOT_FOUND, "there is no store in %s at %s",
				       s3->place.where, s3->place.endpoint);
		if (status < 0)
			return -1;
	}
	if (s3_lifecycle_check(s3, create, e) < 0)
		return -1;
	if (write) {
		if (s3_lock_take(s3, &s->lock, e) < 0)
			return -1;
		s->base.number_floor = s3_lock_generation(s->lock) << GENERATION_BITS;
		s->uploads = s3_uploads_new(s3);
	}
	return create ? s3_format_make(s3, e) : 0;
}

static int s3_open(const char *place, bool write, bool create, struct store **out, struct err *e)
{
	struct s3_files *s = xcalloc(1, sizeof *s);
	s->base.ops = &s3_files_ops;
	s->temp_fd = -1;
	if (s3_place_parse(place, &s->s3.place, e) < 0 || connect_to(s, e) < 0 ||
	    enter(s, write, create, e) < 0) {
		s3_files_close(&s->base);
		return -1;
	}
	s->base.where = s->s3.place.where;
	s->s3.patience_ms = S3_PATIENCE_MS;
	return depot_open(&s->base, write, out, e);
}

const struct store_ops store_s3_ops = {
    .kind = "s3",
    .open = s3_open,
    .close = depot_close,
    .has = depot_has,
    .put = depot_put,
    .get = depot_get,
    .commit = depot_commit,
    .ref_set = depot_ref_set,
    .ref_each = depot_ref_each,
    .collect = depot_collect,
};
