// SPDX-License-Identifier: Apache-2.0
/*
 * The service: metadata, store, rules, and the things the loop does. API handlers and the data door
 * call these; each is one transaction and wakes the loop. All are thread-safe.
 */
#ifndef JOB_SERVICE_H
#define JOB_SERVICE_H

#include "base/text.h"
#include "job/notice.h"
#include "job/step.h"
#include "meta/rows.h"

struct overlay_commits;

struct service {
	struct meta *meta;
	const struct job_rules *rules;
	const char *state_dir; /* everything of this service is under it */
	const char *store_where;
	const char *region, *account;
	struct overlay_commits *commits; /* NULL: overlays cannot be committed */
	void (*wake)(void *context);	 /* tell the loop that something changed; may be NULL */
	void *wake_context;
	/* Ask connectors for their inventory; returns how many were asked. NULL: none can be. */
	int (*ask_inventory)(void *context, int64_t import);
	void *ask_context;
	/* Tell people what happened, after it was committed and in the thread that did it: a crash
	 * between loses the notice, and none is given twice. May be NULL. */
	void (*notify)(void *context, const struct notice *n);
	void *notify_context;
};

/* Apply an event to a job in one transaction: load rows, step, store rows, collect actions. The
 * rows after it are in *out when not NULL (release). ERR_NOT_FOUND for an unknown job. Actions that
 * only write rows (create, missed, prune marks, server ended) are done in the transaction; the rest
 * is left in rows for the loop, which finds and repeats them after a crash. */
int service_job_event(struct service *s, const char *job_id, const struct job_event *event,
		      int64_t now, struct job_state *out, struct err *e);

/* The data of an image's reference: the roots of its disks, and its row. */
void service_image_ref(const struct image_row *image, struct buf *out);

/* Make a job for request->server_id from the settings in `request` (what it leaves 0 or NULL gets
 * its default, see job_create). ERR_NOT_FOUND: the server is not in the catalog; ERR_CONFLICT with a
 * sentence that begins "exists:": it has a live job; ERR_UNAVAILABLE: no connector serves its
 * manager; ERR_INVALID with the server's own refusal; ERR_FULL: too many live jobs. */
int service_job_create(struct service *s, const struct job_row *request, int64_t now,
		       char id_out[ID_BYTES], struct err *e);

/* Import of the catalog. A start while one is running joins it; ERR_UNAVAILABLE when no connector
 * could be asked. Answers of another import than the newest are refused with ERR_CONFLICT. */
int service_import_start(struct service *s, int64_t now, struct err *e);
/* A connector's inventory, complete: server rows are made or updated, ids stable by (manager, vm). */
struct machine;
int service_import_arrived(struct service *s, const char *connector_id, int64_t import,
			   const struct machine *machines, size_t count, int64_t now,
			   struct err *e);
/* One connector could not (the import goes on while others may answer), or, with connector_id NULL,
 * nobody answered in time: the catalog is as it was before. */
int service_import_failed(struct service *s, const char *connector_id, int64_t import,
			  const char *why, int64_t now, struct err *e);
int service_catalog(struct service *s, struct catalog *out, struct err *e);
int service_catalog_delete(struct service *s, int64_t now, struct err *e);

#endif
