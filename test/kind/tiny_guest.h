// SPDX-License-Identifier: Apache-2.0
/* A libvirtd of its own and a guest that is nothing but disks and a serial line: see
 * test/guest/tiny-init.c. The model of each disk is what the guest wrote. */
#ifndef TINY_GUEST_H
#define TINY_GUEST_H

#include "../unit/test.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "io/file.h"
#include "io/process.h"
#include "libvirtd.h"

static char dir[] = "/tmp/gwsXXXXXX";
static char *tool, *uri, *kernel, *initrd;
static virConnectPtr connection;

struct guest_disk {
	char letter;	    /* of libvirt: the guest itself names them in their order */
	const char *format; /* "qcow2", "raw", or "v2" for qcow2 of version 2 */
	uint64_t size;
	uint8_t *model;
	char *path;
};

struct guest {
	const char *name;
	const char *more;   /* devices, in XML */
	const char *policy; /* after an error of a disk; NULL: QEMU's own */
	struct guest_disk disks[8];
	unsigned count;
	virDomainPtr domain;
	char vm_id[VIR_UUID_STRING_BUFLEN];
	int serial;
	struct buf said;
	size_t heard; /* of `said`, up to the last answer */
};

static void guest_listen(struct guest *g, int64_t ms)
{
	char text[4096];
	struct pollfd p = {g->serial, POLLIN, 0};
	if (poll(&p, 1, (int)ms) <= 0)
		return;
	ssize_t got = read(g->serial, text, sizeof text);
	if (got > 0)
		buf_add(&g->said, text, (size_t)got);
	else
		clock_sleep_ms(20);
}

/* It said this after the last answer: a whole line. */
static bool guest_has_said(struct guest *g, const char *what)
{
	const char *from = buf_str(&g->said) + g->heard, *found = strstr(from, what);
	const char *end = found ? strchr(found, '\n') : NULL;
	if (!end)
		return false;
	g->heard += (size_t)(end - from);
	return true;
}

static void guest_expect(struct guest *g, const char *what, int64_t ms)
{
	int64_t until = clock_mono_ms() + ms;
	while (!guest_has_said(g, what)) {
		if (clock_mono_ms() > until)
			fail_msg("the guest did not say %s but: %s", what,
				 buf_str(&g->said) + g->heard);
		guest_listen(g, 200);
	}
}

/* Every line that it ever printed; the kernel tells of errors of a disk there. */
static void guest_noticed_nothing(struct guest *g)
{
	guest_listen(g, 100);
	if (strstr(buf_str(&g->said), "rror"))
		fail_msg("the guest noticed something: %s", buf_str(&g->said));
}

static struct guest_disk *guest_disk(struct guest *g, char letter)
{
	for (unsigned i = 0; i < g->count; i++)
		if (g->disks[i].letter == letter)
			return &g->disks[i];
	fail_msg("the guest has no disk %c", letter);
	return NULL;
}

/* Tell it to write, in one piece or ("f") in many. */
static void guest_tell(struct guest *g, char verb, char letter, uint64_t offset, size_t n,
		       uint8_t byte)
{
	char line[128];
	const struct guest_disk *d = guest_disk(g, letter);
	memset(d->model + offset, byte, n);
	snprintf(line, sizeof line, "%c %llu %zu %d %c\n", verb, (unsigned long long)offset, n,
		 byte, (char)('a' + (d - g->disks)));
	assert_int_equal(write(g->serial, line, strlen(line)), (ssize_t)strlen(line));
}

static void guest_wrote(struct guest *g, size_t n)
{
	char answer[64];
	snprintf(answer, sizeof answer, "WROTE %zu", n);
	guest_expect(g, answer, 120000);
}

static void guest_write(struct guest *g, char letter, uint64_t offset, size_t n, uint8_t byte)
{
	guest_tell(g, 'w', letter, offset, n, byte);
	guest_wrote(g, n);
}

static void guest_listen_from(struct guest *g)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (g->serial >= 0)
		close(g->serial);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.serial", dir, g->name);
	g->serial = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(g->serial, (struct sockaddr *)&address, sizeof address), 0);
}

static void guest_boot(struct guest *g)
{
	if (virDomainCreate(g->domain) < 0)
		fail_msg("%s", virGetLastErrorMessage());
	guest_listen_from(g);
	guest_expect(g, "GUEST-READY", 180000);
}

/* A clean end of QEMU, as a power switch: its bitmaps are saved. */
static void guest_off(struct guest *g)
{
	if (virDomainDestroyFlags(g->domain, VIR_DOMAIN_DESTROY_GRACEFUL) < 0)
		fail_msg("%s", virGetLastErrorMessage());
}

