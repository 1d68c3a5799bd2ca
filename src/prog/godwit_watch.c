// SPDX-License-Identifier: Apache-2.0
/* watch: one run, from now to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/shape.h"
#include "base/text.h"
#include "prog/godwit.h"

#define POLL_MS	   1000
#define PLAIN_MS   10000 /* a line so often where there is no terminal */
#define PATIENT_MS 60000 /* the service may be restarting */

static bool is_over(const char *state)
{
	static const char *const ends[] = {"COMPLETED", "FAILED", "MISSED", "DELETED"};
	for (unsigned i = 0; i < COUNT_OF(ends); i++)
		if (strcmp(state, ends[i]) == 0)
			return true;
	return false;
}

static int newest_run(struct cli *c, const char *job, json_t **run, struct err *e)
{
	json_t *answer;
	if (call_sms(c, "GetReplicationRuns",
		     json_pack("{s:s, s:i}", "replicationJobId", job, "maxResults", 1), &answer,
		     e) < 0)
		return -1;
	*run = json_incref(json_array_get(json_object_get(answer, "replicationRunList"), 0));
	json_decref(answer);
	return 0;
}

/* A job's first run may be yet to come. */
static int run_of_job(struct cli *c, const char *job, char **id, struct err *e)
{
	bool told = false;
	for (;;) {
		json_t *run;
		if (newest_run(c, job, &run, e) < 0)
			return -1;
		if (run) {
			*id = xstrdup(text_of(run, "replicationRunId"));
			json_decref(run);
			return 0;
		}
		if (!told)
			fprintf(stderr, "waiting for the first run of %s\n", job);
		told = true;
		clock_sleep_ms(POLL_MS);
	}
}

static int only_active_run(struct cli *c, char **id, struct err *e)
{
	json_t *jobs, *job, *run;
	size_t i;
	unsigned active = 0;
	int result = 0;
	if (call_sms_list(c, "GetReplicationJobs", NULL, "replicationJobList", &jobs, e) < 0)
		return -1;
	json_array_foreach(jobs, i, job)
	{
		result = newest_run(c, text_of(job, "replicationJobId"), &run, e);
		if (result < 0)
			break;
		if (run && !is_over(text_of(run, "state"))) {
			active++;
			text_set(id, text_of(run, "replicationRunId"));
		}
		json_decref(run);
	}
	json_decref(jobs);
	if (result < 0 || active == 1)
		return result;
	if (active)
		return err_set(e, ERR_INVALID, "%u runs are active: name a job or a run", active);
	return err_set(e, ERR_NOT_FOUND, "no run is active: name a job or a run, or start one");
}

/* --- the line --- */

struct meter {
	int64_t at_ms, bytes; /* when the rate was last taken, and of how much */
	double rate;	      /* bytes each second */
	bool drawn;
	char stage[64];
	int64_t printed_ms;
};

static void measure(struct meter *m, int64_t bytes)
{
	int64_t now = clock_mono_ms(), passed = now - m->at_ms;
	if (m->at_ms && passed < 500)
		return;
	if (m->at_ms && bytes >= m->bytes) {
		double rate = (double)(bytes - m->bytes) * 1000 / (double)passed;
		m->rate = m->rate > 0 ? 0.7 * m->rate + 0.3 * rate : rate;
	}
	m->at_ms = now;
	m->bytes = bytes;
}

static void add_size(struct buf *line, const char *label, const json_t *p, const char *member)
{
	char text[24];
	size_text((uint64_t)number_of(p, member), text);
	buf_printf(line, ", %s %s", label, text);
}

static double real_of(const json_t *object, const char *member)
{
	return json_number_value(json_object_get(object, member));
}

