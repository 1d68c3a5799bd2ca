// SPDX-License-Identifier: Apache-2.0
/*
 * Memory: allocation that cannot fail (it ends the program with one line; every size that comes
 * from outside was bounded by limits.h first), byte buffers, and growing arrays.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xreallocarray(void *p, size_t count, size_t bytes);
char *xstrdup(const char *s); /* NULL stays NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Make room for one more in `items`, a heap array of `count` with room for `cap`. */
#define VEC_GROW(items, count, cap)                                                                \
	do {                                                                                       \
		if ((count) == (cap)) {                                                            \
			(cap) = (cap) ? (cap)*2 : 8;                                               \
			(items) = xreallocarray((items), (cap), sizeof *(items));                  \
		}                                                                                  \
	} while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* A byte buffer that grows. All zero is a valid empty one. `data` always has a NUL after `len`
 * once anything was appended, so that text in it can be used as a string. */
struct buf {
	uint8_t *data;
	size_t len, cap;
};

void buf_release(struct buf *b);	      /* frees, leaves it empty */
void buf_clear(struct buf *b);		      /* empties, keeps the memory */
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_add_str(struct buf *b, const char *s);
void buf_add_byte(struct buf *b, uint8_t byte);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *buf_str(const struct buf *b); /* "" for an empty one; owned by b */
char *buf_detach_str(struct buf *b);	  /* the caller frees; b is empty after */

#endif
