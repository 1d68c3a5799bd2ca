// SPDX-License-Identifier: Apache-2.0
/*
 * What a disk could hold after a power cut. The model records the operations of store/disk.h and
 * builds, for any prefix of them, directories as a crash at that point could leave them: what was
 * synced is there; of the rest, file contents and names of directories each on their own, any part.
 */
#ifndef TEST_DISK_MODEL_H
#define TEST_DISK_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum cut {
	CUT_ALL_LOST,	/* nothing that was not synced */
	CUT_ALL_KEPT,	/* everything, as when only the process was killed */
	CUT_DATA_LOST,	/* names are there, what was written into the files is not */
	CUT_NAMES_LOST, /* the other way round */
	CUT_RANDOM,	/* each name and each write by chance, the last write torn */
	CUTS
};

struct disk_model;

/* What is in `dir` now is durable; from here on operations are recorded. */
struct disk_model *disk_model_start(const char *dir);
/* Record no more. */
void disk_model_stop(struct disk_model *m);
void disk_model_free(struct disk_model *m);

/* How many operations were recorded so far. */
unsigned disk_model_count(const struct disk_model *m);
/* Make `dir` again as it could be when power failed after the first `count` operations. */
void disk_model_cut(const struct disk_model *m, unsigned count, enum cut cut, uint64_t seed);

#endif
