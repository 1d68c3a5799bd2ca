// SPDX-License-Identifier: Apache-2.0
/*
 * Child processes: named programs with arguments as an array, never a shell. A child gets exactly
 * the descriptors it is given, a small environment, and dies with its parent.
 *
 * The kernel ties that death to the thread that started the child, not to the process: start
 * children from a thread that lives as long as they shall.
 */
#ifndef IO_PROCESS_H
#define IO_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"

struct process_fd {
	int from; /* ours */
	int to;	  /* number in the child */
};

struct process_plan {
	const char *const *argv;      /* argv[0] is looked up in PATH when it has no slash */
	const struct process_fd *fds; /* besides 0, 1, 2, which are /dev/null unless given here */
	unsigned fd_count;
	const char *log_file;	/* stdout and stderr appended here unless given in fds */
	const char *const *env; /* "NAME=value" added to PATH, LANG=C, GODWIT_*; or NULL */
	bool no_network;	/* in a network namespace of its own with only loopback up */
	bool keep_alive;	/* do not kill it when the parent ends */
};

/* ERR_NOT_FOUND names the package to install when there is no such program. A child of keep_alive
 * also leaves the terminal (setsid). */
int process_start(const struct process_plan *plan, pid_t *pid, struct err *e);

/* Exit status when it ended: 1 and *status as waitpid; 0 when it still runs after `ms` (0: do not
 * wait, -1: for ever). */
int process_wait(pid_t pid, int64_t ms, int *status, struct err *e);
/* TERM, and KILL after `grace_ms`; reaps. */
void process_stop(pid_t pid, int64_t grace_ms);

/* Run to its end; standard output appended to `out` (bounded by `max`) when not NULL; a non-zero
 * exit is ERR_IO with the last line it printed on standard error. */
int process_run(const struct process_plan *plan, int64_t timeout_ms, size_t max, struct buf *out,
		struct err *e);

/* The folder of the running program, for finding the others: libexec path with slash-free `name`
 * appended; honours GODWIT_LIBEXEC. Caller frees. */
char *process_sibling(const char *name);

/* Descriptors over a unix socket: one message of at least a byte with up to 4 descriptors. */
int fd_send(int socket, const void *data, size_t n, const int *fds, unsigned fd_count,
	    struct err *e);
/* Bytes received (0: closed), descriptors in fds (room for 4; close-on-exec), *fd_count set. */
int fd_receive(int socket, void *data, size_t max, int *fds, unsigned *fd_count, struct err *e);

#endif
