// SPDX-License-Identifier: Apache-2.0
/* Boot tests: a few at a time, each in a thread that drives a worker process and writes its verdict. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "guest/boot.h"
#include "io/file.h"
#include "io/process.h"
#include "job/loop_private.h"
#include "wire/wire.h"

#define PATIENCE_KVM_MS	 120000
#define PATIENCE_TCG_MS	 420000
#define WORKER_GRACE_MS	 90000 /* beyond the patience: starting, the screen, the end */
#define TRIES		 3
#define WORKER_OUT_BYTES 8192

/* What the worker printed, or why there is no verdict. */
struct outcome {
	enum verdict verdict;
	char sentence[600];
};

static void parse_outcome(const char *text, struct outcome *o)
{
	const char *v = strstr(text, "verdict: "), *s = strstr(text, "sentence: ");
	char word[32] = "";
	if (v)
		sscanf(v + strlen("verdict: "), "%31[^\n]", word);
	o->verdict = verdict_from_word(word);
	if (s)
		sscanf(s + strlen("sentence: "), "%599[^\n]", o->sentence);
}

static int feed(const struct bytes *data, int *fd, struct err *e)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(e, ERR_IO, "cannot make a pipe for the worker");
	/* A machine is a few KiB, within a pipe's 64; a larger one would block for ever. */
	int r = data->len <= 60000
		    ? fd_write_all(ends[1], data->data, data->len, e)
		    : err_set(e, ERR_INVALID, "the machine's description is too long");
	close(ends[1]);
	*fd = ends[0];
	return r;
}

static int run_worker(struct boot_slot *slot, const struct image_row *image, const char *socket,
		      const char *scratch, const char *evidence, struct outcome *o, struct err *e)
{
	struct loop *l = slot->loop;
	int64_t patience = l->config.boot_patience_ms;
	if (!patience)
		patience = boot_kvm_works() ? PATIENCE_KVM_MS : PATIENCE_TCG_MS;
	int in = -1;
	struct buf out = {0};
	char *program = process_sibling("godwit-worker");
	char *ms = xasprintf("%lld", (long long)patience);
	char *log = xasprintf("%s/worker.log", evidence);
	const char *argv[] = {program,	    "boot",   "--nbd",	    socket, "--scratch", scratch,
			      "--evidence", evidence, "--patience", ms,	    NULL};
	int r = feed(&image->machine, &in, e);
	if (r == 0) {
		struct process_fd fds[] = {{in, 0}};
		struct process_plan plan = {
		    .argv = argv, .fds = fds, .fd_count = 1, .log_file = log};
		r = process_run(&plan, patience * JUDGE_PATIENCE_TIMES + WORKER_GRACE_MS, WORKER_OUT_BYTES, &out, e);
	}
	if (r >= 0) {
		parse_outcome(buf_str(&out), o);
		r = o->verdict == VERDICT_NONE
			? err_set(e, ERR_IO, "the worker ended without a verdict")
			: 0;
	}
	if (in >= 0)
		close(in);
	buf_release(&out);
	free(program);
	free(ms);
	free(log);
	return r;
}

static int test_image(struct boot_slot *slot, const struct image_row *image, const char *scratch,
		      const char *evidence, struct outcome *o, struct err *e)
{
	struct loop *l = slot->loop;
	struct serve_disk *disks = xcalloc(image->disks.count, sizeof *disks);
	const struct image_disk *d = image->disks.items;
	char *socket = xasprintf("%s/nbd.sock", scratch);
	char *log = xasprintf("%s/nbd.log", evidence);
	pid_t nbd = 0;
	int r = 0;
	for (size_t i = 0; i < image->disks.count && r == 0; i++) {
		disks[i].export_name = xasprintf("disk%zu", i);
		if (!name_parse(d[i].root, &disks[i].root))
			r = err_set(e, ERR_CORRUPT, "image %s: disk %s has no root", image->id,
				    d[i].key);
	}
	if (r == 0)
		r = file_remove_tree(scratch, e);
	if (r == 0)
		r = file_make_dirs(scratch, 0700, e);
	if (r == 0)
		r = file_make_dirs(evidence, 0700, e);
	if (r == 0)
		r = image_serve(l->service->store_where, disks, (unsigned)image->disks.count,
				socket, log, false, &nbd, e);
	if (r == 0) {
		r = run_worker(slot, image, socket, scratch, evidence, o, e);
		process_stop(nbd, 2000);
	}
	struct err none;
	file_remove_tree(scratch, &none);
	for (size_t i = 0; i < image->disks.count; i++)
		free((char *)disks[i].export_name);
	free(disks);
	free(socket);
	free(log);
	return r;
}

