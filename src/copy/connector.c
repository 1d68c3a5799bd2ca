// SPDX-License-Identifier: Apache-2.0
#include "copy/connector_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/file.h"
#include "wire/wire.h"

#define CONNECT_MS	 15000
#define INVENTORY_BATCH	 32
#define CERTIFICATE_FILE "connector.pem"
#define KEY_FILE	 "connector.key"
#define AUTHORITY_FILE	 "ca.pem"

static char *in_state(const struct connector *c, const char *file)
{
	return xasprintf("%s/%s", c->config.state_dir, file);
}

/* --- enrolment --- */

/* The token file: the authority's fingerprint and the one-time secret. */
static int read_token(const struct connector *c, char fingerprint[FINGERPRINT_BYTES],
		      char secret[128], struct err *e)
{
	struct buf text = {0};
	char name[256];
	if (!c->config.token_file)
		return err_set(e, ERR_INVALID,
			       "this connector is not registered; make a token with 'godwit "
			       "connector token' and give it with --token-file");
	int r = file_read(c->config.token_file, 4096, &text, e);
	if (r == 0 && sscanf(buf_str(&text), "%255s %127s", name, secret) == 2 &&
	    strlen(name) == FINGERPRINT_BYTES - 1)
		memcpy(fingerprint, name, FINGERPRINT_BYTES);
	else if (r == 0)
		r = err_set(e, ERR_INVALID,
			    "%s does not hold a token: one line with a fingerprint and a secret",
			    c->config.token_file);
	buf_release(&text);
	return r;
}

static int keep_enrolled(const struct connector *c, const struct door_enrolled *answer,
			 struct err *e)
{
	char *cert = in_state(c, CERTIFICATE_FILE), *ca = in_state(c, AUTHORITY_FILE);
	int r = -1;
	if (!answer->certificate || !answer->authority)
		err_set(e, ERR_INVALID, "the service's answer holds no certificate");
	else if (file_write(ca, answer->authority, strlen(answer->authority), 0600, e) == 0)
		r = file_write(cert, answer->certificate, strlen(answer->certificate), 0600, e);
	free(cert);
	free(ca);
	return r;
}

static int enrol(struct connector *c, struct err *e)
{
	char fingerprint[FINGERPRINT_BYTES], secret[128];
	char *key = in_state(c, KEY_FILE), *request = NULL;
	struct tls *tls = NULL;
	struct stream *s = NULL;
	struct door_enrol ask = {0};
	struct door_enrolled answer = {0};
	int fd, r = read_token(c, fingerprint, secret, e);
	if (r == 0)
		r = tls_make_request(key, c->config.name, &request, e);
	if (r == 0)
		r = tls_client(NULL, fingerprint, NULL, NULL, &tls, e);
	if (r == 0)
		r = tcp_connect(c->config.service, CONNECT_MS, &fd, e);
	if (r == 0)
		r = tls_connect(tls, fd, NULL, &s, e);
	if (r == 0) {
		stream_set_timeout(s, CONNECT_MS);
		ask = (struct door_enrol){
		    .token = secret, .name = (char *)c->config.name, .request = request};
		r = frame_write(s, DOOR_ENROL, &door_enrol_shape, &ask, e);
	}
	if (r == 0)
		r = frame_expect(s, DOOR_ENROLLED, &door_enrolled_shape, &answer, e);
	if (r == 0) {
		r = keep_enrolled(c, &answer, e);
		if (r == 0)
			log_info("registered as %s", answer.connector_id);
		shape_release(&door_enrolled_shape, &answer);
	}
	if (s)
		stream_close(s);
	tls_free(tls);
	free(request);
	free(key);
	return r;
}

/* --- the control connection --- */

int connector_dial(struct connector *c, struct stream **out, struct err *e)
{
	int fd;
	if (tcp_connect(c->config.service, CONNECT_MS, &fd, e) < 0)
		return -1;
	return tls_connect(c->tls, fd, NULL, out, e);
}

int connector_say(struct connector *c, uint16_t type, const void *message, struct err *e)
{
	if (!c->control)
		return err_set(e, ERR_UNAVAILABLE, "the service is not connected");
	return frame_write(c->control, type, door_shape(type), message, e);
}

