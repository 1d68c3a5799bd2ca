// SPDX-License-Identifier: Apache-2.0
#include "store/segments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/disk.h"
#include "store/nameset.h"

#define SEGMENTS_MAX	 8  /* more are merged */
#define REFRESH_ATTEMPTS 64 /* a writer would have to merge during each of them */

static char *segment_key(const struct segments *s, uint64_t number)
{
	return xasprintf("%s/%016llx.%s", s->folder, (unsigned long long)number,
			 s->kind == SEGMENT_INDEX ? "idx" : "ids");
}

static int number_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

struct listing {
	const char *end; /* of the names that count */
	uint64_t *numbers;
	size_t count, cap;
};

static int listing_add(void *context, const char *name, struct err *e)
{
	struct listing *l = context;
	char *end;
	(void)e;
	uint64_t number = strtoull(name, &end, 16);
	if (end != name + 16 || strcmp(end, l->end) != 0)
		return 0;
	VEC_GROW(l->numbers, l->count, l->cap);
	l->numbers[l->count++] = number;
	return 0;
}

/* The numbers in the folder, sorted. */
static int list_numbers(const struct segments *s, uint64_t **numbers, size_t *count, struct err *e)
{
	struct listing l = {.end = s->kind == SEGMENT_INDEX ? ".idx" : ".ids"};
	if (s->at->ops->list(s->at, s->folder, listing_add, &l, e) < 0) {
		free(l.numbers);
		return -1;
	}
	if (l.count)
		qsort(l.numbers, l.count, sizeof *l.numbers, number_compare);
	*numbers = l.numbers;
	*count = l.count;
	return 0;
}

static bool numbers_equal(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count)
{
	return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}

static void file_release(struct segment_file *f)
{
	if (f->map)
		files_unmap(f->map, f->size);
	free(f->dead_packs);
	filter_release(&f->filter);
	*f = (struct segment_file){0};
}

static int file_load(const struct segments *s, uint64_t number, struct segment_file *f,
		     struct err *e)
{
	char *key = segment_key(s, number);
	*f = (struct segment_file){.number = number};
	int result = s->at->ops->map(s->at, key, SEGMENT_MAX_BYTES, &f->map, &f->size, e);
	if (result == 0)
		result = segment_parse(s->kind, f->map, f->size, &f->segment, e);
	if (result == 0 && s->write && s->kind == SEGMENT_INDEX)
		filter_make(&f->filter, &f->segment);
	if (result < 0) {
		file_release(f);
		if (e && e->kind == ERR_CORRUPT)
			err_prefix(e, "%s of store %s is damaged", key, s->at->where);
	}
	free(key);
	return result;
}

static bool replaced_by(const struct segment_file *by, uint64_t number)
{
	for (uint32_t i = 0; i < by->segment.replaced_count; i++) {
		uint64_t other = 0;
		const uint8_t *p = by->segment.replaced + i * 8ull;
		for (unsigned b = 0; b < 8; b++)
			other |= (uint64_t)p[b] << (8 * b);
		if (other == number)
			return true;
	}
	return false;
}

static void set_aside(const struct segments *s, uint64_t number)
{
	struct err e = {0};
	char to[512];
	char *key = segment_key(s, number);
	if (s->at->ops->set_aside(s->at, key, to, &e) == 0)
		log_debug("%s of store %s is damaged; it is kept as %s", key, s->at->where, to);
	else
		log_debug("%s of store %s is damaged: %s", key, s->at->where, e.text);
	free(key);
}

static struct segment_file *file_of(struct segment_file *files, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (files[i].number == number)
			return &files[i];
	return NULL;
}

static bool replaced_by_any(const struct segment_file *files, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (replaced_by(&files[i], number))
			return true;
	return false;
}

static void files_release_except(struct segment_file *files, size_t count,
				 struct segment_file *except, size_t except_count)
{
	for (size_t i = 0; i < count; i++)
		if (!file_of(except, except_count, files[i].number))
			file_release(&files[i]);
	free(files);
}

static bool bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

/* The packs that any of these drops, and below which number. */
struct dropped {
	struct nameset packs;
	uint64_t *below;
	uint32_t cap;
};

