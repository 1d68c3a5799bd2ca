// SPDX-License-Identifier: Apache-2.0
#include "job/collect.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "job/loop_private.h"
#include "store/store.h"

#define STATE_SETTING	"collection"
#define PROBLEM_SETTING "collection_problem"
#define WANTED_SETTING	"collection_wanted"

#define REFS_MS		60000		     /* how often references are held against images */
#define DAY_MS		(24ll * 3600 * 1000) /* a collection is due after it in any case */
#define PAUSE_MS	(10ll * 60 * 1000)   /* between those that dropped references bring */

/* --- the setting --- */

static int setting_get(struct meta_tx *tx, const char *name, char **value, struct err *e)
{
	struct setting_row row = {0};
	struct err own = {0};
	*value = NULL;
	if (meta_get(tx, &meta_settings, name, &row, &own) < 0)
		return own.kind == ERR_NOT_FOUND ? 0 : err_set(e, own.kind, "%s", own.text);
	text_set(value, row.value);
	shape_release(meta_settings.shape, &row);
	return 0;
}

static int setting_put(struct meta_tx *tx, const char *name, const char *value, struct err *e)
{
	struct setting_row row = {0};
	text_set(&row.name, name);
	text_set(&row.value, value);
	int result = meta_put(tx, &meta_settings, &row, e);
	shape_release(meta_settings.shape, &row);
	return result;
}

int collection_load(struct meta_tx *tx, struct collection *c, struct err *e)
{
	char *value = NULL, *wanted = NULL;
	*c = (struct collection){0};
	int result = setting_get(tx, STATE_SETTING, &value, e);
	if (result == 0)
		result = setting_get(tx, PROBLEM_SETTING, &c->problem, e);
	if (result == 0)
		result = setting_get(tx, WANTED_SETTING, &wanted, e);
	if (value && sscanf(value,
			    "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
			    " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
			    &c->count, &c->started, &c->ended, &c->names, &c->live_names,
			    &c->record_bytes, &c->live_bytes, &c->freed_bytes, &c->packs,
			    &c->packs_removed, &c->packs_rewritten, &c->packs_spoiled) != 12)
		result = err_set(e, ERR_CORRUPT, "the setting '%s' cannot be read", STATE_SETTING);
	c->wanted = wanted != NULL;
	c->running = c->started > c->ended;
	free(value);
	free(wanted);
	return result;
}

void collection_release(struct collection *c)
{
	free(c->problem);
	*c = (struct collection){0};
}

static int collection_save(struct meta_tx *tx, const struct collection *c, struct err *e)
{
	char *value = xasprintf(
	    "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
	    " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64,
	    c->count, c->started, c->ended, c->names, c->live_names, c->record_bytes, c->live_bytes,
	    c->freed_bytes, c->packs, c->packs_removed, c->packs_rewritten, c->packs_spoiled);
	int result = setting_put(tx, STATE_SETTING, value, e);
	if (result == 0)
		result = setting_put(tx, PROBLEM_SETTING, c->problem, e);
	free(value);
	return result;
}

int collection_want(struct meta_tx *tx, int64_t now, struct err *e)
{
	char *value = xasprintf("%" PRId64, now);
	int result = setting_put(tx, WANTED_SETTING, value, e);
	free(value);
	return result;
}

/* --- what nothing needs any more --- */

struct texts {
	char **items;
	size_t count, cap;
};

static void texts_add(struct texts *t, const char *text)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->items[i], text) == 0)
			return;
	VEC_GROW(t->items, t->count, t->cap);
	t->items[t->count++] = xstrdup(text);
}

static void texts_release(struct texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i]);
	free(t->items);
}

struct stale {
	struct meta_tx *tx;
	bool starting;
	struct texts refs; /* of deleted images */
	struct texts runs; /* that are over, and kept something */
};

/* A deleted image's version stays while it is the base of a live job. */
static bool image_keeps(struct meta_tx *tx, const char *image_id)
{
	struct image_row image = {0};
	struct job_row job = {0};
	struct err e;
	bool keep = true;
	if (meta_get(tx, &meta_images, image_id, &image, &e) == 0 &&
	    strcmp(image.state, "deleted") == 0)
		keep = meta_get(tx, &meta_jobs, image.job_id, &job, &e) == 0 &&
		       text_equal(job.base_image_id, image.id) &&
		       (strcmp(job.state, "ACTIVE") == 0 || strcmp(job.state, "PENDING") == 0 ||
			strcmp(job.state, "PAUSED_ON_FAILURE") == 0);
	shape_release(meta_images.shape, &image);
	shape_release(meta_jobs.shape, &job);
	return keep;
}

static bool run_is_over(struct meta_tx *tx, const char *run_id)
{
	struct run_row run = {0};
	struct err e = {0};
	if (meta_get(tx, &meta_runs, run_id, &run, &e) < 0)
		return e.kind == ERR_NOT_FOUND;
	bool over = strcmp(run.state, "PENDING") != 0 && strcmp(run.state, "ACTIVE") != 0;
	shape_release(meta_runs.shape, &run);
	return over;
}

/* `name` is "RUN.N". Commits of overlays do not outlive the service. */
static void check_run(struct stale *stale, const char *name)
{
	const char *dot = strrchr(name, '.');
	if (!dot)
		return;
	char *run_id = xstrndup(name, (size_t)(dot - name));
	if (text_starts(run_id, "sms-run-") ? run_is_over(stale->tx, run_id)
					    : stale->starting && text_starts(run_id, "commit-"))
		texts_add(&stale->runs, run_id);
	free(run_id);
}

