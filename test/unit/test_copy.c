// SPDX-License-Identifier: Apache-2.0
/* Both halves of a copy over a socket pair, from a disk that nbdkit serves or a file. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "block/tree.h"
#include "copy/copy.h"
#include "copy/flight.h"
#include "copy/journal.h"
#include "io/file.h"
#include "io/process.h"
#include "store/lease.h"
#include "store/roots.h"
#include "test.h"

#define DISK_BYTES (130 * MIB + 1536)

static char dir[] = "/tmp/godwit-test-copy.XXXXXX";
static char disk_path[64], socket_path[64], journal_dir[64];
static int disk;
static pid_t server;

/* --- the disk --- */

static uint32_t random_next(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16);
}

/* A file's bytes: random, ending in slack; or zeroes. */
static void write_file_like(uint64_t offset, size_t n, bool zero)
{
	uint8_t *data = xcalloc(1, n);

	if (!zero) {
		size_t used = n > 600 ? n - 600 + random_next() % 500 : n;

		for (size_t i = 0; i < used; i++)
			data[i] = (uint8_t)random_next();
	}
	assert_ok(fd_write_at(disk, data, n, offset, err));
	free(data);
}

static int connect_disk(void)
{
	struct sockaddr_un where = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(where.sun_path, socket_path, strlen(socket_path));
	for (int i = 0; i < 500; i++) {
		if (connect(fd, (struct sockaddr *)&where, sizeof where) == 0)
			return fd;
		clock_sleep_ms(20);
	}
	fail_msg("nbdkit does not listen at %s", socket_path);
	return -1;
}

static int set_up(void **state)
{
	const char *argv[] = {"nbdkit", "-f", "-U", socket_path, "file", disk_path, NULL};
	struct process_plan plan = {.argv = argv};

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(disk_path, sizeof disk_path, "%s/disk.raw", dir);
	snprintf(socket_path, sizeof socket_path, "%s/nbd.sock", dir);
	snprintf(journal_dir, sizeof journal_dir, "%s/journal", dir);
	assert_ok(file_make_dirs(journal_dir, 0700, err));
	disk = open(disk_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(disk >= 0 && ftruncate(disk, DISK_BYTES) == 0);
	for (int i = 0; i < 60; i++)
		write_file_like(random_next() % (DISK_BYTES / BLOCK_BYTES - 40) * BLOCK_BYTES,
				1 + random_next() % (150 * KIB), false);
	write_file_like(DISK_BYTES - 1000, 1000, false);
	assert_ok(process_start(&plan, &server, err));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	process_stop(server, 2000);
	close(disk);
	return file_remove_tree(dir, NULL);
}

/* --- one copy --- */

struct job {
	struct store *store;
	struct copy_intake intake;
	struct stream *stream;
	struct err err;
	struct door_progress progress;
	int result;
};

static int note(void *context, const struct door_progress *progress,
		const struct door_finished *finished)
{
	struct job *j = context;

	(void)finished;
	if (progress)
		j->progress = *progress;
	return 0;
}

static void *receive(void *context)
{
	struct job *j = context;

	j->result = copy_receive(j->store, &j->intake, j->stream, note, j, &j->err);
	return NULL;
}

static void job_init(struct job *j, struct store *store, const char *run, const char *point,
		     const struct name *base)
{
	*j = (struct job){.store = store,
			  .intake = {.group = "g",
				     .run_id = run,
				     .point = point,
				     .size_bytes = DISK_BYTES,
				     .journal_dir = journal_dir}};
	if (base)
		j->intake.base_root = *base;
}

static struct stream *start_receiver(struct job *j, pthread_t *thread)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	j->stream = stream_of_fd(pair[1]);
	assert_int_equal(pthread_create(thread, NULL, receive, j), 0);
	return stream_of_fd(pair[0]);
}

static bool read_as_file; /* else by NBD */

