// SPDX-License-Identifier: Apache-2.0
/*
 * From the store back to disks: a version as a block device (NBD, by the nbdkit plugin
 * nbdkit-godwit-plugin.so), as a file, or under a copy-on-write overlay.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "block/extent.h"
#include "block/name.h"
#include "store/store.h"

/* --- reading a version (the plugin and others) --- */

struct version;	      /* an open version: its tree; thread-safe */
struct version_cache; /* pages and plain chunks, bounded, for any number of versions of one store */

struct version_cache *version_cache_new(uint64_t bytes);
/* After the versions that use it are closed. */
void version_cache_free(struct version_cache *cache);

/* Several reads that want a chunk at once have it loaded by one of them; one who reads in order
 * finds the next chunks loaded. No lock is held while the store is read. */
int version_open(struct store *store, const struct name *root, struct version_cache *cache,
		 struct version **out, struct err *e);
void version_close(struct version *v);
uint64_t version_size(const struct version *v);
int version_read(struct version *v, void *to, uint64_t offset, uint32_t length, struct err *e);
/* The extent at `offset`: its length (at most `length`, and perhaps shorter than it goes on) and
 * whether it reads as zero. */
int version_extent(struct version *v, uint64_t offset, uint64_t length, uint64_t *extent_length,
		   bool *zero, struct err *e);

/* Data that begins in a range, in order, each chunk once and not through the cache; what is not
 * told of is zero. `data` is borrowed. Non-zero from the function ends it (with its error). */
typedef int version_piece_fn(void *context, uint64_t offset, const void *data, uint32_t length,
			     struct err *e);
int version_each(struct version *v, uint64_t offset, uint64_t length, version_piece_fn *piece,
		 void *context, struct err *e);
/* A handy length for it: how far it is from `offset` to where work may be divided. */
uint64_t version_stretch(const struct version *v, uint64_t offset);

/* Where two versions differ, to the block; what only the larger one has is different. */
int version_diff(struct version *a, struct version *b, struct extents *out, struct err *e);

/* How far something is, in bytes of the disk. */
typedef void image_step_fn(void *context, uint64_t done, uint64_t total);
/* Write all data to its place in an empty file, with a thread for each processor. */
int version_write(struct version *v, int fd, image_step_fn *step, void *context, struct err *e);

/* --- serving --- */

struct serve_disk {
	const char *export_name; /* "disk0", … */
	struct name root;
};

/* Start nbdkit with our plugin on a unix socket (mode 0600) with the given exports, read-only;
 * returns when it accepts connections. The child dies with the calling thread unless keep_alive;
 * `log_file` (may be NULL) gets what it says. The plugin is found beside the running program, or
 * where GODWIT_LIBEXEC points. */
int image_serve(const char *store_where, const struct serve_disk *disks, unsigned count,
		const char *socket_path, const char *log_file, bool keep_alive, pid_t *pid,
		struct err *e);

/* Make a qcow2 file over an export of a served socket (qemu-img create -b nbd+unix://…), aside and
 * renamed; size 0 is the export's own. */
int image_overlay(const char *socket_path, const char *export_name, uint64_t size_bytes,
		  const char *overlay_path, struct err *e);

/* An overlay as it is served: FILE over an export of the base's socket. */
struct overlay_disk {
	const char *export_name, *base_export, *file;
};
/* Serve overlays by qemu-storage-daemon on a unix socket (mode 0600), with the allocation depth as
 * a context; returns when it accepts connections. The child dies with the calling thread. What a
 * client flushed survives any death; an overlay is opened by one writer at a time. A base whose
 * server is gone is waited for for a minute. */
int image_serve_overlays(const char *base_socket, const struct overlay_disk *disks, unsigned count,
			 bool writable, const char *socket_path, const char *log_file, pid_t *pid,
			 struct err *e);

/* The formats of an export, for people: "raw, qcow2, …". */
extern const char image_formats[];
/* ERR_INVALID, naming those there are. */
int image_format_check(const char *format, struct err *e);

/* Write a version to a file, sparse: raw straight from the store, the others by qemu-img over our
 * NBD export. Written aside ("PATH.part") and renamed, so that a file of that name is always whole;
 * ERR_FULL when there is no room for it. `scratch_dir` is the caller's, empty. */
int image_export(const char *store_where, const struct name *root, const char *format,
		 const char *path, const char *scratch_dir, image_step_fn *step, void *context,
		 struct err *e);

#endif
