// SPDX-License-Identifier: Apache-2.0
/*
 * Kind dir: a store in a directory. Layout and every byte: man/godwit-store.5.
 *
 * Invariants. "Durable" is: written, synced, renamed to its place, its directory synced.
 *  1. A pack is durable before a segment of the index lists it; the index is durable before a
 *     known segment names what is in it. So nothing durable refers to something that is not.
 *  2. Files in packs/, index/ and known/ never change and are never written in place.
 *  3. Only the holder of the lock on `lock` writes. Readers take no lock and see what the index
 *     lists; on a miss they read the index's directory again before they say "no".
 *  4. What was put and not committed is only in `pending` and in packs that no segment lists. When
 *     any step before the segment's rename fails, all of it is forgotten and its packs removed,
 *     and the commit fails: the caller puts again.
 *  5. After the segment's rename its packs are never removed, whatever fails. When the sync of the
 *     index's directory fails, nothing more is written until the store is opened anew.
 *  6. A put that fails with ERR_FULL leaves the group as it was: room for a whole pack is checked
 *     and set aside when the pack is begun.
 *  7. A segment is removed only after the one that replaces it is durable, and one commit later.
 *  8. On opening for writing: what is in tmp/ goes; packs that are whole and not listed are
 *     adopted into the index; damaged packs and segments are moved to tmp/lost and nothing of
 *     them is believed.
 */
#include "store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "store/disk.h"
#include "store/le.h"

#define REF_HEADER_BYTES 16

static const char ref_magic[8] = "gwref 1\n";

char *dir_temp(struct dir *d)
{
	return xasprintf("%s/%llu", d->tmp, (unsigned long long)d->temp_count++);
}

int dir_index_add(struct dir *d, const struct name *packs, uint32_t pack_count, uint8_t *entries,
		  uint64_t count, bool *renamed, struct err *e)
{
	segment_sort(entries, count);
	struct store_segment part = {.kind = SEGMENT_INDEX,
				     .packs = (const uint8_t *)packs,
				     .pack_count = pack_count,
				     .entries = entries,
				     .count = count};
	char *temp = dir_temp(d);
	int result = segments_add(&d->index, &part, temp, renamed, e);
	free(temp);
	return result;
}

/* Opening and closing */

static void dir_free(struct dir *d)
{
	for (size_t i = 0; i < OPEN_PACKS_MAX; i++)
		if (d->packs_open[i].used)
			close(d->packs_open[i].fd);
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		pack_writer_close(&d->writers[i]);
	segments_release(&d->index);
	known_release(&d->known);
	nameset_release(&d->pending);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	pthread_mutex_destroy(&d->mutex);
	free(d->places);
	free(d->group);
	free(d->path);
	free(d->packs);
	free(d->index_dir);
	free(d->refs);
	free(d->tmp);
	free(d->lost);
	free(d);
}

