// SPDX-License-Identifier: Apache-2.0
/* The life of jobs and runs, over months of virtual time. */
#include "test.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "job/step.h"

#define HOUR  (3600ll * 1000)
#define DAY   (24 * HOUR)
#define START (1700000000000ll)

struct world {
	struct job_state s;
	const struct job_rules *rules;
	int64_t now;
	struct job_actions did;
	struct err e;
	unsigned missed;
};

static bool did(const struct world *w, enum job_action_kind kind)
{
	for (unsigned i = 0; i < w->did.count; i++)
		if (w->did.items[i].kind == kind)
			return true;
	return false;
}

/* What the service does with the rows after a step. */
static int step(struct world *w, struct job_event event)
{
	int result = job_step(&w->s, w->rules, &event, w->now, &w->did, &w->e);
	if (result == 0 && did(w, ACT_RECORD_MISSED))
		w->missed++;
	if (result == 0 && did(w, ACT_CREATE_RUN)) {
		shape_release(meta_runs.shape, &w->s.run);
		w->s.run = w->s.new_run;
		memset(&w->s.new_run, 0, sizeof w->s.new_run);
		w->s.has_run = true;
	}
	return result;
}

#define STEP(w, ...) assert_int_equal(step(w, (struct job_event){__VA_ARGS__}), 0)
#define REFUSED(w, error_kind, ...)                                                                \
	do {                                                                                       \
		assert_int_equal(step(w, (struct job_event){__VA_ARGS__}), -1);                    \
		assert_int_equal((w)->e.kind, error_kind);                                         \
	} while (0)

static void open_world(struct world *w, int64_t frequency, const struct job_rules *rules)
{
	memset(w, 0, sizeof *w);
	w->rules = rules;
	w->now = START;
	w->s.next_sequence = 1;
	w->s.job.seed = START;
	w->s.job.frequency_hours = frequency;
	w->s.job.run_once = frequency == 0;
	job_create(&w->s.job, w->now);
}

static void close_world(struct world *w)
{
	job_state_release(&w->s);
}

static void is_state(const struct world *w, const char *state)
{
	assert_string_equal(w->s.job.state, state);
}

static void to_uploading(struct world *w)
{
	for (enum stage s = STAGE_VALIDATING; s <= STAGE_UPLOADING; s++)
		STEP(w, .kind = RUN_STAGE, .stage = s);
	text_set(&w->s.run.connector_id, "c-1");
	text_set(&w->s.run.point, "p-1");
	w->s.run.keeps_point = 1;
}

static void to_preparing(struct world *w, const char *image)
{
	to_uploading(w);
	STEP(w, .kind = RUN_COPIED);
	assert_true(did(w, ACT_MAKE_IMAGE));
	STEP(w, .kind = RUN_IMAGED, .text = image);
	assert_true(did(w, ACT_TELL_COMMITTED));
}

static void judge(struct world *w, const char *verdict)
{
	text_set(&w->s.run.verdict, verdict);
	text_set(&w->s.run.verdict_text, "a login prompt is on the screen");
	STEP(w, .kind = RUN_VERDICT);
}

static void succeed(struct world *w, const char *image)
{
	to_preparing(w, image);
	judge(w, "booted");
	assert_string_equal(w->s.run.state, "COMPLETED");
	assert_false(w->s.has_run);
}

static void ninety_days_on_the_grid(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 12, &job_rules_unlimited);
	unsigned runs = 0;
	for (; w.now < START + 90 * DAY; w.now += 10 * 60 * 1000) {
		STEP(&w, .kind = JOB_TICK);
		if (did(&w, ACT_CREATE_RUN)) {
			runs++;
			assert_int_equal((w.s.run.scheduled - START) % (12 * HOUR), 0);
			assert_string_equal(w.s.run.state, "PENDING");
			assert_string_equal(w.s.run.type, "AUTOMATIC");
			succeed(&w, "ami-1");
		}
	}
	assert_int_equal(runs, 180);
	assert_int_equal(w.missed, 0);
	is_state(&w, "ACTIVE");
	close_world(&w);
}

