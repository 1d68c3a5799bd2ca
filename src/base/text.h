// SPDX-License-Identifier: Apache-2.0
/* Small text helpers: hexadecimal, numbers with checked ranges, identifiers, sizes for people. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ID_BYTES 64 /* room for any identifier of ours with its NUL */

void hex_encode(const uint8_t *data, size_t n, char *out); /* out: 2n + 1 */
bool hex_decode(const char *text, size_t n, uint8_t *out); /* exactly 2n digits, either case */

/* Decimal in [min, max]; anything else is ERR_INVALID naming `what` and the range. */
int number_parse(const char *what, const char *text, int64_t min, int64_t max, int64_t *out,
		 struct err *e);

/* A size with an optional suffix K, M, G or T (powers of 1024). */
int size_parse(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	       struct err *e);

/* "1.5 GiB"; out has at least 24 bytes. */
void size_text(uint64_t bytes, char *out);
/* "2 h 05 min", "48 s"; out has at least 24 bytes. */
void duration_text(int64_t ms, char *out);

/* `prefix` followed by `digits` random lower-case hexadecimal digits (spec/sms.md §1.10). */
void id_make(char out[ID_BYTES], const char *prefix, unsigned digits);

/* 32 random bytes as 64 digits: secrets, tokens. out: 65 bytes. */
void secret_make(char out[65]);

/* Fill with random bytes from the kernel. */
void random_bytes(void *out, size_t n);

bool text_equal(const char *a, const char *b); /* NULL equals NULL only */
bool text_starts(const char *text, const char *prefix);

/* Length of the valid UTF-8 prefix of the text. */
size_t utf8_valid(const char *text, size_t n);

#endif
