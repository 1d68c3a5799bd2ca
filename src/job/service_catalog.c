// SPDX-License-Identifier: Apache-2.0
/* The catalog: its state is a setting, its servers are rows. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "block/name.h"
#include "job/service.h"
#include "wire/machine.h"
#include "wire/wire.h"

#define STATE_SETTING	"catalog"
#define PROBLEM_SETTING "catalog_problem" /* why the newest import brought nothing, for people */

/* While connectors are being asked nobody knows yet how many answers there will be. */
#define BEING_ASKED	1000000

struct kept_catalog {
	struct catalog c;
	int64_t import;	 /* number of the newest; an answer carries it */
	int64_t waiting; /* connectors that did not answer it yet */
};

static int load(struct meta_tx *tx, struct kept_catalog *k, struct err *e)
{
	struct setting_row row;
	struct err own = {0};
	char state[32], before[32];
	memset(k, 0, sizeof *k);
	if (meta_get(tx, &meta_settings, STATE_SETTING, &row, &own) < 0)
		return own.kind == ERR_NOT_FOUND ? 0 : err_set(e, own.kind, "%s", own.text);
	int n = sscanf(row.value ? row.value : "", "%31s %31s %" SCNd64 " %" SCNd64 " %" SCNd64,
		       state, before, &k->c.modified, &k->import, &k->waiting);
	shape_release(meta_settings.shape, &row);
	if (n != 5)
		return err_set(e, ERR_CORRUPT, "the setting '%s' cannot be read", STATE_SETTING);
	k->c.state = catalog_from_word(state);
	k->c.before = catalog_from_word(before);
	return 0;
}

static int save(struct meta_tx *tx, const struct kept_catalog *k, struct err *e)
{
	struct setting_row row = {0};
	text_set(&row.name, STATE_SETTING);
	text_setf(&row.value, "%s %s %" PRId64 " %" PRId64 " %" PRId64, catalog_word(k->c.state),
		  catalog_word(k->c.before), k->c.modified, k->import, k->waiting);
	int result = meta_put(tx, &meta_settings, &row, e);
	shape_release(meta_settings.shape, &row);
	return result;
}

static int save_problem(struct meta_tx *tx, const char *why, struct err *e)
{
	struct setting_row row = {0};
	text_set(&row.name, PROBLEM_SETTING);
	text_set(&row.value, why);
	int result = meta_put(tx, &meta_settings, &row, e);
	shape_release(meta_settings.shape, &row);
	return result;
}

static int begin(struct service *s, bool write, struct meta_tx **tx, struct kept_catalog *k,
		 struct err *e)
{
	if (meta_begin(s->meta, write, tx, e) < 0)
		return -1;
	if (load(*tx, k, e) < 0) {
		meta_end(*tx, false, NULL);
		return -1;
	}
	return 0;
}

static int finish(struct service *s, struct meta_tx *tx, int result, struct err *e)
{
	struct err own;
	if (meta_end(tx, result == 0, result == 0 ? e : &own) < 0)
		result = -1;
	if (result == 0 && s->wake)
		s->wake(s->wake_context);
	return result;
}

int service_catalog(struct service *s, struct catalog *out, struct err *e)
{
	struct meta_tx *tx;
	struct kept_catalog k;
	if (begin(s, false, &tx, &k, e) < 0)
		return -1;
	*out = k.c;
	return meta_end(tx, false, e);
}

int service_import_start(struct service *s, int64_t now, struct err *e)
{
	struct meta_tx *tx;
	struct kept_catalog k;
	if (begin(s, true, &tx, &k, e) < 0)
		return -1;
	if (k.c.state == CATALOG_IMPORTING)
		return finish(s, tx, 0, e); /* joined */
	int result = catalog_step(&k.c, CATALOG_IMPORT, now, e);
	int64_t import = ++k.import;
	k.waiting = BEING_ASKED;
	if (result == 0)
		result = save(tx, &k, e);
	if (finish(s, tx, result, e) < 0)
		return -1;

	int asked = s->ask_inventory ? s->ask_inventory(s->ask_context, import) : 0;
	if (begin(s, true, &tx, &k, e) < 0)
		return -1;
	if (k.import == import) {
		k.waiting += asked - BEING_ASKED;
		if (k.waiting <= 0) /* nobody was asked, or all have failed meanwhile */
			result = catalog_step(&k.c, CATALOG_FAILED, now, e);
		if (result == 0)
			result = save(tx, &k, e);
	}
	if (finish(s, tx, result, e) < 0)
		return -1;
	if (asked <= 0)
		return err_set(e, ERR_UNAVAILABLE,
			       "no connector is connected that could list servers; start one and "
			       "see that it is healthy");
	return 0;
}

