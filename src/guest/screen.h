// SPDX-License-Identifier: Apache-2.0
/* The screen of a guest as text. */
#ifndef GUEST_SCREEN_H
#define GUEST_SCREEN_H

#include <stdbool.h>

#include "base/mem.h"
#include "base/err.h"

/* Prepare a picture for reading: binary PPM in, binary PGM out, dark letters on white, scaled up as
 * far as it takes to make a text console's letters large. False when it is no such picture or shows
 * nothing (one colour). Bounded, for what a guest displays. */
bool screen_prepare(const struct buf *ppm, struct buf *pgm);

/* Read the picture in `ppm_path` with tesseract; text appended (nothing for an empty screen).
 * `scratch_dir` takes the prepared picture. */
int screen_read(const char *ppm_path, const char *scratch_dir, struct buf *text, struct err *e);

#endif
