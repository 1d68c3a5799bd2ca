// SPDX-License-Identifier: Apache-2.0
/*
 * libvirt. Invariants:
 *  1. A name of ours begins with "godwit-" and our connector's word, a file of ours is under
 *     scratch_dir: nothing else is ever removed or ended.
 *  2. A disk is exported incrementally only when the checkpoint of the base says that it had a bitmap
 *     and this very size, and libvirt finds the bitmap whole; else it is read in full, with a reason.
 *  3. The base checkpoint goes only after its successor was committed, unless it is broken.
 */
#include "site/libvirt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"

/* --- errors and the connection --- */

static void quiet(void *context, virErrorPtr error)
{
	(void)context;
	(void)error;
}

void libvirt_errors_quiet(void)
{
	virSetErrorFunc(NULL, quiet);
}

int libvirt_err(struct err *e, const char *format, ...)
{
	const virError *last = virGetLastError();
	enum err_kind kind = ERR_IO;
	switch (last ? last->code : VIR_ERR_OK) {
	case VIR_ERR_NO_DOMAIN:
	case VIR_ERR_NO_DOMAIN_BACKUP:
	case VIR_ERR_NO_DOMAIN_CHECKPOINT: kind = ERR_NOT_FOUND; break;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_RPC:
	case VIR_ERR_SYSTEM_ERROR: kind = ERR_UNAVAILABLE; break;
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_OPERATION_DENIED: kind = ERR_DENIED; break;
	case VIR_ERR_OPERATION_TIMEOUT:
	case VIR_ERR_RESOURCE_BUSY: kind = ERR_BUSY; break;
	case VIR_ERR_CHECKPOINT_INCONSISTENT:
	case VIR_ERR_OPERATION_INVALID: kind = ERR_CONFLICT; break;
	}
	char what[256];
	va_list ap;
	va_start(ap, format);
	vsnprintf(what, sizeof what, format, ap);
	va_end(ap);
	return err_set(e, kind, "%s: %s", what, last && last->message ? last->message : "failed");
}

int libvirt_connection(struct libvirt_site *s, virConnectPtr *out, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&s->lock);
	libvirt_errors_quiet();
	if (s->connection && virConnectIsAlive(s->connection) != 1) {
		virConnectClose(s->connection);
		s->connection = NULL;
	}
	if (!s->connection)
		s->connection = virConnectOpen(s->uri);
	if (!s->connection)
		rc = libvirt_err(e, "libvirt at %s cannot be reached", s->uri);
	else
		virConnectRef(s->connection);
	*out = s->connection;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int libvirt_domain(struct libvirt_site *s, const char *vm_id, virDomainPtr *out, struct err *e)
{
	virConnectPtr c;
	if (libvirt_connection(s, &c, e) < 0)
		return -1;
	*out = virDomainLookupByUUIDString(c, vm_id);
	if (!*out)
		libvirt_err(e, "libvirt at %s has no machine %.40s", s->uri, vm_id);
	virConnectClose(c);
	return *out ? 0 : -1;
}

/* --- the inventory --- */

static const char *power_word(virDomainPtr domain)
{
	int state = VIR_DOMAIN_NOSTATE, reason;
	if (virDomainGetState(domain, &state, &reason, 0) < 0)
		return "off";
	switch (state) {
	case VIR_DOMAIN_SHUTOFF:
	case VIR_DOMAIN_CRASHED: return "off";
	case VIR_DOMAIN_PAUSED:
	case VIR_DOMAIN_PMSUSPENDED: return "paused";
	default: return "running";
	}
}

static void disk_size(virDomainPtr domain, struct machine_disk *d)
{
	virDomainBlockInfo info;
	if (d->refusal)
		return;
	if (virDomainGetBlockInfo(domain, d->key, &info, 0) < 0) {
		text_setf(&d->refusal, "the size of disk %s cannot be found: %.300s", d->key,
			  virGetLastErrorMessage());
		return;
	}
	d->size_bytes = (int64_t)info.capacity;
	if (info.capacity < LIMIT_DISK_MIN_BYTES || info.capacity > LIMIT_DISK_MAX_BYTES) {
		text_setf(&d->refusal, "disk %s of %llu bytes is outside of 512 bytes to 64 TiB",
			  d->key, info.capacity);
		d->size_bytes = 0;
	}
}

