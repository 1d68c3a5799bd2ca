// SPDX-License-Identifier: Apache-2.0
/* Kind dir: making a store, and what opening one for writing after a crash finds. */
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
#include "store/dir.h"
#include "store/disk.h"

#define FORMAT_MAX_BYTES 4096

/* Making one */

static void uuid_make(char out[37])
{
	uint8_t b[16];
	char hex[33];
	random_bytes(b, sizeof b);
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	hex_encode(b, sizeof b, hex);
	snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

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
	char uuid[37];
	struct buf text = {0};
	char *format = xasprintf("%s/format", path), *temp = xasprintf("%s/tmp/format", path);
	uuid_make(uuid);
	buf_printf(&text, "godwit store 1\nidentity %s\nkey-domain 0\nmade-by godwit %s\n", uuid,
		   GODWIT_VERSION);
	int result = disk_remove(temp, e);
	if (result == 0)
		result = disk_replace(temp, format, path, text.data, text.len, e);
	buf_release(&text);
	free(format);
	free(temp);
	return result;
}

/* The file `format` is written last: without it there is no store. */
int dir_make(const char *path, struct err *e)
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

/* The rest of the line that begins with `word` and a space; false when there is none. */
static bool line_value(const char *text, const char *word, char *out, size_t room)
{
	size_t n = strlen(word);
	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL) {
		if (strncmp(text, word, n) != 0 || text[n] != ' ')
			continue;
		size_t len = strcspn(text + n + 1, "\n");
		if (len >= room)
			return false;
		memcpy(out, text + n + 1, len);
		out[len] = '\0';
		return true;
	}
	return false;
}

