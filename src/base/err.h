// SPDX-License-Identifier: Apache-2.0
/*
 * Errors: a kind the caller acts on, and one sentence for the person who must fix it.
 *
 * A function that can fail takes `struct err *e` last and returns 0 or a count, or -1 with `e`
 * filled. The sentence reaches the API, the command line and the console unchanged, so it names the
 * thing and, where there is one, the cure. Libraries never print; whoever handles an error logs it,
 * once. `e` may be NULL where the caller does not care why.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

enum err_kind {
	ERR_NONE,
	ERR_INVALID,	 /* the request or the data is wrong; asking again will not help */
	ERR_NOT_FOUND,	 /* the named thing does not exist */
	ERR_DENIED,	 /* exists, but not for this caller */
	ERR_CONFLICT,	 /* the state of the thing forbids it now */
	ERR_FULL,	 /* no space or a quota reached; resumes by itself when there is room */
	ERR_CORRUPT,	 /* bytes are not what their name or checksum says */
	ERR_BUSY,	 /* in use; try again soon */
	ERR_UNAVAILABLE, /* a peer cannot be reached; try again later */
	ERR_IO,		 /* the operating system refused */
};

struct err {
	enum err_kind kind;
	char text[512];
};

/* Fill `e` (cutting the sentence at its size) and return -1, so that a failure is one statement. */
int err_set(struct err *e, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like err_set, from an errno value: the kind follows the number (ENOSPC is FULL, ENOENT is
 * NOT_FOUND, EACCES is DENIED, …) and ": <strerror>" is appended. */
int err_errno(struct err *e, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "<prefix>: " before the sentence already in `e`; keeps the kind; returns -1. */
int err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The kind as a word of the wire and the logs: "invalid", "not found", … */
const char *err_kind_word(enum err_kind kind);

/* The kind for a word, ERR_IO for an unknown one. */
enum err_kind err_kind_from_word(const char *word);

#endif
