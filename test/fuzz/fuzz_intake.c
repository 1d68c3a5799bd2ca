// SPDX-License-Identifier: Apache-2.0
/*
 * What a sender says to the intake: u8 flags (1: the disk has an earlier version), u16 length of a
 * first stream that breaks off, its frames, then the frames of the stream that follows it. Whatever
 * was sent, a version that was finished can be walked to its leaves.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "copy/copy.h"
#include "scratch.h"

#define DISK_BYTES    (65 * MIB + 512) /* two regions, the last with a short block */
#define GROUP	      "g"
#define FLAG_BASE     1
#define STREAM_MAX    (64u << 10) /* goes into a socket's buffer at once */
#define VARIANT_BYTES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void put_chunk(struct store *store, uint8_t byte, uint32_t blocks, struct name *name)
{
	uint32_t n = blocks * BLOCK_BYTES;
	uint8_t *plain = xmalloc(n);
	struct record r = {.kind = RECORD_CHUNK};
	memset(plain, byte, n);
	name_of(plain, n, name);
	record_pack(&r, CODEC_RAW, 1, plain, n, NULL);
	r.name = *name;
	assert(store_put(store, GROUP, &r, NULL) == 1);
	free(plain);
}

/* A version of the disk: its first region has two chunks apart, its second is zero. */
static void put_base(struct store *store, struct name *root_name)
{
	struct name chunks[2], pages[2] = {0}, branch;
	struct disk_root root = {.cutter_version = CUTTER_VERSION};
	struct runs runs = {0};
	struct buf node = {0};
	put_chunk(store, 0x11, 1, &chunks[0]);
	put_chunk(store, 0x22, 2, &chunks[1]);
	runs_push(&runs, RUN_DATA, 1, &chunks[0]);
	runs_push(&runs, RUN_ZERO, 15, NULL);
	runs_push(&runs, RUN_DATA, 2, &chunks[1]);
	runs_push(&runs, RUN_ZERO, REGION_BLOCKS - 18, NULL);
	page_encode(&runs, REGION_BLOCKS, &node);
	assert(store_put_node(store, &node, &pages[0], NULL) == 1);
	buf_clear(&node);
	branch_encode(pages, 2, &node);
	assert(store_put_node(store, &node, &branch, NULL) == 1);
	buf_clear(&node);
	layout_plain(&root.layout, DISK_BYTES);
	root.branches = &branch;
	root.branch_count = 1;
	disk_root_encode(&root, &node);
	assert(store_put_node(store, &node, root_name, NULL) == 1);
	runs_release(&runs);
	buf_release(&node);
}

static void *drain(void *context)
{
	const int *fd = context;
	uint8_t sink[4096];
	while (read(*fd, sink, sizeof sink) > 0)
		;
	return NULL;
}

struct heard {
	bool finished;
	struct name root;
};

static int note(void *context, const struct door_progress *progress,
		const struct door_finished *finished)
{
	struct heard *h = context;
	(void)progress;
	if (finished) {
		assert(!h->finished && finished->root.len == NAME_BYTES);
		h->finished = true;
		memcpy(h->root.bytes, finished->root.data, NAME_BYTES);
	}
	return 0;
}

static void bad(void *context, const struct name *name, uint64_t offset, uint64_t length,
		const struct err *why)
{
	(void)context;
	(void)name;
	/* The store tells whether a sender put a name, not its length: one that lies about it has
	 * spoilt its own version, and readers notice. */
	if (strstr(why->text, "the version names it for"))
		return;
	fprintf(stderr, "a finished version is bad at %llu+%llu: %s\n", (unsigned long long)offset,
		(unsigned long long)length, why->text);
	abort();
}

static void one_stream(struct store *store, const struct copy_intake *job, const uint8_t *data,
		       size_t n)
{
	struct heard heard = {0};
	struct err e = {0};
	pthread_t thread;
	int pair[2];
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	n = n < STREAM_MAX ? n : STREAM_MAX;
	if (n)
		assert(send(pair[0], data, n, MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
	shutdown(pair[0], SHUT_WR);
	assert(pthread_create(&thread, NULL, drain, &pair[0]) == 0);
	struct stream *from = stream_of_fd(pair[1]);
	int result = copy_receive(store, job, from, note, &heard, &e);
	assert(result == 0 ? heard.finished : e.kind != ERR_NONE && *e.text);
	stream_close(from);
	pthread_join(thread, NULL);
	close(pair[0]);
	if (heard.finished) {
		uint64_t checked, bad_count;
		assert(copy_verify(store, &heard.root, bad, NULL, NULL, &checked, &bad_count,
				   NULL) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct copy_intake job = {.group = GROUP,
				  .run_id = "run",
				  .point = "point",
				  .size_bytes = DISK_BYTES,
				  .journal_dir = scratch_dir()};
	struct store *store;
	if (n < VARIANT_BYTES)
		return 0;
	size_t first = data[1] | (size_t)data[2] << 8;
	assert(store_open("memory:", true, true, &store, NULL) == 0);
	if (data[0] & FLAG_BASE)
		put_base(store, &job.base_root);
	data += VARIANT_BYTES;
	n -= VARIANT_BYTES;
	first = first < n ? first : n;
	if (first)
		one_stream(store, &job, data, first);
	one_stream(store, &job, data + first, n - first);
	assert(copy_journal_remove(job.journal_dir, job.run_id, NULL) == 0);
	store_close(store);
	return 0;
}
