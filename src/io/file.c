// SPDX-License-Identifier: Apache-2.0
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The folder that holds `path`; the caller frees. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int fd_write_all(int fd, const void *from, size_t n, struct err *e)
{
	const char *p = from;
	while (n) {
		ssize_t put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, errno, "cannot write");
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

int fd_write_at(int fd, const void *from, size_t n, uint64_t offset, struct err *e)
{
	const char *p = from;
	while (n) {
		ssize_t put = pwrite(fd, p, n, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, errno, "cannot write %zu bytes at offset %llu", n,
					 (unsigned long long)offset);
		p += put;
		n -= (size_t)put;
		offset += (uint64_t)put;
	}
	return 0;
}

int fd_read_at(int fd, void *to, size_t n, uint64_t offset, struct err *e)
{
	char *p = to;
	while (n) {
		ssize_t got = pread(fd, p, n, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(e, errno, "cannot read %zu bytes at offset %llu", n,
					 (unsigned long long)offset);
		if (got == 0)
			return err_set(e, ERR_CORRUPT,
				       "ends before offset %llu; %zu more bytes "
				       "should be there",
				       (unsigned long long)offset, n);
		p += got;
		n -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

int file_sync_dir(const char *dir, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "cannot open the folder '%s'", dir);
	int result = fsync(fd) < 0 ? err_errno(e, errno, "cannot sync the folder '%s'", dir) : 0;
	close(fd);
	return result;
}

int file_write(const char *path, const void *data, size_t n, mode_t mode, struct err *e)
{
	char *dir = folder_of(path), *aside = xasprintf("%s.XXXXXX", path);
	int result = -1;
	int fd = mkostemp(aside, O_CLOEXEC);
	if (fd < 0) {
		err_errno(e, errno, "cannot make a file beside '%s'", path);
		goto out;
	}
	if (fd_write_all(fd, data, n, e) < 0) {
		err_prefix(e, "'%s'", path);
		goto remove;
	}
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0) {
		err_errno(e, errno, "cannot write '%s'", path);
		goto remove;
	}
	if (rename(aside, path) < 0) {
		err_errno(e, errno, "cannot replace '%s'", path);
		goto remove;
	}
	result = file_sync_dir(dir, e);
	goto close;
remove:
	unlink(aside);
close:
	close(fd);
out:
	free(dir);
	free(aside);
	return result;
}

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	size_t start = out->len;
	int result = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "cannot open '%s'", path);
	for (;;) {
		/* One byte over the bound is enough to know. */
		size_t left = max - (out->len - start) + 1, want = left < 65536 ? left : 65536;
		buf_reserve(out, want);
		ssize_t got = read(fd, out->data + out->len, want);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			err_errno(e, errno, "cannot read '%s'", path);
			break;
		}
		out->len += (size_t)got;
		out->data[out->len] = '\0';
		if (out->len - start > max) {
			err_set(e, ERR_INVALID, "'%s' is larger than %zu bytes", path, max);
			break;
		}
		if (got == 0) {
			result = 0;
			break;
		}
	}
	close(fd);
	if (result < 0) {
		out->len = start;
		if (out->data)
			out->data[start] = '\0';
	}
	return result;
}

int file_make_dirs(const char *dir, mode_t mode, struct err *e)
{
	char *path = xstrdup(dir);
	int result = 0;
	for (char *p = path; *p && result == 0;) {
		p += strspn(p, "/");
		p += strcspn(p, "/");
		char kept = *p;
		*p = '\0';
		struct stat st;
		if (*path && mkdir(path, mode) < 0 &&
		    (errno != EEXIST || stat(path, &st) < 0 || !S_ISDIR(st.st_mode)))
			result = err_errno(e, errno == EEXIST ? ENOTDIR : errno,
					   "cannot make the folder '%s'", path);
		*p = kept;
	}
	free(path);
	return result;
}

static int remove_at(int at, const char *name, const char *path, struct err *e);

static int remove_entries(DIR *folder, const char *path, struct err *e)
{
	struct dirent *entry;
	int result = 0;
	while (result == 0 && (errno = 0, entry = readdir(folder)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = remove_at(dirfd(folder), entry->d_name, path, e);
	if (result == 0 && errno)
		result = err_errno(e, errno, "cannot list '%s'", path);
	return result;
}

static int remove_at(int at, const char *name, const char *path, struct err *e)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_errno(e, errno, "cannot remove '%s' of '%s'", name, path);
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder) {
		err_errno(e, errno, "cannot remove '%s' of '%s'", name, path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	int result = remove_entries(folder, path, e);
	closedir(folder);
	if (result == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		result = err_errno(e, errno, "cannot remove '%s' of '%s'", name, path);
	return result;
}

int file_remove_tree(const char *path, struct err *e)
{
	return remove_at(AT_FDCWD, path, path, e);
}

int file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes, struct err *e)
{
	struct statvfs fs;
	if (statvfs(path, &fs) < 0)
		return err_errno(e, errno, "cannot ask how full the file system of '%s' is", path);
	*free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	*total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	return 0;
}
