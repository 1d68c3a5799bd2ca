// SPDX-License-Identifier: Apache-2.0
/* job, run, connector: lists and settings of the service. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "io/tls.h"
#include "job/step.h"
#include "prog/godwit.h"

/* --- jobs --- */

int cmd_job_list(struct cli *c, struct err *e)
{
	static const char *const titles[] = {"JOB",   "SERVER",	  "STATE",
					     "EVERY", "NEXT RUN", "IMAGE"};
	json_t *jobs, *job, *rows = json_array();
	size_t i;
	if (call_sms_list(c, "GetReplicationJobs", NULL, "replicationJobList", &jobs, e) < 0) {
		json_decref(rows);
		return -1;
	}
	json_array_foreach(jobs, i, job)
	{
		char every[24] = "once";
		if (number_of(job, "frequency"))
			snprintf(every, sizeof every, "%lld h",
				 (long long)number_of(job, "frequency"));
		const char *name = text_of(json_object_get(job, "vmServer"), "vmName");
		json_array_append_new(rows, json_pack("[o, s, o, s, o, o]",
						      cell_text(job, "replicationJobId"),
						      *name ? name : text_of(job, "serverId"),
						      cell_text(job, "state"), every,
						      cell_time(job, "nextReplicationRunStartTime"),
						      cell_text(job, "latestAmiId")));
	}
	if (c->json) {
		show_json(jobs);
		json_decref(rows);
	} else {
		show_table(titles, COUNT_OF(titles), rows);
	}
	json_decref(jobs);
	return 0;
}

static void show_cell(const char *label, json_t *cell)
{
	show_field(label, json_string_value(cell));
	json_decref(cell);
}

int cmd_job_show(struct cli *c, struct err *e)
{
	json_t *answer;
	if (call_sms(c, "GetReplicationJobs", json_pack("{s:s}", "replicationJobId", c->args[0]),
		     &answer, e) < 0)
		return -1;
	json_t *job = json_array_get(json_object_get(answer, "replicationJobList"), 0);
	if (!job) {
		json_decref(answer);
		return err_set(e, ERR_NOT_FOUND, "there is no job '%s'", c->args[0]);
	}
	json_t *server = json_object_get(job, "vmServer");
	if (c->json) {
		show_json(job);
	} else {
		show_field("job", text_of(job, "replicationJobId"));
		show_field("server", text_of(server, "vmName"));
		show_field("path", text_of(server, "vmPath"));
		show_field("state", text_of(job, "state"));
		show_field("message", text_of(job, "statusMessage"));
		show_field("description", text_of(job, "description"));
		if (number_of(job, "frequency"))
			printf("%-15s %lld h\n", "every", (long long)number_of(job, "frequency"));
		show_cell("seed", cell_time(job, "seedReplicationTime"));
		show_cell("next run", cell_time(job, "nextReplicationRunStartTime"));
		show_field("latest image", text_of(job, "latestAmiId"));
		if (number_of(job, "numberOfRecentAmisToKeep"))
			printf("%-15s %lld\n", "images kept",
			       (long long)number_of(job, "numberOfRecentAmisToKeep"));
	}
	json_decref(answer);
	return 0;
}

/* Said when something was done that has no answer of its own. */
static int done(const struct cli *c, const char *what)
{
	if (c->json)
		puts("{}");
	else
		puts(what);
	return 0;
}

int cmd_job_resume(struct cli *c, struct err *e)
{
	if (call_godwit(c, "ResumeReplicationJob",
			json_pack("{s:s}", "replicationJobId", c->args[0]), NULL, e) < 0)
		return -1;
	return done(c, "The job goes on.");
}

static int set_number(const struct cli *c, const char *option, const char *member, int64_t max,
		      json_t *in, struct err *e)
{
	const char *value = cli_value(c, option);
	int64_t number;
	if (!value)
		return 0;
	char *name = xasprintf("--%s", option);
	int result = number_parse(name, value, 1, max, &number, e);
	free(name);
	if (result == 0)
		json_object_set_new(in, member, json_integer(number));
	return result;
}

int cmd_job_set(struct cli *c, struct err *e)
{
	json_t *in = json_pack("{s:s}", "replicationJobId", c->args[0]);
	const char *boot = cli_value(c, "boot-test"), *pause = cli_value(c, "pause-on-failure");
	if (boot && strcmp(boot, "required") != 0 && strcmp(boot, "advisory") != 0 &&
	    strcmp(boot, "off") != 0) {
		err_set(e, ERR_INVALID, "--boot-test is required, advisory or off, not '%s'", boot);
		goto usage;
	}
	if (boot)
		json_object_set_new(in, "bootTest", json_string(boot));
	if (pause && strcmp(pause, "yes") != 0 && strcmp(pause, "no") != 0) {
		err_set(e, ERR_INVALID, "--pause-on-failure is yes or no, not '%s'", pause);
		goto usage;
	}
	if (pause)
		json_object_set_new(in, "pauseOnFailure", json_boolean(*pause == 'y'));
	if (set_number(c, "boot-test-every", "bootTestEvery", 1000, in, e) < 0 ||
	    set_number(c, "failure-limit", "failureLimit", 100, in, e) < 0)
		goto usage;
	if (json_object_size(in) == 1) {
		err_set(e, ERR_INVALID, "nothing to set: 'godwit help job set' lists the options");
		goto usage;
	}
	if (call_godwit(c, "PutReplicationJobOptions", in, NULL, e) < 0)
		return -1;
	return done(c, "Set.");
usage:
	json_decref(in);
	return EXIT_USAGE;
}

