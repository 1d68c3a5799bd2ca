// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static const char *log_program = "godwit";
static enum log_level log_max = LOG_LEVEL_INFO;

static const char *const level_words[] = {"error", "warn", "info", "debug"};

void log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_max = level;
	const char *asked = getenv("GODWIT_LOG");
	for (int i = 0; asked && i <= LOG_LEVEL_DEBUG; i++)
		if (strcmp(asked, level_words[i]) == 0)
			log_max = (enum log_level)i;
}

void log_at(enum log_level level, const char *format, ...)
{
	if (level > log_max)
		return;
	int saved = errno;
	char text[2048], line[4 * sizeof text];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	char stamp[CLOCK_TEXT_BYTES];
	clock_text(clock_now_ms(), stamp);
	size_t n = (size_t)snprintf(line, sizeof line, "%s %-5s %s: ", stamp, level_words[level],
				    log_program);
	for (const char *p = text; *p && n < sizeof line - 8; p++) {
		unsigned char c = (unsigned char)*p;
		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(line + n, sizeof line - n, "\\x%02x", c);
		else
			line[n++] = *p;
	}
	line[n++] = '\n';
	fwrite(line, 1, n, stderr); /* one write, so that programs sharing a log do not mix lines */
	errno = saved;
}