/* Our address on the way to the service, and the hardware address behind it. */
static void own_addresses(int fd, struct door_hello *hello)
{
	struct sockaddr_storage own;
	socklen_t n = sizeof own;
	char text[INET6_ADDRSTRLEN] = "";
	struct ifaddrs *list, *at = NULL;
	if (getsockname(fd, (struct sockaddr *)&own, &n) < 0)
		return;
	const void *ip = own.ss_family == AF_INET
			     ? (void *)&((struct sockaddr_in *)&own)->sin_addr
			     : (void *)&((struct sockaddr_in6 *)&own)->sin6_addr;
	if (!inet_ntop(own.ss_family, ip, text, sizeof text))
		return;
	text_set(&hello->ip, text);
	if (getifaddrs(&list) < 0)
		return;
	size_t bytes = own.ss_family == AF_INET ? 4 : 16;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != own.ss_family)
			continue;
		const void *its = own.ss_family == AF_INET
				      ? (void *)&((struct sockaddr_in *)i->ifa_addr)->sin_addr
				      : (void *)&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		if (memcmp(its, ip, bytes) == 0)
			at = i;
	}
	for (struct ifaddrs *i = list; at && i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_PACKET &&
		    strcmp(i->ifa_name, at->ifa_name) == 0) {
			const uint8_t *m = ((struct sockaddr_ll *)i->ifa_addr)->sll_addr;
			text_setf(&hello->mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
				  m[3], m[4], m[5]);
		}
	freeifaddrs(list);
}

/* The items of one list go to the end of another. */
static int move_items(struct list *from, struct list *to, size_t item_size, struct err *e)
{
	if (to->count + from->count > LIMIT_HELD)
		return err_set(e, ERR_INVALID, "the service names more than %d runs or points",
			       LIMIT_HELD);
	for (size_t i = 0; i < from->count; i++)
		memcpy(list_push(to, item_size), (char *)from->items + i * item_size, item_size);
	from->count = 0;
	return 0;
}

static int fault_of(const struct door_fault *fault, struct err *e)
{
	return err_set(e, err_kind_from_word(fault->kind ? fault->kind : "io"), "%s",
		       fault->text ? fault->text : "the service closed the connection");
}

/* The next WELCOME; a connector that was disassociated gets RETIRE, and then a fault. */
static int next_welcome(struct connector *c, struct stream *s, struct door_welcome *part,
			struct err *e)
{
	struct buf body = {0};
	struct door_retire retire;
	struct door_fault fault;
	uint16_t type = 0;
	int r = frame_read(s, &type, &body, e);
	if (r == 0)
		r = err_set(e, ERR_UNAVAILABLE, "the service closed the connection");
	else if (r == 1 && type == DOOR_WELCOME)
		r = wire_decode(&door_welcome_shape, body.data, body.len, part, e);
	else if (r == 1 && type == DOOR_RETIRE &&
		 (r = wire_decode(&door_retire_shape, body.data, body.len, &retire, e)) == 0) {
		connector_retire(c, retire.connector_id);
		shape_release(&door_retire_shape, &retire);
		r = next_welcome(c, s, part, e);
	} else if (r == 1 && type == DOOR_FAULT &&
		   (r = wire_decode(&door_fault_shape, body.data, body.len, &fault, e)) == 0) {
		r = fault_of(&fault, e);
		shape_release(&door_fault_shape, &fault);
	} else if (r == 1) {
		r = err_set(e, ERR_INVALID, "the service does not say %s here", door_word(type));
	}
	buf_release(&body);
	return r;
}

/* One or more WELCOME as one. */
static int hear_welcome(struct connector *c, struct stream *s, struct door_welcome *all,
			struct err *e)
{
	int r = 0;
	while (r == 0 && !all->last) {
		struct door_welcome part;
		if (next_welcome(c, s, &part, e) < 0)
			return -1;
		text_set(&all->connector_id, part.connector_id);
		all->heartbeat_ms = part.heartbeat_ms;
		all->last = part.last;
		r = move_items(&part.held, &all->held, sizeof(struct door_work), e);
		if (r == 0)
			r = move_items(&part.points, &all->points, sizeof(struct door_point), e);
		shape_release(&door_welcome_shape, &part);
	}
	return r;
}

static int greet(struct connector *c, struct stream *s, struct door_welcome *welcome, struct err *e)
{
	const struct site_facts *facts = site_get_facts(c->site);
	struct door_hello hello = {.protocol = DOOR_PROTOCOL};
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	text_set(&hello.version, GODWIT_VERSION);
	text_set(&hello.capabilities, facts->capabilities);
	text_set(&hello.manager_id, facts->manager_id);
	text_set(&hello.manager_name, facts->manager_name);
	if (facts->manager_type[0])
		text_set(&hello.manager_type, facts->manager_type);
	text_set(&hello.host, host);
	own_addresses(stream_fd(s), &hello);
	int r = frame_write(s, DOOR_HELLO, &door_hello_shape, &hello, e);
	shape_release(&door_hello_shape, &hello);
	return r < 0 ? -1 : hear_welcome(c, s, welcome, e);
}

/* --- after WELCOME: what goes on, what stays, what goes --- */

static struct connector_run *find_run(struct connector *c, const char *run_id)
{
	for (struct connector_run *run = c->runs; run; run = run->next)
		if (strcmp(run->work.run_id, run_id) == 0)
			return run;
	return NULL;
}

