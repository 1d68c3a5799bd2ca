// SPDX-License-Identifier: Apache-2.0
/*
 * Depots. Layout and every byte: man/godwit-store.5.
 *
 * Invariants. "Durable" is what files.h says of `place` and `settle`.
 *  1. A pack is durable before a segment of the index lists it; the index is durable before a
 *     known segment names what is in it. So nothing durable refers to something that is not.
 *  2. Files in packs/, index/ and known/ never change.
 *  3. Only the writer writes; the kind sees to it that there is one. Readers take no lock and see
 *     what the index lists; on a miss they list the index again before they say "no".
 *  4. What was put and not committed is only in `pending` and in packs that no segment lists. When
 *     any step before the segment's placing fails, all of it is forgotten and its packs removed,
 *     and the commit fails: the caller puts again.
 *  5. After the segment's placing its packs are never removed, whatever fails. When its settling
 *     fails, nothing more is written until the store is opened anew.
 *  6. A put that fails with ERR_FULL leaves the group as it was: room for a whole pack is checked
 *     and set aside when the pack is begun.
 *  7. A segment is removed only after the one that replaces it is durable, and one commit later.
 *  8. On opening for writing: packs that are whole and not listed are adopted into the index, but
 *     those that a collection dropped are removed; damaged packs and segments are set aside and
 *     nothing of them is believed.
 *  9. A collection (depot_collect.c) removes a pack only when no segment counts it any more. Who
 *     then misses a pack looks into the index again before it says that a chunk is damaged.
 */
#include "store/depot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "base/le.h"

#define REF_HEADER_BYTES 16
#define MOVES_MAX	 8 /* a record would have to be copied during each read of it */

static const char ref_magic[8] = "gwref 1\n";

int depot_index_add(struct depot *d, const struct name *packs, uint32_t pack_count,
		    uint8_t *entries, uint64_t count, bool *placed, struct err *e)
{
	segment_sort(entries, count);
	struct store_segment part = {.kind = SEGMENT_INDEX,
				     .packs = (const uint8_t *)packs,
				     .pack_count = pack_count,
				     .entries = entries,
				     .count = count};
	return segments_add(&d->index, &part, NULL, placed, e);
}

/* Opening and closing */

static void group_abandon(struct depot *d)
{
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		pack_writer_close(&d->writers[i]);
	for (uint32_t i = 0; i < d->group_count; i++) {
		if (!d->group[i].sealed)
			continue;
		char *key = pack_key(&d->group[i].name);
		d->files->ops->remove(d->files, key, NULL);
		free(key);
	}
	d->group_count = 0;
	d->pending_bytes = 0;
	nameset_truncate(&d->pending, 0);
	known_forget(&d->known);
}

static void depot_free(struct depot *d)
{
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		pack_writer_close(&d->writers[i]);
	segments_release(&d->index);
	known_release(&d->known);
	nameset_release(&d->pending);
	pthread_mutex_destroy(&d->mutex);
	free(d->places);
	free(d->group);
	d->files->ops->close(d->files);
	free(d);
}

int depot_open(struct files *files, bool write, struct store **out, struct err *e)
{
	struct depot *d = xcalloc(1, sizeof *d);
	d->files = files;
	pthread_mutex_init(&d->mutex, NULL);
	known_init(&d->known, files, write);
	if (depot_format_read(d, e) < 0 ||
	    segments_load(&d->index, files, SEGMENT_INDEX, "index", write, e) < 0 ||
	    (write && depot_recover(d, e) < 0)) {
		depot_free(d);
		return -1;
	}
	d->base.facts.durable = true;
	*out = &d->base;
	return 0;
}

void depot_close(struct store *s)
{
	struct depot *d = (struct depot *)s;
	group_abandon(d);
	depot_free(d);
}

/* Reading */

/* The record at a place: in the file of a pack being written, or with fd 0 in a pack in its place.
 * Its stored bytes go to `stored`. */
