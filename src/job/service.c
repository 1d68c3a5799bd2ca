// SPDX-License-Identifier: Apache-2.0
/* Jobs: one event, one transaction. */
#include "job/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/roots.h"
#include "wire/machine.h"
#include "wire/wire.h"

static void wake(struct service *s)
{
	if (s->wake)
		s->wake(s->wake_context);
}

/* End a transaction by how its work went; a commit that fails is a failure of the work. */
static int finish(struct meta_tx *tx, int result, struct err *e)
{
	struct err own;
	if (meta_end(tx, result == 0, result == 0 ? e : &own) < 0)
		return -1;
	return result;
}

/* --- one event ------------------------------------------------------------------------------- */

static int note_sequence(void *context, const void *row)
{
	*(int64_t *)context = ((const struct run_row *)row)->sequence + 1;
	return 1;
}

static int load(struct meta_tx *tx, const char *job_id, struct job_state *state, struct err *e)
{
	if (meta_get(tx, &meta_jobs, job_id, &state->job, e) < 0)
		return -1;
	state->has_run = state->job.active_run_id != NULL;
	if (state->has_run &&
	    meta_get(tx, &meta_runs, state->job.active_run_id, &state->run, e) < 0)
		return err_set(e, ERR_CORRUPT, "job %s is in run %s, which does not exist", job_id,
			       state->job.active_run_id);
	struct meta_scan newest = {.index = "job",
				   .equal_count = 1,
				   .values = {{.text = job_id}},
				   .descending = true,
				   .limit = 1};
	state->next_sequence = 1;
	return meta_scan(tx, &meta_runs, &newest, note_sequence, &state->next_sequence, e) < 0 ? -1
											       : 0;
}

/* Eight digits may meet those of another job's run. */
static int insert_run(struct meta_tx *tx, struct job_state *state, struct run_row *run,
		      struct err *e)
{
	struct run_row other;
	while (meta_get(tx, &meta_runs, run->id, &other, NULL) == 0) {
		char id[ID_BYTES];
		shape_release(meta_runs.shape, &other);
		id_make(id, "sms-run-", 8);
		if (text_equal(state->job.active_run_id, run->id))
			text_set(&state->job.active_run_id, id);
		text_set(&run->id, id);
	}
	return meta_put(tx, &meta_runs, run, e);
}

struct prune {
	const struct job_row *job;
	int64_t kept;
	struct list victims; /* of struct image_row */
};

static int collect_old(void *context, const void *row)
{
	struct prune *p = context;
	const struct image_row *image = row;
	if (!text_equal(image->state, "available"))
		return 0;
	if (p->kept++ < p->job->keep_images || text_equal(image->id, p->job->latest_ami_id))
		return 0;
	shape_copy(meta_images.shape, list_push(&p->victims, sizeof *image), image);
	return 0;
}

/* Newest first, so many stay; and the newest good one always, however old it is. */
static int prune_images(struct meta_tx *tx, const struct job_row *job, struct err *e)
{
	struct prune p = {.job = job};
	struct meta_scan scan = {
	    .index = "job", .equal_count = 1, .values = {{.text = job->id}}, .descending = true};
	int result = meta_scan(tx, &meta_images, &scan, collect_old, &p, e);
	struct image_row *victims = p.victims.items;
	for (size_t i = 0; i < p.victims.count; i++) {
		text_set(&victims[i].state, "deleted");
		if (result == 0)
			result = meta_put(tx, &meta_images, &victims[i], e);
		shape_release(meta_images.shape, &victims[i]);
	}
	free(p.victims.items);
	return result;
}

static int mark_server(struct meta_tx *tx, const struct job_row *job, struct err *e)
{
	struct server_row server;
	struct err own = {0};
	if (!job->server_id)
		return 0;
	if (meta_get(tx, &meta_servers, job->server_id, &server, &own) < 0)
		return own.kind == ERR_NOT_FOUND ? 0 : err_set(e, own.kind, "%s", own.text);
	int result = 0;
	if (text_equal(server.job_id, job->id)) {
		server.job_terminated = !text_equal(job->state, "COMPLETED");
		result = meta_put(tx, &meta_servers, &server, e);
	}
	shape_release(meta_servers.shape, &server);
	return result;
}

static int act(struct meta_tx *tx, struct job_state *state, enum job_action_kind kind,
	       struct err *e)
{
	switch (kind) {
	case ACT_CREATE_RUN: return insert_run(tx, state, &state->new_run, e);
	case ACT_RECORD_MISSED: return insert_run(tx, state, &state->missed_run, e);
	case ACT_PRUNE_IMAGES: return prune_images(tx, &state->job, e);
	case ACT_SERVER_JOB_ENDED: return mark_server(tx, &state->job, e);
	default: return 0; /* told after the commit, or found in the rows by the loop */
	}
}

static void notify(struct service *s, const struct job_state *state,
		   const struct job_actions *actions)
{
	struct notice n;
	for (unsigned i = 0; s->notify && i < actions->count; i++) {
		if (actions->items[i].kind == ACT_NOTIFY) {
			notice_make(state, actions->items[i].text, &n);
			s->notify(s->notify_context, &n);
		}
	}
}