int libvirt_describe(struct libvirt_site *s, virDomainPtr domain, struct machine *out,
		     struct domain_extra *extra, struct err *e)
{
	char *xml = virDomainGetXMLDesc(domain, 0);
	if (!xml)
		return libvirt_err(e, "a machine cannot be described");
	int rc = domain_xml_parse(xml, strlen(xml), out, extra, e);
	free(xml);
	if (rc < 0)
		return -1;
	text_set(&out->power, power_word(domain));
	/* The path is bounded as the name is; a name that fills it is cut once more. */
	char path[LIMIT_NAME_BYTES + 1];
	snprintf(path, sizeof path, "/%s/%s", s->place, out->name);
	path[utf8_valid(path, strlen(path))] = '\0';
	text_set(&out->path, path);
	struct machine_disk *disks = out->disks.items;
	for (size_t i = 0; i < out->disks.count; i++)
		disk_size(domain, &disks[i]);
	return 0;
}

static int libvirt_list(struct site *site, site_machine_fn *each, void *context, struct err *e)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	virConnectPtr c;
	virDomainPtr *domains = NULL;
	if (libvirt_connection(s, &c, e) < 0)
		return -1;
	int rc = 0, count = virConnectListAllDomains(c, &domains, 0);
	virConnectClose(c);
	if (count < 0)
		return libvirt_err(e, "the machines at %s cannot be listed", s->uri);
	if (count > LIMIT_SERVERS_PER_CONNECTOR)
		rc = err_set(e, ERR_INVALID, "%s has %d machines; a connector serves up to %d",
			     s->uri, count, LIMIT_SERVERS_PER_CONNECTOR);
	for (int i = 0; i < count && !rc; i++) {
		struct machine m;
		struct domain_extra extra;
		/* One that went away in the meantime, or that cannot be understood, hides no other. */
		if (libvirt_describe(s, domains[i], &m, &extra, NULL) < 0)
			continue;
		rc = each(context, &m);
		shape_release(&machine_shape, &m);
	}
	for (int i = 0; i < count; i++)
		virDomainFree(domains[i]);
	free(domains);
	return rc;
}

/* --- the files of a point --- */

char *libvirt_point_dir(const struct libvirt_site *s, const char *vm_id, const char *point)
{
	/* A unix socket's path has 107 bytes at most, so names are shortened: FNV-1a, 64 bits. */
	uint64_t hash = 0xcbf29ce484222325u;
	const char *const parts[] = {vm_id, "/", point};
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		for (const char *c = parts[i]; *c; c++)
			hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	return xasprintf("%s/p-%016llx", s->scratch_dir, (unsigned long long)hash);
}

int libvirt_point_dir_make(const struct libvirt_site *s, const struct site_point *p,
			   const struct domain_extra *extra, struct err *e)
{
	const struct libvirt_point *state = p->state;
	struct sockaddr_un address;
	if (strlen(state->dir) + sizeof "/vdzz.sock" > sizeof address.sun_path)
		return err_set(
		    e, ERR_INVALID,
		    "the state folder %s has too long a name for a socket; use a shorter one",
		    s->scratch_dir);
	if (file_make_dirs(state->dir, 0700, e) < 0)
		return -1;
	/* QEMU makes the socket and the scratch files itself, as its own user. */
	if (extra && extra->has_owner && extra->owner != 0) {
		if (chown(state->dir, extra->owner, extra->group) < 0)
			return err_errno(e, errno, "cannot give %s to QEMU's user", state->dir);
		if (chmod(s->scratch_dir, 0711) < 0)
			return err_errno(e, errno, "cannot open %s to QEMU's user", s->scratch_dir);
	}
	return 0;
}

int libvirt_dial(const char *path, int *fd, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	if (connect(*fd, (struct sockaddr *)&address, sizeof address) == 0)
		return 0;
	err_errno(e, errno, "the NBD server at %s does not answer", path);
	if (e && e->kind == ERR_NOT_FOUND)
		e->kind = ERR_UNAVAILABLE;
	close(*fd);
	*fd = -1;
	return -1;
}

/* --- points --- */

static void libvirt_free_state(void *state)
{
	struct libvirt_point *point = state;
	libvirt_scratch_unwatch(point);
	free(point->dir);
	free(point);
}

