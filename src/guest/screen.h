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

/* Whether two pictures (binary PPM) differ by more than a blinking text cursor. */
bool screen_moved(const struct buf *before, const struct buf *now);

/* Read the picture with tesseract; text appended (nothing for an empty screen). `scratch_dir` takes
 * the prepared picture. */
int screen_read(const struct buf *ppm, const char *scratch_dir, struct buf *text, struct err *e);

#endif
