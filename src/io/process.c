// SPDX-License-Identifier: Apache-2.0
#include "io/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/shape.h"
#include "io/file.h"
#include "io/process_child.h"
#include "io/stream_engine.h"

extern char **environ;

/* Which Debian package brings a program, where the name does not say it. */
static const char *package_of(const char *program)
{
	static const char *const known[][2] = {
	    {"qemu-img", "qemu-utils"},
	    {"qemu-nbd", "qemu-utils"},
	    {"qemu-storage-daemon", "qemu-system-common"},
	    {"nbdinfo", "libnbd-bin"},
	    {"virt-diff", "guestfs-tools"},
	    {"qemu-system-x86_64", "qemu-system-x86"},
	    {"tesseract", "tesseract-ocr"},
	    {"guestfish", "libguestfs-tools"},
	    {"virt-customize", "libguestfs-tools"},
	    {"sfdisk", "fdisk"},
	    {"mkfs.ext4", "e2fsprogs"},
	};
	for (unsigned i = 0; i < COUNT_OF(known); i++)
		if (strcmp(program, known[i][0]) == 0)
			return known[i][1];
	return program;
}

/* The file of a program; the caller frees. */
static char *find_program(const char *name, struct err *e)
{
	if (strchr(name, '/'))
		return xstrdup(name);
	const char *path = getenv("PATH");
	char *list = xstrdup(path ? path : "/usr/local/bin:/usr/bin:/bin"), *save = NULL;
	char *found = NULL;
	for (char *dir = strtok_r(list, ":", &save); dir && !found;
	     dir = strtok_r(NULL, ":", &save)) {
		char *file = xasprintf("%s/%s", dir, name);
		if (access(file, X_OK) == 0)
			found = file;
		else
			free(file);
	}
	free(list);
	if (!found)
		err_set(e, ERR_NOT_FOUND, "cannot start '%s': not found; install the %s package",
			name, package_of(name));
	return found;
}

static char **make_environment(const char *const *more)
{
	struct list env = {0};
	const char *path = getenv("PATH");
	*(char **)list_push(&env, sizeof(char *)) = xasprintf(
	    "PATH=%s", path ? path : "/usr/local/bin:/usr/bin:/bin");
	*(char **)list_push(&env, sizeof(char *)) = xstrdup("LANG=C");
	for (char **v = environ; v && *v; v++)
		if (text_starts(*v, "GODWIT_"))
			*(char **)list_push(&env, sizeof(char *)) = xstrdup(*v);
	for (; more && *more; more++)
		*(char **)list_push(&env, sizeof(char *)) = xstrdup(*more);
	list_push(&env, sizeof(char *));
	return env.items;
}

static void free_environment(char **env)
{
	for (char **v = env; v && *v; v++)
		free(*v);
	free(env);
}

static bool plan_gives(const struct process_plan *plan, int to)
{
	for (unsigned i = 0; i < plan->fd_count; i++)
		if (plan->fds[i].to == to)
			return true;
	return false;
}

static int child_said(int report, const char *program, struct err *e)
{
	struct child_report said;
	ssize_t n;
	do
		n = read(report, &said, sizeof said);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0; /* exec closed it */
	if (n != sizeof said)
		return err_set(e, ERR_IO, "cannot start '%s': it died before it began", program);
	return err_errno(e, said.errnum, "cannot start '%s': %s", program,
			 child_step_text(said.step));
}

