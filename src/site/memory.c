// SPDX-License-Identifier: Apache-2.0
/*
 * Machines that exist in memory, for tests and for trying things out without a hypervisor:
 * "memory:servers=3,disks=1,size=64M,seed=7,change=1". The same settings make the same machines.
 * Disks hold file-like runs of blocks with zero tails, four of five shared by all machines. `change`
 * percent of the blocks are rewritten before every point.
 *
 * A point is a copy of the disks in scratch_dir, served by nbdkit. Every block remembers the epoch it
 * was last written in; a point ends an epoch, so what changed since a point is what has a later one.
 */
#include "site/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"
#include "io/process.h"
#include "site/kind.h"

#define GRAIN	      (64 * KIB)
#define BLOCK	      4096u
#define SERVER_MS     (20 * 1000)
#define POINT_TEXT    SITE_POINT_BYTES
#define POINTS_PER_VM 8

struct memory_disk {
	int fd;		   /* memfd; 0 before the first use */
	uint32_t *written; /* epoch of every grain */
};

struct memory_mark {
	char name[POINT_TEXT];
	uint32_t epoch;
	bool serving;
	struct extents *changed; /* of every disk since its base; NULL: it has none */
};

struct memory_vm {
	struct memory_disk *disks; /* NULL before the first use */
	uint32_t epoch;
	struct memory_mark marks[POINTS_PER_VM];
	unsigned mark_count;
};

struct memory_site {
	struct site site; /* first */
	char *scratch_dir;
	pthread_mutex_t lock;
	uint64_t servers, disks, size, seed, change;
	struct memory_vm *vms;
};

struct memory_point {
	char *dir;
};

/* --- content --- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void fill(uint8_t *to, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = mix(seed + i);
		memcpy(to + i, &word, n - i < 8 ? n - i : 8);
	}
}

static int content_make(const struct memory_site *s, uint64_t vm, uint64_t disk, int fd,
			struct err *e)
{
	uint64_t at = 0, file = 0, own = mix(s->seed ^ vm << 20 ^ disk << 8);
	uint8_t *data = xmalloc(256 * KIB);
	int rc = 0;
	while (at < s->size && rc == 0) {
		uint64_t draw = mix(own + file++);
		uint64_t name = draw % 5 ? mix(s->seed ^ (draw >> 8) % 997) : mix(own ^ draw);
		uint64_t length = 1 + name % (200 * KIB);
		if (length > s->size - at)
			length = s->size - at;
		fill(data, length, name);
		rc = fd_write_at(fd, data, length, at, e);
		at += (length + BLOCK - 1) / BLOCK * BLOCK;
		/* Half of the disk is free space. */
		at += (draw >> 32) % (200 * KIB) / BLOCK * BLOCK;
	}
	free(data);
	return rc;
}

static uint64_t grains(const struct memory_site *s)
{
	return (s->size + GRAIN - 1) / GRAIN;
}

static int vm_wake(struct memory_site *s, uint64_t vm, struct err *e)
{
	struct memory_vm *v = &s->vms[vm];
	if (v->disks)
		return 0;
	v->disks = xcalloc(s->disks, sizeof *v->disks);
	v->epoch = 1;
	int rc = 0;
	for (uint64_t i = 0; i < s->disks && rc == 0; i++) {
		struct memory_disk *d = &v->disks[i];
		d->written = xcalloc(grains(s), sizeof *d->written);
		d->fd = memfd_create("godwit-disk", MFD_CLOEXEC);
		if (d->fd < 0 || ftruncate(d->fd, (off_t)s->size) < 0)
			rc = err_errno(e, errno, "no memory for a disk");
		else
			rc = content_make(s, vm, i, d->fd, e);
	}
	return rc;
}

static int disk_write(struct memory_site *s, uint64_t vm, uint64_t disk, uint64_t offset,
		      const void *data, size_t n, struct err *e)
{
	struct memory_vm *v = &s->vms[vm];
	struct memory_disk *d = &v->disks[disk];
	for (uint64_t g = offset / GRAIN; n && g <= (offset + n - 1) / GRAIN; g++)
		d->written[g] = v->epoch;
	return fd_write_at(d->fd, data, n, offset, e);
}

