// SPDX-License-Identifier: Apache-2.0
/* Which names each trust group put: known/<group>/ holds segments of them. */
#ifndef STORE_KNOWN_H
#define STORE_KNOWN_H

#include "store/nameset.h"
#include "store/segments.h"

struct known_group {
	char *text;
	struct segments segments;
	struct nameset pending; /* put, not yet in a segment */
};

struct known {
	struct files *files;
	bool write;
	struct known_group **groups;
	size_t count, cap;
};

/* Damaged segments are set aside by the writer. */
void known_init(struct known *k, struct files *files, bool write);
void known_release(struct known *k);
/* The group, its segments loaded. */
int known_get(struct known *k, const char *text, struct known_group **out, struct err *e);
bool known_has(const struct known_group *g, const struct name *name);
/* The group put this name; remembered until known_forget, kept by known_commit. */
void known_learn(struct known_group *g, const struct name *name);
void known_forget(struct known *k);
int known_commit(struct known *k, struct err *e);

#endif
