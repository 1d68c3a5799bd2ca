// SPDX-License-Identifier: Apache-2.0
#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"

struct disk_fault *disk_fault;
struct disk_watch *disk_watch;

static void done(struct disk_op op)
{
	if (disk_watch)
		disk_watch->done(disk_watch->context, &op);
}

/* True, with errno set, when the operation that begins here is to fail. */
static bool strikes(void)
{
	struct disk_fault *f = disk_fault;
	if (!f)
		return false;
	uint64_t number = f->counted++;
	if (number != f->after && !(f->stays && number > f->after))
		return false;
	f->struck = true;
	errno = f->errnum;
	return true;
}

int disk_create(const char *path, struct err *e)
{
	int fd = strikes() ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "cannot create %s", path);
	done((struct disk_op){DISK_CREATE, path, NULL, NULL, 0, 0});
	return fd;
}

int disk_reserve(int fd, const char *path, uint64_t bytes, struct err *e)
{
	if (!strikes() && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) == 0)
		return 0;
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return 0;
	return err_errno(e, errno, "cannot set room aside for %s", path);
}

int disk_write_at(int fd, const char *path, const void *from, size_t n, uint64_t offset,
		  struct err *e)
{
	if (strikes()) {
		int errnum = errno;
		if (!disk_fault->stays || disk_fault->counted == disk_fault->after + 1)
			fd_write_at(fd, from, n / 2, offset, NULL);
		return err_errno(e, errnum, "cannot write %s", path);
	}
	if (fd_write_at(fd, from, n, offset, e) < 0)
		return err_prefix(e, "cannot write %s", path);
	done((struct disk_op){DISK_WRITE, path, NULL, from, n, offset});
	return 0;
}

int disk_truncate(int fd, const char *path, uint64_t size, struct err *e)
{
	if (strikes() || ftruncate(fd, (off_t)size) < 0)
		return err_errno(e, errno, "cannot cut %s to %llu bytes", path,
				 (unsigned long long)size);
	done((struct disk_op){DISK_TRUNCATE, path, NULL, NULL, size, 0});
	return 0;
}

int disk_sync(int fd, const char *path, struct err *e)
{
	if (strikes() || fdatasync(fd) < 0)
		return err_errno(e, errno, "cannot make %s durable", path);
	done((struct disk_op){DISK_SYNC, path, NULL, NULL, 0, 0});
	return 0;
}

int disk_rename(const char *from, const char *to, struct err *e)
{
	if (strikes() || rename(from, to) < 0)
		return err_errno(e, errno, "cannot rename %s to %s", from, to);
	done((struct disk_op){DISK_RENAME, from, to, NULL, 0, 0});
	return 0;
}

int disk_sync_dir(const char *dir, struct err *e)
{
	if (strikes())
		return err_errno(e, errno, "cannot make the directory %s durable", dir);
	if (file_sync_dir(dir, e) < 0)
		return -1;
	done((struct disk_op){DISK_SYNC_DIR, dir, NULL, NULL, 0, 0});
	return 0;
}

int disk_make_dir(const char *dir, struct err *e)
{
	if (strikes() || (mkdir(dir, 0700) < 0 && errno != EEXIST))
		return err_errno(e, errno, "cannot make the directory %s", dir);
	done((struct disk_op){DISK_MAKE_DIR, dir, NULL, NULL, 0, 0});
	return 0;
}

int disk_remove(const char *path, struct err *e)
{
	if (strikes() || (unlink(path) < 0 && errno != ENOENT))
		return err_errno(e, errno, "cannot remove %s", path);
	done((struct disk_op){DISK_REMOVE, path, NULL, NULL, 0, 0});
	return 0;
}

int disk_replace(const char *temp, const char *path, const char *dir, const void *data, size_t n,
		 struct err *e)
{
	int fd = disk_create(temp, e);
	if (fd < 0)
		return -1;
	int result = -1;
	if (disk_write_at(fd, temp, data, n, 0, e) < 0 || disk_sync(fd, temp, e) < 0 ||
	    disk_rename(temp, path, e) < 0)
		disk_remove(temp, NULL);
	else
		result = disk_sync_dir(dir, e);
	close(fd);
	return result;
}
