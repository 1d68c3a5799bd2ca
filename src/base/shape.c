// SPDX-License-Identifier: Apache-2.0
#include "base/shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

static void *at(const struct field *f, void *object)
{
	return (char *)object + f->offset;
}

int64_t *field_int(const struct field *f, void *object)
{
	return at(f, object);
}

char **field_text(const struct field *f, void *object)
{
	return at(f, object);
}

struct bytes *field_bytes(const struct field *f, void *object)
{
	return at(f, object);
}

struct list *field_list(const struct field *f, void *object)
{
	return at(f, object);
}

static void *list_item(const struct list *list, const struct shape *of, size_t i)
{
	return (char *)list->items + i * of->size;
}

void shape_release(const struct shape *shape, void *object)
{
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: break;
		case FIELD_TEXT: free(*field_text(f, object)); break;
		case FIELD_BYTES: free(field_bytes(f, object)->data); break;
		case FIELD_LIST: {
			struct list *list = field_list(f, object);
			for (size_t k = 0; k < list->count; k++)
				shape_release(f->of, list_item(list, f->of, k));
			free(list->items);
			break;
		}
		}
	}
	memset(object, 0, shape->size);
}

void shape_copy(const struct shape *shape, void *to, const void *from)
{
	void *source = (void *)from; /* only read */
	memset(to, 0, shape->size);
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: *field_int(f, to) = *field_int(f, source); break;
		case FIELD_TEXT: *field_text(f, to) = xstrdup(*field_text(f, source)); break;
		case FIELD_BYTES: {
			const struct bytes *b = field_bytes(f, source);
			bytes_set(field_bytes(f, to), b->data, b->len);
			break;
		}
		case FIELD_LIST: {
			const struct list *old = field_list(f, source);
			struct list *new = field_list(f, to);
			for (size_t k = 0; k < old->count; k++)
				shape_copy(f->of, list_push(new, f->of->size),
					   list_item(old, f->of, k));
			break;
		}
		}
	}
}

bool shape_equal(const struct shape *shape, const void *a, const void *b)
{
	void *x = (void *)a, *y = (void *)b; /* only read */
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT:
			if (*field_int(f, x) != *field_int(f, y))
				return false;
			break;
		case FIELD_TEXT:
			if (!text_equal(*field_text(f, x), *field_text(f, y)))
				return false;
			break;
		case FIELD_BYTES: {
			const struct bytes *m = field_bytes(f, x), *n = field_bytes(f, y);
			if (m->len != n->len || (m->len && memcmp(m->data, n->data, m->len)))
				return false;
			break;
		}
		case FIELD_LIST: {
			const struct list *m = field_list(f, x), *n = field_list(f, y);
			if (m->count != n->count)
				return false;
			for (size_t k = 0; k < m->count; k++)
				if (!shape_equal(f->of, list_item(m, f->of, k),
						 list_item(n, f->of, k)))
					return false;
			break;
		}
		}
	}
	return true;
}

void text_set(char **field, const char *value)
{
	char *copy = xstrdup(value); /* value may be the old one */
	free(*field);
	*field = copy;
}

void text_setf(char **field, const char *format, ...)
{
	char *text;
	va_list ap;
	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort();
	va_end(ap);
	free(*field);
	*field = text;
}

void bytes_set(struct bytes *field, const void *data, size_t len)
{
	uint8_t *copy = NULL;
	if (len) {
		copy = xmalloc(len);
		memcpy(copy, data, len);
	}
	free(field->data);
	field->data = copy;
	field->len = len;
}

void *list_push(struct list *list, size_t size)
{
	/* Grow at powers of two, so that `count` alone says how much room there is. */
	if ((list->count & (list->count - 1)) == 0)
		list->items = xreallocarray(list->items, list->count ? list->count * 2 : 1, size);
	void *item = (char *)list->items + list->count++ * size;
	memset(item, 0, size);
	return item;
}
