// SPDX-License-Identifier: Apache-2.0
/* Control sequences after ECMA-48: CSI, the string sequences, and the two- and three-byte ones. */
#include "guest/judge.h"

#include <string.h>

#include "base/text.h"

#define ESC		   0x1b
#define BEL		   0x07
#define SEQUENCE_MAX_BYTES 256 /* a sequence that does not end hides no more than this */

/* Length of the control sequence at text[0] == ESC; *moves when it puts the cursor elsewhere. */
static size_t sequence_length(const uint8_t *text, size_t n, bool *moves)
{
	size_t end = n < SEQUENCE_MAX_BYTES ? n : SEQUENCE_MAX_BYTES;

	*moves = false;
	if (n < 2)
		return n;
	if (text[1] == '[') {
		for (size_t i = 2; i < end; i++) {
			if (text[i] >= 0x40 && text[i] <= 0x7e) {
				*moves = text[i] == 'H' || text[i] == 'f';
				return i + 1;
			}
			if (text[i] < 0x20 || text[i] > 0x7e)
				return i; /* not a sequence after all: what follows is text */
		}
		return end;
	}
	if (memchr("]P^_X", text[1], 5)) {
		for (size_t i = 2; i < end; i++) {
			if (text[i] == BEL)
				return i + 1;
			if (text[i] == '\n')
				return i;
			if (text[i] == ESC)
				return i + 1 < end && text[i + 1] == '\\' ? i + 2 : i;
		}
		return end;
	}
	if (text[1] >= 0x20 && text[1] <= 0x2f) /* "ESC ( B": an intermediate and a final byte */
		return n < 3 ? n : 3;
	return text[1] == ESC ? 1 : 2;
}

static void new_line(struct buf *out, size_t start)
{
	if (out->len > start && out->data[out->len - 1] != '\n')
		buf_add_byte(out, '\n');
}

static size_t utf8_length(uint8_t first)
{
	return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

void text_clean(const char *text, size_t n, size_t max, struct buf *out)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t start = out->len;

	for (size_t i = 0; i < n && out->len - start < max;) {
		bool moves = false;

		if (p[i] == ESC) {
			i += sequence_length(p + i, n - i, &moves);
			if (moves)
				new_line(out, start);
		} else if (p[i] == '\r') {
			while (i < n && p[i] == '\r')
				i++;
			if (i == n || p[i] != '\n')
				new_line(out, start);
		} else if (p[i] == '\n' || p[i] == '\t') {
			buf_add_byte(out, p[i++]);
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			i++;
		} else if (p[i] < 0x80) {
			buf_add_byte(out, p[i++]);
		} else {
			size_t want = p[i] < 0xc0 ? 1 : utf8_length(p[i]);
			size_t have = want < n - i ? want : n - i;

			if (have < 2 || utf8_valid(text + i, have) != have) {
				buf_add_byte(out, '?');
				i++;
			} else if (have == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0) {
				i += have; /* C1 controls: U+0080 to U+009F */
			} else if (out->len - start + have > max) {
				break;
			} else {
				buf_add(out, p + i, have);
				i += have;
			}
		}
	}
}
