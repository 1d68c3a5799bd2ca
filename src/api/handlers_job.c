// SPDX-License-Identifier: Apache-2.0
/* Replication jobs and their runs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/machine.h"
#include "wire/wire.h"

#define NESTED_RUNS	     50 /* of a job in a list of jobs; all are in GetReplicationRuns */
#define ROLE_NAME_CHARACTERS 64
#define INVALID		     "InvalidParameterException"

/* --- what a schedule may be ------------------------------------------------------------------ */

static int check_start(struct api_call *call, const char *name, int64_t when)
{
	if (when <= call->now + SEED_AHEAD_MS)
		return 0;
	return api_fail(call, INVALID,
			"%s is more than %d days ahead: a start lies from now to %d days ahead",
			name, (int)(SEED_AHEAD_MS / (24 * 3600 * 1000)),
			(int)(SEED_AHEAD_MS / (24 * 3600 * 1000)));
}

static int check_range(struct api_call *call, const json_t *in, const char *name, int64_t min,
		       int64_t max)
{
	int64_t value = in_integer(in, name, min);
	if (value >= min && value <= max)
		return 0;
	return api_fail(call, INVALID, "%s is %" PRId64 " but must be from %" PRId64 " to %" PRId64,
			name, value, min, max);
}

static int check_length(struct api_call *call, const json_t *in, const char *name, size_t max)
{
	const char *text = in_text(in, name);
	if (!text || strlen(text) <= max)
		return 0;
	return api_fail(call, INVALID, "%s has %zu bytes; at most %zu are allowed", name,
			strlen(text), max);
}

/* The rules that making and changing a job share. */
static int check_settings(struct api_call *call, const json_t *in)
{
	if (check_range(call, in, "numberOfRecentAmisToKeep", 0, KEEP_IMAGES_MAX) ||
	    check_length(call, in, "description", LIMIT_DESCRIPTION_BYTES) ||
	    check_length(call, in, "roleName", ROLE_NAME_CHARACTERS))
		return -1;
	bool encrypted = in_boolean(in, "encrypted", false);
	if (in_has(in, "kmsKeyId") && !encrypted)
		return api_fail(call, INVALID,
				"kmsKeyId is given but encrypted is not true: a key without "
				"encryption would be of no use");
	if (encrypted)
		return api_fail(call, "OperationNotPermittedException",
				"this version of godwit keeps images unencrypted and has no keys "
				"yet: leave encrypted out, and encrypt the file system that the "
				"store is on");
	return 0;
}

/* --- CreateReplicationJob -------------------------------------------------------------------- */

static bool is_over(const char *state)
{
	return text_equal(state, "DELETED") || text_equal(state, "FAILED") ||
	       text_equal(state, "COMPLETED");
}

static int check_no_live_job(struct api_call *call, struct meta_tx *tx, const char *server_id)
{
	struct api_rows jobs = {.shape = meta_jobs.shape};
	struct meta_scan scan = {.index = "server", .equal_count = 1, .values[0].text = server_id};
	int result = api_scan(call, tx, &meta_jobs, &scan, api_rows_add, &jobs);
	for (unsigned i = 0; !result && i < jobs.count; i++) {
		const struct job_row *job = api_rows_at(&jobs, i);
		if (!is_over(job->state))
			result = api_fail(call, "ReplicationJobAlreadyExistsException",
					  "the server %s has the replication job %s, which is %s: "
					  "delete it first",
					  server_id, job->id, job->state);
	}
	api_rows_release(&jobs);
	return result;
}

struct manager_seen {
	const char *manager_id;
	bool found;
};

static int find_manager(void *context, const void *row)
{
	const struct connector_row *c = row;
	struct manager_seen *seen = context;
	seen->found = !c->disassociated && text_equal(c->manager_id, seen->manager_id);
	return seen->found;
}

static int check_connector(struct api_call *call, struct meta_tx *tx, const struct server_row *s)
{
	struct manager_seen seen = {.manager_id = s->manager_id};
	if (api_scan(call, tx, &meta_connectors, &(struct meta_scan){0}, find_manager, &seen))
		return -1;
	if (seen.found)
		return 0;
	return api_fail(call, "NoConnectorsAvailableException",
			"no registered connector serves %.128s, where the server %s is",
			s->manager_name ? s->manager_name : "the manager", s->id);
}

