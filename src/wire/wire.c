// SPDX-License-Identifier: Apache-2.0
#include "wire/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/le.h"
#include "base/limits.h"
#include "base/text.h"

/* Lists nest as deep as the shapes do, which are ours: welcome, work, base. */

static void *item_at(const struct field *f, const struct list *list, size_t i)
{
	return (char *)list->items + i * f->of->size;
}

static bool int_allowed(const struct field *f, int64_t v)
{
	return !f->max || (v >= 0 && (uint64_t)v <= f->max);
}

static int refuse_int(const struct shape *shape, const struct field *f, int64_t v, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s.%s must be from 0 to %" PRIu64 ", not %" PRId64,
		       shape->name, f->name, f->max, v);
}

static int refuse_size(const struct shape *shape, const struct field *f, uint64_t n, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s.%s has %" PRIu64 " %s; at most %" PRIu64 " are allowed",
		       shape->name, f->name, n, f->type == FIELD_LIST ? "items" : "bytes", f->max);
}

static int refuse_text(const struct shape *shape, const struct field *f, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s.%s is not UTF-8 text", shape->name, f->name);
}

static int check_field(const struct shape *shape, const struct field *f, void *object,
		       struct err *e)
{
	switch (f->type) {
	case FIELD_INT: {
		int64_t v = *field_int(f, object);
		return int_allowed(f, v) ? 0 : refuse_int(shape, f, v, e);
	}
	case FIELD_TEXT: {
		const char *text = *field_text(f, object);
		size_t n = text ? strlen(text) : 0;
		if (n > f->max)
			return refuse_size(shape, f, n, e);
		return utf8_valid(text ? text : "", n) == n ? 0 : refuse_text(shape, f, e);
	}
	case FIELD_BYTES: {
		size_t n = field_bytes(f, object)->len;
		return n <= f->max ? 0 : refuse_size(shape, f, n, e);
	}
	case FIELD_LIST: {
		const struct list *list = field_list(f, object);
		if (list->count > f->max)
			return refuse_size(shape, f, list->count, e);
		for (size_t i = 0; i < list->count; i++)
			if (wire_check(f->of, item_at(f, list, i), e) < 0)
				return -1;
		return 0;
	}
	}
	return 0;
}

int wire_check(const struct shape *shape, const void *object, struct err *e)
{
	for (size_t i = 0; i < shape->field_count; i++)
		if (check_field(shape, &shape->fields[i], (void *)object, e) < 0)
			return -1;
	return 0;
}

static void encode(const struct shape *shape, void *object, struct buf *out)
{
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: buf_add_le64(out, (uint64_t)*field_int(f, object)); break;
		case FIELD_TEXT: {
			const char *text = *field_text(f, object);
			buf_add_byte(out, text != NULL);
			if (text) {
				size_t n = strlen(text);
				buf_add_le32(out, (uint32_t)n);
				buf_add(out, text, n);
			}
			break;
		}
		case FIELD_BYTES: {
			const struct bytes *b = field_bytes(f, object);
			buf_add_le32(out, (uint32_t)b->len);
			buf_add(out, b->data, b->len);
			break;
		}
		case FIELD_LIST: {
			const struct list *list = field_list(f, object);
			buf_add_le32(out, (uint32_t)list->count);
			for (size_t k = 0; k < list->count; k++)
				encode(f->of, item_at(f, list, k), out);
			break;
		}
		}
	}
}

void wire_encode(const struct shape *shape, const void *object, struct buf *out)
{
	assert(wire_check(shape, object, NULL) == 0);
	encode(shape, (void *)object, out); /* only read */
}

void wire_frame_begin(struct buf *out)
{
	buf_add(out, (const uint8_t[FRAME_HEADER_BYTES]){0}, FRAME_HEADER_BYTES);
}

void wire_frame_end(struct buf *out, size_t start, uint16_t type)
{
	size_t body = out->len - start - FRAME_HEADER_BYTES;
	assert(body <= LIMIT_FRAME_BYTES);
	le32_put(out->data + start, (uint32_t)body + 2);
	le16_put(out->data + start + 4, type);
}

void wire_frame(uint16_t type, const struct shape *shape, const void *object, struct buf *out)
{
	size_t start = out->len;
	wire_frame_begin(out);
	wire_encode(shape, object, out);
	wire_frame_end(out, start, type);
}