static int copy(struct job *j, const struct extents *changed, struct name *root, struct err *e)
{
	int fds[2] = {connect_disk(), connect_disk()};
	struct copy_source from = {.nbd_fds = fds,
				   .nbd_count = read_as_file ? 0 : 2,
				   .file_fd = disk,
				   .export_name = "",
				   .changed = changed};
	struct door_finished finished;
	struct stream *to;
	pthread_t thread;
	int result;

	to = start_receiver(j, &thread);
	result = copy_send(&from, to, &finished, e);
	pthread_join(thread, NULL);
	stream_close(to);
	stream_close(j->stream);
	close(fds[0]);
	close(fds[1]);
	if (result == 0) {
		assert_int_equal(finished.root.len, NAME_BYTES);
		memcpy(root->bytes, finished.root.data, NAME_BYTES);
		shape_release(&door_finished_shape, &finished);
	}
	return result;
}

/* --- comparing --- */

static void not_bad(void *context, const struct name *name, uint64_t offset, uint64_t length,
		    const struct err *why)
{
	(void)context;
	(void)name;
	fail_msg("bad at %llu+%llu: %s", (unsigned long long)offset, (unsigned long long)length,
		 why->text);
}

/* Compare a region of the version with the same bytes of the disk. */
static void compare_region(struct store *store, const struct name *page, uint64_t offset,
			   uint32_t length)
{
	uint8_t *have = xcalloc(1, REGION_BYTES), *want = xcalloc(1, REGION_BYTES);
	struct runs runs = {0};
	struct buf node = {0}, plain = {0};
	uint32_t blocks;
	uint64_t at = 0;

	if (!name_is_zero(page)) {
		assert_ok(store_get(store, page, &node, err));
		assert_ok(page_decode(node.data, node.len, &runs, &blocks, err));
	}
	for (uint32_t i = 0; i < runs.count; at += runs.items[i++].blocks * BLOCK_BYTES) {
		if (runs.items[i].kind != RUN_DATA)
			continue;
		buf_clear(&plain);
		assert_ok(store_get(store, &runs.items[i].name, &plain, err));
		memcpy(have + at, plain.data, plain.len);
	}
	assert_ok(fd_read_at(disk, want, length, offset, err));
	assert_memory_equal(have, want, length);
	runs_release(&runs);
	buf_release(&node);
	buf_release(&plain);
	free(have);
	free(want);
}

/* The version is whole; the disk changed since. */
static void assert_reads_back_as(struct store *store, const struct name *name,
				 const struct name *other)
{
	uint64_t checked, bad;

	assert_memory_not_equal(name, other, sizeof *name);
	assert_ok(copy_verify(store, name, not_bad, NULL, NULL, &checked, &bad, err));
	assert_int_equal(bad, 0);
	assert_true(checked > 0);
}

static void assert_reads_back(struct store *store, const struct name *name)
{
	struct disk_root root;
	struct name pages[TREE_FANOUT];
	struct buf node = {0};
	uint32_t count;
	uint64_t checked, bad;

	assert_ok(copy_verify(store, name, not_bad, NULL, NULL, &checked, &bad, err));
	assert_int_equal(bad, 0);
	assert_true(checked > 0);
	assert_ok(store_get(store, name, &node, err));
	assert_ok(disk_root_decode(node.data, node.len, &root, err));
	assert_int_equal(root.layout.size, DISK_BYTES);
	buf_clear(&node);
	assert_ok(store_get(store, &root.branches[0], &node, err));
	assert_ok(branch_decode(node.data, node.len, pages, &count, err));
	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset;
		uint32_t length;

		layout_region(&root.layout, i, &offset, &length);
		compare_region(store, &pages[i], offset, length);
	}
	disk_root_release(&root);
	buf_release(&node);
}

/* --- the tests --- */

static void full_copy_in(const char *where)
{
	struct store *store;
	struct name first, second;
	struct job j;

	assert_ok(store_open(where, true, true, &store, err));
	job_init(&j, store, "full-1", "p1", NULL);
	assert_ok(copy(&j, NULL, &first, err));
	assert_int_equal(j.result, 0);
	assert_true(j.progress.chunks_new > 0);
	assert_int_equal(j.progress.bytes_done, j.progress.bytes_total);
	assert_reads_back(store, &first);
	job_init(&j, store, "full-2", "p2", &first);
	assert_ok(copy(&j, NULL, &second, err));
	assert_int_equal(j.progress.chunks_new, 0);
	assert_memory_equal(&first, &second, sizeof first);
	store_close(store);
	assert_ok(copy_journal_remove(journal_dir, "full-1", err));
	assert_ok(copy_journal_remove(journal_dir, "full-2", err));
}

