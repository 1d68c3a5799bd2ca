// SPDX-License-Identifier: Apache-2.0
/* What the commands print. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "prog/godwit.h"

void show_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* Control characters of C0 and C1 (U+0080 to U+009F is 0xc2 and 0x80 to 0x9f) steer terminals. */
void show_text(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f) {
			putchar('?');
		} else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
			putchar('?');
			p++;
		} else {
			putchar(*p);
		}
	}
}

void show_field(const char *label, const char *text)
{
	if (!text || !*text)
		return;
	printf("%-15s ", label);
	show_text(text);
	putchar('\n');
}

/* Columns on the screen: one for each character. */
static size_t width_of(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void show_row(const char *const *cells, const size_t *widths, unsigned columns)
{
	for (unsigned i = 0; i < columns; i++) {
		show_text(cells[i]);
		for (size_t n = width_of(cells[i]); i + 1 < columns && n < widths[i] + 2; n++)
			putchar(' ');
	}
	putchar('\n');
}

void show_table(const char *const *titles, unsigned columns, json_t *rows)
{
	size_t widths[16], index;
	const char *cells[16];
	json_t *row;
	for (unsigned i = 0; i < columns; i++)
		widths[i] = width_of(titles[i]);
	json_array_foreach(rows, index, row)
	{
		for (unsigned i = 0; i < columns; i++) {
			const char *cell = json_string_value(json_array_get(row, i));
			size_t n = width_of(cell ? cell : "");
			if (n > widths[i])
				widths[i] = n;
		}
	}
	show_row(titles, widths, columns);
	json_array_foreach(rows, index, row)
	{
		for (unsigned i = 0; i < columns; i++) {
			cells[i] = json_string_value(json_array_get(row, i));
			if (!cells[i] || !*cells[i])
				cells[i] = "-";
		}
		show_row(cells, widths, columns);
	}
	json_decref(rows);
}

json_t *cell_size(const json_t *object, const char *member)
{
	char text[24] = "";
	if (json_object_get(object, member))
		size_text((uint64_t)number_of(object, member), text);
	return json_string(text);
}

json_t *cell_time(const json_t *object, const char *member)
{
	char text[24] = "";
	time_t t = (time_t)json_number_value(json_object_get(object, member));
	struct tm tm;
	if (t && localtime_r(&t, &tm))
		strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	return json_string(text);
}

json_t *cell_text(const json_t *object, const char *member)
{
	return json_string(text_of(object, member));
}
