// SPDX-License-Identifier: Apache-2.0
#include "copy/journal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/le.h"
#include "base/limits.h"
#include "base/text.h"
#include "copy/copy.h"
#include "io/file.h"

#define MAGIC		  "GWJOURN1"
#define MAGIC_BYTES	  8
#define CHECK_BYTES	  8
#define RECORD_BYTES	  (8 + NAME_BYTES + CHECK_BYTES)
#define BODY_MAX	  (8 + NAME_BYTES + 4 + JOURNAL_POINT_MAX + 4 + 8 * LAYOUT_MAX_SEGMENTS)
#define RUN_ID_MAX	  100
/* A region may be told of again after a crash between the store and the journal, so some more
 * than one record for each. */
#define JOURNAL_MAX_BYTES (2 * (LIMIT_DISK_MAX_BYTES / REGION_BYTES) * RECORD_BYTES + MIB)

static void add_check(struct buf *b, size_t from)
{
	struct name check;

	name_of(b->data + from, b->len - from, &check);
	buf_add(b, check.bytes, CHECK_BYTES);
}

static bool check_holds(const uint8_t *data, size_t n)
{
	struct name check;

	name_of(data, n, &check);
	return memcmp(check.bytes, data + n, CHECK_BYTES) == 0;
}

static bool run_id_is_file_name(const char *run_id)
{
	size_t n = run_id ? strlen(run_id) : 0;

	if (n == 0 || n > RUN_ID_MAX || run_id[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)run_id[i]) && !strchr("-_.", run_id[i]))
			return false;
	return true;
}

static void header_encode(struct buf *out, const char *point, const struct name *base_root,
			  const struct layout *layout)
{
	struct buf body = {0};
	uint32_t point_len = strlen(point);

	buf_add_le64(&body, layout->size);
	buf_add(&body, base_root->bytes, NAME_BYTES);
	buf_add_le32(&body, point_len);
	buf_add(&body, point, point_len);
	buf_add_le32(&body, layout->segment_count - 1);
	for (uint32_t i = 1; i < layout->segment_count; i++)
		buf_add_le64(&body, layout->segments[i].start);
	buf_add(out, MAGIC, MAGIC_BYTES);
	buf_add_le32(out, body.len);
	buf_add(out, body.data, body.len);
	add_check(out, 0);
	buf_release(&body);
}

/* The length of a whole header of this point, size and base, or 0. */
static size_t header_decode(const uint8_t *data, size_t n, const char *point, uint64_t size,
			    const struct name *base_root, struct layout *layout)
{
	const size_t before_point = 8 + NAME_BYTES + 4;
	uint64_t starts[LAYOUT_MAX_SEGMENTS];
	size_t point_len = strlen(point), body_len, want;
	const uint8_t *body = data + MAGIC_BYTES + 4;
	uint32_t count;

	if (n < MAGIC_BYTES + 4 || memcmp(data, MAGIC, MAGIC_BYTES) != 0)
		return 0;
	body_len = le32_get(data + MAGIC_BYTES);
	if (body_len > BODY_MAX || n < MAGIC_BYTES + 4 + body_len + CHECK_BYTES ||
	    body_len < before_point + point_len + 4 ||
	    !check_holds(data, MAGIC_BYTES + 4 + body_len))
		return 0;
	if (le64_get(body) != size || memcmp(body + 8, base_root->bytes, NAME_BYTES) != 0 ||
	    le32_get(body + 8 + NAME_BYTES) != point_len ||
	    memcmp(body + before_point, point, point_len) != 0)
		return 0;
	count = le32_get(body + before_point + point_len);
	want = before_point + point_len + 4 + 8 * (size_t)count;
	if (count >= LAYOUT_MAX_SEGMENTS || body_len != want)
		return 0;
	for (uint32_t i = 0; i < count; i++)
		starts[i] = le64_get(body + before_point + point_len + 4 + 8 * i);
	if (layout_from_starts(layout, size, starts, count, NULL))
		return 0;
	return MAGIC_BYTES + 4 + body_len + CHECK_BYTES;
}

size_t journal_scan(const uint8_t *data, size_t n, const char *point, uint64_t size,
		    const struct name *base_root, struct layout *layout, journal_record_fn *record,
		    void *context)
{
	size_t at = header_decode(data, n, point, size, base_root, layout);
	uint64_t regions;

	if (at == 0)
		return 0;
	regions = layout_regions(layout);
	for (; n - at >= RECORD_BYTES; at += RECORD_BYTES) {
		uint64_t region = le64_get(data + at);
		struct name page;

		if (!check_holds(data + at, 8 + NAME_BYTES) || region >= regions)
			break;
		memcpy(page.bytes, data + at + 8, NAME_BYTES);
		record(context, region, &page);
	}
	return at;
}

static int lock_for(int fd, int64_t wait_ms, const char *path, struct err *e)
{
	int64_t until = clock_mono_ms() + wait_ms;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_errno(e, errno, "cannot lock %s", path);
		if (clock_mono_ms() >= until)
			return err_set(e, ERR_BUSY,
				       "another stream of this disk is still being received; try "
				       "again when it ended");
		clock_sleep_ms(20);
	}
	return 0;
}

