// SPDX-License-Identifier: Apache-2.0
/*
 * What only libvirt can do to a site: disks that cannot be tracked, that come, go, grow and lose
 * their bitmaps, scratch space that runs out, machines switched on and off in the middle of a copy,
 * odd inventories. Arguments as tiny_guest.h says, and a pattern of the tests to run, or none.
 */
#include "tiny_guest.h"

#include <libnbd.h>
#include <sys/mount.h>

#include "block/extent.h"
#include "site/site.h"

#define GRAIN	      (64 * KIB)
#define SCRATCH_BYTES (160 * MIB)

static struct site *site;
static char *scratch;

/* Every disk of the first guest is of another sort, and none is a round number of blocks but the
 * first. */
static struct guest mixed = {
    .name = "mixed",
    .more = "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
	    "<target dev='sda' bus='sata'/><readonly/></disk>",
    .disks = {{'a', "qcow2", 16 * MIB, NULL, NULL},
	      {'b', "raw", 5 * MIB + 7 * 512, NULL, NULL},
	      {'c', "v2", 4 * MIB + 512, NULL, NULL},
	      {'d', "qcow2", 4 * MIB + 3 * 512, NULL, NULL}},
    .count = 4,
};
static struct guest busy = {
    .name = "busy",
    .policy = "report",
    .disks = {{'a', "qcow2", 512 * MIB, NULL, NULL}},
    .count = 1,
};
static struct guest plain = {
    .name = "plain", .disks = {{'a', "raw", 4 * MIB, NULL, NULL}}, .count = 1};

/* --- points --- */

static struct site_point *begin(struct guest *g, const char *point, const char *base, bool resume)
{
	struct site_want want = {g->vm_id, point, base, resume};
	struct site_point *p = NULL;
	assert_ok(site_begin(site, &want, &p, err));
	assert_int_equal(p->disk_count, g->count);
	return p;
}

static struct err begin_fails(struct guest *g, const char *point)
{
	struct site_want want = {g->vm_id, point, NULL, false};
	struct site_point *p = NULL;
	struct err e = {0};
	assert_int_equal(site_begin(site, &want, &p, &e), -1);
	assert_null(p);
	return e;
}

static void commit(struct site_point *p)
{
	assert_ok(site_end(site, p, true, err));
}

static void give_up(struct site_point *p)
{
	assert_ok(site_end(site, p, false, err));
}

static struct err poll_fails(struct site_point *p)
{
	struct err e = {0};
	int64_t until = clock_mono_ms() + 120000;
	while (site_poll(site, p, &e) == 0) {
		if (clock_mono_ms() > until)
			fail_msg("point %s is well", p->point);
		clock_sleep_ms(50);
	}
	return e;
}

static void assert_says(const char *text, const char *what)
{
	if (!text || !strstr(text, what))
		fail_msg("\"%s\" does not say \"%s\"", text ? text : "(nothing)", what);
}

static struct site_disk *disk_of(struct site_point *p, char letter)
{
	char key[] = {'v', 'd', letter, '\0'};
	for (unsigned i = 0; i < p->disk_count; i++)
		if (strcmp(p->disks[i].key, key) == 0)
			return &p->disks[i];
	fail_msg("the point has no disk %s", key);
	return NULL;
}

static struct nbd_handle *disk_open(struct site_point *p, const struct site_disk *d)
{
	int fd;
	assert_ok(site_dial(site, p, d->number, &fd, err));
	struct nbd_handle *nbd = nbd_create();
	assert_non_null(nbd);
	assert_int_equal(nbd_set_export_name(nbd, d->export_name), 0);
	if (d->dirty_context)
		assert_int_equal(nbd_add_meta_context(nbd, d->dirty_context), 0);
	if (nbd_connect_socket(nbd, fd) < 0)
		fail_msg("%s", nbd_get_error());
	assert_int_equal(nbd_get_size(nbd), d->size_bytes);
	return nbd;
}

static int extent_seen(void *user, const char *context, uint64_t offset, uint32_t *entries,
		       size_t count, int *error)
{
	struct extents *dirty = user;
	(void)error;
	if (!text_starts(context, "qemu:dirty-bitmap:"))
		return 0;
	for (size_t i = 0; i + 1 < count; offset += entries[i], i += 2)
		if (entries[i + 1] & 1)
			extents_append(dirty, offset, entries[i]);
	return 0;
}

