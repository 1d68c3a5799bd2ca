// SPDX-License-Identifier: Apache-2.0
/*
 * A site: where servers live. Inventory, a point in time to copy from, and what changed since the
 * one before. Kinds: libvirt, memory.
 *
 * Everything a site makes in a hypervisor carries a point name that says whose it is
 * ("godwit-<connector>-<run id>-<random>"), so that it is found again after a crash, and nobody
 * takes another's. Order that keeps data safe: begin(point N, base N-1) -> copy ->
 * (version N committed) -> end(committed): N-1 goes, N stays for the next run. A failed run ends
 * with committed false: N goes, what N-1 tracks stays whole. A restarted connector calls `sweep`
 * first: it removes everything of ours that no lease and no base needs.
 */
#ifndef SITE_SITE_H
#define SITE_SITE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/text.h"
#include "block/extent.h"
#include "wire/machine.h"

struct site_facts {
	char kind[16];
	char manager_id[ID_BYTES]; /* stable id of the VM manager */
	char manager_name[256];	   /* host name; with "(libvirt)" where the API has no type word */
	char manager_type[32];	   /* VSPHERE, SCVMM, HYPERV-MANAGER, or "" */
	char capabilities[256];	   /* comma-separated */
	unsigned disks_in_flight;
};

struct site_disk {
	char *key;
	unsigned number; /* in the machine, boot disk 0 */
	uint64_t size_bytes;
	char *export_name;	/* of the NBD export that `dial` reaches */
	char *dirty_context;	/* NBD metadata context with the dirty bitmap, or NULL */
	struct extents changed; /* or the changes as a list; valid when has_changed */
	bool has_changed;
	char *full_reason; /* why everything must be read, when neither; one sentence */
};

/* A point in time of one machine, being copied. Released with site_point_release. */
struct site_point {
	char *vm_id;
	char *point;
	char *base_point;  /* or NULL */
	bool keeps;	   /* can be the base of the next increment */
	char *consistency; /* "crash", "file-system", "application" */
	struct machine machine;
	struct site_disk *disks;
	unsigned disk_count;
	void *state; /* the kind's own */
};

struct site_want {
	const char *vm_id;
	const char *point;	/* name of the point to take, or to find again */
	const char *base_point; /* or NULL: full */
	bool resume;		/* the point was taken before a restart: attach to it if it is
				 * still exactly that, else ERR_NOT_FOUND */
};

#define SITE_POINT_BYTES 129 /* longest name of a point, with its NUL */

/* What must not be removed by a sweep. */
struct site_keep {
	const char *vm_id;
	const char *point;
	bool active; /* a run is copying from it (else it only tracks changes) */
};

struct site;

/* A name for a new point of a connector, never the same twice: a name must not mean two moments. Its
 * second word is the first 8 letters and digits of the connector's id after "c-". */
void site_point_name(const char *connector_id, const char *run_id, char out[SITE_POINT_BYTES]);
bool site_point_is_of(const char *point, const char *connector_id);

/* "libvirt:qemu:///system", "memory:servers=3,disks=1,size=64M,seed=7". `scratch_dir` is where
 * the kind may put files (sockets, scratch space), owned by us, mode 0700. */
int site_open(const char *where, const char *scratch_dir, struct site **out, struct err *e);
void site_close(struct site *s);
const struct site_facts *site_get_facts(const struct site *s);

/* Call `each` for every machine until it returns non-zero (which is returned). */
typedef int site_machine_fn(void *context, const struct machine *m);
int site_list(struct site *s, site_machine_fn *each, void *context, struct err *e);

/* Take (or find again) a point in time. ERR_FULL without scratch space, ERR_NOT_FOUND for an
 * unknown machine, ERR_INVALID for one that cannot be copied, ERR_CONFLICT when someone else's
 * backup runs. On failure nothing is left behind. */
int site_begin(struct site *s, const struct site_want *want, struct site_point **out,
	       struct err *e);
/* A new connection to the NBD server of a disk of the point; the caller owns the descriptor. */
int site_dial(struct site *s, struct site_point *p, unsigned disk, int *fd, struct err *e);
/* Look after the point; call it every second. ERR_FULL when scratch space ran over its limit (the
 * point was given up, the guest is unharmed), ERR_UNAVAILABLE when the point is gone. */
int site_poll(struct site *s, struct site_point *p, struct err *e);
/* End it: release what the copy needed. With `committed`, the base point goes and this one is kept
 * when it can be; else this one goes. Safe to call again after a failure. Frees p when it returns 0. */
int site_end(struct site *s, struct site_point *p, bool committed, struct err *e);
/* Free the memory of a point without touching the hypervisor (before a resume by another process). */
void site_point_release(struct site_point *p);

/* Remove every point that bears this connector's word and is not kept, and all other traces of
 * earlier processes in scratch_dir. Points of others stay. `removed` (may be NULL) counts what went. */
int site_sweep(struct site *s, const char *connector_id, const struct site_keep *keep,
	       unsigned keep_count, unsigned *removed, struct err *e);
/* Remove one point that nothing copies from or begins at any more. One that is gone, or whose
 * machine is, is no error. */
int site_forget(struct site *s, const char *vm_id, const char *point, struct err *e);

#endif