int service_job_event(struct service *s, const char *job_id, const struct job_event *event,
		      int64_t now, struct job_state *out, struct err *e)
{
	struct job_state state = {0};
	struct job_actions actions;
	struct meta_tx *tx;
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return -1;
	int result = load(tx, job_id, &state, e);
	bool had_run = state.has_run;
	if (result == 0)
		result = job_step(&state, s->rules, event, now, &actions, e);
	for (unsigned i = 0; result == 0 && i < actions.count; i++)
		result = act(tx, &state, actions.items[i].kind, e);
	if (result == 0 && had_run)
		result = meta_put(tx, &meta_runs, &state.run, e);
	if (result == 0)
		result = meta_put(tx, &meta_jobs, &state.job, e);
	result = finish(tx, result, e);
	if (result == 0)
		notify(s, &state, &actions);
	if (result == 0 && out)
		*out = state;
	else
		job_state_release(&state);
	if (result == 0)
		wake(s);
	return result;
}

/* --- an image --- */

void service_image_ref(const struct image_row *image, struct buf *out)
{
	const struct image_disk *disks = image->disks.items;
	struct name *roots = xcalloc(image->disks.count + 1, sizeof *roots);
	size_t count = 0;
	for (size_t i = 0; i < image->disks.count; i++)
		if (disks[i].root && name_parse(disks[i].root, &roots[count]))
			count++;
	roots_encode(roots, count, out);
	wire_encode(meta_images.shape, image, out);
	free(roots);
}

/* --- a new job ------------------------------------------------------------------------------- */

static int count_live(void *context, const void *row)
{
	*(int64_t *)context += !job_is_over(row);
	return 0;
}

struct serves {
	const char *manager_id;
	bool found;
};

static int find_connector(void *context, const void *row)
{
	struct serves *want = context;
	const struct connector_row *c = row;
	want->found = !c->disassociated && text_equal(c->manager_id, want->manager_id);
	return want->found;
}

static int check_machine(const struct server_row *server, struct err *e)
{
	struct machine m;
	if (!server->machine.len)
		return 0;
	if (wire_decode(&machine_shape, server->machine.data, server->machine.len, &m, e) < 0)
		return err_prefix(e,
				  "server %s: its description is damaged; import the catalog "
				  "again",
				  server->id);
	int result = m.refusal ? err_set(e, ERR_INVALID, "server %s: %s", server->id, m.refusal)
			       : 0;
	shape_release(&machine_shape, &m);
	return result;
}

static int check_server(struct service *s, struct meta_tx *tx, const struct server_row *server,
			struct err *e)
{
	struct job_row old;
	if (!server->listed)
		return err_set(e, ERR_NOT_FOUND, "server %s is not in the catalog now", server->id);
	if (server->job_id && meta_get(tx, &meta_jobs, server->job_id, &old, NULL) == 0) {
		bool live = !job_is_over(&old);
		shape_release(meta_jobs.shape, &old);
		if (live)
			return err_set(e, ERR_CONFLICT, "exists: server %s has job %s already",
				       server->id, server->job_id);
	}
	struct serves want = {.manager_id = server->manager_id};
	struct meta_scan all = {0};
	if (meta_scan(tx, &meta_connectors, &all, find_connector, &want, e) < 0)
		return -1;
	if (!want.found)
		return err_set(e, ERR_UNAVAILABLE,
			       "no connector serves the VM manager of server %s; register one",
			       server->id);
	if (check_machine(server, e) < 0)
		return -1;
	int64_t live = 0;
	if (s->rules->concurrent_jobs_max &&
	    meta_scan(tx, &meta_jobs, &all, count_live, &live, e) < 0)
		return -1;
	if (s->rules->concurrent_jobs_max && live >= s->rules->concurrent_jobs_max)
		return err_set(e, ERR_FULL,
			       "%d replication jobs are live, which is the limit; delete one first",
			       s->rules->concurrent_jobs_max);
	return 0;
}

static int insert_job(struct meta_tx *tx, struct server_row *server, struct job_row *job,
		      int64_t now, struct err *e)
{
	struct job_row other;
	text_set(&job->manager_id, server->manager_id);
	text_set(&job->vm_id, server->vm_id);
	text_set(&job->manager_name, server->manager_name);
	text_set(&job->manager_type, server->manager_type);
	text_set(&job->vm_name, server->name);
	text_set(&job->vm_path, server->path);
	text_set(&job->id, NULL);
	job_create(job, now);
	while (meta_get(tx, &meta_jobs, job->id, &other, NULL) == 0) {
		char id[ID_BYTES];
		shape_release(meta_jobs.shape, &other);
		id_make(id, "sms-job-", 8);
		text_set(&job->id, id);
	}
	text_set(&server->job_id, job->id);
	server->job_terminated = 0;
	if (meta_put(tx, &meta_jobs, job, e) < 0)
		return -1;
	return meta_put(tx, &meta_servers, server, e);
}

int service_job_create(struct service *s, const struct job_row *request, int64_t now,
		       char id_out[ID_BYTES], struct err *e)
{
	struct server_row server = {0};
	struct job_row job = {0};
	struct meta_tx *tx;
	if (!request->server_id)
		return err_set(e, ERR_INVALID, "a job needs a server");
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return -1;
	int result = meta_get(tx, &meta_servers, request->server_id, &server, e);
	if (result == 0)
		result = check_server(s, tx, &server, e);
	if (result == 0) {
		shape_copy(meta_jobs.shape, &job, request);
		result = insert_job(tx, &server, &job, now, e);
	}
	result = finish(tx, result, e);
	if (result == 0) {
		snprintf(id_out, ID_BYTES, "%s", job.id);
		wake(s);
	}
	shape_release(meta_servers.shape, &server);
	shape_release(meta_jobs.shape, &job);
	return result;
}
