// SPDX-License-Identifier: Apache-2.0
/* Of the mutex: the intake's notes take it on the intake's thread, so it is never held while the
 * intake is asked for something. */
#include "job/overlay.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/wire.h"

#define COMMITS_MAX 8
#define FORGET_MS   (60ll * 60 * 1000) /* nothing was heard of it for so long */
#define GROUP	    "overlay"

struct commit_disk {
	bool begun;
	char hex[NAME_HEX_BYTES]; /* "" until it is whole */
	int64_t bytes_new, bytes_stored;
};

struct commit {
	char id[ID_BYTES]; /* "": free */
	struct image_row image;
	struct commit_disk disks[LIMIT_DISKS_PER_SERVER];
	char failure[LIMIT_SENTENCE_BYTES];
	int64_t touched;
};

struct overlay_commits {
	struct service *service;
	struct intake *intake;
	pthread_mutex_t mutex;
	struct commit items[COMMITS_MAX];
};

struct overlay_commits *overlay_commits_new(struct service *service, struct intake *intake)
{
	struct overlay_commits *all = xcalloc(1, sizeof *all);

	all->service = service;
	all->intake = intake;
	pthread_mutex_init(&all->mutex, NULL);
	return all;
}

static struct commit *find(struct overlay_commits *all, const char *id)
{
	for (unsigned i = 0; i < COMMITS_MAX; i++)
		if (*id && text_equal(all->items[i].id, id))
			return &all->items[i];
	return NULL;
}

static void forget(struct commit *c)
{
	shape_release(meta_images.shape, &c->image);
	*c = (struct commit){0};
}

static int load_image(struct service *s, const char *id, struct image_row *image, struct err *e)
{
	struct meta_tx *tx;
	struct err none;
	int result;

	if (meta_begin(s->meta, false, &tx, e) < 0)
		return -1;
	result = meta_get(tx, &meta_images, id, image, e);
	meta_end(tx, true, &none);
	if (result == 0 && (!text_equal(image->state, "available") || !image->disks.count)) {
		shape_release(meta_images.shape, image);
		result = err_set(e, ERR_NOT_FOUND, "image %s was deleted", id);
	}
	return result;
}

/* Disks that are not begun will be those of the image: keep them, though it be deleted meanwhile. */
static int keep_base(struct overlay_commits *all, const char *id, const struct buf *data,
		     struct err *e)
{
	char *ref = xasprintf(RUN_REF_PREFIX "%s.base", id);
	int result = intake_ref_set(all->intake, ref, data->data, data->len, e);

	free(ref);
	return result;
}

int overlay_commit_begin(struct overlay_commits *all, const char *image_id, int64_t now,
			 char id_out[ID_BYTES], struct err *e)
{
	struct image_row image = {0};
	struct commit *c = NULL;
	struct buf data = {0};
	char given_up[COMMITS_MAX][ID_BYTES] = {{0}};
	int result;

	if (load_image(all->service, image_id, &image, e) < 0)
		return -1;
	service_image_ref(&image, &data);
	pthread_mutex_lock(&all->mutex);
	for (unsigned i = 0; i < COMMITS_MAX && !c; i++) {
		struct commit *at = &all->items[i];

		if (at->id[0] && now - at->touched > FORGET_MS) {
			memcpy(given_up[i], at->id, ID_BYTES);
			forget(at);
		}
		if (!at->id[0])
			c = at;
	}
	if (c) {
		id_make(c->id, "commit-", 16);
		memcpy(id_out, c->id, ID_BYTES);
		c->image = image;
		c->touched = now;
	}
	pthread_mutex_unlock(&all->mutex);
	/* Without the mutex: the intake's notes take it. */
	for (unsigned i = 0; i < COMMITS_MAX; i++)
		if (given_up[i][0])
			intake_forget(all->intake, given_up[i], NULL);
	if (c) {
		result = keep_base(all, id_out, &data, e);
	} else {
		shape_release(meta_images.shape, &image);
		result = err_set(e, ERR_BUSY, "%d overlays are being committed; wait for one",
				 COMMITS_MAX);
	}
	buf_release(&data);
	return result;
}