int service_import_failed(struct service *s, const char *connector_id, int64_t import,
			  const char *why, int64_t now, struct err *e)
{
	struct meta_tx *tx;
	struct kept_catalog k;
	if (begin(s, true, &tx, &k, e) < 0)
		return -1;
	if (connector_id && import != k.import)
		return finish(s, tx, 0, e); /* of an import that is over: of no interest */
	k.waiting = connector_id ? k.waiting - 1 : 0;
	int result = save_problem(tx, why, e);
	if (result == 0 && k.waiting <= 0)
		result = catalog_step(&k.c, CATALOG_FAILED, now, e);
	if (result == 0)
		result = save(tx, &k, e);
	return finish(s, tx, result, e);
}

/* --- an inventory ---------------------------------------------------------------------------- */

struct arrival {
	struct meta_tx *tx;
	const struct connector_row *connector;
	const char **vm_ids; /* sorted */
	size_t count;
	struct list gone; /* of struct server_row */
	int64_t now;
};

static int take_row(void *context, const void *row)
{
	shape_copy(meta_servers.shape, context, row);
	return 1;
}

/* The row of an address, or a new one whose id follows from the address, so that it is the same
 * even when the metadata was lost. */
static int find_server(struct meta_tx *tx, const char *manager_id, const char *vm_id,
		       struct server_row *row, struct err *e)
{
	struct meta_scan at = {.index = "address",
			       .equal_count = 2,
			       .values = {{.text = manager_id}, {.text = vm_id}}};
	memset(row, 0, sizeof *row);
	int found = meta_scan(tx, &meta_servers, &at, take_row, row, e);
	if (found != 0)
		return found < 0 ? -1 : 0;
	for (unsigned attempt = 0;; attempt++) {
		struct server_row other;
		struct buf text = {0};
		struct name digest;
		char hex[NAME_HEX_BYTES];
		buf_printf(&text, "%s\n%s\n%u", manager_id, vm_id, attempt);
		name_of(text.data, text.len, &digest);
		name_hex(&digest, hex);
		buf_release(&text);
		text_setf(&row->id, "s-%.8s", hex);
		if (meta_get(tx, &meta_servers, row->id, &other, NULL) < 0)
			break;
		shape_release(meta_servers.shape, &other);
	}
	text_set(&row->manager_id, manager_id);
	text_set(&row->vm_id, vm_id);
	return 0;
}

