// SPDX-License-Identifier: Apache-2.0
/* The operations that the public model lacks; see api/ops_godwit.c. */
#include <openssl/evp.h>
#include <string.h>

#include "api/handlers.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/machine.h"
#include "wire/wire.h"

#define INVALID	    "InvalidParameterException"
#define STATES_MAX  16
#define STATE_BYTES 32

/* --- images ---------------------------------------------------------------------------------- */

static bool is_available(const void *row, const void *context)
{
	(void)context;
	return text_equal(((const struct image_row *)row)->state, "available");
}

static void out_image(json_t *out, const struct image_row *image)
{
	out_text(out, "imageId", image->id);
	out_text(out, "name", image->name);
	out_text(out, "replicationJobId", image->job_id);
	out_text(out, "serverId", image->server_id);
	out_text(out, "replicationRunId", image->run_id);
	out_text(out, "state", image->state);
	out_time(out, "createdOn", image->created);
	out_text(out, "verdict", image->verdict);
	out_text(out, "verdictText", image->verdict_text);
	out_time(out, "verdictOn", image->verdict_at);
	out_integer(out, "sizeBytes", image->size_bytes);
	out_integer(out, "bytesStored", image->bytes_stored);
	out_integer(out, "bytesNew", image->bytes_new);
	out_text(out, "overlayOf", image->overlay_of);
}

int handle_list_images(struct api_call *call, json_t *in, json_t *out)
{
	const char *job_id = in_text(in, "replicationJobId");
	struct api_page page;
	struct meta_tx *tx;
	if (api_page_begin(call, in, job_id, &page) || api_begin(call, false, &tx))
		return -1;
	struct api_rows rows = {
	    .shape = meta_images.shape, .keep = is_available, .limit = page.size + 1};
	struct meta_scan all = {.index = "created",
				.after_count = page.has_after ? 2 : 0,
				.values = {{.number = page.number}, {.text = page.key}},
				.descending = true};
	struct meta_scan of_job = {
	    .index = "job",
	    .equal_count = 1,
	    .after_count = page.has_after ? 2 : 0,
	    .values = {{.text = job_id}, {.number = page.number}, {.text = page.key}},
	    .descending = true};
	int result = api_end(
	    call, tx,
	    api_scan(call, tx, &meta_images, job_id ? &of_job : &all, api_rows_add, &rows));
	json_t *list = json_array();
	for (unsigned i = 0; i < rows.count && i < page.size; i++) {
		json_t *image = json_object();
		out_image(image, api_rows_at(&rows, i));
		json_array_append_new(list, image);
	}
	json_object_set_new(out, "imageList", list);
	if (rows.count > page.size) {
		struct image_row *last = api_rows_at(&rows, page.size - 1);
		api_page_more(call, out, job_id, job_id ? last->sequence : last->created, last->id);
	}
	api_rows_release(&rows);
	return result;
}

static json_t *out_disks(const struct list *disks)
{
	json_t *list = json_array();
	const struct image_disk *d = disks->items;
	for (size_t i = 0; i < disks->count; i++) {
		json_t *out = json_object();
		out_text(out, "key", d[i].key);
		out_integer(out, "sizeBytes", d[i].size_bytes);
		out_text(out, "root", d[i].root);
		out_text(out, "bus", d[i].bus);
		json_array_append_new(list, out);
	}
	return list;
}

/* The machine as it was at the point; left out when none was recorded. */
static int out_machine(struct api_call *call, const struct image_row *image, json_t *out)
{
	struct machine m = {0};
	struct err e = {0};
	if (!image->machine.len)
		return 0;
	if (wire_decode(&machine_shape, image->machine.data, image->machine.len, &m, &e))
		return api_fail(call, "InternalError", "the machine of the image %s: %s", image->id,
				e.text);
	json_t *machine = json_object();
	out_text(machine, "name", m.name);
	out_text(machine, "path", m.path);
	out_text(machine, "guestOs", m.guest_os);
	out_text(machine, "firmware", m.firmware);
	out_text(machine, "machine", m.machine);
	out_integer(machine, "vcpus", m.vcpus);
	out_integer(machine, "memoryBytes", m.memory_bytes);
	out_integer(machine, "nicCount", (int64_t)m.nics.count);
	json_object_set_new(out, "machine", machine);
	shape_release(&machine_shape, &m);
	return 0;
}

/* Whether the image's server runs, as of the newest import of the catalog; left out when that is
 * not known. */
static void out_power(struct meta_tx *tx, const struct image_row *image, json_t *out)
{
	struct server_row server = {0};
	struct machine m = {0};
	if (image->server_id && meta_get(tx, &meta_servers, image->server_id, &server, NULL) == 0 &&
	    server.machine.len &&
	    wire_decode(&machine_shape, server.machine.data, server.machine.len, &m, NULL) == 0)
		out_text(out, "serverPower", m.power);
	shape_release(meta_servers.shape, &server);
	shape_release(&machine_shape, &m);
}