static void guest_kill(struct guest *g)
{
	char *pid_file = xasprintf("%s/libvirt/run/qemu/%s.pid", dir, g->name);
	struct buf text = {0};
	assert_ok(file_read(pid_file, 64, &text, err));
	assert_true(atoi(buf_str(&text)) > 1);
	kill((pid_t)atoi(buf_str(&text)), SIGKILL);
	for (int i = 0; i < 100 && virDomainIsActive(g->domain) == 1; i++)
		clock_sleep_ms(100);
	buf_release(&text);
	free(pid_file);
}

static void guest_disk_make(struct guest *g, struct guest_disk *d)
{
	char size[32];
	bool qcow2 = strcmp(d->format, "raw") != 0;
	snprintf(size, sizeof size, "%llu", (unsigned long long)d->size);
	d->path = xasprintf("%s/%s-%c", dir, g->name, d->letter);
	d->model = xcalloc(1, d->size);
	const char *const argv[] = {"qemu-img",
				    "create",
				    "-q",
				    "-f",
				    qcow2 ? "qcow2" : "raw",
				    "-o",
				    strcmp(d->format, "v2") == 0 ? "compat=0.10"
				    : qcow2			 ? "compat=1.1"
								 : "preallocation=off",
				    d->path,
				    size,
				    NULL};
	assert_ok(process_run(&(struct process_plan){.argv = argv}, 60000, 4096, NULL, err));
}

/* (Re)define it with the disks it has. */
static void guest_define(struct guest *g)
{
	struct buf xml = {0};
	buf_printf(&xml,
		   "<domain type='qemu'><name>%s</name><memory unit='MiB'>128</memory>"
		   "<vcpu>1</vcpu>",
		   g->name);
	if (g->domain)
		buf_printf(&xml, "<uuid>%s</uuid>", g->vm_id);
	buf_printf(&xml,
		   "<os><type arch='x86_64' machine='q35'>hvm</type><kernel>%s</kernel>"
		   "<initrd>%s</initrd><cmdline>console=ttyS0 panic=-1 quiet</cmdline></os>"
		   "<features><acpi/></features><on_reboot>destroy</on_reboot><devices>"
		   "<serial type='unix'><source mode='bind' path='%s/%s.serial'/>"
		   "<target port='0'/></serial>"
		   "<controller type='usb' model='none'/><memballoon model='none'/>",
		   kernel, initrd, dir, g->name);
	for (unsigned i = 0; i < g->count; i++) {
		struct guest_disk *d = &g->disks[i];
		if (!d->path)
			guest_disk_make(g, d);
		buf_printf(&xml,
			   "<disk type='file' device='disk'><driver name='qemu' type='%s'%s%s%s/>"
			   "<source file='%s'/><target dev='vd%c' bus='virtio'/></disk>",
			   strcmp(d->format, "raw") == 0 ? "raw" : "qcow2",
			   g->policy ? " error_policy='" : "", g->policy ? g->policy : "",
			   g->policy ? "'" : "", d->path, d->letter);
	}
	buf_printf(&xml, "%s</devices></domain>", g->more ? g->more : "");
	if (g->domain)
		virDomainFree(g->domain);
	else
		g->serial = -1;
	g->domain = virDomainDefineXML(connection, buf_str(&xml));
	if (!g->domain)
		fail_msg("%s: %s", virGetLastErrorMessage(), buf_str(&xml));
	assert_int_equal(virDomainGetUUIDString(g->domain, g->vm_id), 0);
	buf_release(&xml);
}

static void guest_release(struct guest *g)
{
	if (g->domain)
		virDomainFree(g->domain);
	for (unsigned i = 0; i < g->count; i++) {
		free(g->disks[i].path);
		free(g->disks[i].model);
	}
	if (g->domain && g->serial >= 0)
		close(g->serial);
	buf_release(&g->said);
}

/* --- setting up --- */

/* argv: the program, the tool that starts a libvirtd, the initrd maker, the init. */
static void libvirt_up(char **argv)
{
	char *state = xasprintf("%s/libvirt", dir);
	initrd = xasprintf("%s/initrd", dir);
	tool = argv[1];
	kernel = run((const char *const[]){argv[2], argv[3], initrd, NULL}, 60000);
	uri = run((const char *const[]){tool, "up", "--private", state, NULL}, 60000);
	virSetErrorFunc(NULL, quiet);
	connection = virConnectOpen(uri);
	if (!connection) {
		printf("SKIP: %s: %s\n", uri, virGetLastErrorMessage());
		exit(77);
	}
	free(state);
}

static void libvirt_down(void)
{
	char *at = xasprintf("%s/libvirt", dir);
	const char *const argv[] = {tool, "down", at, NULL};
	if (connection)
		virConnectClose(connection);
	process_run(&(struct process_plan){.argv = argv}, 120000, 4096, NULL, NULL);
	free(at);
	free(uri);
	free(kernel);
	free(initrd);
}

#endif
