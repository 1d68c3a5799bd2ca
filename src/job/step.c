// SPDX-License-Identifier: Apache-2.0
/*
 * Jobs. Invariants, held by a random walk in the tests:
 * 1. A job has at most one active run, and none when it is over.
 * 2. next_run is on the grid: slot + n * frequency; 0 when there is no next.
 * 3. failures never exceed failure_limit.
 * 4. `due` is what job_due says.
 */
#include "job/step.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "job/step_private.h"

#define HOUR_MS	       (3600ll * 1000)
#define SENTENCE_BYTES LIMIT_DESCRIPTION_BYTES

const struct stage_facts stage_table[STAGE_COUNT] = {
    [STAGE_SCHEDULED] = {"Scheduled", false},	   [STAGE_VALIDATING] = {"Validating", true},
    [STAGE_SNAPSHOTTING] = {"Snapshotting", true}, [STAGE_UPLOADING] = {"Uploading", true},
    [STAGE_CONVERTING] = {"Converting", false},	   [STAGE_PREPARING] = {"Preparing", false},
    [STAGE_COMPLETED] = {"Completed", false},
};

enum stage stage_from_word(const char *word)
{
	for (int i = 0; i < STAGE_COUNT; i++)
		if (word && strcmp(stage_table[i].word, word) == 0)
			return (enum stage)i;
	return STAGE_COUNT;
}

void job_state_release(struct job_state *s)
{
	shape_release(meta_jobs.shape, &s->job);
	shape_release(meta_runs.shape, &s->run);
	shape_release(meta_runs.shape, &s->new_run);
	shape_release(meta_runs.shape, &s->missed_run);
	memset(s, 0, sizeof *s);
}

void step_act(struct step *p, enum job_action_kind kind, const char *text)
{
	assert(p->actions->count < JOB_ACTIONS_MAX);
	p->actions->items[p->actions->count].kind = kind;
	p->actions->items[p->actions->count++].text = text;
}

void step_say(char **field, const char *format, ...)
{
	char *text;
	va_list ap;
	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort();
	va_end(ap);
	size_t n = strlen(text);
	text[utf8_valid(text, n > SENTENCE_BYTES ? SENTENCE_BYTES : n)] = '\0';
	free(*field);
	*field = text;
}

bool job_is(const struct job_row *job, const char *state)
{
	return text_equal(job->state, state);
}

static bool is_live(const struct job_row *job)
{
	return job_is(job, "PENDING") || job_is(job, "ACTIVE") || job_is(job, "PAUSED_ON_FAILURE");
}

bool job_is_over(const struct job_row *job)
{
	return job_is(job, "COMPLETED") || job_is(job, "FAILED") || job_is(job, "DELETED");
}

int64_t grid_after(const struct job_row *job, int64_t slot, int64_t now)
{
	int64_t step = job->frequency_hours * HOUR_MS;
	assert(step > 0);
	return slot > now ? slot : slot + ((now - slot) / step + 1) * step;
}

/* --- a new job ------------------------------------------------------------------------------- */

void job_create(struct job_row *job, int64_t now)
{
	char id[ID_BYTES], when[CLOCK_TEXT_BYTES];
	if (!job->id) {
		id_make(id, "sms-job-", 8);
		text_set(&job->id, id);
	}
	job->created = now;
	if (job->seed <= 0)
		job->seed = now;
	job->next_run = job->slot = job->seed;
	job->pause_on_failure = job->pause_on_failure >= 0 && !job->run_once;
	if (job->failure_limit <= 0)
		job->failure_limit = FAILURES_BEFORE_PAUSE;
	if (!job->boot_test)
		text_set(&job->boot_test, "required");
	if (job->boot_test_every <= 0)
		job->boot_test_every = 1;
	text_set(&job->state, job->seed <= now ? "ACTIVE" : "PENDING");
	clock_text(job->seed, when);
	step_say(&job->status_message, "the first run is due at %s", when);
	job->due = job->next_run;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a && b ? (a < b ? a : b) : a + b;
}

static int64_t use_ends(const struct job_row *job, const struct job_rules *rules)
{
	return rules->terminate_after_ms && job->first_started && is_live(job)
		   ? job->first_started + rules->terminate_after_ms
		   : 0;
}

static int64_t pause_ends(const struct job_row *job, const struct job_rules *rules)
{
	return rules->delete_paused_after_ms && job_is(job, "PAUSED_ON_FAILURE")
		   ? job->paused + rules->delete_paused_after_ms
		   : 0;
}

int64_t job_due(const struct job_row *job, const struct job_rules *rules)
{
	int64_t due = sooner(use_ends(job, rules), pause_ends(job, rules));
	/* The only slot of a one-time job waits until an on-demand run is over. */
	if (job->run_once && job->active_run_id)
		return due;
	return sooner(due, job->next_run);
}

/* --- slots ----------------------------------------------------------------------------------- */

