// SPDX-License-Identifier: Apache-2.0
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p)
{
	if (!p) {
		fputs("godwit: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *xmalloc(size_t bytes)
{
	return checked(malloc(bytes ? bytes : 1));
}

void *xcalloc(size_t count, size_t bytes)
{
	return checked(calloc(count ? count : 1, bytes ? bytes : 1));
}

void *xreallocarray(void *p, size_t count, size_t bytes)
{
	return checked(reallocarray(p, count ? count : 1, bytes ? bytes : 1));
}

char *xstrdup(const char *s)
{
	return s ? checked(strdup(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	return checked(strndup(s, n));
}

static char *vasprintf_checked(const char *format, va_list ap)
{
	char *text;
	if (vasprintf(&text, format, ap) < 0)
		checked(NULL);
	return text;
}

char *xasprintf(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	char *text = vasprintf_checked(format, ap);
	va_end(ap);
	return text;
}

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buf_reserve(struct buf *b, size_t more)
{
	size_t need = b->len + more + 1;
	if (need <= b->cap)
		return;
	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap *= 2;
	b->data = xreallocarray(b->data, cap, 1);
	b->cap = cap;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
	buf_reserve(b, n);
	if (n)
		memcpy(b->data + b->len, data, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_byte(struct buf *b, uint8_t byte)
{
	buf_add(b, &byte, 1);
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	char *text = vasprintf_checked(format, ap);
	va_end(ap);
	buf_add_str(b, text);
	free(text);
}

const char *buf_str(const struct buf *b)
{
	return b->data ? (const char *)b->data : "";
}

char *buf_detach_str(struct buf *b)
{
	char *s = b->data ? (char *)b->data : xstrdup("");
	*b = (struct buf){0};
	return s;
}