static void dropped_gather(struct dropped *d, const struct segment_file *f)
{
	for (uint32_t i = 0; i < f->segment.drop_count; i++) {
		struct pack_drop drop;
		segment_drop_at(&f->segment, i, &drop);
		int64_t at = nameset_find(&d->packs, &drop.pack);
		if (at < 0) {
			VEC_GROW(d->below, d->packs.count, d->cap);
			at = nameset_add(&d->packs, &drop.pack);
			d->below[at] = 0;
		}
		if (drop.below > d->below[at])
			d->below[at] = drop.below;
	}
}

static void dropped_release(struct dropped *d)
{
	nameset_release(&d->packs);
	free(d->below);
}

/* Find which packs of a segment are dead, and what that leaves of it. */
static void dead_packs_find(struct segment_file *f, const struct dropped *d)
{
	size_t bytes = f->segment.pack_count / 8 + 1;
	uint8_t *dead = NULL;
	for (uint32_t i = 0; d->packs.count && i < f->segment.pack_count; i++) {
		struct name pack;
		segment_pack_name(&f->segment, i, &pack);
		int64_t at = nameset_find(&d->packs, &pack);
		if (at < 0 || f->number >= d->below[at])
			continue;
		if (!dead)
			dead = xcalloc(1, bytes);
		dead[i / 8] |= (uint8_t)(1u << i % 8);
	}
	bool same = (dead && f->dead_packs) ? memcmp(dead, f->dead_packs, bytes) == 0
					    : dead == f->dead_packs;
	free(f->dead_packs);
	f->dead_packs = dead;
	if (same && f->record_bytes)
		return;
	f->record_bytes = f->segment.record_bytes;
	for (uint64_t i = 0; dead && i < f->segment.count; i++)
		if (bit(dead, segment_pack_at(&f->segment, i)))
			f->record_bytes -= segment_bytes_at(&f->segment, i);
}

static void dead_find(struct segment_file *files, size_t count)
{
	struct dropped d = {0};
	for (size_t i = 0; i < count; i++)
		dropped_gather(&d, &files[i]);
	for (size_t i = 0; i < count; i++)
		dead_packs_find(&files[i], &d);
	dropped_release(&d);
}

void segments_replaced(const struct segments *s, const struct segment_file *instead, size_t count,
		       uint64_t **numbers, size_t *number_count)
{
	*numbers = xcalloc(count + s->listed_count, sizeof **numbers);
	*number_count = 0;
	for (size_t i = 0; i < count; i++)
		(*numbers)[(*number_count)++] = instead[i].number;
	for (size_t i = 0; i < s->listed_count; i++)
		if (!file_of(s->files, s->count, s->listed[i]))
			(*numbers)[(*number_count)++] = s->listed[i];
}

void segments_drops_left(const struct segments *s, const struct segment_file *instead, size_t count,
			 struct pack_drop **drops, size_t *drop_count)
{
	struct dropped d = {0};
	size_t cap = 0;
	*drops = NULL;
	*drop_count = 0;
	for (size_t i = 0; i < count; i++)
		dropped_gather(&d, &instead[i]);
	for (uint32_t p = 0; p < d.packs.count; p++) {
		bool needed = false;
		for (size_t i = 0; i < s->count && !needed; i++) {
			const struct segment_file *f = &s->files[i];
			if (f->number >= d.below[p])
				continue;
			for (size_t k = 0; k < count && !needed; k++)
				needed = instead[k].number == f->number;
			needed = !needed && f->dead_packs;
		}
		if (!needed)
			continue;
		VEC_GROW(*drops, *drop_count, cap);
		(*drops)[(*drop_count)++] = (struct pack_drop){d.packs.names[p], d.below[p]};
	}
	dropped_release(&d);
}

/* Take in what `numbers` lists, keeping what is mapped already. On failure `s` is unchanged. */
static int take_in(struct segments *s, const uint64_t *numbers, size_t count, bool write,
		   struct err *e)
{
	struct segment_file *files = xcalloc(count, sizeof *files);
	size_t taken = 0;
	/* From the newest, as a segment is replaced only by newer ones. */
	for (size_t i = count; i-- > 0;) {
		struct err why = {0};
		struct segment_file *mapped = file_of(s->files, s->count, numbers[i]);
		if (replaced_by_any(files, taken, numbers[i]))
			continue;
		if (mapped) {
			files[taken++] = *mapped;
		} else if (file_load(s, numbers[i], &files[taken], &why) == 0) {
			taken++;
		} else if (write && why.kind == ERR_CORRUPT) {
			set_aside(s, numbers[i]);
			s->damaged = true;
		} else {
			files_release_except(files, taken, s->files, s->count);
			return err_set(e, why.kind, "%s", why.text);
		}
	}
	files_release_except(s->files, s->count, files, taken);
	if (s->kind == SEGMENT_INDEX)
		dead_find(files, taken);
	s->files = files;
	s->count = taken;
	if (count && numbers[count - 1] >= s->next_number)
		s->next_number = numbers[count - 1] + 1;
	return 0;
}

