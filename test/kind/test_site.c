// SPDX-License-Identifier: Apache-2.0
/*
 * What every kind of site must do. argv[1] is the kind; libvirt also takes the tool that starts a
 * libvirtd, the initrd maker and the init of its guest, and skips where it cannot have a guest.
 */
#include "../unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"
#include "io/process.h"
#include "site/memory.h"
#include "libvirtd.h"

#define DISK  (16 * MIB)
#define GRAIN (64 * KIB)

static char dir[] = "/tmp/gwsXXXXXX";
static struct site *site;
static char *vm_id, *tool, *uri, *where;
static uint8_t *model; /* what the guest's disk holds */
static int serial = -1;
static bool is_memory;

/* --- the guest --- */

static void serial_expect(const char *what, int64_t ms)
{
	char text[65536];
	size_t n = 0;
	for (int64_t until = clock_mono_ms() + ms;
	     clock_mono_ms() < until && n + 1 < sizeof text;) {
		struct pollfd p = {serial, POLLIN, 0};
		if (poll(&p, 1, 200) <= 0)
			continue;
		ssize_t got = read(serial, text + n, sizeof text - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
		char *found = strstr(text, what);
		if (found && strchr(found, '\n'))
			return;
	}
	text[n] = '\0';
	fail_msg("the guest did not say %s but: %s", what, text);
}

static void guest_write(uint64_t offset, size_t n, uint8_t byte)
{
	memset(model + offset, byte, n);
	if (is_memory) {
		assert_ok(site_memory_write(site, vm_id, 0, offset, model + offset, n, err));
		return;
	}
	char line[128], answer[64];
	snprintf(line, sizeof line, "w %llu %zu %d\n", (unsigned long long)offset, n, byte);
	snprintf(answer, sizeof answer, "WROTE %zu", n);
	assert_int_equal(write(serial, line, strlen(line)), (ssize_t)strlen(line));
	serial_expect(answer, 60000);
}

/* --- reading a point --- */

struct seen {
	struct extents dirty;
};

static int extent_seen(void *user, const char *context, uint64_t offset, uint32_t *entries,
		       size_t count, int *error)
{
	struct seen *s = user;
	(void)error;
	if (!text_starts(context, "qemu:dirty-bitmap:"))
		return 0;
	for (size_t i = 0; i + 1 < count; i += 2) {
		if (entries[i + 1] & 1)
			extents_append(&s->dirty, offset, entries[i]);
		offset += entries[i];
	}
	return 0;
}

static struct nbd_handle *point_open(struct site_point *p)
{
	int fd;
	assert_ok(site_dial(site, p, 0, &fd, err));
	struct nbd_handle *nbd = nbd_create();
	assert_non_null(nbd);
	assert_int_equal(nbd_set_export_name(nbd, p->disks[0].export_name), 0);
	if (p->disks[0].dirty_context)
		assert_int_equal(nbd_add_meta_context(nbd, p->disks[0].dirty_context), 0);
	if (nbd_connect_socket(nbd, fd) < 0)
		fail_msg("%s", nbd_get_error());
	assert_int_equal(nbd_get_size(nbd), DISK);
	return nbd;
}

static void point_read(struct site_point *p, uint8_t *to)
{
	struct nbd_handle *nbd = point_open(p);
	for (uint64_t at = 0; at < DISK; at += MIB)
		if (nbd_pread(nbd, to + at, MIB, at, 0) < 0)
			fail_msg("%s", nbd_get_error());
	nbd_close(nbd);
}

static void assert_holds(struct site_point *p, const uint8_t *expected)
{
	uint8_t *got = xmalloc(DISK);
	point_read(p, got);
	for (uint64_t i = 0; i < DISK; i++)
		if (got[i] != expected[i])
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)i, got[i],
				 expected[i]);
	free(got);
}

static void point_changes(struct site_point *p, struct extents *out)
{
	const struct site_disk *d = &p->disks[0];
	if (d->full_reason)
		fail_msg("everything is read: %s", d->full_reason);
	if (d->has_changed) {
		for (size_t i = 0; i < d->changed.count; i++)
			extents_append(out, d->changed.items[i].offset, d->changed.items[i].length);
		return;
	}
	struct seen seen = {0};
	struct nbd_handle *nbd = point_open(p);
	assert_true(nbd_can_meta_context(nbd, d->dirty_context) == 1);
	if (nbd_block_status(nbd, DISK, 0,
			     (nbd_extent_callback){.callback = extent_seen, .user_data = &seen},
			     0) < 0)
		fail_msg("%s", nbd_get_error());
	nbd_close(nbd);
	*out = seen.dirty;
}

