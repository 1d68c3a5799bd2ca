// SPDX-License-Identifier: Apache-2.0
/* Events, new jobs and the catalog on real metadata, in memory and in SQLite. */
#include "test.h"

#include <unistd.h>

#include "base/mem.h"
#include "job/service.h"
#include "wire/machine.h"

#define START (1700000000000ll)
#define HOUR  (3600ll * 1000)

struct place {
	struct service s;
	char folder[64];
	int asked, wakes;
	struct buf notices; /* a line each */
	int64_t import;
};

static int ask(void *context, int64_t import)
{
	struct place *p = context;
	p->import = import;
	return p->asked;
}

static void count_wake(void *context)
{
	((struct place *)context)->wakes++;
}

static void keep_notice(void *context, const struct notice *n)
{
	struct place *p = context;
	notice_line(n, &p->notices);
	buf_add_byte(&p->notices, '\n');
}

static int make(void **state, bool sqlite)
{
	static struct place p;
	char where[96] = "memory:";
	memset(&p, 0, sizeof p);
	*state = &p;
	snprintf(p.folder, sizeof p.folder, "/tmp/godwit-service-XXXXXX");
	if (!mkdtemp(p.folder))
		return -1;
	if (sqlite)
		snprintf(where, sizeof where, "sqlite:%s/db", p.folder);
	p.s.rules = &job_rules_unlimited;
	p.s.ask_inventory = ask;
	p.s.wake = count_wake;
	p.s.notify = keep_notice;
	p.s.ask_context = p.s.wake_context = p.s.notify_context = &p;
	p.asked = 1;
	return meta_open(where, &p.s.meta, NULL);
}

static int make_memory(void **state)
{
	return make(state, false);
}

static int make_sqlite(void **state)
{
	return make(state, true);
}

static int drop(void **state)
{
	struct place *p = *state;
	char name[96];
	meta_close(p->s.meta);
	buf_release(&p->notices);
	snprintf(name, sizeof name, "%s/db", p->folder);
	unlink(name);
	return rmdir(p->folder);
}

static void put(struct place *p, const struct meta_table *t, const void *row)
{
	struct meta_tx *tx;
	assert_ok(meta_begin(p->s.meta, true, &tx, err));
	assert_ok(meta_put(tx, t, row, err));
	assert_ok(meta_end(tx, true, err));
}

static void get(struct place *p, const struct meta_table *t, const char *key, void *row)
{
	struct meta_tx *tx;
	assert_ok(meta_begin(p->s.meta, false, &tx, err));
	assert_ok(meta_get(tx, t, key, row, err));
	assert_ok(meta_end(tx, true, err));
}

static void add_connector(struct place *p)
{
	struct connector_row c = {0};
	text_set(&c.id, "c-1");
	text_set(&c.manager_id, "lab");
	text_set(&c.manager_name, "lab.example");
	put(p, &meta_connectors, &c);
	shape_release(meta_connectors.shape, &c);
}

static void arrive(struct place *p, const char *const *vm_ids, size_t count)
{
	struct machine machines[3] = {0};
	for (size_t i = 0; i < count; i++) {
		text_set(&machines[i].vm_id, vm_ids[i]);
		text_setf(&machines[i].name, "server %s", vm_ids[i]);
		if (strcmp(vm_ids[i], "vm-bad") == 0)
			text_set(&machines[i].refusal, "its disk is on a passed-through device");
	}
	assert_ok(service_import_arrived(&p->s, "c-1", p->import, machines, count, START, err));
	for (size_t i = 0; i < count; i++)
		shape_release(&machine_shape, &machines[i]);
}

struct found {
	const char *vm_id;
	char id[ID_BYTES];
	int64_t listed, job_terminated;
};

static int find(void *context, const void *row)
{
	struct found *f = context;
	const struct server_row *s = row;
	if (strcmp(s->vm_id, f->vm_id) != 0)
		return 0;
	snprintf(f->id, sizeof f->id, "%s", s->id);
	f->listed = s->listed;
	f->job_terminated = s->job_terminated;
	return 1;
}

static struct found server(struct place *p, const char *vm_id)
{
	struct found f = {.vm_id = vm_id};
	struct meta_scan all = {0};
	struct meta_tx *tx;
	assert_ok(meta_begin(p->s.meta, false, &tx, err));
	assert_int_equal(meta_scan(tx, &meta_servers, &all, find, &f, NULL), 1);
	assert_ok(meta_end(tx, true, err));
	return f;
}

static enum catalog_state catalog(struct place *p)
{
	struct catalog c;
	assert_ok(service_catalog(&p->s, &c, err));
	return c.state;
}