static int reload(struct segments *s, bool write, struct err *e)
{
	if (s->hold_below && !s->write)
		return 0; /* a reader looks at one state while it holds it */
	for (unsigned attempt = 0;; attempt++) {
		uint64_t *numbers, *again;
		size_t count, again_count;
		struct err why = {0};
		if (list_numbers(s, &numbers, &count, e) < 0)
			return -1;
		if (s->listed && numbers_equal(numbers, count, s->listed, s->listed_count)) {
			free(numbers);
			return attempt > 0;
		}
		int result = take_in(s, numbers, count, write, &why);
		/* A listing that runs beside a merge might show neither the old nor the new, so it
		 * counts only when the next one is the same. */
		bool same = false;
		if (result == 0 && list_numbers(s, &again, &again_count, &why) == 0) {
			/* For the writer it is, but for what was set aside. */
			same = write || numbers_equal(numbers, count, again, again_count);
			free(numbers);
			numbers = again;
			count = again_count;
		}
		free(s->listed);
		s->listed = NULL;
		s->listed_count = 0;
		if (same) {
			s->listed = numbers ? numbers : xcalloc(1, sizeof *numbers);
			s->listed_count = count;
			return 1;
		}
		free(numbers);
		/* A file that was listed and is gone was merged into another meanwhile. */
		if ((result < 0 && why.kind != ERR_NOT_FOUND) || attempt >= REFRESH_ATTEMPTS)
			return err_set(e, why.kind ? why.kind : ERR_BUSY, "%s",
				       why.kind ? why.text : "the index changes all the time");
	}
}

int segments_load(struct segments *s, struct files *at, enum segment_kind kind, const char *folder,
		  bool write, struct err *e)
{
	*s = (struct segments){.at = at,
			       .kind = kind,
			       .write = write,
			       .folder = xstrdup(folder),
			       .next_number = at->number_floor ? at->number_floor : 1};
	if (reload(s, write, e) < 0) {
		segments_release(s);
		return -1;
	}
	return 0;
}

int segments_refresh(struct segments *s, struct err *e)
{
	return reload(s, false, e);
}

void segments_release(struct segments *s)
{
	for (size_t i = 0; i < s->count; i++)
		file_release(&s->files[i]);
	free(s->files);
	free(s->listed);
	free(s->folder);
	*s = (struct segments){0};
}

bool segments_locate(const struct segments *s, const struct name *name, struct spot *out)
{
	for (size_t i = 0; i < s->count; i++) { /* from the newest */
		const struct segment_file *f = &s->files[i];
		const struct segment_marks *m = f->marks;
		if (!filter_may_have(&f->filter, name->bytes))
			continue;
		int64_t at = segment_find(&f->segment, name);
		if (at < 0)
			continue;
		uint64_t position = (uint64_t)at;
		if (f->dead_packs && bit(f->dead_packs, segment_pack_at(&f->segment, position)))
			continue;
		if (m && bit(m->condemned, segment_pack_at(&f->segment, position)) &&
		    !bit(m->nodes, position) && !bit(m->leaves, position))
			continue;
		*out = (struct spot){f, position};
		return true;
	}
	return false;
}

bool segments_find(const struct segments *s, const struct name *name, struct place *place)
{
	struct spot spot;
	if (s->kind == SEGMENT_INDEX) {
		if (!segments_locate(s, name, &spot))
			return false;
		if (place)
			segment_place_at(&spot.file->segment, spot.position, place);
		return true;
	}
	for (size_t i = 0; i < s->count; i++)
		if (segment_find(&s->files[i].segment, name) >= 0)
			return true;
	return false;
}

