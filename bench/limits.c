// SPDX-License-Identifier: Apache-2.0
/*
 * What one core of this machine can do with the bytes of a disk, stage by stage:
 *   limits DISK SCRATCH-FOLDER
 * DISK is read up to MIB (256) MiB of data. Prints a line for each stage: MB/s and what it was
 * measured on. The same code as the copy uses, alone and warm.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "block/cutter.h"
#include "copy/copy.h"
#include "io/file.h"
#include "io/tls.h"

#define ROUNDS 3
#define PIECE  (1u << 20)

static uint8_t *data, *other;
static size_t bytes;
static struct runs *regions;
static size_t region_count;

static void check(int r, const struct err *e)
{
	if (r < 0) {
		fprintf(stderr, "limits: %s\n", e->text);
		exit(1);
	}
}

/* The stage's best of ROUNDS, on `n` bytes. */
static void stage(const char *what, void (*run)(const void *), const void *argument, uint64_t n)
{
	double best = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct timespec a, b;
		clock_gettime(CLOCK_MONOTONIC, &a);
		run(argument);
		clock_gettime(CLOCK_MONOTONIC, &b);
		double seconds = (double)(b.tv_sec - a.tv_sec) +
				 (double)(b.tv_nsec - a.tv_nsec) / 1e9;
		double rate = (double)n / 1e6 / seconds;
		best = rate > best ? rate : best;
	}
	printf("%-34s %8.0f\n", what, best);
	fflush(stdout);
}

/* Only what is data, one piece after the other, so that every stage works on real bytes. */
static void load(const char *path, size_t most)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = 0;
	data = xmalloc(most);
	other = xmalloc(most);
	memset(other, 1, most);
	while (bytes < most && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(fd, at, SEEK_HOLE);
		size_t n = (size_t)(end - at) < most - bytes ? (size_t)(end - at) : most - bytes;
		ssize_t got = pread(fd, data + bytes, n, at);
		if (got <= 0)
			break;
		bytes += (size_t)got;
		at += got;
	}
	close(fd);
	bytes = bytes / REGION_BYTES * REGION_BYTES;
	if (bytes == 0) {
		fputs("limits: the disk holds less than 64 MiB of data\n", stderr);
		exit(1);
	}
	region_count = bytes / REGION_BYTES;
	regions = xcalloc(region_count, sizeof *regions);
}

static void run_copy(const void *unused)
{
	(void)unused;
	memcpy(other, data, bytes);
}

static void run_cut(const void *unused)
{
	(void)unused;
	for (size_t i = 0; i < region_count; i++)
		cut_region(data + i * REGION_BYTES, REGION_BLOCKS, NULL, &regions[i]);
}

static void run_name(const void *unused)
{
	(void)unused;
	for (size_t i = 0; i < region_count; i++)
		name_runs(data + i * REGION_BYTES, &regions[i]);
}

static void run_name_alone(const void *unused)
{
	(void)unused;
	for (size_t i = 0; i < region_count; i++) {
		const uint8_t *at = data + i * REGION_BYTES;
		for (uint32_t k = 0; k < regions[i].count; k++) {
			size_t n = (size_t)regions[i].items[k].blocks * BLOCK_BYTES;
			if (regions[i].items[k].kind == RUN_DATA)
				name_of(at, n, &regions[i].items[k].name);
			at += n;
		}
	}
}

static uint64_t stored_bytes;
static struct record *records;
static size_t record_count;

/* Compress all chunks; keeps the records for the stage back. */
static void run_pack(const void *argument)
{
	int level = *(const int *)argument;
	struct buf scratch = {0};
	static uint8_t *kept;
	size_t used = 0;
	if (!kept)
		kept = xmalloc(bytes);
	record_count = 0;
	stored_bytes = 0;
	for (size_t i = 0; i < region_count; i++) {
		const uint8_t *at = data + i * REGION_BYTES;
		for (uint32_t k = 0; k < regions[i].count; k++) {
			uint32_t n = regions[i].items[k].blocks * BLOCK_BYTES;
			if (regions[i].items[k].kind == RUN_DATA) {
				struct record *r = &records[record_count++];
				record_pack(r, level == 100 ? CODEC_LZ4 : CODEC_ZSTD, level, at, n,
					    &scratch);
				memcpy(kept + used, r->stored, r->stored_len);
				r->stored = kept + used;
				used += r->stored_len;
			}
			at += n;
		}
	}
	stored_bytes = used;
	buf_release(&scratch);
}

static void run_unpack(const void *unused)
{
	struct buf plain = {0};
	(void)unused;
	for (size_t i = 0; i < record_count; i++) {
		buf_clear(&plain);
		check(record_unpack(&records[i], &plain, NULL), NULL);
	}
	buf_release(&plain);
}