static void a_slot_during_a_run_is_missed(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 1, &job_rules_unlimited);
	STEP(&w, .kind = JOB_TICK);
	w.now += HOUR;
	STEP(&w, .kind = JOB_TICK);
	assert_true(did(&w, ACT_RECORD_MISSED));
	assert_string_equal(w.s.missed_run.state, "MISSED");
	assert_int_equal(w.s.missed_run.scheduled, START + HOUR);
	assert_non_null(strstr(w.s.missed_run.status_message, w.s.run.id));
	assert_int_equal(w.s.job.next_run, START + 2 * HOUR);
	/* A long downtime is one row, and the next slot is in the future. */
	w.now += 30 * DAY + 5;
	STEP(&w, .kind = JOB_TICK);
	STEP(&w, .kind = JOB_TICK);
	assert_int_equal(w.missed, 2);
	assert_true(w.s.job.next_run > w.now && w.s.job.next_run <= w.now + HOUR);
	succeed(&w, "ami-1");
	/* Without a run, the newest slot of the downtime starts one. */
	w.now += 10 * DAY + 7;
	STEP(&w, .kind = JOB_TICK);
	assert_true(did(&w, ACT_CREATE_RUN));
	assert_true(w.s.run.scheduled <= w.now && w.s.run.scheduled > w.now - HOUR);
	close_world(&w);
}

static void three_failures_pause_and_resume_goes_on(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 12, &job_rules_aws);
	for (int i = 0; i < 3; i++) {
		STEP(&w, .kind = JOB_TICK);
		to_uploading(&w);
		STEP(&w, .kind = RUN_FAILED, .error = ERR_IO,
		     .text = "the disk sda cannot be read");
		assert_string_equal(w.s.run.state, "FAILED");
		assert_true(did(&w, ACT_TELL_CANCEL) && did(&w, ACT_FORGET_JOURNAL));
		assert_non_null(strstr(w.s.job.status_message, "the disk sda cannot be read"));
		if (i == 0)
			assert_non_null(
			    strstr(w.s.job.status_message, "2 re-try run(s) remaining"));
		w.now += 12 * HOUR;
	}
	is_state(&w, "PAUSED_ON_FAILURE");
	assert_int_equal(w.s.job.next_run, 0);
	REFUSED(&w, ERR_CONFLICT, .kind = JOB_ON_DEMAND);
	w.now += 5 * HOUR;
	STEP(&w, .kind = JOB_RESUME);
	is_state(&w, "ACTIVE");
	assert_int_equal(w.s.job.failures, 0);
	assert_true(w.s.job.next_run > w.now);
	assert_int_equal((w.s.job.next_run - START) % (12 * HOUR), 0);
	REFUSED(&w, ERR_CONFLICT, .kind = JOB_RESUME);
	close_world(&w);
}

static void other_failures_do_not_pause(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 1, &job_rules_unlimited);
	for (int i = 0; i < 20; i++) { /* two failures, a success, … */
		STEP(&w, .kind = JOB_TICK);
		if (i % 3 == 2)
			succeed(&w, "ami-1");
		else
			STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
		w.now += HOUR;
	}
	is_state(&w, "ACTIVE");
	w.s.job.failures = 2;
	w.now -= HOUR / 2;
	STEP(&w, .kind = JOB_ON_DEMAND);
	STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
	assert_int_equal(w.s.job.failures, 2); /* only scheduled runs count */
	close_world(&w);
	open_world(&w, 1, &job_rules_unlimited);
	w.s.job.pause_on_failure = 0;
	w.s.job.failure_limit = 1;
	STEP(&w, .kind = JOB_TICK);
	STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
	is_state(&w, "FAILED");
	assert_true(did(&w, ACT_SERVER_JOB_ENDED));
	assert_int_equal(w.s.job.due, 0);
	close_world(&w);
}

static void a_paused_job_is_deleted_after_four_days_by_aws(void **state)
{
	(void)state;
	for (int aws = 0; aws < 2; aws++) {
		struct world w;
		open_world(&w, 1, aws ? &job_rules_aws : &job_rules_unlimited);
		w.s.job.failure_limit = 1;
		STEP(&w, .kind = JOB_TICK);
		STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
		is_state(&w, "PAUSED_ON_FAILURE");
		assert_int_equal(w.s.job.due, aws ? w.now + 4 * DAY : 0);
		w.now += 4 * DAY - 1;
		STEP(&w, .kind = JOB_TICK);
		is_state(&w, "PAUSED_ON_FAILURE");
		w.now += 1;
		STEP(&w, .kind = JOB_TICK);
		is_state(&w, aws ? "DELETED" : "PAUSED_ON_FAILURE");
		close_world(&w);
	}
}

