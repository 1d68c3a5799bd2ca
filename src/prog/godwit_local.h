// SPDX-License-Identifier: Apache-2.0
/* An image as the commands need it that work with the store of this machine. */
#ifndef PROG_GODWIT_LOCAL_H
#define PROG_GODWIT_LOCAL_H

#include "base/limits.h"
#include "image/image.h"
#include "prog/godwit.h"

struct local {
	char *state; /* the service's folder */
	char *store; /* where it is, as store_open takes it */
	json_t *image;
	json_t *disks;
	struct serve_disk serve[LIMIT_DISKS_PER_SERVER];
	char names[LIMIT_DISKS_PER_SERVER][96]; /* of the exports */
	unsigned count;
};

/* The image of an id, or of c->args[0]; released by local_release when it is 0. */
int local_open_image(struct cli *c, const char *image_id, struct local *l, struct err *e);
int local_open(struct cli *c, struct local *l, struct err *e);
void local_release(struct local *l);

/* The folder that `path` is to be in must be there. */
int local_check_folder(const char *path, struct err *e);

/* The machine it was, as far as an image tells; the caller releases. */
struct machine;
void local_fill_machine(const struct local *l, struct machine *m);

/* From now on an interrupt ends only what asks for it. */
void local_catch_signals(void);
bool local_interrupted(void);
/* Until one of the processes ends (its index, *status as waitpid) or somebody interrupts (-1). */
int local_wait(const pid_t *pids, unsigned count, int *status);

/* The files in which two images differ, on standard output. */
int diff_files(const struct cli *c, const struct local *a, const struct local *b, struct err *e);

/* How far something long is: one line on a terminal, nothing elsewhere. */
struct meter {
	bool quiet;
	int64_t began_ms, drawn_ms;
};
/* An image_step_fn, with a meter as context. */
void meter_show(void *meter, uint64_t done, uint64_t total);
/* Takes the line away. */
void meter_end(struct meter *m);
/* "40%, 1.2 GiB of 3.0 GiB, 120.0 MiB/s, 15 s left" */
void meter_line(uint64_t done, uint64_t total, int64_t passed_ms, char *out, size_t size);

#endif
