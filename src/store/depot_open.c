// SPDX-License-Identifier: Apache-2.0
/* Depots: the file that says what one is, and what opening one for writing after a crash finds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "store/depot.h"

#define FORMAT_MAX_BYTES 4096

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

void depot_format_make(struct buf *out)
{
	char uuid[37];
	uuid_make(uuid);
	buf_printf(out, "godwit store 1\nidentity %s\nkey-domain 0\nmade-by godwit %s\n", uuid,
		   GODWIT_VERSION);
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

static int format_parse(struct depot *d, const char *text, struct err *e)
{
	const char *where = d->files->where;
	char version[16], domain[16];
	if (!line_value(text, "godwit store", version, sizeof version) ||
	    !line_value(text, "identity", d->base.facts.identity, sizeof d->base.facts.identity) ||
	    !line_value(text, "key-domain", domain, sizeof domain))
		return err_set(e, ERR_CORRUPT,
			       "the file format of store %s is damaged; put it back from a backup",
			       where);
	if (strcmp(version, "1") != 0)
		return err_set(e, ERR_INVALID, "store %s has format %s, this godwit reads 1", where,
			       version);
	if (strcmp(domain, "0") != 0)
		return err_set(e, ERR_INVALID,
			       "store %s is encrypted, which this godwit cannot read", where);
	return 0;
}

int depot_format_read(struct depot *d, struct err *e)
{
	struct err why = {0};
	void *data;
	size_t n;
	if (d->files->ops->map(d->files, "format", FORMAT_MAX_BYTES, &data, &n, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return err_set(e, ERR_NOT_FOUND, "there is no store in %s",
				       d->files->where);
		return err_set(e, why.kind, "%s", why.text);
	}
	char *text = xstrndup(data, n);
	int result = format_parse(d, text, e);
	free(text);
	files_unmap(data, n);
	return result;
}

/* Recovery */

/* What adoption gathers, and what the index lists already. */
struct adoption {
	struct depot *depot;
	struct nameset listed, dropped;
	uint8_t *seen; /* by position in listed: its file is there */
	struct name *packs;
	uint32_t pack_count, pack_cap;
	struct buf entries;
};

static void listed_gather(const struct segments *index, struct nameset *listed,
			  struct nameset *dropped)
{
	for (size_t f = 0; f < index->count; f++) {
		const struct segment_file *file = &index->files[f];
		for (uint32_t i = 0; i < file->segment.pack_count; i++) {
			struct name name;
			bool dead = file->dead_packs && file->dead_packs[i / 8] >> i % 8 & 1;
			segment_pack_name(&file->segment, i, &name);
			if (!dead && nameset_find(listed, &name) < 0)
				nameset_add(listed, &name);
		}
		for (uint32_t i = 0; i < file->segment.drop_count; i++) {
			struct pack_drop drop;
			segment_drop_at(&file->segment, i, &drop);
			if (nameset_find(dropped, &drop.pack) < 0)
				nameset_add(dropped, &drop.pack);
		}
	}
}

/* Take a pack's entries in when the whole of it is sound. */
static int pack_adopt(struct adoption *a, const char *key, const struct name *name, struct err *e)
{
	struct files *files = a->depot->files;
	struct pack_view pack;
	void *data;
	size_t n;
	int result = -1;
	if (files->ops->map(files, key, PACK_MAX_BYTES, &data, &n, e) < 0)
		return -1;
	if (pack_parse(data, n, &pack, e) < 0 || pack_check_records(&pack, e) < 0)
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
	files_unmap(data, n);
	return result;
}

/* `file` is "xx/NAME.pack". */
static int pack_visit(void *context, const char *file, struct err *e)
{
	struct adoption *a = context;
	struct files *files = a->depot->files;
	struct name name;
	struct err why = {0};
	char hex[NAME_HEX_BYTES], lost[512];
	snprintf(hex, sizeof hex, "%.64s", strlen(file) > 3 ? file + 3 : "");
	if (strlen(file) != 3 + 64 + strlen(".pack") || file[2] != '/' ||
	    strcmp(file + 3 + 64, ".pack") != 0 || !name_parse(hex, &name))
		return 0; /* none of ours */
	int64_t listed = nameset_find(&a->listed, &name);
	if (listed >= 0) {
		a->seen[listed] = 1;
		return 0;
	}
	char *key = xasprintf("packs/%s", file);
	/* Where segments were lost, what others say may be out of date. */
	bool dropped = !a->depot->index.damaged && nameset_find(&a->dropped, &name) >= 0;
	int result = dropped ? 0 : pack_adopt(a, key, &name, &why);
	if (dropped) {
		/* A collection ended before it removed it. */
		result = files->ops->remove(files, key, e);
	} else if (result == 0) {
		log_debug("store %s: adopted %s", files->where, key);
	} else if (why.kind == ERR_CORRUPT) {
		result = files->ops->set_aside(files, key, lost, e);
		if (result == 0)
			log_debug("store %s: %s is damaged (%s), moved to %s", files->where, key,
				  why.text, lost);
	} else {
		err_set(e, why.kind, "%s", why.text);
	}
	free(key);
	return result;
}

/* A lost segment may have dropped packs that older ones list: those must not count again. */
static int missing_drop(struct adoption *a, struct err *e)
{
	struct segments *index = &a->depot->index;
	struct pack_drop *drops = xcalloc(a->listed.count, sizeof *drops);
	struct segment_notes notes = {.drops = drops};
	struct store_segment nothing = {.kind = SEGMENT_INDEX};
	bool placed;
	for (uint32_t i = 0; i < a->listed.count; i++)
		if (!a->seen[i])
			drops[notes.drop_count++] = (struct pack_drop){a->listed.names[i],
								       index->next_number};
	int result = notes.drop_count ? segments_add(index, &nothing, &notes, &placed, e) : 0;
	free(drops);
	return result;
}

int depot_recover(struct depot *d, struct err *e)
{
	struct adoption a = {.depot = d};
	struct files *files = d->files;
	struct err why = {0};
	bool placed;
	/* A segment that had its place just before a crash of the machine may be seen and yet not
	 * be durable; what is believed from here on must be. */
	if (files->ops->settle(files, "index", e) < 0)
		return -1;
	listed_gather(&d->index, &a.listed, &a.dropped);
	a.seen = xcalloc(1, a.listed.count + 1);
	int result = files->ops->list(files, "packs", pack_visit, &a, &why);
	/* They had their places before the crash, but these may not have been settled. */
	for (uint32_t i = 0; i < a.pack_count && result == 0; i++) {
		char *folder = pack_folder(&a.packs[i]);
		result = files->ops->settle(files, folder, &why);
		free(folder);
	}
	if (result == 0 && d->index.damaged)
		result = missing_drop(&a, &why);
	if (result == 0 && a.pack_count)
		result = depot_index_add(d, a.packs, a.pack_count, a.entries.data,
					 a.entries.len / SEGMENT_ENTRY_BYTES, &placed, &why);
	nameset_release(&a.listed);
	nameset_release(&a.dropped);
	free(a.seen);
	free(a.packs);
	buf_release(&a.entries);
	if (result == 0)
		return 0;
	/* A full disk must not keep the store from opening: the packs wait. */
	if (why.kind != ERR_FULL)
		return err_set(e, why.kind, "%s", why.text);
	log_debug("store %s: %s", files->where, why.text);
	return 0;
}