static int vm_change(struct memory_site *s, uint64_t vm, struct err *e)
{
	uint8_t block[BLOCK];
	uint64_t blocks = s->size / BLOCK, draw = mix(s->seed ^ vm ^ s->vms[vm].epoch);
	for (uint64_t disk = 0; disk < s->disks; disk++)
		for (uint64_t i = 0; i < blocks * s->change / 100; i++) {
			draw = mix(draw);
			fill(block, sizeof block, draw);
			if (disk_write(s, vm, disk, draw % blocks * BLOCK, block, sizeof block, e) <
			    0)
				return -1;
		}
	return 0;
}

/* --- inventory --- */

static int vm_find(const struct memory_site *s, const char *vm_id, uint64_t *vm, struct err *e)
{
	int64_t number = -1;
	const char *dash = strrchr(vm_id, '-');
	if (!text_starts(vm_id, "00000000-0000-4000-8000-") ||
	    number_parse("machine", dash + 1 + strspn(dash + 1, "0"), 1, (int64_t)s->servers,
			 &number, NULL) < 0)
		return err_set(e, ERR_NOT_FOUND, "there is no machine %.64s", vm_id);
	*vm = (uint64_t)number - 1;
	return 0;
}

static void vm_describe(const struct memory_site *s, uint64_t vm, struct machine *m)
{
	unsigned long long n = vm + 1;
	*m = (struct machine){.vcpus = 1, .memory_bytes = 512 * MIB};
	text_setf(&m->vm_id, "00000000-0000-4000-8000-%012llu", n);
	text_setf(&m->name, "server-%05llu", n);
	text_setf(&m->path, "/memory/server-%05llu", n);
	text_set(&m->firmware, "bios");
	text_set(&m->machine, "q35");
	text_set(&m->power, "running");
	for (uint64_t i = 0; i < s->disks; i++) {
		struct machine_disk *d = list_push(&m->disks, sizeof *d);
		text_setf(&d->key, "disk%llu", (unsigned long long)i);
		text_setf(&d->path, "memory:%llu/%llu", n, (unsigned long long)i);
		text_set(&d->format, "raw");
		text_set(&d->bus, "virtio");
		d->size_bytes = (int64_t)s->size;
		d->boot_order = i == 0;
	}
	struct machine_nic *nic = list_push(&m->nics, sizeof *nic);
	text_setf(&nic->mac, "52:54:00:%02llx:%02llx:%02llx", n >> 16 & 255, n >> 8 & 255, n & 255);
	text_set(&nic->network, "default");
	text_set(&nic->model, "virtio");
}

static int memory_list(struct site *site, site_machine_fn *each, void *context, struct err *e)
{
	(void)e;
	const struct memory_site *s = (struct memory_site *)site;
	int rc = 0;
	for (uint64_t i = 0; i < s->servers && rc == 0; i++) {
		struct machine m;
		vm_describe(s, i, &m);
		rc = each(context, &m);
		shape_release(&machine_shape, &m);
	}
	return rc;
}

/* --- points --- */

static struct memory_mark *mark_find(struct memory_vm *v, const char *name)
{
	for (unsigned i = 0; name && i < v->mark_count; i++)
		if (strcmp(v->marks[i].name, name) == 0)
			return &v->marks[i];
	return NULL;
}

static void mark_remove(const struct memory_site *s, struct memory_vm *v, struct memory_mark *mark)
{
	if (!mark)
		return;
	for (uint64_t i = 0; mark->changed && i < s->disks; i++)
		extents_release(&mark->changed[i]);
	free(mark->changed);
	*mark = v->marks[--v->mark_count];
}

static char *point_dir(const struct memory_site *s, uint64_t vm, const char *point)
{
	uint64_t hash = mix(vm);
	for (const char *c = point; *c; c++)
		hash = mix(hash ^ (uint8_t)*c);
	return xasprintf("%s/m-%016llx", s->scratch_dir, (unsigned long long)hash);
}

