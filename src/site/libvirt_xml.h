// SPDX-License-Identifier: Apache-2.0
/*
 * libvirt's XML documents (formatdomain, formatbackup, formatcheckpoint) to structs and back. Pure
 * functions of text, which is a stranger's: whoever may define a domain wrote it. Nothing is fetched,
 * no entity is expanded, sizes are bounded, and a document with a DTD is refused.
 */
#ifndef SITE_LIBVIRT_XML_H
#define SITE_LIBVIRT_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/machine.h"

#define LIMIT_XML_BYTES (4 * 1024 * 1024)

/* What else a domain's document says that copying needs. */
struct domain_extra {
	bool has_owner; /* QEMU runs as this user and group (seclabel model dac) */
	uid_t owner;
	gid_t group;
};

/* A domain. Fills vm_id, name, guest_os, firmware, machine, vcpus, memory, disks (the boot disk
 * first; size_bytes 0, libvirt knows it elsewhere) and nics; path and power are the caller's. Text is
 * cut to what machine_shape allows. */
int domain_xml_parse(const char *xml, size_t n, struct machine *out, struct domain_extra *extra,
		     struct err *e);

/* One disk in a backup job or a checkpoint. */
struct point_disk {
	char *key;
	bool tracked;	    /* has a change bitmap in the checkpoint */
	bool incremental;   /* the job exports what changed since `base` */
	int64_t size_bytes; /* at the checkpoint, 0 when it does not say */
	char *why;	    /* it is read in full: one sentence, or NULL */
};

struct point_xml {
	char *name;   /* of the checkpoint */
	char *socket; /* of the backup job */
	struct list disks;
};

void point_xml_release(struct point_xml *p);
struct point_disk *point_xml_disk(const struct point_xml *p, const char *key); /* or NULL */

/* A backup job as virDomainBackupGetXMLDesc tells it; socket is NULL when the job has none. */
int backup_xml_parse(const char *xml, size_t n, struct point_xml *out, struct err *e);
/* A checkpoint as virDomainCheckpointGetXMLDesc tells it. Sizes come from the description that
 * checkpoint_xml_build wrote. */
int checkpoint_xml_parse(const char *xml, size_t n, struct point_xml *out, struct err *e);

/* The metadata context of a disk that the job exports incrementally. */
#define BACKUP_BITMAP	     "changed"
#define BACKUP_DIRTY_CONTEXT "qemu:dirty-bitmap:" BACKUP_BITMAP

/* Documents for virDomainBackupBegin: a pull-mode job on p->socket whose scratch files are
 * <scratch_dir>/scratch.<key>, exports named by key; and a checkpoint of the tracked disks. The
 * caller frees. */
char *backup_xml_build(const struct point_xml *p, const char *base, const char *scratch_dir);
char *checkpoint_xml_build(const struct point_xml *p);

/* The host's UUID in a capabilities document, false when it has none. */
bool capabilities_xml_uuid(const char *xml, size_t n, char out[37]);

#endif
