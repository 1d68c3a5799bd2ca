// SPDX-License-Identifier: Apache-2.0
/* A server as its VM manager knows it: what an inventory lists, what a catalog keeps. */
#ifndef WIRE_MACHINE_H
#define WIRE_MACHINE_H

#include "base/shape.h"

struct machine_disk {
	char *key;    /* stable name of the disk in the machine: "vda", a device key */
	char *path;   /* where the manager keeps it, for people */
	char *format; /* "qcow2", "raw", … */
	char *bus;    /* "virtio", "scsi", "sata", "ide" */
	int64_t size_bytes;
	int64_t boot_order; /* 0: none given */
	char *refusal;	    /* why it cannot be copied, or NULL */
};

struct machine_nic {
	char *mac;
	char *network;
	char *model;
	char *addresses; /* space-separated, or NULL when unknown */
};

struct machine {
	char *vm_id; /* the manager's own stable id; libvirt: the UUID */
	char *name;
	char *path;	/* where a person finds it: "/qemu:system/web01" */
	char *guest_os; /* id as libosinfo or the manager gives it, or NULL */
	char *firmware; /* "bios" or "uefi" */
	char *machine;	/* chipset: "q35", "pc", or NULL */
	char *power;	/* "running", "off", "paused" */
	int64_t vcpus;
	int64_t memory_bytes;
	struct list disks; /* of struct machine_disk, the boot disk first */
	struct list nics;  /* of struct machine_nic */
	char *refusal;	   /* why the server cannot be replicated at all, or NULL */
};

extern const struct shape machine_disk_shape;
extern const struct shape machine_nic_shape;
extern const struct shape machine_shape;

#endif
