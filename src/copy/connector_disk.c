// SPDX-License-Identifier: Apache-2.0
/* One disk: a stream to the service, a godwit-copy child with open descriptors, bytes in between. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "copy/connector_private.h"
#include "copy/plan.h"
#include "io/file.h"
#include "io/process.h"
#include "wire/wire.h"

#define CONNECTIONS_PER_DISK 2
#define CONFLICT_TRIES	     6
#define RELAY_BYTES	     (256u << 10)
#define SILENCE_MS	     LEASE_MS

struct pump {
	struct stream *from, *to;
};

static void *pump_thread(void *arg)
{
	struct pump *p = arg;
	struct err e;
	uint8_t *piece = xmalloc(RELAY_BYTES);
	int n;
	while ((n = stream_read_some(p->from, piece, RELAY_BYTES, &e)) > 0)
		if (stream_write(p->to, piece, (size_t)n, &e) < 0)
			break;
	stream_shutdown(p->to);
	stream_shutdown(p->from);
	free(piece);
	return NULL;
}

/* The child's last word on its standard output: FINISHED, or the fault it ended with. */
static int last_word(int fd, struct err *e)
{
	struct stream *s = stream_of_fd(fd);
	struct buf body = {0};
	uint16_t type;
	bool finished = false;
	struct door_fault fault = {0};
	struct err none;
	err_set(e, ERR_UNAVAILABLE, "the copying child ended without a word");
	while (frame_read(s, &type, &body, &none) == 1) {
		if (type == DOOR_FINISHED)
			finished = true;
		if (type == DOOR_FAULT &&
		    wire_decode(&door_fault_shape, body.data, body.len, &fault, &none) == 0) {
			err_set(e, err_kind_from_word(fault.kind ? fault.kind : "io"), "%s",
				fault.text ? fault.text : "the copying child failed");
			shape_release(&door_fault_shape, &fault);
		}
	}
	buf_release(&body);
	stream_close(s);
	return finished ? 0 : -1;
}

static int write_plan(const struct site_disk *disk, unsigned nbd_count, int64_t bytes_per_second,
		      int *fd, struct err *e)
{
	struct copy_plan plan = {.full = !disk->dirty_context && !disk->has_changed,
				 .nbd_count = nbd_count,
				 .bytes_per_second = bytes_per_second};
	struct buf frame = {0};
	text_set(&plan.export_name, disk->export_name ? disk->export_name : "");
	text_set(&plan.dirty_context, disk->dirty_context);
	if (!disk->dirty_context && disk->has_changed) {
		plan.has_changed = 1;
		copy_plan_set_changed(&plan, &disk->changed, disk->size_bytes);
	}
	wire_frame(COPY_PLAN, &copy_plan_shape, &plan, &frame);
	shape_release(&copy_plan_shape, &plan);
	/* A file, not a pipe: a long change list must not block. */
	*fd = memfd_create("plan", MFD_CLOEXEC);
	int r = *fd < 0 ? err_errno(e, errno, "cannot make room for a plan")
			: fd_write_all(*fd, frame.data, frame.len, e);
	if (r == 0)
		lseek(*fd, 0, SEEK_SET);
	buf_release(&frame);
	return r;
}

/* Wait for the child while the run goes on; a run that is over takes its child with it. */
static void wait_child(struct connector_run *run, pid_t pid)
{
	int status;
	struct err none;
	while (process_wait(pid, 200, &status, &none) == 0)
		if (connector_run_is_over(run)) {
			process_stop(pid, 500);
			return;
		}
}

