// SPDX-License-Identifier: Apache-2.0
/*
 * A document of libvirt, given to each of its parsers: a machine is within the bounds of messages,
 * and the checkpoint and the backup job that we would write for what was read, read the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "site/libvirt_xml.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_domain(const char *xml, size_t n)
{
	struct machine m, back;
	struct domain_extra extra;
	struct buf body = {0};
	struct err e = {0};
	if (domain_xml_parse(xml, n, &m, &extra, &e) < 0) {
		assert(e.kind == ERR_INVALID);
		return;
	}
	assert(wire_check(&machine_shape, &m, &e) == 0);
	wire_encode(&machine_shape, &m, &body);
	assert(wire_decode(&machine_shape, body.data, body.len, &back, &e) == 0);
	assert(shape_equal(&machine_shape, &m, &back));
	shape_release(&machine_shape, &back);
	shape_release(&machine_shape, &m);
	buf_release(&body);
}

static void try_checkpoint(const char *xml, size_t n)
{
	struct point_xml p, back;
	if (checkpoint_xml_parse(xml, n, &p, NULL) < 0)
		return;
	if (p.name) {
		char *text = checkpoint_xml_build(&p);
		assert(checkpoint_xml_parse(text, strlen(text), &back, NULL) == 0);
		assert(text_equal(back.name, p.name) && back.disks.count == p.disks.count);
		const struct point_disk *a = p.disks.items, *b = back.disks.items;
		for (size_t i = 0; i < p.disks.count; i++)
			assert(text_equal(a[i].key, b[i].key) && a[i].tracked == b[i].tracked);
		point_xml_release(&back);
		free(text);
	}
	point_xml_release(&p);
}

static void try_backup(const char *xml, size_t n)
{
	struct point_xml p, back;
	if (backup_xml_parse(xml, n, &p, NULL) < 0)
		return;
	if (p.socket) {
		char *text = backup_xml_build(&p, "base <&'\"", "/scratch & more");
		assert(backup_xml_parse(text, strlen(text), &back, NULL) == 0);
		assert(text_equal(back.socket, p.socket) && back.disks.count == p.disks.count);
		const struct point_disk *a = p.disks.items, *b = back.disks.items;
		for (size_t i = 0; i < p.disks.count; i++)
			assert(text_equal(a[i].key, b[i].key) &&
			       a[i].incremental == b[i].incremental);
		point_xml_release(&back);
		free(text);
	}
	point_xml_release(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char uuid[37];
	try_domain((const char *)data, n);
	try_checkpoint((const char *)data, n);
	try_backup((const char *)data, n);
	if (capabilities_xml_uuid((const char *)data, n, uuid))
		assert(strlen(uuid) == 36);
	return 0;
}
