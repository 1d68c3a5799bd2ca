// SPDX-License-Identifier: Apache-2.0
/* Helpers of serving and exporting; seen only inside image/. */
#ifndef IMAGE_SERVE_H
#define IMAGE_SERVE_H

#include "base/err.h"
#include "io/process.h"

/* "nbd+unix:///EXPORT?socket=PATH" with what a URI reserves escaped; the caller frees. */
char *serve_uri(const char *socket_path, const char *export_name);

/* Start a server that listens on the socket (made private, mode 0600); returns when it greets.
 * `name` is for sentences. What a server that died left at the path goes. */
int serve_start(const struct process_plan *plan, const char *name, const char *socket_path,
		pid_t *pid, struct err *e);

/* The last line of a log file, for an error's sentence; "" when there is none. */
void serve_last_line(const char *log_file, char *out, size_t size);

#endif
