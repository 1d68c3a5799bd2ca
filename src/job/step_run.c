// SPDX-License-Identifier: Apache-2.0
/* The runs of a job, from the lease to the verdict. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "job/step.h"
#include "job/step_private.h"
#include "wire/machine.h"
#include "wire/wire.h"

static void enter_stage(struct step *p, enum stage stage)
{
	struct run_row *run = &p->s->run;
	text_set(&run->stage, stage_table[stage].word);
	text_set(&run->status_message, stage_table[stage].word);
	text_set(&run->stage_progress, NULL);
	run->stage_since = p->now;
}

void run_end(struct step *p, const char *state)
{
	struct run_row *run = &p->s->run;
	text_set(&run->state, state);
	run->completed = p->now;
	run->lease_expires = 0;
	text_set(&p->s->job.active_run_id, NULL);
	p->s->has_run = false;
	step_act(p, ACT_FORGET_JOURNAL, NULL);
}

/* "; the next run is due at …", or nothing. */
static const char *next_text(const struct job_row *job, char out[64])
{
	char when[CLOCK_TEXT_BYTES];
	out[0] = '\0';
	if (job->next_run) {
		clock_text(job->next_run, when);
		snprintf(out, 64, "; the next run is due at %s", when);
	}
	return out;
}

static bool is_only_run(const struct step *p)
{
	return p->s->job.run_once && text_equal(p->s->run.type, "AUTOMATIC");
}

static void complete(struct step *p, const char *note)
{
	struct job_row *job = &p->s->job;
	struct run_row *run = &p->s->run;
	char next[64];
	enter_stage(p, STAGE_COMPLETED);
	run_end(p, "COMPLETED");
	if (note)
		step_say(&run->status_message, "%s, but %s", stage_table[STAGE_COMPLETED].word,
			 note);
	job->failures = 0;
	if (is_only_run(p))
		job_end(p, "COMPLETED", NULL);
	step_say(&job->status_message, "run %s completed%s%s%s", run->id, note ? ", but " : "",
		 note ? note : "", next_text(job, next));
	step_act(p, ACT_NOTIFY, "completed");
	if (job->keep_images)
		step_act(p, ACT_PRUNE_IMAGES, NULL);
}

/* The stage stays: it says how far the run came. `counts`: towards a pause. */
static void fail_run(struct step *p, bool counts, const char *why)
{
	struct job_row *job = &p->s->job;
	struct run_row *run = &p->s->run;
	char next[64];
	step_say(&run->status_message, "%s", why);
	run_end(p, "FAILED");
	step_act(p, ACT_NOTIFY, "failed");
	if (is_only_run(p)) {
		job_end(p, "FAILED", NULL);
		step_say(&job->status_message, "run %s failed: %s", run->id, why);
		return;
	}
	if (!counts || job->run_once || !text_equal(run->type, "AUTOMATIC")) {
		step_say(&job->status_message, "run %s failed: %s%s", run->id, why,
			 next_text(job, next));
		return;
	}
	job->failures++;
	int64_t left = job->failure_limit - job->failures;
	if (left > 0) {
		step_say(&job->status_message,
			 "run %s failed: %s%s; %" PRId64 " re-try run(s) remaining", run->id, why,
			 next_text(job, next), left);
	} else if (job->pause_on_failure) {
		job->failures = job->failure_limit; /* it may have been lowered meanwhile */
		job->next_run = 0;
		job->paused = p->now;
		text_set(&job->state, "PAUSED_ON_FAILURE");
		step_say(&job->status_message,
			 "paused after %" PRId64
			 " failed run(s); resume it when the cause is gone. "
			 "Run %s failed: %s",
			 job->failures, run->id, why);
		step_act(p, ACT_NOTIFY, "paused");
	} else {
		job->failures = job->failure_limit;
		job_end(p, "FAILED", NULL);
		step_say(&job->status_message,
			 "given up after %" PRId64 " failed run(s). Run %s failed: %s",
			 job->failures, run->id, why);
	}
}

