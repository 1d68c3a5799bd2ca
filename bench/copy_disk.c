// SPDX-License-Identifier: Apache-2.0
/*
 * The copying half of godwit on one raw file, without service or hypervisor, for the benchmarks:
 *   copy_disk STORE DISK [ROOT [CHANGED]]
 * DISK is read as a file, or with NBD=1 served by nbdkit; sender and receiver run in this process as they do in two. ROOT is the
 * base version, CHANGED a file of "offset length" lines; without it everything is read. Prints the
 * root and the counters.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "copy/copy.h"
#include "io/file.h"
#include "io/process.h"

static void check(int r, const struct err *e)
{
	if (r < 0) {
		fprintf(stderr, "copy_disk: %s\n", e->text);
		exit(1);
	}
}

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	for (int i = 0; i < 500; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		close(fd);
		clock_sleep_ms(10);
	}
	fprintf(stderr, "copy_disk: nbdkit does not answer\n");
	exit(1);
}

struct nbd {
	pid_t pid;
	int fds[2];
};

static void nbd_start(struct nbd *nbd, const char *dir, const char *disk, struct copy_source *from)
{
	struct err e = {0};
	char *socket_path = xasprintf("%s/nbd", dir);
	const char *nbdkit[] = {"nbdkit", "-f", "-U", socket_path, "-r", "file", disk, NULL};
	struct process_plan plan = {.argv = nbdkit};
	check(process_start(&plan, &nbd->pid, &e), &e);
	for (int i = 0; i < 2; i++)
		nbd->fds[i] = dial(socket_path);
	from->nbd_fds = nbd->fds;
	from->nbd_count = 2;
	from->export_name = "";
}

static void nbd_stop(struct nbd *nbd)
{
	if (!nbd->pid)
		return;
	close(nbd->fds[0]); /* nbdkit ends only after its clients */
	close(nbd->fds[1]);
	process_stop(nbd->pid, 1000);
}

struct receiver {
	struct store *store;
	struct copy_intake job;
	int fd;
	struct door_progress progress;
};

static int note(void *context, const struct door_progress *p, const struct door_finished *finished)
{
	struct receiver *r = context;
	(void)finished;
	if (p)
		r->progress = *p;
	return 0;
}

static void *receive(void *arg)
{
	struct receiver *r = arg;
	struct err e = {0};
	struct stream *s = stream_of_fd(r->fd);
	check(copy_receive(r->store, &r->job, s, note, r, &e), &e);
	stream_close(s);
	return NULL;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct stat st;
	if (argc < 3 || stat(argv[2], &st) < 0) {
		fputs("usage: copy_disk STORE DISK [ROOT [CHANGED]]\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	char dir[] = "/tmp/copy_disk.XXXXXX";
	if (!mkdtemp(dir))
		return 1;
	struct receiver r = {.job = {.group = "bench",
				     .run_id = "bench",
				     .point = dir,
				     .size_bytes = (uint64_t)st.st_size,
				     .journal_dir = dir}};
	check(store_open(argv[1], true, true, &r.store, &e), &e);
	const char *level = getenv("LEVEL"); /* of zstd, else the default */
	struct nbd nbd = {.pid = 0};
	struct copy_source from = {.full = true, .level = level ? atoi(level) : 0};
	struct extents changed = {0};
	if (argc > 3 && !name_parse(argv[3], &r.job.base_root))
		return 2;
	if (argc > 4) {
		FILE *f = fopen(argv[4], "r");
		unsigned long long offset, length;
		while (f && fscanf(f, "%llu %llu", &offset, &length) == 2)
			extents_append(&changed, offset, length);
		from.changed = &changed;
		from.full = false;
	}
	if (getenv("NBD"))
		nbd_start(&nbd, dir, argv[2], &from);
	else
		from.file_fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 1;
	r.fd = pair[0];
	pthread_t thread;
	pthread_create(&thread, NULL, receive, &r);
	struct stream *to = stream_of_fd(pair[1]);
	struct door_finished finished = {0};
	check(copy_send(&from, to, &finished, &e), &e);
	pthread_join(thread, NULL);
	struct name root;
	char hex[NAME_HEX_BYTES];
	memcpy(root.bytes, finished.root.data, NAME_BYTES);
	name_hex(&root, hex);
	printf("root=%s read=%lld new=%lld sent=%lld stored=%lld chunks=%lld chunks_new=%lld\n",
	       hex, (long long)r.progress.bytes_read, (long long)r.progress.bytes_new,
	       (long long)r.progress.bytes_sent, (long long)finished.bytes_stored,
	       (long long)r.progress.chunks, (long long)r.progress.chunks_new);
	stream_close(to);
	store_close(r.store);
	nbd_stop(&nbd);
	check(file_remove_tree(dir, &e), &e);
	return 0;
}