static int record_read(struct depot *d, int fd, const struct place *place, struct record *r,
		       struct buf *stored, struct err *e)
{
	if (place->stored_len == 0 || place->stored_len > RECORD_MAX_PLAIN ||
	    place->offset > PACK_MAX_BYTES)
		return err_set(e, ERR_CORRUPT, "the index gives it an impossible place");
	size_t n = RECORD_HEADER_BYTES + (size_t)place->stored_len;
	buf_reserve(stored, n);
	uint8_t *bytes = stored->data + stored->len;
	char *key = pack_key(&place->pack);
	int result = fd ? fd_read_at(fd, bytes, n, place->offset, e)
			: d->files->ops->read(d->files, key, place->offset, bytes, n, e);
	if (result == 0)
		result = record_parse(bytes, n, r, e);
	if (result == 0 && r->stored_len != place->stored_len)
		result = err_set(e, ERR_CORRUPT, "the record has another size than the index says");
	if (result == 0) {
		memmove(bytes, r->stored, r->stored_len);
		stored->len += r->stored_len;
	}
	free(key);
	return result;
}

/* 1 when the index lists the name; a reader looks for new segments before it says no. */
static int index_find(struct depot *d, const struct name *name, struct place *place,
		      bool *refreshed, struct err *e)
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

/* A collection may have copied the record elsewhere since its place was looked up. */
static bool moved(struct depot *d, const struct name *name, struct place *place)
{
	struct place now;
	pthread_mutex_lock(&d->mutex);
	if (!d->base.facts.writable)
		segments_refresh(&d->index, NULL);
	bool found = segments_find(&d->index, name, &now);
	pthread_mutex_unlock(&d->mutex);
	bool other = found &&
		     (now.offset != place->offset || name_compare(&now.pack, &place->pack) != 0);
	if (other)
		*place = now;
	return other;
}

int depot_get(struct store *s, const struct name *name, struct record *r, struct buf *stored,
	      struct err *e)
{
	struct depot *d = (struct depot *)s;
	struct place place;
	bool refreshed = false;
	char hex[NAME_HEX_BYTES], pack_hex[NAME_HEX_BYTES];
	int result;
	name_hex(name, hex);
	pthread_mutex_lock(&d->mutex);
	int64_t at = nameset_find(&d->pending, name);
	if (at >= 0) {
		const struct pending_place *p = &d->places[at];
		const struct group_pack *pack = &d->group[p->pack];
		place = (struct place){pack->name, p->offset, p->stored_len};
		result = record_read(d, pack->sealed ? 0 : d->writers[pack->kind].fd, &place, r,
				     stored, e);
		pthread_mutex_unlock(&d->mutex);
	} else {
		int found = index_find(d, name, &place, &refreshed, e);
		pthread_mutex_unlock(&d->mutex);
		if (found < 0)
			return -1;
		if (found == 0)
			return err_set(e, ERR_NOT_FOUND, "chunk %s is not in store %s", hex,
				       d->files->where);
		/* Listed packs never change, so this needs no lock. */
		result = record_read(d, 0, &place, r, stored, e);
		for (unsigned i = 0; result < 0 && i < MOVES_MAX && moved(d, name, &place); i++)
			result = record_read(d, 0, &place, r, stored, e);
	}
	if (result < 0) {
		name_hex(&place.pack, pack_hex);
		err_prefix(e, "chunk %s at byte %u of pack %s", hex, place.offset, pack_hex);
	}
	return result;
}