static int check_ref(void *context, const char *ref, const uint8_t *data, size_t n)
{
	struct stale *stale = context;
	(void)data;
	(void)n;
	if (text_starts(ref, "image-") && !image_keeps(stale->tx, ref + strlen("image-")))
		texts_add(&stale->refs, ref);
	if (text_starts(ref, RUN_REF_PREFIX))
		check_run(stale, ref + strlen(RUN_REF_PREFIX));
	return 0;
}

static void check_journals(struct stale *stale, const char *state_dir)
{
	char *path = xasprintf("%s/journal", state_dir);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)))
		check_run(stale, entry->d_name);
	if (dir)
		closedir(dir);
	free(path);
}

/* True when something was dropped. */
static bool drop_stale(struct loop *l)
{
	struct stale stale = {.starting = !l->refs_at};
	struct store *store;
	struct err e = {0}, none;
	bool dropped = false;
	if (store_open(l->service->store_where, false, false, &store, &e) < 0) {
		log_warn("loop: cannot read the store's references: %s", e.text);
		return false;
	}
	if (meta_begin(l->service->meta, false, &stale.tx, &e) == 0) {
		if (store_ref_each(store, check_ref, &stale, &e) < 0)
			log_warn("loop: cannot read the store's references: %s", e.text);
		check_journals(&stale, l->service->state_dir);
		meta_end(stale.tx, true, &none);
	}
	store_close(store);
	for (size_t i = 0; i < stale.refs.count; i++) {
		dropped = true;
		if (intake_ref_set(l->intake, stale.refs.items[i], NULL, 0, &e) < 0)
			log_warn("loop: %s stays: %s", stale.refs.items[i], e.text);
	}
	for (size_t i = 0; i < stale.runs.count; i++) {
		dropped = true;
		if (intake_forget(l->intake, stale.runs.items[i], &e) < 0)
			log_warn("loop: what run %s left stays: %s", stale.runs.items[i], e.text);
	}
	texts_release(&stale.refs);
	texts_release(&stale.runs);
	return dropped;
}

/* --- beginning and ending --- */

static void take_over(struct collection *c, const struct intake_collected *how)
{
	c->names = how->names;
	c->live_names = how->live_names;
	c->record_bytes = how->record_bytes;
	c->live_bytes = how->live_bytes;
	c->freed_bytes = how->freed_bytes;
	c->packs = how->packs;
	c->packs_removed = how->packs_removed;
	c->packs_rewritten = how->packs_rewritten;
	c->packs_spoiled = how->packs_spoiled;
	text_set(&c->problem, how->text);
}

/* Change the setting; `how` NULL: one begins. */
static int record(struct loop *l, const struct intake_collected *how, int64_t now, struct err *e)
{
	struct collection c = {0};
	struct meta_tx *tx;
	struct err none;
	if (meta_begin(l->service->meta, true, &tx, e) < 0)
		return -1;
	int result = collection_load(tx, &c, e);
	if (how) {
		c.count++;
		c.ended = now > c.started ? now : c.started;
		take_over(&c, how);
	} else {
		/* One that the service's end cut short is not running any more. */
		c.started = now > c.ended ? now : c.ended + 1;
		meta_delete(tx, &meta_settings, WANTED_SETTING, &none);
	}
	if (result == 0)
		result = collection_save(tx, &c, e);
	if (meta_end(tx, result == 0, result == 0 ? e : &none) < 0)
		result = -1;
	collection_release(&c);
	return result;
}

static void end(struct loop *l, int64_t now)
{
	struct intake_collected how = {0};
	struct err e = {0};
	char freed[24];
	if (!intake_collect_ended(l->intake, &how))
		return;
	l->collecting = false;
	size_text((uint64_t)how.freed_bytes, freed);
	if (how.text)
		log_warn("the store's collection did not end: %s", how.text);
	else
		log_info("the store is collected: %s freed, %" PRId64 " packs removed, %" PRId64
			 " written anew",
			 freed, how.packs_removed, how.packs_rewritten);
	if (record(l, &how, now, &e) < 0)
		log_error("loop: %s", e.text);
	shape_release(&intake_collected_shape, &how);
}

static void begin(struct loop *l, int64_t now)
{
	struct err e = {0};
	if (record(l, NULL, now, &e) < 0 || intake_collect(l->intake, &e) < 0) {
		struct intake_collected how = {.text = e.text};
		log_warn("the store cannot be collected: %s", e.text);
		record(l, &how, now, &e);
		return;
	}
	l->collecting = true;
	l->collect_due = false;
}

void collect_pass(struct loop *l, int64_t now)
{
	struct collection c = {0};
	struct meta_tx *tx;
	struct err e = {0}, none;
	end(l, now);
	if (meta_begin(l->service->meta, false, &tx, &e) < 0)
		return;
	int result = collection_load(tx, &c, &e);
	meta_end(tx, true, &none);
	if (result < 0)
		log_error("loop: %s", e.text);
	if (clock_mono_ms() >= l->refs_at || c.wanted) {
		l->collect_due |= drop_stale(l);
		l->refs_at = clock_mono_ms() + REFS_MS;
	}
	bool cut_short = c.running && !l->collecting;
	if (!l->collecting && result == 0 &&
	    (c.wanted || cut_short || now - c.started >= DAY_MS ||
	     (l->collect_due && now - c.started >= PAUSE_MS)))
		begin(l, now);
	collection_release(&c);
}