static void an_import_fills_the_catalog(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	assert_int_equal(catalog(p), CATALOG_NOT_IMPORTED);
	p->asked = 0;
	assert_int_equal(service_import_start(&p->s, START, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(catalog(p), CATALOG_NOT_IMPORTED);
	add_connector(p);
	p->asked = 2;
	assert_ok(service_import_start(&p->s, START, err));
	assert_int_equal(catalog(p), CATALOG_IMPORTING);
	assert_int_equal(service_catalog_delete(&p->s, START, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_ok(service_import_failed(&p->s, "c-2", p->import, "no libvirt", START, err));
	assert_int_equal(catalog(p), CATALOG_IMPORTING); /* one more may answer */
	arrive(p, (const char *const[]){"vm-1", "vm-2"}, 2);
	assert_int_equal(catalog(p), CATALOG_AVAILABLE);
	struct found before = server(p, "vm-1");
	assert_int_equal(strlen(before.id), 10);

	assert_ok(service_import_start(&p->s, START, err));
	arrive(p, (const char *const[]){"vm-1", "vm-3"}, 2);
	assert_string_equal(server(p, "vm-1").id, before.id);
	assert_int_equal(server(p, "vm-1").listed, 1);
	assert_int_equal(server(p, "vm-2").listed, 0);
	assert_ok(service_catalog_delete(&p->s, START, err));
	assert_int_equal(catalog(p), CATALOG_DELETED);
	assert_int_equal(server(p, "vm-3").listed, 0);
	assert_int_equal(service_import_arrived(&p->s, "c-1", p->import, NULL, 0, START, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT); /* too late */
	assert_ok(service_import_start(&p->s, START, err));
	assert_ok(service_import_failed(&p->s, NULL, 0, "nobody answered", START, err));
	assert_int_equal(catalog(p), CATALOG_DELETED);
	arrive(p, (const char *const[]){"vm-1"}, 1); /* late, but of the newest import */
	assert_int_equal(catalog(p), CATALOG_AVAILABLE);
	assert_string_equal(server(p, "vm-1").id, before.id);
}

static void a_job_is_made_run_and_deleted(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	char id[ID_BYTES];
	struct job_row request = {.seed = START, .frequency_hours = 12, .keep_images = 1}, job;
	assert_int_equal(service_job_create(&p->s, &request, START, id, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	text_set(&request.server_id, "s-none");
	assert_int_equal(service_job_create(&p->s, &request, START, id, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	add_connector(p);
	assert_ok(service_import_start(&p->s, START, err));
	arrive(p, (const char *const[]){"vm-1", "vm-bad"}, 2);
	text_set(&request.server_id, server(p, "vm-bad").id);
	assert_int_equal(service_job_create(&p->s, &request, START, id, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.text, "passed-through"));
	text_set(&request.server_id, server(p, "vm-1").id);
	assert_ok(service_job_create(&p->s, &request, START, id, err));
	assert_int_equal(service_job_create(&p->s, &request, START, id, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_ptr_equal(strstr(e.text, "exists:"), e.text);

	int wakes = p->wakes;
	for (int i = 1; i <= 3; i++) {
		int64_t now = START + i * 12 * HOUR;
		char image_id[ID_BYTES];
		struct job_state out = {0};
		struct job_event tick = {.kind = JOB_TICK};
		assert_ok(service_job_event(&p->s, id, &tick, now, &out, err));
		assert_string_equal(out.job.active_run_id, out.new_run.id);
		assert_int_equal(out.new_run.sequence, i);
		struct image_row image = {.sequence = i, .created = now};
		snprintf(image_id, sizeof image_id, "ami-%d", i);
		text_set(&image.id, image_id);
		text_set(&image.job_id, id);
		text_set(&image.state, "available");
		put(p, &meta_images, &image);
		shape_release(meta_images.shape, &image);
		struct run_row run;
		get(p, &meta_runs, out.new_run.id, &run);
		text_set(&run.verdict, "booted");
		put(p, &meta_runs, &run);
		shape_release(meta_runs.shape, &run);
		struct job_event events[] = {
		    {.kind = RUN_STAGE, .stage = STAGE_UPLOADING},
		    {.kind = RUN_COPIED},
		    {.kind = RUN_IMAGED, .text = image_id},
		    {.kind = RUN_VERDICT},
		};
		for (size_t k = 0; k < COUNT_OF(events); k++)
			assert_ok(service_job_event(&p->s, id, &events[k], now, NULL, err));
		get(p, &meta_runs, out.new_run.id, &run);
		assert_string_equal(run.state, "COMPLETED");
		shape_release(meta_runs.shape, &run);
		job_state_release(&out);
	}
	assert_int_equal(p->wakes, wakes + 15);
	for (int i = 1; i <= 3; i++) { /* one is kept */
		char image_id[ID_BYTES];
		struct image_row image;
		snprintf(image_id, sizeof image_id, "ami-%d", i);
		get(p, &meta_images, image_id, &image);
		assert_string_equal(image.state, i == 3 ? "available" : "deleted");
		shape_release(meta_images.shape, &image);
	}
	get(p, &meta_jobs, id, &job);
	assert_string_equal(job.latest_ami_id, "ami-3");
	shape_release(meta_jobs.shape, &job);

	assert_non_null(strstr(buf_str(&p->notices), "event=\"completed\""));
	assert_non_null(strstr(buf_str(&p->notices), " image=\"ami-3\" text="));
	struct job_event delete = {.kind = JOB_DELETE}, resume = {.kind = JOB_RESUME};
	assert_ok(service_job_event(&p->s, id, &delete, START + 99 * HOUR, NULL, err));
	assert_int_equal(server(p, "vm-1").job_terminated, 1);
	assert_int_equal(service_job_event(&p->s, id, &resume, START, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(service_job_event(&p->s, "sms-job-0", &resume, START, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_ok(service_job_create(&p->s, &request, START, id, err)); /* the server is free */
	assert_int_equal(server(p, "vm-1").job_terminated, 0);
	shape_release(meta_jobs.shape, &request);
}

static void assert_noticed(struct place *p, const char *line)
{
	assert_string_equal(buf_str(&p->notices), line);
	buf_clear(&p->notices);
}

static void people_are_told_what_was_committed(void **state)
{
	struct place *p = *state;
	struct err e = {0};
	char id[ID_BYTES], line[1000];
	struct job_row request = {.seed = START, .frequency_hours = 12, .failure_limit = 2}, job;
	struct job_event tick = {.kind = JOB_TICK}, delete = {.kind = JOB_DELETE},
			 fail = {.kind = RUN_FAILED, .error = ERR_IO, .text = "the disk is gone"};
	struct run_row run;
	request.pause_on_failure = 1;
	add_connector(p);
	assert_ok(service_import_start(&p->s, START, err));
	arrive(p, (const char *const[]){"vm-\"1\\"}, 1);
	text_set(&request.server_id, server(p, "vm-\"1\\").id);
	assert_ok(service_job_create(&p->s, &request, START, id, err));
	for (int i = 1; i <= 2; i++) {
		struct job_state out = {0};
		int64_t now = START + i * 12 * HOUR;
		assert_ok(service_job_event(&p->s, id, &tick, now, &out, err));
		assert_noticed(p, "");
		assert_ok(service_job_event(&p->s, id, &fail, now, NULL, err));
		get(p, &meta_runs, out.new_run.id, &run);
		get(p, &meta_jobs, id, &job);
		int n = snprintf(line, sizeof line,
				 "event=\"failed\" job=\"%s\" run=\"%s\" server=\"%s\" "
				 "name=\"server vm-\\\"1\\\\\" text=\"the disk is gone\"\n",
				 id, run.id, request.server_id);
		if (i == 2)
			snprintf(line + n, sizeof line - (size_t)n,
				 "event=\"paused\" job=\"%s\" run=\"%s\" server=\"%s\" "
				 "name=\"server vm-\\\"1\\\\\" text=\"%s\"\n",
				 id, run.id, request.server_id, job.status_message);
		assert_noticed(p, line);
		shape_release(meta_runs.shape, &run);
		shape_release(meta_jobs.shape, &job);
		job_state_release(&out);
	}
	/* What was refused is not told. */
	assert_int_equal(service_job_event(&p->s, id, &fail, START, NULL, &e), -1);
	assert_noticed(p, "");
	assert_ok(service_job_event(&p->s, id, &delete, START + 99 * HOUR, NULL, err));
	get(p, &meta_jobs, id, &job);
	snprintf(line, sizeof line,
		 "event=\"deleted\" job=\"%s\" server=\"%s\" name=\"server vm-\\\"1\\\\\" "
		 "text=\"%s\"\n",
		 id, request.server_id, job.status_message);
	assert_noticed(p, line);
	shape_release(meta_jobs.shape, &job);
	shape_release(meta_jobs.shape, &request);
}

#define IN(kind, test)                                                                             \
	{                                                                                          \
#kind ": " #test, test, make_##kind, drop, NULL                                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN(memory, an_import_fills_the_catalog),
	    IN(sqlite, an_import_fills_the_catalog),
	    IN(memory, a_job_is_made_run_and_deleted),
	    IN(sqlite, a_job_is_made_run_and_deleted),
	    IN(memory, people_are_told_what_was_committed),
	    IN(sqlite, people_are_told_what_was_committed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
