// SPDX-License-Identifier: Apache-2.0
/* store show, store collect: the store of this machine, and what could be or was freed in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "copy/copy.h"
#include "io/file.h"
#include "prog/godwit.h"

#define POLL_MS	 300
#define ATTEMPTS 3 /* a collection may move what is being walked */

struct shown {
	uint64_t free_bytes, total_bytes;
	struct store_collected now;
};

static int look(struct cli *c, struct shown *s, struct err *e)
{
	const char *state = c->state_dir ? c->state_dir : c->state;
	char *where = cli_store(c), *path = NULL;
	char *journal = xasprintf("%s/journal", state);
	struct store *store;
	int result = -1;
	for (unsigned i = 0; i < ATTEMPTS && result < 0; i++) {
		if (store_open(where, false, false, &store, e) < 0)
			break;
		result = copy_collect(store, journal, NULL, true, NULL, &s->now, e);
		store_close(store);
	}
	/* A bucket has no size. */
	if (text_starts(where, "dir:"))
		path = xstrndup(where + 4, strcspn(where + 4, "?"));
	if (result == 0 && path)
		result = file_space(path, &s->free_bytes, &s->total_bytes, e);
	free(journal);
	free(where);
	free(path);
	return result;
}

static void show_size(const char *label, uint64_t bytes)
{
	char text[24];
	size_text(bytes, text);
	show_field(label, text);
}

static void show_last(const json_t *last)
{
	json_t *when = cell_time(last, "endedOn"), *freed = cell_size(last, "freedBytes");
	if (*json_string_value(when))
		printf("%-15s %s: %s freed, %lld packs removed, %lld written anew\n", "collected",
		       json_string_value(when), json_string_value(freed),
		       (long long)number_of(last, "packsRemoved"),
		       (long long)number_of(last, "packsRewritten"));
	if (number_of(last, "packsDamaged"))
		printf("%-15s %lld packs; 'godwit image verify' tells which images they break\n",
		       "damaged", (long long)number_of(last, "packsDamaged"));
	show_field("problem", text_of(last, "problem"));
	json_decref(when);
	json_decref(freed);
}

int cmd_store_show(struct cli *c, struct err *e)
{
	struct shown s = {0};
	json_t *last;
	if (call_godwit(c, "GetStoreCollection", NULL, &last, e) < 0)
		return -1;
	if (look(c, &s, e) < 0) {
		json_decref(last);
		return -1;
	}
	uint64_t garbage = s.now.record_bytes - s.now.live_bytes;
	if (c->json) {
		json_t *answer = json_pack(
		    "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "freeBytes",
		    (json_int_t)s.free_bytes, "totalBytes", (json_int_t)s.total_bytes,
		    "recordBytes", (json_int_t)s.now.record_bytes, "liveBytes",
		    (json_int_t)s.now.live_bytes, "records", (json_int_t)s.now.names, "liveRecords",
		    (json_int_t)s.now.live_names, "packs", (json_int_t)s.now.packs,
		    "lastCollection", last);
		show_json(answer);
		json_decref(answer);
	} else {
		show_size("unique", s.now.record_bytes);
		show_size("needed", s.now.live_bytes);
		printf("%-15s %.0f%%\n", "garbage",
		       s.now.record_bytes ? 100.0 * (double)garbage / (double)s.now.record_bytes
					  : 0.0);
		printf("%-15s %llu in %llu packs\n", "records", (unsigned long long)s.now.names,
		       (unsigned long long)s.now.packs);
		if (s.total_bytes) {
			show_size("free", s.free_bytes);
			show_size("of", s.total_bytes);
		}
		show_last(last);
	}
	json_decref(last);
	return 0;
}

int cmd_store_collect(struct cli *c, struct err *e)
{
	json_t *last = NULL;
	int64_t count;
	if (call_godwit(c, "GetStoreCollection", NULL, &last, e) < 0)
		return -1;
	count = number_of(last, "collections");
	json_decref(last);
	if (call_godwit(c, "CollectStore", NULL, NULL, e) < 0)
		return -1;
	for (;;) {
		if (call_godwit(c, "GetStoreCollection", NULL, &last, e) < 0)
			return -1;
		if (number_of(last, "collections") > count &&
		    strcmp(text_of(last, "collection"), "idle") == 0)
			break;
		json_decref(last);
		clock_sleep_ms(POLL_MS);
	}
	const char *problem = text_of(last, "problem");
	int result = *problem ? err_set(e, ERR_IO, "%s", problem) : 0;
	if (c->json)
		show_json(last);
	else if (result == 0)
		show_last(last);
	json_decref(last);
	return result;
}