static const char *scratch_dir;

static void run_disk(const void *argument)
{
	const int *flags = argument;
	char *path = xasprintf("%s/limits.out", scratch_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | *flags, 0600);
	void *piece;
	struct err e = {0};
	if (fd < 0 || posix_memalign(&piece, 4096, 4 * PIECE)) {
		fprintf(stderr, "limits: cannot write %s\n", path);
		exit(1);
	}
	for (size_t at = 0; at + 4 * PIECE <= bytes; at += 4 * PIECE) {
		memcpy(piece, data + at, 4 * PIECE);
		check(fd_write_at(fd, piece, 4 * PIECE, at, &e), &e);
	}
	fdatasync(fd);
	close(fd);
	unlink(path);
	free(piece);
	free(path);
}

static struct stream *tls_ends[2];

static void *accept_tls(void *server)
{
	struct err e = {0};
	int *fd = ((int **)server)[1];
	check(tls_accept(((struct tls **)server)[0], *fd, &tls_ends[1], &e), &e);
	return NULL;
}

static void tls_open(void)
{
	struct err e = {0};
	struct tls *server, *client;
	char *dir = xasprintf("%s/limits.tls", scratch_dir), *ca = xasprintf("%s/ca.pem", dir);
	int listener, port, fds[2];
	pthread_t thread;
	check(file_make_dirs(dir, 0700, &e), &e);
	check(tls_make_authority(dir, "127.0.0.1", &e), &e);
	check(tls_server(dir, &server, &e), &e);
	check(tls_client(ca, NULL, NULL, NULL, &client, &e), &e);
	check(tcp_listen("127.0.0.1:0", &listener, &port, &e), &e);
	char *where = xasprintf("127.0.0.1:%d", port);
	check(tcp_connect(where, 5000, &fds[0], &e), &e);
	fds[1] = accept(listener, NULL, NULL);
	void *both[2] = {server, &fds[1]};
	pthread_create(&thread, NULL, accept_tls, both);
	check(tls_connect(client, fds[0], "127.0.0.1", &tls_ends[0], &e), &e);
	pthread_join(thread, NULL);
	close(listener);
	check(file_remove_tree(dir, &e), &e);
}

static void *drain(void *unused)
{
	static uint8_t sink[PIECE];
	(void)unused;
	for (size_t at = 0; at < bytes; at += PIECE)
		if (stream_read(tls_ends[1], sink, PIECE, NULL))
			exit(1);
	return NULL;
}

static void run_tls(const void *unused)
{
	pthread_t thread;
	struct err e = {0};
	(void)unused;
	pthread_create(&thread, NULL, drain, NULL);
	for (size_t at = 0; at < bytes; at += PIECE)
		check(stream_write(tls_ends[0], data + at, PIECE, &e), &e);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	static const int levels[] = {100, -3, -1, 0, 1, 3, 9};
	const char *mib = getenv("MIB");
	if (argc != 3) {
		fputs("usage: limits DISK SCRATCH-FOLDER\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	scratch_dir = argv[2];
	load(argv[1], (mib ? strtoul(mib, NULL, 10) : 256) * MIB);
	printf("%-34s %8s\n", "one core, best of 3", "MB/s");
	stage("memory copy", run_copy, NULL, bytes);
	stage("cut (zero test, XXH3)", run_cut, NULL, bytes);
	stage("SHA-256, one lane", run_name_alone, NULL, bytes);
	stage("SHA-256, as the copy does it", run_name, NULL, bytes);
	for (size_t i = 0; i < region_count; i++)
		record_count += runs_chunks(&regions[i]);
	records = xcalloc(record_count + 1, sizeof *records);
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		char what[64];
		snprintf(what, sizeof what,
			 levels[i] == 100 ? "lz4"
			 : levels[i] == 0 ? "zstd, as the copy does it"
					  : "zstd %d",
			 levels[i]);
		stage(what, run_pack, &levels[i], bytes);
		snprintf(what, sizeof what, "  back, at ratio %.2f",
			 (double)bytes / (double)stored_bytes);
		stage(what, run_unpack, NULL, bytes);
	}
	int direct = O_DIRECT, buffered = 0;
	stage("disk, written and synced", run_disk, &buffered, bytes);
	stage("disk, written directly", run_disk, &direct, bytes);
	tls_open();
	stage("TLS 1.3 over loopback, both ends", run_tls, NULL, bytes);
	stream_close(tls_ends[0]);
	stream_close(tls_ends[1]);
	return 0;
}
