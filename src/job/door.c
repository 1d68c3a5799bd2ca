// SPDX-License-Identifier: Apache-2.0
#include "job/door.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "job/door_private.h"

/* A connection that says nothing for so long during the handshake or before its first frame. */
#define FIRST_WORD_MS 20000

static void connection_free(struct connection *c)
{
	stream_close(c->stream);
	pthread_mutex_destroy(&c->write_lock);
	free(c->connector_id);
	free(c->run_id);
	free(c);
}

int door_send(struct connection *c, uint16_t type, const void *message, struct err *e)
{
	pthread_mutex_lock(&c->write_lock);
	int r = frame_write(c->stream, type, door_shape(type), message, e);
	pthread_mutex_unlock(&c->write_lock);
	return r;
}

void door_link(struct connection *c)
{
	struct door *d = c->door;
	pthread_mutex_lock(&d->lock);
	/* A connector has one control connection: a new one replaces a dead one at once. */
	for (struct connection *o = d->connections; o && c->control; o = o->next)
		if (o != c && o->control && strcmp(o->connector_id, c->connector_id) == 0) {
			o->control = false;
			stream_shutdown(o->stream);
		}
	c->linked = true;
	pthread_mutex_unlock(&d->lock);
}

struct connection *door_find_control(struct door *d, const char *connector_id)
{
	for (struct connection *c = d->connections; c; c = c->next)
		if (c->linked && c->control && strcmp(c->connector_id, connector_id) == 0)
			return c;
	return NULL;
}

bool door_connected(struct door *d, const char *connector_id)
{
	pthread_mutex_lock(&d->lock);
	bool is = door_find_control(d, connector_id) != NULL;
	pthread_mutex_unlock(&d->lock);
	return is;
}

static void serve(struct connection *c, struct err *e)
{
	uint16_t type;
	struct buf body = {0};
	stream_set_timeout(c->stream, FIRST_WORD_MS);
	int r = frame_read(c->stream, &type, &body, e);
	if (r == 1) {
		if (type == DOOR_ENROL)
			r = door_enrol(c, &body, e);
		else if (type == DOOR_HELLO)
			r = door_control(c, &body, e);
		else if (type == DOOR_STREAM)
			r = door_stream(c, &body, e);
		else
			r = err_set(e, ERR_INVALID,
				    "a connection begins with ENROL, HELLO or STREAM, not %s",
				    door_word(type));
	}
	if (r < 0) {
		struct err ignored;
		pthread_mutex_lock(&c->write_lock);
		frame_fault(c->stream, e, &ignored);
		pthread_mutex_unlock(&c->write_lock);
	}
	buf_release(&body);
}

static void *connection_thread(void *arg)
{
	struct connection *c = arg;
	struct door *d = c->door;
	struct err e = {0};
	if (tls_accept(d->tls, c->fd, &c->stream, &e) == 0) {
		const char *name = tls_peer_name(c->stream);
		c->connector_id = xstrdup(name);
		serve(c, &e);
	}
	if (e.kind != ERR_NONE)
		log_warn("door: %s: %s", c->connector_id ? c->connector_id : "a stranger", e.text);
	pthread_mutex_lock(&d->lock);
	struct connection **p = &d->connections;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	d->connection_count--;
	/* Freed under the lock, so that nobody who found it there still uses it. */
	connection_free(c);
	pthread_cond_broadcast(&d->idle);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

static void *accept_thread(void *arg)
{
	struct door *d = arg;
	for (;;) {
		int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		pthread_mutex_lock(&d->lock);
		bool closing = d->closing, crowded = d->connection_count >= LIMIT_CONNECTIONS;
		if (fd >= 0 && (closing || crowded)) {
			close(fd);
			fd = -2;
		}
		if (fd >= 0) {
			struct connection *c = xcalloc(1, sizeof *c);
			c->door = d;
			c->fd = fd;
			pthread_mutex_init(&c->write_lock, NULL);
			c->next = d->connections;
			d->connections = c;
			d->connection_count++;
			pthread_attr_t detached;
			pthread_attr_init(&detached);
			pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
			pthread_t thread;
			if (pthread_create(&thread, &detached, connection_thread, c) != 0) {
				d->connections = c->next;
				d->connection_count--;
				close(fd);
				free(c);
			}
			pthread_attr_destroy(&detached);
		}
		pthread_mutex_unlock(&d->lock);
		if (closing)
			return NULL;
		if (fd == -1)
			clock_sleep_ms(50); /* out of descriptors: some will come back */
	}
}

int door_open(struct service *service, struct intake *intake, const char *tls_dir,
	      const char *where, struct door **out, int *port, struct err *e)
{
	struct door *d = xcalloc(1, sizeof *d);
	d->service = service;
	d->intake = intake;
	d->tls_dir = xstrdup(tls_dir);
	d->listen_fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->grant_lock, NULL);
	pthread_cond_init(&d->idle, NULL);
	if (tls_server(tls_dir, &d->tls, e) < 0 || tcp_listen(where, &d->listen_fd, port, e) < 0)
		goto fail;
	if (pthread_create(&d->acceptor, NULL, accept_thread, d) != 0) {
		err_set(e, ERR_IO, "cannot start a thread for the data door");
		goto fail;
	}
	*out = d;
	return 0;
fail:
	if (d->listen_fd >= 0)
		close(d->listen_fd);
	tls_free(d->tls);
	free(d->tls_dir);
	free(d);
	return -1;
}

