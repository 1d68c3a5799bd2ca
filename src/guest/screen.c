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
#define PICTURE_MAX_BYTES  (200 * MIB)
#define SCALED_FROM_HEIGHT 900 /* a screen this high has letters large enough */
#define SCALE		   3
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

bool screen_prepare(const struct buf *ppm, struct buf *pgm)
{
	unsigned width, height, depth, scale;
	size_t at = 2, pixels;
	uint8_t low, high, *grey;
	uint64_t sum;
	bool dark;

	if (ppm->len < 2 || memcmp(ppm->data, "P6", 2) != 0 || !header_number(ppm, &at, &width) ||
	    !header_number(ppm, &at, &height) || !header_number(ppm, &at, &depth) || depth != 255)
		return false;
	at++; /* one blank ends the header */
	pixels = (size_t)width * height;
	if (at > ppm->len || pixels > (ppm->len - at) / 3)
		return false;
	grey = xmalloc(pixels);
	to_grey(ppm->data + at, pixels, grey, &low, &high, &sum);
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

int screen_read(const char *ppm_path, const char *scratch_dir, struct buf *text, struct err *e)
{
	static const char *const env[] = {"OMP_THREAD_LIMIT=1", NULL};
	char *pgm_path = xasprintf("%s/screen.pgm", scratch_dir);
	const char *const argv[] = {"tesseract", pgm_path, "-", "--psm", "6", NULL};
	struct process_plan plan = {.argv = argv, .env = env};
	struct buf ppm = {0}, pgm = {0};
	int result = file_read(ppm_path, PICTURE_MAX_BYTES, &ppm, e);

	if (result == 0 && screen_prepare(&ppm, &pgm)) {
		result = file_write(pgm_path, pgm.data, pgm.len, 0600, e);
		if (result == 0)
			result = process_run(&plan, OCR_TIMEOUT_MS, TEXT_MAX_BYTES, text, e);
	}
	buf_release(&pgm);
	buf_release(&ppm);
	free(pgm_path);
	return result;
}
