// SPDX-License-Identifier: Apache-2.0
/*
 * Depots: freeing what nothing needs any more. One collection at a time, of the writer, beside
 * streams that ask, put and commit; a reader may do the first half, to know what could be freed.
 *
 * What may go, and why nothing that is needed does:
 *  1. The segments there when it begins are held: not merged, not unmapped. Only entries of those
 *     can die. What is put afterwards is in newer segments or in the group, and never dies.
 *  2. An entry is live when the mark reached it (its caller walks all references, leases, journals
 *     and streams: copy/collect.h), or when since the beginning `has` answered yes for it or `put`
 *     found it there. Nothing else makes a name usable: so whoever relies on a name either was seen
 *     by the mark or makes it live by asking.
 *  3. A pack with less than half live is condemned, under the mutex. From then on its entries that
 *     are not live do not count for `has`, `put` and `get`: nobody can come to rely on them, and who
 *     puts such a name puts a new record. Whether an entry of it is live changes no more.
 *  4. Its live records are copied, as they are and checked, to new packs. When these are durable,
 *     one segment of the index lists them and drops the condemned packs: for segments that were
 *     held, entries in those do not count any more. Until that segment has its place all that was
 *     done is forgotten without a trace but packs that no segment lists, which the next opening
 *     adopts.
 *  5. Only then the dropped packs are removed, unless a newer segment or the group has a pack of
 *     that very name. After a crash the next opening removes them: dropped packs are not adopted.
 *  6. Readers that hold an older index miss a pack, read the index again, and find the copy.
 *  7. A pack that cannot be read whole is left as it is.
 *
 * The work goes in rounds, first what holds nothing live, then copies of up to 256 MiB, so that a
 * full disk is freed step by step. The mutex is held for moments, never for reading a pack or for
 * writing one; the longest is at the end, when an index that was written anew is taken in (under a
 * second for a TiB).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "store/depot.h"
#include "store/disk.h"

#define SLICE	    8192 /* entries looked at under one hold of the mutex */
#define REMOVE_ONCE 256	 /* packs removed under one */
#define ROUND_BYTES (256 * MIB)

struct judged_pack {
	uint64_t bytes, live; /* of the records that are listed */
	bool condemned, spoiled;
};

struct collection {
	struct store_live live; /* first */
	struct depot *d;
	const struct store_collecting *plan;
	struct store_collected *out;
	struct segment_file *files; /* the held ones, as they were at the beginning */
	size_t count;
	struct segment_marks *marks;
	uint32_t **numbers; /* by file and number of a pack there: its position in packs */
	struct nameset names;
	struct judged_pack *packs;
	uint32_t packs_cap;
};

