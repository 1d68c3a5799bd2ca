// SPDX-License-Identifier: Apache-2.0
/* The intake process: a thread for each stream, all on one store. */
#include "copy/intake.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "copy/flight.h"
#include "copy/intake_wire.h"
#include "io/file.h"
#include "wire/wire.h"

struct intake_process {
	int control;
	struct store *store;
	const char *journal_dir;

	struct flights flights;

	volatile bool stopping;
	bool has_collector; /* a thread to join */
	bool collecting;    /* under the lock */
	pthread_t collector;

	pthread_mutex_t lock; /* of the list and of writing to control */
	pthread_cond_t ended;
	struct serving *first;
};

/* A stream being served; frees itself when its thread ends. */
struct serving {
	struct serving *next;
	struct intake_process *process;
	struct intake_job job;
	struct stream *stream;
	struct intake_note note; /* the last counters */
};

static void tell(struct intake_process *p, enum intake_type type, const struct shape *shape,
		 const void *object)
{
	/* When the service is gone, so are we in a moment. */
	pthread_mutex_lock(&p->lock);
	intake_send(p->control, type, shape, object, -1, NULL);
	pthread_mutex_unlock(&p->lock);
}

/* --- streams --- */

static int note_stream(void *context, const struct door_progress *progress,
		       const struct door_finished *finished)
{
	struct serving *v = context;
	struct intake_note *n = &v->note;

	if (progress) {
		n->bytes_total = progress->bytes_total;
		n->bytes_done = progress->bytes_done;
		n->bytes_read = progress->bytes_read;
		n->bytes_new = progress->bytes_new;
		n->bytes_sent = progress->bytes_sent;
		n->chunks = progress->chunks;
		n->chunks_new = progress->chunks_new;
	}
	if (finished) {
		bytes_set(&n->root, finished->root.data, finished->root.len);
		n->bytes_stored = finished->bytes_stored;
	}
	tell(v->process, finished ? INTAKE_FINISHED : INTAKE_PROGRESS, &intake_note_shape, n);
	return 0;
}

static void unlist(struct serving *v)
{
	struct intake_process *p = v->process;
	struct serving **at = &p->first;

	pthread_mutex_lock(&p->lock);
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->lock);
}

static void *serve(void *context)
{
	struct serving *v = context;
	struct copy_intake job = {.group = v->job.group,
				  .run_id = v->job.run_id,
				  .number = (unsigned)v->job.number,
				  .point = v->job.point,
				  .size_bytes = (uint64_t)v->job.size_bytes,
				  .journal_dir = v->process->journal_dir,
				  .flights = &v->process->flights};
	struct err e = {0};

	if (v->job.base_root.len == NAME_BYTES)
		memcpy(job.base_root.bytes, v->job.base_root.data, NAME_BYTES);
	if (copy_receive(v->process->store, &job, v->stream, note_stream, v, &e)) {
		text_set(&v->note.kind, err_kind_word(e.kind));
		text_set(&v->note.text, e.text);
	}
	tell(v->process, INTAKE_ENDED, &intake_note_shape, &v->note);
	/* The store outlives the streams: the process waits until none is listed. */
	pthread_mutex_lock(&v->process->lock);
	stream_close(v->stream);
	v->stream = NULL;
	pthread_mutex_unlock(&v->process->lock);
	unlist(v);
	shape_release(&intake_job_shape, &v->job);
	shape_release(&intake_note_shape, &v->note);
	free(v);
	return NULL;
}

/* An earlier stream of the same disk is over when a new one comes. */
static void end_streams(struct intake_process *p, const char *stream_id,
			const struct intake_job *same_disk)
{
	pthread_mutex_lock(&p->lock);
	for (struct serving *v = p->first; v; v = v->next) {
		bool meant = !stream_id && !same_disk;

		if (stream_id)
			meant = text_equal(v->job.stream_id, stream_id);
		if (same_disk)
			meant = text_equal(v->job.run_id, same_disk->run_id) &&
				v->job.number == same_disk->number;
		if (meant && v->stream)
			stream_shutdown(v->stream);
	}
	pthread_mutex_unlock(&p->lock);
}

