// SPDX-License-Identifier: Apache-2.0
/* The QEMU command line of a machine. Everything from the machine's description is matched against
 * words known here or checked before it becomes part of an argument. */
#include "guest/boot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"

#define MEMORY_DEFAULT_BYTES (1 * GIB)
#define MEMORY_MIN_BYTES     (512 * MIB)
#define MEMORY_MAX_BYTES     (2 * GIB)
#define VIRTIO_MAX_DISKS     16 /* each takes a PCI slot; more go to the SCSI bus */
#define AHCI_PORTS	     6
#define PIIX_DISKS	     4
#define NICS_MAX	     8

bool boot_kvm_works(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	/* /dev/kvm alone proves nothing: nested guests have it without the processor's help. */
	return access("/sys/module/kvm_intel", F_OK) == 0 ||
	       access("/sys/module/kvm_amd", F_OK) == 0;
}

char *boot_overlay(const char *scratch_dir, unsigned disk)
{
	return xasprintf("%s/disk%u.qcow2", scratch_dir, disk);
}

static void push(struct boot_argv *a, char *arg)
{
	VEC_GROW(a->argv, a->count, a->cap);
	a->argv[a->count++] = arg;
}

static void add(struct boot_argv *a, const char *option, const char *value)
{
	push(a, xstrdup(option));
	if (value)
		push(a, xstrdup(value));
}

