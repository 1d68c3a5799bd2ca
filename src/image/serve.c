// SPDX-License-Identifier: Apache-2.0
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "image/serve.h"
#include "io/process.h"

#define PLUGIN		 "nbdkit-godwit-plugin.so"
#define START_TIMEOUT_MS 30000
#define START_POLL_MS	 20
#define GREETING_MS	 1000

char *serve_uri(const char *socket_path, const char *export_name)
{
	struct buf uri = {0};

	buf_printf(&uri, "nbd+unix:///%s?socket=", export_name);
	for (const char *p = socket_path; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9') || strchr("/-._~", *p);

		if (plain)
			buf_add_byte(&uri, (uint8_t)*p);
		else
			buf_printf(&uri, "%%%02X", (unsigned char)*p);
	}
	return buf_detach_str(&uri);
}

void serve_last_line(const char *log_file, char *out, size_t size)
{
	char tail[1024];
	int fd = log_file ? open(log_file, O_RDONLY | O_CLOEXEC) : -1;
	off_t end;
	ssize_t n;
	char *line;

	out[0] = 0;
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	n = pread(fd, tail, sizeof tail - 1,
		  end > (off_t)sizeof tail - 1 ? end - (off_t)sizeof tail + 1 : 0);
	close(fd);
	while (n > 0 && strchr("\r\n ", tail[n - 1]))
		n--;
	if (n <= 0)
		return;
	tail[n] = 0;
	line = strrchr(tail, '\n');
	snprintf(out, size, "%s", line ? line + 1 : tail);
}

static int set_address(struct sockaddr_un *address, const char *path, struct err *e)
{
	size_t room = sizeof address->sun_path;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if ((size_t)snprintf(address->sun_path, room, "%s", path) >= room)
		return err_set(e, ERR_INVALID,
			       "the path '%s…' is longer than the %zu bytes that a unix socket "
			       "allows; use a shorter folder",
			       address->sun_path, room - 1);
	return 0;
}

static int dial(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool accepts(const struct sockaddr_un *address)
{
	int fd = dial(address);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* nbdkit listens before the plugin has opened its store, and greets after. It is left as the
 * protocol wants it (NBD_OPT_ABORT), so that nothing is logged. */
static bool greets(const struct sockaddr_un *address)
{
	static const uint8_t leave[20] = {0,   0,   0, 3, 'I', 'H', 'A', 'V', 'E', 'O',
					  'P', 'T', 0, 0, 0,   2,   0,	 0,   0,   0};
	char greeting[18];
	int fd = dial(address);
	struct pollfd wait = {fd, POLLIN, 0};
	bool ok = fd >= 0 && poll(&wait, 1, GREETING_MS) == 1 &&
		  recv(fd, greeting, sizeof greeting, MSG_WAITALL) == sizeof greeting;

	if (ok && send(fd, leave, sizeof leave, MSG_NOSIGNAL) == sizeof leave &&
	    poll(&wait, 1, GREETING_MS) == 1)
		recv(fd, greeting, sizeof greeting, 0);

	if (fd >= 0)
		close(fd);
	return ok;
}

static int wait_until_ready(pid_t pid, const char *name, const struct sockaddr_un *address,
			    const char *log_file, struct err *e)
{
	int64_t end = clock_mono_ms() + START_TIMEOUT_MS;
	int status;

	while (!greets(address)) {
		int ended = process_wait(pid, START_POLL_MS, &status, e);

		if (ended < 0)
			return -1;
		if (ended) {
			char line[300];

			serve_last_line(log_file, line, sizeof line);
			return err_set(e, ERR_IO, "the NBD server %s did not start: %s", name,
				       *line ? line : "it says nothing of why");
		}
		if (clock_mono_ms() > end) {
			process_stop(pid, 1000);
			return err_set(e, ERR_UNAVAILABLE,
				       "the NBD server %s did not listen on '%s' within %d s", name,
				       address->sun_path, START_TIMEOUT_MS / 1000);
		}
	}
	return 0;
}

/* The socket is made with mode 0700 at once and is 0600 when we return. The umask is the whole
 * process's: what another thread makes in that moment is closed to others too, never opened. */
static int start_private(const struct process_plan *plan, pid_t *pid, struct err *e)
{
	mode_t before = umask(0077);
	int result = process_start(plan, pid, e);

	umask(before);
	return result;
}

/* What a server that died left behind goes; a socket in use and every other file stay. */
static int clear_way(const char *path, const struct sockaddr_un *address, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0 && errno == ENOENT)
		return 0;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return err_set(e, ERR_CONFLICT, "'%s' is in the way and no socket: name another",
			       path);
	if (accepts(address))
		return err_set(e, ERR_BUSY, "another server listens at '%s': name another socket",
			       path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the old socket '%s'", path);
	return 0;
}

int serve_start(const struct process_plan *plan, const char *name, const char *socket_path,
		pid_t *pid, struct err *e)
{
	struct sockaddr_un address;
	int result;

	if (set_address(&address, socket_path, e) < 0 || clear_way(socket_path, &address, e) < 0 ||
	    start_private(plan, pid, e) < 0)
		return -1;
	result = wait_until_ready(*pid, name, &address, plan->log_file, e);
	if (result == 0 && chmod(socket_path, 0600) < 0) {
		result = err_errno(e, errno, "cannot make the socket '%s' private", socket_path);
		process_stop(*pid, 1000);
	}
	return result;
}

int image_serve(const char *store_where, const struct serve_disk *disks, unsigned count,
		const char *socket_path, const char *log_file, bool keep_alive, pid_t *pid,
		struct err *e)
{
	const char *argv[16 + LIMIT_DISKS_PER_SERVER] = {
	    "nbdkit", "--foreground", "--readonly", "--log=stderr", "--unix", socket_path};
	char *disk_args[LIMIT_DISKS_PER_SERVER];
	char *plugin = process_sibling(PLUGIN), *store_arg = xasprintf("store=%s", store_where);
	char **environment = store_environment(store_where);
	struct process_plan plan = {.argv = argv,
				    .log_file = log_file,
				    .env = (const char *const *)environment,
				    .keep_alive = keep_alive};
	unsigned n = 6;
	int result = -1;

	if (count == 0 || count > LIMIT_DISKS_PER_SERVER) {
		err_set(e, ERR_INVALID, "%u disks cannot be served; from 1 to %d can", count,
			LIMIT_DISKS_PER_SERVER);
		count = 0;
		goto out;
	}
	argv[n++] = plugin;
	argv[n++] = store_arg;
	for (unsigned i = 0; i < count; i++) {
		char hex[NAME_HEX_BYTES];

		name_hex(&disks[i].root, hex);
		disk_args[i] = xasprintf("%s=%s", disks[i].export_name, hex);
		argv[n++] = disk_args[i];
	}
	result = serve_start(&plan, "nbdkit", socket_path, pid, e);
out:
	for (unsigned i = 0; i < count; i++)
		free(disk_args[i]);
	store_environment_free(environment);
	free(store_arg);
	free(plugin);
	return result;
}
