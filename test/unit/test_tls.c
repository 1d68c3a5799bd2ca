// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/tls.h"
#include "wire/door.h"

/* A service with its authority, another service, and a connector that enrolled with the first. */
struct world {
	char dir[64], ours[96], other[96], ca[128], other_ca[128], key[128], cert[128];
	char pin[FINGERPRINT_BYTES], other_pin[FINGERPRINT_BYTES];
};
static struct world w;

static void enrol(void)
{
	char *request, *certificate;
	struct stat st;
	assert_ok(tls_make_request(w.key, "whoever", &request, err));
	assert_int_equal(stat(w.key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(tls_sign_request(w.ours, request, "connector-1", 90, &certificate, err));
	assert_ok(file_write(w.cert, certificate, strlen(certificate), 0644, err));
	free(request);
	free(certificate);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(w.dir, "/tmp/godwit-test-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	snprintf(w.ours, sizeof w.ours, "%s/ours", w.dir);
	snprintf(w.other, sizeof w.other, "%s/other", w.dir);
	snprintf(w.ca, sizeof w.ca, "%s/ca.pem", w.ours);
	snprintf(w.other_ca, sizeof w.other_ca, "%s/ca.pem", w.other);
	snprintf(w.key, sizeof w.key, "%s/connector.key", w.dir);
	snprintf(w.cert, sizeof w.cert, "%s/connector.pem", w.dir);
	assert_ok(tls_make_authority(w.ours, "localhost,127.0.0.1,::1", err));
	assert_ok(tls_make_authority(w.other, "localhost", err));
	assert_ok(tls_fingerprint(w.ca, w.pin, err));
	assert_ok(tls_fingerprint(w.other_ca, w.other_pin, err));
	enrol();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return file_remove_tree(w.dir, NULL);
}

/* The server's side: greets, sends the peer's name back, and ends. */
struct server {
	pthread_t thread;
	struct tls *tls;
	int fd;
	struct err accepted;
	char peer[64];
};

static void *serve(void *context)
{
	struct server *s = context;
	struct stream *stream;
	if (tls_accept(s->tls, s->fd, &stream, &s->accepted) < 0)
		return NULL;
	const char *name = tls_peer_name(stream);
	snprintf(s->peer, sizeof s->peer, "%s", name ? name : "(none)");
	struct door_run run;
	if (frame_expect(stream, DOOR_COPIED, &door_run_shape, &run, &s->accepted) == 0) {
		frame_write(stream, DOOR_COMMITTED, &door_run_shape, &run, NULL);
		shape_release(&door_run_shape, &run);
	}
	stream_close(stream);
	return NULL;
}

/* A whole conversation; 0, or -1 with what the client was told. */
static int converse(const char *server_dir, struct tls *client, const char *host, struct server *s,
		    struct err *e)
{
	int fds[2], result = -1;
	struct stream *stream;
	*s = (struct server){0};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_ok(tls_server(server_dir, &s->tls, err));
	s->fd = fds[0];
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	if (tls_connect(client, fds[1], host, &stream, e) == 0) {
		struct door_run run = {.run_id = (char *)"smsrun-1", .token = 7}, back;
		struct buf body = {0};
		uint16_t type;
		result = frame_write(stream, DOOR_COPIED, &door_run_shape, &run, e);
		if (result == 0)
			result = frame_expect(stream, DOOR_COMMITTED, &door_run_shape, &back, e);
		if (result == 0) {
			assert_int_equal(back.token, 7);
			shape_release(&door_run_shape, &back);
			/* Then a clean end. */
			assert_int_equal(frame_read(stream, &type, &body, e), 0);
		}
		stream_close(stream);
	}
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	tls_free(s->tls);
	return result;
}

static void both_sides_know_each_other(void **state)
{
	(void)state;
	struct server s;
	struct tls *client;
	assert_ok(tls_client(w.ca, NULL, w.cert, w.key, &client, err));
	assert_ok(converse(w.ours, client, "localhost", &s, err));
	assert_string_equal(s.peer, "connector-1");
	assert_ok(converse(w.ours, client, "127.0.0.1", &s, err));
	assert_ok(converse(w.ours, client, "::1", &s, err));
	assert_ok(converse(w.ours, client, NULL, &s, err));
	tls_free(client);
}

static void a_newcomer_trusts_a_pinned_authority(void **state)
{
	(void)state;
	struct server s;
	struct tls *client;
	assert_ok(tls_client(NULL, w.pin, NULL, NULL, &client, err));
	assert_ok(converse(w.ours, client, "localhost", &s, err));
	assert_string_equal(s.peer, "(none)");
	tls_free(client);
}

static void a_stranger_is_refused(void **state)
{
	(void)state;
	struct server s;
	struct tls *client;
	struct err e;
	char server_pin[FINGERPRINT_BYTES], *server_pem = xasprintf("%s/server.pem", w.ours);

	assert_ok(tls_client(w.other_ca, NULL, NULL, NULL, &client, err));
	assert_int_equal(converse(w.ours, client, "localhost", &s, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	tls_free(client);

	assert_ok(tls_client(NULL, w.other_pin, NULL, NULL, &client, err));
	assert_int_equal(converse(w.ours, client, "localhost", &s, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	tls_free(client);

	/* A pin is of an authority; a server certificate vouches for nobody. */
	assert_ok(tls_fingerprint(server_pem, server_pin, err));
	assert_ok(tls_client(NULL, server_pin, NULL, NULL, &client, err));
	assert_int_equal(converse(w.ours, client, "localhost", &s, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	tls_free(client);

	assert_ok(tls_client(w.ca, NULL, NULL, NULL, &client, err));
	assert_int_equal(converse(w.ours, client, "elsewhere.example", &s, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_non_null(strstr(e.text, "ostname"));
	tls_free(client);
	free(server_pem);
}

static void a_client_of_another_authority_is_refused(void **state)
{
	(void)state;
	struct server s;
	struct tls *client;
	struct err e;
	/* It trusts the server it meets, but shows a certificate of somebody else's. */
	assert_ok(tls_client(w.other_ca, NULL, w.cert, w.key, &client, err));
	assert_int_equal(converse(w.other, client, "localhost", &s, &e), -1);
	assert_int_equal(s.accepted.kind, ERR_DENIED);
	/* The reason may be lost with the connection. */
	assert_true(e.kind == ERR_DENIED || e.kind == ERR_UNAVAILABLE);
	tls_free(client);
}

static void a_server_certificate_does_not_make_a_client(void **state)
{
	(void)state;
	struct server s;
	struct tls *client;
	struct err e;
	char *cert = xasprintf("%s/server.pem", w.ours), *key = xasprintf("%s/server.key", w.ours);
	assert_ok(tls_client(w.ca, NULL, cert, key, &client, err));
	assert_int_equal(converse(w.ours, client, "localhost", &s, &e), -1);
	assert_int_equal(s.accepted.kind, ERR_DENIED);
	tls_free(client);
	free(cert);
	free(key);
}

static void the_authority_is_made_once(void **state)
{
	(void)state;
	struct buf before = {0}, after = {0};
	struct err e;
	struct stat st;
	struct server s;
	struct tls *client;
	char *server = xasprintf("%s/server.pem", w.ours), *key = xasprintf("%s/ca.key", w.ours);
	char again[FINGERPRINT_BYTES];
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(file_read(server, 65536, &before, err));
	assert_ok(tls_make_authority(w.ours, "localhost", err));
	assert_ok(file_read(server, 65536, &after, err));
	assert_string_equal(buf_str(&before), buf_str(&after));

	/* A new host: a new certificate, the same authority. */
	assert_ok(tls_make_authority(w.ours, "localhost,127.0.0.1,::1,godwit.example", err));
	assert_ok(tls_fingerprint(w.ca, again, err));
	assert_string_equal(w.pin, again);
	assert_ok(tls_client(w.ca, NULL, NULL, NULL, &client, err));
	assert_ok(converse(w.ours, client, "godwit.example", &s, err));
	tls_free(client);

	assert_int_equal(tls_make_authority(w.ours, "a,DNS:evil\nx", &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	buf_release(&before);
	buf_release(&after);
	free(server);
	free(key);
}

static void bad_requests_and_pins_are_refused(void **state)
{
	(void)state;
	struct err e;
	char *request, *certificate = NULL;
	struct tls *client;
	assert_int_equal(tls_sign_request(w.ours, "hello", "c", 90, &certificate, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_ok(tls_make_request(w.key, "c", &request, err));
	request[strlen(request) / 2] ^= 2; /* breaks the signature or the key */
	assert_int_equal(tls_sign_request(w.ours, request, "c", 90, &certificate, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	free(request);
	assert_int_equal(tls_client(NULL, "abc", NULL, NULL, &client, &e), -1);
	assert_int_equal(tls_client(NULL, NULL, NULL, NULL, &client, &e), -1);
	assert_int_equal(tls_client("/nonexistent", NULL, NULL, NULL, &client, &e), -1);
}

struct flood {
	struct stream *stream;
	int result;
};

static void *write_many(void *context)
{
	struct flood *f = context;
	static uint8_t block[300000];
	for (int64_t i = 0; i < 10 && f->result == 0; i++) {
		struct door_chunk chunk = {.index = i, .stored = {block, sizeof block}};
		f->result = frame_write(f->stream, DOOR_CHUNK, &door_chunk_shape, &chunk, NULL);
	}
	return NULL;
}

static void *flood_back(void *context)
{
	struct server *s = context;
	struct stream *stream;
	pthread_t writer;
	if (tls_accept(s->tls, s->fd, &stream, &s->accepted) < 0)
		return NULL;
	struct flood f = {stream, 0};
	pthread_create(&writer, NULL, write_many, &f);
	for (int i = 0; i < 10 && s->accepted.kind == ERR_NONE; i++) {
		struct door_chunk chunk;
		if (frame_expect(stream, DOOR_CHUNK, &door_chunk_shape, &chunk, &s->accepted) == 0)
			shape_release(&door_chunk_shape, &chunk);
	}
	pthread_join(writer, NULL);
	stream_close(stream);
	return NULL;
}

static void threads_read_and_write_at_once(void **state)
{
	(void)state;
	int listener, port, fd;
	char where[32];
	struct server s = {0};
	struct tls *client;
	struct flood f = {0};
	pthread_t writer;
	struct err e;
	assert_ok(tcp_listen("127.0.0.1:0", &listener, &port, err));
	snprintf(where, sizeof where, "127.0.0.1:%d", port);
	assert_ok(tcp_connect(where, 5000, &fd, err));
	s.fd = accept(listener, NULL, NULL);
	assert_true(s.fd >= 0);
	assert_ok(tls_server(w.ours, &s.tls, err));
	assert_int_equal(pthread_create(&s.thread, NULL, flood_back, &s), 0);
	assert_ok(tls_client(w.ca, NULL, w.cert, w.key, &client, err));
	assert_ok(tls_connect(client, fd, "127.0.0.1", &f.stream, err));
	assert_int_equal(pthread_create(&writer, NULL, write_many, &f), 0);
	for (int i = 0; i < 10; i++) {
		struct door_chunk chunk;
		assert_int_equal(stream_wait(f.stream, -1, &e), 1);
		assert_ok(frame_expect(f.stream, DOOR_CHUNK, &door_chunk_shape, &chunk, err));
		assert_int_equal(chunk.index, i);
		shape_release(&door_chunk_shape, &chunk);
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(pthread_join(s.thread, NULL), 0);
	assert_int_equal(f.result, 0);
	assert_int_equal(s.accepted.kind, ERR_NONE);
	stream_close(f.stream);
	tls_free(client);
	tls_free(s.tls);
	close(listener);
	assert_int_equal(tcp_connect(where, 5000, &fd, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(tcp_connect("localhost", 5000, &fd, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(tcp_connect("::1:80", 5000, &fd, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_sides_know_each_other),
	    cmocka_unit_test(a_newcomer_trusts_a_pinned_authority),
	    cmocka_unit_test(a_stranger_is_refused),
	    cmocka_unit_test(a_client_of_another_authority_is_refused),
	    cmocka_unit_test(a_server_certificate_does_not_make_a_client),
	    cmocka_unit_test(the_authority_is_made_once),
	    cmocka_unit_test(bad_requests_and_pins_are_refused),
	    cmocka_unit_test(threads_read_and_write_at_once),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
