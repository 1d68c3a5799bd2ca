// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_words[] = {
    [ERR_NONE] = "none",       [ERR_INVALID] = "invalid",   [ERR_NOT_FOUND] = "not found",
    [ERR_DENIED] = "denied",   [ERR_CONFLICT] = "conflict", [ERR_FULL] = "full",
    [ERR_CORRUPT] = "corrupt", [ERR_BUSY] = "busy",	    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_IO] = "io",
};

static enum err_kind kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return ERR_FULL;
	case ENOENT:
	case ENODEV:
	case ENXIO: return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS: return ERR_DENIED;
	case EEXIST: return ERR_CONFLICT;
	case EINVAL:
	case ENAMETOOLONG: return ERR_INVALID;
	case EBUSY:
	case EAGAIN: return ERR_BUSY;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ETIMEDOUT: return ERR_UNAVAILABLE;
	default: return ERR_IO;
	}
}

int err_set(struct err *e, enum err_kind kind, const char *format, ...)
{
	if (!e)
		return -1;
	/* The old sentence may be an argument of the new one, so build aside. */
	char text[sizeof e->text];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	memcpy(e->text, text, sizeof text);
	e->kind = kind;
	return -1;
}

int err_errno(struct err *e, int errnum, const char *format, ...)
{
	if (!e)
		return -1;
	char text[sizeof e->text];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof text)
		snprintf(text + n, sizeof text - (size_t)n, ": %s", strerror(errnum));
	memcpy(e->text, text, sizeof text);
	e->kind = kind_of_errno(errnum);
	return -1;
}

int err_prefix(struct err *e, const char *format, ...)
{
	if (!e)
		return -1;
	char text[2 * sizeof e->text];
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof text)
		snprintf(text + n, sizeof text - (size_t)n, ": %s", e->text);
	memcpy(e->text, text, sizeof e->text);
	e->text[sizeof e->text - 1] = '\0';
	return -1;
}

const char *err_kind_word(enum err_kind kind)
{
	if ((unsigned)kind >= sizeof kind_words / sizeof *kind_words)
		return "io";
	return kind_words[kind];
}

enum err_kind err_kind_from_word(const char *word)
{
	for (unsigned i = 0; i < sizeof kind_words / sizeof *kind_words; i++)
		if (strcmp(word, kind_words[i]) == 0)
			return (enum err_kind)i;
	return ERR_IO;
}