static int copy_data(int from, int to, uint64_t size, struct err *e)
{
	uint8_t *data = xmalloc(MIB);
	off_t at = 0;
	int rc = ftruncate(to, (off_t)size) < 0 ? err_errno(e, errno, "cannot size a copy") : 0;
	while (rc == 0 && (at = lseek(from, at, SEEK_DATA)) >= 0 && (uint64_t)at < size) {
		off_t end = lseek(from, at, SEEK_HOLE);
		for (; at < end && rc == 0;) {
			size_t n = (size_t)(end - at) < MIB ? (size_t)(end - at) : MIB;
			rc = fd_read_at(from, data, n, (uint64_t)at, e);
			if (rc == 0)
				rc = fd_write_at(to, data, n, (uint64_t)at, e);
			at += (off_t)n;
		}
	}
	free(data);
	return rc;
}

static int dial_path(const char *path, int *fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd >= 0 && connect(*fd, (struct sockaddr *)&address, sizeof address) == 0)
		return 0;
	int why = errno;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = why;
	return -1;
}

/* nbdkit goes to the background when its socket is there, and writes its pid file after that: without
 * the file nobody could stop it, so it is waited for. */
static int serve(const char *dir, unsigned disk, struct err *e)
{
	char *socket = xasprintf("%s/%u.sock", dir, disk), *pid = xasprintf("%s/%u.pid", dir, disk);
	char *file = xasprintf("%s/%u.raw", dir, disk);
	const char *const argv[] = {"nbdkit", "-r", "-U", socket, "-P", pid, "file", file, NULL};
	int rc = process_run(&(struct process_plan){.argv = argv, .keep_alive = true}, SERVER_MS,
			     4096, NULL, e);
	struct stat st;
	int64_t until = clock_mono_ms() + SERVER_MS;
	while (rc == 0 && (stat(pid, &st) < 0 || st.st_size == 0)) {
		if (clock_mono_ms() > until)
			rc = err_set(e, ERR_UNAVAILABLE, "nbdkit did not start on disk %u", disk);
		clock_sleep_ms(2);
	}
	free(socket);
	free(pid);
	free(file);
	return rc;
}

static void serve_stop(const char *dir)
{
	for (unsigned i = 0; i < LIMIT_DISKS_PER_SERVER; i++) {
		struct buf text = {0};
		char *path = xasprintf("%s/%u.pid", dir, i);
		int64_t pid = 0;
		if (file_read(path, 64, &text, NULL) == 0) {
			char *line = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
			if (number_parse("pid", line, 2, INT32_MAX, &pid, NULL) == 0) {
				char command[512] = "", proc[64];
				snprintf(proc, sizeof proc, "/proc/%lld/cmdline", (long long)pid);
				FILE *f = fopen(proc, "re");
				size_t n = f ? fread(command, 1, sizeof command, f) : 0;
				if (f)
					fclose(f);
				if (memmem(command, n, path, strlen(path)))
					kill((pid_t)pid, SIGTERM);
			}
			free(line);
		}
		buf_release(&text);
		free(path);
	}
}

static int point_copy(struct memory_site *s, uint64_t vm, const char *dir, struct err *e)
{
	int rc = file_remove_tree(dir, e);
	if (rc == 0)
		rc = file_make_dirs(dir, 0700, e);
	for (unsigned i = 0; i < s->disks && rc == 0; i++) {
		char *path = xasprintf("%s/%u.raw", dir, i);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			rc = err_errno(e, errno, "cannot make %s", path);
		else
			rc = copy_data(s->vms[vm].disks[i].fd, fd, s->size, e);
		if (fd >= 0)
			close(fd);
		free(path);
		if (rc == 0)
			rc = serve(dir, i, e);
	}
	return rc;
}

/* Kept with the point, because later writes hide in the epochs which blocks changed before it. */
static void changes_keep(const struct memory_site *s, const struct memory_vm *v, uint32_t since,
			 struct memory_mark *mark)
{
	mark->changed = xcalloc(s->disks, sizeof *mark->changed);
	for (uint64_t i = 0; i < s->disks; i++)
		for (uint64_t g = 0; g < grains(s); g++) {
			uint64_t at = g * GRAIN, n = s->size - at < GRAIN ? s->size - at : GRAIN;
			if (v->disks[i].written[g] > since)
				extents_append(&mark->changed[i], at, n);
		}
}

