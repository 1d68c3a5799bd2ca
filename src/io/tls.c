// SPDX-License-Identifier: Apache-2.0
#include "io/tls.h"

#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/text.h"
#include "io/stream_engine.h"
#include "io/tls_error.h"

#define HANDSHAKE_MS 20000

struct tls {
	SSL_CTX *ctx;
	char pin[FINGERPRINT_BYTES]; /* "": none */
};

/* --- bytes of OpenSSL over a socket: never blocking, never a signal --- */

static int socket_of(BIO *bio)
{
	return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_write(BIO *bio, const char *from, int n)
{
	BIO_clear_retry_flags(bio);
	ssize_t put = send(socket_of(bio), from, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	return (int)put;
}

static int bio_read(BIO *bio, char *to, int n)
{
	BIO_clear_retry_flags(bio);
	ssize_t got = recv(socket_of(bio), to, (size_t)n, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	return (int)got;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "godwit socket");
	if (m && BIO_meth_set_write(m, bio_write) && BIO_meth_set_read(m, bio_read) &&
	    BIO_meth_set_ctrl(m, bio_ctrl))
		bio_method = m;
}

static BIO *new_bio(int fd)
{
	pthread_once(&bio_once, make_bio_method);
	BIO *bio = bio_method ? BIO_new(bio_method) : NULL;
	if (bio) {
		BIO_set_data(bio, (void *)(intptr_t)fd);
		BIO_set_init(bio, 1);
	}
	return bio;
}

/* --- the stream's engine --- */

/* An SSL object is not safe for two threads, so every call of it is under the lock; nobody waits
 * under the lock. */
struct session {
	pthread_mutex_t lock;
	SSL *ssl;
	char *peer_name;
	bool broken; /* no goodbye is possible */
};

/* The other side told why it does not want us. */
static bool refused_by_peer(unsigned long code)
{
	switch (ERR_GET_REASON(code)) {
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return true;
	default: return false;
	}
}

/* What a call of OpenSSL that returned `n` <= 0 means. */
static ssize_t session_result(struct session *s, int n, short *events, struct err *e)
{
	int errnum = errno;
	switch (SSL_get_error(s->ssl, n)) {
	case SSL_ERROR_WANT_READ: *events = POLLIN; return ENGINE_AGAIN;
	case SSL_ERROR_WANT_WRITE: *events = POLLOUT; return ENGINE_AGAIN;
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_SYSCALL:
		s->broken = true;
		ERR_clear_error();
		if (n == 0 || errnum == 0)
			return err_set(e, ERR_UNAVAILABLE, "the other side is gone");
		return err_errno(e, errnum, "the connection to the other side was lost");
	default: break;
	}
	s->broken = true;
	unsigned long code = ERR_peek_error();
	if (refused_by_peer(code))
		return tls_fail(e, ERR_DENIED, "the other side refuses our certificate");
	if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return err_set(e, ERR_UNAVAILABLE, "the other side is gone");
	}
	return tls_fail(e, ERR_UNAVAILABLE, "the TLS connection failed");
}

static ssize_t session_read(void *self, void *to, size_t n, short *events, struct err *e)
{
	struct session *s = self;
	pthread_mutex_lock(&s->lock);
	errno = 0;
	ERR_clear_error();
	int got = SSL_read(s->ssl, to, (int)n);
	ssize_t result = got > 0 ? got : session_result(s, got, events, e);
	pthread_mutex_unlock(&s->lock);
	return result;
}

static ssize_t session_write(void *self, const void *from, size_t n, short *events, struct err *e)
{
	struct session *s = self;
	pthread_mutex_lock(&s->lock);
	errno = 0;
	ERR_clear_error();
	int put = SSL_write(s->ssl, from, n > 65536 ? 65536 : (int)n);
	ssize_t result = put > 0 ? put : session_result(s, put, events, e);
	pthread_mutex_unlock(&s->lock);
	if (result == 0)
		return err_set(e, ERR_UNAVAILABLE, "the other side closed the connection");
	return result;
}

static ssize_t session_ready(void *self, short *events, struct err *e)
{
	struct session *s = self;
	char byte;
	pthread_mutex_lock(&s->lock);
	errno = 0;
	ERR_clear_error();
	int got = SSL_peek(s->ssl, &byte, 1);
	ssize_t result = got > 0 ? 1 : session_result(s, got, events, e);
	pthread_mutex_unlock(&s->lock);
	return result == 0 ? 1 : result; /* the end can be read without waiting, too */
}

static void session_close(void *self)
{
	struct session *s = self;
	if (s->ssl && !s->broken && SSL_is_init_finished(s->ssl))
		SSL_shutdown(s->ssl); /* says goodbye, waits for none */
	ERR_clear_error();
	SSL_free(s->ssl);
	pthread_mutex_destroy(&s->lock);
	free(s->peer_name);
	free(s);
}

static const struct stream_engine session_engine = {
    .read = session_read,
    .write = session_write,
    .ready = session_ready,
    .close = session_close,
};

const char *tls_peer_name(const struct stream *stream)
{
	const struct session *s = stream_engine_of(stream, &session_engine);
	return s ? s->peer_name : NULL;
}

/* --- keys and trust --- */

static struct tls *new_tls(const SSL_METHOD *method, struct err *e)
{
	struct tls *t = xcalloc(1, sizeof *t);
	t->ctx = SSL_CTX_new(method);
	if (!t->ctx || !SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION)) {
		tls_fail(e, ERR_IO, "cannot prepare TLS");
		tls_free(t);
		return NULL;
	}
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
				     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Every connection shows its certificate: nothing is resumed. */
	SSL_CTX_set_num_tickets(t->ctx, 0);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

static int use_certificate(struct tls *t, const char *cert_file, const char *key_file,
			   struct err *e)
{
	if (SSL_CTX_use_certificate_chain_file(t->ctx, cert_file) != 1)
		return tls_fail(e, ERR_INVALID, "cannot use the certificate '%s'", cert_file);
	if (SSL_CTX_use_PrivateKey_file(t->ctx, key_file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(t->ctx) != 1)
		return tls_fail(e, ERR_INVALID, "cannot use the key '%s' with '%s'", key_file,
				cert_file);
	return 0;
}

static int trust_file(struct tls *t, const char *ca_file, struct err *e)
{
	if (SSL_CTX_load_verify_file(t->ctx, ca_file) != 1)
		return tls_fail(e, ERR_INVALID, "cannot use the authority '%s'", ca_file);
	return 0;
}

/* The authority goes along with the certificate, for those who know only its fingerprint. */
static int send_authority(struct tls *t, const char *ca_file, struct err *e)
{
	BIO *bio = BIO_new_file(ca_file, "r");
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int ok = x && SSL_CTX_add1_chain_cert(t->ctx, x);
	X509_free(x);
	BIO_free(bio);
	return ok ? 0 : tls_fail(e, ERR_INVALID, "cannot use the authority '%s'", ca_file);
}

int tls_server(const char *dir, struct tls **out, struct err *e)
{
	char *ca = xasprintf("%s/ca.pem", dir), *cert = xasprintf("%s/server.pem", dir);
	char *key = xasprintf("%s/server.key", dir);
	int result = -1;
	struct tls *t = new_tls(TLS_server_method(), e);
	if (t && use_certificate(t, cert, key, e) == 0 && send_authority(t, ca, e) == 0 &&
	    trust_file(t, ca, e) == 0) {
		SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
		*out = t;
		result = 0;
	} else {
		tls_free(t);
	}
	free(ca);
	free(cert);
	free(key);
	return result;
}

static bool is_pinned(X509 *x, const char *pin)
{
	uint8_t raw[32];
	char hex[FINGERPRINT_BYTES];
	if (!X509_digest(x, EVP_sha256(), raw, NULL))
		return false;
	hex_encode(raw, sizeof raw, hex);
	return strcasecmp(hex, pin) == 0;
}

/* Trust, for this one verification, the certificate of the pin among those the server sent. */
static int verify_pinned(X509_STORE_CTX *store, void *context)
{
	const struct tls *t = context;
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
	X509 *pinned = NULL;
	for (int i = 0; i < sk_X509_num(sent) && !pinned; i++)
		if (is_pinned(sk_X509_value(sent, i), t->pin))
			pinned = sk_X509_value(sent, i);
	if (!pinned) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
		return 0;
	}
	STACK_OF(X509) *trusted = sk_X509_new_null();
	int ok = 0;
	if (trusted && sk_X509_push(trusted, pinned)) {
		X509_STORE_CTX_set0_trusted_stack(store, trusted);
		ok = X509_verify_cert(store);
	}
	sk_X509_free(trusted);
	return ok == 1;
}

int tls_client(const char *ca_file, const char *fingerprint, const char *cert_file,
	       const char *key_file, struct tls **out, struct err *e)
{
	uint8_t raw[32];
	if (!ca_file && (!fingerprint || strlen(fingerprint) != 64 ||
			 !hex_decode(fingerprint, sizeof raw, raw)))
		return err_set(e, ERR_INVALID,
			       "the fingerprint of the service's authority must be 64 hexadecimal "
			       "digits");
	struct tls *t = new_tls(TLS_client_method(), e);
	if (!t)
		return -1;
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	if (!ca_file) {
		memcpy(t->pin, fingerprint, sizeof t->pin);
		SSL_CTX_set_cert_verify_callback(t->ctx, verify_pinned, t);
	}
	if ((ca_file && trust_file(t, ca_file, e) < 0) ||
	    (cert_file && use_certificate(t, cert_file, key_file, e) < 0)) {
		tls_free(t);
		return -1;
	}
	*out = t;
	return 0;
}

/* --- handshakes --- */

static char *name_of_peer(SSL *ssl)
{
	X509 *x = SSL_get0_peer_certificate(ssl);
	if (!x || SSL_get_verify_result(ssl) != X509_V_OK)
		return NULL;
	X509_NAME *subject = X509_get_subject_name(x);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (at < 0)
		return NULL;
	unsigned char *text = NULL;
	int n = ASN1_STRING_to_UTF8(&text,
				    X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	char *name = n > 0 && !memchr(text, '\0', (size_t)n) ? xstrndup((char *)text, (size_t)n)
							     : NULL;
	OPENSSL_free(text);
	return name;
}

static int expect_host(SSL *ssl, const char *host, struct err *e)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
		return 0;
	ERR_clear_error();
	if (X509_VERIFY_PARAM_set1_host(param, host, 0) != 1 ||
	    SSL_set_tlsext_host_name(ssl, host) != 1)
		return tls_fail(e, ERR_INVALID, "'%s' is no host name", host);
	return 0;
}

static int shake(struct session *s, int fd, int (*step)(SSL *), struct err *e)
{
	int64_t end = clock_mono_ms() + HANDSHAKE_MS;
	for (;;) {
		short events;
		errno = 0;
		ERR_clear_error();
		int n = step(s->ssl);
		if (n == 1)
			return 0;
		ssize_t what = session_result(s, n, &events, e);
		long verdict = SSL_get_verify_result(s->ssl);
		if (what != ENGINE_AGAIN && verdict != X509_V_OK)
			return err_set(e, ERR_DENIED,
				       "the certificate of the other side is not trusted: %s",
				       X509_verify_cert_error_string(verdict));
		if (what == 0)
			return err_set(e, ERR_UNAVAILABLE, "the other side closed the connection");
		if (what == ENGINE_FAILED)
			return -1;
		int64_t left = end - clock_mono_ms();
		int woke = fd_poll(fd, events, left > 0 ? left : 0, e);
		if (woke < 0)
			return -1;
		if (woke == 0)
			return err_set(e, ERR_UNAVAILABLE,
				       "the other side did not finish the TLS handshake");
	}
}

static int open_session(struct tls *tls, int fd, const char *host, int (*step)(SSL *),
			struct stream **out, struct err *e)
{
	struct session *s = xcalloc(1, sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	s->ssl = SSL_new(tls->ctx);
	BIO *bio = new_bio(fd);
	if (!s->ssl || !bio) {
		BIO_free(bio);
		tls_fail(e, ERR_IO, "cannot prepare a TLS connection");
		goto fail;
	}
	SSL_set_bio(s->ssl, bio, bio);
	if (host && expect_host(s->ssl, host, e) < 0)
		goto fail;
	if (shake(s, fd, step, e) < 0)
		goto fail;
	s->peer_name = name_of_peer(s->ssl);
	*out = stream_of_engine(fd, &session_engine, s);
	return 0;
fail:
	session_close(s);
	close(fd);
	return -1;
}

int tls_accept(struct tls *tls, int fd, struct stream **out, struct err *e)
{
	return open_session(tls, fd, NULL, SSL_accept, out, e);
}

int tls_connect(struct tls *tls, int fd, const char *host, struct stream **out, struct err *e)
{
	return open_session(tls, fd, host, SSL_connect, out, e);
}
