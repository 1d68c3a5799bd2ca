// SPDX-License-Identifier: Apache-2.0
/*
 * What handlers share: the world they act on, rows as JSON, pages of lists. A handler gets a body
 * that api_validate accepted and fills `out`; it fails with api_fail or api_fail_err.
 */
#ifndef API_HANDLERS_H
#define API_HANDLERS_H

#include "api/op.h"
#include "job/service.h"

struct api_world {
	struct service *service;
};

/* The public model */
api_handler_fn handle_create_replication_job, handle_delete_replication_job,
    handle_delete_server_catalog, handle_disassociate_connector, handle_get_connectors,
    handle_get_replication_jobs, handle_get_replication_runs, handle_get_servers,
    handle_import_server_catalog, handle_start_on_demand_replication_run,
    handle_update_replication_job;

/* Our own operations */
api_handler_fn handle_begin_image_commit, handle_commit_image_disk, handle_end_image_commit,
    handle_collect_store, handle_get_store_collection;
api_handler_fn handle_create_connector_token, handle_delete_image, handle_get_image,
    handle_get_run_progress, handle_get_service_status, handle_list_images,
    handle_put_replication_job_options, handle_resume_replication_job;

/* Errors of this API and their HTTP status. */
struct api_exception {
	const char *name;
	int status;
	bool fault;	  /* the service's, not the caller's; clients try again */
	bool has_message; /* in the model */
	bool modelled;
};
extern const struct api_exception api_exceptions[];
const struct api_exception *api_exception_named(const char *name); /* NULL when unknown */

/* Authentication of one request (AWS Signature Version 4): 0 with the user and access key id in
 * strings that the caller frees, or -1 with call->error. */
struct http_request;
int api_authenticate(struct api_call *call, const struct http_request *request, const char *region,
		     char **user, char **access_key_id);

/* The operations as the service model of botocore (for `aws configure add-model`). */
json_t *api_model(const struct api_service *service);

struct service *api_service_of(const struct api_call *call);
/* Begin a transaction; end it, after which a failure to keep it is the call's. `result` is what the
 * handler would return; what it returns is to be returned. */
int api_begin(struct api_call *call, bool write, struct meta_tx **tx);
int api_end(struct api_call *call, struct meta_tx *tx, int result);
/* A row by its key: -1 with `code` and a sentence naming `what` when there is none. */
int api_get(struct api_call *call, struct meta_tx *tx, const struct meta_table *t, const char *what,
	    const char *key, const char *code, void *row);
int api_put(struct api_call *call, struct meta_tx *tx, const struct meta_table *t, const void *row);
int api_scan(struct api_call *call, struct meta_tx *tx, const struct meta_table *t,
	     const struct meta_scan *scan, meta_row_fn *each, void *context);
/* Tell the loop that rows changed. */
void api_wake(struct api_call *call);
/* An event on a job; ERR_NOT_FOUND fails with `unknown`, ERR_FULL with `full`. */
int api_job_event(struct api_call *call, const char *job_id, const struct job_event *event,
		  const char *unknown, const char *full, struct job_state *out);

/* Members of a checked body: absent and null are `otherwise`. */
const char *in_text(const json_t *in, const char *name); /* NULL when absent */
int64_t in_integer(const json_t *in, const char *name, int64_t otherwise);
bool in_boolean(const json_t *in, const char *name, bool otherwise);
bool in_time(const json_t *in, const char *name, int64_t *ms); /* false when absent */
bool in_has(const json_t *in, const char *name);

/* Members of an answer. Text that is not UTF-8 gets U+FFFD in place of each wrong byte; NULL and 0
 * times are left out. */
void out_text(json_t *out, const char *name, const char *value);
void out_integer(json_t *out, const char *name, int64_t value);
void out_boolean(json_t *out, const char *name, bool value);
void out_time(json_t *out, const char *name, int64_t ms);

/* A job, a run as the model's structures. */
json_t *out_run(const struct run_row *run);
json_t *out_job(const struct job_row *job);
/* The model's VmServer. A manager type that the model has no word for is left out. */
json_t *out_vm_server(const char *manager_id, const char *vm_id, const char *manager_name,
		      const char *manager_type, const char *name, const char *path);

/* Rows collected by a scan, with one more than a page to know whether there is another. */
struct api_rows {
	const struct shape *shape;
	bool (*keep)(const void *row, const void *context); /* NULL: all */
	const void *context;
	unsigned limit;
	char *items;
	unsigned count, cap;
};
int api_rows_add(void *rows, const void *row); /* a meta_row_fn */
void *api_rows_at(const struct api_rows *rows, unsigned i);
void api_rows_release(struct api_rows *rows);

/*
 * A page of a list: how many items, and after which. The token is opaque to clients: the position
 * of the last item sent (a number and a key of the list's index) with a checksum over the
 * operation's name and the filter, so that it survives insertions and restarts and is refused where
 * it does not belong.
 */
struct api_page {
	unsigned size;
	bool has_after;
	int64_t number;
	char key[128];
};
int api_page_begin(struct api_call *call, const json_t *in, const char *filter,
		   struct api_page *page);
void api_page_more(struct api_call *call, json_t *out, const char *filter, int64_t number,
		   const char *key);

#endif