/* --- what the connector says ----------------------------------------------------------------- */

static int refuse_stage(const struct step *p, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "run %s is %s, which does not go with that", p->s->run.id,
		       p->s->run.stage);
}

static int stage_entered(struct step *p, enum stage now, struct err *e)
{
	enum stage next = p->event->stage;
	if (now > STAGE_UPLOADING || next > STAGE_UPLOADING)
		return refuse_stage(p, e);
	/* Backwards too: a connector that starts again looks at the server again. */
	text_set(&p->s->run.state, "ACTIVE");
	if (!p->s->run.started)
		p->s->run.started = p->now;
	if (next != now)
		enter_stage(p, next);
	return 0;
}

/* What the preset forbids about the server as it is at this point; NULL: nothing. */
static const char *quota_refusal(const struct step *p, char out[256])
{
	const struct run_row *run = &p->s->run;
	const struct job_rules *rules = p->rules;
	struct machine machine;
	int volumes = rules->volumes_max ? rules->volumes_max : LIMIT_DISKS_PER_SERVER;
	const char *refusal = NULL;
	char size[24];
	if (rules->delta_max_bytes && p->s->job.base_image_id && !run->read_reason &&
	    (uint64_t)run->bytes_total > rules->delta_max_bytes) {
		size_text(rules->delta_max_bytes, size);
		snprintf(out, 256, "more than %s changed since the last run, which is the limit",
			 size);
		return out;
	}
	if (!run->machine.len ||
	    wire_decode(&machine_shape, run->machine.data, run->machine.len, &machine, NULL) < 0)
		return NULL;
	const struct machine_disk *disks = machine.disks.items;
	if (machine.disks.count > (size_t)volumes) {
		snprintf(out, 256, "the server has %zu disks, more than the limit of %d",
			 machine.disks.count, volumes);
		refusal = out;
	} else if (rules->boot_disk_max_bytes && machine.disks.count &&
		   (uint64_t)disks[0].size_bytes > rules->boot_disk_max_bytes) {
		size_text(rules->boot_disk_max_bytes, size);
		snprintf(out, 256, "the boot disk is larger than %s, which is the limit", size);
		refusal = out;
	}
	shape_release(&machine_shape, &machine);
	return refusal;
}

static int snapshot_taken(struct step *p, enum stage stage, struct err *e)
{
	char text[256];
	if (!stage_table[stage].leased)
		return refuse_stage(p, e);
	const char *refusal = quota_refusal(p, text);
	if (refusal) {
		step_act(p, ACT_TELL_CANCEL, NULL);
		fail_run(p, true, refusal);
	}
	return 0;
}

static int lease_lost(struct step *p, enum stage stage)
{
	struct run_row *run = &p->s->run;
	if (stage > STAGE_UPLOADING)
		return 0; /* the connector is not needed any more */
	enter_stage(p, STAGE_SCHEDULED);
	text_set(&run->state, "PENDING");
	step_say(&run->status_message,
		 "%s: its connector stopped answering while %s; it goes on with the next one",
		 stage_table[STAGE_SCHEDULED].word, stage_table[stage].word);
	text_set(&run->connector_id, NULL);
	run->lease_expires = 0;
	return 0;
}

/* The store is full: nothing is wrong with the run, it goes on where it stopped. */
static void wait_for_room(struct step *p, enum stage stage, const char *why)
{
	struct run_row *run = &p->s->run;
	if (stage <= STAGE_UPLOADING) {
		enter_stage(p, STAGE_SCHEDULED);
		text_set(&run->state, "PENDING");
		text_set(&run->connector_id, NULL);
		run->lease_expires = 0;
	}
	run->stage_since = p->now;
	step_say(&run->status_message, "waiting for room in the store: %s", why);
}

/* --- from the version to the verdict --------------------------------------------------------- */