static int refused(const struct machine *m, struct err *e)
{
	const struct machine_disk *disks = m->disks.items;
	if (m->refusal)
		return err_set(e, ERR_INVALID, "%.100s cannot be copied: %s", m->name, m->refusal);
	for (size_t i = 0; i < m->disks.count; i++)
		if (disks[i].refusal)
			return err_set(e, ERR_INVALID, "%.100s cannot be copied: %s", m->name,
				       disks[i].refusal);
	return 0;
}

static void disks_fill(struct site_point *p)
{
	const struct machine_disk *disks = p->machine.disks.items;
	p->disk_count = (unsigned)p->machine.disks.count;
	p->disks = xcalloc(p->disk_count, sizeof *p->disks);
	for (unsigned i = 0; i < p->disk_count; i++) {
		p->disks[i].key = xstrdup(disks[i].key);
		p->disks[i].export_name = xstrdup(disks[i].key);
		p->disks[i].number = i;
		p->disks[i].size_bytes = (uint64_t)disks[i].size_bytes;
	}
}

static int libvirt_begin(struct site *site, const struct site_want *want, struct site_point *p,
			 struct err *e)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	struct domain_extra extra;
	virDomainPtr domain;
	int rc = -1;
	if (libvirt_domain(s, want->vm_id, &domain, e) < 0)
		return -1;
	if (libvirt_describe(s, domain, &p->machine, &extra, e) < 0 || refused(&p->machine, e) < 0)
		goto out;
	disks_fill(p);
	text_set(&p->consistency, "crash");
	struct libvirt_point *state = xcalloc(1, sizeof *state);
	p->state = state;
	state->dir = libvirt_point_dir(s, want->vm_id, want->point);
	state->offline = virDomainIsActive(domain) == 0;
	rc = state->offline ? libvirt_offline_begin(s, want, p, e)
			    : libvirt_backup_begin(s, domain, want, &extra, p, e);
out:
	virDomainFree(domain);
	return rc;
}

static int libvirt_dial_point(struct site *site, struct site_point *p, unsigned disk, int *fd,
			      struct err *e)
{
	(void)site;
	const struct libvirt_point *state = p->state;
	char *path = state->offline ? xasprintf("%s/%s.sock", state->dir, p->disks[disk].key)
				    : xasprintf("%s/nbd.sock", state->dir);
	int rc = libvirt_dial(path, fd, e);
	free(path);
	return rc;
}

static int libvirt_poll(struct site *site, struct site_point *p, struct err *e)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	const struct libvirt_point *state = p->state;
	virDomainPtr domain;
	if (libvirt_domain(s, p->vm_id, &domain, e) < 0) {
		if (e && e->kind == ERR_NOT_FOUND)
			e->kind = ERR_UNAVAILABLE;
		return -1;
	}
	int rc = state->offline ? libvirt_offline_poll(domain, p, e)
				: libvirt_backup_poll(s, domain, p, e);
	virDomainFree(domain);
	return rc;
}

static int domain_end(virDomainPtr domain, const struct site_point *p, bool committed,
		      struct err *e)
{
	const struct libvirt_point *state = p->state;
	if (libvirt_job_end(domain, state->dir, e) < 0)
		return -1;
	if (!committed || !p->keeps) {
		if (libvirt_checkpoint_delete(domain, p->point, e) < 0)
			return -1;
	}
	/* Also after a copy that keeps no point: the next one will not begin at this base. */
	if (committed && p->base_point)
		return libvirt_checkpoint_delete(domain, p->base_point, e);
	return 0;
}

static int libvirt_end(struct site *site, struct site_point *p, bool committed, struct err *e)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	struct libvirt_point *state = p->state;
	struct err why = {0};
	virDomainPtr domain;
	libvirt_scratch_unwatch(state);
	libvirt_offline_stop(state->dir);
	if (libvirt_domain(s, p->vm_id, &domain, &why) == 0) {
		int rc = domain_end(domain, p, committed, e);
		virDomainFree(domain);
		if (rc < 0)
			return -1;
	} else if (why.kind != ERR_NOT_FOUND) {
		return err_set(e, why.kind, "%s", why.text);
	}
	return file_remove_tree(state->dir, e);
}

/* --- opening --- */

