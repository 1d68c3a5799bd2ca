// SPDX-License-Identifier: Apache-2.0
/* Connectors, and the catalog of servers that they see. */
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"
#include "api/shapes.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

/* --- connectors ------------------------------------------------------------------------------ */

static bool is_associated(const void *row, const void *context)
{
	(void)context;
	return !((const struct connector_row *)row)->disassociated;
}

static bool is_healthy(const struct connector_row *c, int64_t now)
{
	return c->healthy && now - c->last_seen <= UNHEALTHY_AFTER_MS;
}

/* The words of the model among those that the connector says of itself. */
static json_t *capability_list(const char *capabilities)
{
	json_t *list = json_array();
	char *copy = xstrdup(capabilities ? capabilities : ""), *rest = copy, *word;
	while ((word = strsep(&rest, " ,"))) {
		for (unsigned i = 0; shape_ConnectorCapability.values[i]; i++) {
			if (!strcmp(shape_ConnectorCapability.values[i], word))
				json_array_append_new(list, json_string(word));
		}
	}
	free(copy);
	return list;
}

static json_t *out_connector(const struct connector_row *c, int64_t now)
{
	json_t *out = json_object();
	out_text(out, "connectorId", c->id);
	out_text(out, "version", c->version);
	out_text(out, "status", is_healthy(c, now) ? "HEALTHY" : "UNHEALTHY");
	json_object_set_new(out, "capabilityList", capability_list(c->capabilities));
	out_text(out, "vmManagerName", c->manager_name);
	for (unsigned i = 0; shape_VmManagerType.values[i]; i++) {
		if (text_equal(shape_VmManagerType.values[i], c->manager_type))
			out_text(out, "vmManagerType", c->manager_type);
	}
	out_text(out, "vmManagerId", c->manager_id);
	out_text(out, "ipAddress", c->ip);
	out_text(out, "macAddress", c->mac);
	out_time(out, "associatedOn", c->associated);
	return out;
}

int handle_get_connectors(struct api_call *call, json_t *in, json_t *out)
{
	struct api_page page;
	struct meta_tx *tx;
	if (api_page_begin(call, in, NULL, &page) || api_begin(call, false, &tx))
		return -1;
	struct api_rows rows = {
	    .shape = meta_connectors.shape, .keep = is_associated, .limit = page.size + 1};
	struct meta_scan scan = {.after_count = page.has_after, .values[0].text = page.key};
	int result = api_end(call, tx,
			     api_scan(call, tx, &meta_connectors, &scan, api_rows_add, &rows));
	json_t *list = json_array();
	for (unsigned i = 0; i < rows.count && i < page.size; i++)
		json_array_append_new(list, out_connector(api_rows_at(&rows, i), call->now));
	json_object_set_new(out, "connectorList", list);
	if (rows.count > page.size) {
		struct connector_row *last = api_rows_at(&rows, page.size - 1);
		api_page_more(call, out, NULL, 0, last->id);
	}
	api_rows_release(&rows);
	return result;
}

static int find_active(void *context, const void *row)
{
	const struct run_row *run = row;
	char **id = context;
	if (!text_equal(run->state, "ACTIVE"))
		return 0;
	*id = xstrdup(run->id);
	return 1;
}

/* Refused while a run of the connector is active: its data would be lost half way. */
static int check_idle(struct api_call *call, struct meta_tx *tx, const char *connector_id)
{
	char *active = NULL;
	struct meta_scan scan = {
	    .index = "connector", .equal_count = 1, .values[0].text = connector_id};
	if (api_scan(call, tx, &meta_runs, &scan, find_active, &active))
		return -1;
	if (!active)
		return 0;
	api_fail(call, "OperationNotPermittedException",
		 "the connector %s is busy with the run %s: wait for it to end, or delete its job",
		 connector_id, active);
	free(active);
	return -1;
}

int handle_disassociate_connector(struct api_call *call, json_t *in, json_t *out)
{
	(void)out;
	const char *id = in_text(in, "connectorId");
	struct connector_row row = {0};
	struct meta_tx *tx;
	if (api_begin(call, true, &tx))
		return -1;
	int result = -1;
	if (api_get(call, tx, &meta_connectors, "connector", id, "InvalidParameterException", &row))
		goto out;
	if (row.disassociated) {
		api_fail(call, "InvalidParameterException", "there is no connector '%.128s'", id);
		goto out;
	}
	if (check_idle(call, tx, id))
		goto out;
	row.disassociated = call->now;
	result = api_put(call, tx, &meta_connectors, &row);
out:
	result = api_end(call, tx, result);
	shape_release(meta_connectors.shape, &row);
	if (!result)
		api_wake(call);
	return result;
}

/* --- the catalog ----------------------------------------------------------------------------- */

struct healthy_count {
	int64_t now;
	unsigned count;
};

static int count_healthy(void *context, const void *row)
{
	struct healthy_count *h = context;
	h->count += is_associated(row, NULL) && is_healthy(row, h->now);
	return 0;
}

int handle_import_server_catalog(struct api_call *call, json_t *in, json_t *out)
{
	(void)in;
	(void)out;
	struct healthy_count h = {.now = call->now};
	struct meta_tx *tx;
	struct err e = {0};
	if (api_begin(call, false, &tx))
		return -1;
	if (api_end(
		call, tx,
		api_scan(call, tx, &meta_connectors, &(struct meta_scan){0}, count_healthy, &h)))
		return -1;
	if (!h.count)
		return api_fail(call, "NoConnectorsAvailableException",
				"no healthy connector is registered: start godwit-connector where "
				"the servers are");
	if (!service_import_start(api_service_of(call), call->now, &e))
		return 0;
	return e.kind == ERR_UNAVAILABLE
		   ? api_fail(call, "NoConnectorsAvailableException", "%s", e.text)
		   : api_fail_err(call, &e);
}