static int start_serving(struct intake_process *p, struct intake_job *job, int *fd, struct err *e)
{
	struct serving *v;
	pthread_attr_t detached;
	pthread_t thread;
	int number;

	if (*fd < 0 || !job->stream_id || !job->group || !job->run_id || !job->point ||
	    (job->base_root.len != 0 && job->base_root.len != NAME_BYTES))
		return err_set(e, ERR_INVALID, "a stream was handed over without all it needs");
	end_streams(p, NULL, job);
	v = xcalloc(1, sizeof *v);
	v->process = p;
	v->job = *job;
	*job = (struct intake_job){0};
	v->stream = stream_of_fd(*fd);
	*fd = -1;
	text_set(&v->note.stream_id, v->job.stream_id);
	text_set(&v->note.run_id, v->job.run_id);
	v->note.number = v->job.number;
	pthread_mutex_lock(&p->lock);
	v->next = p->first;
	p->first = v;
	pthread_mutex_unlock(&p->lock);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	number = pthread_create(&thread, &detached, serve, v);
	pthread_attr_destroy(&detached);
	if (number == 0)
		return 0;
	unlist(v);
	stream_close(v->stream);
	shape_release(&intake_job_shape, &v->job);
	shape_release(&intake_note_shape, &v->note);
	free(v);
	return err_errno(e, number, "cannot start a thread for the stream");
}

/* --- collecting --- */

static void *collect(void *context)
{
	struct intake_process *p = context;
	struct store_collected out;
	struct intake_collected m = {0};
	struct err e = {0};

	if (copy_collect(p->store, p->journal_dir, &p->flights, false, &p->stopping, &out, &e)) {
		text_set(&m.kind, err_kind_word(e.kind));
		text_set(&m.text, e.text);
	}
	m.names = (int64_t)out.names;
	m.live_names = (int64_t)out.live_names;
	m.record_bytes = (int64_t)out.record_bytes;
	m.live_bytes = (int64_t)out.live_bytes;
	m.freed_bytes = (int64_t)out.freed_bytes;
	m.packs = (int64_t)out.packs;
	m.packs_removed = (int64_t)out.packs_removed;
	m.packs_rewritten = (int64_t)out.packs_rewritten;
	m.packs_spoiled = (int64_t)out.packs_spoiled;
	pthread_mutex_lock(&p->lock);
	p->collecting = false;
	pthread_mutex_unlock(&p->lock);
	tell(p, INTAKE_COLLECTED, &intake_collected_shape, &m);
	shape_release(&intake_collected_shape, &m);
	return NULL;
}

static int start_collecting(struct intake_process *p, struct err *e)
{
	bool busy;
	int number;

	pthread_mutex_lock(&p->lock);
	busy = p->collecting;
	p->collecting = true;
	pthread_mutex_unlock(&p->lock);
	if (busy)
		return err_set(e, ERR_BUSY, "the store is being collected already");
	if (p->has_collector)
		pthread_join(p->collector, NULL);
	/* From here on `collecting` is the thread's, which may end before we go on. */
	number = pthread_create(&p->collector, NULL, collect, p);
	p->has_collector = number == 0;
	if (number)
		p->collecting = false;
	return number ? err_errno(e, number, "cannot start a thread to collect the store") : 0;
}

struct run_refs {
	const char *run_id;
	char **items;
	size_t count, cap;
};

static int run_ref_note(void *context, const char *ref, const uint8_t *data, size_t n)
{
	struct run_refs *refs = context;
	size_t len = strlen(refs->run_id), before = strlen(RUN_REF_PREFIX);

	(void)data;
	(void)n;
	if (strncmp(ref, RUN_REF_PREFIX, before) != 0 ||
	    strncmp(ref + before, refs->run_id, len) != 0 || ref[before + len] != '.')
		return 0;
	VEC_GROW(refs->items, refs->count, refs->cap);
	refs->items[refs->count++] = xstrdup(ref);
	return 0;
}

static int forget(struct intake_process *p, const char *run_id, struct err *e)
{
	struct run_refs refs = {.run_id = run_id};
	int result = store_ref_each(p->store, run_ref_note, &refs, e);

	for (size_t i = 0; i < refs.count; i++) {
		if (result == 0)
			result = store_ref_set(p->store, refs.items[i], NULL, 0, e);
		free(refs.items[i]);
	}
	free(refs.items);
	return result < 0 ? -1 : copy_journal_remove(p->journal_dir, run_id, e);
}