static void full_copies(void **state)
{
	char where[80];

	(void)state;
	full_copy_in("memory:");
	snprintf(where, sizeof where, "dir:%s/store", dir);
	full_copy_in(where);
}

static void edit(struct extents *changed)
{
	uint64_t at = random_next() % (8 * MIB);

	while (at < DISK_BYTES) {
		uint64_t n = 1 + random_next() % (300 * KIB);

		if (n > DISK_BYTES - at)
			n = DISK_BYTES - at;
		write_file_like(at, n, random_next() % 3 == 0);
		extents_append(changed, at, n);
		at += n + random_next() % (96 * MIB);
	}
}

static void increments_equal_full_copies(void **state)
{
	struct store *store, *fresh;
	struct name root, other;
	struct job j;
	char run[32];

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	job_init(&j, store, "inc", "p", NULL);
	assert_ok(copy(&j, NULL, &root, err));
	for (int round = 0; round < 12; round++) {
		struct extents changed = {0};

		edit(&changed);
		snprintf(run, sizeof run, "inc-%d", round);
		job_init(&j, store, run, "p", &root);
		assert_ok(copy(&j, &changed, &root, err));
		assert_true(j.progress.bytes_read < (int64_t)DISK_BYTES / 4);
		extents_release(&changed);
		if (round % 3)
			continue;
		assert_ok(store_open("memory:", true, true, &fresh, err));
		snprintf(run, sizeof run, "fresh-%d", round);
		job_init(&j, fresh, run, "p", NULL);
		read_as_file = round % 2;
		assert_ok(copy(&j, NULL, &other, err));
		read_as_file = false;
		assert_memory_equal(&root, &other, sizeof root);
		store_close(fresh);
	}
	assert_reads_back(store, &root);
	store_close(store);
}

/* A table entry of an MBR: a Linux partition. */
static void mbr_entry(uint8_t *mbr, unsigned index, uint32_t first, uint32_t sectors)
{
	uint8_t *entry = mbr + 446 + 16 * index;

	entry[4] = 0x83;
	for (int i = 0; i < 4; i++) {
		entry[8 + i] = (uint8_t)(first >> 8 * i);
		entry[12 + i] = (uint8_t)(sectors >> 8 * i);
	}
}

/* Partitions that begin at sector 63 and at another one off the grid; the last ends in the last,
 * odd sector. The table comes between two copies: the increment is read by the new layout. */
static void partitions_off_the_grid(void **state)
{
	struct store *store, *fresh;
	struct name root, other;
	struct buf node = {0};
	struct disk_root decoded;
	struct job j;
	uint8_t mbr[512] = {[510] = 0x55, [511] = 0xaa}, before[512];
	const uint32_t second = 70 * MIB / 512 + 5, end = DISK_BYTES / 512;

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	job_init(&j, store, "grid", "p", NULL);
	assert_ok(copy(&j, NULL, &root, err));
	mbr_entry(mbr, 0, 63, second - 63);
	mbr_entry(mbr, 1, second, end - second);
	assert_ok(fd_read_at(disk, before, sizeof before, 0, err));
	assert_ok(fd_write_at(disk, mbr, sizeof mbr, 0, err));
	for (int round = 0; round < 3; round++) {
		struct extents changed = {0};
		char run[32];

		/* First the table alone, then over the ends of segments, of regions and of the
		 * disk. */
		extents_append(&changed, 0, sizeof mbr);
		if (round) {
			static const uint64_t at[] = {63 * 512 - 700, 64 * MIB,
						      70 * MIB + 5 * 512 - 1, DISK_BYTES - 513};
			for (size_t i = 0; i < COUNT_OF(at); i++) {
				size_t n = at[i] + 9000 < DISK_BYTES ? 9000 : DISK_BYTES - at[i];
				write_file_like(at[i], n, round == 2 && i % 2);
				extents_append(&changed, at[i], n);
			}
		}
		snprintf(run, sizeof run, "grid-%d", round);
		job_init(&j, store, run, "p", &root);
		assert_ok(copy(&j, &changed, &root, err));
		assert_reads_back(store, &root);
		assert_ok(store_open("memory:", true, true, &fresh, err));
		snprintf(run, sizeof run, "grid-fresh-%d", round);
		job_init(&j, fresh, run, "p", NULL);
		assert_ok(copy(&j, NULL, &other, err));
		assert_memory_equal(&root, &other, sizeof root);
		store_close(fresh);
		extents_release(&changed);
	}
	assert_ok(store_get(store, &root, &node, err));
	assert_ok(disk_root_decode(node.data, node.len, &decoded, err));
	assert_int_equal(decoded.layout.segment_count, 3);
	assert_int_equal(decoded.layout.segments[1].start, 63 * 512);
	assert_int_equal(decoded.layout.segments[2].start, second * 512ull);
	disk_root_release(&decoded);
	buf_release(&node);
	store_close(store);
	assert_ok(fd_write_at(disk, before, sizeof before, 0, err));
}