int handle_delete_server_catalog(struct api_call *call, json_t *in, json_t *out)
{
	(void)in;
	(void)out;
	struct err e = {0};
	if (service_catalog_delete(api_service_of(call), call->now, &e))
		return api_fail_err(call, &e);
	return 0;
}

static json_t *out_server(const struct server_row *s)
{
	json_t *out = json_object();
	out_text(out, "serverId", s->id);
	out_text(out, "serverType", "VIRTUAL_MACHINE");
	json_object_set_new(out, "vmServer",
			    out_vm_server(s->manager_id, s->vm_id, s->manager_name, s->manager_type,
					  s->name, s->path));
	if (s->job_id) {
		out_text(out, "replicationJobId", s->job_id);
		out_boolean(out, "replicationJobTerminated", s->job_terminated);
	}
	return out;
}

static bool is_listed_after(const void *row, const void *context)
{
	const struct server_row *s = row;
	const struct api_page *page = context;
	return s->listed && (!page->has_after || strcmp(s->id, page->key) > 0);
}

static int compare_servers(const void *a, const void *b)
{
	return strcmp(((const struct server_row *)a)->id, ((const struct server_row *)b)->id);
}

static int check_addresses(struct api_call *call, const json_t *addresses)
{
	size_t count = json_array_size(addresses);
	if (count > LIMIT_PAGE)
		return api_fail(call, "InvalidParameterException",
				"vmServerAddressList has %zu items; at most %d are allowed", count,
				LIMIT_PAGE);
	for (size_t i = 0; i < count; i++) {
		const json_t *a = json_array_get(addresses, i);
		if (!in_text(a, "vmManagerId") || !in_text(a, "vmId"))
			return api_fail(call, "MissingRequiredParameterException",
					"vmServerAddressList[%zu] needs vmManagerId and vmId", i);
	}
	return 0;
}

/* The servers at the given addresses, in the order of their ids, each once. */
static int scan_addresses(struct api_call *call, struct meta_tx *tx, const json_t *addresses,
			  const struct api_page *page, struct api_rows *rows)
{
	rows->keep = is_listed_after;
	rows->context = page;
	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const json_t *a = json_array_get(addresses, i);
		struct meta_scan scan = {
		    .index = "address",
		    .equal_count = 2,
		    .values = {{.text = in_text(a, "vmManagerId")}, {.text = in_text(a, "vmId")}}};
		if (api_scan(call, tx, &meta_servers, &scan, api_rows_add, rows))
			return -1;
	}
	if (rows->count)
		qsort(rows->items, rows->count, rows->shape->size, compare_servers);
	return 0;
}

static int scan_listed(struct api_call *call, struct meta_tx *tx, const struct api_page *page,
		       struct api_rows *rows)
{
	rows->limit = page->size + 1;
	struct meta_scan scan = {.index = "listed",
				 .equal_count = 1,
				 .after_count = page->has_after,
				 .values = {{.number = 1}, {.text = page->key}}};
	return api_scan(call, tx, &meta_servers, &scan, api_rows_add, rows);
}

/* A page of rows into the answer; addresses given twice are listed once. */
static void out_servers(struct api_call *call, const struct api_rows *rows,
			const struct api_page *page, const char *filter, json_t *out)
{
	json_t *list = json_array();
	const struct server_row *last = NULL;
	for (unsigned i = 0; i < rows->count; i++) {
		const struct server_row *s = api_rows_at(rows, i);
		if (last && !strcmp(last->id, s->id))
			continue;
		if (json_array_size(list) == page->size) {
			api_page_more(call, out, filter, 0, last->id);
			break;
		}
		json_array_append_new(list, out_server(s));
		last = s;
	}
	json_object_set_new(out, "serverList", list);
}

int handle_get_servers(struct api_call *call, json_t *in, json_t *out)
{
	const json_t *addresses = json_object_get(in, "vmServerAddressList");
	struct api_rows rows = {.shape = meta_servers.shape};
	struct api_page page;
	struct catalog catalog;
	struct meta_tx *tx;
	struct err e = {0};
	char *filter = NULL;
	int result = -1;
	if (check_addresses(call, addresses))
		return -1;
	if (json_array_size(addresses))
		filter = json_dumps(addresses, JSON_COMPACT | JSON_SORT_KEYS);
	if (api_page_begin(call, in, filter, &page))
		goto out;
	if (service_catalog(api_service_of(call), &catalog, &e)) {
		api_fail_err(call, &e);
		goto out;
	}
	if (catalog.state == CATALOG_AVAILABLE) {
		if (api_begin(call, false, &tx))
			goto out;
		result = filter ? scan_addresses(call, tx, addresses, &page, &rows)
				: scan_listed(call, tx, &page, &rows);
		if (api_end(call, tx, result))
			goto out;
	}
	out_text(out, "serverCatalogStatus", catalog_word(catalog.state));
	out_time(out, "lastModifiedOn", catalog.modified ? catalog.modified : call->now);
	out_servers(call, &rows, &page, filter, out);
	result = 0;
out:
	api_rows_release(&rows);
	free(filter);
	return result;
}
