// SPDX-License-Identifier: Apache-2.0
/* The line that tells how far something long is. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "prog/godwit_local.h"

#define DRAW_MS 250

void meter_line(uint64_t done, uint64_t total, int64_t passed_ms, char *out, size_t size)
{
	char part[24], whole[24], rate[24], left[24];
	double each_ms = passed_ms > 0 ? (double)done / (double)passed_ms : 0;
	int n;

	size_text(done, part);
	size_text(total, whole);
	n = snprintf(out, size, "%.0f%%, %s of %s",
		     total ? 100.0 * (double)done / (double)total : 100.0, part, whole);
	if (each_ms <= 0 || done >= total || n < 0 || (size_t)n >= size)
		return;
	size_text((uint64_t)(each_ms * 1000), rate);
	duration_text((int64_t)((double)(total - done) / each_ms), left);
	snprintf(out + n, size - (size_t)n, ", %s/s, %s left", rate, left);
}

void meter_show(void *meter, uint64_t done, uint64_t total)
{
	struct meter *m = meter;
	int64_t now = clock_mono_ms();
	char line[160];

	if (!m->began_ms)
		m->began_ms = now;
	if (m->quiet || now - m->drawn_ms < DRAW_MS || !isatty(STDOUT_FILENO))
		return;
	m->drawn_ms = now;
	meter_line(done, total, now - m->began_ms, line, sizeof line);
	printf("\r\x1b[K%s", line);
	fflush(stdout);
}

void meter_end(struct meter *m)
{
	if (m->drawn_ms)
		fputs("\r\x1b[K", stdout);
	fflush(stdout);
}
