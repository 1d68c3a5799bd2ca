// SPDX-License-Identifier: Apache-2.0
#include "copy/source.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#include "base/clock.h"
#include "base/limits.h"

#define MAP_REQUEST_BYTES  (1u << 30)
#define COARSE_FIRST_GRAIN (128 * KIB)

struct source {
	struct nbd_handle *handles[SOURCE_HANDLES_MAX];
	unsigned in_flight[SOURCE_HANDLES_MAX];
	unsigned count; /* 0: it is a file */
	int fd;
	uint64_t size;
	bool has_allocation, has_dirty;
	char *dirty_context;
	int failed; /* errno of a request that failed, 0: none */
};

static int nbd_fail(struct err *e, const char *what)
{
	const char *text = nbd_get_error();
	int number = nbd_get_errno();

	return err_set(e, number == EPERM || number == EACCES ? ERR_DENIED : ERR_UNAVAILABLE,
		       "%s: %s", what, text ? text : "the NBD library does not say why");
}

static int connect_one(struct source *s, const struct copy_source *from, int fd, struct err *e)
{
	struct nbd_handle *h = nbd_create();
	int own;

	if (!h)
		return nbd_fail(e, "cannot make an NBD handle");
	s->handles[s->count++] = h;
	if (nbd_set_export_name(h, from->export_name) ||
	    nbd_set_request_structured_replies(h, true) ||
	    nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) ||
	    (s->dirty_context && nbd_add_meta_context(h, s->dirty_context)))
		return nbd_fail(e, "cannot prepare the NBD connection");
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return err_errno(e, errno, "cannot duplicate the NBD socket");
	if (nbd_connect_socket(h, own)) {
		nbd_fail(e, "the NBD server of the disk refused");
		return err_prefix(e, "export \"%s\"", from->export_name);
	}
	return 0;
}

static int learn(struct source *s, const struct copy_source *from, struct err *e)
{
	struct nbd_handle *h = s->handles[0];
	int64_t size = nbd_get_size(h);

	if (size < 0)
		return nbd_fail(e, "cannot learn the size of the disk");
	if (size < (int64_t)LIMIT_DISK_MIN_BYTES || size > (int64_t)LIMIT_DISK_MAX_BYTES)
		return err_set(e, ERR_INVALID,
			       "export \"%s\" has %lld bytes; a disk has from 512 bytes to 64 TiB",
			       from->export_name, (long long)size);
	s->size = (uint64_t)size;
	for (unsigned i = 1; i < s->count; i++)
		if (nbd_get_size(s->handles[i]) != size)
			return err_set(e, ERR_CONFLICT,
				       "the connections of export \"%s\" tell different sizes",
				       from->export_name);
	s->has_allocation = nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	if (!s->dirty_context)
		return 0;
	s->has_dirty = nbd_can_meta_context(h, s->dirty_context) > 0;
	if (!s->has_dirty)
		return err_set(e, ERR_CONFLICT,
			       "export \"%s\" has no list of changes \"%s\"; a full copy is needed",
			       from->export_name, s->dirty_context);
	return 0;
}

static int file_open(struct source *s, int fd, struct err *e)
{
	off_t size = lseek(fd, 0, SEEK_END); /* right for block devices too */

	if (size < 0)
		return err_errno(e, errno, "cannot learn the size of the disk");
	if (size < (off_t)LIMIT_DISK_MIN_BYTES || size > (off_t)LIMIT_DISK_MAX_BYTES)
		return err_set(e, ERR_INVALID,
			       "the disk has %lld bytes; a disk has from 512 bytes to 64 TiB",
			       (long long)size);
	s->fd = fd;
	s->size = (uint64_t)size;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint: nothing hangs on it */
	return 0;
}

int source_open(const struct copy_source *from, struct source **out, struct err *e)
{
	struct source *s = xcalloc(1, sizeof *s);

	if (from->nbd_count > SOURCE_HANDLES_MAX) {
		err_set(e, ERR_INVALID, "a disk is read through at most %d connections, not %u",
			SOURCE_HANDLES_MAX, from->nbd_count);
		goto fail;
	}
	if (from->nbd_count == 0) {
		if (file_open(s, from->file_fd, e))
			goto fail;
		*out = s;
		return 0;
	}
	if (!from->full)
		s->dirty_context = xstrdup(from->dirty_context);
	for (unsigned i = 0; i < from->nbd_count; i++)
		if (connect_one(s, from, from->nbd_fds[i], e))
			goto fail;
	if (learn(s, from, e))
		goto fail;
	*out = s;
	return 0;
fail:
	source_close(s);
	return -1;
}