static int run_child(struct connector_run *run, unsigned index, struct stream *door, struct err *e)
{
	struct site_disk *disk = &run->point->disks[index];
	struct connector *c = run->c;
	int nbd[CONNECTIONS_PER_DISK], pair[2] = {-1, -1}, out[2] = {-1, -1}, in = -1;
	unsigned count = 0;
	int r = 0;
	pid_t pid = 0;
	char *program = process_sibling("godwit-copy");
	pthread_mutex_lock(&c->site_lock);
	while (r == 0 && count < CONNECTIONS_PER_DISK) {
		r = site_dial(c->site, run->point, index, &nbd[count], e);
		if (r == 0)
			count++;
	}
	pthread_mutex_unlock(&c->site_lock);
	if (count > 0)
		r = 0; /* one connection is enough where a server takes no more */
	if (r == 0)
		r = write_plan(disk, count, c->config.bytes_per_second, &in, e);
	if (r == 0 && (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
		       pipe2(out, O_CLOEXEC) < 0))
		r = err_errno(e, errno, "cannot make a channel to the copying child");
	if (r == 0) {
		struct process_fd fds[3 + CONNECTIONS_PER_DISK] = {
		    {in, 0}, {out[1], 1}, {pair[1], COPY_FD_STREAM}};
		for (unsigned i = 0; i < count; i++)
			fds[3 + i] = (struct process_fd){nbd[i], (int)(COPY_FD_NBD + i)};
		/* Its log is ours. */
		struct process_fd with_log[4 + CONNECTIONS_PER_DISK];
		memcpy(with_log, fds, (3 + count) * sizeof *fds);
		with_log[3 + count] = (struct process_fd){2, 2};
		const char *argv[] = {program, NULL};
		struct process_plan plan = {.argv = argv, .fds = with_log, .fd_count = 4 + count};
		r = process_start(&plan, &pid, e);
	}
	for (unsigned i = 0; i < count; i++)
		close(nbd[i]);
	if (in >= 0)
		close(in);
	if (pair[1] >= 0)
		close(pair[1]);
	if (out[1] >= 0)
		close(out[1]);
	free(program);
	if (r < 0) {
		if (pair[0] >= 0)
			close(pair[0]);
		if (out[0] >= 0)
			close(out[0]);
		return -1;
	}
	struct stream *inner = stream_of_fd(pair[0]);
	struct pump up = {inner, door}, down = {door, inner};
	pthread_t threads[2];
	if (pthread_create(&threads[0], NULL, pump_thread, &up) != 0)
		abort();
	if (pthread_create(&threads[1], NULL, pump_thread, &down) != 0)
		abort();
	wait_child(run, pid);
	stream_shutdown(inner);
	stream_shutdown(door);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	stream_close(inner);
	return last_word(out[0], e);
}

static int try_once(struct connector_run *run, unsigned index, struct err *e)
{
	struct connector *c = run->c;
	struct site_disk *disk = &run->point->disks[index];
	struct stream *door;
	struct door_stream open = {.number = disk->number, .size_bytes = (int64_t)disk->size_bytes};
	if (connector_dial(c, &door, e) < 0)
		return -1;
	stream_set_timeout(door, SILENCE_MS);
	pthread_mutex_lock(&c->lock);
	text_set(&open.run_id, run->work.run_id);
	open.token = run->work.token;
	pthread_mutex_unlock(&c->lock);
	text_set(&open.point, run->point->point);
	int r = frame_write(door, DOOR_STREAM, &door_stream_shape, &open, e);
	shape_release(&door_stream_shape, &open);
	if (r == 0)
		r = run_child(run, index, door, e);
	stream_close(door);
	return r;
}

int connector_disk(struct connector_run *run, unsigned index, struct err *e)
{
	int64_t pause = RETRY_MIN_MS, give_up = clock_mono_ms() + RETRY_GIVE_UP_MS;
	unsigned conflicts = 0;
	for (;;) {
		int64_t began = clock_mono_ms();
		if (try_once(run, index, e) == 0)
			return 0;
		if (connector_run_is_over(run))
			return err_set(e, ERR_CONFLICT, "run %s was given up", run->work.run_id);
		/* A stale token is mended by the next WORK; the rest of what does not pass is final. */
		bool again = e->kind == ERR_UNAVAILABLE || e->kind == ERR_BUSY ||
			     e->kind == ERR_DENIED;
		/* The stream may overtake SNAPSHOT, which goes another way: the point is not known yet. */
		if (e->kind == ERR_CONFLICT)
			again = ++conflicts < CONFLICT_TRIES;
		if (!again || clock_mono_ms() > give_up)
			return err_prefix(e, "disk %s", run->point->disks[index].key);
		log_warn("run %s: disk %s: %s; trying again in %lld s", run->work.run_id,
			 run->point->disks[index].key, e->text, (long long)pause / 1000);
		if (clock_mono_ms() - began > 60000)
			pause = RETRY_MIN_MS;
		for (int64_t end = clock_mono_ms() + pause;
		     clock_mono_ms() < end && !connector_run_is_over(run);)
			clock_sleep_ms(100);
		pause = pause * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : pause * 2;
	}
}
