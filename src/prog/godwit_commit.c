// SPDX-License-Identifier: Apache-2.0
/* image commit: what was written over an image becomes an image, or is dropped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "copy/copy.h"
#include "io/process.h"
#include "prog/godwit_overlay.h"

#define MAP_MS	(10 * 60 * 1000)
#define MAP_MAX (64 * MIB)

struct commit {
	struct cli *cli;
	struct local local;
	char *files[LIMIT_DISKS_PER_SERVER]; /* NULL: the disk has no overlay */
	char *stem;			     /* of the sockets: STATE/run/commit-… */
	char id[ID_BYTES];		     /* its last part */
	char *base, *over, *sender;	     /* sockets */
	pid_t base_server, over_server;
	char *commit_id;
};

static void commit_release(struct commit *c)
{
	if (c->over_server)
		process_stop(c->over_server, 5000);
	if (c->base_server)
		process_stop(c->base_server, 5000);
	char *paths[] = {c->base, c->over, c->sender};
	for (unsigned i = 0; i < COUNT_OF(paths); i++) {
		if (paths[i])
			unlink(paths[i]);
		free(paths[i]);
	}
	for (unsigned i = 0; i < LIMIT_DISKS_PER_SERVER; i++)
		free(c->files[i]);
	free(c->stem);
	free(c->commit_id);
	local_release(&c->local);
}

static int64_t disk_size(const struct local *l, unsigned i)
{
	return number_of(json_array_get(l->disks, i), "sizeBytes");
}

/* The image, and which of its disks have an overlay. */
static int find_files(struct commit *c, const char *file, struct err *e)
{
	struct overlay_info info;
	unsigned found = 0;

	if (overlay_read(file, &info, e) < 0 ||
	    local_open_image(c->cli, info.image_id, &c->local, e) < 0)
		return -1;
	for (unsigned i = 0; i < c->local.count; i++) {
		char *path = overlay_file(file, i);

		if (access(path, F_OK) < 0) {
			free(path);
			continue;
		}
		c->files[i] = path;
		found++;
		if (overlay_check(path, info.image_id, i, disk_size(&c->local, i), e) < 0)
			return -1;
	}
	return found ? 0
		     : err_set(e, ERR_NOT_FOUND, "there is no overlay '%s' of a disk of %s", file,
			       info.image_id);
}

static int start_servers(struct commit *c, struct err *e)
{
	struct overlay_disk disks[LIMIT_DISKS_PER_SERVER];
	struct local *l = &c->local;
	unsigned count = 0;

	for (unsigned i = 0; i < l->count; i++) {
		overlay_export(l->names[i], sizeof l->names[i], text_of(l->image, "imageId"), i);
		if (c->files[i])
			disks[count++] = (struct overlay_disk){l->names[i], l->names[i],
							       c->files[i]};
	}
	if (image_serve(l->store, l->serve, l->count, c->base, NULL, false, &c->base_server, e) < 0)
		return -1;
	return image_serve_overlays(c->base, disks, count, false, c->over, NULL, &c->over_server,
				    e);
}

/* What is allocated in the overlay, as NBD's metadata tells it. */
static int read_map(const char *uri, struct extents *changed, struct err *e)
{
	const char *const argv[] = {"nbdinfo", "--json", "--map=qemu:allocation-depth", uri, NULL};
	struct process_plan plan = {.argv = argv};
	struct buf text = {0};
	json_t *map = NULL, *one;
	int result = process_run(&plan, MAP_MS, MAP_MAX, &text, e);
	size_t i;

	if (result == 0) {
		map = json_loads(buf_str(&text), 0, NULL);
		if (!json_is_array(map))
			result = err_set(e, ERR_IO, "nbdinfo told no map");
		json_array_foreach(map, i, one)
		{
			if (number_of(one, "type") == 1) /* in the file itself */
				extents_append(changed, (uint64_t)number_of(one, "offset"),
					       (uint64_t)number_of(one, "length"));
		}
	}
	json_decref(map);
	buf_release(&text);
	return result < 0 ? err_prefix(e, "what is in the overlay cannot be found out") : 0;
}

