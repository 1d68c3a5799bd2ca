// SPDX-License-Identifier: Apache-2.0
/* image serve, boot: what is done here with the store of this machine. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/shape.h"
#include "base/text.h"
#include "guest/boot.h"
#include "image/image.h"
#include "io/file.h"
#include "io/process.h"
#include "prog/godwit_overlay.h"

void local_release(struct local *l)
{
	free(l->state);
	free(l->store);
	json_decref(l->image);
}

int local_open(struct cli *c, struct local *l, struct err *e)
{
	return local_open_image(c, c->args[0], l, e);
}

int local_open_image(struct cli *c, const char *image_id, struct local *l, struct err *e)
{
	json_t *disk;
	size_t i;
	*l = (struct local){0};
	if (call_godwit(c, "GetImage", json_pack("{s:s}", "imageId", image_id), &l->image, e) < 0)
		return -1;
	l->state = xstrdup(c->state_dir ? c->state_dir : c->state);
	l->store = cli_store(c);
	l->disks = json_object_get(l->image, "disks");
	json_array_foreach(l->disks, i, disk)
	{
		if (i == LIMIT_DISKS_PER_SERVER ||
		    !name_parse(text_of(disk, "root"), &l->serve[i].root)) {
			err_set(e, ERR_CORRUPT, "disk %zu of image %s has no valid root", i,
				image_id);
			local_release(l);
			return -1;
		}
		snprintf(l->names[i], sizeof l->names[i], "disk%zu", i);
		l->serve[i].export_name = l->names[i];
		l->count++;
	}
	if (l->count)
		return 0;
	err_set(e, ERR_NOT_FOUND, "image %s has no disks: it was deleted", image_id);
	local_release(l);
	return -1;
}

/* The folder that `path` is to be in must be there. */
int local_check_folder(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char *dir = !slash ? xstrdup(".") : xstrndup(path, slash == path ? 1 : slash - path);
	struct stat st;
	int result = 0;
	if (stat(dir, &st) < 0)
		result = err_errno(e, errno, "the folder '%s' cannot be used", dir);
	else if (!S_ISDIR(st.st_mode))
		result = err_set(e, ERR_INVALID, "'%s' is no folder", dir);
	free(dir);
	return result;
}

/* --- serve --- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

void local_catch_signals(void)
{
	struct sigaction act = {.sa_handler = on_signal};
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
}

bool local_interrupted(void)
{
	return interrupted;
}

int local_wait(const pid_t *pids, unsigned count, int *status)
{
	while (!interrupted)
		for (unsigned i = 0; i < count; i++)
			if (process_wait(pids[i], 200, status, NULL) != 0)
				return (int)i;
	return -1;
}

static char *make_socket_path(const struct cli *c)
{
	const char *given = cli_value(c, "socket");
	return given ? xstrdup(given) : xasprintf("%s/run/%s.sock", c->state, c->args[0]);
}

static void show_addresses(const struct cli *c, const struct local *l, const char *path)
{
	json_t *addresses = json_array();
	for (unsigned i = 0; i < l->count; i++) {
		char *uri = xasprintf("nbd+unix:///disk%u?socket=%s", i, path);
		json_array_append_new(addresses, json_string(uri));
		if (!c->json)
			puts(uri);
		free(uri);
	}
	if (c->json)
		show_json(addresses);
	fflush(stdout);
	json_decref(addresses);
}

/* Overlays that are there are gone on with. */
static int make_overlays(const struct local *l, const char *base, const char *file,
			 struct overlay_disk *disks, char names[][16], struct err *e)
{
	for (unsigned i = 0; i < l->count; i++) {
		int64_t size = number_of(json_array_get(l->disks, i), "sizeBytes");
		char *path = overlay_file(file, i);
		snprintf(names[i], 16, "disk%u", i);
		disks[i] = (struct overlay_disk){names[i], l->names[i], path};
		int result = access(path, F_OK) == 0
				 ? overlay_check(path, text_of(l->image, "imageId"), i, size, e)
				 : image_overlay(base, l->names[i], (uint64_t)size, path, e);
		if (result < 0)
			return -1;
	}
	return 0;
}

/* The base on a socket of its own, the overlays on the one that was asked for. */
static int serve_over(struct local *l, const char *file, const char *path, pid_t pids[2],
		      struct err *e)
{
	struct overlay_disk disks[LIMIT_DISKS_PER_SERVER] = {{0}};
	char names[LIMIT_DISKS_PER_SERVER][16];
	char *base = xasprintf("%s.base", path);
	for (unsigned i = 0; i < l->count; i++)
		overlay_export(l->names[i], sizeof l->names[i], text_of(l->image, "imageId"), i);
	int result = local_check_folder(file, e);
	if (result == 0)
		result = image_serve(l->store, l->serve, l->count, base, NULL, false, &pids[0], e);
	if (result == 0) {
		result = make_overlays(l, base, file, disks, names, e);
		if (result == 0)
			result = image_serve_overlays(base, disks, l->count, true, path, NULL,
						      &pids[1], e);
		if (result < 0) {
			process_stop(pids[0], 5000);
			unlink(base);
		}
	}
	for (unsigned i = 0; i < l->count; i++)
		free((char *)disks[i].file);
	free(base);
	return result;
}

