// SPDX-License-Identifier: Apache-2.0
/*
 * The store: chunks and tree nodes under their names, kept once, and named references (the roots
 * of versions). Kinds: dir, s3, memory. Format of dir and s3: man/godwit-store.5.
 *
 * Invariants, kept by every kind:
 *  1. What `get` returns hashes to the name it was asked for, or it fails with ERR_CORRUPT.
 *  2. A record is visible to `has` at once to its writer, and durable when `commit` returned.
 *  3. A reference is durable when `ref_set` returned; the caller commits what it points to before.
 *  4. A crash loses at most what was put since the last commit, never part of a record, and never
 *     makes anything unreadable that was durable.
 *  5. A collection frees only what was not marked live, nor asked for or put since it began. A
 *     reader keeps what it reads alive by a lease (lease.h).
 *  6. `has` for a group tells only of what that group put; what others put is answered "no", though
 *     putting it again stores nothing twice.
 * One writer process at a time; any number of readers beside it.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "block/name.h"
#include "block/tree.h"

enum codec { CODEC_RAW = 0, CODEC_ZSTD = 1, CODEC_LZ4 = 2 };
enum record_kind { RECORD_CHUNK = 0, RECORD_NODE = 1 };

#define RECORD_MAX_PLAIN TREE_NODE_MAX_BYTES
#define REF_NAME_MAX	 120
#define REF_BYTES_MAX	 (64u << 10)

struct record {
	struct name name;      /* of the plain bytes */
	uint16_t codec;	       /* enum codec */
	uint16_t kind;	       /* enum record_kind */
	uint32_t plain_len;    /* 1 … RECORD_MAX_PLAIN */
	uint32_t stored_len;   /* <= plain_len; equal when raw */
	const uint8_t *stored; /* borrowed */
};

struct store_facts {
	char kind[16];
	char identity[40]; /* of this store, made with it */
	bool durable;	   /* survives the process */
	bool writable;
	bool reopen; /* it writes nothing more until it is opened anew */
};

struct store_space {
	uint64_t stored_bytes;		  /* records with their headers */
	uint64_t free_bytes, total_bytes; /* of what it lives on */
};

struct store;

/* Open a store. `where` is "kind:place" ("dir:/var/lib/godwit/store", "memory:"), a bare path
 * means dir. "dir:PATH?reserve=SIZE" keeps that much of the file system free instead of 1G; with
 * less a put is ERR_FULL. "s3:BUCKET/PREFIX?…" is described in man/godwit-s3.7. "memory:NAME" is
 * shared by its openers in this process. "fault:N:WHERE" is WHERE with a call that fails. With
 * `create` a missing one is made. Read-only stores see what the writer committed, also later
 * commits. ERR_BUSY when another writer holds it. */
int store_open(const char *where, bool write, bool create, struct store **out, struct err *e);
void store_close(struct store *s);
/* What a child process that opens the store needs in its environment: "NAME=value" texts, the last
 * one NULL, for s3 without a file of credentials those of ours. The caller frees. */
char **store_environment(const char *where);
void store_environment_free(char **environment);
const struct store_facts *store_get_facts(const struct store *s);

/* have[i] = 1 when names[i] is stored (and, with `group`, was put by it). */
int store_has(struct store *s, const char *group, const struct name *names, size_t n, uint8_t *have,
	      struct err *e);

/* Keep a record. The caller has checked that its plain bytes hash to its name. 1 when new in the
 * store, 0 when it was there (the group learns of it either way). ERR_FULL leaves all as it was. */
int store_put(struct store *s, const char *group, const struct record *r, struct err *e);

/* The plain bytes of a name, decompressed and hashed against it, appended to `plain`. */
int store_get(struct store *s, const struct name *name, struct buf *plain, struct err *e);

/* As store_get for up to STORE_GET_MAX names, each into a buffer of its own: together they are
 * hashed in less time. When it fails nothing in the buffers is to be used. */
#define STORE_GET_MAX 16
int store_get_many(struct store *s, const struct name *names, size_t n, struct buf *plains,
		   struct err *e);

/* Make all that was put durable. `space` may be NULL. When it fails, what was put since the last
 * commit may be forgotten: `has` tells, and the caller puts it again. */
int store_commit(struct store *s, struct store_space *space, struct err *e);

/* Set (or with data NULL, delete) a reference. Readers may where its name begins with "lease-".
 * What it is to keep alive its data begin with (roots.h). Names are [a-z0-9._-], groups
 * [a-zA-Z0-9._-]{1,64}; neither begins with a dot. */
int store_ref_set(struct store *s, const char *ref, const void *data, size_t n, struct err *e);
/* Call `each` for every reference, in no order, until it returns non-zero (which is returned). */
typedef int store_ref_fn(void *context, const char *ref, const uint8_t *data, size_t n);
int store_ref_each(struct store *s, store_ref_fn *each, void *context, struct err *e);

/* Collecting: what is not live is freed. The caller marks what is; see copy/collect.h. */

struct store_live; /* what was marked */
enum live_kind {
	LIVE_LEAF, /* a chunk; or whatever is not walked into */
	LIVE_NODE, /* a node that the caller walks into when it is fresh */
};
enum live_state {
	LIVE_MISSING, /* it is not in the store */
	LIVE_FRESH,   /* marked now */
	LIVE_KNOWN,   /* was marked before, as the same kind */
};
/* Mark names. states[i] (unless NULL) is an enum live_state. */
void store_live_add(struct store_live *live, enum live_kind kind, const struct name *names,
		    size_t n, uint8_t *states);

struct store_collecting {
	/* Marks all that must stay; without the store's locks. When it fails nothing is freed. */
	int (*mark)(void *context, struct store_live *live, struct err *e);
	void *context;
	bool dry;		   /* free nothing, only count; readers may */
	const volatile bool *stop; /* NULL, or set to end it soon: ERR_CONFLICT */
};

struct store_collected {
	uint64_t names, live_names;
	uint64_t record_bytes, live_bytes; /* before it; with the records' headers */
	uint64_t packs, packs_removed, packs_rewritten, packs_spoiled; /* spoiled: damaged, left */
	uint64_t freed_bytes;
};

/* Free what is not live, beside other calls. A name that `has` answered yes for, or that was put,
 * while it runs is live. ERR_BUSY when one runs already. *out is filled as far as it came. */
int store_collect(struct store *s, const struct store_collecting *plan, struct store_collected *out,
		  struct err *e);

/* Compress with the codec if it saves at least 3 %, else raw: fills r->codec, stored, stored_len
 * (pointing into scratch or at plain). zstd takes `level`; 0: what
 * suits chunks best. */
void record_pack(struct record *r, enum codec codec, int level, const uint8_t *plain,
		 uint32_t plain_len, struct buf *scratch);
/* The plain bytes of a record, exactly plain_len, appended; ERR_CORRUPT when it does not decode.
 * Does not check the name. */
int record_unpack(const struct record *r, struct buf *plain, struct err *e);

/* Put a tree node: names, packs and puts; out gets its name. */
int store_put_node(struct store *s, const struct buf *node, struct name *out, struct err *e);

#endif