int handle_get_image(struct api_call *call, json_t *in, json_t *out)
{
	struct image_row image = {0};
	struct meta_tx *tx;
	if (api_begin(call, false, &tx))
		return -1;
	int result = api_get(call, tx, &meta_images, "image", in_text(in, "imageId"), INVALID,
			     &image);
	if (!result)
		out_power(tx, &image, out);
	if (api_end(call, tx, result))
		return -1;
	out_image(out, &image);
	out_text(out, "evidence", image.evidence);
	json_object_set_new(out, "disks", out_disks(&image.disks));
	result = out_machine(call, &image, out);
	shape_release(meta_images.shape, &image);
	return result;
}

/* Only marked: the loop drops what the image alone refers to, and knows what an increment still
 * needs as its base. */
int handle_delete_image(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	struct image_row image = {0};
	struct meta_tx *tx;
	if (api_begin(call, true, &tx))
		return -1;
	int result = api_get(call, tx, &meta_images, "image", in_text(in, "imageId"), INVALID,
			     &image);
	if (!result) {
		text_set(&image.state, "deleted");
		result = api_put(call, tx, &meta_images, &image);
	}
	result = api_end(call, tx, result);
	shape_release(meta_images.shape, &image);
	if (!result)
		api_wake(call);
	return result;
}

/* --- jobs ------------------------------------------------------------------------------------ */

int handle_resume_replication_job(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	struct job_event event = {.kind = JOB_RESUME};
	return api_job_event(call, in_text(in, "replicationJobId"), &event,
			     "ReplicationJobNotFoundException", NULL, NULL);
}

int handle_put_replication_job_options(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	struct job_row job = {0};
	struct meta_tx *tx;
	if (api_begin(call, true, &tx))
		return -1;
	int result = api_get(call, tx, &meta_jobs, "replication job",
			     in_text(in, "replicationJobId"), "ReplicationJobNotFoundException",
			     &job);
	if (!result) {
		if (in_has(in, "bootTest"))
			text_set(&job.boot_test, in_text(in, "bootTest"));
		job.boot_test_every = in_integer(in, "bootTestEvery", job.boot_test_every);
		job.pause_on_failure = in_boolean(in, "pauseOnFailure", job.pause_on_failure);
		job.failure_limit = in_integer(in, "failureLimit", job.failure_limit);
		result = api_put(call, tx, &meta_jobs, &job);
	}
	result = api_end(call, tx, result);
	shape_release(meta_jobs.shape, &job);
	if (!result)
		api_wake(call);
	return result;
}

/* --- the numbers of a run -------------------------------------------------------------------- */

static bool is_preparing(const struct run_row *run)
{
	return text_equal(run->state, "ACTIVE") && run->stage &&
	       stage_from_word(run->stage) == STAGE_PREPARING;
}

struct queue {
	const struct run_row *run;
	int64_t before;
};

static int count_before(void *context, const void *row)
{
	struct queue *q = context;
	const struct run_row *other = row;
	if (is_preparing(other))
		q->before += other->stage_since < q->run->stage_since ||
			     (other->stage_since == q->run->stage_since &&
			      strcmp(other->id, q->run->id) < 0);
	return 0;
}

static int out_queue(struct api_call *call, struct meta_tx *tx, const struct run_row *run,
		     json_t *out)
{
	struct queue q = {.run = run};
	struct meta_scan scan = {.index = "state", .equal_count = 1, .values[0].text = "ACTIVE"};
	if (!is_preparing(run))
		return 0;
	if (api_scan(call, tx, &meta_runs, &scan, count_before, &q))
		return -1;
	out_integer(out, "queuePosition", q.before);
	return 0;
}

static void out_progress(json_t *out, const struct run_row *run)
{
	out_text(out, "replicationRunId", run->id);
	out_text(out, "replicationJobId", run->job_id);
	out_text(out, "state", run->state);
	out_text(out, "stage", run->stage);
	out_text(out, "stageProgress", run->stage_progress);
	out_text(out, "statusMessage", run->status_message);
	out_integer(out, "bytesTotal", run->bytes_total);
	out_integer(out, "bytesDone", run->bytes_done);
	out_integer(out, "bytesRead", run->bytes_read);
	out_integer(out, "bytesNew", run->bytes_new);
	out_integer(out, "bytesSent", run->bytes_sent);
	out_integer(out, "bytesStored", run->bytes_stored);
	out_integer(out, "chunks", run->chunks);
	out_integer(out, "chunksNew", run->chunks_new);
	out_integer(out, "bytesReread", run->bytes_reread);
	out_text(out, "readReason", run->read_reason);
	out_text(out, "consistency", run->consistency);
	out_text(out, "verdict", run->verdict);
	out_text(out, "verdictText", run->verdict_text);
	out_text(out, "imageId", run->ami_id);
	out_time(out, "startedAt", run->started);
	out_time(out, "stageSince", run->stage_since);
	out_time(out, "completedTime", run->completed);
}

