// SPDX-License-Identifier: Apache-2.0
#include "io/process_child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

void child_prepare(struct child *c)
{
	c->parent = getpid();
	snprintf(c->uid_map, sizeof c->uid_map, "%u %u 1", geteuid(), geteuid());
	snprintf(c->gid_map, sizeof c->gid_map, "%u %u 1", getegid(), getegid());
}

const char *child_step_text(enum child_step step)
{
	switch (step) {
	case CHILD_FDS: return "cannot arrange its descriptors";
	case CHILD_DEATH_SIGNAL: return "cannot tie it to its parent";
	case CHILD_NETWORK: return "cannot give it a network namespace of its own";
	case CHILD_EXEC: return "the program file cannot be executed";
	}
	return "unknown";
}

static _Noreturn void give_up(const struct child *c, enum child_step step)
{
	struct child_report report = {step, errno};
	ssize_t ignored = write(c->report, &report, sizeof report);
	(void)ignored;
	_exit(127);
}

/* First away from the numbers that will be assigned, then onto them, so that neither the order nor
 * an overlap matters. Everything else closes at exec. */
static int arrange_fds(struct child *c)
{
	int above = 2;
	for (unsigned i = 0; i < c->fd_count; i++)
		if (c->fds[i].to > above)
			above = c->fds[i].to;
	c->report = fcntl(c->report, F_DUPFD_CLOEXEC, above + 1);
	if (c->report < 0)
		return -1;
	for (unsigned i = 0; i < c->fd_count; i++) {
		c->fds[i].from = fcntl(c->fds[i].from, F_DUPFD_CLOEXEC, above + 1);
		if (c->fds[i].from < 0)
			return -1;
	}
	if (close_range(0, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return -1;
	for (unsigned i = 0; i < c->fd_count; i++)
		if (dup2(c->fds[i].from, c->fds[i].to) < 0)
			return -1;
	return 0;
}

static int write_text(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

/* Who may not make a network namespace may make one inside a user namespace of his own, in which he
 * stays who he is. */
static int leave_network(const struct child *c)
{
	if (unshare(CLONE_NEWNET) < 0) {
		if (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
			return -1;
		if (write_text("/proc/self/setgroups", "deny") < 0 ||
		    write_text("/proc/self/uid_map", c->uid_map) < 0 ||
		    write_text("/proc/self/gid_map", c->gid_map) < 0)
			return -1;
	}
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int result = ioctl(fd, SIOCSIFFLAGS, &lo);
	int kept = errno;
	close(fd);
	errno = kept;
	return result;
}

static int die_with_parent(const struct child *c)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -1;
	if (getppid() != c->parent) { /* it ended before we asked */
		errno = ESRCH;
		return -1;
	}
	return 0;
}

/* What the parent ignores or blocks is its own affair. */
static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn void child_become(struct child *c)
{
	if (arrange_fds(c) < 0)
		give_up(c, CHILD_FDS);
	reset_signals();
	if (c->no_network && leave_network(c) < 0)
		give_up(c, CHILD_NETWORK);
	/* After the namespaces: a change of credentials clears the death signal. */
	if (c->keep_alive)
		setsid();
	else if (die_with_parent(c) < 0)
		give_up(c, CHILD_DEATH_SIGNAL);
	execve(c->program, c->argv, c->env);
	give_up(c, CHILD_EXEC);
}
