// SPDX-License-Identifier: Apache-2.0
/* The folder of a machine: see run.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "prog/run.h"

#define ABOUT_MAX (256 * KIB)

static bool name_ok(const char *name)
{
	size_t n = strspn(name,
			  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	return n > 0 && n <= RUN_NAME_MAX && !name[n] && name[0] != '.' && name[0] != '-';
}

int run_place_open(const char *state, const char *name, struct run_place *p, struct err *e)
{
	*p = (struct run_place){0};
	if (!name_ok(name))
		return err_set(e, ERR_INVALID,
			       "'%.80s' is no name of a machine: 1 to %d letters, digits, dots, "
			       "hyphens and underscores",
			       name, RUN_NAME_MAX);
	snprintf(p->name, sizeof p->name, "%s", name);
	p->dir = xasprintf("%s/machines/%s", state, name);
	p->socket = xasprintf("%s/nbd.sock", p->dir);
	p->about = xasprintf("%s/machine.json", p->dir);
	p->pid_file = xasprintf("%s/keeper.pid", p->dir);
	p->log_file = xasprintf("%s/keeper.log", p->dir);
	return 0;
}

int run_place_read(struct run_place *p, struct err *e)
{
	struct buf text = {0};
	struct err why = {0};
	int result = file_read(p->about, ABOUT_MAX, &text, &why);

	if (result < 0 && why.kind == ERR_NOT_FOUND)
		err_set(e, ERR_NOT_FOUND,
			"there is no machine '%s'; 'godwit image runs' lists them", p->name);
	else if (result < 0)
		err_set(e, why.kind, "%s", why.text);
	else if (!(p->machine = json_loads(buf_str(&text), 0, NULL)))
		result = err_set(e, ERR_CORRUPT, "'%s' is damaged; remove the machine", p->about);
	buf_release(&text);
	return result;
}

int run_place_write(const struct run_place *p, struct err *e)
{
	char *text = json_dumps(p->machine, JSON_INDENT(2));
	int result = file_make_dirs(p->dir, 0700, e);

	if (result == 0)
		result = file_write(p->about, text, strlen(text), 0600, e);
	free(text);
	return result;
}

void run_place_close(struct run_place *p)
{
	free(p->dir);
	free(p->socket);
	free(p->about);
	free(p->pid_file);
	free(p->log_file);
	json_decref(p->machine);
	*p = (struct run_place){0};
}

char *run_disk_file(const struct run_place *p, unsigned disk)
{
	return xasprintf("%s/disk%u.qcow2", p->dir, disk);
}
