// SPDX-License-Identifier: Apache-2.0
/*
 * Freeing what deleted images leave in the store: after references were dropped, once a day, and
 * when somebody asks. How the last collection went is a setting, so that it outlives the service.
 */
#ifndef JOB_COLLECT_H
#define JOB_COLLECT_H

#include "meta/rows.h"

struct collection {
	bool wanted; /* somebody asked and it has not begun */
	bool running;
	int64_t count;	 /* that ended */
	int64_t started; /* the newest; 0: none */
	int64_t ended;	 /* the newest that ended, of which the rest tells */
	int64_t names, live_names, record_bytes, live_bytes, freed_bytes;
	int64_t packs, packs_removed, packs_rewritten, packs_spoiled;
	char *problem; /* NULL: it went to its end */
};

int collection_load(struct meta_tx *tx, struct collection *out, struct err *e);
void collection_release(struct collection *c);
/* Ask the loop for a collection. */
int collection_want(struct meta_tx *tx, int64_t now, struct err *e);

struct loop;
/* One look of the loop, on its thread: drop what is stale, begin what is due, record what ended. */
void collect_pass(struct loop *l, int64_t now);

#endif
