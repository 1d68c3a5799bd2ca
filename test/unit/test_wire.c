// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "wire/door.h"
#include "wire/wire.h"

#define TYPES_END (DOOR_FINISHED + 20)

static uint64_t seed;

static uint64_t dice(uint64_t sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % sides;
}

static void fill_text(const struct field *f, char **text)
{
	static const char *const letters[] = {"a", "Z", " ", "\xc3\xa4", "\xe2\x82\xac", "\x1b"};
	struct buf b = {0};
	size_t n = dice(20);
	if (dice(4) == 0)
		return;
	buf_add_str(&b, "");
	while (b.len < n && b.len + 3 <= f->max)
		buf_add_str(&b, letters[dice(COUNT_OF(letters))]);
	*text = buf_detach_str(&b);
}

static int64_t fill_int(const struct field *f)
{
	if (!f->max)
		return dice(2) ? (int64_t)dice(UINT64_MAX) : -1;
	return dice(3) ? (int64_t)(dice(UINT64_MAX) % f->max) : (int64_t)f->max;
}

/* An object within its bounds, with what is rare in it. */
static void fill(const struct shape *shape, void *object)
{
	for (size_t i = 0; i < shape->field_count; i++) {
		const struct field *f = &shape->fields[i];
		switch (f->type) {
		case FIELD_INT: *field_int(f, object) = fill_int(f); break;
		case FIELD_TEXT: fill_text(f, field_text(f, object)); break;
		case FIELD_BYTES: {
			uint8_t raw[32];
			random_bytes(raw, sizeof raw);
			bytes_set(field_bytes(f, object), raw, dice(sizeof raw + 1));
			break;
		}
		case FIELD_LIST:
			for (size_t n = dice(4); n; n--)
				fill(f->of, list_push(field_list(f, object), f->of->size));
			break;
		}
	}
}

static void every_message_survives_the_wire(void **state)
{
	(void)state;
	unsigned known = 0;
	seed = 0x676f64776974;
	for (uint16_t type = 0; type < TYPES_END; type++) {
		const struct shape *shape = door_shape(type);
		if (!shape)
			continue;
		known++;
		assert_string_not_equal(door_word(type), "unknown");
		for (int round = 0; round < 20; round++) {
			struct buf body = {0};
			void *a = xcalloc(1, shape->size), *b = xcalloc(1, shape->size);
			fill(shape, a);
			wire_encode(shape, a, &body);
			assert_ok(wire_decode(shape, body.data, body.len, b, err));
			assert_true(shape_equal(shape, a, b));
			shape_release(shape, a);
			shape_release(shape, b);
			free(a);
			free(b);
			buf_release(&body);
		}
	}
	assert_int_equal(known, 31);
	assert_null(door_shape(0));
	assert_null(door_shape(UINT16_MAX));
	assert_string_equal(door_word(UINT16_MAX), "unknown");
}

