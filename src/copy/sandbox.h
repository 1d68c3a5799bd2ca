// SPDX-License-Identifier: Apache-2.0
/* What a process that parses a foreign disk gives up before it begins. */
#ifndef COPY_SANDBOX_H
#define COPY_SANDBOX_H

#include "base/err.h"

/* No new privileges; no file system (Landlock, where the kernel has it); and by seccomp no new
 * program, file, socket or process, for good. Threads and the descriptors it has still work. */
int sandbox_enter(struct err *e);

#endif