/* A finished stream's journal answers for all its regions, under its own point only. */
static void resumes_under_its_point(void **state)
{
	struct store *store;
	struct name first, second;
	struct job j;

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	job_init(&j, store, "resume", "p1", NULL);
	assert_ok(copy(&j, NULL, &first, err));
	assert_true(j.progress.bytes_read > 0);
	job_init(&j, store, "resume", "p1", NULL);
	assert_ok(copy(&j, NULL, &second, err));
	assert_int_equal(j.progress.bytes_read, 0);
	assert_memory_equal(&first, &second, sizeof first);
	job_init(&j, store, "resume", "p2", NULL);
	assert_ok(copy(&j, NULL, &second, err));
	assert_true(j.progress.bytes_read > 0);
	assert_int_equal(j.progress.chunks_new, 0);
	assert_memory_equal(&first, &second, sizeof first);
	store_close(store);
}

/* Whichever call to the store fails, the stream ends in words, and the same run under the same point
 * goes on to the version it would have been. */
static void a_store_may_fail_in_the_middle(void **state)
{
	struct store *store, *kept;
	struct name root, other;
	struct job j;
	char where[64], run[32];
	unsigned failures = 0;

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	job_init(&j, store, "whole", "p", NULL);
	assert_ok(copy(&j, NULL, &root, err));
	store_close(store);
	for (unsigned number = 1; number < 2000; number += 1 + number / 2) {
		struct err e = {0};

		snprintf(where, sizeof where, "memory:fault-%u", number);
		snprintf(run, sizeof run, "fault-%u", number);
		assert_ok(store_open(where, true, true, &store, err));
		store_close(store);
		assert_ok(store_open(where, false, true, &kept, err));
		snprintf(where, sizeof where, "fault:%u:memory:fault-%u", number, number);
		assert_ok(store_open(where, true, false, &store, err));
		job_init(&j, store, run, "p", NULL);
		if (copy(&j, NULL, &other, &e) < 0) {
			failures++;
			assert_int_equal(e.kind, ERR_IO);
			assert_int_equal(j.err.kind, ERR_IO);
			job_init(&j, store, run, "p", NULL);
			assert_ok(copy(&j, NULL, &other, err));
		}
		assert_memory_equal(&root, &other, sizeof root);
		assert_reads_back(kept, &other);
		store_close(store);
		store_close(kept);
	}
	assert_true(failures >= 5);
}

/* --- a journal torn by a crash --- */

#define RECORD_BYTES 48

struct told {
	unsigned count;
	uint64_t regions[8];
};

static void take(void *context, uint64_t region, const struct name *page)
{
	struct told *told = context;

	(void)page;
	assert_true(told->count < COUNT_OF(told->regions));
	told->regions[told->count++] = region;
}

/* The journal is `data`; what is told of it is `whole` records, and it ends behind them. */
static void assert_tells(const char *path, const uint8_t *data, size_t n, size_t header,
			 unsigned whole, const struct told *all)
{
	struct told told = {0};
	struct journal j;
	struct name none = {{0}};

	assert_ok(file_write(path, data, n, 0600, err));
	assert_ok(
	    journal_open(journal_dir, "torn", 0, "p1", DISK_BYTES, &none, 0, take, &told, &j, err));
	assert_int_equal(told.count, whole);
	assert_memory_equal(told.regions, all->regions, whole * sizeof *told.regions);
	assert_int_equal(j.started, n >= header);
	assert_int_equal(j.end, n >= header ? header + whole * RECORD_BYTES : 0);
	journal_close(&j);
}

