// SPDX-License-Identifier: Apache-2.0
/* The boot test: QEMU is started, its witnesses are listened to, and the judge decides. */
#include "guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "guest/isolate.h"
#include "guest/qmp.h"
#include "guest/screen.h"
#include "io/file.h"
#include "io/process.h"

#define SSH_PORT	  2222 /* in a network namespace of our own every port is free */
#define START_TIMEOUT_MS  30000
#define TURN_MS		  500 /* the judge hears of time at least so often */
#define PROBE_MS	  5000
#define QUIET_MS	  10000 /* reading the screen costs the guest time: not while it speaks */
#define SERIAL_LOG_MAX	  (4 * MIB)
#define READ_BYTES	  65536
#define VARS_MAX_BYTES	  (16 * MIB)
#define PICTURE_MAX_BYTES (200 * MIB)

struct test {
	const struct boot_plan *plan;
	struct judge judge;
	char *qmp_path, *serial_path, *agent_path, *qemu_log, *ppm_path;
	pid_t qemu; /* 0: not running */
	struct qmp *qmp;
	int serial, agent, ssh; /* -1: not open */
	int serial_log;
	size_t serial_logged;
	int64_t next_probe, next_screen;
	int64_t last_serial;	   /* when the serial console spoke */
	struct buf picture;	   /* what is on the screen */
	struct buf picture_before; /* what was, when something moved the last time */
	struct buf screen_text;	   /* what picture_before says */
	uint64_t disk_requests, disk_bytes_read;
	bool unread; /* picture_before was not read yet */
	char ocr_trouble[200];
	char disk_trouble[200]; /* a disk could not be read or written: the test proves nothing */
};

/* --- starting --- */

static int copy_vars(const struct test *t, struct err *e)
{
	char *path = xasprintf("%s/vars.fd", t->plan->scratch_dir);
	struct buf vars = {0};
	int result = file_read("/usr/share/OVMF/OVMF_VARS_4M.fd", VARS_MAX_BYTES, &vars, e);

	if (result < 0)
		err_prefix(e, "UEFI firmware is missing; install the ovmf package");
	else
		result = file_write(path, vars.data, vars.len, 0600, e);
	buf_release(&vars);
	free(path);
	return result;
}

static void last_log_line(const struct test *t, char *out, size_t size)
{
	struct buf log = {0};
	char *line;

	out[0] = 0;
	if (file_read(t->qemu_log, MIB, &log, NULL) == 0) {
		while (log.len && strchr("\r\n ", log.data[log.len - 1]))
			log.data[--log.len] = 0;
		line = strrchr(buf_str(&log), '\n');
		snprintf(out, size, "%s", line ? line + 1 : buf_str(&log));
	}
	buf_release(&log);
}

/* 1 when QEMU ended, with why. */
static int qemu_ended(struct test *t, char *why, size_t size)
{
	int status;

	if (process_wait(t->qemu, 0, &status, NULL) == 0)
		return 0;
	t->qemu = 0;
	last_log_line(t, why, size);
	if (!*why && WIFSIGNALED(status))
		snprintf(why, size, "signal %d", WTERMSIG(status));
	return 1;
}

static void on_event(void *context, const char *event, json_t *data);

static int connect_qemu(struct test *t, struct err *e)
{
	int64_t end = clock_mono_ms() + START_TIMEOUT_MS;
	char why[300];

	while (qmp_open(t->qmp_path, on_event, t, &t->qmp, e) < 0) {
		if (qemu_ended(t, why, sizeof why))
			return err_set(e, ERR_UNAVAILABLE, "QEMU did not start: %s",
				       *why ? why : "it says nothing of why");
		if (clock_mono_ms() > end)
			return err_prefix(e, "QEMU did not start within %d s",
					  START_TIMEOUT_MS / 1000);
		clock_sleep_ms(50);
	}
	t->serial = unix_connect(t->serial_path, e);
	if (t->serial < 0)
		return -1;
	t->agent = unix_connect(t->agent_path, e);
	return t->agent < 0 ? -1 : 0;
}

