// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "api/handlers.h"
#include "base/limits.h"
#include "base/mem.h"

#define TIMESTAMP_MAX_SECONDS 253402300799.0 /* the last second of the year 9999 */
#define PATTERN_BYTES	      256
#define MEMBER_PATH_BYTES     256
#define SHOWN_BYTES	      64 /* of a wrong value, in the sentence about it */

/* Where we are in the body, for sentences: "vmServerAddressList[3].vmId". */
struct place {
	char text[MEMBER_PATH_BYTES];
};

static int check(struct api_call *call, const struct api_shape *shape, json_t *value,
		 const struct place *at);

static const char *type_word(enum api_type type)
{
	static const char *const words[] = {
	    [API_STRING] = "a string",	   [API_INTEGER] = "an integer",
	    [API_BOOLEAN] = "a boolean",   [API_TIMESTAMP] = "a number of seconds since 1970",
	    [API_STRUCTURE] = "an object", [API_LIST] = "a list",
	};
	return words[type];
}

static bool type_fits(enum api_type type, const json_t *value)
{
	switch (type) {
	case API_STRING: return json_is_string(value);
	case API_INTEGER: return json_is_integer(value);
	case API_BOOLEAN: return json_is_boolean(value);
	case API_TIMESTAMP: return json_is_number(value);
	case API_STRUCTURE: return json_is_object(value);
	case API_LIST: return json_is_array(value);
	}
	return false;
}

static int64_t characters(const char *text)
{
	int64_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* The model's patterns are those of Java; the one thing in them that POSIX brackets do not know is
 * "[\S]", which is "\S" outside of brackets, and that glibc knows. */
static bool pattern_matches(const char *pattern, const char *text)
{
	char posix[PATTERN_BYTES];
	size_t n = 0;
	for (const char *p = pattern; *p && n + 4 < sizeof posix;) {
		if (!strncmp(p, "[\\S]", 4)) {
			memcpy(posix + n, "\\S", 2);
			n += 2;
			p += 4;
		} else {
			posix[n++] = *p++;
		}
	}
	posix[n] = '\0';
	regex_t regex;
	if (regcomp(&regex, posix, REG_EXTENDED | REG_NOSUB))
		return false;
	bool matches = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return matches;
}

static bool is_one_of(const char *text, const char *const *values)
{
	for (; *values; values++) {
		if (!strcmp(text, *values))
			return true;
	}
	return false;
}

static int check_string(struct api_call *call, const struct api_shape *shape, const char *text,
			const struct place *at)
{
	if (shape->values && !is_one_of(text, shape->values)) {
		struct buf allowed = {0};
		for (unsigned i = 0; shape->values[i]; i++)
			buf_printf(&allowed, "%s%s", i ? ", " : "", shape->values[i]);
		api_fail(call, "InvalidParameterException", "%s is '%.*s' but must be one of %s",
			 at->text, SHOWN_BYTES, text, buf_str(&allowed));
		buf_release(&allowed);
		return -1;
	}
	int64_t length = characters(text);
	if (shape->has_min && length < shape->min)
		return api_fail(call, "InvalidParameterException",
				"%s has %" PRId64 " characters; at least %" PRId64 " are needed",
				at->text, length, shape->min);
	if (shape->has_max && length > shape->max)
		return api_fail(call, "InvalidParameterException",
				"%s has %" PRId64 " characters; at most %" PRId64 " are allowed",
				at->text, length, shape->max);
	if (shape->pattern && !pattern_matches(shape->pattern, text))
		return api_fail(call, "InvalidParameterException",
				"%s is '%.*s' but must match the pattern %s", at->text, SHOWN_BYTES,
				text, shape->pattern);
	return 0;
}

static int check_integer(struct api_call *call, const struct api_shape *shape, int64_t value,
			 const struct place *at)
{
	int64_t min = shape->has_min ? shape->min : INT32_MIN;
	int64_t max = shape->has_max ? shape->max : INT32_MAX;
	if (value >= min && value <= max)
		return 0;
	return api_fail(call, "InvalidParameterException",
			"%s is %" PRId64 " but must be from %" PRId64 " to %" PRId64, at->text,
			value, min, max);
}

static int check_timestamp(struct api_call *call, double seconds, const struct place *at)
{
	if (seconds >= 0 && seconds <= TIMESTAMP_MAX_SECONDS)
		return 0;
	return api_fail(call, "InvalidParameterException",
			"%s is %.0f seconds since 1970 but must be from 1970 to the year 9999",
			at->text, seconds);
}

static int check_list(struct api_call *call, const struct api_shape *shape, json_t *list,
		      const struct place *at)
{
	size_t count = json_array_size(list);
	if ((shape->has_min && count < (size_t)shape->min) ||
	    (shape->has_max && count > (size_t)shape->max))
		return api_fail(call, "InvalidParameterException",
				"%s has %zu items, which is outside of its range", at->text, count);
	for (size_t i = 0; i < count; i++) {
		struct place inner;
		snprintf(inner.text, sizeof inner.text, "%s[%zu]", at->text, i);
		if (check(call, shape->item, json_array_get(list, i), &inner))
			return -1;
	}
	return 0;
}

/* Absent for the purpose of `required`: null, or an empty string where one is needed. */
static bool is_missing(const struct api_member *m, const json_t *value)
{
	if (!value || json_is_null(value))
		return true;
	return m->required && json_is_string(value) && !*json_string_value(value);
}

static int check_structure(struct api_call *call, const struct api_shape *shape, json_t *object,
			   const struct place *at)
{
	for (const struct api_member *m = shape->members; m->name; m++) {
		json_t *value = json_object_get(object, m->name);
		struct place inner;
		snprintf(inner.text, sizeof inner.text, "%s%s%s", at->text, *at->text ? "." : "",
			 m->name);
		if (is_missing(m, value)) {
			if (m->required)
				return api_fail(call, "MissingRequiredParameterException",
						"%s is required but was not given", inner.text);
			continue;
		}
		if (check(call, m->shape, value, &inner))
			return -1;
	}
	return 0;
}

static int check(struct api_call *call, const struct api_shape *shape, json_t *value,
		 const struct place *at)
{
	if (!type_fits(shape->type, value))
		return api_fail(call, "SerializationException", "%s must be %s",
				*at->text ? at->text : "the body", type_word(shape->type));
	switch (shape->type) {
	case API_STRING: return check_string(call, shape, json_string_value(value), at);
	case API_INTEGER: return check_integer(call, shape, json_integer_value(value), at);
	case API_TIMESTAMP: return check_timestamp(call, json_number_value(value), at);
	case API_STRUCTURE: return check_structure(call, shape, value, at);
	case API_LIST: return check_list(call, shape, value, at);
	case API_BOOLEAN: break;
	}
	return 0;
}

int api_validate(struct api_call *call, const struct api_shape *shape, json_t *body)
{
	return check(call, shape, body, &(struct place){""});
}
