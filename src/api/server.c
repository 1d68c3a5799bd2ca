// SPDX-License-Identifier: Apache-2.0
#include "api/server.h"

#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "io/file.h"

#define THREADS_DEFAULT		4
#define CONNECTION_TIMEOUT_S	30
#define CONNECTIONS_PER_ADDRESS (LIMIT_CONNECTIONS / 2)
/* Of one connection, for headers and the line buffers: more than our own limit, so that too many
 * headers are answered by us, with a body that the clients understand. */
#define CONNECTION_MEMORY_BYTES (4 * LIMIT_REQUEST_HEADER_BYTES)
#define PEM_MAX_BYTES		(256 * KIB)

struct api_server {
	struct MHD_Daemon *daemon;
	struct service *service;
	char *region;
	char *cert, *key; /* PEM */
};

/* One request while it arrives. */
struct arriving {
	char *uri; /* as sent, query included */
	struct buf body;
	size_t dropped; /* bytes beyond the limit */
};

struct header_list {
	const char **items;
	unsigned count, cap;
};

/* --- requests -------------------------------------------------------------------------------- */

/* Called with the first line of a request; what it returns is the request's context. */
static void *arrived(void *cls, const char *uri, struct MHD_Connection *connection)
{
	(void)cls;
	(void)connection;
	struct arriving *a = xcalloc(1, sizeof *a);
	a->uri = xstrdup(uri);
	return a;
}

static void completed(void *cls, struct MHD_Connection *connection, void **context,
		      enum MHD_RequestTerminationCode why)
{
	(void)cls;
	(void)connection;
	(void)why;
	struct arriving *a = *context;
	if (!a)
		return;
	free(a->uri);
	buf_release(&a->body);
	free(a);
	*context = NULL;
}

static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name,
				      const char *value)
{
	(void)kind;
	struct header_list *list = cls;
	VEC_GROW(list->items, list->count, list->cap);
	list->items[list->count++] = name;
	VEC_GROW(list->items, list->count, list->cap);
	list->items[list->count++] = value ? value : "";
	return MHD_YES;
}

static enum MHD_Result respond(struct MHD_Connection *connection, int status, struct buf *body,
			       const char *request_id)
{
	size_t len = body->len;
	char *text = buf_detach_str(body);
	struct MHD_Response *response = MHD_create_response_from_buffer(len, text,
									MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/x-amz-json-1.1");
	MHD_add_response_header(response, "x-amzn-RequestId", request_id);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	enum MHD_Result result = MHD_queue_response(connection, (unsigned)status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer(struct api_server *s, struct MHD_Connection *connection,
			      const char *method, struct arriving *a, size_t body_len)
{
	struct header_list headers = {0};
	struct buf body = {0};
	char request_id[40];
	MHD_get_connection_values(connection, MHD_HEADER_KIND, collect_header, &headers);
	VEC_GROW(headers.items, headers.count, headers.cap);
	headers.items[headers.count] = NULL;
	int status = api_handle(s->service, s->region, method, a->uri, headers.items, a->body.data,
				body_len, clock_now_ms(), &body, request_id);
	free(headers.items);
	return respond(connection, status, &body, request_id);
}

/* Called first with the headers, then with each piece of the body, then once with an empty one. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *data_len, void **context)
{
	(void)url;
	(void)version;
	struct api_server *s = cls;
	struct arriving *a = *context;
	if (!a)
		return MHD_NO;
	if (!a->body.cap) {
		buf_reserve(&a->body, 1);
		const char *told = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
							       MHD_HTTP_HEADER_CONTENT_LENGTH);
		unsigned long long len = told ? strtoull(told, NULL, 10) : 0;
		/* Refused before its body is read; the connection ends with the answer. */
		if (len > LIMIT_REQUEST_BODY_BYTES)
			return answer(s, connection, method, a, LIMIT_REQUEST_BODY_BYTES + 1);
		return MHD_YES;
	}
	if (*data_len) {
		size_t room = LIMIT_REQUEST_BODY_BYTES - a->body.len;
		size_t take = *data_len < room ? *data_len : room;
		buf_add(&a->body, data, take);
		a->dropped += *data_len - take;
		*data_len = 0;
		return a->dropped > LIMIT_REQUEST_BODY_BYTES ? MHD_NO : MHD_YES;
	}
	return answer(s, connection, method, a, a->body.len + (a->dropped ? 1 : 0));
}

/* --- starting -------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* "host:port" or "[host]:port" */
static int resolve(const char *listen, struct addrinfo **out, struct err *e)
{
	char host[256];
	const char *colon = strrchr(listen, ':');
	size_t n = colon ? (size_t)(colon - listen) : 0;
	int64_t port;
	if (!n || n >= sizeof host)
		return err_set(e, ERR_INVALID,
			       "the address to listen on must be <host>:<port>, not '%.128s'",
			       listen);
	if (number_parse("the port to listen on", colon + 1, 0, 65535, &port, e))
		return -1;
	bool bracketed = listen[0] == '[' && listen[n - 1] == ']';
	snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), listen + bracketed);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	int rc = getaddrinfo(host, colon + 1, &hints, out);
	if (rc)
		return err_set(e, ERR_INVALID, "cannot find the address '%.128s' to listen on: %s",
			       host, gai_strerror(rc));
	return 0;
}