static void base_moves(struct step *p)
{
	struct job_row *job = &p->s->job;
	const struct run_row *run = &p->s->run;
	text_set(&job->base_image_id, run->ami_id);
	text_set(&job->base_point, run->keeps_point ? run->point : NULL);
	text_set(&job->base_connector_id, run->keeps_point ? run->connector_id : NULL);
}

static int imaged(struct step *p, enum stage stage, struct err *e)
{
	struct job_row *job = &p->s->job;
	struct run_row *run = &p->s->run;
	if (stage != STAGE_CONVERTING)
		return refuse_stage(p, e);
	text_set(&run->ami_id, p->event->text);
	base_moves(p);
	step_act(p, ACT_TELL_COMMITTED, NULL);
	int64_t every = job->boot_test_every > 0 ? job->boot_test_every : 1;
	bool test = !text_equal(job->boot_test, "off") && job->runs_made % every == 0;
	job->runs_made++;
	if (test) {
		enter_stage(p, STAGE_PREPARING);
		step_act(p, ACT_BOOT_TEST, NULL);
		return 0;
	}
	text_set(&run->verdict, "not tested");
	text_set(&job->latest_ami_id, run->ami_id);
	complete(p, NULL);
	return 0;
}

/* A verdict never stops copying: the base has moved already, and nothing counts towards a pause. */
static void judged(struct step *p)
{
	struct job_row *job = &p->s->job;
	struct run_row *run = &p->s->run;
	bool required = text_equal(job->boot_test, "required");
	bool good = text_equal(run->verdict, "booted") || text_equal(run->verdict, "degraded");
	bool stopped = text_equal(run->verdict, "not booted");
	char *note = NULL;
	if (good || (!required && !stopped))
		text_set(&job->latest_ami_id, run->ami_id);
	if (!good)
		step_say(&note, "%s (image %s is kept): %s",
			 stopped ? "its image did not boot" : "its image was not proven to boot",
			 run->ami_id, run->verdict_text ? run->verdict_text : "nothing was seen");
	if (good || !required) {
		complete(p, note);
	} else {
		fail_run(p, false, note);
		job->failures = 0; /* the copy is good */
	}
	text_set(&note, NULL);
}

static int failed(struct step *p, enum stage stage)
{
	const char *why = p->event->text ? p->event->text : "no reason was given";
	struct run_row *run = &p->s->run;
	if (p->event->error == ERR_FULL) {
		wait_for_room(p, stage, why);
	} else if (stage == STAGE_PREPARING) {
		text_set(&run->verdict, "unproven");
		step_say(&run->verdict_text, "%s", why);
		judged(p);
	} else {
		if (run->connector_id)
			step_act(p, ACT_TELL_CANCEL, NULL);
		fail_run(p, true, why);
	}
	return 0;
}

int step_run_event(struct step *p, struct err *e)
{
	if (!p->s->has_run)
		return err_set(e, ERR_CONFLICT, "job %s has no active run", p->s->job.id);
	enum stage stage = stage_from_word(p->s->run.stage);
	if (stage == STAGE_COUNT)
		return err_set(e, ERR_CORRUPT, "run %s is in no stage that exists", p->s->run.id);
	switch (p->event->kind) {
	case RUN_STAGE: return stage_entered(p, stage, e);
	case RUN_SNAPSHOT: return snapshot_taken(p, stage, e);
	case RUN_COPIED:
		if (!stage_table[stage].leased)
			return refuse_stage(p, e);
		enter_stage(p, STAGE_CONVERTING);
		p->s->run.lease_expires = 0;
		step_act(p, ACT_MAKE_IMAGE, NULL);
		return 0;
	case RUN_IMAGED: return imaged(p, stage, e);
	case RUN_VERDICT:
		if (stage != STAGE_PREPARING)
			return refuse_stage(p, e);
		judged(p);
		return 0;
	case RUN_FAILED: return failed(p, stage);
	case RUN_LEASE_LOST: return lease_lost(p, stage);
	default: return err_set(e, ERR_INVALID, "no such event of a job");
	}
}
