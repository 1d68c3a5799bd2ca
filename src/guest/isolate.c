// SPDX-License-Identifier: Apache-2.0
#include "guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/isolate.h"

static int write_map(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok ? 0 : -1;
}

/* An ordinary user may have a network of its own inside a user namespace of its own. */
static int unshare_as_user(void)
{
	unsigned uid = getuid(), gid = getgid();
	char map[64];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 ||
	    write_map("/proc/self/setgroups", "deny") < 0)
		return -1;
	snprintf(map, sizeof map, "%u %u 1", uid, uid);
	if (write_map("/proc/self/uid_map", map) < 0)
		return -1;
	snprintf(map, sizeof map, "%u %u 1", gid, gid);
	return write_map("/proc/self/gid_map", map);
}

static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);

	if (fd >= 0)
		close(fd);
	return result;
}

int boot_isolate(struct err *e)
{
	if (unshare(CLONE_NEWNET) < 0 && (errno != EPERM || unshare_as_user() < 0))
		return err_errno(
		    e, errno,
		    "cannot have a network namespace for the boot test, without which "
		    "a copy of a server could reach the network; run as root, or allow "
		    "unprivileged user namespaces");
	if (loopback_up() < 0)
		return err_errno(e, errno, "cannot bring up the loopback of the boot test");
	return 0;
}

int require_isolation(struct err *e)
{
	struct if_nameindex *interfaces = if_nameindex();
	const char *other = NULL;
	int result = 0;

	if (!interfaces)
		return err_errno(e, errno, "cannot list the network interfaces");
	for (struct if_nameindex *i = interfaces; i->if_index; i++)
		if (strcmp(i->if_name, "lo") != 0)
			other = i->if_name;
	if (other)
		result = err_set(
		    e, ERR_DENIED,
		    "the boot test would run beside the network interface '%s'; it needs "
		    "a network namespace of its own",
		    other);
	if_freenameindex(interfaces);
	return result;
}
