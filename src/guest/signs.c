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
    {"Your PC ran into a problem", ANYWHERE, STOP_PANIC, "Windows stopped with a blue screen"},
    {"Your device ran into a problem", ANYWHERE, STOP_PANIC, "Windows stopped with a blue screen"},
    {"INACCESSIBLE_BOOT_DEVICE", ANYWHERE, STOP_PANIC, "Windows did not find its boot disk"},
    {"INACCESSIBLE BOOT DEVICE", ANYWHERE, STOP_PANIC, "Windows did not find its boot disk"},
    {"A problem has been detected and Windows has been shut down", ANYWHERE, STOP_PANIC,
     "Windows stopped with a blue screen"},
    {"*** STOP: 0x", ANYWHERE, STOP_PANIC, "Windows stopped with a blue screen"},
    {"Windows failed to start", ANYWHERE, STOP_INIT, "Windows' boot manager could not start it"},
    {"Your PC needs to be repaired", ANYWHERE, STOP_INIT,
     "Windows' boot manager could not start it"},
    {"Your PC/Device needs to be repaired", ANYWHERE, STOP_INIT,
     "Windows' boot manager could not start it"},
    {"It looks like Windows didn't load correctly", ANYWHERE, STOP_INIT,
     "Windows stopped in its recovery environment"},
    {"You are in emergency mode", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"Welcome to emergency mode", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"You are in rescue mode", ANYWHERE, STOP_INIT, "it stopped in rescue mode"},
    {"Give root password for maintenance", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"Press Enter for maintenance", ANYWHERE, STOP_INIT, "it stopped in emergency mode"},
    {"Cannot open access to console, the root account is locked", ANYWHERE, STOP_INIT,
     "it stopped in emergency mode"},
    {"Entering emergency mode. Exit the shell to continue", ANYWHERE, STOP_INIT,
     "it stopped in the emergency shell of its initial RAM disk"},
    {"(initramfs)", AT_START, STOP_INIT, "it stopped in the shell of its initial RAM disk"},
    {"dracut:/#", AT_START, STOP_INIT, "it stopped in the shell of its initial RAM disk"},
    {"initramfs emergency recovery shell launched", ANYWHERE, STOP_INIT,
     "it stopped in the shell of its initial RAM disk"},
    {"mountroot>", AT_START, STOP_INIT, "the kernel could not mount its root file system"},
    {"Please unlock disk", ANYWHERE, STOP_INIT, "it waits for the passphrase of an encrypted disk"},
    {"Please enter passphrase for disk", ANYWHERE, STOP_INIT,
     "it waits for the passphrase of an encrypted disk"},
    {"grub rescue>", AT_START, STOP_LOADER, "it stopped in GRUB's rescue shell"},
    {"grub>", AT_START, STOP_LOADER, "it stopped at GRUB's prompt"},
    {"Shell>", AT_START, STOP_LOADER,
     "the UEFI firmware found no boot loader and opened its shell"},
    {"No bootable device", ANYWHERE, STOP_LOADER, "the firmware found no bootable device"},
    {"No bootable medium found", ANYWHERE, STOP_LOADER, "the firmware found no bootable device"},
    {"Boot failed: not a bootable disk", ANYWHERE, STOP_LOADER,
     "the firmware found no boot sector on the disk"},
    {"No bootable option or device was found", ANYWHERE, STOP_LOADER,
     "the firmware found no bootable device"},
    {"Operating system not found", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"Missing operating system", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"An operating system wasn't found", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"Error loading operating system", ANYWHERE, STOP_LOADER,
     "the boot sector could not load its system"},
    {"Invalid partition table", AT_START, STOP_LOADER, "the boot sector found no valid partition"},
    {"This is not a bootable disk", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"Non-System disk or disk error", ANYWHERE, STOP_LOADER, "the boot sector found no system"},
    {"Could not find kernel image", ANYWHERE, STOP_LOADER, "the boot loader found no kernel"},
    {"BOOTMGR is compressed", ANYWHERE, STOP_LOADER, "the boot sector could not load BOOTMGR"},
    {"NTLDR is missing", ANYWHERE, STOP_LOADER, "the boot sector found no NTLDR"},
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

static bool fits(const char *phrase, enum place place, const char *line, bool screen)
{
	char start[64];

	if (!screen)
		return place == AT_START ? text_starts(skip_blanks(line), phrase)
					 : strstr(line, phrase) != NULL;
	if (place == ANYWHERE)
		return text_resembles(line, phrase);
	snprintf(start, sizeof start, "%.*s", (int)strlen(phrase) + 1, skip_blanks(line));
	return text_resembles(start, phrase);
}

enum stop_weight sign_of_stop(const char *line, bool screen, const char **what)
{
	for (size_t i = 0; i < COUNT_OF(stop_signs); i++) {
		if (fits(stop_signs[i].phrase, stop_signs[i].place, line, screen)) {
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

bool sign_of_loader(const char *line, bool screen, const char **what)
{
	static const struct {
		const char *phrase, *what;
	} signs[] = {
	    {"Booting from Hard Disk", "it stopped in the boot sector of its disk"},
	    {"SeaBIOS (version", "it stopped in its firmware"},
	    {"BdsDxe: starting Boot", "it stopped in its UEFI boot loader"},
	    {"BdsDxe: loading Boot", "it stopped in its UEFI boot loader"},
	    {"GRUB loading", "it stopped while GRUB was loading"},
	    {"Welcome to GRUB", "it stopped in GRUB"},
	    {"GNU GRUB version", "it stopped in GRUB's menu"},
	    {"Loading Operating System", "it stopped in its boot loader"},
	    {"SYSLINUX ", "it stopped in its boot loader"},
	    {"ISOLINUX ", "it stopped in its boot loader"},
	    {"EXTLINUX ", "it stopped in its boot loader"},
	};

	for (size_t i = 0; i < COUNT_OF(signs); i++) {
		if (fits(signs[i].phrase, AT_START, line, screen)) {
			*what = signs[i].what;
			return true;
		}
	}
	return false;
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
