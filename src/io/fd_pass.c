// SPDX-License-Identifier: Apache-2.0
#include "io/process.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 4

union control {
	struct cmsghdr header; /* for its alignment */
	char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

int fd_send(int socket, const void *data, size_t n, const int *fds, unsigned fd_count,
	    struct err *e)
{
	assert(fd_count <= FDS_MAX && n > 0);
	union control control = {0};
	struct iovec part = {(void *)data, n};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (fd_count) {
		message.msg_control = control.room;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	while (part.iov_len) {
		ssize_t put = sendmsg(socket, &message, MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, errno, "cannot send over the unix socket");
		part.iov_base = (char *)part.iov_base + put;
		part.iov_len -= (size_t)put;
		message.msg_control = NULL; /* the descriptors went with the first bytes */
		message.msg_controllen = 0;
	}
	return 0;
}

static void take_fds(struct msghdr *message, int *fds, unsigned *count)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < n && *count < FDS_MAX; i++)
			memcpy(&fds[(*count)++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

int fd_receive(int socket, void *data, size_t max, int *fds, unsigned *fd_count, struct err *e)
{
	union control control = {0};
	struct iovec part = {data, max};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof control.room};
	ssize_t got;
	*fd_count = 0;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_errno(e, errno, "cannot receive over the unix socket");
	take_fds(&message, fds, fd_count);
	if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
		while (*fd_count)
			close(fds[--*fd_count]);
		return err_set(e, ERR_INVALID,
			       "the other side sent more than %zu bytes or %d descriptors", max,
			       FDS_MAX);
	}
	return (int)got;
}