static const char *refusal_of(const struct machine *m)
{
	if (m->refusal)
		return m->refusal;
	const struct machine_disk *disks = m->disks.items;
	for (size_t i = 0; i < m->disks.count; i++) {
		if (disks[i].refusal)
			return disks[i].refusal;
	}
	return NULL;
}

/* What the inventory said against copying it; half of a server's disks would be no server. */
static int check_replicable(struct api_call *call, const struct server_row *s)
{
	struct machine machine = {0};
	struct err e = {0};
	if (!s->machine.len)
		return 0;
	if (wire_decode(&machine_shape, s->machine.data, s->machine.len, &machine, &e)) {
		err_prefix(&e, "the inventory's entry of the server %s", s->id);
		return api_fail(call, "InternalError", "%s", e.text);
	}
	const char *refusal = refusal_of(&machine);
	int result = 0;
	if (refusal)
		result = api_fail(call, "ServerCannotBeReplicatedException",
				  "the server %s cannot be replicated: %s", s->id, refusal);
	shape_release(&machine_shape, &machine);
	return result;
}

static int count_live(void *context, const void *row)
{
	*(int *)context += !is_over(((const struct job_row *)row)->state);
	return 0;
}

static int check_quota(struct api_call *call, struct meta_tx *tx)
{
	int max = api_service_of(call)->rules->concurrent_jobs_max, live = 0;
	if (!max)
		return 0;
	if (api_scan(call, tx, &meta_jobs, &(struct meta_scan){0}, count_live, &live))
		return -1;
	if (live < max)
		return 0;
	return api_fail(call, "OperationNotPermittedException",
			"%d replication jobs are live, which is the quota: delete one first", live);
}

static int check_schedule(struct api_call *call, const json_t *in, int64_t seed)
{
	if (check_start(call, "seedReplicationTime", seed) ||
	    check_range(call, in, "frequency", FREQUENCY_MIN_HOURS, FREQUENCY_MAX_HOURS))
		return -1;
	if (!in_has(in, "frequency") && !in_boolean(in, "runOnce", false))
		return api_fail(call, "MissingRequiredParameterException",
				"frequency, in hours, is required unless runOnce is true");
	return 0;
}

static int check_server(struct api_call *call, struct meta_tx *tx, const struct server_row *s)
{
	if (!s->listed)
		return api_fail(call, INVALID, "the server '%s' is not in the catalog now", s->id);
	if (check_no_live_job(call, tx, s->id) || check_connector(call, tx, s) ||
	    check_replicable(call, s))
		return -1;
	return check_quota(call, tx);
}

static void fill_job(struct job_row *job, const struct server_row *s, const json_t *in,
		     int64_t seed, int64_t now)
{
	text_set(&job->server_id, s->id);
	text_set(&job->manager_id, s->manager_id);
	text_set(&job->vm_id, s->vm_id);
	text_set(&job->manager_name, s->manager_name);
	text_set(&job->manager_type, s->manager_type);
	text_set(&job->vm_name, s->name);
	text_set(&job->vm_path, s->path);
	text_set(&job->description, in_text(in, "description"));
	text_set(&job->license_type, in_text(in, "licenseType"));
	text_set(&job->role_name, in_text(in, "roleName"));
	job->seed = seed < now ? now : seed; /* clients send whole seconds: "now" is just past */
	job->run_once = in_boolean(in, "runOnce", false);
	job->frequency_hours = job->run_once ? 0 : in_integer(in, "frequency", 0);
	job->keep_images = in_integer(in, "numberOfRecentAmisToKeep", 0);
}

