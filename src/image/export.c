// SPDX-License-Identifier: Apache-2.0
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "image/serve.h"
#include "io/file.h"
#include "io/process.h"
#include "store/lease.h"

#define EXPORT_CACHE_BYTES (8 * MIB)
#define FULL_BYTES	   (4 * MIB) /* less is left: no cluster of any format fits */

/* What qemu-img calls a format, and what it is to do besides. */
static const struct format {
	const char *name, *driver, *options;
	bool any_order; /* written faster where data may land in any order */
	uint64_t max_bytes;
} formats[] = {
    {"raw", "raw", NULL, true, 0},
    {"qcow2", "qcow2", NULL, true, 0},
    {"vmdk", "vmdk", "subformat=streamOptimized", false, 0},
    /* Without force_size it would be made larger, to fit cylinders and heads. */
    {"vhd", "vpc", "subformat=dynamic,force_size=on", false, 2040 * GIB},
    {"vhdx", "vhdx", "subformat=dynamic", false, 64 * TIB},
};

const char image_formats[] = "raw, qcow2, vmdk, vhd or vhdx";

static const struct format *find_format(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(formats); i++)
		if (text_equal(formats[i].name, name))
			return &formats[i];
	return NULL;
}

int image_format_check(const char *format, struct err *e)
{
	if (find_format(format))
		return 0;
	return err_set(e, ERR_INVALID, "the format of an export is %s, not '%.40s'", image_formats,
		       format);
}

struct progress {
	uint64_t size;
	image_step_fn *step;
	void *context;
};

/* qemu-img writes "    (12.34/100%)\r" again and again; ends when it closes its output. */
static void follow_progress(int fd, const struct progress *p)
{
	char text[256];
	size_t used = 0;
	ssize_t n;

	while ((n = read(fd, text + used, sizeof text - 1 - used)) > 0 ||
	       (n < 0 && errno == EINTR)) {
		char *open;

		used += n > 0 ? (size_t)n : 0;
		text[used] = 0;
		open = strrchr(text, '(');
		if (open && strstr(open, "/100%")) {
			if (p->step)
				p->step(p->context,
					(uint64_t)(strtod(open + 1, NULL) / 100 * (double)p->size),
					p->size);
			used = 0;
		} else if (used == sizeof text - 1) {
			used = 0;
		}
	}
}

static int full(struct err *e)
{
	return err_set(e, ERR_FULL, "its file system is full: make room there");
}

/* The last line that qemu-img wrote, as a sentence of ours. Not every format says why a write
 * failed, but with what was written still there the file system tells. */
static int explain(const char *log_file, const char *part, struct err *e)
{
	uint64_t free_bytes = 0, total_bytes = 0;
	char line[300];

	if (file_space(part, &free_bytes, &total_bytes, NULL) == 0 && free_bytes < FULL_BYTES)
		return full(e);
	serve_last_line(log_file, line, sizeof line);
	return err_set(e, ERR_IO, "qemu-img could not write it: %s",
		       *line ? line : "it was ended by a signal");
}

static int convert(const char *uri, const struct format *format, const char *part,
		   const char *log_file, const struct progress *progress, struct err *e)
{
	const char *argv[20] = {"qemu-img", "convert", "-p", "-S",	    "4k",
				"-f",	    "raw",     "-O", format->driver};
	struct process_fd fds[1];
	struct process_plan plan = {.argv = argv, .fds = fds, .fd_count = 1, .log_file = log_file};
	int out[2], status, n = 9;
	pid_t pid;

	if (format->any_order)
		argv[n++] = "-W";
	if (format->options) {
		argv[n++] = "-o";
		argv[n++] = format->options;
	}
	argv[n++] = uri;
	argv[n++] = part;
	if (pipe2(out, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	fds[0] = (struct process_fd){out[1], 1};
	if (process_start(&plan, &pid, e) < 0) {
		close(out[0]);
		close(out[1]);
		return -1;
	}
	close(out[1]);
	follow_progress(out[0], progress);
	close(out[0]);
	if (process_wait(pid, -1, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return explain(log_file, part, e);
}

static int export_served(const char *store_where, const struct name *root,
			 const struct format *format, const char *part, const char *scratch_dir,
			 const struct progress *progress, struct err *e)
{
	struct serve_disk disk = {"disk0", *root};
	char *socket_path = xasprintf("%s/export.sock", scratch_dir);
	char *log_file = xasprintf("%s/export.log", scratch_dir);
	char *uri = serve_uri(socket_path, disk.export_name);
	pid_t server;
	int result = image_serve(store_where, &disk, 1, socket_path, log_file, false, &server, e);

	if (result == 0) {
		result = convert(uri, format, part, log_file, progress, e);
		process_stop(server, 5000);
		unlink(socket_path);
	}
	free(uri);
	free(log_file);
	free(socket_path);
	return result;
}

static int export_raw(struct version *v, const char *part, const struct progress *p, struct err *e)
{
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), result;

	if (fd < 0)
		return err_errno(e, errno, "cannot make '%s'", part);
	if (ftruncate(fd, (off_t)p->size) < 0)
		result = err_errno(e, errno, "cannot make '%s' as large as the disk", part);
	else
		result = version_write(v, fd, p->step, p->context, e);
	if (result < 0 && e && e->kind == ERR_FULL)
		full(e);
	close(fd);
	return result;
}

/* Make what was written durable and give it its name. */
static int finish(const char *part, const char *path, struct err *e)
{
	int fd = open(part, O_RDWR | O_CLOEXEC);
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	int result = -1;

	if (slash)
		slash[slash == dir] = 0;
	if (fd < 0 || fsync(fd) < 0 || rename(part, path) < 0)
		err_errno(e, errno, "cannot finish");
	else
		result = file_sync_dir(slash ? dir : ".", e);
	if (fd >= 0)
		close(fd);
	free(dir);
	return result;
}

static int check_size(const struct format *format, uint64_t size, struct err *e)
{
	char most[24];

	if (!format->max_bytes || size <= format->max_bytes)
		return 0;
	size_text(format->max_bytes, most);
	return err_set(e, ERR_INVALID, "a disk in the format %s has at most %s: choose another",
		       format->name, most);
}

int image_export(const char *store_where, const struct name *root, const char *format_name,
		 const char *path, const char *scratch_dir, image_step_fn *step, void *context,
		 struct err *e)
{
	const struct format *format = find_format(format_name);
	struct progress progress = {.step = step, .context = context};
	struct version_cache *cache = version_cache_new(EXPORT_CACHE_BYTES);
	struct version *version = NULL;
	struct store *store = NULL;
	struct lease *lease = NULL;
	char *part = xasprintf("%s.part", path);
	int result = -1;

	if (image_format_check(format_name, e) < 0 ||
	    store_open(store_where, false, false, &store, e) < 0 ||
	    lease_take(store, root, 1, "image export", &lease, e) < 0 ||
	    version_open(store, root, cache, &version, e) < 0)
		goto out;
	progress.size = version_size(version);
	if (check_size(format, progress.size, e) < 0)
		goto out;
	if (text_equal(format->name, "raw"))
		result = export_raw(version, part, &progress, e);
	else
		result = export_served(store_where, root, format, part, scratch_dir, &progress, e);
	if (result == 0)
		result = finish(part, path, e);
	if (result < 0)
		unlink(part);
out:
	if (result < 0)
		err_prefix(e, "cannot export to '%s'", path);
	version_close(version);
	version_cache_free(cache);
	lease_release(lease);
	if (store)
		store_close(store);
	free(part);
	return result;
}