int dir_format_read(struct dir *d, struct err *e)
{
	struct buf text = {0};
	struct err why = {0};
	char version[16], domain[16];
	char *path = xasprintf("%s/format", d->path);
	int result = -1;
	if (file_read(path, FORMAT_MAX_BYTES, &text, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			err_set(e, ERR_NOT_FOUND, "there is no store in %s", d->path);
		else
			err_set(e, why.kind, "%s", why.text);
	} else if (!line_value(buf_str(&text), "godwit store", version, sizeof version) ||
		   !line_value(buf_str(&text), "identity", d->base.facts.identity,
			       sizeof d->base.facts.identity) ||
		   !line_value(buf_str(&text), "key-domain", domain, sizeof domain)) {
		err_set(e, ERR_CORRUPT, "%s is damaged; put it back from a backup", path);
	} else if (strcmp(version, "1") != 0) {
		err_set(e, ERR_INVALID, "store %s has format %s, this godwit reads 1", d->path,
			version);
	} else if (strcmp(domain, "0") != 0) {
		err_set(e, ERR_INVALID, "store %s is encrypted, which this godwit cannot read",
			d->path);
	} else {
		result = 0;
	}
	buf_release(&text);
	free(path);
	return result;
}

/* Recovery */

typedef int entry_fn(struct dir *d, const char *path, const char *name, void *context,
		     struct err *e);

static int each_entry(struct dir *d, const char *dir_path, entry_fn *each, void *context,
		      struct err *e)
{
	DIR *dir = opendir(dir_path);
	if (!dir)
		return err_errno(e, errno, "cannot read the directory %s", dir_path);
	const struct dirent *entry;
	int result = 0;
	while (result == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		char *path = xasprintf("%s/%s", dir_path, entry->d_name);
		result = each(d, path, entry->d_name, context, e);
		free(path);
	}
	closedir(dir);
	return result;
}

static int temp_remove(struct dir *d, const char *path, const char *name, void *context,
		       struct err *e)
{
	(void)context;
	(void)d;
	return strcmp(name, "lost") == 0 ? 0 : disk_remove(path, e);
}

/* What adoption gathers, and what the index lists already. */
struct adoption {
	struct nameset listed;
	struct name *packs;
	uint32_t pack_count, pack_cap;
	struct buf entries;
};

static void listed_gather(const struct segments *index, struct nameset *listed)
{
	for (size_t f = 0; f < index->count; f++) {
		const struct store_segment *s = &index->files[f].segment;
		for (uint32_t i = 0; i < s->pack_count; i++) {
			struct name name;
			memcpy(name.bytes, s->packs + i * (size_t)NAME_BYTES, NAME_BYTES);
			if (nameset_find(listed, &name) < 0)
				nameset_add(listed, &name);
		}
	}
}

/* Take a pack's entries in when the whole of it is sound. */
static int pack_adopt(struct adoption *a, const char *path, const struct name *name, struct err *e)
{
	struct stat st;
	struct pack_view pack;
	void *map = MAP_FAILED;
	int result = -1, fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_errno(e, errno, "cannot open %s", path);
		goto out;
	}
	if (st.st_size <= 0 || (uint64_t)st.st_size > PACK_MAX_BYTES) {
		err_set(e, ERR_CORRUPT, "a pack cannot have %lld bytes", (long long)st.st_size);
		goto out;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		err_errno(e, errno, "cannot map %s", path);
		goto out;
	}
	if (pack_parse(map, (size_t)st.st_size, &pack, e) < 0 || pack_check_records(&pack, e) < 0)
		goto out;
	if (name_compare(&pack.name, name) != 0) {
		err_set(e, ERR_CORRUPT, "the pack is not the one its file name says");
		goto out;
	}
	for (uint32_t i = 0; i < pack.count; i++) {
		uint8_t encoded[SEGMENT_ENTRY_BYTES];
		struct pack_entry entry;
		pack_entry_at(&pack, i, &entry);
		index_entry_encode(&entry.name, a->pack_count, entry.offset, entry.stored_len,
				   encoded);
		buf_add(&a->entries, encoded, sizeof encoded);
	}
	VEC_GROW(a->packs, a->pack_count, a->pack_cap);
	a->packs[a->pack_count++] = *name;
	result = 0;
out:
	if (map != MAP_FAILED)
		munmap(map, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return result;
}

static int pack_visit(struct dir *d, const char *path, const char *file, void *context,
		      struct err *e)
{
	struct adoption *a = context;
	struct name name;
	struct err why = {0};
	char hex[NAME_HEX_BYTES];
	snprintf(hex, sizeof hex, "%.64s", file);
	if (strlen(file) != 64 + strlen(".pack") || strcmp(file + 64, ".pack") != 0 ||
	    !name_parse(hex, &name))
		return 0; /* none of ours */
	if (nameset_find(&a->listed, &name) >= 0)
		return 0;
	if (pack_adopt(a, path, &name, &why) == 0) {
		log_debug("store %s: adopted %s", d->path, path);
		return 0;
	}
	if (why.kind != ERR_CORRUPT)
		return err_set(e, why.kind, "%s", why.text);
	char *lost = xasprintf("%s/%s", d->lost, file);
	int result = disk_rename(path, lost, e);
	log_debug("store %s: %s is damaged (%s), moved to %s", d->path, path, why.text, lost);
	free(lost);
	return result;
}

static int packs_visit(struct dir *d, const char *path, const char *name, void *context,
		       struct err *e)
{
	(void)name;
	return each_entry(d, path, pack_visit, context, e);
}

static int adopt(struct dir *d, struct err *e)
{
	struct adoption a = {0};
	bool renamed;
	listed_gather(&d->index, &a.listed);
	int result = each_entry(d, d->packs, packs_visit, &a, e);
	/* They were renamed before the crash, but their directories may not have been synced. */
	for (uint32_t i = 0; i < a.pack_count && result == 0; i++) {
		char *dir = pack_dir(d->packs, &a.packs[i]);
		result = disk_sync_dir(dir, e);
		free(dir);
	}
	if (result == 0 && a.pack_count)
		result = dir_index_add(d, a.packs, a.pack_count, a.entries.data,
				       a.entries.len / SEGMENT_ENTRY_BYTES, &renamed, e);
	nameset_release(&a.listed);
	free(a.packs);
	buf_release(&a.entries);
	return result;
}

int dir_recover(struct dir *d, struct err *e)
{
	struct err why = {0};
	if (each_entry(d, d->tmp, temp_remove, NULL, e) < 0)
		return -1;
	/* A segment that was renamed just before a crash of the machine may be seen and yet not be
	 * durable; what is believed from here on must be. */
	if (disk_sync_dir(d->index_dir, e) < 0)
		return -1;
	if (adopt(d, &why) < 0) {
		/* A full disk must not keep the store from opening: the packs wait. */
		if (why.kind != ERR_FULL)
			return err_set(e, why.kind, "%s", why.text);
		log_debug("store %s: %s", d->path, why.text);
	}
	return 0;
}