void source_close(struct source *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++)
		nbd_close(s->handles[i]);
	free(s->dirty_context);
	free(s);
}

uint64_t source_size(const struct source *s)
{
	return s->size;
}

/* --- waiting for requests --- */

static int64_t bounded_ms(int64_t until)
{
	int64_t left = until - clock_mono_ms();
	return left < 0 ? 0 : left;
}

/* Move every connection with a request in flight one step on. */
static int step(struct source *s, int64_t until, struct err *e)
{
	struct pollfd fds[SOURCE_HANDLES_MAX];
	unsigned who[SOURCE_HANDLES_MAX], n = 0;
	int ready;

	for (unsigned i = 0; i < s->count; i++) {
		unsigned direction = nbd_aio_get_direction(s->handles[i]);

		if (s->in_flight[i] == 0)
			continue;
		fds[n] = (struct pollfd){.fd = nbd_aio_get_fd(s->handles[i])};
		if (direction & LIBNBD_AIO_DIRECTION_READ)
			fds[n].events |= POLLIN;
		if (direction & LIBNBD_AIO_DIRECTION_WRITE)
			fds[n].events |= POLLOUT;
		who[n++] = i;
	}
	ready = poll(fds, n, (int)bounded_ms(until));
	if (ready < 0 && errno != EINTR)
		return err_errno(e, errno, "cannot wait for the disk");
	if (ready == 0)
		return err_set(e, ERR_UNAVAILABLE,
			       "the NBD server of the disk has not answered for %d s",
			       SOURCE_GIVE_UP_MS / 1000);
	for (unsigned i = 0; ready > 0 && i < n; i++) {
		struct nbd_handle *h = s->handles[who[i]];
		unsigned direction = nbd_aio_get_direction(h);

		if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) &&
		    (direction & LIBNBD_AIO_DIRECTION_READ)) {
			if (nbd_aio_notify_read(h))
				return nbd_fail(e, "the connection to the disk broke");
		} else if ((fds[i].revents & (POLLOUT | POLLHUP | POLLERR)) &&
			   (direction & LIBNBD_AIO_DIRECTION_WRITE)) {
			if (nbd_aio_notify_write(h))
				return nbd_fail(e, "the connection to the disk broke");
		}
		if (nbd_aio_is_dead(h) > 0)
			return err_set(e, ERR_UNAVAILABLE,
				       "the NBD server of the disk closed the connection");
	}
	return 0;
}

/* --- reading --- */

struct request {
	struct source *source;
	unsigned handle;
};

/* Completion: frees its own note. */
static int request_done(void *context, int *error)
{
	const struct request *r = context;

	r->source->in_flight[r->handle]--;
	if (*error && !r->source->failed)
		r->source->failed = *error;
	return 1;
}

static unsigned total_in_flight(const struct source *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->count; i++)
		n += s->in_flight[i];
	return n;
}

/* The connection with room that has the fewest requests, or -1. */
static int idle_handle(const struct source *s)
{
	int best = -1;

	for (unsigned i = 0; i < s->count; i++)
		if (s->in_flight[i] < SOURCE_IN_FLIGHT &&
		    (best < 0 || s->in_flight[i] < s->in_flight[best]))
			best = (int)i;
	return best;
}

static int ask(struct source *s, unsigned handle, uint64_t offset, uint32_t length, uint8_t *to,
	       struct err *e)
{
	struct request *r = xcalloc(1, sizeof *r);

	*r = (struct request){.source = s, .handle = handle};
	s->in_flight[handle]++;
	if (nbd_aio_pread(
		s->handles[handle], to, length, offset,
		(nbd_completion_callback){.callback = request_done, .user_data = r, .free = free},
		0) < 0) {
		s->in_flight[handle]--;
		return nbd_fail(e, "cannot read the disk");
	}
	return 0;
}

