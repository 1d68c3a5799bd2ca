// SPDX-License-Identifier: Apache-2.0
/* The API door: HTTP(S) by libmicrohttpd, authentication, dispatch. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/op.h"
#include "base/mem.h"
#include "job/service.h"

struct api_config {
	const char *listen;		  /* "127.0.0.1:8443" */
	const char *cert_file, *key_file; /* NULL: plain HTTP, refused off loopback */
	const char *region;		  /* that scopes must name; NULL: any */
	unsigned threads;		  /* 0: 4 */
};

struct api_server;

int api_server_start(const struct api_config *config, struct service *service,
		     struct api_server **out, int *port, struct err *e);
void api_server_stop(struct api_server *s);

/* One request as bytes: the whole of the door but the sockets (also the fuzz target's and the unit
 * tests' entry). Returns the HTTP status; `body` and `request_id` get the answer. */
int api_handle(struct service *service, const char *region, const char *method, const char *path,
	       const char *const *headers /* name, value, …, NULL */, const void *in, size_t in_len,
	       int64_t now, struct buf *body, char request_id[40]);

#endif
