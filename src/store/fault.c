// SPDX-License-Identifier: Apache-2.0
/*
 * Kind fault, a wrapper: "fault:N:WHERE" is the store WHERE, of which the Nth call fails with
 * ERR_IO, opening not counted; "fault:N+:WHERE" carries that call out and then says that it failed,
 * as when an answer was lost. For tests; with N 0 no call fails.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/kind.h"

struct fault {
	struct store base;
	struct store *inner;
	bool answer_lost;
	uint64_t strikes_at;
	pthread_mutex_t mutex;
	uint64_t calls;
};

static int place_parse(struct fault *f, const char *place, const char **where, struct err *e)
{
	const char *colon = strchr(place, ':');
	int64_t number;
	if (!colon)
		return err_set(e, ERR_INVALID, "a store of kind fault is fault:N:WHERE");
	f->answer_lost = colon > place && colon[-1] == '+';
	char *text = xstrndup(place, (size_t)(colon - place) - f->answer_lost);
	int result = number_parse("the call that fails", text, 0, INT64_MAX, &number, e);
	free(text);
	f->strikes_at = (uint64_t)number;
	*where = colon + 1;
	return result;
}

static int fault_open(const char *place, bool write, bool create, struct store **out, struct err *e)
{
	struct fault *f = xcalloc(1, sizeof *f);
	const char *where;
	if (place_parse(f, place, &where, e) < 0 ||
	    store_open(where, write, create, &f->inner, e) < 0) {
		free(f);
		return -1;
	}
	pthread_mutex_init(&f->mutex, NULL);
	f->base.facts = f->inner->facts;
	*out = &f->base;
	return 0;
}

static void fault_close(struct store *s)
{
	struct fault *f = (struct fault *)s;
	store_close(f->inner);
	pthread_mutex_destroy(&f->mutex);
	free(f);
}

static bool strikes(struct store *s)
{
	struct fault *f = (struct fault *)s;
	pthread_mutex_lock(&f->mutex);
	bool now = ++f->calls == f->strikes_at;
	pthread_mutex_unlock(&f->mutex);
	return now;
}

static int failed(struct err *e)
{
	return err_set(e, ERR_IO, "this call to the store was made to fail");
}

/* Evaluates `call` unless it is the one that fails; then perhaps too, but does not tell. */
#define CALL(call)                                                                                 \
	do {                                                                                       \
		struct fault *f = (struct fault *)s;                                               \
		struct store *in = f->inner;                                                       \
		bool now = strikes(s);                                                             \
		int result = now && !f->answer_lost ? -1 : (call);                                 \
		return now ? failed(e) : result;                                                   \
	} while (0)

static int fault_has(struct store *s, const char *group, const struct name *names, size_t n,
		     uint8_t *have, struct err *e)
{
	CALL(in->ops->has(in, group, names, n, have, e));
}

static int fault_put(struct store *s, const char *group, const struct record *r, struct err *e)
{
	CALL(in->ops->put(in, group, r, e));
}

static int fault_get(struct store *s, const struct name *name, struct record *r, struct buf *stored,
		     struct err *e)
{
	CALL(in->ops->get(in, name, r, stored, e));
}

static int fault_commit(struct store *s, struct store_space *space, struct err *e)
{
	CALL(in->ops->commit(in, space, e));
}

static int fault_ref_set(struct store *s, const char *ref, const void *data, size_t n,
			 struct err *e)
{
	CALL(in->ops->ref_set(in, ref, data, n, e));
}

static int fault_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e)
{
	CALL(in->ops->ref_each(in, each, context, e));
}

static int fault_collect(struct store *s, const struct store_collecting *plan,
			 struct store_collected *out, struct err *e)
{
	CALL(store_collect(in, plan, out, e));
}

const struct store_ops store_fault_ops = {
    .kind = "fault",
    .open = fault_open,
    .close = fault_close,
    .has = fault_has,
    .put = fault_put,
    .get = fault_get,
    .commit = fault_commit,
    .ref_set = fault_ref_set,
    .ref_each = fault_ref_each,
    .collect = fault_collect,
};