/* Resumes on such a journal: the disk is what it was, and what the journal tells is not read. */
static void assert_resumes(struct store *store, const char *path, const uint8_t *data, size_t n,
			   unsigned whole, const struct name *root, int64_t total)
{
	struct name again;
	struct job j;

	assert_ok(file_write(path, data, n, 0600, err));
	job_init(&j, store, "torn", "p1", NULL);
	assert_ok(copy(&j, NULL, &again, err));
	assert_memory_equal(&again, root, sizeof again);
	assert_int_equal(j.progress.chunks_new, 0); /* stored is stored */
	assert_int_equal(j.progress.bytes_done, j.progress.bytes_total);
	assert_true(whole ? j.progress.bytes_read < total : j.progress.bytes_read == total);
}

static void torn_journals(void **state)
{
	struct store *store;
	struct name root;
	struct job j;
	struct buf file = {0};
	struct told all = {0};
	struct layout layout;
	struct name none = {{0}};
	char path[96];
	int64_t total;

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	job_init(&j, store, "torn", "p1", NULL);
	assert_ok(copy(&j, NULL, &root, err));
	total = j.progress.bytes_read;
	snprintf(path, sizeof path, "%s/torn.0", journal_dir);
	assert_ok(file_read(path, MIB, &file, err));
	assert_int_equal(
	    journal_scan(file.data, file.len, "p1", DISK_BYTES, &none, &layout, take, &all),
	    file.len);
	assert_int_equal(all.count, layout_regions(&layout));
	assert_true(all.count >= 3);
	size_t header = file.len - all.count * RECORD_BYTES;

	for (size_t n = 0; n <= file.len; n++) {
		unsigned whole = n < header ? 0 : (unsigned)((n - header) / RECORD_BYTES);
		assert_tells(path, file.data, n, header, whole, &all);
		if (n < 2 || n + 2 > file.len || n == header / 2 ||
		    (n >= header - 1 && (n - header + 1) % RECORD_BYTES < 3))
			assert_resumes(store, path, file.data, n, whole, &root, total);
	}
	/* A file that grew before its bytes were written: noughts, or one wrong bit, behind. */
	for (size_t n = header; n < file.len; n++) {
		uint8_t *torn = xcalloc(1, file.len);
		memcpy(torn, file.data, n);
		unsigned whole = (unsigned)((n - header) / RECORD_BYTES);
		if (memcmp(torn, file.data, file.len) != 0)
			assert_tells(path, torn, file.len, header, whole, &all);
		memcpy(torn, file.data, file.len);
		torn[n] ^= 1;
		assert_tells(path, torn, file.len, header, whole, &all);
		free(torn);
	}
	buf_release(&file);
	store_close(store);
	assert_ok(copy_journal_remove(journal_dir, "torn", err));
}

/* --- collecting --- */

static void run_forget(struct store *store, const char *run)
{
	char *ref = xasprintf(RUN_REF_PREFIX "%s.0", run);

	assert_ok(copy_journal_remove(journal_dir, run, err));
	assert_ok(store_ref_set(store, ref, NULL, 0, err));
	free(ref);
}

static void image_set(struct store *store, const char *ref, const struct name *root)
{
	struct buf data = {0};

	roots_encode(root, 1, &data);
	buf_add_str(&data, "what the image is");
	assert_ok(store_ref_set(store, ref, data.data, data.len, err));
	buf_release(&data);
}

static void collect(struct store *store, struct flights *flights, struct store_collected *out)
{
	assert_ok(copy_collect(store, journal_dir, flights, false, NULL, out, err));
}

static bool has_root(struct store *store, const struct name *root)
{
	uint8_t have;

	assert_ok(store_has(store, NULL, root, 1, &have, err));
	return have;
}

