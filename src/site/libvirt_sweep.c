// SPDX-License-Identifier: Apache-2.0
/* Removing what earlier runs left in libvirt and in the scratch folder: only what bears our name. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/file.h"
#include "site/libvirt.h"

static bool dir_is_kept(const struct libvirt_site *s, const char *dir, size_t n,
			const struct site_removal *what)
{
	bool found = false;
	for (unsigned i = 0; i < what->keep_count && !found; i++) {
		if (!what->keep[i].active)
			continue;
		char *active = libvirt_point_dir(s, what->keep[i].vm_id, what->keep[i].point);
		found = strlen(active) == n && strncmp(active, dir, n) == 0;
		free(active);
	}
	return found;
}

static int sweep_domain(struct libvirt_site *s, virDomainPtr domain,
			const struct site_removal *what, unsigned *removed, struct err *e)
{
	char vm_id[VIR_UUID_STRING_BUFLEN] = "";
	char *prefix = xasprintf("%s/p-", s->scratch_dir);
	struct point_xml job = {0};
	virDomainCheckpointPtr *points = NULL;
	int rc = -1, count = 0;
	if (virDomainGetUUIDString(domain, vm_id) < 0 || libvirt_job_find(domain, &job, e) < 0)
		goto out;
	const char *slash = job.socket ? strrchr(job.socket, '/') : NULL;
	if (slash && text_starts(job.socket, prefix) &&
	    !dir_is_kept(s, job.socket, (size_t)(slash - job.socket), what)) {
		if (libvirt_job_abort(domain, e) < 0)
			goto out;
		++*removed;
	}
	count = virDomainListAllCheckpoints(domain, &points, 0);
	/* A driver without checkpoints has none of ours either. */
	rc = 0;
	for (int i = 0; i < count; i++) {
		const char *name = virDomainCheckpointGetName(points[i]);
		if (rc == 0 && text_starts(name, what->prefix) && !site_kept(what, vm_id, name)) {
			rc = libvirt_checkpoint_delete(domain, name, e);
			*removed += rc == 0;
		}
		virDomainCheckpointFree(points[i]);
	}
	free(points);
out:
	point_xml_release(&job);
	free(prefix);
	return rc;
}

static int sweep_files(struct libvirt_site *s, const struct site_removal *what, unsigned *removed,
		       struct err *e)
{
	DIR *dir = opendir(s->scratch_dir);
	if (!dir)
		return err_errno(e, errno, "cannot read %s", s->scratch_dir);
	int rc = 0;
	struct dirent *entry;
	while (rc == 0 && (entry = readdir(dir))) {
		if (!text_starts(entry->d_name, "p-") || strlen(entry->d_name) != 18)
			continue;
		char *path = xasprintf("%s/%s", s->scratch_dir, entry->d_name);
		if (!dir_is_kept(s, path, strlen(path), what)) {
			libvirt_offline_stop(path);
			rc = file_remove_tree(path, e);
			*removed += rc == 0;
		}
		free(path);
	}
	closedir(dir);
	return rc;
}

/* One point; its machine, or libvirt itself, may not know it any more. */
static int forget(struct libvirt_site *s, const struct site_keep *point, unsigned *removed,
		  struct err *e)
{
	virDomainPtr domain;
	struct err why = {0};
	if (libvirt_domain(s, point->vm_id, &domain, &why) < 0)
		return why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
	int rc = libvirt_checkpoint_delete(domain, point->point, e);
	virDomainFree(domain);
	*removed += rc == 0;
	return rc;
}

int libvirt_sweep(struct site *site, const struct site_removal *what, unsigned *removed,
		  struct err *e)
{
	struct libvirt_site *s = (struct libvirt_site *)site;
	virConnectPtr c;
	virDomainPtr *domains = NULL;
	if (what->only)
		return forget(s, what->only, removed, e);
	if (libvirt_connection(s, &c, e) < 0)
		return -1;
	int rc = 0, count = virConnectListAllDomains(c, &domains, 0);
	virConnectClose(c);
	if (count < 0)
		return libvirt_err(e, "the machines at %s cannot be listed", s->uri);
	for (int i = 0; i < count; i++) {
		/* One stubborn machine must not keep the rubbish of the others; the first sentence
		 * is told. */
		struct err *first = rc == 0 ? e : NULL;
		if (sweep_domain(s, domains[i], what, removed, first) < 0)
			rc = -1;
		virDomainFree(domains[i]);
	}
	free(domains);
	if (rc < 0)
		return -1;
	return sweep_files(s, what, removed, e);
}
