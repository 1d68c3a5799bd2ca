// SPDX-License-Identifier: Apache-2.0
/*
 * Images that run as libvirt domains: what the commands, the keeper and the domain's part share.
 *
 * A machine is a folder STATE/machines/NAME:
 *   machine.json   what it was made of; written first
 *   disk0.qcow2 …  its disks: overlays over the image's exports, until they are whole
 *   nbd.sock       the image's exports, served by nbdkit under the keeper
 *   keeper.pid     locked by the keeper as long as it lives
 *   keeper.log     what it and nbdkit say
 * Every step looks first whether it was done: run again after any death goes on.
 */
#ifndef PROG_RUN_H
#define PROG_RUN_H

#include <libvirt/libvirt.h>

#include "guest/boot.h"
#include "prog/godwit_overlay.h"

#define RUN_NAME_MAX 64

struct run_place {
	char name[RUN_NAME_MAX + 1];
	char *dir, *socket, *about, *pid_file, *log_file; /* about: machine.json */
	json_t
	    *machine; /* its content: imageId, connect, store, network, rate, disks: [{export, root,
			    sizeBytes, target}] */
};

/* The folder of a name, which need not be there; ERR_INVALID for a name that cannot be one. */
int run_place_open(const char *state, const char *name, struct run_place *p, struct err *e);
/* Reads machine.json; ERR_NOT_FOUND when there is no such machine. */
int run_place_read(struct run_place *p, struct err *e);
int run_place_write(const struct run_place *p, struct err *e);
void run_place_close(struct run_place *p);
char *run_disk_file(const struct run_place *p, unsigned disk);

/* --- the domain --- */

enum run_state { RUN_GONE, RUN_OFF, RUN_RUNNING, RUN_PAUSED, RUN_STUCK /* a disk failed */ };
const char *run_state_word(enum run_state state);

struct run_look {
	enum run_state state;
	unsigned disks, local; /* local: needs the image no more */
	uint64_t done, total;  /* bytes, of all disks */
	bool pulling[LIMIT_DISKS_PER_SERVER], is_local[LIMIT_DISKS_PER_SERVER];
};

int run_connect(const char *uri, virConnectPtr *out, struct err *e);
int run_domain_look(virConnectPtr conn, const struct run_place *p, struct run_look *out,
		    struct err *e);
/* "vda" … "vdz", "vdaa" …: by the disk's number, which is unique whatever the bus. */
void run_target_name(const struct machine *m, unsigned disk, char out[16]);
/* Give the domain to libvirt, unless it has it. ERR_CONFLICT: it has another of this name. */
int run_domain_define(virConnectPtr conn, const struct run_place *p, const struct machine *m,
		      int64_t memory_bytes, struct err *e);
/* Start it, or let it go on. */
int run_domain_start(virConnectPtr conn, const struct run_place *p, struct err *e);
/* Begin to make a disk local, in the running domain. */
int run_domain_pull(virConnectPtr conn, const struct run_place *p, unsigned disk, struct err *e);
/* The machine's rate for what is being made local now. */
int run_domain_set_rate(virConnectPtr conn, const struct run_place *p, struct err *e);
/* Ask it to shut down, wait, else pull the plug; *obeyed tells which it was. */
int run_domain_stop(virConnectPtr conn, const struct run_place *p, int64_t patience_ms,
		    bool *obeyed, struct err *e);
int run_domain_remove(virConnectPtr conn, const struct run_place *p, struct err *e);
/* Whether a network of libvirt is cut off from every other; ERR_NOT_FOUND. */
int run_network_isolated(virConnectPtr conn, const char *network, bool *isolated, struct err *e);
/* Let QEMU reach a folder and a socket of ours, when it is another user. */
int run_let_qemu_in(virConnectPtr conn, const char *state, const struct run_place *p,
		    struct err *e);

/* --- the keeper --- */

/* Serves the image while the machine needs it and makes its disks local; a process of its own,
 * which outlives us. Returns when the exports are served; one that lives is left alone. */
int run_keeper_start(const struct run_place *p, struct err *e);
bool run_keeper_lives(const struct run_place *p);
void run_keeper_stop(const struct run_place *p);

#endif