/* PATH or PATH?reserve=SIZE. */
static int place_parse(const char *place, struct dir *d, struct err *e)
{
	const char *option = strstr(place, "?reserve=");
	d->reserve_bytes = STORE_RESERVE_BYTES;
	d->path = option ? xstrndup(place, (size_t)(option - place)) : xstrdup(place);
	if (d->path[0] == '\0')
		return err_set(e, ERR_INVALID, "a store of kind dir needs a path: dir:PATH");
	if (option)
		return size_parse("the store's reserve", option + strlen("?reserve="), 0, TIB,
				  &d->reserve_bytes, e);
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

static int dir_open(const char *place, bool write, bool create, struct store **out, struct err *e)
{
	struct dir *d = xcalloc(1, sizeof *d);
	d->lock_fd = -1;
	pthread_mutex_init(&d->mutex, NULL);
	if (place_parse(place, d, e) < 0 || (create && dir_make(d->path, e) < 0))
		goto fail;
	d->packs = xasprintf("%s/packs", d->path);
	d->index_dir = xasprintf("%s/index", d->path);
	d->refs = xasprintf("%s/refs", d->path);
	d->tmp = xasprintf("%s/tmp", d->path);
	d->lost = xasprintf("%s/lost", d->tmp);
	if (dir_format_read(d, e) < 0 || (write && lock_take(d, e) < 0))
		goto fail;
	char *known = xasprintf("%s/known", d->path);
	known_init(&d->known, known, write ? d->lost : NULL);
	free(known);
	if (segments_load(&d->index, SEGMENT_INDEX, d->index_dir, write ? d->lost : NULL, e) < 0 ||
	    (write && dir_recover(d, e) < 0))
		goto fail;
	d->base.facts.durable = true;
	*out = &d->base;
	return 0;
fail:
	dir_free(d);
	return -1;
}

static void dir_close(struct store *s)
{
	struct dir *d = (struct dir *)s;
	dir_group_abandon(d);
	dir_free(d);
}

/* Reading */

/* A descriptor of a pack in its place, kept open among those used last. */
static int pack_fd(struct dir *d, const struct name *pack, struct err *e)
{
	struct open_pack *oldest = &d->packs_open[0];
	for (size_t i = 0; i < OPEN_PACKS_MAX; i++) {
		struct open_pack *p = &d->packs_open[i];
		if (p->used && name_compare(&p->name, pack) == 0) {
			p->used = ++d->clock;
			return p->fd;
		}
		if (p->used < oldest->used)
			oldest = p;
	}
	char *path = pack_path(d->packs, pack);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		err_set(e, ERR_CORRUPT, "%s is missing; put it back from a backup", path);
	else if (fd < 0)
		err_errno(e, errno, "cannot open %s", path);
	free(path);
	if (fd < 0)
		return -1;
	if (oldest->used)
		close(oldest->fd);
	*oldest = (struct open_pack){*pack, fd, ++d->clock};
	return fd;
}

/* Read the record at an offset of a pack; its stored bytes go to `stored`. */
static int record_read(int fd, uint32_t offset, uint32_t stored_len, struct record *r,
		       struct buf *stored, struct err *e)
{
	if (stored_len == 0 || stored_len > RECORD_MAX_PLAIN || offset > PACK_MAX_BYTES)
		return err_set(e, ERR_CORRUPT, "the index gives it an impossible place");
	size_t n = RECORD_HEADER_BYTES + (size_t)stored_len;
	uint8_t *bytes = xmalloc(n);
	int result = fd_read_at(fd, bytes, n, offset, e);
	if (result == 0)
		result = record_parse(bytes, n, r, e);
	if (result == 0 && r->stored_len != stored_len)
		result = err_set(e, ERR_CORRUPT, "the record has another size than the index says");
	if (result == 0)
		buf_add(stored, r->stored, r->stored_len);
	free(bytes);
	return result;
}

/* 1 when the index lists the name; a reader looks for new segments before it says no. */
static int index_find(struct dir *d, const struct name *name, struct place *place, bool *refreshed,
		      struct err *e)
{
	if (segments_find(&d->index, name, place))
		return 1;
	if (d->base.facts.writable || *refreshed)
		return 0;
	*refreshed = true;
	int changed = segments_refresh(&d->index, e);
	if (changed <= 0)
		return changed;
	return segments_find(&d->index, name, place);
}

static int dir_get(struct store *s, const struct name *name, struct record *r, struct buf *stored,
		   struct err *e)
{
	struct dir *d = (struct dir *)s;
	struct place place;
	bool refreshed = false;
	char hex[NAME_HEX_BYTES];
	int fd, result = -1;
	name_hex(name, hex);
	pthread_mutex_lock(&d->mutex);
	int64_t at = nameset_find(&d->pending, name);
	if (at >= 0) {
		const struct pending_place *p = &d->places[at];
		const struct group_pack *pack = &d->group[p->pack];
		place = (struct place){pack->name, p->offset, p->stored_len};
		fd = pack->sealed ? pack_fd(d, &pack->name, e) : d->writers[pack->kind].fd;
	} else {
		int found = index_find(d, name, &place, &refreshed, e);
		if (found == 0)
			err_set(e, ERR_NOT_FOUND, "chunk %s is not in store %s", hex, d->path);
		if (found <= 0)
			goto out;
		fd = pack_fd(d, &place.pack, e);
	}
	if (fd < 0)
		goto out;
	result = record_read(fd, place.offset, place.stored_len, r, stored, e);
	if (result < 0) {
		char pack_hex[NAME_HEX_BYTES];
		name_hex(&place.pack, pack_hex);
		err_prefix(e, "chunk %s at byte %u of pack %s", hex, place.offset, pack_hex);
	}
out:
	pthread_mutex_unlock(&d->mutex);
	return result;
}

static int group_has(struct known_group *g, const struct name *name, bool writer, bool *refreshed,
		     struct err *e)
{
	if (known_has(g, name))
		return 1;
	if (writer || *refreshed)
		return 0;
	*refreshed = true;
	int changed = segments_refresh(&g->segments, e);
	return changed <= 0 ? changed : known_has(g, name);
}

static int dir_has(struct store *s, const char *group, const struct name *names, size_t n,
		   uint8_t *have, struct err *e)
{
	struct dir *d = (struct dir *)s;
	struct known_group *g = NULL;
	bool known_refreshed = false, refreshed = false;
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (group && known_get(&d->known, group, &g, e) < 0)
		goto out;
	for (size_t i = 0; i < n; i++) {
		int found = g ? group_has(g, &names[i], s->facts.writable, &known_refreshed, e) : 1;
		if (found > 0 && nameset_find(&d->pending, &names[i]) < 0)
			found = index_find(d, &names[i], NULL, &refreshed, e);
		if (found < 0)
			goto out;
		have[i] = found > 0;
	}
	result = 0;
out:
	pthread_mutex_unlock(&d->mutex);
	return result;
}

/* Writing */

void dir_group_abandon(struct dir *d)
{
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		pack_writer_close(&d->writers[i]);
	for (uint32_t i = 0; i < d->group_count; i++) {
		if (!d->group[i].sealed)
			continue;
		char *path = pack_path(d->packs, &d->group[i].name);
		disk_remove(path, NULL);
		free(path);
	}
	d->group_count = 0;
	d->pending_bytes = 0;
	nameset_truncate(&d->pending, 0);
	known_forget(&d->known);
}

int dir_room_check(struct dir *d, struct err *e)
{
	uint64_t free_bytes, total_bytes;
	char have[24], want[24];
	if (file_space(d->path, &free_bytes, &total_bytes, e) < 0)
		return -1;
	if (free_bytes >= d->reserve_bytes)
		return 0;
	size_text(free_bytes, have);
	size_text(d->reserve_bytes, want);
	return err_set(e, ERR_FULL,
		       "store %s has %s free and keeps %s in reserve; make room on its file system",
		       d->path, have, want);
}

static int writer_begin(struct dir *d, enum record_kind kind, struct err *e)
{
	if (dir_room_check(d, e) < 0)
		return -1;
	char *temp = dir_temp(d);
	int result = pack_writer_open(&d->writers[kind], temp, kind, e);
	free(temp);
	return result;
}

/* Finish an open pack. When that fails its records are gone, so the group cannot be committed. */
static int writer_seal(struct dir *d, enum record_kind kind, struct err *e)
{
	struct pack_writer *w = &d->writers[kind];
	struct err why = {0};
	int result = 0;
	if (w->count) {
		struct group_pack *pack = &d->group[d->writer_pack[kind]];
		result = pack_writer_seal(w, d->packs, &pack->name, &why);
		if (result == 0)
			pack->sealed = true;
		else
			d->group_failed = why;
	}
	pack_writer_close(w);
	return result < 0 ? err_set(e, why.kind, "%s", why.text) : 0;
}

static int record_append(struct dir *d, const struct record *r, struct err *e)
{
	struct pack_writer *w = &d->writers[r->kind];
	if (w->fd && !pack_writer_fits(w, r->stored_len) &&
	    writer_seal(d, (enum record_kind)r->kind, e) < 0)
		return -1;
	if (!w->fd && writer_begin(d, (enum record_kind)r->kind, e) < 0)
		return -1;
	uint32_t offset = w->used;
	if (pack_writer_append(w, r, e) < 0)
		return -1;
	if (w->count == 1) {
		VEC_GROW(d->group, d->group_count, d->group_cap);
		d->group[d->group_count] = (struct group_pack){.kind = (enum record_kind)r->kind};
		d->writer_pack[r->kind] = d->group_count++;
	}
	VEC_GROW(d->places, d->pending.count, d->places_cap);
	d->places[nameset_add(&d->pending, &r->name)] = (struct pending_place){
	    d->writer_pack[r->kind], offset, r->stored_len};
	d->pending_bytes += RECORD_HEADER_BYTES + (uint64_t)r->stored_len;
	return 0;
}

/* The store may not write on: what failed before says why. */
static int usable(const struct dir *d, const struct err *failed, struct err *e)
{
	if (failed->kind == ERR_NONE)
		return 0;
	return err_set(e, failed->kind, "store %s: %s", d->path, failed->text);
}

static int dir_put(struct store *s, const char *group, const struct record *r, struct err *e)
{
	struct dir *d = (struct dir *)s;
	struct known_group *g = NULL;
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0 || usable(d, &d->group_failed, e) < 0 ||
	    (group && known_get(&d->known, group, &g, e) < 0))
		goto out;
	bool present = nameset_find(&d->pending, &r->name) >= 0 ||
		       segments_find(&d->index, &r->name, NULL);
	if (!present && record_append(d, r, e) < 0)
		goto out;
	if (g)
		known_learn(g, &r->name);
	result = present ? 0 : 1;
out:
	pthread_mutex_unlock(&d->mutex);
	return result;
}