static void point_fill(struct memory_site *s, uint64_t vm, const struct memory_mark *mark,
		       struct site_point *p)
{
	vm_describe(s, vm, &p->machine);
	text_set(&p->consistency, "crash");
	p->keeps = true;
	p->disk_count = (unsigned)s->disks;
	p->disks = xcalloc(s->disks, sizeof *p->disks);
	for (unsigned i = 0; i < s->disks; i++) {
		struct site_disk *d = &p->disks[i];
		d->key = xasprintf("disk%u", i);
		d->export_name = xasprintf("disk%u", i);
		d->number = i;
		d->size_bytes = s->size;
		d->has_changed = mark->changed != NULL;
		if (mark->changed)
			for (size_t c = 0; c < mark->changed[i].count; c++)
				extents_append(&d->changed, mark->changed[i].items[c].offset,
					       mark->changed[i].items[c].length);
		else if (p->base_point)
			d->full_reason = xasprintf("point %.130s of the last copy is gone",
						   p->base_point);
		else
			d->full_reason = xasprintf("this is the first copy of disk disk%u", i);
	}
}

static int memory_begin_locked(struct memory_site *s, const struct site_want *want,
			       struct site_point *p, struct err *e)
{
	uint64_t vm;
	if (vm_find(s, want->vm_id, &vm, e) < 0 || vm_wake(s, vm, e) < 0)
		return -1;
	struct memory_vm *v = &s->vms[vm];
	struct memory_mark *mark = mark_find(v, want->point);
	if (want->resume && !(mark && mark->serving))
		return err_set(e, ERR_NOT_FOUND, "point %s does not exist any more", want->point);
	if (!want->resume && mark)
		return err_set(e, ERR_CONFLICT, "point %s is being copied already", want->point);
	if (!mark && v->mark_count == POINTS_PER_VM)
		return err_set(e, ERR_FULL, "a machine in memory has at most %d points",
			       POINTS_PER_VM);
	char *dir = point_dir(s, vm, want->point);
	struct memory_point *state = xcalloc(1, sizeof *state);
	state->dir = dir;
	p->state = state;
	if (!mark) {
		if (strlen(dir) + sizeof "/63.sock" > sizeof((struct sockaddr_un *)0)->sun_path)
			return err_set(e, ERR_INVALID, "%s is too long for a socket's name", dir);
		if (vm_change(s, vm, e) < 0)
			return -1;
		if (point_copy(s, vm, dir, e) < 0) {
			serve_stop(dir);
			file_remove_tree(dir, NULL);
			return -1;
		}
		mark = &v->marks[v->mark_count++];
		*mark = (struct memory_mark){.epoch = v->epoch++, .serving = true};
		snprintf(mark->name, sizeof mark->name, "%s", want->point);
		const struct memory_mark *base = mark_find(v, want->base_point);
		if (base)
			changes_keep(s, v, base->epoch, mark);
	}
	point_fill(s, vm, mark, p);
	return 0;
}

