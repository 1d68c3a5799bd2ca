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

#define EXPORT_CACHE_BYTES (8 * MIB)

/* The size of the version; opening it here gives the plain error when it is not there. */
static int read_size(const char *store_where, const struct name *root, uint64_t *size,
		     struct err *e)
{
	struct version *version = NULL;
	struct store *store = NULL;
	int result = -1;

	if (store_open(store_where, false, false, &store, e) < 0)
		return -1;
	if (version_open(store, root, EXPORT_CACHE_BYTES, &version, e) == 0) {
		*size = version_size(version);
		version_close(version);
		result = 0;
	}
	store_close(store);
	return result;
}

/* qemu-img writes "    (12.34/100%)\r" again and again; ends when it closes its output. */
static void follow_progress(int fd, image_step_fn *step, void *context)
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
			if (step)
				step(context, strtod(open + 1, NULL));
			used = 0;
		} else if (used == sizeof text - 1) {
			used = 0;
		}
	}
}

static int convert(const char *uri, const char *format, const char *part, const char *log_file,
		   image_step_fn *step, void *context, struct err *e)
{
	const char *const argv[] = {"qemu-img", "convert", "-p",   "-W", "-S", "4k", "-f",
				    "raw",	"-O",	   format, uri,	 part, NULL};
	struct process_fd fds[1];
	struct process_plan plan = {.argv = argv, .fds = fds, .fd_count = 1, .log_file = log_file};
	int out[2], status;
	char line[300];
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	fds[0] = (struct process_fd){out[1], 1};
	if (process_start(&plan, &pid, e) < 0) {
		close(out[0]);
		close(out[1]);
		return -1;
	}
	close(out[1]);
	follow_progress(out[0], step, context);
	close(out[0]);
	if (process_wait(pid, -1, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	serve_last_line(log_file, line, sizeof line);
	return err_set(e, ERR_IO, "qemu-img could not write it: %s",
		       *line ? line : "it was ended by a signal");
}

/* Make what was written durable and give it its name. `size` 0: leave the length alone. */
static int finish(const char *part, const char *path, uint64_t size, struct err *e)
{
	int fd = open(part, O_RDWR | O_CLOEXEC);
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	int result = -1;

	if (slash)
		slash[slash == dir] = 0;
	if (fd < 0 || (size && ftruncate(fd, (off_t)size) < 0) || fsync(fd) < 0 ||
	    rename(part, path) < 0)
		err_errno(e, errno, "cannot finish");
	else
		result = file_sync_dir(slash ? dir : ".", e);
	if (fd >= 0)
		close(fd);
	free(dir);
	return result;
}

int image_export(const char *store_where, const struct name *root, const char *format,
		 const char *path, const char *scratch_dir, image_step_fn *step, void *context,
		 struct err *e)
{
	struct serve_disk disk = {"disk0", *root};
	char *socket_path = xasprintf("%s/export.sock", scratch_dir);
	char *log_file = xasprintf("%s/export.log", scratch_dir);
	char *part = xasprintf("%s.part", path), *uri = serve_uri(socket_path, disk.export_name);
	uint64_t size = 0;
	pid_t server;
	int result = -1;

	if (!text_equal(format, "raw") && !text_equal(format, "qcow2")) {
		err_set(e, ERR_INVALID, "'%s' is no format of an export; raw and qcow2 are",
			format);
		goto out;
	}
	if (read_size(store_where, root, &size, e) < 0 ||
	    image_serve(store_where, &disk, 1, socket_path, log_file, false, &server, e) < 0)
		goto out;
	result = convert(uri, format, part, log_file, step, context, e);
	process_stop(server, 5000);
	unlink(socket_path);
	if (result == 0) /* qemu-img pads a disk that is no multiple of 512 bytes */
		result = finish(part, path, text_equal(format, "raw") ? size : 0, e);
	if (result < 0)
		unlink(part);
out:
	if (result < 0)
		err_prefix(e, "cannot export to '%s'", path);
	free(uri);
	free(part);
	free(log_file);
	free(socket_path);
	return result;
}