void door_close(struct door *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	for (struct connection *c = d->connections; c; c = c->next) {
		if (c->linked)
			stream_shutdown(c->stream);
		else
			shutdown(c->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&d->lock);
	shutdown(d->listen_fd, SHUT_RDWR); /* wakes accept */
	pthread_join(d->acceptor, NULL);
	pthread_mutex_lock(&d->lock);
	while (d->connections)
		pthread_cond_wait(&d->idle, &d->lock);
	pthread_mutex_unlock(&d->lock);
	close(d->listen_fd);
	tls_free(d->tls);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->grant_lock);
	pthread_cond_destroy(&d->idle);
	free(d->tls_dir);
	free(d);
}

/* Send to a connector while holding the door's lock, so that it cannot go meanwhile. The frames are
 * small; a peer that does not read is cut off by the stream's timeout. */
static int send_to(struct door *d, const char *connector_id, uint16_t type, const void *message,
		   struct err *e)
{
	pthread_mutex_lock(&d->lock);
	struct connection *c = connector_id ? door_find_control(d, connector_id) : NULL;
	int r = c ? door_send(c, type, message, e)
		  : err_set(e, ERR_UNAVAILABLE, "connector %s is not connected",
			    connector_id ? connector_id : "(none)");
	pthread_mutex_unlock(&d->lock);
	return r;
}

void door_cut_streams(struct door *d, const char *run_id)
{
	pthread_mutex_lock(&d->lock);
	for (struct connection *c = d->connections; c; c = c->next)
		if (c->linked && c->run_id && strcmp(c->run_id, run_id) == 0)
			stream_shutdown(c->stream);
	pthread_mutex_unlock(&d->lock);
}

static void tell(struct door *d, uint16_t type, const char *connector_id, const char *run_id,
		 int64_t token)
{
	struct err e = {0};
	struct door_run run = {.run_id = (char *)run_id, .token = token};
	if (send_to(d, connector_id, type, &run, &e) < 0)
		log_debug("door: %s of %s not sent: %s", door_word(type), run_id, e.text);
}

void door_tell_committed(struct door *d, const char *connector_id, const char *run_id,
			 int64_t token)
{
	tell(d, DOOR_COMMITTED, connector_id, run_id, token);
}

void door_tell_cancel(struct door *d, const char *connector_id, const char *run_id, int64_t token)
{
	tell(d, DOOR_CANCEL, connector_id, run_id, token);
	door_cut_streams(d, run_id);
}

void door_tell_forget(struct door *d, const char *connector_id, const char *job_id,
		      const char *vm_id, const char *point)
{
	struct err e = {0};
	struct door_forget forget = {
	    .job_id = (char *)job_id, .vm_id = (char *)vm_id, .point = (char *)point};
	if (send_to(d, connector_id, DOOR_FORGET, &forget, &e) < 0)
		log_debug("door: forget of job %s not sent: %s", job_id, e.text);
}

int door_ask_inventory(struct door *d, int64_t import)
{
	int asked = 0;
	struct door_list message = {.import = import};
	pthread_mutex_lock(&d->lock);
	for (struct connection *c = d->connections; c; c = c->next) {
		struct err e;
		if (c->linked && c->control && door_send(c, DOOR_LIST, &message, &e) == 0)
			asked++;
	}
	pthread_mutex_unlock(&d->lock);
	return asked;
}

int door_grant(struct door *d, const char *run_id, const char *connector_id, int64_t now,
	       struct err *e)
{
	if (!door_connected(d, connector_id))
		return err_set(e, ERR_UNAVAILABLE, "connector %s is not connected", connector_id);
	struct door_work work = {0};
	if (door_lease(d, run_id, connector_id, now, &work, e) < 0)
		return -1;
	door_cut_streams(d, run_id);
	int r = send_to(d, connector_id, DOOR_WORK, &work, e);
	shape_release(&door_work_shape, &work);
	return r;
}