/* All descriptors of the child as they shall be, 0 to 2 included. */
static int plan_fds(const struct process_plan *plan, struct process_fd **fds, unsigned *count,
		    int *null_fd, int *log_fd, struct err *e)
{
	*null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (*null_fd < 0)
		return err_errno(e, errno, "cannot open /dev/null");
	if (plan->log_file) {
		*log_fd = open(plan->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (*log_fd < 0)
			return err_errno(e, errno, "cannot open the log '%s'", plan->log_file);
	}
	*fds = xcalloc(plan->fd_count + 3, sizeof **fds);
	for (*count = 0; *count < plan->fd_count; (*count)++)
		(*fds)[*count] = plan->fds[*count];
	for (int to = 0; to < 3; to++)
		if (!plan_gives(plan, to))
			(*fds)[(*count)++] = (struct process_fd){
			    to && *log_fd >= 0 ? *log_fd : *null_fd, to};
	return 0;
}

int process_start(const struct process_plan *plan, pid_t *pid, struct err *e)
{
	struct child child = {.no_network = plan->no_network, .keep_alive = plan->keep_alive};
	int report[2] = {-1, -1}, null_fd = -1, log_fd = -1, result = -1;
	char *program = find_program(plan->argv[0], e), **env = NULL;
	if (!program)
		return -1;
	env = make_environment(plan->env);
	if (plan_fds(plan, &child.fds, &child.fd_count, &null_fd, &log_fd, e) < 0)
		goto out;
	if (pipe2(report, O_CLOEXEC) < 0) {
		err_errno(e, errno, "cannot start '%s'", plan->argv[0]);
		goto out;
	}
	child.program = program;
	child.argv = (char *const *)plan->argv;
	child.env = env;
	child.report = report[1];
	child_prepare(&child);
	pid_t started = fork();
	if (started < 0) {
		err_errno(e, errno, "cannot start '%s'", plan->argv[0]);
		goto out;
	}
	if (started == 0)
		child_become(&child);
	close(report[1]);
	report[1] = -1;
	result = child_said(report[0], plan->argv[0], e);
	if (result < 0)
		waitpid(started, NULL, 0);
	else
		*pid = started;
out:
	for (unsigned i = 0; i < 2; i++)
		if (report[i] >= 0)
			close(report[i]);
	if (null_fd >= 0)
		close(null_fd);
	if (log_fd >= 0)
		close(log_fd);
	free(child.fds);
	free_environment(env);
	free(program);
	return result;
}

static int reap(pid_t pid, int flags, int *status, struct err *e)
{
	int ignored;
	pid_t got;
	do
		got = waitpid(pid, status ? status : &ignored, flags);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_errno(e, errno, "cannot wait for the process %d", (int)pid);
	return got == pid;
}

int process_wait(pid_t pid, int64_t ms, int *status, struct err *e)
{
	int ended = reap(pid, ms < 0 ? 0 : WNOHANG, status, e);
	if (ended != 0 || ms <= 0)
		return ended;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot wait for the process %d", (int)pid);
	int n = fd_poll(fd, POLLIN, ms, e);
	close(fd);
	return n <= 0 ? n : reap(pid, WNOHANG, status, e);
}

void process_stop(pid_t pid, int64_t grace_ms)
{
	if (kill(pid, SIGTERM) == 0 && process_wait(pid, grace_ms, NULL, NULL) == 1)
		return;
	kill(pid, SIGKILL);
	process_wait(pid, -1, NULL, NULL);
}

/* --- run to the end --- */

#define TAIL_BYTES 4096

struct running {
	const struct process_plan *plan;
	pid_t pid;
	int out, err, pidfd; /* -1: not there, or ended */
	struct buf *text;
	size_t start, max;
	struct buf tail; /* of standard error */
};

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int take_output(struct running *r, struct err *e)
{
	char block[16384];
	ssize_t n = read(r->out, block, sizeof block);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		drop(&r->out);
		return 0;
	}
	if (r->text->len - r->start + (size_t)n > r->max)
		return err_set(e, ERR_INVALID, "'%s' printed more than %zu bytes", r->plan->argv[0],
			       r->max);
	buf_add(r->text, block, (size_t)n);
	return 0;
}

static void take_complaint(struct running *r, int log_fd)
{
	char block[TAIL_BYTES];
	ssize_t n = read(r->err, block, sizeof block);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		drop(&r->err);
		return;
	}
	if (log_fd >= 0)
		fd_write_all(log_fd, block, (size_t)n, NULL);
	buf_add(&r->tail, block, (size_t)n);
	if (r->tail.len > TAIL_BYTES) {
		size_t cut = r->tail.len - TAIL_BYTES;
		memmove(r->tail.data, r->tail.data + cut, TAIL_BYTES + 1);
		r->tail.len = TAIL_BYTES;
	}
}

/* Until the process ended and what it had printed was read. A grandchild that holds the pipes open
 * does not keep us. */