static void versions_go_when_nothing_keeps_them_in(const char *where)
{
	struct extents changed = {0};
	struct store *store, *reader;
	struct store_collected out;
	struct lease *lease;
	struct name first, second;
	struct job j;
	struct err e = {0};

	assert_ok(store_open(where, true, true, &store, err));
	assert_ok(store_open(where, false, false, &reader, err));
	job_init(&j, store, "gc-1", "p", NULL);
	assert_ok(copy(&j, NULL, &first, err));
	edit(&changed);
	job_init(&j, store, "gc-2", "p", &first);
	assert_ok(copy(&j, &changed, &second, err));
	extents_release(&changed);
	/* Runs that nobody forgot keep what they finished. */
	collect(store, NULL, &out);
	assert_int_equal(out.freed_bytes, 0);
	assert_int_equal(out.names, out.live_names);
	image_set(store, "image-1", &first);
	image_set(store, "image-2", &second);
	run_forget(store, "gc-1");
	run_forget(store, "gc-2");
	collect(store, NULL, &out);
	assert_int_equal(out.freed_bytes, 0);
	/* A reader keeps a version whose image is deleted. */
	assert_ok(lease_take(reader, &first, 1, "a test", &lease, err));
	assert_ok(store_ref_set(store, "image-1", NULL, 0, err));
	collect(store, NULL, &out);
	assert_reads_back_as(reader, &first, &second);
	lease_release(lease);
	collect(store, NULL, &out);
	assert_true(out.live_names < out.names);
	assert_reads_back(reader, &second);
	/* Nothing is freed when a reference cannot be followed. */
	assert_ok(store_ref_set(store, "image-x", "what", 4, err));
	assert_ok(store_ref_set(store, "image-2", NULL, 0, err));
	assert_int_equal(copy_collect(store, journal_dir, NULL, false, NULL, &out, &e), -1);
	assert_int_equal(e.kind, ERR_CORRUPT);
	assert_non_null(strstr(e.text, "image-x"));
	assert_reads_back(reader, &second);
	assert_ok(store_ref_set(store, "image-x", NULL, 0, err));
	collect(store, NULL, &out);
	assert_int_equal(out.live_names, 0);
	assert_false(has_root(store, &second));
	store_close(reader);
	store_close(store);
}

static void versions_go_when_nothing_keeps_them(void **state)
{
	char where[80];

	(void)state;
	/* Journals that other tests left would keep what these versions share with theirs. */
	snprintf(journal_dir, sizeof journal_dir, "%s/journals", dir);
	assert_ok(file_make_dirs(journal_dir, 0700, err));
	versions_go_when_nothing_keeps_them_in("memory:collected");
	snprintf(where, sizeof where, "dir:%s/collected", dir);
	versions_go_when_nothing_keeps_them_in(where);
}

struct collector {
	struct store *store;
	struct flights *flights;
	volatile bool ending;
	unsigned count;
};

static void *collect_on(void *context)
{
	struct collector *c = context;

	while (!c->ending) {
		struct store_collected out;

		collect(c->store, c->flights, &out);
		c->count++;
	}
	return NULL;
}

/* What is there and needed by nobody is asked for by a stream while it is being freed. */
static void a_collection_beside_streams_takes_nothing(void **state)
{
	struct extents changed = {0};
	struct flights flights;
	struct store *store;
	struct collector c;
	struct name first, second, again;
	char where[80], run[32];
	pthread_t thread;
	struct job j;

	(void)state;
	flights_init(&flights);
	snprintf(where, sizeof where, "dir:%s/beside", dir);
	assert_ok(store_open(where, true, true, &store, err));
	job_init(&j, store, "beside", "p", NULL);
	assert_ok(copy(&j, NULL, &first, err));
	run_forget(store, "beside");
	c = (struct collector){.store = store, .flights = &flights};
	assert_int_equal(pthread_create(&thread, NULL, collect_on, &c), 0);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(run, sizeof run, "beside-%u", i);
		job_init(&j, store, run, "p", NULL);
		j.intake.flights = &flights;
		assert_ok(copy(&j, NULL, &again, err));
		assert_memory_equal(&first, &again, sizeof first);
		assert_reads_back(store, &again);
		if (i % 2) /* or the next finds it half kept by this one's journal */
			run_forget(store, run);
	}
	edit(&changed);
	job_init(&j, store, "beside-inc", "p", &first);
	j.intake.flights = &flights;
	image_set(store, "image-1", &first);
	if (has_root(store, &first)) {
		assert_ok(copy(&j, &changed, &second, err));
		assert_reads_back(store, &second);
	}
	extents_release(&changed);
	c.ending = true;
	pthread_join(thread, NULL);
	assert_true(c.count > 0);
	store_close(store);
}

/* --- a sender that lies --- */

struct liar {
	struct job job;
	struct stream *to;
	pthread_t thread;
	struct name name;
	uint8_t content[BLOCK_BYTES];
};

