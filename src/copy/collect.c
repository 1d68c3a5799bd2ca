// SPDX-License-Identifier: Apache-2.0
/*
 * What a collection must leave. Versions are handed on: from a stream to its journal, to the run's
 * reference, to the image's reference, to the lease of a reader of the image; each takes it before
 * the one before lets go. So they are looked through in this order, and nothing slips past: what is
 * not in one yet was still in the one before, which was looked at earlier, or it was begun after the
 * collection was, and then the store keeps whatever it asks for (store.h).
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "block/tree.h"
#include "copy/copy.h"
#include "copy/flight.h"
#include "copy/journal.h"
#include "store/lease.h"
#include "store/roots.h"

struct walk {
	struct store *store;
	const char *journal_dir;
	struct flights *flights;
	const volatile bool *stop;
	struct store_live *live;
	bool strict; /* a tree that is not whole ends the collection */
};

static int stopped(const struct walk *w, struct err *e)
{
	if (w->stop && *w->stop)
		return err_set(e, ERR_CONFLICT, "the collection was stopped");
	return 0;
}

/* 1: mark it and walk into it; 0: that was done, or it is of no interest. */
static int enter(struct walk *w, const struct name *name, struct err *e)
{
	uint8_t state = LIVE_MISSING;
	char hex[NAME_HEX_BYTES];

	if (name_is_zero(name))
		return 0;
	store_live_add(w->live, LIVE_NODE, name, 1, &state);
	if (state != LIVE_MISSING)
		return state == LIVE_FRESH;
	if (!w->strict)
		return 0;
	name_hex(name, hex);
	return err_set(e, ERR_CORRUPT, "node %s is missing", hex);
}

static int walk_page(struct walk *w, const struct name *page, struct err *e)
{
	struct buf node = {0};
	struct runs runs = {0};
	struct name *names = NULL;
	uint32_t blocks;
	size_t count = 0;
	int result = enter(w, page, e);

	if (result <= 0)
		return result;
	result = -1;
	if (stopped(w, e) || store_get(w->store, page, &node, e) ||
	    page_decode(node.data, node.len, &runs, &blocks, e))
		goto out;
	names = xcalloc(runs.count + 1, sizeof *names);
	for (uint32_t i = 0; i < runs.count; i++)
		if (runs.items[i].kind == RUN_DATA)
			names[count++] = runs.items[i].name;
	/* A chunk that is missing is for a verification to tell: nothing hangs on it. */
	store_live_add(w->live, LIVE_LEAF, names, count, NULL);
	result = 0;
out:
	free(names);
	runs_release(&runs);
	buf_release(&node);
	return result;
}

static int walk_branch(struct walk *w, const struct name *branch, struct err *e)
{
	struct name *pages;
	struct buf node = {0};
	uint32_t count = 0;
	int result = enter(w, branch, e);

	if (result <= 0)
		return result;
	pages = xcalloc(TREE_FANOUT, sizeof *pages);
	result = store_get(w->store, branch, &node, e) ||
			 branch_decode(node.data, node.len, pages, &count, e)
		     ? -1
		     : 0;
	for (uint32_t i = 0; i < count && result == 0; i++)
		result = walk_page(w, &pages[i], e);
	buf_release(&node);
	free(pages);
	return result;
}

static int walk_root(struct walk *w, const struct name *name, struct err *e)
{
	struct disk_root root = {0};
	struct buf node = {0};
	int result = enter(w, name, e);

	if (result <= 0)
		return result;
	result = store_get(w->store, name, &node, e) ||
			 disk_root_decode(node.data, node.len, &root, e)
		     ? -1
		     : 0;
	for (uint32_t i = 0; i < root.branch_count && result == 0; i++)
		result = walk_branch(w, &root.branches[i], e);
	disk_root_release(&root);
	buf_release(&node);
	return result;
}

/* --- streams and journals --- */

static int walk_flights(struct walk *w, struct err *e)
{
	struct flown flown;
	int result = 0;

	if (!w->flights)
		return 0;
	flights_gather(w->flights, &flown);
	store_live_add(w->live, LIVE_LEAF, flown.chunks, flown.chunk_count, NULL);
	store_live_add(w->live, LIVE_LEAF, flown.nodes, flown.node_count, NULL);
	for (size_t i = 0; i < flown.base_count && result == 0; i++)
		result = walk_root(w, &flown.bases[i], e);
	for (size_t i = 0; i < flown.page_count && result == 0; i++)
		result = walk_page(w, &flown.pages[i], e);
	flown_release(&flown);
	return result;
}

struct pages {
	struct name *items;
	size_t count, cap;
};