/* While a collection runs: the caller relies on this name from now on. */
static void pin(struct depot *d, const struct name *name)
{
	struct spot spot;
	if (segments_locate(&d->index, name, &spot))
		depot_pin(&spot);
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

int depot_has(struct store *s, const char *group, const struct name *names, size_t n, uint8_t *have,
	      struct err *e)
{
	struct depot *d = (struct depot *)s;
	struct known_group *g = NULL;
	bool known_refreshed = false, refreshed = false;
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (group && known_get(&d->known, group, &g, e) < 0)
		goto out;
	for (size_t i = 0; i < n; i++) {
		/* The index first: its filter answers most of what is new from memory. */
		int found = 1;
		if (nameset_find(&d->pending, &names[i]) < 0)
			found = index_find(d, &names[i], NULL, &refreshed, e);
		if (found > 0 && g)
			found = group_has(g, &names[i], s->facts.writable, &known_refreshed, e);
		if (found > 0 && d->index.hold_below)
			pin(d, &names[i]);
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

static int room_check(struct depot *d, struct err *e)
{
	uint64_t free_bytes, total_bytes;
	char have[24], want[24];
	if (d->files->ops->space(d->files, &free_bytes, &total_bytes, e) < 0)
		return -1;
	if (total_bytes == 0 || free_bytes >= d->files->reserve_bytes)
		return 0;
	size_text(free_bytes, have);
	size_text(d->files->reserve_bytes, want);
	return err_set(e, ERR_FULL,
		       "store %s has %s free and keeps %s in reserve; make room on its file system",
		       d->files->where, have, want);
}

static int writer_begin(struct depot *d, enum record_kind kind, struct err *e)
{
	if (room_check(d, e) < 0)
		return -1;
	char *temp = files_temp(d->files);
	int result = pack_writer_open(&d->writers[kind], temp, kind, e);
	free(temp);
	return result;
}

static int pack_place(struct depot *d, struct pack_writer *w, struct group_pack *pack,
		      struct err *e)
{
	if (pack_writer_finish(w, &pack->name, e) < 0)
		return -1;
	char *key = pack_key(&pack->name);
	int result = d->files->ops->place(d->files, w->fd, w->temp, key, &pack->sealed, e);
	if (pack->sealed)
		pack_writer_placed(w);
	free(key);
	return result;
}

/* Finish an open pack. When that fails its records are gone, so the group cannot be committed. */
static int writer_seal(struct depot *d, enum record_kind kind, struct err *e)
{
	struct pack_writer *w = &d->writers[kind];
	struct err why = {0};
	int result = 0;
	if (w->count) {
		result = pack_place(d, w, &d->group[d->writer_pack[kind]], &why);
		if (result < 0)
			d->group_failed = why;
	}
	pack_writer_close(w);
	return result < 0 ? err_set(e, why.kind, "%s", why.text) : 0;
}

static int record_append(struct depot *d, const struct record *r, struct err *e)
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
static int usable(const struct depot *d, const struct err *failed, struct err *e)
{
	if (failed->kind == ERR_NONE)
		return 0;
	return err_set(e, failed->kind, "store %s: %s", d->files->where, failed->text);
}

int depot_put(struct store *s, const char *group, const struct record *r, struct err *e)
{
	struct depot *d = (struct depot *)s;
	struct known_group *g = NULL;
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0 || usable(d, &d->group_failed, e) < 0 ||
	    (group && known_get(&d->known, group, &g, e) < 0))
		goto out;
	bool present = nameset_find(&d->pending, &r->name) >= 0 ||
		       segments_find(&d->index, &r->name, NULL);
	if (present && d->index.hold_below)
		pin(d, &r->name);
	if (!present && record_append(d, r, e) < 0)
		goto out;
	if (g)
		known_learn(g, &r->name);
	result = present ? 0 : 1;
out:
	pthread_mutex_unlock(&d->mutex);
	return result;
}

static int packs_make_durable(struct depot *d, struct err *e)
{
	for (size_t i = 0; i < COUNT_OF(d->writers); i++)
		if (d->writers[i].fd && writer_seal(d, (enum record_kind)i, e) < 0)
			return -1;
	for (uint32_t i = 0; i < d->group_count; i++) {
		char *folder = pack_folder(&d->group[i].name);
		int result = d->files->ops->settle(d->files, folder, e);
		free(folder);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int group_index(struct depot *d, bool *placed, struct err *e)
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
	int result = depot_index_add(d, packs, d->group_count, entries, d->pending.count, placed,
				     e);
	free(packs);
	free(entries);
	return result;
}

/* Steps 1 and 2 of a commit: packs, then the index. */
static int group_commit(struct depot *d, struct err *e)
{
	struct err why = {0};
	bool placed = false;
	if (usable(d, &d->group_failed, &why) == 0 && packs_make_durable(d, &why) == 0 &&
	    (d->pending.count == 0 || group_index(d, &placed, &why) == 0)) {
		d->group_count = 0;
		d->pending_bytes = 0;
		nameset_truncate(&d->pending, 0);
		return 0;
	}
	if (placed) {
		/* Whether the segment survives a crash is not known: its packs stay. */
		d->group_count = 0;
		nameset_truncate(&d->pending, 0);
		d->broken = why;
		err_prefix(&d->broken, "open it again, an earlier commit did not end");
		d->base.facts.reopen = true;
	}
	group_abandon(d);
	d->group_failed = (struct err){0};
	return err_set(e, why.kind, "%s", why.text);
}

int depot_commit(struct store *s, struct store_space *space, struct err *e)
{
	struct depot *d = (struct depot *)s;
	struct err ignored = {0};
	int result = -1;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0 || group_commit(d, e) < 0 ||
	    known_commit(&d->known, e) < 0)
		goto out;
	if (segments_tidy(&d->index, &ignored) < 0)
		log_debug("store %s: %s", d->files->where, ignored.text);
	*space = (struct store_space){.stored_bytes = segments_record_bytes(&d->index)};
	result = d->files->ops->space(d->files, &space->free_bytes, &space->total_bytes, e);
out:
	pthread_mutex_unlock(&d->mutex);
	return result;
}

/* References: "gwref 1\n", length, checksum of the data, the data. */

int depot_ref_set(struct store *s, const char *ref, const void *data, size_t n, struct err *e)
{
	struct depot *d = (struct depot *)s;
	char *key = xasprintf("refs/%s", ref);
	int result;
	pthread_mutex_lock(&d->mutex);
	if (usable(d, &d->broken, e) < 0) {
		result = -1;
	} else if (data) {
		struct buf file = {0};
		uint8_t numbers[8];
		le32_put(numbers, (uint32_t)n);
		le32_put(numbers + 4, crc32c(0, data, n));
		buf_add(&file, ref_magic, sizeof ref_magic);
		buf_add(&file, numbers, sizeof numbers);
		buf_add(&file, data, n);
		result = d->files->ops->write(d->files, key, file.data, file.len, e);
		buf_release(&file);
	} else {
		result = d->files->ops->remove(d->files, key, e);
		if (result == 0)
			result = d->files->ops->settle(d->files, "refs", e);
	}
	pthread_mutex_unlock(&d->mutex);
	free(key);
	return result;
}

struct ref_visit {
	struct depot *depot;
	store_ref_fn *each;
	void *context;
};

static int ref_visit(void *context, const char *ref, struct err *e)
{
	struct ref_visit *v = context;
	struct files *files = v->depot->files;
	struct err why = {0};
	void *data;
	size_t n;
	char *key = xasprintf("refs/%s", ref);
	int result = files->ops->map(files, key, REF_HEADER_BYTES + REF_BYTES_MAX, &data, &n, &why);
	if (result < 0) {
		/* One that is gone meanwhile was deleted. */
		result = why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
		goto out;
	}
	const uint8_t *file = data;
	if (n < REF_HEADER_BYTES || memcmp(file, ref_magic, sizeof ref_magic) != 0 ||
	    le32_get(file + 8) != n - REF_HEADER_BYTES ||
	    le32_get(file + 12) != crc32c(0, file + REF_HEADER_BYTES, n - REF_HEADER_BYTES))
		result = err_set(e, ERR_CORRUPT,
				 "%s of store %s is damaged; put it back from a backup", key,
				 files->where);
	else
		result = v->each(v->context, ref, file + REF_HEADER_BYTES, n - REF_HEADER_BYTES);
	files_unmap(data, n);
out:
	free(key);
	return result;
}

int depot_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e)
{
	struct ref_visit v = {(struct depot *)s, each, context};
	struct files *files = v.depot->files;
	return files->ops->list(files, "refs", ref_visit, &v, e);
}