static int dial(const struct service *s, const char *name, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t room = sizeof address.sun_path;
	int fd;

	if ((size_t)snprintf(address.sun_path, room, "%s/run/%s.sock", s->state_dir, name) >= room)
		return err_set(e, ERR_INVALID, "the socket's path is too long");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	err_errno(e, errno, "cannot reach the sender at '%s'", address.sun_path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* What the intake is told of a disk; marks it begun. */
static int describe(struct overlay_commits *all, const char *id, int64_t number, int64_t now,
		    struct intake_job *job, struct err *e)
{
	const struct image_disk *disk;
	char unique[ID_BYTES];
	struct name root;
	struct commit *c = find(all, id);

	if (!c)
		return err_set(e, ERR_NOT_FOUND, "there is no commit '%.60s': begin it again", id);
	if (number < 0 || number >= (int64_t)c->image.disks.count)
		return err_set(e, ERR_INVALID, "image %s has no disk %lld", c->image.id,
			       (long long)number);
	if (c->disks[number].begun)
		return err_set(e, ERR_CONFLICT, "disk %lld is being committed already",
			       (long long)number);
	disk = (const struct image_disk *)c->image.disks.items + number;
	if (!name_parse(disk->root, &root))
		return err_set(e, ERR_CORRUPT, "disk %lld of image %s has no valid root",
			       (long long)number, c->image.id);
	id_make(unique, "", 16);
	text_set(&job->stream_id, unique);
	text_set(&job->group, GROUP);
	text_set(&job->run_id, id);
	text_set(&job->point, id);
	job->number = number;
	job->size_bytes = disk->size_bytes;
	bytes_set(&job->base_root, root.bytes, NAME_BYTES);
	c->disks[number].begun = true;
	c->touched = now;
	return 0;
}

int overlay_commit_disk(struct overlay_commits *all, const char *id, int64_t number,
			const char *socket_name, int64_t now, struct err *e)
{
	struct intake_job job = {0};
	int fd, result;

	pthread_mutex_lock(&all->mutex);
	result = describe(all, id, number, now, &job, e);
	pthread_mutex_unlock(&all->mutex);
	if (result == 0) {
		fd = dial(all->service, socket_name, e);
		result = fd < 0 ? -1 : intake_stream(all->intake, &job, fd, e);
	}
	shape_release(&intake_job_shape, &job);
	return result;
}

bool overlay_commit_note(struct overlay_commits *all, enum intake_type type,
			 const struct intake_note *note)
{
	struct commit_disk *disk;
	struct commit *c;

	if (!all || !note->run_id || !text_starts(note->run_id, "commit-"))
		return false;
	pthread_mutex_lock(&all->mutex);
	c = find(all, note->run_id);
	if (c && note->number >= 0 && note->number < (int64_t)c->image.disks.count) {
		disk = &c->disks[note->number];
		if (type == INTAKE_PROGRESS) {
			disk->bytes_new = note->bytes_new;
		} else if (type == INTAKE_FINISHED && note->root.len == NAME_BYTES) {
			struct name root;

			memcpy(root.bytes, note->root.data, NAME_BYTES);
			name_hex(&root, disk->hex);
			disk->bytes_stored = note->bytes_stored;
		} else if (note->kind) {
			snprintf(c->failure, sizeof c->failure, "%s",
				 note->text ? note->text : note->kind);
		}
	}
	pthread_mutex_unlock(&all->mutex);
	return true;
}

/* The image that a commit makes: the one before, with the versions that came. */
static int describe_image(struct commit *c, int64_t now, struct image_row *image, struct err *e)
{
	struct image_disk *disks;
	struct name digest;
	char hex[NAME_HEX_BYTES];

	if (c->failure[0])
		return err_set(e, ERR_CONFLICT, "%s", c->failure);
	shape_copy(meta_images.shape, image, &c->image);
	name_of(c->id, strlen(c->id), &digest);
	name_hex(&digest, hex);
	text_set(&image->overlay_of, c->image.id);
	text_setf(&image->id, "ami-%.17s", hex);
	text_set(&image->run_id, NULL);
	text_set(&image->verdict, "not tested");
	text_set(&image->verdict_text, NULL);
	text_set(&image->evidence, NULL);
	image->verdict_at = 0;
	image->created = now;
	image->bytes_new = image->bytes_stored = 0;
	disks = image->disks.items;
	for (size_t i = 0; i < image->disks.count; i++) {
		if (!c->disks[i].begun)
			continue;
		if (!c->disks[i].hex[0])
			return err_set(e, ERR_CONFLICT, "disk %zu did not come whole", i);
		text_set(&disks[i].root, c->disks[i].hex);
		image->bytes_new += c->disks[i].bytes_new;
		image->bytes_stored += c->disks[i].bytes_stored;
	}
	return 0;
}

/* The store says "this version exists" before the rows do (store.h, invariant 3). */
static int record(struct overlay_commits *all, const struct image_row *image, struct err *e)
{
	char *ref = xasprintf("image-%s", image->id);
	struct buf data = {0};
	struct meta_tx *tx;
	struct err none;
	int result;

	service_image_ref(image, &data);
	result = intake_ref_set(all->intake, ref, data.data, data.len, e);
	if (result == 0)
		result = meta_begin(all->service->meta, true, &tx, e);
	if (result == 0) {
		result = meta_put(tx, &meta_images, image, e);
		if (meta_end(tx, result == 0, result == 0 ? e : &none) < 0)
			result = -1;
	}
	buf_release(&data);
	free(ref);
	return result;
}

int overlay_commit_end(struct overlay_commits *all, const char *id, int64_t now,
		       char image_id_out[ID_BYTES], struct err *e)
{
	struct image_row image = {0};
	struct commit *c;
	struct err none;
	int result = intake_settle(all->intake, e);

	if (result < 0)
		return -1;
	pthread_mutex_lock(&all->mutex);
	c = find(all, id);
	if (c) {
		result = describe_image(c, now, &image, e);
		forget(c);
	} else {
		result = err_set(e, ERR_NOT_FOUND, "there is no commit '%.60s': begin it again",
				 id);
	}
	pthread_mutex_unlock(&all->mutex);
	if (result == 0)
		result = record(all, &image, e);
	if (result == 0) {
		snprintf(image_id_out, ID_BYTES, "%s", image.id);
		log_info("an overlay of image %s is committed as image %s", image.overlay_of,
			 image.id);
		if (intake_forget(all->intake, id, &none) < 0)
			log_warn("commit %s: its journal stays behind: %s", id, none.text);
	}
	shape_release(meta_images.shape, &image);
	return result;
}