static void page_note(void *context, const struct name *page)
{
	struct pages *pages = context;

	VEC_GROW(pages->items, pages->count, pages->cap);
	pages->items[pages->count++] = *page;
}

static int walk_journal(struct walk *w, const char *path, struct err *e)
{
	struct pages pages = {0};
	struct name base;
	int result = journal_pages(path, &base, page_note, &pages, e);

	if (result == 0)
		result = walk_root(w, &base, e);
	for (size_t i = 0; i < pages.count && result == 0; i++)
		result = walk_page(w, &pages.items[i], e);
	free(pages.items);
	return result;
}

static int walk_journals(struct walk *w, struct err *e)
{
	const struct dirent *entry;
	int result = 0;
	DIR *dir = w->journal_dir ? opendir(w->journal_dir) : NULL;

	if (!dir)
		return !w->journal_dir || errno == ENOENT
			   ? 0
			   : err_errno(e, errno, "cannot read the directory %s", w->journal_dir);
	while (result == 0 && (errno = 0, entry = readdir(dir))) {
		char *path = xasprintf("%s/%s", w->journal_dir, entry->d_name);

		if (entry->d_name[0] != '.')
			result = walk_journal(w, path, e);
		free(path);
	}
	if (result == 0 && errno)
		result = err_errno(e, errno, "cannot read the directory %s", w->journal_dir);
	closedir(dir);
	return result;
}

/* --- references --- */

enum turn { TURN_RUNS, TURN_IMAGES, TURN_LEASES };

struct ref_visit {
	struct walk *walk;
	enum turn turn;
	char **gone; /* leases that do not count */
	size_t gone_count, gone_cap;
	struct err why;
};

static enum turn turn_of(const char *ref)
{
	if (text_starts(ref, RUN_REF_PREFIX))
		return TURN_RUNS;
	return text_starts(ref, LEASE_PREFIX) ? TURN_LEASES : TURN_IMAGES;
}

static int walk_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	struct ref_visit *v = context;
	struct name *roots = NULL;
	size_t used = 0;
	int count, result = 0;

	if (turn_of(ref) != v->turn)
		return 0;
	count = roots_decode(data, n, &roots, &used, &v->why);
	if (count >= 0 && v->turn == TURN_LEASES &&
	    !lease_counts(data + used, n - used, clock_now_ms())) {
		VEC_GROW(v->gone, v->gone_count, v->gone_cap);
		v->gone[v->gone_count++] = xstrdup(ref);
		count = 0;
	}
	/* What a lease or a run that was given up holds may have been gone when it began. */
	v->walk->strict = v->turn == TURN_IMAGES;
	for (int i = 0; i < count && result == 0; i++)
		result = walk_root(v->walk, &roots[i], &v->why);
	v->walk->strict = false;
	free(roots);
	if (count >= 0 && result == 0)
		return 0;
	if (v->why.kind == ERR_CONFLICT)
		return -1; /* stopped */
	return err_prefix(
	    &v->why, "nothing is freed, as reference %s cannot be followed; delete its image", ref);
}

static int walk_refs(struct walk *w, enum turn turn, struct err *e)
{
	struct ref_visit v = {.walk = w, .turn = turn};
	struct err own = {0};
	int result = store_ref_each(w->store, walk_ref, &v, &own);

	if (result < 0)
		*e = v.why.kind != ERR_NONE ? v.why : own;
	for (size_t i = 0; i < v.gone_count; i++) {
		if (result == 0 && store_ref_set(w->store, v.gone[i], NULL, 0, &own) < 0)
			log_debug("%s stays: %s", v.gone[i], own.text);
		free(v.gone[i]);
	}
	free(v.gone);
	return result;
}

static int mark(void *context, struct store_live *live, struct err *e)
{
	struct walk *w = context;

	w->live = live;
	if (walk_flights(w, e) || walk_journals(w, e) || walk_refs(w, TURN_RUNS, e) ||
	    walk_refs(w, TURN_IMAGES, e) || walk_refs(w, TURN_LEASES, e))
		return -1;
	return 0;
}

int copy_collect(struct store *store, const char *journal_dir, struct flights *flights, bool dry,
		 const volatile bool *stop, struct store_collected *out, struct err *e)
{
	struct walk w = {
	    .store = store, .journal_dir = journal_dir, .flights = flights, .stop = stop};
	struct store_collecting plan = {.mark = mark, .context = &w, .dry = dry, .stop = stop};
	struct err why = {0};

	if (store_collect(store, &plan, out, &why) == 0)
		return 0;
	return err_set(e, why.kind, "%s", why.text);
}