/* Every disk holds what the guest wrote up to now. */
static void assert_holds(struct guest *g, struct site_point *p)
{
	for (unsigned i = 0; i < g->count; i++) {
		const struct guest_disk *model = &g->disks[i];
		const struct site_disk *d = disk_of(p, model->letter);
		assert_int_equal(d->size_bytes, model->size);
		struct nbd_handle *nbd = disk_open(p, d);
		uint8_t *got = xmalloc(MIB);
		for (uint64_t at = 0, n; at < model->size; at += n) {
			n = model->size - at < MIB ? model->size - at : MIB;
			if (nbd_pread(nbd, got, n, at, 0) < 0)
				fail_msg("vd%c: %s", model->letter, nbd_get_error());
			if (memcmp(got, model->model + at, n) != 0)
				fail_msg("vd%c differs in the MiB at %llu", model->letter,
					 (unsigned long long)at);
		}
		free(got);
		nbd_close(nbd);
	}
}

/* The disk is read incrementally, and just the grains of this write are. */
static void assert_changed(struct site_point *p, char letter, uint64_t offset, uint64_t n)
{
	const struct site_disk *d = disk_of(p, letter);
	struct extents dirty = {0}, wanted = {0}, beyond = {0};
	if (d->full_reason)
		fail_msg("vd%c is read in full: %s", letter, d->full_reason);
	struct nbd_handle *nbd = disk_open(p, d);
	assert_true(nbd_can_meta_context(nbd, d->dirty_context) == 1);
	assert_int_equal(
	    nbd_block_status(nbd, d->size_bytes & ~511ull, 0,
			     (nbd_extent_callback){.callback = extent_seen, .user_data = &dirty},
			     0),
	    0);
	nbd_close(nbd);
	if (n) {
		extents_append(&wanted, offset, n);
		extents_subtract(&wanted, &dirty, &beyond);
		assert_int_equal(extents_total(&beyond), 0);
		extents_align(&wanted, GRAIN, d->size_bytes);
	}
	extents_release(&beyond);
	extents_subtract(&dirty, &wanted, &beyond);
	assert_int_equal(extents_total(&beyond), 0);
	extents_release(&dirty);
	extents_release(&wanted);
	extents_release(&beyond);
}

/* Names of checkpoints of ours, and of bitmaps in the first disk's file, are these many. */
static void assert_leftovers(struct guest *g, int checkpoints, int bitmaps)
{
	assert_int_equal(virDomainListAllCheckpoints(g->domain, NULL, 0), checkpoints);
	if (virDomainIsActive(g->domain) == 1)
		return;
	struct buf out = {0};
	const char *const argv[] = {"qemu-img", "info", g->disks[0].path, NULL};
	assert_ok(process_run(&(struct process_plan){.argv = argv}, 60000, 65536, &out, err));
	int count = 0;
	for (const char *at = buf_str(&out); (at = strstr(at, "name: godwit-")); at++)
		count++;
	assert_int_equal(count, bitmaps);
	buf_release(&out);
}

/* --- the tests, in this order --- */

static int see_mixed(void *context, const struct machine *m)
{
	const struct machine_disk *disks = m->disks.items;
	if (strcmp(m->name, "mixed") != 0)
		return 0;
	++*(int *)context;
	assert_null(m->refusal);
	assert_int_equal(m->disks.count, mixed.count); /* no CD-ROM */
	for (unsigned i = 0; i < mixed.count; i++) {
		assert_null(disks[i].refusal);
		assert_int_equal(disks[i].size_bytes, mixed.disks[i].size);
	}
	return 1;
}

static void test_mixed(void **state)
{
	int seen = 0;
	(void)state;
	guest_define(&mixed);
	guest_boot(&mixed);
	assert_ok(site_list(site, see_mixed, &seen, err));
	assert_int_equal(seen, 1);
	for (unsigned i = 0; i < mixed.count; i++)
		guest_write(&mixed, mixed.disks[i].letter, mixed.disks[i].size - 4608, 4608, 1);
	struct site_point *p = begin(&mixed, "godwit-1", NULL, false);
	assert_says(disk_of(p, 'a')->full_reason, "not tracked before");
	assert_says(disk_of(p, 'b')->full_reason, "disk vdb is raw");
	assert_says(disk_of(p, 'c')->full_reason, "disk vdc is qcow2 of version 2");
	assert_true(p->keeps);
	assert_holds(&mixed, p);
	commit(p);
	/* The two that can are read incrementally, the others in full every time. */
	guest_write(&mixed, 'a', 3 * MIB, 4096, 2);
	guest_write(&mixed, 'b', 0, 512, 2);
	guest_write(&mixed, 'd', 4 * MIB, 3 * 512, 2);
	p = begin(&mixed, "godwit-2", "godwit-1", false);
	assert_changed(p, 'a', 3 * MIB, 4096);
	assert_says(disk_of(p, 'b')->full_reason, "disk vdb is raw");
	assert_says(disk_of(p, 'c')->full_reason, "version 2");
	assert_changed(p, 'd', 4 * MIB, 3 * 512);
	assert_holds(&mixed, p);
	commit(p);
}