static bool bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static void bit_set(uint8_t *bits, uint64_t i)
{
	bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static void lock(struct collection *c)
{
	pthread_mutex_lock(&c->d->mutex);
}

static void unlock(struct collection *c)
{
	pthread_mutex_unlock(&c->d->mutex);
}

static int stopped(const struct collection *c, struct err *e)
{
	if (c->plan->stop && *c->plan->stop)
		return err_set(e, ERR_CONFLICT, "the collection was stopped; what it did stays");
	return 0;
}

/* --- marking --- */

static enum live_state live_mark(struct depot *d, enum live_kind kind, const struct name *name)
{
	struct spot spot;
	if (nameset_find(&d->pending, name) >= 0)
		return LIVE_FRESH;
	if (!segments_locate(&d->index, name, &spot))
		return LIVE_MISSING;
	if (!spot.file->marks)
		return LIVE_FRESH; /* newer than the collection */
	uint8_t *bits = kind == LIVE_NODE ? spot.file->marks->nodes : spot.file->marks->leaves;
	if (bit(bits, spot.position))
		return LIVE_KNOWN;
	bit_set(bits, spot.position);
	return LIVE_FRESH;
}

static void live_add(struct store_live *live, enum live_kind kind, const struct name *names,
		     size_t n, uint8_t *states)
{
	struct collection *c = (struct collection *)live;
	for (size_t i = 0; i < n;) {
		size_t end = n - i > SLICE ? i + SLICE : n;
		lock(c);
		for (; i < end; i++) {
			enum live_state state = live_mark(c->d, kind, &names[i]);
			if (states)
				states[i] = (uint8_t)state;
		}
		unlock(c);
	}
}

void depot_pin(const struct spot *spot)
{
	if (spot->file->marks)
		bit_set(spot->file->marks->leaves, spot->position);
}

static int begin(struct collection *c, struct err *e)
{
	struct depot *d = c->d;
	struct segments *index = &d->index;
	int result = -1;
	lock(c);
	if (index->hold_below) {
		err_set(e, ERR_BUSY, "store %s is being collected already", d->files->where);
		goto out;
	}
	if (d->broken.kind != ERR_NONE) {
		err_set(e, d->broken.kind, "store %s: %s", d->files->where, d->broken.text);
		goto out;
	}
	if (!d->base.facts.writable && segments_refresh(index, e) < 0)
		goto out;
	index->hold_below = index->next_number;
	c->count = index->count;
	c->files = xcalloc(c->count, sizeof *c->files);
	c->marks = xcalloc(c->count, sizeof *c->marks);
	for (size_t i = 0; i < c->count; i++) {
		const struct store_segment *s = &index->files[i].segment;
		c->marks[i] = (struct segment_marks){
		    .nodes = xcalloc(1, s->count / 8 + 1),
		    .leaves = xcalloc(1, s->count / 8 + 1),
		    .condemned = xcalloc(1, s->pack_count / 8 + 1)};
		index->files[i].marks = &c->marks[i];
		c->files[i] = index->files[i];
	}
	result = 0;
out:
	unlock(c);
	return result;
}

static void end(struct collection *c)
{
	struct segments *index = &c->d->index;
	lock(c);
	for (size_t i = 0; i < index->count; i++)
		index->files[i].marks = NULL;
	index->hold_below = 0;
	unlock(c);
	for (size_t i = 0; i < c->count; i++) {
		free(c->marks[i].nodes);
		free(c->marks[i].leaves);
		free(c->marks[i].condemned);
		if (c->numbers)
			free(c->numbers[i]);
	}
	free(c->marks);
	free(c->files);
	free(c->numbers);
	free(c->packs);
	nameset_release(&c->names);
}

/* --- judging packs --- */

static void packs_unite(struct collection *c)
{
	c->numbers = xcalloc(c->count, sizeof *c->numbers);
	for (size_t f = 0; f < c->count; f++) {
		const struct store_segment *s = &c->files[f].segment;
		c->numbers[f] = xcalloc(s->pack_count, sizeof **c->numbers);
		for (uint32_t i = 0; i < s->pack_count; i++) {
			struct name name;
			segment_pack_name(s, i, &name);
			int64_t at = nameset_find(&c->names, &name);
			if (at < 0) {
				VEC_GROW(c->packs, c->names.count, c->packs_cap);
				at = nameset_add(&c->names, &name);
				c->packs[at] = (struct judged_pack){0};
			}
			c->numbers[f][i] = (uint32_t)at;
		}
	}
}

/* The held file `f` as it is now: which of its packs are dead may have changed. */
static const struct segment_file *held(const struct collection *c, size_t f)
{
	const struct segments *index = &c->d->index;
	for (size_t i = 0; i < index->count; i++)
		if (index->files[i].number == c->files[f].number)
			return &index->files[i];
	return &c->files[f];
}

static void judge_slice(struct collection *c, size_t f, uint64_t from, uint64_t to)
{
	const struct segment_file *file = held(c, f);
	const struct segment_marks *m = &c->marks[f];
	for (uint64_t i = from; i < to; i++) {
		uint32_t number = segment_pack_at(&file->segment, i);
		struct judged_pack *pack = &c->packs[c->numbers[f][number]];
		if (file->dead_packs && bit(file->dead_packs, number))
			continue;
		uint64_t bytes = segment_bytes_at(&file->segment, i);
		bool live = bit(m->nodes, i) || bit(m->leaves, i);
		pack->bytes += bytes;
		pack->live += live ? bytes : 0;
		c->out->names++;
		c->out->live_names += live;
		c->out->record_bytes += bytes;
		c->out->live_bytes += live ? bytes : 0;
	}
}

static void judge(struct collection *c)
{
	packs_unite(c);
	for (size_t f = 0; f < c->count; f++)
		for (uint64_t i = 0; i < c->files[f].segment.count;) {
			uint64_t left = c->files[f].segment.count - i;
			uint64_t to = left > SLICE ? i + SLICE : i + left;
			lock(c);
			judge_slice(c, f, i, to);
			unlock(c);
			i = to;
		}
	for (uint32_t i = 0; i < c->names.count; i++)
		c->out->packs += c->packs[i].bytes > 0;
}

/* --- a round --- */

struct round {
	uint32_t *packs; /* positions of the condemned ones */
	uint32_t count, cap;
	struct pack_writer writers[RECORD_NODE + 1];
	uint32_t writer_pack[RECORD_NODE + 1];
	struct name *made; /* packs of the copies */
	bool *made_placed;
	uint32_t made_count, made_cap, placed_cap;
	struct buf entries;
	uint64_t copied_bytes;
};

/* Without copies those with nothing live, else those with the least, as many as a round may copy. */
static void round_choose(struct collection *c, bool copies, struct round *r)
{
	uint64_t sum = 0;
	for (unsigned tenth = 0; tenth < (copies ? 5 : 1); tenth++)
		for (uint32_t i = 0; i < c->names.count; i++) {
			const struct judged_pack *p = &c->packs[i];
			if (p->condemned || p->spoiled || !p->bytes || p->live * 2 >= p->bytes)
				continue;
			if (copies ? p->live * 10 / p->bytes != tenth || sum >= ROUND_BYTES
				   : p->live > 0)
				continue;
			VEC_GROW(r->packs, r->count, r->cap);
			r->packs[r->count++] = i;
			sum += p->live;
		}
}

/* Make the marks say which packs are condemned. */
static void condemned_publish(struct collection *c)
{
	lock(c);
	for (size_t f = 0; f < c->count; f++) {
		const struct store_segment *s = &c->files[f].segment;
		for (uint32_t i = 0; i < s->pack_count; i++) {
			uint8_t *byte = &c->marks[f].condemned[i / 8],
				mask = (uint8_t)(1u << i % 8);
			if (c->packs[c->numbers[f][i]].condemned)
				*byte |= mask;
			else
				*byte &= (uint8_t)~mask;
		}
	}
	unlock(c);
}

static void condemn(struct collection *c, const struct round *r, bool condemned)
{
	for (uint32_t i = 0; i < r->count; i++)
		c->packs[r->packs[i]].condemned = condemned && !c->packs[r->packs[i]].spoiled;
	condemned_publish(c);
}

static int copy_place(struct collection *c, struct round *r, struct pack_writer *w, struct err *e)
{
	uint32_t number = r->writer_pack[w - r->writers];
	int result = pack_writer_finish(w, &r->made[number], e);
	if (result == 0) {
		struct files *files = c->d->files;
		char *key = pack_key(&r->made[number]);
		result = files->ops->place(files, w->fd, w->temp, key, &r->made_placed[number], e);
		if (r->made_placed[number])
			pack_writer_placed(w);
		free(key);
	}
	pack_writer_close(w);
	return result;
}

static int copy_writer(struct collection *c, struct round *r, const struct record *record,
		       struct err *e)
{
	struct pack_writer *w = &r->writers[record->kind];
	if (w->fd && !pack_writer_fits(w, record->stored_len) && copy_place(c, r, w, e) < 0)
		return -1;
	if (w->fd)
		return 0;
	lock(c);
	char *temp = files_temp(c->d->files);
	unlock(c);
	int result = pack_writer_open(w, temp, (enum record_kind)record->kind, e);
	free(temp);
	if (result < 0)
		return -1;
	VEC_GROW(r->made, r->made_count, r->made_cap);
	if (r->placed_cap < r->made_cap) {
		r->placed_cap = r->made_cap;
		r->made_placed = xreallocarray(r->made_placed, r->placed_cap, sizeof(bool));
	}
	r->made_placed[r->made_count] = false;
	r->writer_pack[record->kind] = r->made_count++;
	return 0;
}

static int copy_record(struct collection *c, struct round *r, const struct pack_view *pack,
		       const struct pack_entry *entry, struct err *e)
{
	struct record record;
	uint8_t encoded[SEGMENT_ENTRY_BYTES];
	size_t n = RECORD_HEADER_BYTES + (size_t)entry->stored_len;
	if (record_parse(pack->data + entry->offset, n, &record, e) < 0)
		return -1;
	if (name_compare(&record.name, &entry->name) != 0 || record.kind != pack->kind ||
	    record.stored_len != entry->stored_len)
		return err_set(e, ERR_CORRUPT, "a record is not the one in the table");
	if (copy_writer(c, r, &record, e) < 0)
		return -1;
	struct pack_writer *w = &r->writers[record.kind];
	index_entry_encode(&record.name, r->writer_pack[record.kind], w->used, record.stored_len,
			   encoded);
	if (pack_writer_append(w, &record, e) < 0)
		return -1;
	buf_add(&r->entries, encoded, sizeof encoded);
	r->copied_bytes += n;
	return 0;
}

/* Is this record of this pack the one that the index means, and live? */
static bool is_meant(struct collection *c, const struct name *pack, const struct pack_entry *entry)
{
	struct spot spot;
	struct place place;
	if (!segments_locate(&c->d->index, &entry->name, &spot) || !spot.file->marks)
		return false;
	segment_place_at(&spot.file->segment, spot.position, &place);
	return place.offset == entry->offset && name_compare(&place.pack, pack) == 0;
}

static int copy_live(struct collection *c, struct round *r, const struct pack_view *pack,
		     struct err *e)
{
	uint8_t *wanted = xcalloc(1, pack->count / 8 + 1);
	struct pack_entry entry;
	int result = 0;
	for (uint32_t i = 0; i < pack->count;) {
		uint32_t to = pack->count - i > SLICE ? i + SLICE : pack->count;
		lock(c);
		for (; i < to; i++) {
			pack_entry_at(pack, i, &entry);
			if (is_meant(c, &pack->name, &entry))
				bit_set(wanted, i);
		}
		unlock(c);
	}
	for (uint32_t i = 0; i < pack->count && result == 0; i++) {
		pack_entry_at(pack, i, &entry);
		if (bit(wanted, i))
			result = copy_record(c, r, pack, &entry, e);
	}
	free(wanted);
	return result;
}

/* Copy what is live in a condemned pack. One that is not whole is spared. */
static int copy_pack(struct collection *c, struct round *r, uint32_t position, struct err *e)
{
	struct files *files = c->d->files;
	struct pack_view pack;
	struct err why = {0};
	void *data = NULL;
	size_t n;
	char *key = pack_key(&c->names.names[position]);
	int result = files->ops->map(files, key, PACK_MAX_BYTES, &data, &n, &why);
	if (result == 0) {
		result = pack_parse(data, n, &pack, &why);
		if (result == 0)
			result = copy_live(c, r, &pack, &why);
		files_unmap(data, n);
	}
	if (result < 0 && (why.kind == ERR_CORRUPT || why.kind == ERR_NOT_FOUND)) {
		log_debug("store %s: %s is left as it is: %s", files->where, key, why.text);
		c->packs[position].spoiled = true;
		c->out->packs_spoiled++;
		result = 0;
	} else if (result < 0) {
		err_set(e, why.kind, "%s", why.text);
	}
	free(key);
	return result;
}

static int copies_make(struct collection *c, struct round *r, struct err *e)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (stopped(c, e) < 0 || copy_pack(c, r, r->packs[i], e) < 0)
			return -1;
	for (size_t i = 0; i < COUNT_OF(r->writers); i++)
		if (r->writers[i].fd && copy_place(c, r, &r->writers[i], e) < 0)
			return -1;
	for (uint32_t i = 0; i < r->made_count; i++) {
		char *folder = pack_folder(&r->made[i]);
		int result = c->d->files->ops->settle(c->d->files, folder, e);
		free(folder);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* One segment lists the copies and drops the condemned. */
static int index_switch(struct collection *c, struct round *r, bool *placed, struct err *e)
{
	struct depot *d = c->d;
	struct pack_drop *drops = xcalloc(r->count, sizeof *drops);
	struct segment_notes notes = {.drops = drops};
	struct store_segment part = {.kind = SEGMENT_INDEX,
				     .packs = (const uint8_t *)r->made,
				     .pack_count = r->made_count,
				     .entries = r->entries.data,
				     .count = r->entries.len / SEGMENT_ENTRY_BYTES};
	segment_sort(r->entries.data, part.count);
	lock(c);
	for (uint32_t i = 0; i < r->count; i++)
		if (c->packs[r->packs[i]].condemned)
			drops[notes.drop_count++] = (struct pack_drop){c->names.names[r->packs[i]],
								       d->index.hold_below};
	int result = segments_add(&d->index, &part, &notes, placed, e);
	if (result < 0 && *placed) {
		/* Whether the segment survives a crash is not known: as after a failed commit. */
		d->broken = *e;
		err_prefix(&d->broken, "open it again, a collection did not end");
		d->base.facts.reopen = true;
	}
	unlock(c);
	free(drops);
	return result;
}

/* The packs that a segment or the group has now. */
static void listed_now(const struct depot *d, struct nameset *listed)
{
	for (size_t f = 0; f < d->index.count; f++) {
		const struct segment_file *file = &d->index.files[f];
		for (uint32_t i = 0; i < file->segment.pack_count; i++) {
			struct name name;
			if (file->dead_packs && bit(file->dead_packs, i))
				continue;
			segment_pack_name(&file->segment, i, &name);
			if (nameset_find(listed, &name) < 0)
				nameset_add(listed, &name);
		}
	}
	for (uint32_t i = 0; i < d->group_count; i++)
		if (d->group[i].sealed && nameset_find(listed, &d->group[i].name) < 0)
			nameset_add(listed, &d->group[i].name);
}

static void packs_remove(struct collection *c, const struct round *r)
{
	struct files *files = c->d->files;
	for (uint32_t i = 0; i < r->count;) {
		struct nameset listed = {0};
		lock(c);
		listed_now(c->d, &listed);
		for (unsigned n = 0; n < REMOVE_ONCE && i < r->count; n++, i++) {
			const struct judged_pack *pack = &c->packs[r->packs[i]];
			const struct name *name = &c->names.names[r->packs[i]];
			char *key = pack_key(name);
			struct err why = {0};
			if (pack->condemned && nameset_find(&listed, name) < 0 &&
			    files->ops->remove(files, key, &why) < 0)
				log_debug("store %s: %s stays: %s", files->where, key, why.text);
			free(key);
		}
		unlock(c);
		nameset_release(&listed);
	}
}

static void round_release(struct collection *c, struct round *r, bool keep)
{
	for (size_t i = 0; i < COUNT_OF(r->writers); i++)
		pack_writer_close(&r->writers[i]);
	for (uint32_t i = 0; i < r->made_count && !keep; i++) {
		char *key = pack_key(&r->made[i]);
		if (r->made_placed[i])
			c->d->files->ops->remove(c->d->files, key, NULL);
		free(key);
	}
	free(r->packs);
	free(r->made);
	free(r->made_placed);
	buf_release(&r->entries);
	*r = (struct round){0};
}

/* 1 when there was something to do. */
static int one_round(struct collection *c, bool copies, struct err *e)
{
	struct round r = {0};
	bool placed = false;
	int result = 0;
	round_choose(c, copies, &r);
	if (r.count) {
		condemn(c, &r, true);
		result = copies_make(c, &r, e);
		condemn(c, &r, true); /* without those that were spared */
		if (result == 0)
			result = index_switch(c, &r, &placed, e);
		if (result == 0)
			packs_remove(c, &r);
		else if (!placed)
			condemn(c, &r, false);
	}
	for (uint32_t i = 0; i < r.count && result == 0; i++) {
		const struct judged_pack *pack = &c->packs[r.packs[i]];
		if (!pack->condemned)
			continue;
		c->out->freed_bytes += pack->bytes;
		if (pack->live)
			c->out->packs_rewritten++;
		else
			c->out->packs_removed++;
	}
	if (result == 0) {
		c->out->freed_bytes -= r.copied_bytes;
		result = r.count > 0;
	}
	round_release(c, &r, result >= 0 || placed);
	return result;
}

static int sweep(struct collection *c, struct err *e)
{
	int result = one_round(c, false, e);
	while (result >= 0 && (result = stopped(c, e)) == 0 && (result = one_round(c, true, e)) > 0)
		;
	return result;
}

int depot_collect(struct store *s, const struct store_collecting *plan, struct store_collected *out,
		  struct err *e)
{
	struct collection c = {
	    .live = {live_add}, .d = (struct depot *)s, .plan = plan, .out = out};
	struct err why = {0};
	if (begin(&c, e) < 0)
		return -1;
	int result = plan->mark(plan->context, &c.live, &why);
	if (result == 0)
		result = stopped(&c, &why);
	if (result == 0)
		judge(&c);
	if (result == 0 && !plan->dry)
		result = sweep(&c, &why);
	if (result == 0 && !plan->dry && out->freed_bytes)
		result = depot_collect_lists(c.d, c.files, c.count, plan, &why);
	end(&c);
	return result == 0 ? 0 : err_set(e, why.kind, "%s", why.text);
}
