// SPDX-License-Identifier: Apache-2.0
/*
 * What was written over an image becomes an image: the commit of a copy-on-write overlay. Who has
 * the overlay sends what is allocated in it, disk by disk, as an increment over the image's
 * versions; its streams come in through unix sockets in the service's own folder, from a program
 * of this machine. Commits in progress are kept in memory: after a restart they are begun again, and
 * what was stored is not stored twice.
 */
#ifndef JOB_OVERLAY_H
#define JOB_OVERLAY_H

#include "copy/intake.h"
#include "job/service.h"

struct overlay_commits;

struct overlay_commits *overlay_commits_new(struct service *service, struct intake *intake);

/* ERR_NOT_FOUND: there is no such image; ERR_BUSY: too many commits at once. */
int overlay_commit_begin(struct overlay_commits *all, const char *image_id, int64_t now,
			 char id_out[ID_BYTES], struct err *e);
/* Take a disk (its index in the image) from who listens at STATE/run/<socket>.sock and sends as
 * copy_send does. Returns when the stream is with the intake. */
int overlay_commit_disk(struct overlay_commits *all, const char *id, int64_t number,
			const char *socket, int64_t now, struct err *e);
/* When every disk that was begun is whole, the image is recorded: disks that were not begun are
 * those of the image before. ERR_CONFLICT when a disk is not whole. The commit is over either way. */
int overlay_commit_end(struct overlay_commits *all, const char *id, int64_t now,
		       char image_id_out[ID_BYTES], struct err *e);
/* What the intake says: true when it is about a commit. */
bool overlay_commit_note(struct overlay_commits *all, enum intake_type type,
			 const struct intake_note *note);

#endif