static void describe(struct meter *m, const json_t *p, struct buf *line)
{
	int64_t total = number_of(p, "bytesTotal"), done = number_of(p, "bytesDone");
	int64_t queue = number_of(p, "queuePosition");
	const char *stage = text_of(p, "stage"), *progress = text_of(p, "stageProgress");
	char text[24];
	measure(m, done);
	buf_add_str(line, *stage ? stage : text_of(p, "state"));
	if (queue > 0)
		buf_printf(line, ", %lld before it", (long long)queue);
	if (*progress && !total)
		buf_printf(line, " %s", progress);
	if (!total)
		return;
	bool moving = strcmp(stage, "Uploading") == 0;
	if (moving)
		buf_printf(line, " %lld%%", (long long)(100.0 * (double)done / (double)total));
	add_size(line, "read", p, "bytesRead");
	add_size(line, "new", p, "bytesNew");
	add_size(line, "sent", p, "bytesSent");
	if (strcmp(stage, "Preparing") == 0 && !queue) {
		duration_text(clock_now_ms() - (int64_t)(1000 * real_of(p, "stageSince")), text);
		buf_printf(line, "; booting the image for %s", text);
	}
	if (!moving || done >= total || m->rate < 1)
		return;
	size_text((uint64_t)m->rate, text);
	buf_printf(line, ", %s/s", text);
	duration_text((int64_t)((double)(total - done) / m->rate * 1000), text);
	buf_printf(line, ", %s left", text);
}

static void draw(struct meter *m, const json_t *p, bool terminal)
{
	struct buf line = {0};
	int64_t now = clock_mono_ms();
	describe(m, p, &line);
	if (terminal) {
		fputs("\r\x1b[K", stdout);
		show_text(buf_str(&line));
		m->drawn = true;
	} else if (strcmp(m->stage, text_of(p, "stage")) != 0 || now - m->printed_ms >= PLAIN_MS) {
		show_text(buf_str(&line));
		putchar('\n');
		m->printed_ms = now;
	}
	snprintf(m->stage, sizeof m->stage, "%s", text_of(p, "stage"));
	fflush(stdout);
	buf_release(&line);
}

static int finish(const struct cli *c, const char *id, const json_t *p, struct err *e)
{
	const char *state = text_of(p, "state"), *why = text_of(p, "statusMessage");
	bool good = strcmp(state, "COMPLETED") == 0;
	if (c->json) {
		show_json(p);
		return good ? 0 : 1;
	}
	if (!good)
		return err_set(e, ERR_CONFLICT, "run %s is %s%s%s", id, state, *why ? ": " : "",
			       why);
	printf("run %s is COMPLETED", id);
	if (*text_of(p, "imageId")) {
		fputs(": image ", stdout);
		show_text(text_of(p, "imageId"));
	}
	if (*text_of(p, "verdict")) {
		fputs(", ", stdout);
		show_text(text_of(p, "verdict"));
	}
	if (*text_of(p, "verdictText")) {
		fputs(": ", stdout);
		show_text(text_of(p, "verdictText"));
	}
	putchar('\n');
	return 0;
}

static int follow(struct cli *c, const char *id, struct err *e)
{
	bool terminal = isatty(STDOUT_FILENO) && !c->json;
	struct meter m = {0};
	int64_t heard = clock_mono_ms();
	for (;; clock_sleep_ms(POLL_MS)) {
		json_t *p;
		if (call_godwit(c, "GetRunProgress", json_pack("{s:s}", "replicationRunId", id), &p,
				e) < 0) {
			bool wait = e->kind == ERR_UNAVAILABLE || e->kind == ERR_BUSY;
			if (wait && clock_mono_ms() - heard < PATIENT_MS)
				continue;
			return -1;
		}
		heard = clock_mono_ms();
		bool over = is_over(text_of(p, "state"));
		if (!over && !c->json)
			draw(&m, p, terminal);
		if (over && m.drawn)
			fputs("\r\x1b[K", stdout);
		int result = over ? finish(c, id, p, e) : 0;
		json_decref(p);
		if (over)
			return result;
	}
}

int cmd_watch(struct cli *c, struct err *e)
{
	const char *what = c->args[0];
	char *id = NULL;
	int result;
	if (!what)
		result = only_active_run(c, &id, e);
	else if (text_starts(what, "sms-job-"))
		result = run_of_job(c, what, &id, e);
	else
		result = 0, id = xstrdup(what);
	if (result == 0) {
		e->kind = ERR_NONE;
		result = follow(c, id, e);
	}
	free(id);
	return result;
}