/* Announce a region of one block of data under a name; expects to be asked for it. */
static void liar_begins(struct liar *l, struct store *store)
{
	struct door_ready ready;
	struct door_layout layout = {.size_bytes = BLOCK_BYTES};
	struct op op = {.kind = OP_DATA, .count = 1};
	struct ops ops = {.items = &op, .count = 1, .cap = 1};
	struct door_region region = {0};
	struct door_need need;
	struct buf body = {0};

	job_init(&l->job, store, "liar", "p", NULL);
	l->job.intake.group = "liars";
	l->job.intake.size_bytes = BLOCK_BYTES;
	memset(l->content, 'a', BLOCK_BYTES);
	name_of(l->content, BLOCK_BYTES, &l->name);
	op.name = l->name;
	l->to = start_receiver(&l->job, &l->thread);
	assert_ok(frame_expect(l->to, DOOR_READY, &door_ready_shape, &ready, err));
	shape_release(&door_ready_shape, &ready);
	assert_ok(frame_write(l->to, DOOR_LAYOUT, &door_layout_shape, &layout, err));
	ops_encode(&ops, &body);
	bytes_set(&region.ops, body.data, body.len);
	assert_ok(frame_write(l->to, DOOR_REGION, &door_region_shape, &region, err));
	assert_ok(frame_expect(l->to, DOOR_NEED, &door_need_shape, &need, err));
	assert_int_equal(need.need.len, 1);
	assert_int_equal(need.need.data[0], 1);
	shape_release(&door_need_shape, &need);
	shape_release(&door_region_shape, &region);
	buf_release(&body);
}

static void liar_is_told(struct liar *l, enum err_kind kind)
{
	struct door_finished finished;
	struct err e = {0};

	assert_int_equal(frame_expect(l->to, DOOR_FINISHED, &door_finished_shape, &finished, &e),
			 -1);
	assert_int_equal(e.kind, kind);
	stream_close(l->to);
	pthread_join(l->thread, NULL);
	stream_close(l->job.stream);
	assert_int_equal(l->job.result, -1);
	assert_int_equal(l->job.err.kind, kind);
}

static void liar_sends(struct liar *l, uint32_t plain_len, uint8_t fill)
{
	uint8_t *plain = xcalloc(1, plain_len);
	struct door_chunk chunk = {.codec = CODEC_RAW, .plain_len = plain_len};

	memset(plain, fill, plain_len);
	bytes_set(&chunk.stored, plain, plain_len);
	assert_ok(frame_write(l->to, DOOR_CHUNK, &door_chunk_shape, &chunk, err));
	shape_release(&door_chunk_shape, &chunk);
	free(plain);
}

static void lies_are_refused(void **state)
{
	struct store *store;
	struct record record = {.plain_len = BLOCK_BYTES, .stored_len = BLOCK_BYTES};
	struct liar l;

	(void)state;
	assert_ok(store_open("memory:", true, true, &store, err));
	/* Another group has the content; knowing its name is not enough. */
	memset(l.content, 'a', BLOCK_BYTES);
	name_of(l.content, BLOCK_BYTES, &record.name);
	record.stored = l.content;
	assert_ok(store_put(store, "victims", &record, err));
	liar_begins(&l, store);
	assert_ok(frame_write(l.to, DOOR_FINISH, door_shape(DOOR_FINISH), "", err));
	liar_is_told(&l, ERR_DENIED);

	liar_begins(&l, store);
	liar_sends(&l, BLOCK_BYTES, 'b');
	liar_is_told(&l, ERR_DENIED);

	liar_begins(&l, store);
	liar_sends(&l, 2 * BLOCK_BYTES, 'a');
	liar_is_told(&l, ERR_INVALID);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(full_copies),
	    cmocka_unit_test(increments_equal_full_copies),
	    cmocka_unit_test(partitions_off_the_grid),
	    cmocka_unit_test(resumes_under_its_point),
	    cmocka_unit_test(versions_go_when_nothing_keeps_them),
	    cmocka_unit_test(a_collection_beside_streams_takes_nothing),
	    cmocka_unit_test(a_store_may_fail_in_the_middle),
	    cmocka_unit_test(torn_journals),
	    cmocka_unit_test(lies_are_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
