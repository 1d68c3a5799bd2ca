// SPDX-License-Identifier: Apache-2.0
/*
 * Points of domains that are switched off: their files do not change while nobody starts them, so a
 * read-only qemu-nbd on each is the point. QEMU's image lock keeps a machine from starting over a
 * qcow2 file that is being read; for every format, poll notices a start and a write.
 */
#include "site/libvirt.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "io/file.h"
#include "io/process.h"

#define SERVER_START_MS (20 * 1000)

/* When the file was last written; 0 for a block device, which does not tell. */
static int64_t stamp(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
}

/* The server of a disk: its pid when its pid file and its command line agree, else 0. */
static pid_t server_pid(const char *dir, const char *key)
{
	struct buf text = {0};
	char *path = xasprintf("%s/%s.pid", dir, key), *socket = xasprintf("%s/%s.sock", dir, key);
	int64_t pid = 0;
	if (file_read(path, 64, &text, NULL) == 0) {
		char *line = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
		if (number_parse("pid", line, 2, INT32_MAX, &pid, NULL) < 0)
			pid = 0;
		free(line);
	}
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/%lld/cmdline", (long long)pid);
	FILE *f = pid ? fopen(proc, "re") : NULL;
	char line[8192];
	size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
	if (f)
		fclose(f);
	line[n] = '\0';
	if (!n || !strstr(line, "qemu-nbd") || !memmem(line, n, socket, strlen(socket)))
		pid = 0;
	free(path);
	free(socket);
	buf_release(&text);
	return (pid_t)pid;
}

/* It may be our child or that of a connector before us. */
static void server_stop(const char *dir, const char *key)
{
	pid_t pid = server_pid(dir, key);
	int64_t until = clock_mono_ms() + 3000;
	if (!pid)
		return;
	kill(pid, SIGTERM);
	while (server_pid(dir, key) == pid && clock_mono_ms() < until)
		clock_sleep_ms(20);
	if (server_pid(dir, key) == pid)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, WNOHANG);
}

void libvirt_offline_stop(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	while (d && (entry = readdir(d))) {
		char *dot = strrchr(entry->d_name, '.');
		if (!dot || strcmp(dot, ".pid") != 0)
			continue;
		*dot = '\0';
		server_stop(dir, entry->d_name);
	}
	if (d)
		closedir(d);
}

static int server_start(const struct site_point *p, const struct machine_disk *disk, struct err *e)
{
	const struct libvirt_point *state = p->state;
	char *socket = xasprintf("%s/%s.sock", state->dir, disk->key);
	char *pid_file = xasprintf("%s/%s.pid", state->dir, disk->key);
	char *log = xasprintf("%s/%s.log", state->dir, disk->key);
	const char *const argv[] = {"qemu-nbd",	  "-r", "-t",	    "-e",	  "8",	    "-k",
				    socket,	  "-x", disk->key,  "--pid-file", pid_file, "-f",
				    disk->format, "--", disk->path, NULL};
	/* It outlives us, so that a restarted connector finds the very same point. */
	struct process_plan plan = {.argv = argv, .log_file = log, .keep_alive = true};
	pid_t pid;
	int rc = process_start(&plan, &pid, e);
	int64_t until = clock_mono_ms() + SERVER_START_MS;
	while (rc == 0) {
		int fd, status;
		if (libvirt_dial(socket, &fd, NULL) == 0) {
			close(fd);
			break;
		}
		if (process_wait(pid, 20, &status, NULL) != 0) {
			struct buf said = {0};
			file_read(log, 4096, &said, NULL);
			rc = err_set(e, ERR_BUSY, "disk %s cannot be opened: %.300s", disk->key,
				     said.len ? buf_str(&said) : "qemu-nbd ended");
			buf_release(&said);
		} else if (clock_mono_ms() > until) {
			process_stop(pid, 1000);
			rc = err_set(e, ERR_UNAVAILABLE, "qemu-nbd did not start on disk %s",
				     disk->key);
		}
	}
	free(socket);
	free(pid_file);
	free(log);
	return rc;
}

/* The stamps of the disks are in a file, for a resume. */
static int stamps_write(const struct site_point *p, struct err *e)
{
	const struct libvirt_point *state = p->state;
	char *path = xasprintf("%s/stamps", state->dir);
	int rc = file_write(path, state->stamps, sizeof state->stamps, 0600, e);
	free(path);
	return rc;
}

static int attach(struct site_point *p, struct err *e)
{
	struct libvirt_point *state = p->state;
	char *path = xasprintf("%s/stamps", state->dir);
	struct buf stamps = {0};
	bool whole = file_read(path, sizeof state->stamps, &stamps, NULL) == 0 &&
		     stamps.len == sizeof state->stamps;
	if (whole)
		memcpy(state->stamps, stamps.data, stamps.len);
	buf_release(&stamps);
	free(path);
	const struct machine_disk *disks = p->machine.disks.items;
	for (unsigned i = 0; i < p->disk_count && whole; i++)
		whole = server_pid(state->dir, disks[i].key) &&
			stamp(disks[i].path) == state->stamps[i];
	return whole ? 0 : err_set(e, ERR_NOT_FOUND, "point %s does not exist any more", p->point);
}

int libvirt_offline_begin(struct libvirt_site *s, const struct site_want *want,
			  struct site_point *p, struct err *e)
{
	struct libvirt_point *state = p->state;
	const struct machine_disk *disks = p->machine.disks.items;
	p->keeps = false;
	for (unsigned i = 0; i < p->disk_count; i++)
		text_setf(&p->disks[i].full_reason,
			  "%.100s is switched off: changes are tracked only while it runs; "
			  "everything is read and only what is new is sent",
			  p->machine.name);
	if (want->resume)
		return attach(p, e);
	libvirt_offline_stop(state->dir);
	if (file_remove_tree(state->dir, e) < 0 || libvirt_point_dir_make(s, p, NULL, e) < 0)
		return -1;
	for (unsigned i = 0; i < p->disk_count; i++)
		state->stamps[i] = stamp(disks[i].path);
	int rc = stamps_write(p, e);
	for (unsigned i = 0; i < p->disk_count && rc == 0; i++)
		rc = server_start(p, &disks[i], e);
	if (rc < 0) {
		libvirt_offline_stop(state->dir);
		file_remove_tree(state->dir, NULL);
	}
	return rc;
}

int libvirt_offline_poll(virDomainPtr domain, struct site_point *p, struct err *e)
{
	const struct libvirt_point *state = p->state;
	const struct machine_disk *disks = p->machine.disks.items;
	if (virDomainIsActive(domain) == 1)
		return err_set(e, ERR_UNAVAILABLE, "%.100s was started during the copy",
			       p->machine.name);
	for (unsigned i = 0; i < p->disk_count; i++) {
		if (stamp(disks[i].path) != state->stamps[i])
			return err_set(e, ERR_UNAVAILABLE, "disk %s was written during the copy",
				       disks[i].key);
		if (!server_pid(state->dir, disks[i].key))
			return err_set(e, ERR_UNAVAILABLE, "the NBD server of disk %s ended",
				       disks[i].key);
	}
	return 0;
}