/* --- runs --- */

int cmd_run_list(struct cli *c, struct err *e)
{
	static const char *const titles[] = {"RUN",  "STATE",  "STARTED", "READ",   "NEW",
					     "SENT", "STORED", "IMAGE",	  "MESSAGE"};
	json_t *runs, *run, *p, *all = json_array(), *rows = json_array();
	size_t i;
	int result = call_sms_list(c, "GetReplicationRuns",
				   json_pack("{s:s}", "replicationJobId", c->args[0]),
				   "replicationRunList", &runs, e);
	if (result < 0)
		goto out;
	json_array_foreach(runs, i, run)
	{
		result = call_godwit(
		    c, "GetRunProgress",
		    json_pack("{s:o}", "replicationRunId", cell_text(run, "replicationRunId")), &p,
		    e);
		if (result < 0)
			break;
		json_array_append_new(
		    rows, json_pack("[o, o, o, o, o, o, o, o, o]", cell_text(p, "replicationRunId"),
				    cell_text(p, "state"), cell_time(p, "startedAt"),
				    cell_size(p, "bytesRead"), cell_size(p, "bytesNew"),
				    cell_size(p, "bytesSent"), cell_size(p, "bytesStored"),
				    cell_text(p, "imageId"), cell_text(p, "statusMessage")));
		json_array_append_new(all, p);
	}
	json_decref(runs);
	if (result == 0 && c->json)
		show_json(all);
	else if (result == 0)
		show_table(titles, COUNT_OF(titles), json_incref(rows));
out:
	json_decref(all);
	json_decref(rows);
	return result;
}

int cmd_run_show(struct cli *c, struct err *e)
{
	json_t *p;
	if (call_godwit(c, "GetRunProgress", json_pack("{s:s}", "replicationRunId", c->args[0]), &p,
			e) < 0)
		return -1;
	if (c->json) {
		show_json(p);
	} else {
		show_field("run", text_of(p, "replicationRunId"));
		show_field("job", text_of(p, "replicationJobId"));
		show_field("state", text_of(p, "state"));
		show_field("stage", text_of(p, "stage"));
		show_field("progress", text_of(p, "stageProgress"));
		show_field("message", text_of(p, "statusMessage"));
		show_cell("started", cell_time(p, "startedAt"));
		show_cell("completed", cell_time(p, "completedTime"));
		show_cell("to look at", cell_size(p, "bytesTotal"));
		show_cell("read", cell_size(p, "bytesRead"));
		show_cell("new", cell_size(p, "bytesNew"));
		show_cell("sent", cell_size(p, "bytesSent"));
		show_cell("stored", cell_size(p, "bytesStored"));
		show_field("read in full", text_of(p, "readReason"));
		show_field("consistency", text_of(p, "consistency"));
		show_field("image", text_of(p, "imageId"));
		show_field("verdict", text_of(p, "verdict"));
		show_field("because", text_of(p, "verdictText"));
	}
	json_decref(p);
	return 0;
}

/* --- connectors --- */

int cmd_connector_list(struct cli *c, struct err *e)
{
	static const char *const titles[] = {"CONNECTOR", "STATUS",  "VERSION",
					     "MANAGER",	  "ADDRESS", "SINCE"};
	json_t *list, *one, *rows = json_array();
	size_t i;
	if (call_sms_list(c, "GetConnectors", NULL, "connectorList", &list, e) < 0) {
		json_decref(rows);
		return -1;
	}
	json_array_foreach(list, i, one) json_array_append_new(
	    rows,
	    json_pack("[o, o, o, o, o, o]", cell_text(one, "connectorId"), cell_text(one, "status"),
		      cell_text(one, "version"), cell_text(one, "vmManagerName"),
		      cell_text(one, "ipAddress"), cell_time(one, "associatedOn")));
	if (c->json) {
		show_json(list);
		json_decref(rows);
	} else {
		show_table(titles, COUNT_OF(titles), rows);
	}
	json_decref(list);
	return 0;
}

/* What goes into the connector's token file: whom to trust, and the secret. */
int cmd_connector_token(struct cli *c, struct err *e)
{
	char fingerprint[FINGERPRINT_BYTES];
	char *ca = NULL;
	json_t *answer = NULL;
	int result = call_godwit(c, "CreateConnectorToken", json_pack("{s:s}", "name", c->args[0]),
				 &answer, e);
	if (result < 0)
		return -1;
	ca = xasprintf("%s/tls/ca.pem", c->state_dir ? c->state_dir : c->state);
	result = tls_fingerprint(ca, fingerprint, e);
	if (result == 0 && c->json) {
		json_object_set_new(answer, "fingerprint", json_string(fingerprint));
		show_json(answer);
	} else if (result == 0) {
		printf("%s %s\n", fingerprint, text_of(answer, "token"));
	}
	free(ca);
	json_decref(answer);
	return result;
}

/* --- stages --- */

int cmd_stages(struct cli *c, struct err *e)
{
	json_t *all = json_array();
	(void)e;
	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		json_array_append_new(all, json_string(stage_table[i].word));
		if (!c->json)
			puts(stage_table[i].word);
	}
	if (c->json)
		show_json(all);
	json_decref(all);
	return 0;
}