static void grow(struct guest *g, char letter, uint64_t size)
{
	struct guest_disk *d = guest_disk(g, letter);
	uint8_t *model = xcalloc(1, size);
	memcpy(model, d->model, d->size);
	free(d->model);
	d->model = model;
	d->size = size;
}

static void test_resized_running(void **state)
{
	(void)state;
	uint64_t before = guest_disk(&mixed, 'd')->size, after = before + MIB + 512;
	if (virDomainBlockResize(mixed.domain, "vdd", after, VIR_DOMAIN_BLOCK_RESIZE_BYTES) < 0)
		fail_msg("%s", virGetLastErrorMessage());
	grow(&mixed, 'd', after);
	guest_write(&mixed, 'd', after - 1024, 1024, 3);
	guest_write(&mixed, 'a', 0, 512, 3);
	struct site_point *p = begin(&mixed, "godwit-3", "godwit-2", false);
	assert_says(disk_of(p, 'd')->full_reason, "bytes at the last copy and has");
	assert_changed(p, 'a', 0, 512);
	assert_holds(&mixed, p);
	commit(p);
	guest_write(&mixed, 'd', after - 512, 512, 4);
	p = begin(&mixed, "godwit-4", "godwit-3", false);
	assert_changed(p, 'd', after - 512, 512);
	commit(p);
}

/* Switched off in mid-copy: the point is gone, what the last copy tracks stays. */
static void test_off_in_mid_copy(void **state)
{
	(void)state;
	guest_write(&mixed, 'a', 5 * MIB, 4096, 5);
	struct site_point *p = begin(&mixed, "godwit-5", "godwit-4", false);
	guest_off(&mixed);
	struct err e = poll_fails(p);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says(e.text, "switched off");
	give_up(p);
	assert_leftovers(&mixed, 1, 1);
	/* A copy while it is off holds all, to the last odd sector. */
	p = begin(&mixed, "godwit-6", "godwit-4", false);
	for (unsigned i = 0; i < mixed.count; i++)
		assert_says(p->disks[i].full_reason, "switched off");
	assert_holds(&mixed, p);
	assert_int_equal(virDomainCreate(mixed.domain), -1);
	assert_ok(site_poll(site, p, err));
	give_up(p);
}

/* A disk that grew, one that went and one that came while it was off; the rest is incremental. */
static void test_changed_off(void **state)
{
	(void)state;
	grow(&mixed, 'a', 17 * MIB);
	const char *const argv[] = {"qemu-img",		 "resize", "-q", "-f", "qcow2",
				    mixed.disks[0].path, "17M",	   NULL};
	assert_ok(process_run(&(struct process_plan){.argv = argv}, 60000, 4096, NULL, err));
	free(mixed.disks[2].path);
	free(mixed.disks[2].model);
	mixed.disks[2] = mixed.disks[3];
	mixed.disks[3] = (struct guest_disk){'e', "qcow2", 2 * MIB, NULL, NULL};
	guest_define(&mixed);
	guest_boot(&mixed);
	guest_write(&mixed, 'a', 16 * MIB, MIB, 6);
	guest_write(&mixed, 'd', 0, 4096, 6);
	guest_write(&mixed, 'e', 0, 4096, 7);
	struct site_point *p = begin(&mixed, "godwit-7", "godwit-4", false);
	assert_says(disk_of(p, 'a')->full_reason, "bytes at the last copy and has");
	assert_says(disk_of(p, 'b')->full_reason, "is raw");
	assert_changed(p, 'd', 0, 4096);
	assert_says(disk_of(p, 'e')->full_reason, "was not there at the last copy");
	assert_holds(&mixed, p);
	commit(p);
	assert_leftovers(&mixed, 1, 0);
}

