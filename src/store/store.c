// SPDX-License-Identifier: Apache-2.0
/* The one way to the kinds of store: what goes in and what comes out is checked here. */
#include "store/kind.h"
#include "store/lease.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define GROUP_MAX  64
#define NODE_LEVEL 3 /* nodes are few and read often; zstd 3 saves a third of them */

static const struct store_ops *const kinds[] = {&store_dir_ops, &store_s3_ops, &store_memory_ops,
						&store_fault_ops};

static const struct store_ops *kind_find(const char *word, size_t n)
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (strlen(kinds[i]->kind) == n && memcmp(kinds[i]->kind, word, n) == 0)
			return kinds[i];
	return NULL;
}

int store_open(const char *where, bool write, bool create, struct store **out, struct err *e)
{
	*out = NULL;
	const char *colon = strchr(where, ':');
	const struct store_ops *ops = &store_dir_ops;
	const char *place = where;
	if (where[0] != '/' && where[0] != '.' && colon) {
		ops = kind_find(where, (size_t)(colon - where));
		place = colon + 1;
	}
	if (!ops)
		return err_set(e, ERR_INVALID,
			       "store \"%.200s\" is of no known kind; give dir:PATH, "
			       "s3:BUCKET/PREFIX or memory:",
			       where);
	if (ops->open(place, write, create, out, e) < 0)
		return -1;
	struct store *s = *out;
	s->ops = ops;
	s->facts.writable = write;
	strcpy(s->facts.kind, ops->kind);
	return 0;
}

char **store_environment(const char *where)
{
	static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
					    "AWS_SESSION_TOKEN", "TMPDIR"};
	char **environment = xcalloc(COUNT_OF(names) + 1, sizeof *environment);
	unsigned count = 0;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *value = text_starts(where, "s3:") ? getenv(names[i]) : NULL;
		if (value)
			environment[count++] = xasprintf("%s=%s", names[i], value);
	}
	return environment;
}

