// SPDX-License-Identifier: Apache-2.0
#include "site/site.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"
#include "site/kind.h"

#define POINT_PREFIX "godwit-"

static const struct site_ops *const kinds[] = {&site_libvirt_ops, &site_memory_ops};

/* A point remembers its kind, so that it can be released without its site. */
struct held_point {
	struct site_point point;
	const struct site_ops *ops;
};

int site_open(const char *where, const char *scratch_dir, struct site **out, struct err *e)
{
	*out = NULL;
	const char *colon = strchr(where, ':');
	size_t n = colon ? (size_t)(colon - where) : strlen(where);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (strlen(kinds[i]->kind) != n || strncmp(where, kinds[i]->kind, n) != 0)
			continue;
		if (file_make_dirs(scratch_dir, 0700, e) < 0)
			return -1;
		if (kinds[i]->open(colon ? colon + 1 : "", scratch_dir, out, e) < 0)
			return -1;
		assert(*out && (*out)->ops == kinds[i] && (*out)->facts.manager_id[0]);
		return 0;
	}
	return err_set(
	    e, ERR_INVALID,
	    "no kind of site is called \"%.*s\"; there are libvirt:URI and memory:SETTINGS",
	    (int)(n < 64 ? n : 64), where);
}

void site_close(struct site *s)
{
	if (s)
		s->ops->close(s);
}

const struct site_facts *site_get_facts(const struct site *s)
{
	return &s->facts;
}

int site_list(struct site *s, site_machine_fn *each, void *context, struct err *e)
{
	return s->ops->list(s, each, context, e);
}

/* Points become names of checkpoints, and parts of XML and of the store's journals. */
static bool name_is_plain(const char *name)
{
	size_t n = strlen(name);
	return n && n <= 128 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
		   n;
}

int site_begin(struct site *s, const struct site_want *want, struct site_point **out, struct err *e)
{
	*out = NULL;
	if (!name_is_plain(want->point) || !text_starts(want->point, POINT_PREFIX) ||
	    (want->base_point && !name_is_plain(want->base_point)))
		return err_set(e, ERR_INVALID, "\"%.64s\" is no name for a point in time",
			       want->point);
	if (want->base_point && strcmp(want->base_point, want->point) == 0)
		return err_set(e, ERR_INVALID, "point %s cannot be its own base", want->point);
	struct held_point *held = xcalloc(1, sizeof *held);
	struct site_point *p = &held->point;
	held->ops = s->ops;
	p->vm_id = xstrdup(want->vm_id);
	p->point = xstrdup(want->point);
	p->base_point = xstrdup(want->base_point);
	if (s->ops->begin(s, want, p, e) < 0) {
		site_point_release(p);
		return -1;
	}
	assert(p->disk_count && p->disk_count <= LIMIT_DISKS_PER_SERVER && p->consistency);
	for (unsigned i = 0; i < p->disk_count; i++) {
		const struct site_disk *d = &p->disks[i];
		assert(d->key && d->export_name && d->number == i);
		assert(!!d->dirty_context + d->has_changed + !!d->full_reason == 1);
	}
	*out = p;
	return 0;
}

int site_dial(struct site *s, struct site_point *p, unsigned disk, int *fd, struct err *e)
{
	assert(disk < p->disk_count);
	*fd = -1;
	int rc = s->ops->dial(s, p, disk, fd, e);
	assert(rc < 0 || *fd >= 0);
	return rc;
}

int site_poll(struct site *s, struct site_point *p, struct err *e)
{
	return s->ops->poll(s, p, e);
}

int site_end(struct site *s, struct site_point *p, bool committed, struct err *e)
{
	if (s->ops->end(s, p, committed, e) < 0)
		return -1;
	site_point_release(p);
	return 0;
}

void site_point_release(struct site_point *p)
{
	if (!p)
		return;
	struct held_point *held = (struct held_point *)p;
	if (p->state)
		held->ops->free_state(p->state);
	for (unsigned i = 0; i < p->disk_count; i++) {
		free(p->disks[i].key);
		free(p->disks[i].export_name);
		free(p->disks[i].dirty_context);
		extents_release(&p->disks[i].changed);
		free(p->disks[i].full_reason);
	}
	free(p->disks);
	shape_release(&machine_shape, &p->machine);
	free(p->vm_id);
	free(p->point);
	free(p->base_point);
	free(p->consistency);
	free(held);
}

/* --- removing --- */

static void prefix_of(const char *connector_id, char out[SITE_POINT_BYTES])
{
	const char *tag = connector_id + (text_starts(connector_id, "c-") ? 2 : 0);
	snprintf(out, SITE_POINT_BYTES, POINT_PREFIX "%.8s-", tag);
}

void site_point_name(const char *connector_id, const char *run_id, char out[SITE_POINT_BYTES])
{
	char prefix[SITE_POINT_BYTES], unique[ID_BYTES];
	prefix_of(connector_id, prefix);
	id_make(unique, "", 8);
	snprintf(out, SITE_POINT_BYTES, "%s%.64s-%s", prefix, run_id, unique);
}

bool site_point_is_of(const char *point, const char *connector_id)
{
	char prefix[SITE_POINT_BYTES];
	prefix_of(connector_id, prefix);
	return text_starts(point, prefix);
}

int site_keep_compare(const void *a, const void *b)
{
	const struct site_keep *x = a, *y = b;
	int by_machine = strcmp(x->vm_id, y->vm_id);
	if (by_machine)
		return by_machine;
	int by_point = strcmp(x->point, y->point);
	/* Of two for one point the active one comes first, and counts. */
	return by_point ? by_point : (int)y->active - (int)x->active;
}

const struct site_keep *site_kept(const struct site_removal *r, const char *vm_id,
				  const char *point)
{
	const struct site_keep want = {vm_id, point, true};
	unsigned low = 0, high = r->keep_count;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (site_keep_compare(&r->keep[middle], &want) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	const struct site_keep *at = &r->keep[low];
	return low < r->keep_count && strcmp(at->vm_id, vm_id) == 0 && strcmp(at->point, point) == 0
		   ? at
		   : NULL;
}

int site_sweep(struct site *s, const char *connector_id, const struct site_keep *keep,
	       unsigned keep_count, unsigned *removed, struct err *e)
{
	unsigned count = 0;
	char prefix[SITE_POINT_BYTES];
	struct site_keep *sorted = xcalloc(keep_count + 1, sizeof *sorted);
	if (keep_count)
		memcpy(sorted, keep, keep_count * sizeof *keep);
	qsort(sorted, keep_count, sizeof *sorted, site_keep_compare);
	prefix_of(connector_id, prefix);
	int rc = s->ops->sweep(
	    s, &(struct site_removal){.prefix = prefix, .keep = sorted, .keep_count = keep_count},
	    &count, e);
	free(sorted);
	if (removed)
		*removed = count;
	return rc;
}

int site_forget(struct site *s, const char *vm_id, const char *point, struct err *e)
{
	unsigned count = 0;
	const struct site_keep only = {vm_id, point, false};
	if (!name_is_plain(point) || !text_starts(point, POINT_PREFIX))
		return err_set(e, ERR_INVALID, "\"%.64s\" is no name for a point in time", point);
	return s->ops->sweep(s, &(struct site_removal){.only = &only}, &count, e);
}