/* QEMU saved its bitmaps, loaded them again, and died: they are of no use, and stand in the way. */
static void test_bitmap_broken(void **state)
{
	(void)state;
	guest_off(&mixed);
	guest_boot(&mixed);
	guest_write(&mixed, 'a', MIB, 4096, 7);
	guest_kill(&mixed);
	guest_boot(&mixed);
	guest_write(&mixed, 'a', 2 * MIB, 4096, 8);
	struct site_point *p = begin(&mixed, "godwit-8", "godwit-7", false);
	for (unsigned i = 0; i < p->disk_count; i++)
		assert_non_null(p->disks[i].full_reason);
	assert_says(disk_of(p, 'a')->full_reason, "bitmap");
	assert_true(p->keeps);
	assert_holds(&mixed, p);
	commit(p);
	guest_write(&mixed, 'a', 3 * MIB, 4096, 9);
	p = begin(&mixed, "godwit-9", "godwit-8", false);
	assert_changed(p, 'a', 3 * MIB, 4096);
	assert_holds(&mixed, p);
	commit(p);
}

static void test_bitmap_gone(void **state)
{
	(void)state;
	guest_off(&mixed);
	assert_leftovers(&mixed, 1, 1); /* the broken one is gone too */
	const char *const argv[] = {"qemu-img",		 "bitmap",   "--remove",
				    mixed.disks[0].path, "godwit-9", NULL};
	assert_ok(process_run(&(struct process_plan){.argv = argv}, 60000, 4096, NULL, err));
	guest_boot(&mixed);
	guest_write(&mixed, 'a', 4 * MIB, 4096, 10);
	struct site_point *p = begin(&mixed, "godwit-10", "godwit-9", false);
	assert_says(disk_of(p, 'a')->full_reason, "disk vda is read in full");
	assert_holds(&mixed, p);
	commit(p);
	guest_write(&mixed, 'a', 9 * MIB, 4096, 11);
	guest_write(&mixed, 'd', 0, 4096, 11);
	p = begin(&mixed, "godwit-11", "godwit-10", false);
	assert_changed(p, 'a', 9 * MIB, 4096);
	assert_changed(p, 'd', 0, 4096);
	commit(p);
	guest_off(&mixed);
	assert_leftovers(&mixed, 1, 1);
	/* A copy while it is off is a base of nothing, and leaves nothing. */
	p = begin(&mixed, "godwit-12", "godwit-11", false);
	assert_holds(&mixed, p);
	commit(p);
	assert_leftovers(&mixed, 0, 0);
}

/* --- scratch space --- */

static char *filler_path(void)
{
	return xasprintf("%s/filler", scratch);
}

static void scratch_fill(uint64_t leave)
{
	uint64_t free_bytes, all;
	char *path = filler_path();
	assert_ok(file_space(scratch, &free_bytes, &all, err));
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(posix_fallocate(fileno(f), 0, (off_t)(free_bytes - leave)), 0);
	fclose(f);
	free(path);
}

static void scratch_clear(void)
{
	char *path = filler_path();
	unlink(path);
	free(path);
}

static void test_scratch_wanted(void **state)
{
	(void)state;
	guest_define(&busy);
	guest_boot(&busy);
	scratch_fill(20 * MIB);
	struct err e = begin_fails(&busy, "godwit-1");
	assert_int_equal(e.kind, ERR_FULL);
	assert_says(e.text, scratch);
	assert_says(e.text, "20.0 MiB free");
	assert_says(e.text, "51.2 MiB");
	assert_leftovers(&busy, 0, 0);
	scratch_clear();
}

/* The guest overwrites more than the scratch space can hold: the copy ends, the guest does not
 * notice (it would: QEMU is told to report errors to it), and the copy before it stays a base. */
static void test_scratch_full(void **state)
{
	(void)state;
	/* What was never written takes no scratch space. */
	guest_tell(&busy, 'f', 'a', 128 * MIB, 192 * MIB, 1);
	guest_wrote(&busy, 192 * MIB);
	struct site_point *p = begin(&busy, "godwit-2", NULL, false);
	commit(p);
	guest_write(&busy, 'a', 0, 4096, 1);
	p = begin(&busy, "godwit-3", "godwit-2", false);
	guest_tell(&busy, 'f', 'a', 128 * MIB, 192 * MIB, 2);
	struct err e = poll_fails(p);
	assert_int_equal(e.kind, ERR_FULL);
	assert_says(e.text, scratch);
	give_up(p);
	guest_wrote(&busy, 192 * MIB);
	guest_noticed_nothing(&busy);
	p = begin(&busy, "godwit-4", "godwit-2", false);
	assert_null(p->disks[0].full_reason);
	assert_holds(&busy, p);
	commit(p);
	assert_leftovers(&busy, 1, 0);
}

