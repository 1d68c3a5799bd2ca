// SPDX-License-Identifier: Apache-2.0
#include "guest/screen.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "io/file.h"
#include "io/process.h"

#define PICTURE_MAX_SIDE   8192
#define SCALED_FROM_HEIGHT 900 /* a screen this high has letters large enough */
#define SCALE		   3
#define CURSOR_WIDTH	   16
#define CURSOR_HEIGHT	   32
#define TEXT_MAX_BYTES	   (1 * MIB)
#define OCR_TIMEOUT_MS	   60000

/* A number of the header, after blanks and comments. */
static bool header_number(const struct buf *in, size_t *at, unsigned *out)
{
	unsigned value = 0;

	while (*at < in->len && (isspace(in->data[*at]) || in->data[*at] == '#')) {
		if (in->data[*at] == '#')
			while (*at < in->len && in->data[*at] != '\n')
				(*at)++;
		else
			(*at)++;
	}
	if (*at >= in->len || !isdigit(in->data[*at]))
		return false;
	while (*at < in->len && isdigit(in->data[*at]) && value <= PICTURE_MAX_SIDE)
		value = value * 10 + in->data[(*at)++] - '0';
	*out = value;
	return value > 0 && value <= PICTURE_MAX_SIDE;
}

/* Luminance as in ITU-R BT.601, in place of the picture's first third; and its range. */
static void to_grey(const uint8_t *rgb, size_t pixels, uint8_t *grey, uint8_t *low, uint8_t *high,
		    uint64_t *sum)
{
	*low = 255;
	*high = 0;
	*sum = 0;
	for (size_t i = 0; i < pixels; i++, rgb += 3) {
		uint8_t g = (uint8_t)((rgb[0] * 299u + rgb[1] * 587u + rgb[2] * 114u) / 1000u);

		grey[i] = g;
		*low = g < *low ? g : *low;
		*high = g > *high ? g : *high;
		*sum += g;
	}
}

struct picture {
	unsigned width, height;
	const uint8_t *rgb;
};

static bool parse(const struct buf *ppm, struct picture *p)
{
	unsigned depth;
	size_t at = 2;

	if (ppm->len < 2 || memcmp(ppm->data, "P6", 2) != 0 ||
	    !header_number(ppm, &at, &p->width) || !header_number(ppm, &at, &p->height) ||
	    !header_number(ppm, &at, &depth) || depth != 255)
		return false;
	at++; /* one blank ends the header */
	if (at > ppm->len || (size_t)p->width * p->height > (ppm->len - at) / 3)
		return false;
	p->rgb = ppm->data + at;
	return true;
}

bool screen_moved(const struct buf *before, const struct buf *now)
{
	struct picture a, b;
	unsigned left = PICTURE_MAX_SIDE, right = 0, top = PICTURE_MAX_SIDE, bottom = 0;

	if (!parse(before, &a) || !parse(now, &b) || a.width != b.width || a.height != b.height)
		return true;
	for (unsigned y = 0; y < a.height; y++) {
		size_t row = (size_t)y * a.width * 3;

		if (memcmp(a.rgb + row, b.rgb + row, (size_t)a.width * 3) == 0)
			continue;
		top = y < top ? y : top;
		bottom = y;
		for (unsigned x = 0; x < a.width; x++) {
			if (memcmp(a.rgb + row + x * 3, b.rgb + row + x * 3, 3) != 0) {
				left = x < left ? x : left;
				right = x > right ? x : right;
			}
		}
	}
	return top <= bottom && (right - left >= CURSOR_WIDTH || bottom - top >= CURSOR_HEIGHT);
}

bool screen_prepare(const struct buf *ppm, struct buf *pgm)
{
	struct picture picture;
	unsigned width, height, scale;
	size_t pixels;
	uint8_t low, high, *grey;
	uint64_t sum;
	bool dark;

	if (!parse(ppm, &picture))
		return false;
	width = picture.width;
	height = picture.height;
	pixels = (size_t)width * height;
	grey = xmalloc(pixels);
	to_grey(picture.rgb, pixels, grey, &low, &high, &sum);
	if (high - low < 32) {
		free(grey);
		return false;
	}
	dark = sum / pixels < (uint64_t)(low + high) / 2;
	for (size_t i = 0; i < pixels; i++) {
		unsigned stretched = (grey[i] - low) * 255u / (unsigned)(high - low);

		grey[i] = (uint8_t)(dark ? 255 - stretched : stretched);
	}
	scale = height < SCALED_FROM_HEIGHT ? SCALE : 1;
	buf_printf(pgm, "P5\n%u %u\n255\n", width * scale, height * scale);
	buf_reserve(pgm, pixels * scale * scale);
	for (size_t y = 0; y < (size_t)height * scale; y++) {
		const uint8_t *row = grey + y / scale * width;
		uint8_t *to = pgm->data + pgm->len;

		for (size_t x = 0; x < (size_t)width * scale; x++)
			to[x] = row[x / scale];
		pgm->len += (size_t)width * scale;
	}
	pgm->data[pgm->len] = 0;
	free(grey);
	return true;
}

int screen_read(const struct buf *ppm, const char *scratch_dir, struct buf *text, struct err *e)
{
	static const char *const env[] = {"OMP_THREAD_LIMIT=1", NULL};
	char *pgm_path = xasprintf("%s/screen.pgm", scratch_dir);
	const char *const argv[] = {"tesseract", pgm_path, "-", "--psm", "6", NULL};
	struct process_plan plan = {.argv = argv, .env = env};
	struct buf pgm = {0};
	int result = 0;

	if (screen_prepare(ppm, &pgm)) {
		result = file_write(pgm_path, pgm.data, pgm.len, 0600, e);
		if (result == 0)
			result = process_run(&plan, OCR_TIMEOUT_MS, TEXT_MAX_BYTES, text, e);
	}
	buf_release(&pgm);
	free(pgm_path);
	return result;
}