static void addf(struct boot_argv *a, const char *option, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void addf(struct boot_argv *a, const char *option, const char *format, ...)
{
	va_list ap;
	char *value;

	va_start(ap, format);
	if (vasprintf(&value, format, ap) < 0)
		abort();
	va_end(ap);
	push(a, xstrdup(option));
	push(a, value);
}

/* A path inside an option: commas are doubled. Caller frees. */
static char *option_path(const char *path)
{
	struct buf out = {0};

	for (const char *p = path; *p; p++) {
		buf_add_byte(&out, (uint8_t)*p);
		if (*p == ',')
			buf_add_byte(&out, ',');
	}
	return buf_detach_str(&out);
}

static bool is_pc(const struct machine *m)
{
	return m->machine && (text_equal(m->machine, "pc") || text_starts(m->machine, "pc-i440fx"));
}

static void add_machine(struct boot_argv *a, const struct boot_plan *plan)
{
	const struct machine *m = &plan->machine;
	uint64_t memory = m->memory_bytes > 0 ? (uint64_t)m->memory_bytes : MEMORY_DEFAULT_BYTES;

	memory = memory < MEMORY_MIN_BYTES   ? MEMORY_MIN_BYTES
		 : memory > MEMORY_MAX_BYTES ? MEMORY_MAX_BYTES
					     : memory;
	add(a, "-nodefaults", NULL);
	add(a, "-no-user-config", NULL);
	add(a, "-machine", is_pc(m) ? "pc" : "q35");
	add(a, "-accel", boot_kvm_works() ? "kvm" : "tcg,thread=multi");
	add(a, "-cpu", "max");
	add(a, "-smp", "2");
	addf(a, "-m", "%u", (unsigned)(memory / MIB));
	add(a, "-sandbox",
	    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(a, "-boot", "strict=on");
	add(a, "-rtc", "base=utc");
	add(a, "-vga", "std");
	add(a, "-device", "virtio-rng-pci");
	/* A guest that powers off or panics stays for a last look at its screen. */
	add(a, "-action", "reboot=reset,shutdown=pause,panic=none");
	if (text_equal(m->firmware, "uefi")) {
		char *vars = xasprintf("%s/vars.fd", plan->scratch_dir), *path = option_path(vars);

		add(a, "-drive",
		    "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd");
		addf(a, "-drive", "if=pflash,format=raw,file=%s", path);
		free(path);
		free(vars);
	}
}

struct buses {
	unsigned virtio, ahci, piix;
	bool scsi;
};

static void add_scsi(struct boot_argv *a, struct buses *buses, unsigned disk)
{
	if (!buses->scsi)
		add(a, "-device", "virtio-scsi-pci,id=scsi0");
	buses->scsi = true;
	addf(a, "-device", "scsi-hd,bus=scsi0.0,drive=disk%u,bootindex=%u", disk, disk + 1);
}

static void add_disk(struct boot_argv *a, const struct boot_plan *plan, unsigned disk,
		     struct buses *buses)
{
	const struct machine_disk *d = (const struct machine_disk *)plan->machine.disks.items +
				       disk;
	char *overlay = boot_overlay(plan->scratch_dir, disk), *path = option_path(overlay);
	bool ide = text_equal(d->bus, "ide");

	addf(a, "-drive", "if=none,id=disk%u,format=qcow2,cache=unsafe,discard=unmap,file=%s", disk,
	     path);
	if (ide && is_pc(&plan->machine) && buses->piix < PIIX_DISKS) {
		addf(a, "-device", "ide-hd,bus=ide.%u,unit=%u,drive=disk%u,bootindex=%u",
		     buses->piix / 2, buses->piix % 2, disk, disk + 1);
		buses->piix++;
	} else if (ide || text_equal(d->bus, "sata")) {
		if (buses->ahci % AHCI_PORTS == 0)
			addf(a, "-device", "ich9-ahci,id=ahci%u", buses->ahci / AHCI_PORTS);
		addf(a, "-device", "ide-hd,bus=ahci%u.%u,drive=disk%u,bootindex=%u",
		     buses->ahci / AHCI_PORTS, buses->ahci % AHCI_PORTS, disk, disk + 1);
		buses->ahci++;
	} else if (text_equal(d->bus, "scsi") || buses->virtio >= VIRTIO_MAX_DISKS) {
		add_scsi(a, buses, disk);
	} else {
		addf(a, "-device", "virtio-blk-pci,drive=disk%u,bootindex=%u", disk, disk + 1);
		buses->virtio++;
	}
	free(path);
	free(overlay);
}

static bool is_mac(const char *text)
{
	if (!text || strlen(text) != 17)
		return false;
	for (unsigned i = 0; i < 17; i++) {
		if (i % 3 == 2 ? text[i] != ':' : !strchr("0123456789abcdefABCDEF", text[i]))
			return false;
	}
	return true;
}

static const char *nic_model(const char *model)
{
	static const char *const known[] = {"e1000e", "e1000", "rtl8139", "vmxnet3"};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (text_equal(model, known[i]))
			return known[i];
	return "virtio-net-pci";
}

static void add_nic(struct boot_argv *a, const struct machine_nic *nic, unsigned number,
		    const char *ssh_forward)
{
	char mac[24] = "";

	/* restrict=on: no packet leaves, not even to this machine; only the forward comes in. */
	if (number == 0 && ssh_forward)
		addf(a, "-netdev", "user,id=net0,restrict=on,hostfwd=tcp:%s-:22", ssh_forward);
	else
		addf(a, "-netdev", "user,id=net%u,restrict=on", number);
	if (is_mac(nic->mac))
		snprintf(mac, sizeof mac, ",mac=%s", nic->mac);
	/* Without its ROM: booting from a network would only spend the patience. */
	addf(a, "-device", "%s,netdev=net%u,romfile=%s", nic_model(nic->model), number, mac);
}

static void add_channels(struct boot_argv *a, const char *qmp_socket, const char *serial_socket)
{
	char *path;

	if (serial_socket) {
		path = option_path(serial_socket);
		addf(a, "-chardev", "socket,id=serial0,server=on,wait=off,path=%s", path);
		add(a, "-serial", "chardev:serial0");
		free(path);
	}
	if (!qmp_socket)
		return;
	path = option_path(qmp_socket);
	addf(a, "-chardev", "socket,id=qmp0,server=on,wait=off,path=%s", path);
	add(a, "-mon", "chardev=qmp0,mode=control");
	addf(a, "-chardev", "socket,id=agent0,server=on,wait=off,path=%s.agent", path);
	add(a, "-device", "virtio-serial-pci");
	add(a, "-device", "virtserialport,chardev=agent0,name=org.qemu.guest_agent.0");
	add(a, "-S", NULL);
	free(path);
}

void boot_argv_make(struct boot_argv *a, const struct boot_plan *plan, const char *qmp_socket,
		    const char *serial_socket, const char *ssh_forward, const char *display)
{
	const struct machine *m = &plan->machine;
	const struct machine_disk *disks = m->disks.items;
	const struct machine_nic *nics = m->nics.items;
	struct buses buses = {0};

	*a = (struct boot_argv){0};
	add(a, "qemu-system-x86_64", NULL);
	add_machine(a, plan);
	add(a, "-display", display);
	for (unsigned i = 0; i < m->disks.count && i < LIMIT_DISKS_PER_SERVER; i++)
		if (!disks[i].refusal)
			add_disk(a, plan, i, &buses);
	for (unsigned i = 0; i < m->nics.count && i < NICS_MAX; i++)
		add_nic(a, &nics[i], i, ssh_forward);
	add_channels(a, qmp_socket, serial_socket);
	VEC_GROW(a->argv, a->count, a->cap);
	a->argv[a->count] = NULL;
}

void boot_argv_release(struct boot_argv *a)
{
	for (unsigned i = 0; i < a->count; i++)
		free(a->argv[i]);
	free(a->argv);
	*a = (struct boot_argv){0};
}