/* Every difference is in the list, and the list has nothing beyond the grains around `wrote`. */
static void assert_changes(struct site_point *p, const uint8_t *before, const uint8_t *after,
			   const struct extents *wrote)
{
	struct extents changes = {0}, allowed = {0}, beyond = {0};
	point_changes(p, &changes);
	for (uint64_t at = 0; at < DISK; at += 4096)
		if (memcmp(before + at, after + at, 4096) != 0 &&
		    !extents_touch(&changes, at, 4096))
			fail_msg("block %llu changed unnoticed", (unsigned long long)at);
	for (size_t i = 0; i < wrote->count; i++)
		extents_append(&allowed, wrote->items[i].offset, wrote->items[i].length);
	extents_align(&allowed, GRAIN, DISK);
	extents_subtract(&changes, &allowed, &beyond);
	assert_int_equal(extents_total(&beyond), 0);
	extents_release(&changes);
	extents_release(&allowed);
	extents_release(&beyond);
}

static struct site_point *begin(const char *point, const char *base, bool resume)
{
	struct site_want want = {vm_id, point, base, resume};
	struct site_point *p = NULL;
	assert_ok(site_begin(site, &want, &p, err));
	return p;
}

static enum err_kind begin_fails(const char *point, const char *base, bool resume)
{
	struct site_want want = {vm_id, point, base, resume};
	struct site_point *p = NULL;
	struct err e = {0};
	assert_int_equal(site_begin(site, &want, &p, &e), -1);
	assert_null(p);
	assert_true(strlen(e.text) > 10);
	return e.kind;
}

static uint8_t *model_copy(void)
{
	return memcpy(xmalloc(DISK), model, DISK);
}

/* --- the tests, in this order --- */

static int see_machine(void *context, const struct machine *m)
{
	const struct machine_disk *d = m->disks.items;
	++*(int *)context;
	if (!vm_id)
		vm_id = xstrdup(m->vm_id);
	assert_null(m->refusal);
	assert_int_equal(m->disks.count, 1);
	assert_null(d->refusal);
	assert_int_equal(d->size_bytes, DISK);
	assert_string_equal(m->power, "running");
	assert_true(m->path[0] == '/');
	return 0;
}

static void test_list(void **state)
{
	int count = 0;
	(void)state;
	assert_ok(site_list(site, see_machine, &count, err));
	assert_int_equal(count, 1);
	model = xcalloc(1, DISK);
	if (is_memory)
		assert_ok(site_memory_read(site, vm_id, 0, 0, model, DISK, err));
}

static void test_unknown(void **state)
{
	(void)state;
	char *kept = vm_id;
	vm_id = (char *)"ffffffff-0000-4000-8000-00000000ffff";
	assert_int_equal(begin_fails("godwit-me-none", NULL, false), ERR_NOT_FOUND);
	vm_id = kept;
	assert_int_equal(begin_fails("not-ours", NULL, false), ERR_INVALID);
	assert_int_equal(begin_fails("godwit-../x", NULL, false), ERR_INVALID);
	assert_int_equal(begin_fails("godwit-me-none", NULL, true), ERR_NOT_FOUND);
}

static void test_tracking(void **state)
{
	struct extents wrote = {0};
	(void)state;
	guest_write(0, 65536, 1);
	guest_write(5 * MIB, 4096, 2);
	/* The first copy is full; the point stays as it is while the guest writes. */
	struct site_point *p = begin("godwit-me-1", NULL, false);
	uint8_t *first = model_copy();
	assert_non_null(p->disks[0].full_reason);
	assert_true(p->keeps);
	assert_holds(p, first);
	guest_write(0, 4096, 3);
	guest_write(9 * MIB + 512, 4096, 4);
	extents_append(&wrote, 0, 4096);
	extents_append(&wrote, 9 * MIB + 512, 4096);
	assert_holds(p, first);
	assert_ok(site_poll(site, p, err));
	assert_int_equal(begin_fails("godwit-me-1", NULL, false), ERR_CONFLICT);
	assert_ok(site_end(site, p, true, err));

	/* The second says what changed. It fails. */
	p = begin("godwit-me-2", "godwit-me-1", false);
	assert_changes(p, first, model, &wrote);
	assert_holds(p, model);
	assert_ok(site_end(site, p, false, err));

	/* Nothing of it is lost to the third. */
	guest_write(12 * MIB, 4096, 5);
	extents_append(&wrote, 12 * MIB, 4096);
	p = begin("godwit-me-3", "godwit-me-1", false);
	uint8_t *third = model_copy();
	assert_changes(p, first, third, &wrote);

	/* Another process finds the same point again. */
	site_point_release(p);
	guest_write(1 * MIB, 4096, 6);
	p = begin("godwit-me-3", "godwit-me-1", true);
	assert_holds(p, third);
	assert_changes(p, first, third, &wrote);
	assert_ok(site_end(site, p, true, err));

	/* From the third on, only what came after it. */
	extents_release(&wrote);
	extents_append(&wrote, 1 * MIB, 4096);
	p = begin("godwit-me-4", "godwit-me-3", false);
	assert_changes(p, third, model, &wrote);
	assert_ok(site_end(site, p, true, err));
	extents_release(&wrote);
	free(first);
	free(third);
}