/* Nobody looks after the point, for the connector died. QEMU pauses a machine without an error policy;
 * the next connector lets it go on. */
static void test_scratch_full_alone(void **state)
{
	(void)state;
	unsigned removed;
	int power = 0, reason = 0;
	guest_off(&busy);
	busy.policy = NULL;
	guest_define(&busy);
	guest_boot(&busy);
	struct site_point *p = begin(&busy, "godwit-me-5", "godwit-4", false);
	site_point_release(p);
	guest_tell(&busy, 'f', 'a', 128 * MIB, 192 * MIB, 3);
	for (int64_t until = clock_mono_ms() + 120000;
	     power != VIR_DOMAIN_PAUSED && clock_mono_ms() < until; clock_sleep_ms(50))
		assert_int_equal(virDomainGetState(busy.domain, &power, &reason, 0), 0);
	assert_int_equal(power, VIR_DOMAIN_PAUSED);
	assert_int_equal(reason, VIR_DOMAIN_PAUSED_IOERROR);
	struct site_keep keep = {busy.vm_id, "godwit-4", false};
	assert_ok(site_sweep(site, "c-me", &keep, 1, &removed, err));
	assert_true(removed > 0);
	assert_leftovers(&busy, 1, 0);
	guest_wrote(&busy, 192 * MIB);
	guest_noticed_nothing(&busy);
	p = begin(&busy, "godwit-6", "godwit-4", false);
	assert_null(p->disks[0].full_reason);
	assert_holds(&busy, p);
	give_up(p);
	guest_off(&busy);
}

/* --- a machine that is off, with nothing but a raw disk --- */

static void test_started_in_mid_copy(void **state)
{
	(void)state;
	guest_define(&plain);
	struct site_point *p = begin(&plain, "godwit-1", NULL, false);
	assert_says(p->disks[0].full_reason, "switched off");
	assert_false(p->keeps);
	assert_holds(&plain, p);
	/* QEMU's lock keeps no machine from a raw file that is read: then the copy ends. */
	if (virDomainCreateWithFlags(plain.domain, VIR_DOMAIN_START_PAUSED) < 0)
		fail_msg("%s", virGetLastErrorMessage());
	struct err e = poll_fails(p);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says(e.text, "was started during the copy");
	give_up(p);
	assert_int_equal(virDomainDestroy(plain.domain), 0);
	/* Started and ended between two looks: the file tells. */
	p = begin(&plain, "godwit-2", NULL, false);
	FILE *f = fopen(plain.disks[0].path, "r+e");
	assert_non_null(f);
	fputc('x', f);
	fclose(f);
	e = poll_fails(p);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says(e.text, "was written during the copy");
	give_up(p);
}

/* --- inventories --- */

#define CROWD 200

