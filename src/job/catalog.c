// SPDX-License-Identifier: Apache-2.0
#include "job/step.h"

#include <string.h>

#include "base/mem.h"

static const char *const words[] = {
    [CATALOG_NOT_IMPORTED] = "NOT_IMPORTED", [CATALOG_IMPORTING] = "IMPORTING",
    [CATALOG_AVAILABLE] = "AVAILABLE",	     [CATALOG_DELETED] = "DELETED",
    [CATALOG_EXPIRED] = "EXPIRED",
};

const char *catalog_word(enum catalog_state s)
{
	return words[s];
}

enum catalog_state catalog_from_word(const char *word)
{
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (word && strcmp(words[i], word) == 0)
			return (enum catalog_state)i;
	return CATALOG_NOT_IMPORTED;
}

static void enter(struct catalog *c, enum catalog_state s, int64_t now)
{
	c->state = s;
	c->modified = now;
}

int catalog_step(struct catalog *c, enum catalog_event event, int64_t now, struct err *e)
{
	switch (event) {
	case CATALOG_IMPORT: /* a second one while one runs joins it */
		if (c->state != CATALOG_IMPORTING)
			c->before = c->state;
		enter(c, CATALOG_IMPORTING, now);
		return 0;
	case CATALOG_ARRIVED: /* the second connector's list arrives when it is AVAILABLE already */
		if (c->state != CATALOG_IMPORTING && c->state != CATALOG_AVAILABLE)
			return err_set(e, ERR_CONFLICT,
				       "the inventory came without an import: the catalog is %s",
				       words[c->state]);
		enter(c, CATALOG_AVAILABLE, now);
		return 0;
	case CATALOG_FAILED:
		if (c->state == CATALOG_IMPORTING)
			enter(c, c->before, now);
		return 0;
	case CATALOG_DELETE:
		if (c->state == CATALOG_IMPORTING)
			return err_set(e, ERR_CONFLICT,
				       "the catalog cannot be deleted while an import is running; "
				       "try again when it is finished");
		if (c->state != CATALOG_DELETED)
			enter(c, CATALOG_DELETED, now);
		return 0;
	}
	return err_set(e, ERR_INVALID, "no such event of the catalog");
}
