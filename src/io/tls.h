// SPDX-License-Identifier: Apache-2.0
/*
 * TLS 1.3 for the data door (OpenSSL), and the service's small certificate authority.
 * Keys are P-256, made where they are used; files are PEM, private ones mode 0600.
 */
#ifndef IO_TLS_H
#define IO_TLS_H

#include <stdbool.h>

#include "io/stream.h"

#define FINGERPRINT_BYTES 65 /* SHA-256 of a DER certificate in hexadecimal, with NUL */

struct tls; /* keys and trust of one side; may be used by many threads */

/* Make a self-signed authority (10 years) and a server certificate under it for `hosts` (comma-
 * separated names and addresses, e.g. "localhost,127.0.0.1,::1") in `dir` unless they are there:
 * ca.pem, ca.key, server.pem, server.key. A server certificate that lacks one of the hosts is made
 * anew under the same authority. */
int tls_make_authority(const char *dir, const char *hosts, struct err *e);

/* A server that asks for client certificates of its authority but lets a client without one in
 * (to enrol). Files as tls_make_authority makes them. */
int tls_server(const char *dir, struct tls **out, struct err *e);
/* A client. Trust: `ca_file`, or when NULL the pinned `fingerprint` of the authority. `cert_file`,
 * `key_file` NULL: no certificate. */
int tls_client(const char *ca_file, const char *fingerprint, const char *cert_file,
	       const char *key_file, struct tls **out, struct err *e);
void tls_free(struct tls *tls);

/* Handshake on a connected descriptor (taken, closed on failure). `host` (client) is checked against
 * the certificate unless NULL. ERR_DENIED with the reason when the other side is not trusted. A
 * server that does not trust the client says so after the handshake (TLS 1.3): the client's first
 * read fails, with ERR_DENIED unless the reason was lost with the connection. No SIGPIPE comes of
 * these streams. */
int tls_accept(struct tls *tls, int fd, struct stream **out, struct err *e);
int tls_connect(struct tls *tls, int fd, const char *host, struct stream **out, struct err *e);

/* The common name of the verified peer certificate, or NULL when it showed none (borrowed). */
const char *tls_peer_name(const struct stream *s);

/* A key in `key_file` (made if missing) and a request for `common_name` signed with it (PEM,
 * caller frees). */
int tls_make_request(const char *key_file, const char *common_name, char **request, struct err *e);
/* Sign a request as a client certificate with the given common name (the one in the request is
 * ignored), `days` valid. PEM, caller frees. ERR_INVALID for a bad request. */
int tls_sign_request(const char *ca_dir, const char *request, const char *common_name, int days,
		     char **certificate, struct err *e);
int tls_fingerprint(const char *pem_file, char out[FINGERPRINT_BYTES], struct err *e);

/* TCP. `where` is "host:port" or "[v6]:port". */
int tcp_connect(const char *where, int64_t timeout_ms, int *fd, struct err *e);
/* port 0 picks one; *port_out gets it. */
int tcp_listen(const char *where, int *fd, int *port_out, struct err *e);

#endif
