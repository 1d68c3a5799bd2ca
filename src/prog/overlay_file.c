// SPDX-License-Identifier: Apache-2.0
/* Overlay files of an image: FILE for its first disk, FILE.1, FILE.2, … for the others. Each names
 * its image and disk in its backing file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "io/process.h"
#include "prog/godwit_overlay.h"

#define INFO_MS	  30000
#define INFO_MAX  (256 * KIB)
#define BACKING	  "nbd+unix:///"
#define DISK_PART ".disk"

char *overlay_file(const char *file, unsigned disk)
{
	return disk ? xasprintf("%s.%u", file, disk) : xstrdup(file);
}

void overlay_export(char *out, size_t size, const char *image_id, unsigned disk)
{
	snprintf(out, size, "%s" DISK_PART "%u", image_id, disk);
}

/* "nbd+unix:///ami-0123.disk4?socket=…" */
static bool parse_backing(const char *backing, struct overlay_info *info)
{
	const char *name, *part;
	size_t n;

	if (!text_starts(backing, BACKING))
		return false;
	name = backing + strlen(BACKING);
	n = strcspn(name, "?");
	part = memmem(name, n, DISK_PART, strlen(DISK_PART));
	if (!part || part == name || (size_t)(part - name) >= sizeof info->image_id)
		return false;
	memcpy(info->image_id, name, (size_t)(part - name));
	info->image_id[part - name] = '\0';
	return sscanf(part + strlen(DISK_PART), "%u?", &info->disk) == 1 &&
	       info->disk < LIMIT_DISKS_PER_SERVER;
}

int overlay_read(const char *file, struct overlay_info *info, struct err *e)
{
	const char *const argv[] = {"qemu-img", "info", "--output=json", file, NULL};
	struct process_plan plan = {.argv = argv};
	struct buf text = {0};
	json_t *answer = NULL;
	int result = -1;

	*info = (struct overlay_info){0};
	if (access(file, F_OK) < 0)
		return err_errno(e, errno, "the overlay '%s' cannot be read", file);
	if (process_run(&plan, INFO_MS, INFO_MAX, &text, e) < 0) {
		if (e && strstr(e->text, "another process"))
			err_set(e, ERR_BUSY, "'%s' is in use: end what serves it first", file);
		else
			err_prefix(e, "the overlay '%s' cannot be read", file);
		goto out;
	}
	answer = json_loads(buf_str(&text), 0, NULL);
	info->size_bytes = number_of(answer, "virtual-size");
	if (strcmp(text_of(answer, "format"), "qcow2") != 0 ||
	    !parse_backing(text_of(answer, "backing-filename"), info)) {
		err_set(e, ERR_INVALID, "'%s' is no overlay made by 'godwit image serve --overlay'",
			file);
		goto out;
	}
	result = 0;
out:
	json_decref(answer);
	buf_release(&text);
	return result;
}

int overlay_check(const char *file, const char *image_id, unsigned disk, int64_t size_bytes,
		  struct err *e)
{
	struct overlay_info info;

	if (overlay_read(file, &info, e) < 0)
		return -1;
	if (strcmp(info.image_id, image_id) != 0 || info.disk != disk)
		return err_set(e, ERR_CONFLICT, "'%s' is over disk %u of %s, not disk %u of %s",
			       file, info.disk, info.image_id, disk, image_id);
	if (info.size_bytes != size_bytes)
		return err_set(e, ERR_CONFLICT, "'%s' has %lld bytes, the disk of %s %lld", file,
			       (long long)info.size_bytes, image_id, (long long)size_bytes);
	return 0;
}