static int packs_make_durable(struct dir *d, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		if (d->writers[i].fd && writer_seal(d, (enum record_kind)i, e) < 0)
			return -1;
	for (uint32_t i = 0; i < d->group_count; i++) {
		char *dir = pack_dir(d->packs, &d->group[i].name);
		int result = disk_sync_dir(dir, e);
		free(dir);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int group_index(struct dir *d, bool *renamed, struct err *e)
{
	struct name *packs = xcalloc(d->group_count, sizeof *packs);
	uint8_t *entries = xcalloc(d->pending.count, SEGMENT_ENTRY_BYTES);
	for (uint32_t i = 0; i < d->group_count; i++)
		packs[i] = d->group[i].name;
	for (uint32_t i = 0; i < d->pending.count; i++) {
		const struct pending_place *p = &d->places[i];
		index_entry_encode(&d->pending.names[i], p->pack, p->offset, p->stored_len,
				   entries + (size_t)i * SEGMENT_ENTRY_BYTES);
	}
	int result = dir_index_add(d, packs, d->group_count, entries, d->pending.count, renamed, e);
	free(packs);
	free(entries);
	return result;
}

/* Steps 1 and 2 of a commit: packs, then the index. */
static int group_commit(struct dir *d, struct err *e)
{
	struct err why = {0};
	bool renamed = false;
	if (usable(d, &d->group_failed, &why) == 0 && packs_make_durable(d, &why) == 0 &&
	    (d->pending.count == 0 || group_index(d, &renamed, &why) == 0)) {
		d->group_count = 0;
		d->pending_bytes = 0;
		nameset_truncate(&d->pending, 0);
		return 0;
	}
	if (renamed) {
		/* Whether the segment survives a crash is not known: its packs stay. */
		d->group_count = 0;
		nameset_truncate(&d->pending, 0);
		d->broken = why;
		err_prefix(&d->broken, "open it again, an earlier commit did not end");
	}
	dir_group_abandon(d);
	d->group_failed = (struct err){0};
	return err_set(e, why.kind, "%s", why.text);
}

static int dir_commit(struct store *s, struct store_space *space, struct err *e)
{
	struct dir *d = (struct dir *)s;
	struct err ignored = {0};
	char *temp = NULL;
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0 || group_commit(d, e) < 0)
		goto out;
	temp = dir_temp(d);
	if (known_commit(&d->known, temp, e) < 0)
		goto out;
	if (segments_tidy(&d->index, temp, &ignored) < 0)
		log_debug("store %s: %s", d->path, ignored.text);
	*space = (struct store_space){.stored_bytes = segments_record_bytes(&d->index)};
	result = file_space(d->path, &space->free_bytes, &space->total_bytes, e);
out:
	free(temp);
	pthread_mutex_unlock(&d->mutex);
	return result;
}

/* References: "gwref 1\n", length, checksum of the data, the data. */

static int dir_ref_set(struct store *s, const char *ref, const void *data, size_t n, struct err *e)
{
	struct dir *d = (struct dir *)s;
	char *path = xasprintf("%s/%s", d->refs, ref);
	int result;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0) {
		result = -1;
	} else if (data) {
		struct buf file = {0};
		uint8_t numbers[8];
		char *temp = dir_temp(d);
		le32_put(numbers, (uint32_t)n);
		le32_put(numbers + 4, crc32c(0, data, n));
		buf_add(&file, ref_magic, sizeof ref_magic);
		buf_add(&file, numbers, sizeof numbers);
		buf_add(&file, data, n);
		result = disk_replace(temp, path, d->refs, file.data, file.len, e);
		free(temp);
		buf_release(&file);
	} else {
		result = disk_remove(path, e);
		if (result == 0)
			result = disk_sync_dir(d->refs, e);
	}
	pthread_mutex_unlock(&d->mutex);
	free(path);
	return result;
}

