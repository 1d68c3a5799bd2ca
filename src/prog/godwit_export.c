// SPDX-License-Identifier: Apache-2.0
/* image export: a disk of an image as a file. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "image/image.h"
#include "io/file.h"
#include "prog/godwit_local.h"

/* An export never replaces what is there. */
static int check_way(const char *path, struct err *e)
{
	struct stat st;

	if (local_check_folder(path, e) < 0)
		return -1;
	if (lstat(path, &st) == 0)
		return err_set(e, ERR_CONFLICT,
			       "'%s' is there already: remove it or name another file", path);
	return 0;
}

static int export_disk(struct cli *c, const struct local *l, int64_t number, const char *format,
		       struct err *e)
{
	char scratch[] = "/tmp/godwit-export-XXXXXX";
	struct meter meter = {.quiet = c->json};
	int result;

	if (number >= l->count)
		return err_set(e, ERR_NOT_FOUND,
			       "there is no disk %lld: image %s has %u, counted from 0",
			       (long long)number, c->args[0], l->count);
	if (!mkdtemp(scratch))
		return err_errno(e, errno, "cannot make a scratch folder in /tmp");
	result = image_export(l->store, &l->serve[number].root, format, c->args[1], scratch,
			      meter_show, &meter, e);
	meter_end(&meter);
	file_remove_tree(scratch, NULL);
	return result;
}

static void tell(const struct cli *c, int64_t number, const char *format)
{
	struct stat st = {0};
	char size[24];

	stat(c->args[1], &st);
	if (c->json) {
		json_t *answer = json_pack("{s:s, s:I, s:s, s:s, s:I}", "imageId", c->args[0],
					   "disk", (json_int_t)number, "format", format, "file",
					   c->args[1], "bytesOnDisk",
					   (json_int_t)st.st_blocks * 512);

		show_json(answer);
		json_decref(answer);
		return;
	}
	size_text((uint64_t)st.st_blocks * 512, size);
	printf("disk %lld of %s is in %s: %s, %s on disk\n", (long long)number, c->args[0],
	       c->args[1], format, size);
}

int cmd_image_export(struct cli *c, struct err *e)
{
	const char *format = cli_value(c, "format"), *disk = cli_value(c, "disk");
	int64_t number = 0;
	struct local l;
	int result;

	if (!format)
		format = "qcow2";
	if (image_format_check(format, e) < 0)
		return EXIT_USAGE;
	if (disk && number_parse("--disk", disk, 0, LIMIT_DISKS_PER_SERVER - 1, &number, e) < 0)
		return EXIT_USAGE;
	if (check_way(c->args[1], e) < 0 || local_open(c, &l, e) < 0)
		return -1;
	result = export_disk(c, &l, number, format, e);
	if (result == 0)
		tell(c, number, format);
	local_release(&l);
	return result;
}