static void a_message_cut_or_stretched_is_refused(void **state)
{
	(void)state;
	seed = 42;
	for (uint16_t type = 0; type < TYPES_END; type++) {
		const struct shape *shape = door_shape(type);
		struct buf body = {0};
		struct err e;
		if (!shape)
			continue;
		void *object = xcalloc(1, shape->size);
		fill(shape, object);
		wire_encode(shape, object, &body);
		shape_release(shape, object);
		for (size_t n = 0; n < body.len; n++) {
			uint8_t *cut = xmalloc(n); /* of this size, for the sanitizer */
			memcpy(cut, body.data, n);
			e.kind = ERR_NONE;
			assert_int_equal(wire_decode(shape, cut, n, object, &e), -1);
			assert_int_equal(e.kind, ERR_INVALID);
			free(cut);
		}
		buf_add_byte(&body, 0);
		assert_int_equal(wire_decode(shape, body.data, body.len, object, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		free(object);
		buf_release(&body);
	}
}

static void put_u32(struct buf *b, uint32_t v)
{
	uint8_t raw[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
	buf_add(b, raw, sizeof raw);
}

/* A body whose field `index` says to be one larger than it may be, and is. */
static void over_long_body(const struct shape *shape, size_t index, struct buf *body)
{
	const struct field *f = &shape->fields[index];
	struct shape before = *shape;
	void *object = xcalloc(1, shape->size);
	before.field_count = index;
	wire_encode(&before, object, body);
	free(object);
	if (f->type == FIELD_INT) {
		uint64_t v = f->max + 1;
		put_u32(body, (uint32_t)v);
		put_u32(body, (uint32_t)(v >> 32));
		return;
	}
	if (f->type == FIELD_TEXT)
		buf_add_byte(body, 1);
	put_u32(body, (uint32_t)f->max + 1);
	for (uint64_t i = 0; i <= f->max && f->type != FIELD_LIST; i++)
		buf_add_byte(body, 'x');
}

static void what_is_over_its_bound_is_refused(void **state)
{
	(void)state;
	unsigned tried = 0;
	for (uint16_t type = 0; type < TYPES_END; type++) {
		const struct shape *shape = door_shape(type);
		for (size_t i = 0; shape && i < shape->field_count; i++) {
			const struct field *f = &shape->fields[i];
			struct buf body = {0};
			struct err e = {0};
			if (!f->max)
				continue;
			void *object = xcalloc(1, shape->size);
			over_long_body(shape, i, &body);
			assert_int_equal(wire_decode(shape, body.data, body.len, object, &e), -1);
			assert_int_equal(e.kind, ERR_INVALID);
			assert_non_null(strstr(e.text, f->name));
			assert_null(strstr(e.text, "ends inside"));
			tried++;
			free(object);
			buf_release(&body);
		}
	}
	assert_true(tried > 80);
}

static void bad_text_is_refused(void **state)
{
	(void)state;
	static const char *const bodies[] = {
	    "\x01\x02\x00\x00\x00\xff\xfe", /* not UTF-8 */
	    "\x01\x02\x00\x00\x00\x61\x00", /* a NUL */
	    "\x01\x02\x00\x00\x00\xc0\xaf", /* over-long form */
	    "\x02\x02\x00\x00\x00\x61\x61", /* neither present nor absent */
	};
	struct door_fault fault;
	struct err e;
	for (unsigned i = 0; i < COUNT_OF(bodies); i++) {
		struct buf body = {0};
		buf_add(&body, bodies[i], 7);
		buf_add_byte(&body, 0);
		assert_int_equal(wire_decode(&door_fault_shape, body.data, body.len, &fault, &e),
				 -1);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(fault.kind);
		buf_release(&body);
	}
	fault = (struct door_fault){.kind = (char *)"\xff"};
	assert_int_equal(wire_check(&door_fault_shape, &fault, &e), -1);
}

static void a_frame_has_a_bounded_header(void **state)
{
	(void)state;
	struct door_run run = {.run_id = (char *)"r", .token = 0x0102030405060708};
	struct buf frame = {0};
	struct err e;
	uint32_t length;
	uint16_t type;
	wire_frame(DOOR_COPIED, &door_run_shape, &run, &frame);
	static const uint8_t expected[] = {16, 0,   0, 0, DOOR_COPIED, 0, 1, 1, 0, 0,
					   0,  'r', 8, 7, 6,	       5, 4, 3, 2, 1};
	assert_int_equal(frame.len, sizeof expected);
	assert_memory_equal(frame.data, expected, sizeof expected);
	assert_ok(wire_frame_header(frame.data, &length, &type, err));
	assert_int_equal(length, frame.len - FRAME_HEADER_BYTES);
	assert_int_equal(type, DOOR_COPIED);
	buf_release(&frame);
	assert_int_equal(wire_frame_header((const uint8_t *)"\x01\0\0\0\0\0", &length, &type, &e),
			 -1);
	assert_ok(wire_frame_header((const uint8_t *)"\x02\0\x10\0\x01\0", &length, &type, err));
	assert_int_equal(length, LIMIT_FRAME_BYTES);
	assert_int_equal(
	    wire_frame_header((const uint8_t *)"\x03\0\x10\0\x01\0", &length, &type, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_message_survives_the_wire),
	    cmocka_unit_test(a_message_cut_or_stretched_is_refused),
	    cmocka_unit_test(what_is_over_its_bound_is_refused),
	    cmocka_unit_test(bad_text_is_refused),
	    cmocka_unit_test(a_frame_has_a_bounded_header),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