static void use_ends_after_ninety_days_by_aws(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 24, &job_rules_aws);
	STEP(&w, .kind = JOB_TICK);
	w.now += 90 * DAY;
	STEP(&w, .kind = JOB_TICK);
	is_state(&w, "DELETED");
	assert_string_equal(w.s.run.state, "DELETED");
	assert_true(did(&w, ACT_TELL_CANCEL));
	close_world(&w);
}

static void a_one_time_job_ends_with_its_run(void **state)
{
	(void)state;
	for (int good = 0; good < 2; good++) {
		struct world w;
		open_world(&w, 0, &job_rules_unlimited);
		STEP(&w, .kind = JOB_TICK);
		assert_int_equal(w.s.job.next_run, 0);
		if (good)
			succeed(&w, "ami-1");
		else
			STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
		is_state(&w, good ? "COMPLETED" : "FAILED");
		REFUSED(&w, ERR_CONFLICT, .kind = JOB_ON_DEMAND);
		struct job_update u = {.has_keep = true, .keep_images = 2};
		REFUSED(&w, ERR_CONFLICT, .kind = JOB_UPDATE, .update = &u);
		STEP(&w, .kind = JOB_TICK);
		assert_int_equal(w.did.count, 0);
		close_world(&w);
	}
	/* An on-demand run before is no end, and its only slot waits for it. */
	struct world w;
	open_world(&w, 0, &job_rules_unlimited);
	STEP(&w, .kind = JOB_ON_DEMAND, .text = "first look");
	assert_string_equal(w.s.run.description, "first look");
	STEP(&w, .kind = JOB_TICK);
	assert_int_equal(w.did.count, 0);
	assert_int_equal(w.s.job.due, 0);
	succeed(&w, "ami-1");
	is_state(&w, "ACTIVE");
	assert_int_equal(w.s.job.due, START);
	STEP(&w, .kind = JOB_TICK);
	assert_true(did(&w, ACT_CREATE_RUN));
	close_world(&w);
}

static void on_demand_has_its_limits(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 12, &job_rules_unlimited);
	STEP(&w, .kind = JOB_TICK);
	int64_t next = w.s.job.next_run;
	REFUSED(&w, ERR_CONFLICT, .kind = JOB_ON_DEMAND);
	succeed(&w, "ami-1");
	w.now += HOUR;
	STEP(&w, .kind = JOB_ON_DEMAND, .number = 1);
	assert_string_equal(w.s.run.type, "ON_DEMAND");
	assert_int_equal(w.s.job.next_run, next); /* the grid does not move */
	succeed(&w, "ami-2");
	assert_int_equal(w.s.job.next_run, next);
	REFUSED(&w, ERR_FULL, .kind = JOB_ON_DEMAND, .number = 2);
	STEP(&w, .kind = JOB_DELETE);
	REFUSED(&w, ERR_CONFLICT, .kind = JOB_ON_DEMAND);
	close_world(&w);
}

static void updates_are_checked_and_applied(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 12, &job_rules_unlimited);
	STEP(&w, .kind = JOB_TICK);
	succeed(&w, "ami-1");
	struct job_update bad[] = {
	    {.has_frequency = true, .frequency_hours = 25},
	    {.has_frequency = true, .frequency_hours = 0},
	    {.has_next_run = true, .next_run = w.now + 31 * DAY},
	    {.has_keep = true, .keep_images = 271},
	    {.kms_key_id = "key"},
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		REFUSED(&w, ERR_INVALID, .kind = JOB_UPDATE, .update = &bad[i]);
	struct job_update good = {.has_frequency = true,
				  .frequency_hours = 6,
				  .has_next_run = true,
				  .next_run = START + 5 * HOUR,
				  .has_encrypted = true,
				  .encrypted = 1,
				  .has_keep = true,
				  .keep_images = 2,
				  .kms_key_id = "key",
				  .description = "moved"};
	STEP(&w, .kind = JOB_UPDATE, .update = &good);
	assert_true(did(&w, ACT_PRUNE_IMAGES));
	w.now = START + 5 * HOUR;
	STEP(&w, .kind = JOB_TICK);
	assert_int_equal(w.s.run.scheduled, START + 5 * HOUR);
	assert_int_equal(w.s.run.encrypted, 1);
	assert_string_equal(w.s.run.kms_key_id, "key");
	assert_int_equal(w.s.job.next_run, START + 11 * HOUR);
	/* A next run brings a paused job back. */
	w.s.job.failure_limit = 1;
	STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "no");
	is_state(&w, "PAUSED_ON_FAILURE");
	struct job_update next = {.has_next_run = true, .next_run = START + 7 * HOUR};
	STEP(&w, .kind = JOB_UPDATE, .update = &next);
	is_state(&w, "ACTIVE");
	assert_int_equal(w.s.job.due, START + 7 * HOUR);
	close_world(&w);
}

