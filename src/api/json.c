// SPDX-License-Identifier: Apache-2.0
/* Members of bodies and answers. */
#include <string.h>

#include "api/handlers.h"
#include "base/mem.h"
#include "base/text.h"

static const json_t *member(const json_t *in, const char *name)
{
	const json_t *value = json_object_get(in, name);
	return value && !json_is_null(value) ? value : NULL;
}

bool in_has(const json_t *in, const char *name)
{
	return member(in, name) != NULL;
}

const char *in_text(const json_t *in, const char *name)
{
	return json_string_value(member(in, name));
}

int64_t in_integer(const json_t *in, const char *name, int64_t otherwise)
{
	const json_t *value = member(in, name);
	return value ? json_integer_value(value) : otherwise;
}

bool in_boolean(const json_t *in, const char *name, bool otherwise)
{
	const json_t *value = member(in, name);
	return value ? json_is_true(value) : otherwise;
}

bool in_time(const json_t *in, const char *name, int64_t *ms)
{
	const json_t *value = member(in, name);
	if (value)
		*ms = (int64_t)(json_number_value(value) * 1000 + 0.5); /* checked: not below 0 */
	return value != NULL;
}

void out_text(json_t *out, const char *name, const char *value)
{
	if (!value)
		return;
	struct buf clean = {0};
	size_t n = strlen(value);
	for (size_t i = 0; i < n;) {
		size_t good = utf8_valid(value + i, n - i);
		buf_add(&clean, value + i, good);
		i += good;
		if (i < n) {
			buf_add_str(&clean, "\xef\xbf\xbd");
			i++;
		}
	}
	json_object_set_new(out, name, json_string(buf_str(&clean)));
	buf_release(&clean);
}

void out_integer(json_t *out, const char *name, int64_t value)
{
	json_object_set_new(out, name, json_integer(value));
}

void out_boolean(json_t *out, const char *name, bool value)
{
	json_object_set_new(out, name, json_boolean(value));
}

void out_time(json_t *out, const char *name, int64_t ms)
{
	if (ms)
		json_object_set_new(out, name, json_real((double)ms / 1000));
}