static int file_read_all(const struct source *s, uint64_t offset, uint64_t length, uint8_t *to,
			 struct err *e)
{
	while (length) {
		ssize_t got = pread(s->fd, to, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, errno, "the disk cannot be read near byte %llu",
					 (unsigned long long)offset);
		if (got == 0)
			return err_set(e, ERR_IO, "the disk ends at byte %llu, before its size",
				       (unsigned long long)offset);
		to += got;
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	return 0;
}

static int file_read_ranges(struct source *s, uint64_t offset, const struct extents *ranges,
			    uint8_t *to, struct err *e)
{
	/* All of them are on their way while the first is waited for. */
	for (size_t i = 0; ranges->count > 1 && i < ranges->count; i++)
		posix_fadvise(s->fd, (off_t)(offset + ranges->items[i].offset),
			      (off_t)ranges->items[i].length, POSIX_FADV_WILLNEED);
	for (size_t i = 0; i < ranges->count; i++)
		if (file_read_all(s, offset + ranges->items[i].offset, ranges->items[i].length,
				  to + ranges->items[i].offset, e))
			return -1;
	return 0;
}

int source_read(struct source *s, uint64_t offset, const struct extents *ranges, uint8_t *to,
		struct err *e)
{
	size_t range = 0;
	uint64_t within = 0;

	if (s->count == 0)
		return file_read_ranges(s, offset, ranges, to, e);
	s->failed = 0;
	while (range < ranges->count || total_in_flight(s) > 0) {
		int handle = range < ranges->count && !s->failed ? idle_handle(s) : -1;
		unsigned before = total_in_flight(s);
		int64_t until;

		if (handle >= 0) {
			const struct extent *x = &ranges->items[range];
			uint64_t at = x->offset + within, left = x->length - within;
			uint32_t length = left < SOURCE_REQUEST_BYTES ? left : SOURCE_REQUEST_BYTES;

			if (ask(s, handle, offset + at, length, to + at, e))
				return -1;
			within += length;
			if (within == x->length) {
				range++;
				within = 0;
			}
			continue;
		}
		if (before == 0)
			break;
		until = clock_mono_ms() + SOURCE_GIVE_UP_MS;
		while (total_in_flight(s) == before)
			if (step(s, until, e))
				return -1;
	}
	if (s->failed)
		return err_errno(e, s->failed, "the disk cannot be read near byte %llu",
				 (unsigned long long)offset);
	return 0;
}

int source_read_any(void *source, uint64_t offset, uint32_t length, void *to, struct err *e)
{
	struct source *s = source;
	uint64_t from = offset / BLOCK_BYTES * BLOCK_BYTES, end = offset + length;
	struct extents range = {0};
	uint8_t *bounce;
	int result;

	memset(to, 0, length);
	if (offset >= s->size || length == 0)
		return 0;
	end = (end + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	bounce = xcalloc(1, end - from);
	extents_append(&range, 0, (end < s->size ? end : s->size) - from);
	result = source_read(s, from, &range, bounce, e);
	if (result == 0)
		memcpy(to, bounce + (offset - from), length);
	extents_release(&range);
	free(bounce);
	return result;
}

/* --- what is where --- */

/* The entries one block status request gave, of both contexts. */
struct status {
	struct source *source;
	struct buf allocation, dirty; /* u32 length, u32 flags each */
	bool odd;
};

static int status_entries(void *context, const char *meta, uint64_t offset, uint32_t *entries,
			  size_t n, int *error)
{
	struct status *st = context;
	struct buf *to = NULL;

	(void)offset;
	(void)error;
	if (strcmp(meta, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0)
		to = &st->allocation;
	else if (st->source->dirty_context && strcmp(meta, st->source->dirty_context) == 0)
		to = &st->dirty;
	if (!to)
		return 0;
	st->odd |= to->len > 0 || n % 2 != 0;
	if (to->len == 0)
		buf_add(to, entries, n * sizeof *entries);
	return 0;
}

static uint64_t entries_cover(const struct buf *b)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 8 <= b->len; i += 8) {
		uint32_t length;

		memcpy(&length, b->data + i, sizeof length);
		sum += length;
	}
	return sum;
}

/* Append the stretches whose flags have (or have not) `flag`, up to `limit` bytes. */
static void entries_append(const struct buf *b, uint64_t offset, uint64_t limit, uint32_t flag,
			   bool wanted, struct extents *out)
{
	uint64_t at = 0;

	for (size_t i = 0; i + 8 <= b->len && at < limit; i += 8) {
		uint32_t entry[2];
		uint64_t length;

		memcpy(entry, b->data + i, sizeof entry);
		length = entry[0] < limit - at ? entry[0] : limit - at;
		if (((entry[1] & flag) != 0) == wanted && length > 0)
			extents_append(out, offset + at, length);
		at += length;
	}
}

/* Keep a list within bounds: wider ranges are never wrong, only more work. */
static void bound(struct extents *list, uint64_t *grain, uint64_t size)
{
	while (list->count > SOURCE_EXTENTS_MAX) {
		extents_align(list, *grain, size);
		*grain *= 2;
	}
}

static int ask_status(struct source *s, uint64_t offset, uint64_t length, struct status *st,
		      struct err *e)
{
	struct request *r = xcalloc(1, sizeof *r);
	int64_t until = clock_mono_ms() + SOURCE_GIVE_UP_MS;