struct writer {
	bool stop;
	unsigned rounds;
};

static void *write_in_order(void *context)
{
	struct writer *w = context;
	for (int n = 10; !__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST); n = n == 250 ? 10 : n + 1) {
		guest_write(2 * MIB, 4096, (uint8_t)n);
		guest_write(14 * MIB, 4096, (uint8_t)n);
		__atomic_add_fetch(&w->rounds, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* A is written before B, always: a point with B and not A mixes two moments. */
static void test_one_moment(void **state)
{
	(void)state;
	uint8_t *got = xmalloc(DISK);
	for (int i = 0; i < 4; i++) {
		char name[32];
		struct writer w = {0};
		pthread_t thread;
		snprintf(name, sizeof name, "godwit-me-moment-%d", i);
		assert_int_equal(pthread_create(&thread, NULL, write_in_order, &w), 0);
		while (!__atomic_load_n(&w.rounds, __ATOMIC_SEQ_CST))
			clock_sleep_ms(5);
		struct site_point *p = begin(name, NULL, false);
		point_read(p, got);
		w.stop = true;
		pthread_join(thread, NULL);
		int a = got[2 * MIB], b = got[14 * MIB];
		if (a != b && a != b + 1 && !(a == 10 && b == 250))
			fail_msg("A is %d and B %d", a, b);
		assert_ok(site_end(site, p, false, err));
	}
	free(got);
}

static void test_sweep(void **state)
{
	unsigned removed = 0;
	(void)state;
	struct site_point *p = begin("godwit-me-5", "godwit-me-4", false);
	uint8_t *fifth = model_copy();
	struct site_keep keep[] = {{vm_id, "godwit-me-5", true}, {vm_id, "godwit-me-4", false}};
	assert_ok(site_sweep(site, "c-me", keep, 2, &removed, err));
	assert_int_equal(removed, 0);
	assert_holds(p, fifth);
	site_point_release(p);
	/* Its run is over: the job goes, the older point stays. */
	assert_ok(site_sweep(site, "c-me", keep + 1, 1, &removed, err));
	assert_true(removed > 0);
	assert_int_equal(begin_fails("godwit-me-5", "godwit-me-4", true), ERR_NOT_FOUND);
	p = begin("godwit-me-6", "godwit-me-4", false);
	assert_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	assert_ok(site_sweep(site, "c-me", NULL, 0, &removed, err));
	assert_int_equal(removed, 1);
	p = begin("godwit-me-7", "godwit-me-4", false);
	assert_non_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	free(fifth);
}

/* Two services, or two connectors, on one hypervisor: neither takes what is the other's. */
static void test_others_points_stay(void **state)
{
	unsigned removed = 0;
	char name[SITE_POINT_BYTES], again[SITE_POINT_BYTES];
	(void)state;
	site_point_name("c-0123456789abcdef0", "sms-run-1", name);
	site_point_name("c-0123456789abcdef0", "sms-run-1", again);
	assert_true(text_starts(name, "godwit-01234567-sms-run-1-"));
	assert_string_not_equal(name, again);
	assert_true(site_point_is_of(name, "c-0123456789abcdef0"));
	assert_false(site_point_is_of(name, "c-0123456"));
	assert_false(site_point_is_of(name, "c-me"));
	struct site_point *p = begin(name, NULL, false);
	assert_ok(site_end(site, p, true, err));
	p = begin("godwit-me-20", NULL, false);
	assert_ok(site_end(site, p, true, err));
	assert_ok(site_sweep(site, "c-012345670", NULL, 0, &removed,
			     err)); /* longer ids: the same word */
	assert_int_equal(removed, 1);
	p = begin("godwit-me-21", "godwit-me-20", false);
	assert_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	p = begin(again, NULL, false);
	assert_ok(site_end(site, p, true, err));
	assert_ok(site_sweep(site, "c-me", NULL, 0, &removed, err));
	assert_int_equal(removed, 1); /* of two */
	p = begin("godwit-me-22", again, false);
	assert_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, true, err));
	assert_ok(site_sweep(site, "c-m", NULL, 0, &removed, err)); /* the beginning of a word */
	assert_int_equal(removed, 0);
	assert_ok(site_sweep(site, "c-me", NULL, 0, &removed, err));
	assert_int_equal(removed, 1);
}