static int read_pem(const char *path, char **out, struct err *e)
{
	struct buf text = {0};
	if (file_read(path, PEM_MAX_BYTES, &text, e)) {
		buf_release(&text);
		return -1;
	}
	*out = buf_detach_str(&text);
	return 0;
}

static int start_daemon(struct api_server *s, const struct api_config *config,
			const struct sockaddr *address, struct err *e)
{
	struct MHD_OptionItem tls[] = {
	    {MHD_OPTION_HTTPS_MEM_CERT, 0, s->cert},
	    {MHD_OPTION_HTTPS_MEM_KEY, 0, s->key},
	    {MHD_OPTION_HTTPS_PRIORITIES, 0,
	     (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
	    {MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
	unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD;
	flags |= address->sa_family == AF_INET6 ? MHD_USE_IPv6 : 0;
	flags |= s->cert ? MHD_USE_TLS : 0;
	s->daemon = MHD_start_daemon(
	    flags, 0, NULL, NULL, handle, s, MHD_OPTION_ARRAY, s->cert ? tls : none,
	    MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_THREAD_POOL_SIZE,
	    config->threads ? config->threads : THREADS_DEFAULT, MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)LIMIT_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	    (unsigned)CONNECTIONS_PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_URI_LOG_CALLBACK, arrived, NULL,
	    MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
	if (s->daemon)
		return 0;
	return err_set(e, ERR_IO, "cannot serve on %s: is another program listening there%s?",
		       config->listen,
		       s->cert ? ", and are certificate and key a pair in PEM form" : "");
}

int api_server_start(const struct api_config *config, struct service *service,
		     struct api_server **out, int *port, struct err *e)
{
	struct api_server *s = xcalloc(1, sizeof *s);
	struct addrinfo *address = NULL;
	s->service = service;
	s->region = xstrdup(config->region);
	if (resolve(config->listen, &address, e))
		goto fail;
	if (!config->cert_file && !is_loopback(address->ai_addr)) {
		err_set(e, ERR_DENIED,
			"%s is not a loopback address, and without a certificate there is only "
			"plain HTTP, which never leaves this host: give a certificate and its key",
			config->listen);
		goto fail;
	}
	if (config->cert_file && !config->key_file) {
		err_set(e, ERR_INVALID, "the certificate %s needs its key file", config->cert_file);
		goto fail;
	}
	if (config->cert_file &&
	    (read_pem(config->cert_file, &s->cert, e) || read_pem(config->key_file, &s->key, e)))
		goto fail;
	if (start_daemon(s, config, address->ai_addr, e))
		goto fail;
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon,
							       MHD_DAEMON_INFO_BIND_PORT);
	*port = info ? info->port : 0;
	freeaddrinfo(address);
	*out = s;
	return 0;
fail:
	if (address)
		freeaddrinfo(address);
	api_server_stop(s);
	return -1;
}

void api_server_stop(struct api_server *s)
{
	if (!s)
		return;
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	free(s->region);
	free(s->cert);
	free(s->key);
	free(s);
}
