// SPDX-License-Identifier: Apache-2.0
/* An image as the commands need it that work with the store of this machine. */
#ifndef PROG_GODWIT_LOCAL_H
#define PROG_GODWIT_LOCAL_H

#include "base/limits.h"
#include "image/image.h"
#include "prog/godwit.h"

struct local {
	char *store; /* where it is, as store_open takes it */
	json_t *image;
	json_t *disks;
	struct serve_disk serve[LIMIT_DISKS_PER_SERVER];
	char names[LIMIT_DISKS_PER_SERVER][16];
	unsigned count;
};

/* The image of c->args[0]; released by local_release when it is 0. */
int local_open(struct cli *c, struct local *l, struct err *e);
void local_release(struct local *l);

#endif
