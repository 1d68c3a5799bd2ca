// SPDX-License-Identifier: Apache-2.0
#include "copy/sandbox.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <seccomp.h>

#include "base/mem.h"

/* The rights of the first version of Landlock: every kernel that has it knows these. */
#define LANDLOCK_ALL ((1ull << 13) - 1)

static int deny_files(struct err *e)
{
	struct landlock_ruleset_attr all = {.handled_access_fs = LANDLOCK_ALL};
	int fd = (int)syscall(__NR_landlock_create_ruleset, &all, sizeof all, 0);
	int result;

	if (fd < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP
			   ? 0
			   : err_errno(e, errno, "cannot make the file system out of reach");
	result = (int)syscall(__NR_landlock_restrict_self, fd, 0);
	if (result)
		err_errno(e, errno, "cannot make the file system out of reach");
	close(fd);
	return result;
}

static const int denied[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(creat),
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(bpf),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(kill),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat2),
};

static int add_rules(scmp_filter_ctx filter)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < COUNT_OF(denied); i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
	/* Threads yes, processes no. The arguments of clone3 cannot be seen, so the C library is
	 * told that there is none and takes clone. */
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
					  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	return result;
}

int sandbox_enter(struct err *e)
{
	scmp_filter_ctx filter;
	int result;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, errno, "cannot give up new privileges");
	if (deny_files(e))
		return -1;
	filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return err_set(e, ERR_IO, "cannot make a filter of system calls");
	result = add_rules(filter);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	if (result)
		return err_errno(e, -result, "cannot filter the system calls");
	return 0;
}
