// SPDX-License-Identifier: Apache-2.0
/*
 * Messages between our programs as bytes: a frame is u32 length of what follows, u16 type, body;
 * a body is the fields of the type's shape in order, little-endian: INT as i64, TEXT as u8 0 when
 * absent, else u8 1 + u32 length + bytes, BYTES as u32 length + bytes, LIST as u32 count + items.
 * Decoding is strict: every length is bounded by the shape before anything is allocated, text must
 * be UTF-8 without NUL, and bytes left over are an error. Pure functions; protocol: man/godwit-door.7.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "base/err.h"
#include "base/mem.h"
#include "base/shape.h"

#define FRAME_HEADER_BYTES 6

/* Is the object within its shape's bounds, and its text UTF-8? ERR_INVALID names the field. For
 * what came from outside and is about to be encoded. */
int wire_check(const struct shape *shape, const void *object, struct err *e);

/* Append the body alone / a whole frame. Asserts that the object is within its shape's bounds. */
void wire_encode(const struct shape *shape, const void *object, struct buf *out);
void wire_frame(uint16_t type, const struct shape *shape, const void *object, struct buf *out);
/* A frame whose body the caller appends in between, and which may turn out too long: room for the
 * header, and the header of the frame that begins at `start`. Asserts its length. */
void wire_frame_begin(struct buf *out);
void wire_frame_end(struct buf *out, size_t start, uint16_t type);

/* Fill `object` (overwritten; released again on failure) from exactly `n` bytes. ERR_INVALID. */
int wire_decode(const struct shape *shape, const uint8_t *data, size_t n, void *object,
		struct err *e);

/* Read the header of a frame: the length of its body and type. ERR_INVALID over LIMIT_FRAME_BYTES. */
int wire_frame_header(const uint8_t header[FRAME_HEADER_BYTES], uint32_t *body_len, uint16_t *type,
		      struct err *e);

#endif