static int record(struct boot_slot *slot, const char *evidence, const struct outcome *o,
		  struct err *e)
{
	struct service *s = slot->loop->service;
	struct run_row run = {0};
	struct image_row image = {0};
	struct meta_tx *tx;
	struct err none;
	int64_t now = clock_now_ms();
	if (meta_begin(s->meta, true, &tx, e) < 0)
		return -1;
	int r = meta_get(tx, &meta_runs, slot->run_id, &run, e);
	if (r == 0)
		r = meta_get(tx, &meta_images, slot->image_id, &image, e);
	if (r == 0) {
		text_set(&run.verdict, verdict_word(o->verdict));
		text_set(&run.verdict_text, o->sentence);
		text_set(&image.verdict, verdict_word(o->verdict));
		text_set(&image.verdict_text, o->sentence);
		text_set(&image.evidence, evidence);
		image.verdict_at = now;
		r = meta_put(tx, &meta_runs, &run, e);
	}
	if (r == 0)
		r = meta_put(tx, &meta_images, &image, e);
	shape_release(meta_runs.shape, &run);
	shape_release(meta_images.shape, &image);
	if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
		r = -1;
	if (r == 0) {
		struct job_event event = {.kind = RUN_VERDICT, .text = o->sentence};
		r = service_job_event(s, slot->job_id, &event, now, NULL, e);
	}
	return r;
}

static bool stopping(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	bool is = l->stopping;
	pthread_mutex_unlock(&l->lock);
	return is;
}

static void *slot_thread(void *arg)
{
	struct boot_slot *slot = arg;
	struct loop *l = slot->loop;
	struct image_row image = {0};
	struct outcome o = {0};
	struct meta_tx *tx;
	struct err e = {0}, none;
	char *scratch = xasprintf("%s/scratch/%s", l->service->state_dir, slot->image_id);
	char *evidence = xasprintf("%s/evidence/%s", l->service->state_dir, slot->image_id);
	int r = meta_begin(l->service->meta, false, &tx, &e);
	if (r == 0) {
		r = meta_get(tx, &meta_images, slot->image_id, &image, &e);
		meta_end(tx, true, &none);
	}
	for (int i = 0; r == 0 && i < TRIES && !stopping(l); i++) {
		r = test_image(slot, &image, scratch, evidence, &o, &e);
		if (r == 0)
			break;
		log_warn("image %s: the boot test could not be done: %s", slot->image_id, e.text);
		if (i + 1 < TRIES)
			r = 0;
		else {
			/* No word about the image: it stays unproven, with the reason. */
			o.verdict = VERDICT_UNPROVEN;
			snprintf(o.sentence, sizeof o.sentence,
				 "the boot test could not be done: %s", e.text);
			r = 0;
		}
	}
	if (r == 0 && o.verdict != VERDICT_NONE && !stopping(l)) {
		log_info("image %s: %s: %s", slot->image_id, verdict_word(o.verdict), o.sentence);
		r = record(slot, evidence, &o, &e);
	}
	if (r < 0)
		log_error("image %s: %s", slot->image_id, e.text);
	shape_release(meta_images.shape, &image);
	free(scratch);
	free(evidence);
	pthread_mutex_lock(&l->lock);
	slot->done = true;
	l->woken = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

void boot_queue_offer(struct loop *l, const struct run_row *run)
{
	struct boot_slot *empty = NULL;
	for (unsigned i = 0; i < l->config.worker_slots && i < LOOP_SLOTS_MAX; i++) {
		struct boot_slot *slot = &l->slots[i];
		if (slot->run_id && strcmp(slot->run_id, run->id) == 0)
			return;
		if (!slot->run_id && !empty)
			empty = slot;
	}
	if (!empty || !run->ami_id)
		return;
	*empty = (struct boot_slot){.loop = l,
				    .run_id = xstrdup(run->id),
				    .job_id = xstrdup(run->job_id),
				    .image_id = xstrdup(run->ami_id)};
	if (pthread_create(&empty->thread, NULL, slot_thread, empty) != 0) {
		log_error("image %s: cannot start a thread for the boot test", run->ami_id);
		free(empty->run_id);
		empty->run_id = NULL;
	}
}

static void release(struct boot_slot *slot)
{
	pthread_join(slot->thread, NULL);
	free(slot->run_id);
	free(slot->job_id);
	free(slot->image_id);
	*slot = (struct boot_slot){0};
}

void boot_queue_reap(struct loop *l)
{
	for (unsigned i = 0; i < LOOP_SLOTS_MAX; i++) {
		pthread_mutex_lock(&l->lock);
		bool done = l->slots[i].run_id && l->slots[i].done;
		pthread_mutex_unlock(&l->lock);
		if (done)
			release(&l->slots[i]);
	}
}