static int follow(struct running *r, int64_t timeout_ms, int log_fd, struct err *e)
{
	int64_t end = clock_mono_ms() + timeout_ms;
	bool ended = false;
	while (!ended || r->out >= 0 || r->err >= 0) {
		struct pollfd fds[] = {
		    {r->out, POLLIN, 0}, {r->err, POLLIN, 0}, {ended ? -1 : r->pidfd, POLLIN, 0}};
		int64_t left = timeout_ms < 0 ? -1 : end - clock_mono_ms();
		if (timeout_ms >= 0 && left <= 0)
			return err_set(e, ERR_UNAVAILABLE, "'%s' did not end within %lld s",
				       r->plan->argv[0], (long long)(timeout_ms + 999) / 1000);
		int n = poll(fds, 3, ended ? 0 : left > INT_MAX ? INT_MAX : (int)left);
		if (n < 0 && errno != EINTR)
			return err_errno(e, errno, "cannot wait for '%s'", r->plan->argv[0]);
		if (n == 0 && ended)
			return 0;
		if (n <= 0)
			continue;
		if (fds[0].revents && take_output(r, e) < 0)
			return -1;
		if (fds[1].revents)
			take_complaint(r, log_fd);
		ended = ended || fds[2].revents;
	}
	return 0;
}

/* The last line with something on it. */
static const char *last_line(struct buf *tail)
{
	while (tail->len && strchr("\r\n\t ", tail->data[tail->len - 1]))
		tail->data[--tail->len] = '\0';
	const char *text = buf_str(tail), *line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static int judge(struct running *r, int status, struct err *e)
{
	const char *line = last_line(&r->tail), *name = r->plan->argv[0];
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return err_set(e, ERR_IO, "'%s' was ended by signal %d%s%s", name, WTERMSIG(status),
			       *line ? ": " : "", line);
	return err_set(e, ERR_IO, "'%s' failed with status %d%s%s", name, WEXITSTATUS(status),
		       *line ? ": " : "", line);
}

int process_run(const struct process_plan *plan, int64_t timeout_ms, size_t max, struct buf *out,
		struct err *e)
{
	struct running r = {.plan = plan,
			    .out = -1,
			    .err = -1,
			    .pidfd = -1,
			    .text = out,
			    .start = out ? out->len : 0,
			    .max = max};
	struct process_plan with = *plan;
	struct process_fd *fds = xcalloc(plan->fd_count + 2, sizeof *fds);
	int out_pipe[2] = {-1, -1}, err_pipe[2] = {-1, -1}, log_fd = -1, status, result = -1;
	for (with.fd_count = 0; with.fd_count < plan->fd_count; with.fd_count++)
		fds[with.fd_count] = plan->fds[with.fd_count];
	with.fds = fds;
	if ((out && pipe2(out_pipe, O_CLOEXEC) < 0) || pipe2(err_pipe, O_CLOEXEC) < 0) {
		err_errno(e, errno, "cannot start '%s'", plan->argv[0]);
		goto out;
	}
	if (out)
		fds[with.fd_count++] = (struct process_fd){out_pipe[1], 1};
	if (!plan_gives(plan, 2))
		fds[with.fd_count++] = (struct process_fd){err_pipe[1], 2};
	if (process_start(&with, &r.pid, e) < 0)
		goto out;
	drop(&out_pipe[1]);
	drop(&err_pipe[1]);
	r.out = out_pipe[0];
	r.err = err_pipe[0];
	out_pipe[0] = err_pipe[0] = -1;
	if (plan->log_file)
		log_fd = open(plan->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	r.pidfd = (int)syscall(SYS_pidfd_open, r.pid, 0);
	if (r.pidfd < 0)
		err_errno(e, errno, "cannot wait for '%s'", plan->argv[0]);
	else
		result = follow(&r, timeout_ms, log_fd, e);
	if (result < 0)
		kill(r.pid, SIGKILL);
	if (process_wait(r.pid, -1, &status, result < 0 ? NULL : e) < 0)
		result = -1;
	else if (result == 0)
		result = judge(&r, status, e);
out:
	drop(&out_pipe[0]);
	drop(&out_pipe[1]);
	drop(&err_pipe[0]);
	drop(&err_pipe[1]);
	drop(&r.out);
	drop(&r.err);
	drop(&r.pidfd);
	drop(&log_fd);
	buf_release(&r.tail);
	free(fds);
	return result;
}

char *process_sibling(const char *name)
{
	const char *set = getenv("GODWIT_LIBEXEC");
	char self[PATH_MAX];
	if (set && *set)
		return xasprintf("%s/%s", set, name);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n <= 0)
		return xstrdup(name);
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	char *beside = xasprintf("%s/%s", self, name);
	if (access(beside, F_OK) == 0)
		return beside;
	/* Installed: `godwit` in bin, what people do not type in libexec/godwit. */
	char *installed = xasprintf("%s/../libexec/godwit/%s", self, name);
	bool there = access(installed, F_OK) == 0;
	free(there ? beside : installed);
	return there ? installed : beside;
}