	*r = (struct request){.source = s, .handle = 0};
	*st = (struct status){.source = s};
	s->failed = 0;
	s->in_flight[0]++;
	if (nbd_aio_block_status(
		s->handles[0], length, offset,
		(nbd_extent_callback){.callback = status_entries, .user_data = st},
		(nbd_completion_callback){.callback = request_done, .user_data = r, .free = free},
		0) < 0) {
		s->in_flight[0]--;
		return nbd_fail(e, "cannot ask what the disk holds");
	}
	while (s->in_flight[0] > 0)
		if (step(s, until, e))
			return -1;
	if (s->failed)
		return err_errno(e, s->failed, "the NBD server does not tell what the disk holds");
	return 0;
}

static int map_part(struct source *s, uint64_t offset, uint64_t length, struct extents *data,
		    struct extents *dirty, uint64_t *covered, struct err *e)
{
	struct status st;
	uint64_t limit = length;
	int result = -1;

	if (ask_status(s, offset, length, &st, e))
		goto out;
	if (s->has_allocation && entries_cover(&st.allocation) < limit)
		limit = entries_cover(&st.allocation);
	if (s->has_dirty && entries_cover(&st.dirty) < limit)
		limit = entries_cover(&st.dirty);
	if (limit == 0 || st.odd) {
		err_set(e, ERR_IO, "the NBD server answers nonsense about what the disk holds");
		goto out;
	}
	/* A hole that does not read as zero has to be read. */
	if (s->has_allocation)
		entries_append(&st.allocation, offset, limit, LIBNBD_STATE_ZERO, false, data);
	else
		extents_append(data, offset, limit);
	if (s->has_dirty)
		entries_append(&st.dirty, offset, limit, 1, true, dirty);
	*covered = limit;
	result = 0;
out:
	buf_release(&st.allocation);
	buf_release(&st.dirty);
	return result;
}

/* The holes of a file; a block device has none that could be asked for. */
static int file_map(const struct source *s, struct extents *data, source_tick_fn *tick,
		    void *context, struct err *e)
{
	uint64_t grain = COARSE_FIRST_GRAIN;

	for (uint64_t at = 0; at < s->size;) {
		off_t from = lseek(s->fd, (off_t)at, SEEK_DATA), end;

		if (from < 0 && errno == ENXIO)
			return 0;
		end = from < 0 ? -1 : lseek(s->fd, from, SEEK_HOLE);
		if (end <= from) { /* it cannot be asked for */
			extents_append(data, at, s->size - at);
			return 0;
		}
		extents_append(data, (uint64_t)from, (uint64_t)(end - from));
		bound(data, &grain, s->size);
		at = (uint64_t)end;
		if (tick(context, e))
			return -1;
	}
	return 0;
}

int source_map(struct source *s, struct extents *data, struct extents *dirty, source_tick_fn *tick,
	       void *context, struct err *e)
{
	uint64_t data_grain = COARSE_FIRST_GRAIN, dirty_grain = COARSE_FIRST_GRAIN;

	if (s->count == 0)
		return file_map(s, data, tick, context, e);
	if (!s->has_allocation && !s->has_dirty) {
		extents_append(data, 0, s->size);
		return 0;
	}
	for (uint64_t at = 0, covered; at < s->size; at += covered) {
		uint64_t left = s->size - at;

		if (map_part(s, at, left < MAP_REQUEST_BYTES ? left : MAP_REQUEST_BYTES, data,
			     dirty, &covered, e) ||
		    tick(context, e))
			return -1;
		bound(data, &data_grain, s->size);
		bound(dirty, &dirty_grain, s->size);
	}
	return 0;
}