static int serve_until_interrupted(struct cli *c, struct local *l, const char *path, struct err *e)
{
	const char *file = cli_value(c, "overlay");
	unsigned count = file ? 2 : 1;
	pid_t pids[2] = {0};
	int status, result;
	if (file)
		result = serve_over(l, file, path, pids, e);
	else
		result = image_serve(l->store, l->serve, l->count, path, NULL, false, &pids[0], e);
	if (result < 0)
		return -1;
	show_addresses(c, l, path);
	int ended = local_wait(pids, count, &status);
	for (unsigned i = count; i-- > 0;)
		if ((int)i != ended)
			process_stop(pids[i], 5000);
	unlink(path);
	if (file) {
		char *base = xasprintf("%s.base", path);
		unlink(base);
		free(base);
	}
	/* an interrupt from a terminal ends them and us at once */
	return local_interrupted() || ended < 0
		   ? 0
		   : err_set(e, ERR_IO, "the NBD server ended by itself");
}

int cmd_image_serve(struct cli *c, struct err *e)
{
	struct local l;
	if (local_open(c, &l, e) < 0)
		return -1;
	char *path = make_socket_path(c);
	local_catch_signals();
	int result = local_check_folder(path, e);
	if (result == 0)
		result = serve_until_interrupted(c, &l, path, e);
	free(path);
	local_release(&l);
	return result;
}

/* --- boot --- */

void local_fill_machine(const struct local *l, struct machine *m)
{
	const json_t *from = json_object_get(l->image, "machine");
	json_t *disk;
	size_t i;
	const char *firmware = text_of(from, "firmware"), *chipset = text_of(from, "machine");
	text_set(&m->name, text_of(from, "name"));
	text_set(&m->firmware, *firmware ? firmware : "bios");
	text_set(&m->machine, *chipset ? chipset : NULL);
	m->vcpus = number_of(from, "vcpus");
	m->memory_bytes = number_of(from, "memoryBytes");
	json_array_foreach(l->disks, i, disk)
	{
		struct machine_disk *d = list_push(&m->disks, sizeof *d);
		text_set(&d->key, text_of(disk, "key"));
		text_set(&d->bus, text_of(disk, "bus"));
		d->size_bytes = number_of(disk, "sizeBytes");
	}
}

static int run_machine(struct cli *c, const struct boot_plan *plan, struct err *e)
{
	const char *display = cli_value(c, "display");
	struct boot_argv a = {0};
	char *serial = xasprintf("%s/serial.sock", plan->scratch_dir);
	pid_t pid;
	int status = 0;
	boot_argv_make(&a, plan, NULL, serial, NULL, display ? display : "none");
	struct process_plan run = {.argv = (const char *const *)a.argv,
				   .log_file = NULL,
				   .no_network = !display || strcmp(display, "none") == 0};
	struct process_fd fds[] = {{STDIN_FILENO, 0}, {STDOUT_FILENO, 1}, {STDERR_FILENO, 2}};
	run.fds = fds;
	run.fd_count = COUNT_OF(fds);
	int result = process_start(&run, &pid, e);
	if (result == 0) {
		printf("%s runs under an overlay that is thrown away; its serial console is %s\n"
		       "Interrupt to end it.\n",
		       c->args[0], serial);
		fflush(stdout);
		if (local_wait(&pid, 1, &status) < 0)
			process_stop(pid, 3000);
		else
			result = status == 0 || interrupted
				     ? 0
				     : err_set(e, ERR_IO, "QEMU ended with a failure");
	}
	boot_argv_release(&a);
	free(serial);
	return result;
}

/* The machine's own UEFI variables were not copied: it begins with empty ones. */
static int make_variables(const char *scratch, struct err *e)
{
	static const char source[] = "/usr/share/OVMF/OVMF_VARS_4M.fd";
	struct buf text = {0};
	char *path = xasprintf("%s/vars.fd", scratch);
	int result = file_read(source, 16 * MIB, &text, e);
	if (result == 0)
		result = file_write(path, text.data, text.len, 0600, e);
	else
		err_prefix(e, "UEFI firmware is missing (install the ovmf package)");
	buf_release(&text);
	free(path);
	return result;
}

static int boot_in(struct cli *c, const struct local *l, const char *scratch, struct err *e)
{
	char *path = xasprintf("%s/nbd.sock", scratch);
	struct boot_plan plan = {.scratch_dir = scratch};
	pid_t server;
	local_fill_machine(l, &plan.machine);
	int result = image_serve(l->store, l->serve, l->count, path, NULL, false, &server, e);
	if (result < 0)
		goto out;
	for (unsigned i = 0; i < l->count && result == 0; i++) {
		char *overlay = boot_overlay(scratch, i);
		const json_t *disk = json_array_get(l->disks, i);
		result = image_overlay(path, l->names[i], (uint64_t)number_of(disk, "sizeBytes"),
				       overlay, e);
		free(overlay);
	}
	if (result == 0 && strcmp(plan.machine.firmware, "uefi") == 0)
		result = make_variables(scratch, e);
	if (result == 0)
		result = run_machine(c, &plan, e);
	process_stop(server, 5000);
out:
	shape_release(&machine_shape, &plan.machine);
	free(path);
	return result;
}

int cmd_image_boot(struct cli *c, struct err *e)
{
	struct local l;
	char scratch[] = "/var/tmp/godwit-boot-XXXXXX";
	const char *display = cli_value(c, "display");
	if (display && strcmp(display, "none") != 0 && strcmp(display, "gtk") != 0 &&
	    strcmp(display, "sdl") != 0 && strcmp(display, "curses") != 0) {
		err_set(e, ERR_INVALID, "--display is none, gtk, sdl or curses, not '%s'", display);
		return EXIT_USAGE;
	}
	if (local_open(c, &l, e) < 0)
		return -1;
	int result = -1;
	local_catch_signals();
	if (!mkdtemp(scratch))
		err_errno(e, errno, "cannot make a scratch folder in /var/tmp");
	else {
		result = boot_in(c, &l, scratch, e);
		file_remove_tree(scratch, NULL);
	}
	local_release(&l);
	return result;
}
