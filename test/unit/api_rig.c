// SPDX-License-Identifier: Apache-2.0
#include "api_rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "io/sigv4.h"
#include "wire/machine.h"

static void must(int result, const struct err *e)
{
	if (result < 0) {
		fprintf(stderr, "rig: %s\n", e->text);
		abort();
	}
}

static void put(struct rig *rig, const struct meta_table *t, const void *row)
{
	struct meta_tx *tx;
	struct err e = {0};
	must(meta_begin(rig->service.meta, true, &tx, &e), &e);
	must(meta_put(tx, t, row, &e), &e);
	must(meta_end(tx, true, &e), &e);
}

static void wake(void *context)
{
	((struct rig *)context)->wakes++;
}

static int ask_inventory(void *context, int64_t import)
{
	((struct rig *)context)->import = import;
	return 1;
}

void rig_open(struct rig *rig)
{
	struct err e = {0};
	*rig = (struct rig){.now = RIG_NOW};
	must(meta_open("memory:", &rig->service.meta, &e), &e);
	rig->service.rules = &job_rules_unlimited;
	rig->service.region = RIG_REGION;
	rig->service.account = "000000000000";
	rig->service.wake = wake;
	rig->service.wake_context = rig;
	rig->service.ask_inventory = ask_inventory;
	rig->service.ask_context = rig;
	struct access_key_row key = {0};
	text_set(&key.access_key_id, RIG_KEY_ID);
	text_set(&key.secret, RIG_SECRET);
	text_set(&key.user, "tester");
	put(rig, &meta_access_keys, &key);
	text_set(&key.access_key_id, "AKIDDISABLED");
	key.disabled = 1;
	put(rig, &meta_access_keys, &key);
	shape_release(meta_access_keys.shape, &key);
}

void rig_close(struct rig *rig)
{
	json_decref(rig->answer);
	meta_close(rig->service.meta);
}

void rig_connector(struct rig *rig, const char *id, const char *manager_id)
{
	struct connector_row c = {0};
	text_set(&c.id, id);
	text_set(&c.name, "rig");
	text_set(&c.version, "0.1.0");
	text_set(&c.capabilities, "SNAPSHOT_BATCHING NEW_WORD");
	text_set(&c.manager_id, manager_id);
	text_set(&c.manager_name, "host (libvirt)");
	text_set(&c.ip, "192.0.2.1");
	text_set(&c.mac, "52:54:00:00:00:01");
	c.associated = rig->now;
	c.last_seen = rig->now;
	c.healthy = 1;
	put(rig, &meta_connectors, &c);
	shape_release(meta_connectors.shape, &c);
}

static void fill_machine(struct machine *m, unsigned i)
{
	text_setf(&m->vm_id, "00000000-0000-4000-8000-%012u", i);
	text_setf(&m->name, "web%03u", i);
	text_setf(&m->path, "/qemu:system/web%03u", i);
	text_set(&m->firmware, "bios");
	text_set(&m->power, "running");
	m->vcpus = 2;
	m->memory_bytes = 1 << 30;
	struct machine_disk *disk = list_push(&m->disks, sizeof *disk);
	text_set(&disk->key, "vda");
	text_set(&disk->bus, "virtio");
	text_set(&disk->format, "qcow2");
	disk->size_bytes = 1 << 30;
}

void rig_import(struct rig *rig, unsigned count, bool refused)
{
	struct err e = {0};
	struct machine *machines = xcalloc(count, sizeof *machines);
	for (unsigned i = 0; i < count; i++)
		fill_machine(&machines[i], i);
	if (refused) {
		struct machine_disk *disks = machines[count - 1].disks.items;
		text_set(&machines[count - 2].name, "refused");
		text_set(&machines[count - 2].refusal, "it has no disk that can be read");
		text_set(&machines[count - 1].name, "bad-disk");
		text_set(&disks[0].refusal, "the disk vda is shared");
	}
	must(service_import_start(&rig->service, rig->now, &e), &e);
	must(service_import_arrived(&rig->service, RIG_CONNECTOR, rig->import, machines, count,
				    rig->now, &e),
	     &e);
	for (unsigned i = 0; i < count; i++)
		shape_release(&machine_shape, &machines[i]);
	free(machines);
}

int rig_request(struct rig *rig, const struct rig_request *q)
{
	char amz_date[17], request_id[40];
	const char *body = q->body ? q->body : "{}";
	amz_date_text(rig->now + q->skew, amz_date);
	struct http_header headers[6] = {
	    {"Host", "127.0.0.1:8443"},
	    {"Content-Type", "application/x-amz-json-1.1"},
	    {"X-Amz-Date", amz_date},
	};
	struct http_request r = {.method = q->method ? q->method : "POST",
				 .path = q->path ? q->path : "/",
				 .query = "",
				 .headers = headers,
				 .header_count = 3,
				 .body = body,
				 .body_len = strlen(body)};
	if (q->target)
		headers[r.header_count++] = (struct http_header){"X-Amz-Target", q->target};
	if (q->content_hash)
		headers[r.header_count++] = (struct http_header){"X-Amz-Content-Sha256",
								 q->content_hash};
	struct buf authorization = {0}, answer = {0};
	struct err e = {0};
	must(sigv4_sign(&r, amz_date, q->region ? q->region : RIG_REGION,
			q->service ? q->service : "sms", q->key_id ? q->key_id : RIG_KEY_ID,
			q->secret ? q->secret : RIG_SECRET, &authorization, &e),
	     &e);
	const char *flat[16] = {0};
	unsigned n = 0;
	for (unsigned i = 0; i < r.header_count; i++) {
		bool is_target = !strcmp(headers[i].name, "X-Amz-Target");
		flat[n++] = headers[i].name;
		flat[n++] = is_target && q->sent_target ? q->sent_target : headers[i].value;
	}
	if (!q->is_unsigned) {
		flat[n++] = "Authorization";
		flat[n++] = buf_str(&authorization);
	}
	const char *sent = q->sent_body ? q->sent_body : body;
	rig->status = api_handle(&rig->service, RIG_REGION, r.method, r.path, flat, sent,
				 strlen(sent), rig->now, &answer, request_id);
	assert(strlen(request_id) == 36);
	json_decref(rig->answer);
	rig->answer = json_loads(buf_str(&answer), 0, NULL);
	if (!rig->answer) {
		fprintf(stderr, "rig: the answer is not JSON: %s\n", buf_str(&answer));
		abort();
	}
	buf_release(&authorization);
	buf_release(&answer);
	return rig->status;
}

int rig_call(struct rig *rig, const char *target, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	json_t *in = json_vpack_ex(NULL, 0, format, ap);
	va_end(ap);
	assert(in);
	char *body = json_dumps(in, JSON_COMPACT);
	struct rig_request request = {.target = target, .body = body};
	int status = rig_request(rig, &request);
	free(body);
	json_decref(in);
	return status;
}
