// SPDX-License-Identifier: Apache-2.0
/* The real nbdkit with our plugin, read by the real qemu-img. */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/process.h"
#include "made_disk.h"

static char dir[64];
static char store_where[80];

static char *inside(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static int begin(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	char *raw;

	strcpy(dir, "/tmp/godwit-serve-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(store_where, sizeof store_where, "dir:%s/store", dir);
	fill_disk(f);
	assert_ok(store_open(store_where, true, true, &f->store, err));
	put_disk(f);
	raw = inside("disk.raw");
	assert_ok(file_write(raw, f->disk, DISK_BYTES, 0600, err));
	free(raw);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;

	store_close(f->store);
	free(f->disk);
	free(f);
	assert_ok(file_remove_tree(dir, err));
	return 0;
}

static void count_steps(void *context, uint64_t done, uint64_t total)
{
	assert_true(done <= total && total == DISK_BYTES);
	++*(unsigned *)context;
}

/* Converted back and compared, byte for byte. */
static void check_export(struct fixture *f, const char *format, const char *driver)
{
	char *path = inside("out"), *raw = inside("disk.raw"), *back = inside("back");
	const char *const convert[] = {"qemu-img", "convert", "-f", driver, "-O",
				       "raw",	   path,      back, NULL};
	const char *const compare[] = {"cmp", "-n", "139461121", raw, back, NULL};
	struct process_plan plan = {.argv = convert};
	unsigned steps = 0;
	struct stat st;

	assert_int_equal(DISK_BYTES, 139461121);
	assert_ok(image_export(store_where, &f->root, format, path, dir, count_steps, &steps, err));
	assert_true(steps > 0);
	assert_int_equal(stat(path, &st), 0);
	if (strcmp(format, "raw") == 0)
		assert_int_equal(st.st_size, DISK_BYTES);
	assert_true((uint64_t)st.st_blocks * 512 < DISK_BYTES / 4);
	assert_ok(process_run(&plan, 60000, 4096, NULL, err));
	assert_int_equal(stat(back, &st), 0);
	/* A disk that is no multiple of a sector is made one. */
	assert_true((uint64_t)st.st_size >= DISK_BYTES &&
		    (uint64_t)st.st_size < DISK_BYTES + 4 * MIB);
	plan.argv = compare;
	assert_ok(process_run(&plan, 60000, 4096, NULL, err));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(back), 0);
	free(back);
	free(raw);
	free(path);
}

static void exports_equal_the_disk(void **state)
{
	check_export(*state, "raw", "raw");
	check_export(*state, "qcow2", "qcow2");
	check_export(*state, "vmdk", "vmdk");
	check_export(*state, "vhd", "vpc");
	check_export(*state, "vhdx", "vhdx");
}

static void a_failed_export_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct name other = f->root;
	struct err e = {0};
	char *path = inside("out"), *part = inside("out.part");

	other.bytes[0] ^= 1;
	assert_int_equal(image_export(store_where, &other, "raw", path, dir, NULL, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(image_export(store_where, &f->root, "iso", path, dir, NULL, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(part, F_OK), -1);
	free(part);
	free(path);
}

static void disks_are_served_by_name_on_a_private_socket(void **state)
{
	struct fixture *f = *state;
	struct serve_disk disks[] = {{"disk0", f->root}, {"disk1", f->root}};
	char *socket_path = inside("nbd"), *log = inside("log"), *overlay = inside("o.qcow2");
	char *uri = xasprintf("nbd+unix:///disk1?socket=%s", socket_path);
	const char *const info[] = {"nbdinfo", "--size", uri, NULL};
	const char *const list[] = {"nbdinfo", "--list", uri, NULL};
	struct process_plan plan = {.argv = info};
	struct buf out = {0};
	struct stat st;
	pid_t pid;

	assert_ok(image_serve(store_where, disks, 2, socket_path, log, false, &pid, err));
	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(process_run(&plan, 60000, 4096, &out, err));
	assert_int_equal(strtoull(buf_str(&out), NULL, 10), DISK_BYTES);
	buf_clear(&out);
	plan.argv = list;
	assert_ok(process_run(&plan, 60000, 65536, &out, err));
	assert_non_null(strstr(buf_str(&out), "disk0"));
	assert_non_null(strstr(buf_str(&out), "disk1"));
	assert_ok(image_overlay(socket_path, "disk1", 0, overlay, err));
	assert_int_equal(access(overlay, F_OK), 0);
	process_stop(pid, 5000);
	buf_release(&out);
	free(uri);
	free(overlay);
	free(log);
	free(socket_path);
}

static void a_server_that_cannot_start_says_why(void **state)
{
	struct fixture *f = *state;
	struct serve_disk disk = {"disk0", f->root};
	char *socket_path = inside("nbd"), *log = inside("log");
	struct err e = {0};
	pid_t pid;

	assert_int_equal(
	    image_serve("dir:/nonexistent/store", &disk, 1, socket_path, log, false, &pid, &e), -1);
	assert_non_null(strstr(e.text, "/nonexistent/store"));
	free(log);
	free(socket_path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(exports_equal_the_disk),
	    TEST(a_failed_export_leaves_nothing),
	    TEST(disks_are_served_by_name_on_a_private_socket),
	    TEST(a_server_that_cannot_start_says_why),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
