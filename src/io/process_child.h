// SPDX-License-Identifier: Apache-2.0
/*
 * Between fork and exec; seen only inside this room. The parent may have threads, so nothing here
 * allocates, locks or prints: what needs that is made before, in child_prepare.
 */
#ifndef IO_PROCESS_CHILD_H
#define IO_PROCESS_CHILD_H

#include "io/process.h"

enum child_step {
	CHILD_FDS,
	CHILD_DEATH_SIGNAL,
	CHILD_NETWORK,
	CHILD_EXEC,
};

/* What the child tells through the close-on-exec pipe when it cannot become the program. */
struct child_report {
	enum child_step step;
	int errnum;
};

struct child {
	const char *program;
	char *const *argv, *const *env;
	struct process_fd *fds; /* 0, 1, 2 included */
	unsigned fd_count;
	int report;
	bool no_network, keep_alive;
	/* by child_prepare */
	pid_t parent;
	char uid_map[64], gid_map[64];
};

void child_prepare(struct child *c);
_Noreturn void child_become(struct child *c);
const char *child_step_text(enum child_step step);

#endif