static void deleting_ends_the_run(void **state)
{
	(void)state;
	struct world w;
	open_world(&w, 12, &job_rules_unlimited);
	STEP(&w, .kind = JOB_TICK);
	to_uploading(&w);
	STEP(&w, .kind = JOB_DELETE);
	is_state(&w, "DELETED");
	assert_string_equal(w.s.run.state, "DELETED");
	assert_string_equal(w.s.run.status_message, "Uploading");
	assert_null(w.s.job.active_run_id);
	assert_int_equal(w.s.job.due, 0);
	assert_true(did(&w, ACT_TELL_CANCEL) && did(&w, ACT_SERVER_JOB_ENDED));
	STEP(&w, .kind = JOB_DELETE);
	assert_int_equal(w.did.count, 0);
	REFUSED(&w, ERR_CONFLICT, .kind = RUN_COPIED);
	close_world(&w);
}

static void the_verdict_decides(void **state)
{
	(void)state;
	static const struct {
		const char *test, *verdict;
		bool completed, moves;
	} cases[] = {
	    {"required", "booted", true, true},	      {"required", "degraded", true, true},
	    {"required", "not booted", false, false}, {"required", "unproven", false, false},
	    {"advisory", "booted", true, true},	      {"advisory", "degraded", true, true},
	    {"advisory", "not booted", true, false},  {"advisory", "unproven", true, true},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct world w;
		open_world(&w, 12, &job_rules_unlimited);
		text_set(&w.s.job.boot_test, cases[i].test);
		w.s.job.failure_limit = 1;
		STEP(&w, .kind = JOB_TICK);
		to_preparing(&w, "ami-7");
		assert_true(did(&w, ACT_BOOT_TEST));
		assert_string_equal(w.s.job.base_image_id, "ami-7");
		assert_string_equal(w.s.job.base_point, "p-1");
		assert_null(w.s.job.latest_ami_id);
		judge(&w, cases[i].verdict);
		assert_string_equal(w.s.run.state, cases[i].completed ? "COMPLETED" : "FAILED");
		assert_string_equal(w.s.run.ami_id, "ami-7");
		assert_true(text_equal(w.s.job.latest_ami_id, cases[i].moves ? "ami-7" : NULL));
		if (!cases[i].completed)
			assert_non_null(strstr(w.s.run.status_message, "a login prompt"));
		is_state(&w, "ACTIVE"); /* never a pause */
		assert_int_equal(w.s.job.failures, 0);
		assert_int_equal(w.s.job.next_run, START + 12 * HOUR);
		close_world(&w);
	}
	for (int every = 0; every < 2; every++) { /* off, or not this time */
		struct world w;
		open_world(&w, 1, &job_rules_unlimited);
		text_set(&w.s.job.boot_test, every ? "required" : "off");
		w.s.job.boot_test_every = 3;
		for (int i = 0; i < 7; i++) {
			STEP(&w, .kind = JOB_TICK);
			to_preparing(&w, "ami-8");
			bool tested = every && i % 3 == 0;
			assert_int_equal(did(&w, ACT_BOOT_TEST), tested);
			assert_int_equal(w.s.has_run, tested);
			if (tested)
				judge(&w, "booted");
			else
				assert_string_equal(w.s.run.verdict, "not tested");
			assert_string_equal(w.s.job.latest_ami_id, "ami-8");
			w.now += HOUR;
		}
		close_world(&w);
	}
	struct world w; /* a judge that breaks proves nothing */
	open_world(&w, 1, &job_rules_unlimited);
	text_set(&w.s.job.boot_test, "required");
	STEP(&w, .kind = JOB_TICK);
	to_preparing(&w, "ami-9");
	STEP(&w, .kind = RUN_FAILED, .error = ERR_IO, .text = "the worker died");
	assert_string_equal(w.s.run.verdict, "unproven");
	assert_int_equal(w.s.job.failures, 0);
	close_world(&w);
}