static int start(struct test *t, struct err *e)
{
	char forward[32], *log = xasprintf("%s/serial.log", t->plan->evidence_dir);
	struct boot_argv argv;
	struct process_plan plan = {.log_file = t->qemu_log};
	int result;

	snprintf(forward, sizeof forward, "127.0.0.1:%d", SSH_PORT);
	t->serial_log = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (t->serial_log < 0) {
		err_errno(e, errno, "cannot write '%s'", log);
		free(log);
		return -1;
	}
	free(log);
	if (text_equal(t->plan->machine.firmware, "uefi") && copy_vars(t, e) < 0)
		return -1;
	boot_argv_make(&argv, t->plan, t->qmp_path, t->serial_path, forward, "none");
	plan.argv = (const char *const *)argv.argv;
	result = process_start(&plan, &t->qemu, e);
	boot_argv_release(&argv);
	if (result == 0)
		result = connect_qemu(t, e);
	return result;
}

/* --- witnesses --- */

static void hear(struct test *t, enum witness w, const char *text, size_t n)
{
	judge_hear(&t->judge, w, text, n, clock_mono_ms());
}

static void on_event(void *context, const char *event, json_t *data)
{
	struct test *t = context;

	if (text_equal(event, "RESET")) {
		if (json_is_true(json_object_get(data, "guest")))
			hear(t, WITNESS_RESET, "", 0);
	} else if (text_equal(event, "SHUTDOWN")) {
		if (json_is_true(json_object_get(data, "guest")))
			hear(t, WITNESS_SHUTDOWN, "", 0);
	} else if (text_equal(event, "GUEST_PANICKED")) {
		hear(t, WITNESS_PANIC, "", 0);
	} else if (text_equal(event, "BLOCK_IO_ERROR")) {
		const char *device = json_string_value(json_object_get(data, "device"));
		const char *operation = json_string_value(json_object_get(data, "operation"));
		const char *reason = json_string_value(json_object_get(data, "reason"));

		snprintf(t->disk_trouble, sizeof t->disk_trouble, "a %s of %s failed: %s",
			 operation ? operation : "request", device ? device : "a disk",
			 reason ? reason : "unknown reason");
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void take_serial(struct test *t)
{
	char text[READ_BYTES];
	ssize_t n = read(t->serial, text, sizeof text);

	if (n > 0) {
		size_t room = SERIAL_LOG_MAX - t->serial_logged;
		size_t keep = (size_t)n < room ? (size_t)n : room;

		if (fd_write_all(t->serial_log, text, keep, NULL) == 0)
			t->serial_logged += keep;
		t->last_serial = clock_mono_ms();
		hear(t, WITNESS_SERIAL, text, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_fd(&t->serial);
	}
}

static void take_agent(struct test *t)
{
	char text[4096];
	ssize_t n = read(t->agent, text, sizeof text - 1);

	if (n > 0) {
		text[n] = 0;
		if (memmem(text, (size_t)n, "\"return\"", 8))
			hear(t, WITNESS_AGENT, "", 0);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_fd(&t->agent);
	}
}

static void take_ssh(struct test *t)
{
	char text[256];
	ssize_t n = read(t->ssh, text, sizeof text);

	if (n > 0)
		hear(t, WITNESS_SSH, text, (size_t)n);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		close_fd(&t->ssh);
}

/* Ask those that speak only when asked. */
static void probe(struct test *t)
{
	static const char ping[] = "{\"execute\":\"guest-ping\"}\n";
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(SSH_PORT),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};

	if (t->agent >= 0)
		send(t->agent, ping, sizeof ping - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close_fd(&t->ssh);
	if (!t->plan->machine.nics.count)
		return;
	t->ssh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->ssh >= 0 && connect(t->ssh, (struct sockaddr *)&to, sizeof to) < 0 &&
	    errno != EINPROGRESS)
		close_fd(&t->ssh);
}

static uint64_t count_of(const json_t *object, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(object, name));

	return n > 0 ? (uint64_t)n : 0;
}

/* Whether the guest asked its disks for anything since it was asked the last time. */
static int disks_moved(struct test *t, bool *moved, struct err *e)
{
	json_t *disks = NULL, *disk;
	uint64_t requests = 0;
	size_t i;

	if (qmp_ask(t->qmp, "query-blockstats", NULL, &disks, e) < 0)
		return -1;
	t->disk_bytes_read = 0;
	json_array_foreach(disks, i, disk)
	{
		const json_t *stats = json_object_get(disk, "stats");
		const char *name = json_string_value(json_object_get(disk, "device"));

		if (!name || !text_starts(name, "disk"))
			continue; /* the firmware's own */
		requests += count_of(stats, "rd_operations") + count_of(stats, "wr_operations") +
			    count_of(stats, "flush_operations");
		t->disk_bytes_read += count_of(stats, "rd_bytes");
	}
	json_decref(disks);
	*moved = requests != t->disk_requests;
	t->disk_requests = requests;
	return 0;
}

static int take_picture(struct test *t, struct err *e)
{
	buf_clear(&t->picture);
	if (qmp_run(t->qmp, "screendump", json_pack("{s:s}", "filename", t->ppm_path), e) < 0)
		return -1;
	return file_read(t->ppm_path, PICTURE_MAX_BYTES, &t->picture, e);
}

/* A picture is read once: reading costs as much as a second of the guest's time. */
static int read_picture(struct test *t, struct err *e)
{
	buf_clear(&t->screen_text);
	if (screen_read(&t->picture_before, t->plan->scratch_dir, &t->screen_text, e) < 0)
		return -1;
	t->unread = false;
	hear(t, WITNESS_SCREEN, buf_str(&t->screen_text), t->screen_text.len);
	return 0;
}

static int look(struct test *t, struct err *e)
{
	bool moved;
	char bytes[24];

	if (disks_moved(t, &moved, e) < 0 || take_picture(t, e) < 0)
		return -1;
	if (screen_moved(&t->picture_before, &t->picture)) {
		buf_clear(&t->picture_before);
		buf_add(&t->picture_before, t->picture.data, t->picture.len);
		moved = t->unread = true;
	}
	snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)t->disk_bytes_read);
	hear(t, moved ? WITNESS_MOVED : WITNESS_STILL, bytes, strlen(bytes));
	return t->plan->ocr && t->unread ? read_picture(t, e) : 0;
}

