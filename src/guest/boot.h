// SPDX-License-Identifier: Apache-2.0
/*
 * Boot a machine from overlays, isolated, and judge it: what godwit-worker does for one boot test.
 * The guest has a network of its own without an uplink: QEMU user networking with restrict=on in a
 * network namespace with nothing but loopback.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include "base/err.h"
#include "guest/judge.h"
#include "wire/machine.h"

struct boot_plan {
	struct machine machine; /* firmware, chipset, memory, disks' buses, NICs' MACs */
	const char
	    *scratch_dir; /* sockets, and an overlay for each disk: boot_overlay; ours alone */
	const char *evidence_dir; /* serial.log, screen.png, screen.txt, verdict.txt go here */
	int64_t patience_ms;
	bool ocr; /* read the screen with tesseract */
};

/* Whether KVM truly works here: the device opens and kvm_intel or kvm_amd is loaded. */
bool boot_kvm_works(void);

/* Where the overlay of a disk (its index in the machine's list) is expected; caller frees. A disk
 * with a refusal has none. */
char *boot_overlay(const char *scratch_dir, unsigned disk);

/* Leave every network but a loopback of our own: call it first in a program, before threads. Fails
 * with the cure where the system does not allow it. */
int boot_isolate(struct err *e);

/* Boots, judges, stops the guest. 0 with the verdict and one sentence; -1 only when the test itself
 * could not be done (no QEMU, a disk that cannot be read, no isolation): that says nothing about
 * the image. */
int boot_test(const struct boot_plan *plan, enum verdict *verdict, char *sentence,
	      size_t sentence_size, struct err *e);

/* The QEMU command line of a machine, NULL-terminated: also for `godwit image boot`. `display` e.g.
 * "none" or "gtk". qmp_socket may be NULL; with it the guest waits for "cont" and has an agent
 * channel at <qmp_socket>.agent. serial_socket and ssh_forward ("127.0.0.1:2222") may be NULL. */
struct boot_argv {
	char **argv;
	unsigned count, cap;
};
void boot_argv_make(struct boot_argv *a, const struct boot_plan *plan, const char *qmp_socket,
		    const char *serial_socket, const char *ssh_forward, const char *display);
void boot_argv_release(struct boot_argv *a);

#endif
