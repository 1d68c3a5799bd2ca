// SPDX-License-Identifier: Apache-2.0
/* A directory in memory for targets that need files, removed when the program ends. */
#ifndef SCRATCH_H
#define SCRATCH_H

const char *scratch_dir(void);

#endif