static int unix_socket(const char *path, bool listening, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct sockaddr *to = (const struct sockaddr *)&address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (fd >= 0 && (listening ? bind(fd, to, sizeof address) == 0 && listen(fd, 1) == 0
				  : connect(fd, to, sizeof address) == 0))
		return fd;
	err_errno(e, errno, "cannot use the socket '%s'", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The service comes to us and gets the disk. */
static int send_disk(struct commit *c, unsigned i, const struct extents *changed, struct err *e)
{
	struct copy_source from = {.export_name = c->local.names[i], .changed = changed};
	struct door_finished finished = {0};
	int listener = unix_socket(c->sender, true, e), fds[2] = {-1, -1}, fd, result = -1;

	if (listener < 0)
		return -1;
	if (call_godwit(c->cli, "CommitImageDisk",
			json_pack("{s:s, s:i, s:s}", "commitId", c->commit_id, "disk", (int)i,
				  "socket", c->id),
			NULL, e) < 0)
		goto out;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "the service did not come for the disk");
		goto out;
	}
	struct stream *to = stream_of_fd(fd);
	for (unsigned k = 0; k < COUNT_OF(fds); k++)
		if ((fds[k] = unix_socket(c->over, false, e)) >= 0)
			from.nbd_count++;
	from.nbd_fds = fds;
	if (from.nbd_count == COUNT_OF(fds))
		result = copy_send(&from, to, &finished, e);
	stream_close(to);
	shape_release(&door_finished_shape, &finished);
	for (unsigned k = 0; k < COUNT_OF(fds); k++)
		if (fds[k] >= 0)
			close(fds[k]);
out:
	close(listener);
	unlink(c->sender);
	return result;
}

static int commit_disks(struct commit *c, uint64_t *bytes, struct err *e)
{
	for (unsigned i = 0; i < c->local.count; i++) {
		struct extents changed = {0};
		char *uri;
		int result;

		if (!c->files[i])
			continue;
		uri = xasprintf("nbd+unix:///%s?socket=%s", c->local.names[i], c->over);
		result = read_map(uri, &changed, e);
		if (result == 0)
			result = send_disk(c, i, &changed, e);
		*bytes += extents_total(&changed);
		extents_release(&changed);
		free(uri);
		if (result < 0)
			return err_prefix(e, "disk %u", i);
	}
	return 0;
}

static int commit(struct commit *c, struct err *e)
{
	const char *image_id = text_of(c->local.image, "imageId");
	json_t *answer;
	uint64_t bytes = 0;
	char size[24];

	id_make(c->id, "commit-", 8);
	c->stem = xasprintf("%s/run/%s", c->local.state, c->id);
	c->base = xasprintf("%s.base", c->stem);
	c->over = xasprintf("%s.over", c->stem);
	c->sender = xasprintf("%s.sock", c->stem);
	if (start_servers(c, e) < 0 ||
	    call_godwit(c->cli, "BeginImageCommit", json_pack("{s:s}", "imageId", image_id),
			&answer, e) < 0)
		return -1;
	c->commit_id = xstrdup(text_of(answer, "commitId"));
	json_decref(answer);
	if (commit_disks(c, &bytes, e) < 0 ||
	    call_godwit(c->cli, "EndImageCommit", json_pack("{s:s}", "commitId", c->commit_id),
			&answer, e) < 0)
		return -1;
	json_object_set_new(answer, "overlayOf", json_string(image_id));
	json_object_set_new(answer, "bytesChanged", json_integer((json_int_t)bytes));
	size_text(bytes, size);
	if (c->cli->json)
		show_json(answer);
	else
		printf("%s, written over %s, is image %s\n", size, image_id,
		       text_of(answer, "imageId"));
	json_decref(answer);
	return 0;
}

/* Only what is an overlay of ours, and in use by nobody. */
static int drop(struct cli *c, const char *file, struct err *e)
{
	unsigned dropped = 0;

	for (unsigned i = 0; i < LIMIT_DISKS_PER_SERVER; i++) {
		char *path = overlay_file(file, i);
		struct overlay_info info;
		int result = 0;

		if (i == 0 || access(path, F_OK) == 0) {
			result = overlay_read(path, &info, e);
			if (result == 0 && unlink(path) < 0)
				result = err_errno(e, errno, "cannot remove '%s'", path);
			dropped++;
		}
		free(path);
		if (result < 0)
			return -1;
	}
	if (c->json)
		printf("{\"dropped\": %u}\n", dropped);
	else
		printf("What was written into '%s' is dropped.\n", file);
	return 0;
}

int cmd_image_commit(struct cli *cli, struct err *e)
{
	struct commit c = {.cli = cli};
	int result;

	if (cli_value(cli, "drop"))
		return drop(cli, cli->args[0], e);
	result = find_files(&c, cli->args[0], e);
	if (result == 0)
		result = commit(&c, e);
	commit_release(&c);
	return result;
}