/* "qemu+unix:///system?socket=…" is qemu:system; with a host, the host. */
static char *place_of(const char *uri)
{
	const char *scheme_end = uri + strcspn(uri, "+:");
	const char *rest = strstr(uri, "://");
	if (!rest)
		return xasprintf("%.32s", uri);
	rest += 3;
	size_t host = strcspn(rest, "/?");
	if (host) {
		char *place = xasprintf("%.*s", (int)(host < 200 ? host : 200), rest);
		for (char *c = place; *c; c++) /* no passwords in a path */
			if (*c == '@') {
				char *short_place = xstrdup(c + 1);
				free(place);
				return short_place;
			}
		return place;
	}
	const char *path = rest + strspn(rest, "/");
	size_t n = strcspn(path, "?");
	return xasprintf("%.*s:%.*s", (int)(scheme_end - uri), uri, (int)(n < 200 ? n : 200), path);
}

/* libvirt makes up a UUID at every start on hosts that have none in their firmware, so the first one
 * seen is kept, as long as the URI is the same. */
static int manager_id_find(struct libvirt_site *s, virConnectPtr c, struct err *e)
{
	char *path = xasprintf("%s/manager-id", s->scratch_dir), uuid[37] = "";
	struct buf kept_id = {0}, line = {0};
	int rc = 0;
	if (file_read(path, 4096, &kept_id, NULL) == 0 && kept_id.len > 37 &&
	    strcmp(buf_str(&kept_id) + 37, s->uri) == 0) {
		snprintf(uuid, sizeof uuid, "%.36s", buf_str(&kept_id));
	} else {
		char *xml = virConnectGetCapabilities(c);
		if (!xml || !capabilities_xml_uuid(xml, strlen(xml), uuid)) {
			uint8_t bytes[16];
			random_bytes(bytes, sizeof bytes);
			char hex[33];
			hex_encode(bytes, sizeof bytes, hex);
			snprintf(uuid, sizeof uuid, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
				 hex + 12, hex + 16, hex + 20);
		}
		free(xml);
		buf_printf(&line, "%s %s", uuid, s->uri);
		rc = file_write(path, line.data, line.len, 0600, e);
	}
	snprintf(s->site.facts.manager_id, sizeof s->site.facts.manager_id, "%s", uuid);
	buf_release(&kept_id);
	buf_release(&line);
	free(path);
	return rc;
}

static void libvirt_close(struct site *site)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	if (s->connection)
		virConnectClose(s->connection);
	pthread_mutex_destroy(&s->lock);
	free(s->uri);
	free(s->place);
	free(s->scratch_dir);
	free(s);
}

static int libvirt_open(const char *place, const char *scratch_dir, struct site **out,
			struct err *e)
{
	if (!*place || strlen(place) > 1024)
		return err_set(e, ERR_INVALID,
			       "libvirt: wants the URI of a libvirtd, e.g. libvirt:qemu:///system");
	char *real = realpath(scratch_dir, NULL);
	if (!real)
		return err_errno(e, errno, "cannot find %s", scratch_dir);
	struct libvirt_site *s = xcalloc(1, sizeof *s);
	struct site_facts *facts = &s->site.facts;
	s->site.ops = &site_libvirt_ops;
	s->uri = xstrdup(place);
	s->place = place_of(place);
	s->scratch_dir = real;
	pthread_mutex_init(&s->lock, NULL);
	snprintf(facts->kind, sizeof facts->kind, "libvirt");
	facts->disks_in_flight = 4;
	virConnectPtr c;
	if (virInitialize() < 0) {
		libvirt_err(e, "libvirt cannot be initialised");
		goto failed;
	}
	if (libvirt_connection(s, &c, e) < 0)
		goto failed;
	char *host = virConnectGetHostname(c);
	snprintf(facts->manager_name, sizeof facts->manager_name, "%.200s (libvirt)",
		 host ? host : s->place);
	free(host);
	int rc = manager_id_find(s, c, e);
	virConnectClose(c);
	if (rc < 0)
		goto failed;
	*out = &s->site;
	return 0;
failed:
	libvirt_close(&s->site);
	return -1;
}

const struct site_ops site_libvirt_ops = {
    .kind = "libvirt",
    .open = libvirt_open,
    .close = libvirt_close,
    .list = libvirt_list,
    .begin = libvirt_begin,
    .dial = libvirt_dial_point,
    .poll = libvirt_poll,
    .end = libvirt_end,
    .sweep = libvirt_sweep,
    .free_state = libvirt_free_state,
};