static void fill_run(struct step *p, struct run_row *run, const char *type, int64_t scheduled)
{
	char id[ID_BYTES];
	const struct job_row *job = &p->s->job;
	shape_release(meta_runs.shape, run);
	id_make(id, "sms-run-", 8);
	text_set(&run->id, id);
	text_set(&run->job_id, job->id);
	text_set(&run->type, type);
	text_set(&run->stage, stage_table[STAGE_SCHEDULED].word);
	text_set(&run->kms_key_id, job->kms_key_id);
	run->encrypted = job->encrypted;
	run->scheduled = scheduled;
	run->stage_since = p->now;
	run->sequence = p->s->next_sequence++;
}

static void start_run(struct step *p, const char *type, int64_t scheduled)
{
	struct job_row *job = &p->s->job;
	struct run_row *run = &p->s->new_run;
	fill_run(p, run, type, scheduled);
	text_set(&run->state, "PENDING");
	text_set(&run->status_message, stage_table[STAGE_SCHEDULED].word);
	text_set(&job->active_run_id, run->id);
	if (!job->first_started)
		job->first_started = p->now;
	step_say(&job->status_message, "run %s is in progress", run->id);
	step_act(p, ACT_CREATE_RUN, NULL);
}

/* However many slots passed since somebody looked, the newest one counts and one row tells of it. */
static void slot_due(struct step *p)
{
	struct job_row *job = &p->s->job;
	if (job->run_once) {
		if (p->s->has_run)
			return; /* an on-demand run: the slot waits for its end */
		job->slot = job->next_run;
		job->next_run = 0;
	} else {
		int64_t next = grid_after(job, job->next_run, p->now);
		job->slot = next - job->frequency_hours * HOUR_MS;
		job->next_run = next;
	}
	if (job_is(job, "PENDING"))
		text_set(&job->state, "ACTIVE");
	if (!p->s->has_run) {
		start_run(p, "AUTOMATIC", job->slot);
		return;
	}
	struct run_row *run = &p->s->missed_run;
	fill_run(p, run, "AUTOMATIC", job->slot);
	text_set(&run->state, "MISSED");
	run->completed = p->now;
	step_say(&run->status_message, "not started, because run %s was still active",
		 p->s->run.id);
	step_act(p, ACT_RECORD_MISSED, NULL);
}

/* --- the end of a job ------------------------------------------------------------------------ */

void job_end(struct step *p, const char *state, const char *notify)
{
	struct job_row *job = &p->s->job;
	text_set(&job->state, state);
	job->next_run = 0;
	job->paused = 0;
	step_act(p, ACT_SERVER_JOB_ENDED, NULL);
	if (notify)
		step_act(p, ACT_NOTIFY, notify);
}

static void delete_job(struct step *p, const char *why)
{
	if (p->s->has_run) {
		/* The status message stays: it says what the run was at. */
		run_end(p, "DELETED");
		step_act(p, ACT_TELL_CANCEL, NULL);
	}
	job_end(p, "DELETED", "deleted");
	step_say(&p->s->job.status_message, "%s", why);
}

static void tick(struct step *p)
{
	struct job_row *job = &p->s->job;
	int64_t use = use_ends(job, p->rules), pause = pause_ends(job, p->rules);
	if (use && use <= p->now) {
		delete_job(p, "deleted: the time of use for one server is over, counted from its "
			      "first replication; the images stay");
	} else if (pause && pause <= p->now) {
		delete_job(p, "deleted: it was paused after failures and nobody resumed it in "
			      "time; the images stay");
	} else if (job->next_run && job->next_run <= p->now) {
		slot_due(p);
	}
}

/* --- what people ask for --------------------------------------------------------------------- */

static int on_demand(struct step *p, struct err *e)
{
	const struct job_row *job = &p->s->job;
	if (!job_is(job, "PENDING") && !job_is(job, "ACTIVE"))
		return err_set(e, ERR_CONFLICT,
			       "job %s is %s; a run can be started only while it is PENDING or "
			       "ACTIVE%s",
			       job->id, job->state,
			       job_is(job, "PAUSED_ON_FAILURE") ? ", so resume it first" : "");
	if (p->s->has_run)
		return err_set(e, ERR_CONFLICT,
			       "run %s of job %s is active; start another one when it is finished",
			       p->s->run.id, job->id);
	if (p->rules->on_demand_per_day && p->event->number >= p->rules->on_demand_per_day)
		return err_set(e, ERR_FULL,
			       "job %s had %d on-demand runs in the last 24 hours, which is the "
			       "limit; its schedule goes on",
			       job->id, p->rules->on_demand_per_day);
	start_run(p, "ON_DEMAND", p->now);
	if (p->event->text)
		step_say(&p->s->new_run.description, "%s", p->event->text);
	return 0;
}