int journal_open(const char *dir, const char *run_id, unsigned number, const char *point,
		 uint64_t size, const struct name *base_root, int64_t wait_ms,
		 journal_record_fn *record, void *context, struct journal *out, struct err *e)
{
	struct buf data = {0};
	struct err why = {0};

	*out = (struct journal){.fd = -1};
	if (!run_id_is_file_name(run_id))
		return err_set(e, ERR_INVALID, "this run id cannot be the name of a journal");
	if (strlen(point) > JOURNAL_POINT_MAX)
		return err_set(e, ERR_INVALID, "the name of the point is longer than %d bytes",
			       JOURNAL_POINT_MAX);
	out->path = xasprintf("%s/%s.%u", dir, run_id, number);
	out->fd = open(out->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out->fd < 0) {
		err_errno(e, errno, "cannot open the journal %s", out->path);
		goto fail;
	}
	if (lock_for(out->fd, wait_ms, out->path, e))
		goto fail;
	if (file_read(out->path, JOURNAL_MAX_BYTES, &data, &why) && why.kind != ERR_INVALID) {
		if (e)
			*e = why;
		goto fail;
	}
	out->end = journal_scan(data.data, data.len, point, size, base_root, &out->layout, record,
				context);
	out->started = out->end > 0;
	buf_release(&data);
	if (ftruncate(out->fd, (off_t)out->end)) {
		err_errno(e, errno, "cannot shorten the journal %s", out->path);
		goto fail;
	}
	return 0;
fail:
	buf_release(&data);
	journal_close(out);
	return -1;
}

void journal_close(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	free(j->path);
	buf_release(&j->pending);
	*j = (struct journal){.fd = -1};
}

int journal_drop(struct journal *j, struct err *e)
{
	j->started = false;
	j->end = 0;
	buf_clear(&j->pending);
	if (ftruncate(j->fd, 0) || fdatasync(j->fd))
		return err_errno(e, errno, "cannot empty the journal %s", j->path);
	return 0;
}

static int sync_dir_of(const char *path, struct err *e)
{
	char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	int result = file_sync_dir(*dir ? dir : "/", e);

	free(dir);
	return result;
}

int journal_start(struct journal *j, const char *point, const struct name *base_root,
		  const struct layout *layout, struct err *e)
{
	if (journal_drop(j, e))
		return -1;
	header_encode(&j->pending, point, base_root, layout);
	if (journal_sync(j, e) || sync_dir_of(j->path, e))
		return -1;
	j->layout = *layout;
	j->started = true;
	return 0;
}

void journal_add(struct journal *j, uint64_t region, const struct name *page)
{
	size_t from = j->pending.len;

	buf_add_le64(&j->pending, region);
	buf_add(&j->pending, page->bytes, NAME_BYTES);
	add_check(&j->pending, from);
}

int journal_sync(struct journal *j, struct err *e)
{
	if (fd_write_at(j->fd, j->pending.data, j->pending.len, j->end, e))
		return err_prefix(e, "journal %s", j->path);
	if (fdatasync(j->fd))
		return err_errno(e, errno, "cannot make the journal %s durable", j->path);
	j->end += j->pending.len;
	buf_clear(&j->pending);
	return 0;
}

/* "<run_id>.<digits>" */
static bool is_journal_of(const char *file, const char *run_id)
{
	size_t n = strlen(run_id);

	if (strncmp(file, run_id, n) != 0 || file[n] != '.' || !file[n + 1])
		return false;
	return strspn(file + n + 1, "0123456789") == strlen(file + n + 1);
}

int copy_journal_remove(const char *journal_dir, const char *run_id, struct err *e)
{
	DIR *dir;
	const struct dirent *entry;
	int result = 0;

	if (!run_id_is_file_name(run_id))
		return err_set(e, ERR_INVALID, "this run id cannot be the name of a journal");
	dir = opendir(journal_dir);
	if (!dir)
		return errno == ENOENT
			   ? 0
			   : err_errno(e, errno, "cannot list the journals in %s", journal_dir);
	while (result == 0 && (entry = readdir(dir))) {
		if (!is_journal_of(entry->d_name, run_id))
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) && errno != ENOENT)
			result = err_errno(e, errno, "cannot remove the journal %s/%s", journal_dir,
					   entry->d_name);
	}
	closedir(dir);
	return result;
}

int journal_pages(const char *path, struct name *base_root, journal_page_fn *page, void *context,
		  struct err *e)
{
	const size_t before = MAGIC_BYTES + 4;
	struct buf data = {0};
	struct err why = {0};
	size_t body_len, at;
	int result = 0;

	memset(base_root, 0, sizeof *base_root);
	if (file_read(path, JOURNAL_MAX_BYTES, &data, &why)) {
		/* Forgotten meanwhile. */
		result = why.kind == ERR_NOT_FOUND ? 0 : err_set(e, why.kind, "%s", why.text);
		goto out;
	}
	if (data.len < before || memcmp(data.data, MAGIC, MAGIC_BYTES) != 0)
		goto out;
	body_len = le32_get(data.data + MAGIC_BYTES);
	if (body_len > BODY_MAX || body_len < 8 + NAME_BYTES ||
	    data.len < before + body_len + CHECK_BYTES ||
	    !check_holds(data.data, before + body_len))
		goto out;
	memcpy(base_root->bytes, data.data + before + 8, NAME_BYTES);
	for (at = before + body_len + CHECK_BYTES; data.len - at >= RECORD_BYTES;
	     at += RECORD_BYTES) {
		struct name name;

		if (!check_holds(data.data + at, 8 + NAME_BYTES))
			break;
		memcpy(name.bytes, data.data + at + 8, NAME_BYTES);
		if (!name_is_zero(&name))
			page(context, &name);
	}
out:
	buf_release(&data);
	return result;
}