/* 1 and the file in `out`, 0 when it is gone meanwhile. */
static int ref_read(const struct dir *d, const char *ref, struct buf *out, struct err *e)
{
	struct err why = {0};
	char *path = xasprintf("%s/%s", d->refs, ref);
	int result = 1;
	if (file_read(path, REF_HEADER_BYTES + REF_BYTES_MAX, out, &why) < 0)
		result = why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	else if (out->len < REF_HEADER_BYTES || memcmp(out->data, ref_magic, 8) != 0 ||
		 le32_get(out->data + 8) != out->len - REF_HEADER_BYTES ||
		 le32_get(out->data + 12) !=
		     crc32c(0, out->data + REF_HEADER_BYTES, out->len - REF_HEADER_BYTES))
		result = err_set(e, ERR_CORRUPT, "%s is damaged; put it back from a backup", path);
	free(path);
	return result;
}

static int dir_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e)
{
	struct dir *d = (struct dir *)s;
	DIR *dir = opendir(d->refs);
	if (!dir)
		return err_errno(e, errno, "cannot read the directory %s", d->refs);
	const struct dirent *entry;
	int result = 0;
	while (result == 0 && (errno = 0, entry = readdir(dir))) {
		struct buf file = {0};
		if (entry->d_name[0] == '.')
			continue;
		result = ref_read(d, entry->d_name, &file, e);
		if (result > 0)
			result = each(context, entry->d_name, file.data + REF_HEADER_BYTES,
				      file.len - REF_HEADER_BYTES);
		buf_release(&file);
	}
	closedir(dir);
	return result;
}

const struct store_ops store_dir_ops = {
    .kind = "dir",
    .open = dir_open,
    .close = dir_close,
    .has = dir_has,
    .put = dir_put,
    .get = dir_get,
    .commit = dir_commit,
    .ref_set = dir_ref_set,
    .ref_each = dir_ref_each,
};
