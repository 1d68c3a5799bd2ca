// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void hex_encode(const uint8_t *data, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, size_t n, uint8_t *out)
{
	for (size_t i = 0; i < n; i++) {
		int high = hex_value(text[2 * i]);
		int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return text[2 * n] == '\0';
}

int number_parse(const char *what, const char *text, int64_t min, int64_t max, int64_t *out,
		 struct err *e)
{
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	if (end == text || *end || errno || v < min || v > max || text[0] == ' ')
		return err_set(e, ERR_INVALID,
			       "%s must be a whole number from %" PRId64 " to %" PRId64
			       ", not '%.64s'",
			       what, min, max, text);
	*out = v;
	return 0;
}

int size_parse(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	       struct err *e)
{
	char *end;
	errno = 0;
	unsigned long long v = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
	bool ok = text[0] >= '0' && text[0] <= '9' && !errno;
	unsigned shift = 0;
	if (ok && *end) {
		const char *suffix = strchr("KMGT", *end);
		ok = suffix && end[1] == '\0';
		shift = ok ? 10 * (unsigned)(suffix - "KMGT" + 1) : 0;
	}
	if (ok && shift && v > UINT64_MAX >> shift)
		ok = false;
	v <<= shift;
	if (!ok || v < min || v > max) {
		char low[24], high[24];
		size_text(min, low);
		size_text(max, high);
		return err_set(e, ERR_INVALID,
			       "%s must be a size from %s to %s, such as 512M or 10G, not '%.64s'",
			       what, low, high, text);
	}
	*out = v;
	return 0;
}

void size_text(uint64_t bytes, char *out)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	unsigned u = 0;
	while (v >= 1024 && u < 6) {
		v /= 1024;
		u++;
	}
	snprintf(out, 24, u && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void duration_text(int64_t ms, char *out)
{
	int64_t s = (ms + 500) / 1000;
	if (ms < 0)
		snprintf(out, 24, "unknown");
	else if (ms < 10000)
		snprintf(out, 24, "%.1f s", (double)ms / 1000);
	else if (s < 120)
		snprintf(out, 24, "%" PRId64 " s", s);
	else if (s < 7200)
		snprintf(out, 24, "%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
	else
		snprintf(out, 24, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
}

void random_bytes(void *out, size_t n)
{
	uint8_t *p = out;
	while (n) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			abort(); /* without randomness no secret of ours is one */
		}
		p += got;
		n -= (size_t)got;
	}
}

void id_make(char out[ID_BYTES], const char *prefix, unsigned digits)
{
	uint8_t raw[16];
	char hex[33];
	random_bytes(raw, sizeof raw);
	hex_encode(raw, sizeof raw, hex);
	snprintf(out, ID_BYTES, "%s%.*s", prefix, (int)digits, hex);
}

void secret_make(char out[65])
{
	uint8_t raw[32];
	random_bytes(raw, sizeof raw);
	hex_encode(raw, sizeof raw, out);
}

bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool text_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

size_t utf8_valid(const char *text, size_t n)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t i = 0;
	while (i < n) {
		unsigned more = p[i] < 0x80		      ? 0
				: p[i] >= 0xc2 && p[i] < 0xe0 ? 1
				: (p[i] & 0xf0) == 0xe0	      ? 2
				: p[i] >= 0xf0 && p[i] < 0xf5 ? 3
							      : 9;
		if (more == 9 || i + more >= n)
			return i;
		uint32_t code = more == 0 ? p[i] : p[i] & (0x3fu >> more);
		for (unsigned k = 1; k <= more; k++) {
			if ((p[i + k] & 0xc0) != 0x80)
				return i;
			code = code << 6 | (p[i + k] & 0x3fu);
		}
		if ((more == 2 && code < 0x800) || (more == 3 && code < 0x10000) ||
		    (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
			return i;
		i += more + 1;
	}
	return i;
}