static void a_full_store_and_a_lost_lease_are_no_failure(void **state)
{
	(void)state;
	for (enum stage stage = STAGE_VALIDATING; stage <= STAGE_UPLOADING; stage++)
		for (int full = 0; full < 2; full++) {
			struct world w;
			open_world(&w, 12, &job_rules_unlimited);
			STEP(&w, .kind = JOB_TICK);
			text_set(&w.s.run.connector_id, "c-1");
			w.s.run.lease_expires = w.now + 1000;
			w.s.run.token = 5;
			STEP(&w, .kind = RUN_STAGE, .stage = stage);
			assert_string_equal(w.s.run.state, "ACTIVE");
			w.s.run.bytes_done = 77;
			if (full)
				STEP(&w, .kind = RUN_FAILED, .error = ERR_FULL, .text = "3 % free");
			else
				STEP(&w, .kind = RUN_LEASE_LOST);
			assert_string_equal(w.s.run.state, "PENDING");
			assert_string_equal(w.s.run.stage, "Scheduled");
			assert_non_null(strstr(w.s.run.status_message,
					       full ? "3 % free" : stage_table[stage].word));
			assert_null(w.s.run.connector_id);
			assert_int_equal(w.s.run.bytes_done, 77);
			assert_int_equal(w.s.run.token, 5);
			assert_int_equal(w.s.job.failures, 0);
			assert_true(w.s.has_run);
			succeed(&w, "ami-1"); /* and it goes on */
			close_world(&w);
		}
	struct world w;
	open_world(&w, 12, &job_rules_unlimited);
	STEP(&w, .kind = JOB_TICK);
	to_uploading(&w);
	STEP(&w, .kind = RUN_COPIED);
	STEP(&w, .kind = RUN_FAILED, .error = ERR_FULL, .text = "3 % free");
	assert_string_equal(w.s.run.stage, "Converting");
	STEP(&w, .kind = RUN_LEASE_LOST);
	assert_string_equal(w.s.run.stage, "Converting");
	REFUSED(&w, ERR_CONFLICT, .kind = RUN_STAGE, .stage = STAGE_UPLOADING);
	REFUSED(&w, ERR_CONFLICT, .kind = RUN_VERDICT);
	close_world(&w);
}