/* --- requests --- */

static void space_into(struct intake_answer *a, const struct store_space *space)
{
	a->stored_bytes = (int64_t)space->stored_bytes;
	a->free_bytes = (int64_t)space->free_bytes;
	a->total_bytes = (int64_t)space->total_bytes;
}

static int carry_out(struct intake_process *p, uint16_t type, const struct intake_request *m,
		     struct intake_answer *answer, struct err *e)
{
	struct store_space space = {0};
	const char *text = m->text ? m->text : "";

	switch (type) {
	case INTAKE_CANCEL: end_streams(p, text, NULL); return 0;
	case INTAKE_REF:
		/* What it points to is durable first. */
		if (m->data.len && store_commit(p->store, NULL, e))
			return -1;
		return store_ref_set(p->store, text, m->data.len ? m->data.data : NULL, m->data.len,
				     e);
	case INTAKE_SPACE:
		if (store_commit(p->store, &space, e))
			return -1;
		space_into(answer, &space);
		return 0;
	case INTAKE_FORGET: return forget(p, text, e);
	case INTAKE_COLLECT: return start_collecting(p, e);
	default: return err_set(e, ERR_INVALID, "the intake does not know message %u", type);
	}
}

static void answer_with(struct intake_process *p, uint16_t type, struct intake_answer *answer,
			int result, const struct err *why)
{
	if (result) {
		text_set(&answer->kind, err_kind_word(why->kind));
		text_set(&answer->text, why->text);
	}
	tell(p, type, &intake_answer_shape, answer);
	shape_release(&intake_answer_shape, answer);
}

static int one_request(struct intake_process *p, uint16_t type, const struct buf *body, int *fd,
		       struct err *e)
{
	struct intake_answer answer = {0};
	struct intake_job job = {0};
	struct intake_request m = {0};
	struct err why = {0};
	int result;

	if (type == INTAKE_STREAM) {
		if (wire_decode(&intake_job_shape, body->data, body->len, &job, e))
			return -1;
		answer.request = job.request;
		result = start_serving(p, &job, fd, &why);
		shape_release(&intake_job_shape, &job);
	} else {
		if (wire_decode(&intake_request_shape, body->data, body->len, &m, e))
			return -1;
		answer.request = m.request;
		result = carry_out(p, type, &m, &answer, &why);
		shape_release(&intake_request_shape, &m);
	}
	answer_with(p, INTAKE_ANSWER, &answer, result, &why);
	return 0;
}

static void wait_streams(struct intake_process *p)
{
	end_streams(p, NULL, NULL);
	pthread_mutex_lock(&p->lock);
	while (p->first)
		pthread_cond_wait(&p->ended, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

int copy_intake_main(int control_fd, const char *store_where, const char *journal_dir)
{
	struct intake_process p = {.control = control_fd, .journal_dir = journal_dir};
	struct intake_answer opened = {0};
	struct buf body = {0};
	struct err e = {0};
	uint16_t type;
	int fd, result;

	signal(SIGPIPE, SIG_IGN);
	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.ended, NULL);
	flights_init(&p.flights);
	result = file_make_dirs(journal_dir, 0700, &e) ||
			 store_open(store_where, true, true, &p.store, &e)
		     ? -1
		     : 0;
	answer_with(&p, INTAKE_OPENED, &opened, result, &e);
	while (result == 0 && (result = intake_receive(control_fd, &type, &body, &fd, &e)) > 0) {
		result = one_request(&p, type, &body, &fd, &e);
		if (fd >= 0)
			close(fd);
		if (store_get_facts(p.store)->reopen)
			break; /* the next intake opens it */
	}
	p.stopping = true;
	wait_streams(&p);
	if (p.has_collector)
		pthread_join(p.collector, NULL);
	if (p.store) {
		store_commit(p.store, NULL, NULL);
		store_close(p.store);
	}
	buf_release(&body);
	pthread_cond_destroy(&p.ended);
	pthread_mutex_destroy(&p.lock);
	return result ? 1 : 0;
}
