// SPDX-License-Identifier: Apache-2.0
/* What the files of the libvirt kind share. libvirt.c: the connection, the inventory and the
 * dispatch; libvirt_backup.c: points of running domains; libvirt_scratch.c: their scratch space;
 * libvirt_offline.c: points of those switched off; libvirt_sweep.c: what goes. */
#ifndef SITE_LIBVIRT_H
#define SITE_LIBVIRT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "base/limits.h"
#include "site/kind.h"
#include "site/libvirt_xml.h"

struct libvirt_site {
	struct site site; /* first */
	char *uri;
	char *place; /* "qemu:system": begins the path of every machine */
	char *scratch_dir;
	pthread_mutex_t lock; /* of the connection */
	virConnectPtr connection;
};

/* Of a point. Its files are in `dir`: nbd.sock, scratch.<key>; or <key>.sock, <key>.pid. */
struct libvirt_point {
	char *dir;
	bool offline;
	struct libvirt_watch *watch;		/* of the scratch space; NULL offline */
	int64_t stamps[LIMIT_DISKS_PER_SERVER]; /* offline: when each disk was last written, ns */
};

/* The last error of libvirt in this thread as ours: "<what we did>: <what it said>". */
int libvirt_err(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A counted reference; a connection that died (libvirtd was restarted) is opened again. */
int libvirt_connection(struct libvirt_site *s, virConnectPtr *out, struct err *e);
/* libvirt prints errors unless told not to, in each thread. */
void libvirt_errors_quiet(void);
/* ERR_NOT_FOUND; the caller frees with virDomainFree. */
int libvirt_domain(struct libvirt_site *s, const char *vm_id, virDomainPtr *out, struct err *e);
int libvirt_describe(struct libvirt_site *s, virDomainPtr domain, struct machine *out,
		     struct domain_extra *extra, struct err *e);
/* The folder of a point, below scratch_dir; the caller frees. */
char *libvirt_point_dir(const struct libvirt_site *s, const char *vm_id, const char *point);
/* Make it, and leave a note in it of whose it is. */
int libvirt_point_dir_make(const struct libvirt_site *s, const struct site_point *p,
			   const struct domain_extra *extra, struct err *e);
/* Connect a unix socket. */
int libvirt_dial(const char *path, int *fd, struct err *e);

/* The backup job of a domain: 1 and *job, 0 when there is none. */
int libvirt_job_find(virDomainPtr domain, struct point_xml *job, struct err *e);
/* The checkpoint of this name: 1 and *checkpoint, 0 when there is none. */
int libvirt_checkpoint_find(virDomainPtr domain, const char *name, struct point_xml *checkpoint,
			    struct err *e);
/* End a job of ours. A machine that QEMU paused because its scratch space was full goes on. */
int libvirt_job_abort(virDomainPtr domain, struct err *e);
/* The same, but only of the job whose socket is in `dir`; another one, or none, is no error. */
int libvirt_job_end(virDomainPtr domain, const char *dir, struct err *e);
/* Delete a checkpoint and its bitmaps; a missing one is no error. */
int libvirt_checkpoint_delete(virDomainPtr domain, const char *name, struct err *e);

int libvirt_backup_begin(struct libvirt_site *s, virDomainPtr domain, const struct site_want *want,
			 const struct domain_extra *extra, struct site_point *p, struct err *e);
int libvirt_backup_poll(struct libvirt_site *s, virDomainPtr domain, struct site_point *p,
			struct err *e);

/* ERR_FULL without room for what the machine may overwrite during the copy. */
int libvirt_scratch_check(const struct libvirt_site *s, const struct site_point *p, struct err *e);
/* Begin to look after the scratch files of a job: when they run low it is ended at once. */
void libvirt_scratch_watch(const struct libvirt_site *s, struct site_point *p);
void libvirt_scratch_unwatch(struct libvirt_point *state);
/* ERR_FULL when they ran low. */
int libvirt_scratch_poll(const struct libvirt_site *s, const struct site_point *p, struct err *e);

int libvirt_offline_begin(struct libvirt_site *s, const struct site_want *want,
			  struct site_point *p, struct err *e);
int libvirt_offline_poll(virDomainPtr domain, struct site_point *p, struct err *e);
/* Stop the NBD servers whose pid files are in `dir`. */
void libvirt_offline_stop(const char *dir);

int libvirt_sweep(struct site *site, const struct site_removal *what, unsigned *removed,
		  struct err *e);

#endif