static int put_server(struct arrival *a, const struct machine *m, struct err *e)
{
	struct server_row row;
	struct buf blob = {0};
	int result = find_server(a->tx, a->connector->manager_id, m->vm_id, &row, e);
	if (result == 0) {
		wire_encode(&machine_shape, m, &blob);
		text_set(&row.connector_id, a->connector->id);
		text_set(&row.manager_name, a->connector->manager_name);
		text_set(&row.manager_type, a->connector->manager_type);
		text_set(&row.name, m->name);
		text_set(&row.path, m->path);
		bytes_set(&row.machine, blob.data, blob.len);
		row.listed = 1;
		row.imported = a->now;
		result = meta_put(a->tx, &meta_servers, &row, e);
	}
	buf_release(&blob);
	shape_release(meta_servers.shape, &row);
	return result;
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int collect_gone(void *context, const void *row)
{
	struct arrival *a = context;
	const struct server_row *server = row;
	if (!server->listed ||
	    (server->vm_id && a->count &&
	     bsearch(&server->vm_id, a->vm_ids, a->count, sizeof *a->vm_ids, compare_ids)))
		return 0;
	shape_copy(meta_servers.shape, list_push(&a->gone, sizeof *server), server);
	return 0;
}

/* Rows that match the scan and are not in the arrival are in the catalog no more. */
static int unlist(struct arrival *a, const struct meta_scan *scan, struct err *e)
{
	int result = meta_scan(a->tx, &meta_servers, scan, collect_gone, a, e);
	struct server_row *gone = a->gone.items;
	for (size_t i = 0; i < a->gone.count; i++) {
		gone[i].listed = 0;
		if (result == 0)
			result = meta_put(a->tx, &meta_servers, &gone[i], e);
		shape_release(meta_servers.shape, &gone[i]);
	}
	free(a->gone.items);
	a->gone = (struct list){0};
	return result;
}

static int put_inventory(struct arrival *a, const struct machine *machines, size_t count,
			 struct err *e)
{
	int result = 0;
	a->vm_ids = xcalloc(count + 1, sizeof *a->vm_ids);
	for (size_t i = 0; i < count && result == 0; i++) {
		if (!machines[i].vm_id)
			continue; /* without an id it could not be found again */
		a->vm_ids[a->count++] = machines[i].vm_id;
		result = put_server(a, &machines[i], e);
	}
	if (a->count)
		qsort(a->vm_ids, a->count, sizeof *a->vm_ids, compare_ids);
	struct meta_scan of_manager = {
	    .index = "address", .equal_count = 1, .values = {{.text = a->connector->manager_id}}};
	if (result == 0)
		result = unlist(a, &of_manager, e);
	free(a->vm_ids);
	return result;
}

static int arrived(struct kept_catalog *k, const char *connector_id, int64_t import, int64_t now,
		   struct err *e)
{
	if (import != k->import)
		return err_set(e, ERR_CONFLICT,
			       "connector %s answered import %" PRId64 ", but %" PRId64
			       " is the newest",
			       connector_id, import, k->import);
	k->waiting--;
	/* It was given up, and is here nevertheless. */
	if (k->c.state != CATALOG_IMPORTING && k->c.state != CATALOG_AVAILABLE &&
	    catalog_step(&k->c, CATALOG_IMPORT, now, e) < 0)
		return -1;
	return catalog_step(&k->c, CATALOG_ARRIVED, now, e);
}

int service_import_arrived(struct service *s, const char *connector_id, int64_t import,
			   const struct machine *machines, size_t count, int64_t now, struct err *e)
{
	struct meta_tx *tx;
	struct kept_catalog k;
	struct connector_row connector = {0};
	if (begin(s, true, &tx, &k, e) < 0)
		return -1;
	int result = arrived(&k, connector_id, import, now, e);
	if (result == 0)
		result = meta_get(tx, &meta_connectors, connector_id, &connector, e);
	if (result == 0 && (connector.disassociated || !connector.manager_id))
		result = err_set(e, ERR_DENIED, "connector %s serves no VM manager", connector_id);
	if (result == 0) {
		struct arrival a = {.tx = tx, .connector = &connector, .now = now};
		result = put_inventory(&a, machines, count, e);
	}
	if (result == 0)
		result = save_problem(tx, NULL, e);
	if (result == 0)
		result = save(tx, &k, e);
	shape_release(meta_connectors.shape, &connector);
	return finish(s, tx, result, e);
}

int service_catalog_delete(struct service *s, int64_t now, struct err *e)
{
	struct meta_tx *tx;
	struct kept_catalog k;
	if (begin(s, true, &tx, &k, e) < 0)
		return -1;
	int result = catalog_step(&k.c, CATALOG_DELETE, now, e);
	k.import++; /* whoever still answers an older one is late */
	struct arrival none = {.tx = tx};
	struct meta_scan listed = {.index = "listed", .equal_count = 1, .values = {{.number = 1}}};
	if (result == 0)
		result = unlist(&none, &listed, e);
	if (result == 0)
		result = save(tx, &k, e);
	return finish(s, tx, result, e);
}
