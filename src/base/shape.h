// SPDX-License-Identifier: Apache-2.0
/*
 * Shapes: a plain C struct described as data, so that rows of the database, messages between our
 * programs and their tests are encoded, copied, compared and freed by one piece of code each.
 *
 * A struct with a shape owns what its fields point to; all zero is its empty value.
 */
#ifndef BASE_SHAPE_H
#define BASE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
	FIELD_INT,   /* int64_t */
	FIELD_TEXT,  /* char *, NUL-terminated UTF-8 on the heap, or NULL for "absent" */
	FIELD_BYTES, /* struct bytes */
	FIELD_LIST,  /* struct list of structs of shape `of` */
};

struct bytes {
	uint8_t *data; /* heap */
	size_t len;
};

struct list {
	void *items; /* heap array of `count` structs */
	size_t count;
};

struct shape;

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	uint64_t
	    max; /* TEXT, BYTES: bytes; LIST: items; INT: 0 is any, else largest value (>= 0) */
	const struct shape *of; /* LIST */
};

struct shape {
	const char *name;
	size_t size;
	const struct field *fields;
	size_t field_count;
};

#define SHAPE(struct_name, field_array)                                                            \
	{                                                                                          \
		.name = #struct_name, .size = sizeof(struct struct_name), .fields = (field_array), \
		.field_count = sizeof(field_array) / sizeof *(field_array)                         \
	}
#define FIELD_INT_OF(s, member, largest)                                                           \
	{                                                                                          \
#member, FIELD_INT, offsetof(struct s, member), (largest), NULL                    \
	}
#define FIELD_TEXT_OF(s, member, bytes)                                                            \
	{                                                                                          \
#member, FIELD_TEXT, offsetof(struct s, member), (bytes), NULL                     \
	}
#define FIELD_BYTES_OF(s, member, bytes)                                                           \
	{                                                                                          \
#member, FIELD_BYTES, offsetof(struct s, member), (bytes), NULL                    \
	}
#define FIELD_LIST_OF(s, member, items, shape)                                                     \
	{                                                                                          \
#member, FIELD_LIST, offsetof(struct s, member), (items), (shape)                  \
	}

/* Access to a field of an object. */
int64_t *field_int(const struct field *f, void *object);
char **field_text(const struct field *f, void *object);
struct bytes *field_bytes(const struct field *f, void *object);
struct list *field_list(const struct field *f, void *object);

void shape_release(const struct shape *shape, void *object); /* frees fields, zeroes the object */
void shape_copy(const struct shape *shape, void *to, const void *from); /* `to` is overwritten */
bool shape_equal(const struct shape *shape, const void *a, const void *b);

/* Set an owned text field: frees the old one, copies the new one (NULL clears). */
void text_set(char **field, const char *value);
void text_setf(char **field, const char *format, ...) __attribute__((format(printf, 2, 3)));
void bytes_set(struct bytes *field, const void *data, size_t len);
/* Append a zeroed item of `size` bytes and return it (valid until the next push). */
void *list_push(struct list *list, size_t size);

#endif
