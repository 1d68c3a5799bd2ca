// SPDX-License-Identifier: Apache-2.0
#include "guest/signs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

enum place { ANYWHERE, AT_START };

struct stop_sign {
	const char *phrase;
	enum place place;
	enum stop_weight weight;
	const char *what;
};

/* The first that fits counts, so that the more telling ones come first. */
static const struct stop_sign stop_signs[] = {
    {"VFS: Unable to mount root fs", ANYWHERE, STOP_PANIC,
     "the kernel could not mount its root file system"},
    {"Kernel panic - not syncing", ANYWHERE, STOP_PANIC, "the kernel panicked"},
    {"You are in emergency mode", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"You are in rescue mode", ANYWHERE, STOP_INIT, "it stopped in rescue mode"},
    {"Give root password for maintenance", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"Cannot open access to console, the root account is locked", ANYWHERE, STOP_INIT,
     "it stopped in emergency mode"},
    {"Entering emergency mode. Exit the shell to continue", ANYWHERE, STOP_INIT,
     "it stopped in the emergency shell of its initial RAM disk"},
    {"(initramfs)", AT_START, STOP_INIT, "it stopped in the shell of its initial RAM disk"},
    {"dracut:/#", AT_START, STOP_INIT, "it stopped in the shell of its initial RAM disk"},
    {"grub rescue>", AT_START, STOP_LOADER, "it stopped in GRUB's rescue shell"},
    {"grub>", AT_START, STOP_LOADER, "it stopped at GRUB's prompt"},
    {"Shell>", AT_START, STOP_LOADER,
     "the UEFI firmware found no boot loader and opened its shell"},
    {"No bootable device", ANYWHERE, STOP_LOADER, "the firmware found no bootable device"},
    {"Boot failed: not a bootable disk", ANYWHERE, STOP_LOADER,
     "the firmware found no boot sector on the disk"},
    {"No bootable option or device was found", ANYWHERE, STOP_LOADER,
     "the firmware found no bootable device"},
    {"Operating system not found", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"Missing operating system", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"BOOTMGR is missing", ANYWHERE, STOP_LOADER, "the boot sector found no BOOTMGR"},
    {"error: no such device", ANYWHERE, STOP_LOADER, "GRUB did not find its device"},
};

bool text_resembles(const char *text, const char *phrase)
{
	/* Sellers: row[i] is the least number of edits that make the first i letters of the phrase
	 * end at the present letter of the text. */
	unsigned char row[128];
	size_t length = strlen(phrase);
	unsigned allowed = (unsigned)length / 10;

	if (length >= sizeof row)
		return false;
	for (size_t i = 0; i <= length; i++)
		row[i] = (unsigned char)i;
	for (; *text; text++) {
		unsigned char diagonal = row[0];

		for (size_t i = 1; i <= length; i++) {
			unsigned same = tolower((unsigned char)*text) ==
					tolower((unsigned char)phrase[i - 1]);
			unsigned best = diagonal + !same;

			diagonal = row[i];
			if (best > row[i] + 1u)
				best = row[i] + 1u;
			if (best > row[i - 1] + 1u)
				best = row[i - 1] + 1u;
			row[i] = (unsigned char)best;
		}
		if (row[length] <= allowed)
			return true;
	}
	return false;
}

static const char *skip_blanks(const char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

static bool fits(const struct stop_sign *sign, const char *line, bool screen)
{
	if (sign->place == AT_START)
		return text_starts(skip_blanks(line), sign->phrase);
	return screen ? text_resembles(line, sign->phrase) : strstr(line, sign->phrase) != NULL;
}

enum stop_weight sign_of_stop(const char *line, bool screen, const char **what)
{
	for (size_t i = 0; i < COUNT_OF(stop_signs); i++) {
		if (fits(&stop_signs[i], line, screen)) {
			*what = stop_signs[i].what;
			return stop_signs[i].weight;
		}
	}
	return STOP_NONE;
}

/* "web01 login: ", perhaps with a cursor or a kernel message after it; not "Last login: Fri …". */
static bool is_login_prompt(const char *line)
{
	for (const char *at = line; (at = strstr(at, "login:")); at++) {
		const char *after = skip_blanks(at + strlen("login:"));

		if (at > line && at[-1] != ' ')
			continue;
		if (at - line >= 5 && !strncasecmp(at - 5, "last ", 5))
			continue;
		if (*after == '_' || *after == '|')
			after = skip_blanks(after + 1);
		if (*after == 0 || *after == '[')
			return true;
	}
	return false;
}

bool sign_of_life(const char *line, const char **what)
{
	static const char *const targets[] = {"multi-user.target", "Multi-User System",
					      "graphical.target", "Graphical Interface"};
	const char *reached = strstr(line, "Reached target ");

	if (is_login_prompt(line)) {
		*what = "a login prompt";
		return true;
	}
	if (!reached || !(strstr(line, "systemd[1]: ") || strstr(line, "[  OK  ]")))
		return false;
	reached += strlen("Reached target ");
	for (size_t i = 0; i < COUNT_OF(targets); i++) {
		if (text_starts(reached, targets[i])) {
			*what = "systemd's message that it reached its target";
			return true;
		}
	}
	return false;
}

static bool is_kernel_line(const char *line)
{
	const char *p = line;

	if (*p++ != '[')
		return false;
	p = skip_blanks(p);
	if (!isdigit((unsigned char)*p))
		return false;
	while (isdigit((unsigned char)*p))
		p++;
	return *p == '.' && isdigit((unsigned char)p[1]);
}

bool sign_of_progress(const char *line)
{
	return is_kernel_line(line) || text_starts(line, "Linux version ") ||
	       text_starts(line, "systemd[1]: ") || text_starts(line, "[  OK  ]") ||
	       text_starts(line, "Loading Linux") || text_starts(line, "Welcome to ");
}

bool sign_of_cause(const char *line)
{
	return strstr(line, "ALERT!") || text_starts(line, "error: ") ||
	       strstr(line, "Gave up waiting for root") ||
	       strstr(line, "UNEXPECTED INCONSISTENCY") ||
	       strstr(line, "dracut-initqueue timeout") || strstr(line, "Cannot open root device");
}

bool sign_of_failed_unit(const char *line, char *name, size_t size)
{
	static const char *const marks[] = {"[FAILED] ", "[DEPEND] ",
					    "systemd[1]: Failed to start ",
					    "systemd[1]: Dependency failed for "};
	static const char *const verbs[] = {"Failed to start ", "Dependency failed for "};
	const char *at = NULL;
	size_t length;

	for (size_t i = 0; i < COUNT_OF(marks) && !at; i++) {
		at = strstr(line, marks[i]);
		if (at)
			at += strlen(marks[i]);
	}
	if (!at)
		return false;
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (text_starts(at, verbs[i]))
			at += strlen(verbs[i]);
	length = strlen(at);
	while (length && strchr(" .\t", at[length - 1]))
		length--;
	if (!length)
		return false;
	snprintf(name, size, "%.*s", (int)(length < size ? length : size - 1), at);
	name[utf8_valid(name, strlen(name))] = 0;
	return true;
}