/* The folder now holds `number`, too: the writer need not list what it alone changes. */
static int take_in_new(struct segments *s, uint64_t number, struct err *e)
{
	size_t count = s->listed_count + 1;
	uint64_t *numbers = xcalloc(count, sizeof *numbers);
	memcpy(numbers, s->listed, s->listed_count * sizeof *numbers);
	numbers[count - 1] = number; /* above all others */
	if (take_in(s, numbers, count, false, e) < 0) {
		free(numbers);
		return -1;
	}
	free(s->listed);
	s->listed = numbers;
	s->listed_count = count;
	return 0;
}

int segments_put(struct segments *s, int fd, const char *temp, bool *placed, struct err *e)
{
	uint64_t number = s->next_number;
	char *key = segment_key(s, number);
	int result = s->at->ops->place(s->at, fd, temp, key, placed, e);
	if (*placed)
		s->next_number++;
	else
		disk_remove(temp, NULL);
	if (result == 0)
		result = s->at->ops->settle(s->at, s->folder, e);
	if (*placed && take_in_new(s, number, result == 0 ? e : NULL) < 0)
		result = -1;
	close(fd);
	free(key);
	return result;
}

static int add(struct segments *s, const struct store_segment *parts, size_t part_count,
	       const struct segment_notes *notes, bool *placed, struct err *e)
{
	char *temp = files_temp(s->at);
	*placed = false;
	int fd = segment_write(temp, parts, part_count, notes, e);
	int result = fd < 0 ? -1 : segments_put(s, fd, temp, placed, e);
	free(temp);
	return result;
}

int segments_add(struct segments *s, const struct store_segment *segment,
		 const struct segment_notes *notes, bool *placed, struct err *e)
{
	return add(s, segment, 1, notes, placed, e);
}

static int smaller_first(const void *a, const void *b)
{
	uint64_t x = ((const struct segment_file *)a)->segment.count;
	uint64_t y = ((const struct segment_file *)b)->segment.count;
	return (x > y) - (x < y);
}

/* Merge the smallest segments, and each next one that is at most twice as large as those together:
 * an entry is written again only when what holds it grows by half. */
static int merge(struct segments *s, struct err *e)
{
	struct segment_file *files = xcalloc(s->count, sizeof *files);
	struct store_segment *parts = xcalloc(s->count, sizeof *parts);
	struct segment_notes notes = {0};
	struct pack_drop *drops = NULL;
	uint64_t *numbers = NULL, sum = 0;
	size_t n = 0, free_count = 0;
	bool placed;
	int result = 0;
	for (size_t i = 0; i < s->count; i++)
		if (s->files[i].number >= s->hold_below)
			files[free_count++] = s->files[i];
	if (free_count <= SEGMENTS_MAX)
		goto out;
	qsort(files, free_count, sizeof *files, smaller_first);
	while (n < free_count && (n < 2 || files[n].segment.count <= 2 * sum)) {
		parts[n] = files[n].segment;
		parts[n].dead_packs = files[n].dead_packs;
		sum += files[n++].segment.count;
	}
	segments_replaced(s, files, n, &numbers, &notes.replaced_count);
	segments_drops_left(s, files, n, &drops, &notes.drop_count);
	notes.replaced = numbers;
	notes.drops = drops;
	result = add(s, parts, n, &notes, &placed, e);
out:
	free(drops);
	free(files);
	free(parts);
	free(numbers);
	return result;
}

int segments_tidy(struct segments *s, struct err *e)
{
	/* What an earlier merge replaced goes now and not at once, so that a reader that listed
	 * the folder before that merge had time to open the files. */
	size_t kept = 0;
	int result = 0;
	for (size_t i = 0; i < s->listed_count; i++) {
		bool replaced = !file_of(s->files, s->count, s->listed[i]);
		/* What replaces it must be durable first. */
		if (replaced && result == 0 && kept == i)
			result = s->at->ops->settle(s->at, s->folder, e);
		if (replaced && result == 0) {
			char *key = segment_key(s, s->listed[i]);
			result = s->at->ops->remove(s->at, key, e);
			free(key);
		}
		if (!replaced || result < 0)
			s->listed[kept++] = s->listed[i];
	}
	s->listed_count = kept;
	if (result < 0)
		return -1;
	return merge(s, e);
}

uint64_t segments_record_bytes(const struct segments *s)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < s->count; i++)
		sum += s->files[i].record_bytes;
	return sum;
}
