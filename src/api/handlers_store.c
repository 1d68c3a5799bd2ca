// SPDX-License-Identifier: Apache-2.0
/* The store's collection: see job/collect.h. */
#include "api/handlers.h"
#include "job/collect.h"

int handle_collect_store(struct api_call *call, json_t *in, json_t *out)
{
	struct meta_tx *tx;
	struct err e = {0};

	(void)in;
	(void)out;
	if (api_begin(call, true, &tx))
		return -1;
	int result = collection_want(tx, call->now, &e);
	if (result < 0)
		result = api_fail_err(call, &e);
	result = api_end(call, tx, result);
	if (!result)
		api_wake(call);
	return result;
}

int handle_get_store_collection(struct api_call *call, json_t *in, json_t *out)
{
	struct collection c = {0};
	struct meta_tx *tx;
	struct err e = {0};

	(void)in;
	if (api_begin(call, false, &tx))
		return -1;
	int result = collection_load(tx, &c, &e);
	if (result < 0)
		result = api_fail_err(call, &e);
	result = api_end(call, tx, result);
	if (!result) {
		out_text(out, "collection", c.running ? "running" : c.wanted ? "waiting" : "idle");
		out_integer(out, "collections", c.count);
		out_time(out, "startedOn", c.started);
		out_time(out, "endedOn", c.ended);
		out_integer(out, "recordBytes", c.record_bytes);
		out_integer(out, "liveBytes", c.live_bytes);
		out_integer(out, "freedBytes", c.freed_bytes);
		out_integer(out, "records", c.names);
		out_integer(out, "liveRecords", c.live_names);
		out_integer(out, "packs", c.packs);
		out_integer(out, "packsRemoved", c.packs_removed);
		out_integer(out, "packsRewritten", c.packs_rewritten);
		out_integer(out, "packsDamaged", c.packs_spoiled);
		out_text(out, "problem", c.problem);
	}
	collection_release(&c);
	return result;
}