static void test_forget(void **state)
{
	(void)state;
	struct site_point *p = begin("godwit-me-30", NULL, false);
	assert_ok(site_end(site, p, true, err));
	p = begin("godwit-you-30", NULL, false);
	assert_ok(site_end(site, p, true, err));
	assert_ok(site_forget(site, vm_id, "godwit-me-30", err));
	assert_ok(site_forget(site, vm_id, "godwit-me-30", err)); /* gone already */
	assert_ok(site_forget(site, "ffffffff-0000-4000-8000-00000000ffff", "godwit-me-30", err));
	assert_int_equal(site_forget(site, vm_id, "not-ours", NULL), -1);
	p = begin("godwit-me-31", "godwit-me-30", false);
	assert_non_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	p = begin("godwit-me-32", "godwit-you-30", false);
	assert_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	assert_ok(site_forget(site, vm_id, "godwit-you-30", err));
}

/* --- libvirt alone --- */

static virDomainPtr domain_open(virConnectPtr *c)
{
	*c = virConnectOpen(uri);
	assert_non_null(*c);
	virDomainPtr domain = virDomainLookupByUUIDString(*c, vm_id);
	assert_non_null(domain);
	return domain;
}

static void guest_boot(virDomainPtr domain)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (serial >= 0)
		close(serial);
	assert_int_equal(virDomainCreate(domain), 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/serial", dir);
	serial = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(serial, (struct sockaddr *)&address, sizeof address), 0);
	serial_expect("GUEST-READY", 120000);
}

static void test_foreign_backup(void **state)
{
	virConnectPtr c;
	(void)state;
	virDomainPtr domain = domain_open(&c);
	char *xml = xasprintf("<domainbackup mode='pull'><server transport='unix' "
			      "socket='%s/other'/></domainbackup>",
			      dir);
	assert_int_equal(virDomainBackupBegin(domain, xml, NULL, 0), 0);
	assert_int_equal(begin_fails("godwit-me-8", NULL, false), ERR_CONFLICT);
	assert_ok(site_sweep(site, "c-me", NULL, 0, NULL, err));
	char *still = virDomainBackupGetXMLDesc(domain, 0);
	assert_non_null(still);
	assert_int_equal(virDomainAbortJob(domain), 0);
	free(still);
	free(xml);
	virDomainFree(domain);
	virConnectClose(c);
}

/* QEMU dies: its newest bitmap is lost, and nothing is taken for unchanged. */
static void test_crash(void **state)
{
	virConnectPtr c;
	(void)state;
	virDomainPtr domain = domain_open(&c);
	struct site_point *p = begin("godwit-me-9", NULL, false);
	assert_ok(site_end(site, p, true, err));
	char *pid_file = xasprintf("%s/libvirt/run/qemu/tiny.pid", dir);
	struct buf text = {0};
	assert_ok(file_read(pid_file, 64, &text, err));
	kill((pid_t)atoi(buf_str(&text)), SIGKILL);
	for (int i = 0; i < 100 && virDomainIsActive(domain) == 1; i++)
		clock_sleep_ms(100);
	guest_boot(domain);
	guest_write(3 * MIB, 4096, 9);
	p = begin("godwit-me-10", "godwit-me-9", false);
	assert_non_null(p->disks[0].full_reason);
	assert_true(p->keeps);
	assert_holds(p, model);
	assert_ok(site_end(site, p, true, err));
	guest_write(3 * MIB, 4096, 10);
	p = begin("godwit-me-11", "godwit-me-10", false);
	assert_null(p->disks[0].full_reason);
	assert_ok(site_end(site, p, false, err));
	buf_release(&text);
	free(pid_file);
	virDomainFree(domain);
	virConnectClose(c);
}