int handle_get_run_progress(struct api_call *call, json_t *in, json_t *out)
{
	struct run_row run = {0};
	struct meta_tx *tx;
	if (api_begin(call, false, &tx))
		return -1;
	int result = api_get(call, tx, &meta_runs, "run", in_text(in, "replicationRunId"), INVALID,
			     &run);
	if (!result) {
		out_progress(out, &run);
		result = out_queue(call, tx, &run, out);
	}
	result = api_end(call, tx, result);
	shape_release(meta_runs.shape, &run);
	return result;
}

/* --- connectors and the service -------------------------------------------------------------- */

int handle_create_connector_token(struct api_call *call, json_t *in, json_t *out)
{
	char token[65], hash[65];
	uint8_t digest[32];
	struct enrol_token_row row = {0};
	struct meta_tx *tx;
	secret_make(token);
	if (EVP_Digest(token, strlen(token), digest, NULL, EVP_sha256(), NULL) != 1)
		return api_fail(call, "InternalError", "SHA-256 is not available");
	hex_encode(digest, sizeof digest, hash);
	if (api_begin(call, true, &tx))
		return -1;
	text_set(&row.secret_sha256, hash);
	text_set(&row.name, in_text(in, "name"));
	row.created = call->now;
	row.expires = call->now + ENROL_TOKEN_MS;
	int result = api_end(call, tx, api_put(call, tx, &meta_enrol_tokens, &row));
	out_text(out, "token", token);
	out_text(out, "name", row.name);
	out_time(out, "expires", row.expires);
	shape_release(meta_enrol_tokens.shape, &row);
	return result;
}

struct state_counts {
	struct {
		char state[STATE_BYTES];
		int64_t count;
	} items[STATES_MAX];
	unsigned count;
};

static void count_state(struct state_counts *c, const char *state)
{
	unsigned i = 0;
	while (i < c->count && strcmp(c->items[i].state, state))
		i++;
	if (i == STATES_MAX || strlen(state) >= STATE_BYTES)
		return;
	if (i == c->count)
		strcpy(c->items[c->count++].state, state);
	c->items[i].count++;
}

static json_t *out_state_counts(const struct state_counts *c)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < c->count; i++) {
		json_t *out = json_object();
		out_text(out, "state", c->items[i].state);
		out_integer(out, "count", c->items[i].count);
		json_array_append_new(list, out);
	}
	return list;
}

struct census {
	int64_t now;
	int64_t servers, connectors, connectors_healthy, images;
	struct state_counts jobs, runs;
};

static int count_server(void *context, const void *row)
{
	(void)row;
	((struct census *)context)->servers++;
	return 0;
}

static int count_connector(void *context, const void *row)
{
	struct census *c = context;
	const struct connector_row *r = row;
	if (r->disassociated)
		return 0;
	c->connectors++;
	c->connectors_healthy += r->healthy && c->now - r->last_seen <= UNHEALTHY_AFTER_MS;
	return 0;
}

static int count_image(void *context, const void *row)
{
	((struct census *)context)->images += is_available(row, NULL);
	return 0;
}

static int count_job(void *context, const void *row)
{
	count_state(&((struct census *)context)->jobs, ((const struct job_row *)row)->state);
	return 0;
}

static int count_run(void *context, const void *row)
{
	count_state(&((struct census *)context)->runs, ((const struct run_row *)row)->state);
	return 0;
}

static int take_census(struct api_call *call, struct meta_tx *tx, struct census *c)
{
	struct meta_scan all = {0};
	struct meta_scan listed = {.index = "listed", .equal_count = 1, .values[0].number = 1};
	c->now = call->now;
	return api_scan(call, tx, &meta_servers, &listed, count_server, c) ||
		       api_scan(call, tx, &meta_connectors, &all, count_connector, c) ||
		       api_scan(call, tx, &meta_images, &all, count_image, c) ||
		       api_scan(call, tx, &meta_jobs, &all, count_job, c) ||
		       api_scan(call, tx, &meta_runs, &all, count_run, c)
		   ? -1
		   : 0;
}

int handle_get_service_status(struct api_call *call, json_t *in, json_t *out)
{
	(void)in;
	struct service *s = api_service_of(call);
	struct catalog catalog;
	struct census census = {0};
	struct meta_tx *tx;
	struct err e = {0};
	if (service_catalog(s, &catalog, &e))
		return api_fail_err(call, &e);
	if (api_begin(call, false, &tx) || api_end(call, tx, take_census(call, tx, &census)))
		return -1;
	out_text(out, "version", GODWIT_VERSION);
	out_text(out, "region", s->region);
	out_text(out, "account", s->account);
	out_text(out, "rules", s->rules->name);
	out_text(out, "serverCatalogStatus", catalog_word(catalog.state));
	out_integer(out, "servers", census.servers);
	out_integer(out, "connectors", census.connectors);
	out_integer(out, "connectorsHealthy", census.connectors_healthy);
	out_integer(out, "images", census.images);
	json_object_set_new(out, "jobs", out_state_counts(&census.jobs));
	json_object_set_new(out, "runs", out_state_counts(&census.runs));
	return 0;
}