static void look_at_guest(struct test *t)
{
	struct err e = {0};

	if (look(t, &e) < 0)
		snprintf(t->ocr_trouble, sizeof t->ocr_trouble, "%.199s", e.text);
	else
		t->ocr_trouble[0] = 0;
}

static void listen_once(struct test *t, struct err *e)
{
	struct pollfd fds[] = {{qmp_fd(t->qmp), POLLIN, 0},
			       {t->serial, POLLIN, 0},
			       {t->agent, POLLIN, 0},
			       {t->ssh, POLLIN, 0}};
	char why[300];

	if (poll(fds, COUNT_OF(fds), TURN_MS) > 0) {
		if (fds[1].revents)
			take_serial(t);
		if (fds[2].revents)
			take_agent(t);
		if (fds[3].revents)
			take_ssh(t);
		if (fds[0].revents && qmp_take_events(t->qmp, e) < 0) {
			clock_sleep_ms(100); /* it is about to end */
			if (!qemu_ended(t, why, sizeof why))
				snprintf(why, sizeof why, "it closed its monitor");
			hear(t, WITNESS_CRASH, why, strlen(why));
		}
	}
}

/* Until the judge has decided. -1 when the test turned out to prove nothing. */
static int watch(struct test *t, struct err *e)
{
	while (judge_tick(&t->judge, clock_mono_ms()) == VERDICT_NONE) {
		listen_once(t, e);
		if (t->disk_trouble[0])
			return err_set(e, ERR_IO, "the boot test proves nothing: %s",
				       t->disk_trouble);
		if (!t->qemu || t->judge.verdict != VERDICT_NONE)
			continue;
		if (!t->judge.alive_at && clock_mono_ms() >= t->next_probe) {
			probe(t);
			t->next_probe = clock_mono_ms() + PROBE_MS;
		}
		if (!t->judge.alive_at && clock_mono_ms() >= t->next_screen &&
		    clock_mono_ms() - t->last_serial >= QUIET_MS) {
			look_at_guest(t);
			t->next_screen = clock_mono_ms() + PROBE_MS;
		}
	}
	return 0;
}

