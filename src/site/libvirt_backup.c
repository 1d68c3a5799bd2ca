// SPDX-License-Identifier: Apache-2.0
/* Points of running domains: a checkpoint, and a pull-mode backup job that keeps the point readable. */
#include "site/libvirt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"
#include "io/process.h"

#define JOB_END_MS (30 * 1000)

/* --- jobs and checkpoints by name --- */

int libvirt_job_find(virDomainPtr domain, struct point_xml *job, struct err *e)
{
	*job = (struct point_xml){0};
	char *xml = virDomainBackupGetXMLDesc(domain, 0);
	if (!xml) {
		int code = virGetLastErrorCode();
		if (code == VIR_ERR_NO_DOMAIN_BACKUP || code == VIR_ERR_OPERATION_INVALID ||
		    code == VIR_ERR_NO_SUPPORT)
			return 0;
		return libvirt_err(e, "the backup job of a machine cannot be looked up");
	}
	int rc = backup_xml_parse(xml, strlen(xml), job, e);
	free(xml);
	return rc < 0 ? -1 : 1;
}

int libvirt_checkpoint_find(virDomainPtr domain, const char *name, struct point_xml *checkpoint,
			    struct err *e)
{
	*checkpoint = (struct point_xml){0};
	virDomainCheckpointPtr found = virDomainCheckpointLookupByName(domain, name, 0);
	if (!found) {
		int code = virGetLastErrorCode();
		if (code == VIR_ERR_NO_DOMAIN_CHECKPOINT || code == VIR_ERR_NO_SUPPORT)
			return 0;
		return libvirt_err(e, "checkpoint %s cannot be looked up", name);
	}
	char *xml = virDomainCheckpointGetXMLDesc(found, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
	virDomainCheckpointFree(found);
	if (!xml)
		return libvirt_err(e, "checkpoint %s cannot be described", name);
	int rc = checkpoint_xml_parse(xml, strlen(xml), checkpoint, e);
	free(xml);
	return rc < 0 ? -1 : 1;
}

static bool is_io_paused(virDomainPtr domain)
{
	int state = VIR_DOMAIN_NOSTATE, reason = 0;
	return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
	       reason == VIR_DOMAIN_PAUSED_IOERROR;
}

/* Aborting is the normal end of a pull-mode job. It ends a little later. */
int libvirt_job_abort(virDomainPtr domain, struct err *e)
{
	int64_t until = clock_mono_ms() + JOB_END_MS;
	bool asked = false;
	for (;;) {
		struct point_xml job;
		int found = libvirt_job_find(domain, &job, e);
		point_xml_release(&job);
		if (found < 0)
			return -1;
		if (!found) {
			/* Without the job its writes need no scratch space. If its own disk is what
			 * has no room, QEMU pauses it again. */
			if (asked && is_io_paused(domain) && virDomainResume(domain) < 0 &&
			    is_io_paused(domain))
				return libvirt_err(e, "a machine paused for want of scratch space "
						      "cannot be resumed; see \"virsh resume\"");
			return 0;
		}
		if (!asked && virDomainAbortJob(domain) < 0 &&
		    virGetLastErrorCode() != VIR_ERR_OPERATION_INVALID)
			return libvirt_err(e, "the backup job cannot be ended");
		asked = true;
		if (clock_mono_ms() > until)
			return err_set(e, ERR_BUSY, "the backup job did not end within %d s",
				       JOB_END_MS / 1000);
		clock_sleep_ms(50);
	}
}

/* Is this job the one whose socket is in `dir`? */
static bool job_is_in(const struct point_xml *job, const char *dir)
{
	size_t n = strlen(dir);
	return job->socket && strncmp(job->socket, dir, n) == 0 && job->socket[n] == '/';
}

int libvirt_job_end(virDomainPtr domain, const char *dir, struct err *e)
{
	struct point_xml job;
	int found = libvirt_job_find(domain, &job, e);
	bool ours = found > 0 && job_is_in(&job, dir);
	point_xml_release(&job);
	return ours ? libvirt_job_abort(domain, e) : found < 0 ? -1 : 0;
}

/* libvirt deletes bitmaps through a running QEMU only; those of a machine that is off are removed
 * from its files. QEMU's image lock refuses that when the machine is started meanwhile. */
static void bitmaps_remove(virDomainPtr domain, const char *name,
			   const struct point_xml *checkpoint)
{
	char *xml = virDomainGetXMLDesc(domain, 0);
	struct machine m = {0};
	struct domain_extra extra;
	if (!xml || domain_xml_parse(xml, strlen(xml), &m, &extra, NULL) < 0)
		goto out;
	const struct machine_disk *disks = m.disks.items;
	for (size_t i = 0; i < m.disks.count; i++) {
		const struct point_disk *d = point_xml_disk(checkpoint, disks[i].key);
		if (!d || !d->tracked || disks[i].refusal || strcmp(disks[i].format, "qcow2") != 0)
			continue;
		const char *const argv[] = {"qemu-img", "bitmap",      "--remove", "-f",
					    "qcow2",	disks[i].path, name,	   NULL};
		/* Without it the file keeps an unused bitmap: harmless, so it is no failure. */
		process_run(&(struct process_plan){.argv = argv}, 30000, 4096, NULL, NULL);
	}
	shape_release(&machine_shape, &m);
out:
	free(xml);
}

int libvirt_checkpoint_delete(virDomainPtr domain, const char *name, struct err *e)
{
	struct point_xml checkpoint;
	int found = libvirt_checkpoint_find(domain, name, &checkpoint, NULL);
	virDomainCheckpointPtr handle = found ? virDomainCheckpointLookupByName(domain, name, 0)
					      : NULL;
	int rc = 0;
	if (!handle || virDomainCheckpointDelete(handle, 0) == 0)
		goto out;
	if (virDomainIsActive(domain) == 0)
		bitmaps_remove(domain, name, &checkpoint);
	/* A broken bitmap cannot be deleted as a bitmap should; forget it then. */
	if (virDomainCheckpointDelete(handle, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0 &&
	    virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_CHECKPOINT)
		rc = libvirt_err(e, "checkpoint %s cannot be deleted", name);
out:
	if (handle)
		virDomainCheckpointFree(handle);
	point_xml_release(&checkpoint);
	return rc;
}

/* --- what can be tracked --- */

/* The version in a qcow2 file's header, 0 when it is none. */
static unsigned qcow2_version(const char *path)
{
	uint8_t bytes[8] = {0};
	FILE *f = fopen(path, "re");
	unsigned version = 0;
	if (f && fread(bytes, 1, sizeof bytes, f) == sizeof bytes &&
	    memcmp(bytes, "QFI\xfb", 4) == 0)
		version = (unsigned)bytes[4] << 24 | (unsigned)bytes[5] << 16 |
			  (unsigned)bytes[6] << 8 | bytes[7];
	if (f)
		fclose(f);
	return version;
}

#define TRACKED_ONLY                                                                               \
	"QEMU keeps change bitmaps only in qcow2 files of version 3; everything is read and only " \
	"what is new is sent"

static void disk_plan(const struct machine_disk *disk, const char *base,
		      const struct point_xml *base_point, const char *broken, struct point_disk *d)
{
	unsigned version = 0;
	d->key = xstrdup(disk->key);
	d->size_bytes = disk->size_bytes;
	if (strcmp(disk->format, "qcow2") != 0) {
		text_setf(&d->why, "disk %s is %.32s: " TRACKED_ONLY, d->key, disk->format);
		return;
	}
	/* A file that cannot be read here (libvirt runs elsewhere) is taken for a modern one. */
	version = qcow2_version(disk->path);
	if (version && version < 3) {
		text_setf(&d->why,
			  "disk %s is qcow2 of version %u (\"qemu-img amend -o compat=1.1\" makes "
			  "it 3): " TRACKED_ONLY,
			  d->key, version);
		return;
	}
	d->tracked = true;
	const struct point_disk *before = base ? point_xml_disk(base_point, d->key) : NULL;
	if (!base)
		text_setf(&d->why, "changes of disk %s were not tracked before this copy", d->key);
	else if (broken)
		text_setf(&d->why, "disk %s is read in full: %.300s", d->key, broken);
	else if (!before)
		text_setf(&d->why, "disk %s was not there at the last copy", d->key);
	else if (!before->tracked)
		text_setf(&d->why, "disk %s has no change bitmap since the last copy", d->key);
	else if (before->size_bytes != d->size_bytes)
		text_setf(&d->why, "disk %s had %lld bytes at the last copy and has %lld now",
			  d->key, (long long)before->size_bytes, (long long)d->size_bytes);
	else
		d->incremental = true;
}

/* --- taking a point --- */

/* Ask libvirt. 1: done; 0: the base is broken, *broken says how (the caller frees); -1. */
static int job_start(virDomainPtr domain, const struct site_point *p, const struct point_xml *plan,
		     char **broken, struct err *e)
{
	const struct libvirt_point *state = p->state;
	const struct point_disk *disks = plan->disks.items;
	bool track = false, incremental = false;
	for (size_t i = 0; i < plan->disks.count; i++) {
		track |= disks[i].tracked;
		incremental |= disks[i].incremental;
	}
	char *job = backup_xml_build(plan, p->base_point, state->dir);
	char *checkpoint = track ? checkpoint_xml_build(plan) : NULL;
	int rc = virDomainBackupBegin(domain, job, checkpoint, 0) == 0 ? 1 : -1;
	free(job);
	free(checkpoint);
	if (rc > 0)
		return 1;
	int code = virGetLastErrorCode();
	const char *said = virGetLastErrorMessage();
	bool bitmap = code == VIR_ERR_CHECKPOINT_INCONSISTENT || strstr(said, "bitmap");
	if (incremental && bitmap) {
		*broken = xstrdup(said);
		return 0;
	}
	return libvirt_err(e, "no point in time of %.100s can be taken", p->machine.name);
}

static void plan_make(virDomainPtr domain, const struct site_point *p, const struct point_xml *base,
		      const char *broken, struct point_xml *plan)
{
	const struct libvirt_point *state = p->state;
	const struct machine_disk *disks = p->machine.disks.items;
	*plan = (struct point_xml){0};
	plan->name = xstrdup(p->point);
	plan->socket = xasprintf("%s/nbd.sock", state->dir);
	/* libvirt keeps checkpoints of defined domains only. */
	bool transient = virDomainIsPersistent(domain) == 0;
	for (size_t i = 0; i < p->machine.disks.count; i++) {
		struct point_disk *d = list_push(&plan->disks, sizeof *d);
		disk_plan(&disks[i], p->base_point, base, broken, d);
		if (transient) {
			d->tracked = d->incremental = false;
			text_setf(&d->why,
				  "the machine of disk %s is transient: libvirt tracks "
				  "changes of defined machines only",
				  d->key);
		}
	}
}

/* Tell the caller what the job exports. */
static void point_fill(struct site_point *p, struct point_xml *plan)
{
	p->keeps = false;
	for (unsigned i = 0; i < p->disk_count; i++) {
		struct point_disk *d = point_xml_disk(plan, p->disks[i].key);
		p->keeps |= d->tracked;
		if (d->incremental) {
			text_set(&p->disks[i].dirty_context, BACKUP_DIRTY_CONTEXT);
		} else {
			p->disks[i].full_reason = d->why;
			d->why = NULL;
		}
	}
}

/* The reasons are told again after a resume, so they are kept beside the socket. */
static int reasons_write(const struct site_point *p, struct err *e)
{
	const struct libvirt_point *state = p->state;
	int rc = 0;
	for (unsigned i = 0; i < p->disk_count && rc == 0; i++) {
		const char *why = p->disks[i].full_reason;
		if (!why)
			continue;
		char *path = xasprintf("%s/%s.why", state->dir, p->disks[i].key);
		rc = file_write(path, why, strlen(why), 0600, e);
		free(path);
	}
	return rc;
}

/* Undo what was made for p; the failure that led here is the one to tell. */
static void undo(virDomainPtr domain, const struct site_point *p)
{
	const struct libvirt_point *state = p->state;
	libvirt_job_abort(domain, NULL);
	libvirt_checkpoint_delete(domain, p->point, NULL);
	file_remove_tree(state->dir, NULL);
}

static int point_take(struct libvirt_site *s, virDomainPtr domain, const struct domain_extra *extra,
		      struct site_point *p, struct err *e)
{
	struct libvirt_point *state = p->state;
	struct point_xml base = {0}, plan = {0};
	char *broken = NULL;
	int rc = -1, started = 0;
	if (libvirt_scratch_check(s, p, e) < 0)
		return -1;
	/* Rubbish of a run that died while it began. */
	if (file_remove_tree(state->dir, e) < 0 ||
	    libvirt_checkpoint_delete(domain, p->point, e) < 0 ||
	    libvirt_point_dir_make(s, p, extra, e) < 0)
		return -1;
	if (p->base_point) {
		int found = libvirt_checkpoint_find(domain, p->base_point, &base, e);
		if (found < 0)
			goto out;
		if (!found)
			broken = xasprintf("checkpoint %.130s of the last copy is gone",
					   p->base_point);
	}
	while (!started) {
		point_xml_release(&plan);
		plan_make(domain, p, &base, broken, &plan);
		char *found_broken = NULL;
		started = job_start(domain, p, &plan, &found_broken, e);
		if (started == 0) {
			/* Its bitmaps are no use any more, and a broken one stands in the way. */
			libvirt_checkpoint_delete(domain, p->base_point, NULL);
			free(broken);
			broken = found_broken;
		}
	}
	if (started < 0) {
		file_remove_tree(state->dir, NULL);
		goto out;
	}
	point_fill(p, &plan);
	rc = reasons_write(p, e);
	if (rc < 0)
		undo(domain, p);
out:
	free(broken);
	point_xml_release(&base);
	point_xml_release(&plan);
	return rc;
}

/* The job of this very point still runs: tell again what it exports. */
static int point_attach(virDomainPtr domain, const struct point_xml *job, struct site_point *p,
			struct err *e)
{
	struct libvirt_point *state = p->state;
	struct point_xml checkpoint;
	int tracked = libvirt_checkpoint_find(domain, p->point, &checkpoint, e);
	point_xml_release(&checkpoint);
	if (tracked < 0)
		return -1;
	for (unsigned i = 0; i < p->disk_count; i++) {
		struct site_disk *disk = &p->disks[i];
		const struct point_disk *d = point_xml_disk(job, disk->key);
		if (!d)
			return err_set(e, ERR_NOT_FOUND, "the point %s does not hold disk %s",
				       p->point, disk->key);
		if (d->incremental) {
			text_set(&disk->dirty_context, BACKUP_DIRTY_CONTEXT);
			continue;
		}
		struct buf why = {0};
		char *path = xasprintf("%s/%s.why", state->dir, disk->key);
		file_read(path, LIMIT_SENTENCE_BYTES, &why, NULL);
		text_setf(&disk->full_reason, "%s",
			  why.len ? buf_str(&why) : "the run was resumed after a restart");
		buf_release(&why);
		free(path);
	}
	p->keeps = tracked;
	return 0;
}

int libvirt_backup_begin(struct libvirt_site *s, virDomainPtr domain, const struct site_want *want,
			 const struct domain_extra *extra, struct site_point *p, struct err *e)
{
	const struct libvirt_point *state = p->state;
	struct point_xml job;
	int rc = -1, found = libvirt_job_find(domain, &job, e);
	if (found < 0)
		return -1;
	char *socket = xasprintf("%s/nbd.sock", state->dir);
	bool same = found && text_equal(job.socket, socket);
	if (want->resume && same)
		rc = point_attach(domain, &job, p, e);
	else if (want->resume)
		err_set(e, ERR_NOT_FOUND, "the backup job of point %s does not run any more",
			want->point);
	else if (same)
		err_set(e, ERR_CONFLICT, "point %s of %.100s is being copied already", want->point,
			p->machine.name);
	else if (found)
		err_set(e, ERR_CONFLICT,
			"another backup of %.100s is running; wait for it, or end it with \"virsh "
			"domjobabort\"",
			p->machine.name);
	else
		rc = point_take(s, domain, extra, p, e);
	if (rc == 0)
		libvirt_scratch_watch(s, p);
	free(socket);
	point_xml_release(&job);
	return rc;
}

/* --- looking after it --- */

int libvirt_backup_poll(struct libvirt_site *s, virDomainPtr domain, struct site_point *p,
			struct err *e)
{
	const struct libvirt_point *state = p->state;
	struct point_xml job = {0};
	struct err unused;
	/* The scratch space last: its thread may have ended the job just now. */
	int found = libvirt_job_find(domain, &job, e);
	bool ours = found > 0 && job_is_in(&job, state->dir);
	point_xml_release(&job);
	if (libvirt_scratch_poll(s, p, e) < 0) {
		p->keeps = false;
		libvirt_checkpoint_delete(domain, p->point, &unused); /* else site_end does */
		return -1;
	}
	if (found < 0)
		return -1;
	if (ours)
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		       "the backup job of %.100s ended: it was switched off, or someone ended the "
		       "job",
		       p->machine.name);
}