static void the_catalog_walks_its_states(void **state)
{
	(void)state;
	struct catalog c = {0};
	struct err e = {0};
	assert_int_equal(catalog_step(&c, CATALOG_ARRIVED, 1, &e), -1);
	assert_ok(catalog_step(&c, CATALOG_IMPORT, 2, err));
	assert_int_equal(catalog_step(&c, CATALOG_DELETE, 3, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_ok(catalog_step(&c, CATALOG_FAILED, 4, err));
	assert_int_equal(c.state, CATALOG_NOT_IMPORTED);
	assert_ok(catalog_step(&c, CATALOG_IMPORT, 5, err));
	assert_ok(catalog_step(&c, CATALOG_IMPORT, 6, err));
	assert_ok(catalog_step(&c, CATALOG_ARRIVED, 7, err));
	assert_ok(catalog_step(&c, CATALOG_ARRIVED, 8, err));
	assert_string_equal(catalog_word(c.state), "AVAILABLE");
	assert_ok(catalog_step(&c, CATALOG_IMPORT, 9, err));
	assert_ok(catalog_step(&c, CATALOG_FAILED, 10, err));
	assert_int_equal(c.state, CATALOG_AVAILABLE);
	assert_ok(catalog_step(&c, CATALOG_DELETE, 11, err));
	assert_int_equal(catalog_from_word(catalog_word(c.state)), CATALOG_DELETED);
	assert_int_equal(c.modified, 11);
}

/* --- a random walk --------------------------------------------------------------------------- */

static unsigned random_below(unsigned n)
{
	return (unsigned)rand() % n;
}

static const char *const verdicts[] = {"booted", "degraded", "not booted", "unproven"};

static void random_event(struct world *w, struct job_event *event, struct job_update *u)
{
	static const enum job_event_kind kinds[] = {
	    JOB_TICK,	 JOB_TICK,    JOB_TICK,	  JOB_ON_DEMAND,  JOB_UPDATE,	JOB_RESUME,
	    RUN_STAGE,	 RUN_STAGE,   RUN_COPIED, RUN_COPIED,	  RUN_IMAGED,	RUN_IMAGED,
	    RUN_VERDICT, RUN_VERDICT, RUN_FAILED, RUN_LEASE_LOST, RUN_SNAPSHOT, JOB_DELETE,
	};
	*u = (struct job_update){.has_frequency = random_below(2),
				 .frequency_hours = random_below(26),
				 .has_next_run = random_below(3) == 0,
				 .next_run = w->now + (int64_t)random_below(100) * HOUR - HOUR};
	event->kind = kinds[random_below(COUNT_OF(kinds) - (random_below(60) != 0))];
	event->stage = (enum stage)random_below(STAGE_COUNT);
	event->error = random_below(4) ? ERR_IO : ERR_FULL;
	event->number = random_below(3);
	event->text = event->kind == RUN_IMAGED ? "ami-x" : "some text";
	event->update = u;
	if (w->s.has_run)
		text_set(&w->s.run.verdict, verdicts[random_below(4)]);
}

static bool is_over(const struct job_row *job)
{
	return !strcmp(job->state, "DELETED") || !strcmp(job->state, "FAILED") ||
	       !strcmp(job->state, "COMPLETED");
}

static void check_invariants(const struct world *w, bool was_over, bool had_run)
{
	const struct job_row *job = &w->s.job;
	assert_int_equal(w->s.has_run, job->active_run_id != NULL);
	assert_false(did(w, ACT_CREATE_RUN) && (had_run || was_over));
	assert_true(job->failures >= 0 && job->failures <= job->failure_limit);
	assert_int_equal(job->due, job_due(job, w->rules));
	if (is_over(job) || !strcmp(job->state, "PAUSED_ON_FAILURE")) {
		assert_false(w->s.has_run);
		assert_int_equal(job->next_run, 0);
	}
	if (job->next_run && !job->run_once)
		assert_int_equal((job->next_run - job->slot) % (job->frequency_hours * HOUR), 0);
	if (w->s.has_run)
		assert_true(!strcmp(w->s.run.state, "PENDING") ||
			    !strcmp(w->s.run.state, "ACTIVE"));
	else if (w->s.run.state)
		assert_true(w->s.run.completed > 0);
}

static void a_random_walk_keeps_the_invariants(void **state)
{
	(void)state;
	srand(99);
	struct world w;
	unsigned jobs = 0, accepted = 0, moved = 0;
	open_world(&w, 12, &job_rules_unlimited);
	for (int i = 0; i < 100000; i++) {
		if (is_over(&w.s.job) && random_below(10) == 0) {
			close_world(&w);
			open_world(&w, random_below(5) ? 1 + random_below(24) : 0,
				   random_below(2) ? &job_rules_aws : &job_rules_unlimited);
			static const char *const tests[] = {"required", "advisory", "off"};
			text_set(&w.s.job.boot_test, tests[random_below(3)]);
			jobs++;
		}
		w.now += (int64_t)random_below(6 * 3600) * 1000 - 60 * 1000; /* or steps back */
		struct job_event event = {0};
		struct job_update u;
		random_event(&w, &event, &u);
		bool was_over = is_over(&w.s.job), had_run = w.s.has_run;
		text_set(&w.s.job.latest_ami_id, NULL);
		if (step(&w, event) == 0) {
			accepted++;
			check_invariants(&w, was_over, had_run);
		}
		if (w.s.job.latest_ami_id) {
			const char *test = w.s.job.boot_test, *verdict = w.s.run.verdict;
			assert_string_not_equal(verdict, "not booted");
			assert_false(!strcmp(verdict, "unproven") && !strcmp(test, "required"));
			moved++;
		}
	}
	assert_true(jobs > 100 && accepted > 30000 && moved > 100);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ninety_days_on_the_grid),
	    cmocka_unit_test(a_slot_during_a_run_is_missed),
	    cmocka_unit_test(three_failures_pause_and_resume_goes_on),
	    cmocka_unit_test(other_failures_do_not_pause),
	    cmocka_unit_test(a_paused_job_is_deleted_after_four_days_by_aws),
	    cmocka_unit_test(use_ends_after_ninety_days_by_aws),
	    cmocka_unit_test(a_one_time_job_ends_with_its_run),
	    cmocka_unit_test(on_demand_has_its_limits),
	    cmocka_unit_test(updates_are_checked_and_applied),
	    cmocka_unit_test(deleting_ends_the_run),
	    cmocka_unit_test(the_verdict_decides),
	    cmocka_unit_test(a_full_store_and_a_lost_lease_are_no_failure),
	    cmocka_unit_test(the_catalog_walks_its_states),
	    cmocka_unit_test(a_random_walk_keeps_the_invariants),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