/* --- evidence --- */

static void keep_text(const struct test *t, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", t->plan->evidence_dir, name);

	file_write(path, text, strlen(text), 0600, NULL);
	free(path);
}

/* Evidence is for people: what cannot be had of it does not change the verdict. */
static void keep_evidence(struct test *t, const char *sentence)
{
	char *png = xasprintf("%s/screen.png", t->plan->evidence_dir);
	char *verdict = xasprintf("verdict: %s\nsentence: %s\n", verdict_word(t->judge.verdict),
				  sentence);

	if (t->qemu) {
		qmp_run(t->qmp, "screendump",
			json_pack("{s:s,s:s}", "filename", png, "format", "png"), NULL);
		look_at_guest(t);
	}
	if (t->ocr_trouble[0])
		buf_printf(&t->screen_text, "(the screen could not be read: %s)\n", t->ocr_trouble);
	keep_text(t, "screen.txt", buf_str(&t->screen_text));
	keep_text(t, "verdict.txt", verdict);
	free(verdict);
	free(png);
}

static void stop(struct test *t)
{
	if (t->qemu)
		process_stop(t->qemu, 3000);
	qmp_close(t->qmp);
	close_fd(&t->serial);
	close_fd(&t->agent);
	close_fd(&t->ssh);
	close_fd(&t->serial_log);
	unlink(t->ppm_path);
	judge_release(&t->judge);
	buf_release(&t->picture);
	buf_release(&t->picture_before);
	buf_release(&t->screen_text);
	free(t->qmp_path);
	free(t->serial_path);
	free(t->agent_path);
	free(t->qemu_log);
	free(t->ppm_path);
}

int boot_test(const struct boot_plan *plan, enum verdict *verdict, char *sentence,
	      size_t sentence_size, struct err *e)
{
	const char *dir = plan->scratch_dir;
	struct test t = {.plan = plan, .serial = -1, .agent = -1, .ssh = -1, .serial_log = -1};
	int result = -1;

	t.qmp_path = xasprintf("%s/qmp", dir);
	t.agent_path = xasprintf("%s/qmp.agent", dir);
	t.serial_path = xasprintf("%s/serial", dir);
	t.qemu_log = xasprintf("%s/qemu.log", dir);
	t.ppm_path = xasprintf("%s/screen.ppm", dir);
	if (require_isolation(e) < 0 || file_make_dirs(plan->evidence_dir, 0700, e) < 0 ||
	    start(&t, e) < 0)
		goto out;
	judge_init(&t.judge, clock_mono_ms(), plan->patience_ms);
	t.next_probe = t.next_screen = clock_mono_ms() + PROBE_MS;
	if (qmp_run(t.qmp, "cont", NULL, e) < 0 || watch(&t, e) < 0)
		goto out;
	*verdict = t.judge.verdict;
	judge_sentence(&t.judge, sentence, sentence_size);
	keep_evidence(&t, sentence);
	result = 0;
out:
	stop(&t);
	return result;
}
