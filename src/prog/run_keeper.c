// SPDX-License-Identifier: Apache-2.0
/*
 * The keeper of a machine. What it knows it looks up each time: which disks are whole, whether the
 * domain runs, so that it may die at any point and another one goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/file.h"
#include "io/process.h"
#include "prog/run.h"

#define TURN_MS	      1000
#define FIRST_LOOK_MS (120 * 1000) /* so long may it take until the domain is there */
#define START_MS      40000
#define STOP_MS	      10000

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

struct keeper {
	const struct run_place *place;
	struct serve_disk disks[LIMIT_DISKS_PER_SERVER];
	unsigned count;
	pid_t server; /* 0: none */
	virConnectPtr conn;
	bool seen; /* the domain was there */
	char told[LIMIT_SENTENCE_BYTES];
};

/* The same trouble is told once. */
static void tell(struct keeper *k, const struct err *e)
{
	if (strcmp(k->told, e->text) != 0)
		log_warn("machine %s: %s", k->place->name, e->text);
	snprintf(k->told, sizeof k->told, "%s", e->text);
}

static int read_disks(struct keeper *k, struct err *e)
{
	json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(k->place->machine, "disks"), i, disk)
	{
		if (i == LIMIT_DISKS_PER_SERVER ||
		    !name_parse(text_of(disk, "root"), &k->disks[i].root))
			return err_set(e, ERR_CORRUPT, "'%s' is damaged", k->place->about);
		k->disks[i].export_name = text_of(disk, "export");
		k->count++;
	}
	return 0;
}

static int serve(struct keeper *k, struct err *e)
{
	struct stat st;
	int status, result;
	bool had = k->server && stat(k->place->socket, &st) == 0;

	if (k->server && process_wait(k->server, 0, &status, NULL) == 0)
		return 0;
	k->server = 0;
	result = image_serve(text_of(k->place->machine, "store"), k->disks, k->count,
			     k->place->socket, k->place->log_file, false, &k->server, e);
	if (result < 0)
		k->server = 0;
	else if (had && chown(k->place->socket, st.st_uid, st.st_gid) < 0)
		result = err_errno(e, errno, "cannot give the socket to QEMU");
	return result;
}

static int look(struct keeper *k, struct run_look *now, struct err *e)
{
	int result;

	if (!k->conn && run_connect(text_of(k->place->machine, "connect"), &k->conn, e) < 0)
		return -1;
	result = run_domain_look(k->conn, k->place, now, e);
	if (result < 0) { /* libvirtd may have been started again */
		virConnectClose(k->conn);
		k->conn = NULL;
	}
	return result;
}

/* One disk at a time: the guest is to notice little. */
static void pull_next(struct keeper *k, const struct run_look *now)
{
	struct err e = {0};
	unsigned next = now->disks;

	for (unsigned i = now->disks; i-- > 0;) {
		if (now->pulling[i])
			return;
		if (!now->is_local[i])
			next = i;
	}
	if (next < now->disks && run_domain_pull(k->conn, k->place, next, &e) < 0)
		tell(k, &e);
}

/* True when there is nothing left to keep. */
static bool turn(struct keeper *k, int64_t began)
{
	struct run_look now;
	struct err e = {0};

	if (serve(k, &e) < 0 || look(k, &now, &e) < 0) {
		tell(k, &e);
		return false;
	}
	if (now.local == now.disks) {
		log_info("machine %s: all of it is local", k->place->name);
		return true;
	}
	k->seen |= now.state != RUN_GONE;
	if (now.state == RUN_GONE)
		return k->seen || clock_mono_ms() - began > FIRST_LOOK_MS;
	if (now.state == RUN_STUCK) {
		log_info("machine %s: a disk failed; it goes on", k->place->name);
		if (run_domain_start(k->conn, k->place, &e) < 0)
			tell(k, &e);
	}
	if (now.state == RUN_RUNNING)
		pull_next(k, &now);
	return false;
}

static void keep(const struct run_place *p, int ready)
{
	struct keeper k = {.place = p};
	struct err e = {0};
	int64_t began = clock_mono_ms();

	log_init("godwit-keeper", LOG_LEVEL_INFO);
	/* The server of a keeper that was killed serves those it has until they go, and no others. */
	unlink(p->socket);
	if (read_disks(&k, &e) < 0 || serve(&k, &e) < 0) {
		fd_write_all(ready, e.text, strlen(e.text), NULL);
		close(ready);
		return;
	}
	close(ready);
	while (!ended && !turn(&k, began))
		clock_sleep_ms(TURN_MS);
	if (k.server)
		process_stop(k.server, 5000);
	unlink(p->socket);
}

/* The lock is the keeper's life; 1 when another one holds it. */
static int lock(const struct run_place *p, int *fd, struct err *e)
{
	*fd = open(p->pid_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0)
		return err_errno(e, errno, "cannot open '%s'", p->pid_file);
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	close(*fd);
	return 1;
}

bool run_keeper_lives(const struct run_place *p)
{
	int fd, got = lock(p, &fd, NULL);

	if (got == 0)
		close(fd);
	return got == 1;
}

static _Noreturn void become_keeper(const struct run_place *p, int fd, int ready)
{
	struct sigaction act = {.sa_handler = on_signal};
	int log = open(p->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	char pid[24];

	setsid();
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	signal(SIGHUP, SIG_IGN);
	dup2(nothing, STDIN_FILENO);
	dup2(log < 0 ? nothing : log, STDOUT_FILENO);
	dup2(log < 0 ? nothing : log, STDERR_FILENO);
	snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (ftruncate(fd, 0) == 0)
		fd_write_at(fd, pid, strlen(pid), 0, NULL);
	keep(p, ready);
	_exit(0);
}

int run_keeper_start(const struct run_place *p, struct err *e)
{
	struct buf why = {0};
	char piece[256];
	int fd, ready[2], got = lock(p, &fd, e);
	ssize_t n;
	pid_t pid;

	if (got != 0)
		return got < 0 ? -1 : 0;
	if (pipe2(ready, O_CLOEXEC) < 0) {
		close(fd);
		return err_errno(e, errno, "cannot make a pipe");
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		pid = fork(); /* init's child, not ours */
		if (pid == 0)
			become_keeper(p, fd, ready[1]);
		_exit(pid < 0);
	}
	close(fd);
	close(ready[1]);
	if (pid < 0) {
		close(ready[0]);
		return err_errno(e, errno, "cannot start the keeper");
	}
	waitpid(pid, NULL, 0);
	while ((n = read(ready[0], piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
		buf_add(&why, piece, n > 0 ? (size_t)n : 0);
	close(ready[0]);
	if (why.len)
		err_set(e, ERR_UNAVAILABLE, "%s", buf_str(&why));
	got = why.len ? -1 : 0;
	buf_release(&why);
	return got;
}

void run_keeper_stop(const struct run_place *p)
{
	int64_t end = clock_mono_ms() + STOP_MS;
	struct buf text = {0};
	long pid = 0;

	if (run_keeper_lives(p) && file_read(p->pid_file, 64, &text, NULL) == 0)
		pid = strtol(buf_str(&text), NULL, 10);
	buf_release(&text);
	if (pid > 1)
		kill((pid_t)pid, SIGTERM);
	while (run_keeper_lives(p) && clock_mono_ms() < end)
		clock_sleep_ms(100);
	if (pid > 1 && run_keeper_lives(p))
		kill((pid_t)pid, SIGKILL);
}