static void test_switched_off(void **state)
{
	virConnectPtr c;
	(void)state;
	virDomainPtr domain = domain_open(&c);
	assert_int_equal(virDomainDestroy(domain), 0);
	struct site_point *p = begin("godwit-me-12", "godwit-me-10", false);
	assert_non_null(p->disks[0].full_reason);
	assert_false(p->keeps);
	assert_holds(p, model);
	assert_ok(site_poll(site, p, err));
	site_point_release(p);
	p = begin("godwit-me-12", "godwit-me-10", true);
	assert_holds(p, model);
	/* It cannot be started over a file that is being read. */
	assert_int_equal(virDomainCreate(domain), -1);
	assert_ok(site_end(site, p, true, err));
	assert_ok(site_sweep(site, "c-me", NULL, 0, NULL, err));
	guest_boot(domain);
	guest_write(0, 4096, 11);
	p = begin("godwit-me-13", NULL, false);
	assert_holds(p, model);
	assert_ok(site_end(site, p, false, err));
	virDomainFree(domain);
	virConnectClose(c);
}

/* --- setting up --- */

static void libvirt_up(char **argv)
{
	char *state = xasprintf("%s/libvirt", dir), *initrd = xasprintf("%s/initrd", dir);
	char *disk = xasprintf("%s/disk.qcow2", dir);
	tool = argv[2];
	char *kernel = run((const char *const[]){argv[3], argv[4], initrd, NULL}, 60000);
	uri = run((const char *const[]){tool, "up", "--private", state, NULL}, 60000);
	free(
	    run((const char *const[]){"qemu-img", "create", "-q", "-f", "qcow2", disk, "16M", NULL},
		20000));
	char *xml = xasprintf(
	    "<domain type='qemu'><name>tiny</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
	    "<os><type arch='x86_64' machine='q35'>hvm</type><kernel>%s</kernel>"
	    "<initrd>%s</initrd><cmdline>console=ttyS0 panic=-1 quiet</cmdline></os>"
	    "<features><acpi/></features><on_reboot>destroy</on_reboot><devices>"
	    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
	    "<source file='%s'/><target dev='vda' bus='virtio'/></disk>"
	    "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
	    "<serial type='unix'><source mode='bind' path='%s/serial'/><target port='0'/></serial>"
	    "<controller type='usb' model='none'/><memballoon model='none'/>"
	    "</devices></domain>",
	    kernel, initrd, disk, dir);
	virSetErrorFunc(NULL, quiet);
	virConnectPtr c = virConnectOpen(uri);
	virDomainPtr domain = c ? virDomainDefineXML(c, xml) : NULL;
	if (!domain) {
		printf("SKIP: no guest can be defined: %s\n", virGetLastErrorMessage());
		exit(77);
	}
	guest_boot(domain);
	virDomainFree(domain);
	virConnectClose(c);
	where = xasprintf("libvirt:%s", uri);
	free(kernel);
	free(xml);
	free(state);
	free(initrd);
	free(disk);
}

static int close_all(void **state)
{
	(void)state;
	site_close(site);
	if (tool) {
		char *at = xasprintf("%s/libvirt", dir);
		const char *const argv[] = {tool, "down", at, NULL};
		process_run(&(struct process_plan){.argv = argv}, 60000, 4096, NULL, NULL);
		free(at);
	}
	if (serial >= 0)
		close(serial);
	free(model);
	free(vm_id);
	free(uri);
	free(where);
	return file_remove_tree(dir, NULL);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest every_kind[] = {
	    cmocka_unit_test(test_list),     cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_tracking), cmocka_unit_test(test_one_moment),
	    cmocka_unit_test(test_sweep),    cmocka_unit_test(test_others_points_stay),
	    cmocka_unit_test(test_forget),
	};
	static const struct CMUnitTest libvirt_only[] = {
	    cmocka_unit_test(test_foreign_backup),
	    cmocka_unit_test(test_crash),
	    cmocka_unit_test(test_switched_off),
	};
	struct err e = {0};
	if (argc < 2 || !mkdtemp(dir))
		return 2;
	is_memory = strcmp(argv[1], "memory") == 0;
	if (is_memory)
		where = xstrdup("memory:size=16M,seed=7");
	else if (argc == 5)
		libvirt_up(argv);
	else
		return 2;
	char *scratch = xasprintf("%s/scratch", dir);
	int rc = site_open(where, scratch, &site, &e);
	free(scratch);
	if (rc < 0) {
		printf("%s: %s\n", where, e.text);
		close_all(NULL);
		return 1;
	}
	int failed = cmocka_run_group_tests(every_kind, NULL, NULL);
	if (!is_memory)
		failed += cmocka_run_group_tests(libvirt_only, NULL, NULL);
	close_all(NULL);
	return failed != 0;
}
