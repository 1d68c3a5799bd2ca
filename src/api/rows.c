// SPDX-License-Identifier: Apache-2.0
/* Rows of the service in a handler: reaching them, and how they look in an answer. */
#include <string.h>

#include "api/handlers.h"
#include "api/shapes.h"
#include "base/text.h"

struct service *api_service_of(const struct api_call *call)
{
	return ((const struct api_world *)call->world)->service;
}

int api_begin(struct api_call *call, bool write, struct meta_tx **tx)
{
	struct err e = {0};
	return meta_begin(api_service_of(call)->meta, write, tx, &e) ? api_fail_err(call, &e) : 0;
}

int api_end(struct api_call *call, struct meta_tx *tx, int result)
{
	struct err e = {0};
	if (meta_end(tx, !result, &e) && !result)
		return api_fail_err(call, &e);
	return result;
}

int api_get(struct api_call *call, struct meta_tx *tx, const struct meta_table *t, const char *what,
	    const char *key, const char *code, void *row)
{
	struct err e = {0};
	if (!meta_get(tx, t, key, row, &e))
		return 0;
	if (e.kind != ERR_NOT_FOUND)
		return api_fail_err(call, &e);
	return api_fail(call, code, "there is no %s '%.128s'", what, key);
}

int api_put(struct api_call *call, struct meta_tx *tx, const struct meta_table *t, const void *row)
{
	struct err e = {0};
	return meta_put(tx, t, row, &e) ? api_fail_err(call, &e) : 0;
}

int api_scan(struct api_call *call, struct meta_tx *tx, const struct meta_table *t,
	     const struct meta_scan *scan, meta_row_fn *each, void *context)
{
	struct err e = {0};
	return meta_scan(tx, t, scan, each, context, &e) < 0 ? api_fail_err(call, &e) : 0;
}

void api_wake(struct api_call *call)
{
	struct service *s = api_service_of(call);
	if (s->wake)
		s->wake(s->wake_context);
}

int api_job_event(struct api_call *call, const char *job_id, const struct job_event *event,
		  const char *unknown, const char *full, struct job_state *out)
{
	struct err e = {0};
	if (!service_job_event(api_service_of(call), job_id, event, call->now, out, &e))
		return 0;
	if (e.kind == ERR_NOT_FOUND)
		return api_fail(call, unknown, "there is no replication job '%.128s'", job_id);
	if (e.kind == ERR_FULL && full)
		return api_fail(call, full, "%s", e.text);
	return api_fail_err(call, &e);
}

static bool is_word_of(const struct api_shape *shape, const char *word)
{
	for (unsigned i = 0; word && shape->values[i]; i++) {
		if (!strcmp(shape->values[i], word))
			return true;
	}
	return false;
}

json_t *out_vm_server(const char *manager_id, const char *vm_id, const char *manager_name,
		      const char *manager_type, const char *name, const char *path)
{
	json_t *out = json_object(), *address = json_object();
	out_text(address, "vmManagerId", manager_id);
	out_text(address, "vmId", vm_id);
	json_object_set_new(out, "vmServerAddress", address);
	out_text(out, "vmName", name);
	out_text(out, "vmManagerName", manager_name);
	if (is_word_of(&shape_VmManagerType, manager_type))
		out_text(out, "vmManagerType", manager_type);
	out_text(out, "vmPath", path);
	return out;
}

json_t *out_run(const struct run_row *run)
{
	json_t *out = json_object();
	out_text(out, "replicationRunId", run->id);
	out_text(out, "state", run->state);
	out_text(out, "type", run->type);
	if (text_equal(run->state, "ACTIVE") && run->stage) {
		json_t *details = json_object();
		out_text(details, "stage", run->stage);
		out_text(details, "stageProgress", run->stage_progress);
		json_object_set_new(out, "stageDetails", details);
	}
	out_text(out, "statusMessage", run->status_message);
	out_text(out, "amiId", run->ami_id);
	out_time(out, "scheduledStartTime", run->scheduled);
	out_time(out, "completedTime", run->completed);
	out_text(out, "description", run->description);
	out_boolean(out, "encrypted", run->encrypted);
	out_text(out, "kmsKeyId", run->kms_key_id);
	return out;
}

json_t *out_job(const struct job_row *job)
{
	bool scheduled = text_equal(job->state, "PENDING") || text_equal(job->state, "ACTIVE");
	json_t *out = json_object();
	out_text(out, "replicationJobId", job->id);
	out_text(out, "serverId", job->server_id);
	out_text(out, "serverType", "VIRTUAL_MACHINE");
	json_object_set_new(out, "vmServer",
			    out_vm_server(job->manager_id, job->vm_id, job->manager_name,
					  job->manager_type, job->vm_name, job->vm_path));
	out_time(out, "seedReplicationTime", job->seed);
	if (job->frequency_hours)
		out_integer(out, "frequency", job->frequency_hours);
	out_boolean(out, "runOnce", job->run_once);
	if (scheduled && !job->run_once)
		out_time(out, "nextReplicationRunStartTime", job->next_run);
	out_text(out, "licenseType", job->license_type);
	out_text(out, "roleName", job->role_name);
	out_text(out, "latestAmiId", job->latest_ami_id);
	out_text(out, "state", job->state);
	out_text(out, "statusMessage", job->status_message);
	out_text(out, "description", job->description);
	out_integer(out, "numberOfRecentAmisToKeep", job->keep_images);
	out_boolean(out, "encrypted", job->encrypted);
	out_text(out, "kmsKeyId", job->kms_key_id);
	return out;
}