static int memory_begin(struct site *site, const struct site_want *want, struct site_point *p,
			struct err *e)
{
	struct memory_site *s = (struct memory_site *)site;
	pthread_mutex_lock(&s->lock);
	int rc = memory_begin_locked(s, want, p, e);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int memory_dial(struct site *site, struct site_point *p, unsigned disk, int *fd,
		       struct err *e)
{
	(void)site;
	const struct memory_point *state = p->state;
	char *path = xasprintf("%s/%u.sock", state->dir, disk);
	int rc = dial_path(path, fd);
	if (rc < 0) {
		err_errno(e, errno, "the NBD server of disk %u does not answer", disk);
		if (e)
			e->kind = ERR_UNAVAILABLE;
	}
	free(path);
	return rc;
}

static int memory_poll(struct site *site, struct site_point *p, struct err *e)
{
	int fd;
	if (memory_dial(site, p, 0, &fd, e) < 0)
		return -1;
	close(fd);
	return 0;
}

static int memory_end(struct site *site, struct site_point *p, bool committed, struct err *e)
{
	struct memory_site *s = (struct memory_site *)site;
	const struct memory_point *state = p->state;
	uint64_t vm;
	serve_stop(state->dir);
	int rc = file_remove_tree(state->dir, e);
	pthread_mutex_lock(&s->lock);
	if (rc == 0 && vm_find(s, p->vm_id, &vm, NULL) == 0) {
		struct memory_vm *v = &s->vms[vm];
		struct memory_mark *mark = mark_find(v, p->point);
		if (mark)
			mark->serving = false;
		mark_remove(s, v, committed ? mark_find(v, p->base_point) : mark);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* What a process before us served, and could not end when it was killed. */
static void folders_sweep(struct memory_site *s, unsigned *removed)
{
	DIR *dir = opendir(s->scratch_dir);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		bool ours = false;
		if (!text_starts(entry->d_name, "m-"))
			continue;
		char *path = xasprintf("%s/%s", s->scratch_dir, entry->d_name);
		for (uint64_t vm = 0; vm < s->servers && !ours; vm++)
			for (unsigned i = 0; i < s->vms[vm].mark_count && !ours; i++) {
				char *of = point_dir(s, vm, s->vms[vm].marks[i].name);
				ours = strcmp(of, path) == 0;
				free(of);
			}
		if (!ours) {
			serve_stop(path);
			file_remove_tree(path, NULL);
			++*removed;
		}
		free(path);
	}
	if (dir)
		closedir(dir);
}

static void vm_sweep(struct memory_site *s, uint64_t vm, const struct site_removal *what,
		     unsigned *removed)
{
	struct memory_vm *v = &s->vms[vm];
	struct machine m;
	vm_describe(s, vm, &m);
	for (unsigned i = v->mark_count; i-- > 0;) {
		struct memory_mark *mark = &v->marks[i];
		bool meant = what->only ? strcmp(what->only->vm_id, m.vm_id) == 0 &&
					      strcmp(what->only->point, mark->name) == 0
					: text_starts(mark->name, what->prefix);
		const struct site_keep *found = what->only ? NULL
							   : site_kept(what, m.vm_id, mark->name);
		if (!meant)
			continue;
		if (mark->serving && !(found && found->active)) {
			char *dir = point_dir(s, vm, mark->name);
			serve_stop(dir);
			file_remove_tree(dir, NULL);
			mark->serving = false;
			free(dir);
		}
		if (!found) {
			mark_remove(s, v, mark);
			++*removed;
		}
	}
	shape_release(&machine_shape, &m);
}

static int memory_sweep(struct site *site, const struct site_removal *what, unsigned *removed,
			struct err *e)
{
	(void)e;
	struct memory_site *s = (struct memory_site *)site;
	pthread_mutex_lock(&s->lock);
	for (uint64_t vm = 0; vm < s->servers; vm++)
		if (s->vms[vm].mark_count)
			vm_sweep(s, vm, what, removed);
	if (!what->only)
		folders_sweep(s, removed);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void memory_free_state(void *state)
{
	struct memory_point *point = state;
	free(point->dir);
	free(point);
}

/* --- the guest's side --- */

static int guest_access(struct site *site, const char *vm_id, unsigned disk, uint64_t offset,
			const void *from, void *to, size_t n, struct err *e)
{
	struct memory_site *s = (struct memory_site *)site;
	uint64_t vm;
	int rc = -1;
	pthread_mutex_lock(&s->lock);
	if (vm_find(s, vm_id, &vm, e) < 0 || vm_wake(s, vm, e) < 0)
		goto out;
	if (disk >= s->disks || offset > s->size || n > s->size - offset)
		err_set(e, ERR_INVALID, "this is outside of the machine's disks");
	else if (from)
		rc = disk_write(s, vm, disk, offset, from, n, e);
	else
		rc = fd_read_at(s->vms[vm].disks[disk].fd, to, n, offset, e);
out:
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int site_memory_write(struct site *s, const char *vm_id, unsigned disk, uint64_t offset,
		      const void *data, size_t n, struct err *e)
{
	return guest_access(s, vm_id, disk, offset, data, NULL, n, e);
}

int site_memory_read(struct site *s, const char *vm_id, unsigned disk, uint64_t offset, void *data,
		     size_t n, struct err *e)
{
	return guest_access(s, vm_id, disk, offset, NULL, data, n, e);
}

/* --- opening --- */

static void memory_close(struct site *site)
{
	struct memory_site *s = (struct memory_site *)site;
	for (uint64_t i = 0; i < s->servers; i++) {
		struct memory_vm *v = &s->vms[i];
		for (uint64_t d = 0; v->disks && d < s->disks; d++) {
			if (v->disks[d].fd > 0)
				close(v->disks[d].fd);
			free(v->disks[d].written);
		}
		free(v->disks);
		while (v->mark_count) {
			char *dir = point_dir(s, i, v->marks[0].name);
			serve_stop(dir);
			file_remove_tree(dir, NULL);
			free(dir);
			mark_remove(s, v, &v->marks[0]);
		}
	}
	pthread_mutex_destroy(&s->lock);
	free(s->vms);
	free(s->scratch_dir);
	free(s);
}

static int setting_parse(const char *name, const char *text, uint64_t min, uint64_t max, bool size,
			 uint64_t *out, struct err *e)
{
	int64_t number;
	if (size)
		return size_parse(name, text, min, max, out, e);
	if (number_parse(name, text, (int64_t)min, (int64_t)max, &number, e) < 0)
		return -1;
	*out = (uint64_t)number;
	return 0;
}

static int settings_parse(struct memory_site *s, const char *place, struct err *e)
{
	const struct {
		const char *name;
		uint64_t *value, min, max;
		bool size;
	} settings[] = {{"servers", &s->servers, 1, LIMIT_SERVERS_PER_CONNECTOR},
			{"disks", &s->disks, 1, LIMIT_DISKS_PER_SERVER},
			{"size", &s->size, BLOCK, 4 * GIB, true},
			{"seed", &s->seed, 0, INT64_MAX},
			{"change", &s->change, 0, 100}};
	char *copy = xstrdup(place), *rest = copy, *word;
	int rc = 0;
	while (rc == 0 && (word = strsep(&rest, ","))) {
		char *equals = strchr(word, '=');
		rc = *word ? -1 : 0;
		for (size_t i = 0; equals && i < COUNT_OF(settings); i++)
			if (strlen(settings[i].name) == (size_t)(equals - word) &&
			    text_starts(word, settings[i].name)) {
				rc = setting_parse(settings[i].name, equals + 1, settings[i].min,
						   settings[i].max, settings[i].size,
						   settings[i].value, e);
				goto next;
			}
		if (rc < 0)
			err_set(e, ERR_INVALID,
				"memory: has no setting \"%.40s\"; it has servers=, disks=, size=, "
				"seed= and change=",
				word);
	next:;
	}
	free(copy);
	return rc;
}

static int memory_open(const char *place, const char *scratch_dir, struct site **out, struct err *e)
{
	struct memory_site *s = xcalloc(1, sizeof *s);
	s->site.ops = &site_memory_ops;
	pthread_mutex_init(&s->lock, NULL);
	s->servers = 1;
	s->disks = 1;
	s->size = 64 * MIB;
	if (settings_parse(s, place, e) < 0) {
		s->servers = 0;
		memory_close(&s->site);
		return -1;
	}
	s->vms = xcalloc(s->servers, sizeof *s->vms);
	s->scratch_dir = realpath(scratch_dir, NULL);
	struct site_facts *facts = &s->site.facts;
	snprintf(facts->kind, sizeof facts->kind, "memory");
	snprintf(facts->manager_id, sizeof facts->manager_id, "memory-%llu",
		 (unsigned long long)s->seed);
	snprintf(facts->manager_name, sizeof facts->manager_name, "memory");
	facts->disks_in_flight = LIMIT_DISKS_IN_FLIGHT;
	*out = &s->site;
	return 0;
}

const struct site_ops site_memory_ops = {
    .kind = "memory",
    .open = memory_open,
    .close = memory_close,
    .list = memory_list,
    .begin = memory_begin,
    .dial = memory_dial,
    .poll = memory_poll,
    .end = memory_end,
    .sweep = memory_sweep,
    .free_state = memory_free_state,
};