static bool must_stay(const struct door_welcome *w, const char *vm_id, const char *point)
{
	const struct door_point *points = w->points.items;
	for (size_t i = 0; i < w->points.count; i++)
		if (text_equal(points[i].vm_id, vm_id) && text_equal(points[i].point, point))
			return true;
	return false;
}

static void reconcile(struct connector *c, struct door_welcome *w)
{
	struct door_work *held = w->held.items;
	if (!c->swept)
		connector_sweep(c, w);
	pthread_mutex_lock(&c->lock);
	for (struct connector_run *run = c->runs; run; run = run->next) {
		const struct door_work *now = NULL;
		for (size_t i = 0; i < w->held.count; i++)
			if (text_equal(held[i].run_id, run->work.run_id))
				now = &held[i];
		if (now) {
			run->work.token = now->token;
			connector_run_announce(run);
		} else if (run->point_name && must_stay(w, run->work.vm_id, run->point_name)) {
			run->committed = true; /* it was, while we were away */
		} else {
			run->cancelled = true;
		}
	}
	for (size_t i = 0; i < w->held.count; i++)
		if (held[i].run_id && !find_run(c, held[i].run_id))
			connector_run_start(c, &held[i]);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

/* --- the inventory --- */

struct listing {
	struct connector *c;
	struct door_inventory part;
	int64_t import;
	struct err err;
};

static int send_part(struct listing *l, bool last)
{
	l->part.import = l->import;
	l->part.last = last;
	pthread_mutex_lock(&l->c->lock);
	int r = connector_say(l->c, DOOR_INVENTORY, &l->part, &l->err);
	pthread_mutex_unlock(&l->c->lock);
	shape_release(&door_inventory_shape, &l->part);
	return r;
}

static int add_machine(void *context, const struct machine *m)
{
	struct listing *l = context;
	shape_copy(&machine_shape, list_push(&l->part.machines, sizeof *m), m);
	return l->part.machines.count >= INVENTORY_BATCH && send_part(l, false) < 0;
}

static void *listing_thread(void *arg)
{
	struct listing *l = arg;
	struct connector *c = l->c;
	struct err e = {0};
	pthread_mutex_lock(&c->site_lock);
	int r = site_list(c->site, add_machine, l, &e);
	pthread_mutex_unlock(&c->site_lock);
	if (r < 0) {
		shape_release(&door_inventory_shape, &l->part);
		text_set(&l->part.refusal, e.text);
		log_warn("the inventory failed: %s", e.text);
	}
	if (r <= 0 && send_part(l, true) < 0)
		log_warn("the inventory was not sent: %s", l->err.text);
	shape_release(&door_inventory_shape, &l->part);
	free(l);
	return NULL;
}

static void start_listing(struct connector *c, int64_t import)
{
	struct listing *l = xcalloc(1, sizeof *l);
	pthread_t thread;
	l->c = c;
	l->import = import;
	if (pthread_create(&thread, NULL, listing_thread, l) != 0)
		abort();
	pthread_detach(thread);
}

/* --- what the service says --- */

static void hear_work(struct connector *c, struct door_work *work)
{
	pthread_mutex_lock(&c->lock);
	struct connector_run *run = work->run_id ? find_run(c, work->run_id) : NULL;
	if (run && run->state == RUN_COPIED && run->work.token == work->token && !work->copied) {
		run->again = true;
		pthread_cond_broadcast(&c->changed);
	} else if (run) {
		run->work.token = work->token; /* a new lease of what is under way */
		connector_run_announce(run);
	} else if (work->run_id && work->vm_id) {
		connector_run_start(c, work);
	}
	pthread_mutex_unlock(&c->lock);
}

static int hear_over(struct connector *c, uint16_t type, const struct door_run *message,
		     struct err *e)
{
	int r = 0;
	pthread_mutex_lock(&c->lock);
	struct connector_run *run = message->run_id ? find_run(c, message->run_id) : NULL;
	if (!run)
		r = connector_say(c, DOOR_RELEASED, message, e);
	else if (type == DOOR_COMMITTED)
		run->committed = true;
	else
		run->cancelled = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int hear(struct connector *c, uint16_t type, const struct buf *body, struct err *e)
{
	union {
		struct door_list list;
		struct door_work work;
		struct door_run run;
		struct door_forget forget;
		struct door_retire retire;
		struct door_fault fault;
	} m;
	if (type != DOOR_LIST && type != DOOR_WORK && type != DOOR_COMMITTED &&
	    type != DOOR_CANCEL && type != DOOR_FORGET && type != DOOR_RETIRE && type != DOOR_FAULT)
		return err_set(e, ERR_INVALID, "the service does not say %s here", door_word(type));
	if (wire_decode(door_shape(type), body->data, body->len, &m, e) < 0)
		return -1;
	int r = 0;
	switch (type) {
	case DOOR_LIST: start_listing(c, m.list.import); break;
	case DOOR_WORK: hear_work(c, &m.work); break;
	case DOOR_FORGET: connector_forget(c, &m.forget); break;
	case DOOR_RETIRE: connector_retire(c, m.retire.connector_id); break; /* a fault follows */
	case DOOR_FAULT: r = fault_of(&m.fault, e); break;
	default: r = hear_over(c, type, &m.run, e); break;
	}
	shape_release(door_shape(type), &m);
	return r;
}

static int converse(struct connector *c, struct stream *s, int64_t beat_ms, struct err *e)
{
	struct buf body = {0};
	int64_t beat_at = clock_mono_ms() + beat_ms;
	uint16_t type;
	int r = 0;
	while (r == 0) {
		int64_t left = beat_at - clock_mono_ms();
		if (left <= 0) {
			struct door_heartbeat beat = {.healthy = 1};
			pthread_mutex_lock(&c->lock);
			r = connector_say(c, DOOR_HEARTBEAT, &beat, e);
			pthread_mutex_unlock(&c->lock);
			beat_at = clock_mono_ms() + beat_ms;
			continue;
		}
		r = stream_wait(s, left, e);
		if (r != 1)
			continue;
		r = frame_read(s, &type, &body, e);
		if (r == 0)
			r = err_set(e, ERR_UNAVAILABLE, "the service closed the connection");
		else if (r == 1)
			r = hear(c, type, &body, e);
	}
	buf_release(&body);
	return r;
}

static int connect_once(struct connector *c, struct err *e)
{
	struct stream *s;
	struct door_welcome welcome = {0};
	if (connector_dial(c, &s, e) < 0)
		return -1;
	stream_set_timeout(s, UNHEALTHY_AFTER_MS);
	int r = greet(c, s, &welcome, e);
	if (r == 0) {
		log_info("connected to %s as %s", c->config.service, welcome.connector_id);
		pthread_mutex_lock(&c->lock);
		text_set(&c->id, welcome.connector_id ? welcome.connector_id : "");
		c->control = s;
		pthread_mutex_unlock(&c->lock);
		int64_t beat = welcome.heartbeat_ms;
		reconcile(c, &welcome);
		r = converse(c, s, beat >= 100 && beat <= UNHEALTHY_AFTER_MS ? beat : HEARTBEAT_MS,
			     e);
		pthread_mutex_lock(&c->lock);
		c->control = NULL;
		pthread_mutex_unlock(&c->lock);
	}
	shape_release(&door_welcome_shape, &welcome);
	stream_close(s);
	return r;
}

/* --- for ever --- */

static int load_keys(struct connector *c, struct err *e)
{
	char *cert = in_state(c, CERTIFICATE_FILE), *key = in_state(c, KEY_FILE);
	char *ca = in_state(c, AUTHORITY_FILE);
	int r = 0;
	if (access(cert, F_OK) != 0)
		r = enrol(c, e);
	if (r == 0)
		r = tls_client(ca, NULL, cert, key, &c->tls, e);
	free(cert);
	free(key);
	free(ca);
	return r;
}

int connector_serve(const struct connector_config *config, struct err *e)
{
	struct connector *c = xcalloc(1, sizeof *c);
	char *scratch = xasprintf("%s/scratch", config->state_dir);
	int64_t pause = RETRY_MIN_MS;
	c->config = *config;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->site_lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	int r = file_make_dirs(config->state_dir, 0700, e);
	if (r == 0)
		r = file_make_dirs(scratch, 0700, e);
	if (r == 0)
		r = site_open(config->site, scratch, &c->site, e);
	if (r == 0)
		r = connector_forget_start(c, e);
	free(scratch);
	if (r < 0)
		return -1;
	unsigned disks = site_get_facts(c->site)->disks_in_flight;
	sem_init(&c->disks, 0, disks ? disks : LIMIT_DISKS_IN_FLIGHT);
	for (;;) {
		int64_t began = clock_mono_ms();
		r = c->tls ? 0 : load_keys(c, e);
		if (r == 0)
			r = connect_once(c, e);
		if (r < 0 &&
		    (e->kind == ERR_DENIED || e->kind == ERR_INVALID || e->kind == ERR_NOT_FOUND))
			return -1;
		if (clock_mono_ms() - began > UNHEALTHY_AFTER_MS)
			pause = RETRY_MIN_MS;
		log_warn("%s; trying again in %lld s", e->text, (long long)pause / 1000);
		clock_sleep_ms(pause);
		pause = pause * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : pause * 2;
	}
}