/* What is left to decode. */
struct cursor {
	const uint8_t *at;
	size_t left;
};

static int take(struct cursor *c, size_t n, const uint8_t **out, const struct shape *shape,
		const struct field *f, struct err *e)
{
	if (c->left < n)
		return err_set(e, ERR_INVALID, "the message ends inside %s.%s", shape->name,
			       f->name);
	*out = c->at;
	c->at += n;
	c->left -= n;
	return 0;
}

/* A length or count, bounded by the field. */
static int take_size(struct cursor *c, uint32_t *out, const struct shape *shape,
		     const struct field *f, struct err *e)
{
	const uint8_t *p;
	if (take(c, 4, &p, shape, f, e) < 0)
		return -1;
	*out = le32_get(p);
	return *out <= f->max ? 0 : refuse_size(shape, f, *out, e);
}

static int decode(const struct shape *shape, struct cursor *c, void *object, struct err *e);

static int decode_text(const struct shape *shape, const struct field *f, struct cursor *c,
		       char **text, struct err *e)
{
	const uint8_t *p;
	uint32_t n;
	if (take(c, 1, &p, shape, f, e) < 0)
		return -1;
	if (*p > 1)
		return err_set(e, ERR_INVALID, "%s.%s is marked neither present nor absent",
			       shape->name, f->name);
	if (*p == 0)
		return 0;
	if (take_size(c, &n, shape, f, e) < 0 || take(c, n, &p, shape, f, e) < 0)
		return -1;
	if (memchr(p, '\0', n) || utf8_valid((const char *)p, n) != n)
		return refuse_text(shape, f, e);
	*text = xstrndup((const char *)p, n);
	return 0;
}

static int decode_field(const struct shape *shape, const struct field *f, struct cursor *c,
			void *object, struct err *e)
{
	const uint8_t *p;
	uint32_t n;
	switch (f->type) {
	case FIELD_INT: {
		if (take(c, 8, &p, shape, f, e) < 0)
			return -1;
		int64_t v = (int64_t)le64_get(p);
		*field_int(f, object) = v;
		return int_allowed(f, v) ? 0 : refuse_int(shape, f, v, e);
	}
	case FIELD_TEXT: return decode_text(shape, f, c, field_text(f, object), e);
	case FIELD_BYTES:
		if (take_size(c, &n, shape, f, e) < 0 || take(c, n, &p, shape, f, e) < 0)
			return -1;
		bytes_set(field_bytes(f, object), p, n);
		return 0;
	case FIELD_LIST:
		if (take_size(c, &n, shape, f, e) < 0)
			return -1;
		/* The list grows with what was really sent, not by the count that was promised. */
		for (uint32_t i = 0; i < n; i++)
			if (decode(f->of, c, list_push(field_list(f, object), f->of->size), e) < 0)
				return -1;
		return 0;
	}
	return 0;
}

static int decode(const struct shape *shape, struct cursor *c, void *object, struct err *e)
{
	for (size_t i = 0; i < shape->field_count; i++)
		if (decode_field(shape, &shape->fields[i], c, object, e) < 0)
			return -1;
	return 0;
}

int wire_decode(const struct shape *shape, const uint8_t *data, size_t n, void *object,
		struct err *e)
{
	struct cursor c = {data, n};
	if (shape->size)
		memset(object, 0, shape->size);
	if (n > LIMIT_FRAME_BYTES)
		return err_set(e, ERR_INVALID, "%s of %zu bytes; at most %llu are allowed",
			       shape->name, n, LIMIT_FRAME_BYTES);
	if (decode(shape, &c, object, e) == 0) {
		if (c.left == 0)
			return 0;
		err_set(e, ERR_INVALID, "%s is followed by %zu bytes that belong to nothing",
			shape->name, c.left);
	}
	if (shape->size)
		shape_release(shape, object);
	return -1;
}

int wire_frame_header(const uint8_t header[FRAME_HEADER_BYTES], uint32_t *body_len, uint16_t *type,
		      struct err *e)
{
	uint32_t length = le32_get(header);
	if (length < 2 || length - 2 > LIMIT_FRAME_BYTES)
		return err_set(e, ERR_INVALID,
			       "a frame of %" PRIu32 " bytes; from 2 to %llu are allowed", length,
			       LIMIT_FRAME_BYTES + 2);
	*body_len = length - 2;
	*type = le16_get(header + 4);
	return 0;
}