void store_environment_free(char **environment)
{
	for (char **v = environment; v && *v; v++)
		free(*v);
	free(environment);
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

const struct store_facts *store_get_facts(const struct store *s)
{
	return &s->facts;
}

/* 1 to `max` of letters, digits, '.', '_', '-'; no leading dot, as kinds use these as file names. */
static bool word_ok(const char *word, size_t max, bool upper)
{
	size_t n = strlen(word);
	if (n == 0 || n > max || word[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = word[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		      c == '-' || (upper && c >= 'A' && c <= 'Z')))
			return false;
	}
	return true;
}

static int group_check(const char *group, struct err *e)
{
	if (group && !word_ok(group, GROUP_MAX, true))
		return err_set(e, ERR_INVALID,
			       "\"%.80s\" is no trust group: 1 to %d of A-Z a-z 0-9 . _ -, not "
			       "beginning with a dot",
			       group, GROUP_MAX);
	return 0;
}

static int write_check(const struct store *s, struct err *e)
{
	if (!s->facts.writable)
		return err_set(e, ERR_DENIED, "the %s store %s is open for reading only",
			       s->facts.kind, s->facts.identity);
	return 0;
}

static const char *record_flaw(const struct record *r)
{
	if (name_is_zero(&r->name))
		return "its name is zero";
	if (r->codec > CODEC_LZ4)
		return "its codec is unknown";
	if (r->kind > RECORD_NODE)
		return "its kind is unknown";
	if (r->plain_len == 0 || r->plain_len > RECORD_MAX_PLAIN)
		return "its size is out of range";
	if (r->stored_len == 0 || r->stored_len > r->plain_len)
		return "its stored size is out of range";
	if (r->codec == CODEC_RAW && r->stored_len != r->plain_len)
		return "its stored size is not its size";
	return NULL;
}

int store_has(struct store *s, const char *group, const struct name *names, size_t n, uint8_t *have,
	      struct err *e)
{
	if (group_check(group, e) < 0)
		return -1;
	memset(have, 0, n);
	if (n == 0)
		return 0;
	return s->ops->has(s, group, names, n, have, e);
}

int store_put(struct store *s, const char *group, const struct record *r, struct err *e)
{
	if (write_check(s, e) < 0 || group_check(group, e) < 0)
		return -1;
	const char *flaw = record_flaw(r);
	if (flaw)
		return err_set(e, ERR_INVALID, "a record cannot be kept: %s", flaw);
	int got = s->ops->put(s, group, r, e);
	assert(got >= -1 && got <= 1);
	return got;
}

/* The plain bytes of a record, not yet hashed. */
static int get_unhashed(struct store *s, const struct name *name, struct buf *plain, struct err *e)
{
	struct record r = {0};
	struct buf stored = {0};
	char hex[NAME_HEX_BYTES];
	int result = -1;
	name_hex(name, hex);
	if (name_is_zero(name)) {
		err_set(e, ERR_INVALID, "the zero name stands for no chunk");
		goto out;
	}
	if (s->ops->get(s, name, &r, &stored, e) < 0)
		goto out;
	const char *flaw = record_flaw(&r);
	if (!flaw && (name_compare(&r.name, name) != 0 || r.stored_len != stored.len))
		flaw = "it is not the one asked for";
	if (flaw) {
		err_set(e, ERR_CORRUPT, "the record of chunk %s is damaged: %s", hex, flaw);
		goto out;
	}
	r.stored = stored.data;
	result = record_unpack(&r, plain, e);
	if (result < 0)
		err_prefix(e, "chunk %s is damaged", hex);
out:
	buf_release(&stored);
	return result;
}

int store_get_many(struct store *s, const struct name *names, size_t n, struct buf *plains,
		   struct err *e)
{
	struct name_job jobs[STORE_GET_MAX] = {{0}};
	struct name found[STORE_GET_MAX];
	size_t before[STORE_GET_MAX];
	assert(n <= STORE_GET_MAX);
	for (size_t i = 0; i < n; i++) {
		before[i] = plains[i].len;
		if (get_unhashed(s, &names[i], &plains[i], e) < 0)
			return -1;
		jobs[i] = (struct name_job){plains[i].data + before[i], plains[i].len - before[i],
					    &found[i]};
	}
	name_many(jobs, n);
	for (size_t i = 0; i < n; i++) {
		char hex[NAME_HEX_BYTES];
		if (name_compare(&found[i], &names[i]) == 0)
			continue;
		for (size_t k = 0; k < n; k++)
			plains[k].len = before[k];
		name_hex(&names[i], hex);
		return err_set(e, ERR_CORRUPT,
			       "chunk %s is damaged: its bytes do not hash to its name", hex);
	}
	return 0;
}

int store_get(struct store *s, const struct name *name, struct buf *plain, struct err *e)
{
	return store_get_many(s, name, 1, plain, e);
}

int store_commit(struct store *s, struct store_space *space, struct err *e)
{
	struct store_space ignored;
	if (write_check(s, e) < 0)
		return -1;
	return s->ops->commit(s, space ? space : &ignored, e);
}

static int ref_check(const char *ref, struct err *e)
{
	if (!word_ok(ref, REF_NAME_MAX, false))
		return err_set(e, ERR_INVALID,
			       "\"%.150s\" is no name of a reference: 1 to %d of a-z 0-9 . _ -, "
			       "not beginning with a dot",
			       ref, REF_NAME_MAX);
	return 0;
}

int store_ref_set(struct store *s, const char *ref, const void *data, size_t n, struct err *e)
{
	/* Leases are the readers' own. */
	if ((strncmp(ref, LEASE_PREFIX, strlen(LEASE_PREFIX)) != 0 && write_check(s, e) < 0) ||
	    ref_check(ref, e) < 0)
		return -1;
	if (n > REF_BYTES_MAX)
		return err_set(e, ERR_INVALID, "reference %s has %zu bytes, more than %u", ref, n,
			       REF_BYTES_MAX);
	return s->ops->ref_set(s, ref, data, n, e);
}

int store_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e)
{
	return s->ops->ref_each(s, each, context, e);
}

void store_live_add(struct store_live *live, enum live_kind kind, const struct name *names,
		    size_t n, uint8_t *states)
{
	live->add(live, kind, names, n, states);
}

int store_collect(struct store *s, const struct store_collecting *plan, struct store_collected *out,
		  struct err *e)
{
	*out = (struct store_collected){0};
	if (!plan->dry && write_check(s, e) < 0)
		return -1;
	if (!s->ops->collect)
		return err_set(e, ERR_INVALID, "a store of kind %s frees nothing", s->facts.kind);
	return s->ops->collect(s, plan, out, e);
}

int store_put_node(struct store *s, const struct buf *node, struct name *out, struct err *e)
{
	if (node->len == 0 || node->len > TREE_NODE_MAX_BYTES)
		return err_set(e, ERR_INVALID, "a tree node has %zu bytes, not 1 to %u", node->len,
			       TREE_NODE_MAX_BYTES);
	struct record r = {.kind = RECORD_NODE};
	struct buf scratch = {0};
	name_of(node->data, node->len, &r.name);
	record_pack(&r, CODEC_ZSTD, NODE_LEVEL, node->data, (uint32_t)node->len, &scratch);
	int got = store_put(s, NULL, &r, e);
	*out = r.name;
	buf_release(&scratch);
	return got;
}