static void define(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void define(const char *format, ...)
{
	char xml[4096];
	va_list ap;
	va_start(ap, format);
	vsnprintf(xml, sizeof xml, format, ap);
	va_end(ap);
	virDomainPtr domain = virDomainDefineXML(connection, xml);
	if (!domain)
		fail_msg("%s: %s", virGetLastErrorMessage(), xml);
	virDomainFree(domain);
}

struct crowd {
	unsigned seen, odd;
	char *why[8];
};

static int see_crowd(void *context, const struct machine *m)
{
	struct crowd *c = context;
	const struct machine_disk *d = m->disks.items;
	for (const char *t = m->name; *t; t++) /* nothing that a terminal obeys */
		if ((uint8_t)*t < 0x20 || *t == 0x7f ||
		    ((uint8_t)*t == 0xc2 && (uint8_t)t[1] < 0xa0))
			fail_msg("the name of %s has a control character", m->vm_id);
	assert_int_equal(utf8_valid(m->name, strlen(m->name)), strlen(m->name));
	c->seen += text_starts(m->name, "crowd-");
	if (!text_starts(m->name, "odd-"))
		return 0;
	c->odd++;
	unsigned n = (unsigned)(m->name[4] - '0');
	assert_true(n < COUNT_OF(c->why));
	text_set(&c->why[n], m->refusal ? m->refusal : m->disks.count ? d->refusal : NULL);
	return 0;
}

static void test_crowd(void **state)
{
	(void)state;
	struct crowd crowd = {0};
	const char *const disk = initrd; /* any file */
	/* Names cannot be the same for libvirt; addresses of cards can. */
	for (int i = 0; i < CROWD; i++)
		define("<domain type='qemu'><name>crowd-%d</name><memory>65536</memory>"
		       "<os><type>hvm</type></os><devices><interface type='user'>"
		       "<mac address='52:54:00:00:00:01'/></interface></devices></domain>",
		       i);
	static const char head[] = "<domain type='qemu'><memory>65536</memory><os><type>hvm</type>"
				   "</os><name>odd-";
	define("%s0-\xc2\x9b"
	       "31mred\xc2\x85\xe2\x80\xae</name></domain>",
	       head);
	define("%s1</name><devices><disk type='network'><source protocol='nbd' name='x'>"
	       "<host name='localhost' port='10809'/></source><target dev='vda'/></disk></devices>"
	       "</domain>",
	       head);
	define("%s2</name><devices><disk type='file'><driver name='qemu' type='qcow2'/>"
	       "<source file='%s'/><target dev='vda'/><transient/></disk></devices></domain>",
	       head, disk);
	define("%s3</name><devices><disk type='file'><driver name='qemu' type='raw'/>"
	       "<source file='%s'/><target dev='vda'/><shareable/></disk></devices></domain>",
	       head, disk);
	define("%s4</name><devices><disk type='file'><driver name='qemu' type='qcow2'/>"
	       "<source file='/nowhere/x'/><target dev='vda'/></disk></devices></domain>",
	       head);
	define("%s5</name><devices><disk type='file' device='floppy'><source file='%s'/>"
	       "<target dev='fda'/></disk></devices></domain>",
	       head, disk);
	define("%s6</name><devices><disk type='file'><driver name='qemu' type='qcow2'/>"
	       "<source file='%s'/><target dev='vda'/><readonly/></disk></devices></domain>",
	       head, disk);
	assert_ok(site_list(site, see_crowd, &crowd, err));
	assert_int_equal(crowd.seen, CROWD);
	assert_int_equal(crowd.odd, 7);
	assert_says(crowd.why[0], "no disk");
	assert_says(crowd.why[1], "is a network disk");
	assert_says(crowd.why[2], "is transient");
	assert_says(crowd.why[3], "is shareable");
	assert_says(crowd.why[4], "the size of disk vda cannot be found");
	assert_says(crowd.why[5], "no disk");
	assert_says(crowd.why[6], "is read-only");
	for (size_t i = 0; i < COUNT_OF(crowd.why); i++)
		free(crowd.why[i]);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_mixed),
	    cmocka_unit_test(test_resized_running),
	    cmocka_unit_test(test_off_in_mid_copy),
	    cmocka_unit_test(test_changed_off),
	    cmocka_unit_test(test_bitmap_broken),
	    cmocka_unit_test(test_bitmap_gone),
	    cmocka_unit_test(test_scratch_wanted),
	    cmocka_unit_test(test_scratch_full),
	    cmocka_unit_test(test_scratch_full_alone),
	    cmocka_unit_test(test_started_in_mid_copy),
	    cmocka_unit_test(test_crowd),
	};
	struct err e = {0};
	char size[32];
	if (argc < 4 || argc > 5 || !mkdtemp(dir))
		return 2;
	if (argc == 5)
		cmocka_set_test_filter(argv[4]);
	/* Before libvirtd gets a mount namespace of its own. */
	scratch = xasprintf("%s/scratch", dir);
	snprintf(size, sizeof size, "size=%llu", (unsigned long long)SCRATCH_BYTES);
	if (file_make_dirs(scratch, 0700, &e) < 0 ||
	    mount("tmpfs", scratch, "tmpfs", 0, size) < 0) {
		printf("SKIP: no small file system can be mounted\n");
		file_remove_tree(dir, NULL);
		return 77;
	}
	libvirt_up(argv);
	char *where = xasprintf("libvirt:%s", uri);
	int failed = 1;
	if (site_open(where, scratch, &site, &e) < 0)
		printf("%s: %s\n", where, e.text);
	else
		failed = cmocka_run_group_tests(tests, NULL, NULL);
	site_close(site);
	guest_release(&mixed);
	guest_release(&busy);
	guest_release(&plain);
	libvirt_down();
	umount2(scratch, MNT_DETACH);
	file_remove_tree(dir, NULL);
	free(scratch);
	free(where);
	return failed != 0;
}
