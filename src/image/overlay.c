// SPDX-License-Identifier: Apache-2.0
/* Copy-on-write overlays: qcow2 files over exports of ours, made by qemu-img and served by
 * qemu-storage-daemon. */
#include "image/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "image/serve.h"
#include "io/process.h"

#define OVERLAY_MS  60000
#define RECONNECT_S 60 /* a base that is gone so long is gone */
#define ARGS_EACH   6
#define ARGS_AROUND 8

int image_overlay(const char *socket_path, const char *export_name, uint64_t size_bytes,
		  const char *overlay_path, struct err *e)
{
	char *uri = serve_uri(socket_path, export_name);
	char *part = xasprintf("%s.part", overlay_path);
	char *size = xasprintf("%" PRIu64, size_bytes);
	const char *const argv[] = {"qemu-img",
				    "create",
				    "-q",
				    "-f",
				    "qcow2",
				    "-F",
				    "raw",
				    "-b",
				    uri,
				    part,
				    size_bytes ? size : NULL,
				    NULL};
	struct process_plan plan = {.argv = argv};
	int result = process_run(&plan, OVERLAY_MS, 0, NULL, e);

	if (result == 0 && rename(part, overlay_path) < 0)
		result = err_errno(e, errno, "cannot rename it");
	if (result < 0) {
		unlink(part);
		err_prefix(e, "cannot make the overlay '%s'", overlay_path);
	}
	free(size);
	free(part);
	free(uri);
	return result;
}

/* A value among the options of qemu: a comma is doubled. */
static char *option_value(const char *value)
{
	struct buf out = {0};

	for (const char *p = value; *p; p++) {
		if (*p == ',')
			buf_add_byte(&out, ',');
		buf_add_byte(&out, (uint8_t)*p);
	}
	return buf_detach_str(&out);
}

static unsigned describe_disk(char **argv, const char *base_socket, const struct overlay_disk *disk,
			      unsigned i, bool writable)
{
	char *base = option_value(base_socket), *file = option_value(disk->file);
	const char *read_only = writable ? "off" : "on";
	unsigned n = 0;

	argv[n++] = xstrdup("--blockdev");
	argv[n++] = xasprintf("driver=nbd,node-name=base%u,read-only=on,server.type=unix,"
			      "server.path=%s,export=%s,reconnect-delay=%d",
			      i, base, disk->base_export, RECONNECT_S);
	argv[n++] = xstrdup("--blockdev");
	argv[n++] = xasprintf("driver=qcow2,node-name=over%u,read-only=%s,discard=unmap,"
			      "backing=base%u,file.driver=file,file.filename=%s",
			      i, read_only, i, file);
	argv[n++] = xstrdup("--export");
	argv[n++] = xasprintf("type=nbd,id=export%u,node-name=over%u,name=%s,writable=%s,"
			      "allocation-depth=on",
			      i, i, disk->export_name, writable ? "on" : "off");
	free(base);
	free(file);
	return n;
}

int image_serve_overlays(const char *base_socket, const struct overlay_disk *disks, unsigned count,
			 bool writable, const char *socket_path, const char *log_file, pid_t *pid,
			 struct err *e)
{
	char **argv = xcalloc(ARGS_AROUND + (size_t)count * ARGS_EACH, sizeof *argv);
	char *path = option_value(socket_path);
	struct process_plan plan = {.argv = (const char *const *)argv, .log_file = log_file};
	unsigned n = 0;
	int result;

	argv[n++] = xstrdup("qemu-storage-daemon");
	argv[n++] = xstrdup("--nbd-server");
	argv[n++] = xasprintf("addr.type=unix,addr.path=%s,max-connections=64", path);
	for (unsigned i = 0; i < count; i++)
		n += describe_disk(argv + n, base_socket, &disks[i], i, writable);
	result = serve_start(&plan, "qemu-storage-daemon", socket_path, pid, e);
	for (unsigned i = 0; i < n; i++)
		free(argv[i]);
	free(argv);
	free(path);
	return result;
}