int handle_create_replication_job(struct api_call *call, json_t *in, json_t *out)
{
	int64_t seed = 0;
	in_time(in, "seedReplicationTime", &seed);
	if (check_schedule(call, in, seed) || check_settings(call, in))
		return -1;
	struct server_row server = {0};
	struct job_row job = {0};
	struct meta_tx *tx;
	if (api_begin(call, true, &tx))
		return -1;
	int result = -1;
	if (api_get(call, tx, &meta_servers, "server", in_text(in, "serverId"), INVALID, &server) ||
	    check_server(call, tx, &server))
		goto out;
	fill_job(&job, &server, in, seed, call->now);
	job_create(&job, call->now);
	text_set(&server.job_id, job.id);
	server.job_terminated = 0;
	if (api_put(call, tx, &meta_jobs, &job) || api_put(call, tx, &meta_servers, &server))
		goto out;
	out_text(out, "replicationJobId", job.id);
	result = 0;
out:
	result = api_end(call, tx, result);
	shape_release(meta_servers.shape, &server);
	shape_release(meta_jobs.shape, &job);
	if (!result)
		api_wake(call);
	return result;
}

/* --- changing a job -------------------------------------------------------------------------- */

int handle_update_replication_job(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	struct job_update update = {
	    .has_frequency = in_has(in, "frequency"),
	    .has_keep = in_has(in, "numberOfRecentAmisToKeep"),
	    .has_encrypted = in_has(in, "encrypted"),
	    .frequency_hours = in_integer(in, "frequency", 0),
	    .keep_images = in_integer(in, "numberOfRecentAmisToKeep", 0),
	    .encrypted = in_boolean(in, "encrypted", false),
	    .license_type = in_text(in, "licenseType"),
	    .role_name = in_text(in, "roleName"),
	    .description = in_text(in, "description"),
	    .kms_key_id = in_text(in, "kmsKeyId"),
	};
	update.has_next_run = in_time(in, "nextReplicationRunStartTime", &update.next_run);
	if (check_range(call, in, "frequency", FREQUENCY_MIN_HOURS, FREQUENCY_MAX_HOURS) ||
	    check_settings(call, in))
		return -1;
	if (update.has_next_run) {
		if (check_start(call, "nextReplicationRunStartTime", update.next_run))
			return -1;
		if (update.next_run < call->now)
			update.next_run = call->now;
	}
	struct job_event event = {.kind = JOB_UPDATE, .update = &update};
	return api_job_event(call, in_text(in, "replicationJobId"), &event,
			     "ReplicationJobNotFoundException", NULL, NULL);
}

int handle_delete_replication_job(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	struct job_event event = {.kind = JOB_DELETE};
	return api_job_event(call, in_text(in, "replicationJobId"), &event,
			     "ReplicationJobNotFoundException", NULL, NULL);
}

struct recent {
	int64_t since;
	int64_t count;
};

static int count_recent(void *context, const void *row)
{
	const struct run_row *run = row;
	struct recent *recent = context;
	recent->count += text_equal(run->type, "ON_DEMAND") && run->scheduled > recent->since;
	return 0;
}

/* Counted before the event's own transaction: two requests at once cannot both pass, because the
 * first one's run is active when the second one's event is stepped. */
static int count_on_demand(struct api_call *call, const char *job_id, int64_t *count)
{
	struct recent recent = {.since = call->now - ON_DEMAND_WINDOW_MS};
	struct meta_scan scan = {.index = "job", .equal_count = 1, .values[0].text = job_id};
	struct meta_tx *tx;
	if (api_begin(call, false, &tx))
		return -1;
	int result = api_scan(call, tx, &meta_runs, &scan, count_recent, &recent);
	*count = recent.count;
	return api_end(call, tx, result);
}

int handle_start_on_demand_replication_run(struct api_call *call, json_t *in, json_t *out)
{
	const char *job_id = in_text(in, "replicationJobId");
	struct job_event event = {.kind = JOB_ON_DEMAND, .text = in_text(in, "description")};
	struct job_state state = {0};
	if (check_length(call, in, "description", LIMIT_DESCRIPTION_BYTES) ||
	    count_on_demand(call, job_id, &event.number) ||
	    api_job_event(call, job_id, &event, INVALID, "ReplicationRunLimitExceededException",
			  &state))
		return -1;
	out_text(out, "replicationRunId", state.has_run ? state.run.id : state.new_run.id);
	job_state_release(&state);
	return 0;
}

/* --- lists ----------------------------------------------------------------------------------- */

