// SPDX-License-Identifier: Apache-2.0
#include "io/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "io/stream_engine.h"

/* "host:port", "[v6]:port", ":port"; the caller frees both. */
static int split_where(const char *where, int64_t port_min, char **host, char **port, struct err *e)
{
	const char *colon = strrchr(where, ':');
	int64_t number;
	if (!colon)
		return err_set(e, ERR_INVALID, "'%s' is not HOST:PORT", where);
	if (number_parse("the port", colon + 1, port_min, 65535, &number, e) < 0)
		return err_prefix(e, "'%s'", where);
	const char *from = where, *to = colon;
	if (*from == '[') {
		if (to == from || to[-1] != ']')
			return err_set(e, ERR_INVALID, "'%s' is not [ADDRESS]:PORT", where);
		from++;
		to--;
	} else if (memchr(from, ':', (size_t)(to - from))) {
		return err_set(e, ERR_INVALID, "'%s': an IPv6 address goes into [brackets]", where);
	}
	*host = xstrndup(from, (size_t)(to - from));
	*port = xasprintf("%d", (int)number);
	return 0;
}

static int resolve(const char *where, int64_t port_min, int flags, struct addrinfo **out,
		   struct err *e)
{
	char *host, *port;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	if (split_where(where, port_min, &host, &port, e) < 0)
		return -1;
	int code = getaddrinfo(*host ? host : NULL, port, &hints, out);
	free(host);
	free(port);
	if (code == 0)
		return 0;
	return err_set(e, code == EAI_AGAIN ? ERR_UNAVAILABLE : ERR_NOT_FOUND,
		       "cannot find the address of '%s': %s", where,
		       code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
}

static int connect_one(const struct addrinfo *a, const char *where, int64_t ms, int *fd_out,
		       struct err *e)
{
	int failed = 0, on = 1;
	socklen_t size = sizeof failed;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot connect to '%s'", where);
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		if (errno != EINPROGRESS) {
			err_errno(e, errno, "cannot connect to '%s'", where);
			goto fail;
		}
		int n = fd_poll(fd, POLLOUT, ms, e);
		if (n == 0)
			err_set(e, ERR_UNAVAILABLE, "'%s' did not answer within %lld s", where,
				(long long)(ms + 999) / 1000);
		if (n <= 0)
			goto fail;
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size);
		if (failed) {
			err_errno(e, failed, "cannot connect to '%s'", where);
			goto fail;
		}
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	*fd_out = fd;
	return 0;
fail:
	close(fd);
	return -1;
}

int tcp_connect(const char *where, int64_t timeout_ms, int *fd, struct err *e)
{
	struct addrinfo *list;
	int64_t end = clock_mono_ms() + timeout_ms;
	int result = -1;
	if (resolve(where, 1, 0, &list, e) < 0)
		return -1;
	for (struct addrinfo *a = list; a && result < 0; a = a->ai_next) {
		int64_t left = end - clock_mono_ms();
		result = connect_one(a, where, left > 0 ? left : 0, fd, e);
	}
	freeaddrinfo(list);
	return result;
}

static int bound_port(int fd)
{
	struct sockaddr_storage a;
	socklen_t size = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return -1;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					     : ((struct sockaddr_in *)&a)->sin_port);
}

int tcp_listen(const char *where, int *fd_out, int *port_out, struct err *e)
{
	struct addrinfo *list;
	int on = 1;
	if (resolve(where, 0, AI_PASSIVE, &list, e) < 0)
		return -1;
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto fail;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		goto fail;
	if (port_out)
		*port_out = bound_port(fd);
	*fd_out = fd;
	freeaddrinfo(list);
	return 0;
fail:
	if (errno == EADDRINUSE)
		err_set(e, ERR_BUSY,
			"cannot listen at '%s': another program does; end it or choose another "
			"port",
			where);
	else
		err_errno(e, errno, "cannot listen at '%s'", where);
	if (fd >= 0)
		close(fd);
	freeaddrinfo(list);
	return -1;
}