static void go_on(struct step *p, int64_t next_run)
{
	struct job_row *job = &p->s->job;
	char when[CLOCK_TEXT_BYTES];
	text_set(&job->state, "ACTIVE");
	job->failures = 0;
	job->paused = 0;
	job->next_run = next_run;
	clock_text(next_run, when);
	step_say(&job->status_message, "resumed; the next run is due at %s", when);
}

static int resume(struct step *p, struct err *e)
{
	struct job_row *job = &p->s->job;
	if (!job_is(job, "PAUSED_ON_FAILURE"))
		return err_set(e, ERR_CONFLICT, "job %s is %s; only a paused job can be resumed",
			       job->id, job->state);
	go_on(p, grid_after(job, job->slot, p->now));
	return 0;
}

static int check_update(const struct step *p, struct err *e)
{
	const struct job_row *job = &p->s->job;
	const struct job_update *u = p->event->update;
	if (!is_live(job))
		return err_set(e, ERR_CONFLICT, "job %s is %s and cannot be changed any more",
			       job->id, job->state);
	if (u->has_frequency && job->run_once)
		return err_set(e, ERR_INVALID,
			       "job %s replicates once, so it has no frequency; create a new job "
			       "for a schedule",
			       job->id);
	if (u->has_frequency &&
	    (u->frequency_hours < FREQUENCY_MIN_HOURS || u->frequency_hours > FREQUENCY_MAX_HOURS))
		return err_set(e, ERR_INVALID,
			       "frequency must be from %d to %d hours, not %" PRId64,
			       FREQUENCY_MIN_HOURS, FREQUENCY_MAX_HOURS, u->frequency_hours);
	if (u->has_next_run && u->next_run > p->now + SEED_AHEAD_MS)
		return err_set(e, ERR_INVALID, "the next run cannot start more than 30 days ahead");
	if (u->has_next_run && u->next_run <= 0)
		return err_set(e, ERR_INVALID, "the next run needs a time after 1970");
	if (u->has_next_run && job->run_once && !job->next_run)
		return err_set(e, ERR_CONFLICT,
			       "job %s replicates once and has started, so it has no next run",
			       job->id);
	if (u->has_keep && (u->keep_images < 0 || u->keep_images > KEEP_IMAGES_MAX))
		return err_set(e, ERR_INVALID,
			       "the number of images to keep must be from 0 (all) to %d, not "
			       "%" PRId64,
			       KEEP_IMAGES_MAX, u->keep_images);
	bool encrypted = u->has_encrypted ? u->encrypted != 0 : job->encrypted != 0;
	if (u->kms_key_id && *u->kms_key_id && !encrypted)
		return err_set(e, ERR_INVALID,
			       "a key was named, but job %s does not encrypt; say encrypted too",
			       job->id);
	return 0;
}

static void change_text(char **field, const char *value)
{
	if (value)
		text_set(field, *value ? value : NULL);
}

static int update(struct step *p, struct err *e)
{
	struct job_row *job = &p->s->job;
	const struct job_update *u = p->event->update;
	if (check_update(p, e) < 0)
		return -1;
	if (u->has_frequency) {
		job->frequency_hours = u->frequency_hours;
		if (job->next_run)
			job->slot =
			    job->next_run; /* the next slot stays, and the grid goes on from it */
	}
	if (u->has_keep) {
		job->keep_images = u->keep_images;
		if (job->keep_images)
			step_act(p, ACT_PRUNE_IMAGES, NULL);
	}
	if (u->has_encrypted)
		job->encrypted = u->encrypted != 0;
	change_text(&job->kms_key_id, u->kms_key_id);
	if (!job->encrypted)
		text_set(&job->kms_key_id, NULL);
	change_text(&job->license_type, u->license_type);
	change_text(&job->role_name, u->role_name);
	change_text(&job->description, u->description);
	if (u->has_next_run) {
		job->slot = u->next_run; /* a new grid begins here */
		if (job_is(job, "PAUSED_ON_FAILURE"))
			go_on(p, u->next_run);
		job->next_run = u->next_run;
	}
	return 0;
}

int job_step(struct job_state *s, const struct job_rules *rules, const struct job_event *event,
	     int64_t now, struct job_actions *actions, struct err *e)
{
	struct step p = {.s = s, .rules = rules, .event = event, .now = now, .actions = actions};
	int result = 0;
	actions->count = 0;
	assert(!s->has_run || text_equal(s->job.active_run_id, s->run.id));
	switch (event->kind) {
	case JOB_TICK: tick(&p); break;
	case JOB_ON_DEMAND: result = on_demand(&p, e); break;
	case JOB_UPDATE: result = update(&p, e); break;
	case JOB_RESUME: result = resume(&p, e); break;
	case JOB_DELETE:
		if (!job_is(&s->job, "DELETED"))
			delete_job(&p, "deleted on request; the images stay");
		break;
	default: result = step_run_event(&p, e); break;
	}
	if (result == 0)
		s->job.due = job_due(&s->job, rules);
	return result;
}