static int add_runs(struct api_call *call, struct meta_tx *tx, const struct meta_scan *scan,
		    struct api_rows *rows)
{
	*rows = (struct api_rows){.shape = meta_runs.shape, .limit = scan->limit};
	return api_scan(call, tx, &meta_runs, scan, api_rows_add, rows);
}

static json_t *out_runs(const struct api_rows *rows, unsigned max)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < rows->count && i < max; i++)
		json_array_append_new(list, out_run(api_rows_at(rows, i)));
	return list;
}

/* The job with its newest runs. */
static int append_job(struct api_call *call, struct meta_tx *tx, const struct job_row *job,
		      json_t *list)
{
	struct api_rows runs;
	struct meta_scan scan = {.index = "job",
				 .equal_count = 1,
				 .values[0].text = job->id,
				 .descending = true,
				 .limit = NESTED_RUNS};
	int result = add_runs(call, tx, &scan, &runs);
	json_t *out = out_job(job);
	json_object_set_new(out, "replicationRunList", out_runs(&runs, NESTED_RUNS));
	json_array_append_new(list, out);
	api_rows_release(&runs);
	return result;
}

static int collect_jobs(struct api_call *call, struct meta_tx *tx, const char *id,
			const struct api_page *page, struct api_rows *jobs)
{
	struct meta_scan all = {.index = "created",
				.after_count = page->has_after ? 2 : 0,
				.values = {{.number = page->number}, {.text = page->key}},
				.limit = page->size + 1};
	if (!id)
		return api_scan(call, tx, &meta_jobs, &all, api_rows_add, jobs);
	struct job_row job = {0};
	struct err e = {0};
	if (!meta_get(tx, &meta_jobs, id, &job, &e)) {
		api_rows_add(jobs, &job);
		shape_release(meta_jobs.shape, &job);
		return 0;
	}
	return e.kind == ERR_NOT_FOUND ? 0 : api_fail_err(call, &e);
}

int handle_get_replication_jobs(struct api_call *call, json_t *in, json_t *out)
{
	const char *id = in_text(in, "replicationJobId");
	struct api_rows jobs = {.shape = meta_jobs.shape};
	struct api_page page;
	struct meta_tx *tx;
	if (api_page_begin(call, in, id, &page) || api_begin(call, false, &tx))
		return -1;
	json_t *list = json_array();
	int result = collect_jobs(call, tx, id, &page, &jobs);
	for (unsigned i = 0; !result && i < jobs.count && i < page.size; i++)
		result = append_job(call, tx, api_rows_at(&jobs, i), list);
	result = api_end(call, tx, result);
	json_object_set_new(out, "replicationJobList", list);
	if (jobs.count > page.size) {
		struct job_row *last = api_rows_at(&jobs, page.size - 1);
		api_page_more(call, out, id, last->created, last->id);
	}
	api_rows_release(&jobs);
	return result;
}

int handle_get_replication_runs(struct api_call *call, json_t *in, json_t *out)
{
	const char *id = in_text(in, "replicationJobId");
	struct api_rows runs = {.shape = meta_runs.shape};
	struct job_row job = {0};
	struct api_page page;
	struct meta_tx *tx;
	if (api_page_begin(call, in, id, &page) || api_begin(call, false, &tx))
		return -1;
	struct meta_scan scan = {.index = "job",
				 .equal_count = 1,
				 .after_count = page.has_after,
				 .values = {{.text = id}, {.number = page.number}},
				 .descending = true,
				 .limit = page.size + 1};
	int result = -1;
	if (api_get(call, tx, &meta_jobs, "replication job", id, INVALID, &job) ||
	    add_runs(call, tx, &scan, &runs))
		goto out;
	json_object_set_new(out, "replicationJob", out_job(&job));
	json_object_set_new(out, "replicationRunList", out_runs(&runs, page.size));
	if (runs.count > page.size) {
		struct run_row *last = api_rows_at(&runs, page.size - 1);
		api_page_more(call, out, id, last->sequence, last->id);
	}
	result = 0;
out:
	result = api_end(call, tx, result);
	shape_release(meta_jobs.shape, &job);
	api_rows_release(&runs);
	return result;
}
