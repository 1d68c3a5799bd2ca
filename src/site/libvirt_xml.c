// SPDX-License-Identifier: Apache-2.0
#include "site/libvirt_xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

/* --- reading --- */

/* libxml2 wants UTF-8; a byte that is none becomes '?', so that one odd name does not hide a
 * machine. */
static char *utf8_copy(const char *xml, size_t n)
{
	char *copy = xstrndup(xml, n);
	for (size_t at = 0; at < n;) {
		at += utf8_valid(copy + at, n - at);
		if (at < n)
			copy[at++] = '?';
	}
	return copy;
}

static int document_parse(const char *what, const char *xml, size_t n, const char *root,
			  xmlDocPtr *out, struct err *e)
{
	if (n > LIMIT_XML_BYTES)
		return err_set(e, ERR_INVALID, "the %s document of libvirt is larger than %d bytes",
			       what, LIMIT_XML_BYTES);
	if (memchr(xml, '\0', n))
		return err_set(e, ERR_INVALID, "the %s document of libvirt has a NUL in it", what);
	char *text = utf8_copy(xml, n);
	xmlDocPtr doc = xmlReadMemory(text, (int)n, "libvirt", "UTF-8",
				      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					  XML_PARSE_NOCDATA);
	free(text);
	if (!doc)
		return err_set(e, ERR_INVALID, "libvirt's %s document is not well-formed XML",
			       what);
	xmlNodePtr top = xmlDocGetRootElement(doc);
	if (doc->intSubset || doc->extSubset || !top ||
	    strcmp((const char *)top->name, root) != 0) {
		xmlFreeDoc(doc);
		return err_set(e, ERR_INVALID, "libvirt's %s document is not a plain <%s>", what,
			       root);
	}
	*out = doc;
	return 0;
}

static bool is_element(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

static xmlNodePtr child(const xmlNode *parent, const char *name)
{
	for (xmlNodePtr n = parent ? parent->children : NULL; n; n = n->next)
		if (is_element(n, name))
			return n;
	return NULL;
}

static xmlNodePtr next_same(const xmlNode *node)
{
	for (xmlNodePtr n = node->next; n; n = n->next)
		if (is_element(n, (const char *)node->name))
			return n;
	return NULL;
}

/* Whether a control character of one byte, or of two (U+0080 to U+009F), begins here. */
static unsigned control_bytes(const char *c)
{
	const uint8_t *u = (const uint8_t *)c;
	return u[0] < 0x20 || u[0] == 0x7f ? 1 : u[0] == 0xc2 && u[1] < 0xa0 ? 2 : 0;
}

/* At most `max` bytes, not ending inside a character; what a terminal would obey becomes blanks. */
static char *bounded(const char *text, size_t max)
{
	size_t n = strnlen(text, max);
	char *copy = xstrndup(text, n);
	copy[utf8_valid(copy, n)] = '\0';
	for (char *c = copy; *c; c++) {
		unsigned control = control_bytes(c);
		memset(c, ' ', control);
	}
	return copy;
}

/* NULL when absent or empty. */
static char *attribute(const xmlNode *node, const char *name, size_t max)
{
	xmlChar *value = node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;
	char *copy = value && *value ? bounded((const char *)value, max) : NULL;
	xmlFree(value);
	return copy;
}

static char *content(const xmlNode *node, size_t max)
{
	xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
	char *copy = NULL;
	if (value) {
		const char *start = (const char *)value + strspn((const char *)value, " \t\r\n");
		if (*start)
			copy = bounded(start, max);
	}
	xmlFree(value);
	return copy;
}

static bool attribute_is(const xmlNode *node, const char *name, const char *value)
{
	char *have = attribute(node, name, 64);
	bool same = text_equal(have, value);
	free(have);
	return same;
}

static int64_t number_or(char *text, int64_t max, int64_t otherwise)
{
	int64_t value = otherwise;
	if (text && number_parse("a number", text, 0, max, &value, NULL) < 0)
		value = otherwise;
	free(text);
	return value;
}

static int64_t memory_bytes(const xmlNode *memory)
{
	static const struct {
		const char *unit;
		int64_t bytes;
	} units[] = {{"b", 1},		 {"bytes", 1},	       {"KB", 1000},	   {"k", 1024},
		     {"KiB", 1024},	 {"MB", 1000000},      {"M", 1 << 20},	   {"MiB", 1 << 20},
		     {"GB", 1000000000}, {"G", 1ll << 30},     {"GiB", 1ll << 30}, {"T", 1ll << 40},
		     {"TiB", 1ll << 40}, {"TB", 1000000000000}};
	int64_t scale = 1024; /* libvirt's default unit */
	char *unit = attribute(memory, "unit", 16);
	for (size_t i = 0; unit && i < COUNT_OF(units); i++)
		if (strcmp(unit, units[i].unit) == 0)
			scale = units[i].bytes;
	free(unit);
	return scale * number_or(content(memory, 32), (1ll << 60) / scale, 0);
}

/* "pc-q35-7.2" is a q35, "pc-i440fx-7.2" a pc. */
static char *chipset(const char *machine)
{
	if (!machine)
		return NULL;
	if (strcmp(machine, "q35") == 0 || text_starts(machine, "pc-q35"))
		return xstrdup("q35");
	if (strcmp(machine, "pc") == 0 || text_starts(machine, "pc-i440fx"))
		return xstrdup("pc");
	return xstrdup(machine);
}

static bool is_uefi(const xmlNode *os)
{
	const xmlNode *loader = child(os, "loader");
	return attribute_is(os, "firmware", "efi") || attribute_is(loader, "type", "pflash");
}

static void nics_parse(const xmlNode *devices, struct list *nics)
{
	for (xmlNodePtr n = child(devices, "interface"); n && nics->count < LIMIT_NICS_PER_SERVER;
	     n = next_same(n)) {
		struct machine_nic *nic = list_push(nics, sizeof *nic);
		const xmlNode *source = child(n, "source");
		nic->mac = attribute(child(n, "mac"), "address", 32);
		nic->model = attribute(child(n, "model"), "type", 64);
		static const char *const names[] = {"network", "bridge", "dev", "portgroup"};
		for (size_t i = 0; i < COUNT_OF(names) && !nic->network; i++)
			nic->network = attribute(source, names[i], 256);
	}
}

static void disk_parse(const xmlNode *node, struct machine_disk *d)
{
	const xmlNode *source = child(node, "source"), *target = child(node, "target");
	char *type = attribute(node, "type", 32);
	d->key = attribute(target, "dev", 32);
	d->bus = attribute(target, "bus", 32);
	d->format = attribute(child(node, "driver"), "type", 32);
	d->boot_order = number_or(attribute(child(node, "boot"), "order", 16), 1000000, 0);
	if (type && strcmp(type, "file") == 0)
		d->path = attribute(source, "file", LIMIT_NAME_BYTES);
	else if (type && strcmp(type, "block") == 0)
		d->path = attribute(source, "dev", LIMIT_NAME_BYTES);
	const char *key = d->key ? d->key : "without a name";
	if (!type || (strcmp(type, "file") != 0 && strcmp(type, "block") != 0))
		text_setf(&d->refusal,
			  "disk %s is a %s disk: only files and block devices can be copied", key,
			  type ? type : "typeless");
	else if (!d->path)
		text_setf(&d->refusal, "disk %s has no medium", key);
	else if (*d->path != '/')
		text_setf(&d->refusal, "the medium of disk %s is not an absolute path", key);
	else if (child(node, "transient"))
		text_setf(&d->refusal, "disk %s is transient: it is discarded at power-off", key);
	else if (child(node, "readonly"))
		text_setf(&d->refusal,
			  "disk %s is read-only, and libvirt takes no point in time of such a disk "
			  "while its machine runs; make it writable or detach it",
			  key);
	else if (child(node, "shareable"))
		text_setf(&d->refusal,
			  "disk %s is shareable: what another machine writes to it is not tracked",
			  key);
	if (!d->format)
		d->format = xstrdup("raw");
	free(type);
}

/* A key goes into file names, export names and QEMU's node names. */
static bool key_is_plain(const char *key)
{
	return key && *key && strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(key);
}

static int compare_boot(const void *a, const void *b)
{
	const struct machine_disk *x = a, *y = b;
	int64_t i = x->boot_order ? x->boot_order : INT64_MAX,
		j = y->boot_order ? y->boot_order : INT64_MAX;
	return (i > j) - (i < j);
}

/* Insertion sort: stable, and the document's order counts where no boot order does. */
static void disks_order(struct list *list)
{
	struct machine_disk *disks = list->items;
	for (size_t i = 1; i < list->count; i++)
		for (size_t j = i; j && compare_boot(&disks[j - 1], &disks[j]) > 0; j--) {
			struct machine_disk moved = disks[j];
			disks[j] = disks[j - 1];
			disks[j - 1] = moved;
		}
}

static int disks_parse(const xmlNode *devices, struct machine *m, struct err *e)
{
	for (xmlNodePtr n = child(devices, "disk"); n; n = next_same(n)) {
		char *device = attribute(n, "device", 16);
		bool wanted = !device || strcmp(device, "disk") == 0 || strcmp(device, "lun") == 0;
		bool lun = device && strcmp(device, "lun") == 0;
		free(device);
		if (!wanted)
			continue;
		if (m->disks.count == LIMIT_DISKS_PER_SERVER) {
			text_setf(&m->refusal, "it has more than %d disks", LIMIT_DISKS_PER_SERVER);
			break;
		}
		struct machine_disk *d = list_push(&m->disks, sizeof *d);
		disk_parse(n, d);
		if (lun)
			text_setf(&d->refusal, "disk %s is a passed-through SCSI unit", d->key);
		if (!key_is_plain(d->key))
			return err_set(e, ERR_INVALID,
				       "domain %s has a disk without a plain target", m->name);
	}
	if (!m->disks.count)
		text_set(&m->refusal, "it has no disk");
	disks_order(&m->disks);
	return 0;
}

static void owner_parse(const xmlNode *domain, struct domain_extra *extra)
{
	for (xmlNodePtr n = child(domain, "seclabel"); n; n = next_same(n)) {
		if (!attribute_is(n, "model", "dac"))
			continue;
		char *label = content(child(n, "label"), 64);
		unsigned owner, group;
		if (label && sscanf(label, "+%u:+%u", &owner, &group) == 2) {
			extra->has_owner = true;
			extra->owner = owner;
			extra->group = group;
		}
		free(label);
	}
}

static char *guest_os(const xmlNode *domain)
{
	for (xmlNodePtr n = child(child(domain, "metadata"), "libosinfo"); n; n = next_same(n)) {
		char *id = attribute(child(n, "os"), "id", 256);
		if (id)
			return id;
	}
	return NULL;
}

int domain_xml_parse(const char *xml, size_t n, struct machine *out, struct domain_extra *extra,
		     struct err *e)
{
	xmlDocPtr doc;
	*out = (struct machine){0};
	*extra = (struct domain_extra){0};
	if (document_parse("domain", xml, n, "domain", &doc, e) < 0)
		return -1;
	const xmlNode *domain = xmlDocGetRootElement(doc);
	const xmlNode *os = child(domain, "os"), *devices = child(domain, "devices");
	int rc = -1;
	out->vm_id = content(child(domain, "uuid"), 64);
	out->name = content(child(domain, "name"), LIMIT_NAME_BYTES);
	if (!out->vm_id || strspn(out->vm_id, "0123456789abcdef-") != 36 || !out->name) {
		err_set(e, ERR_INVALID, "a domain of libvirt has no name or no UUID");
		goto out;
	}
	out->guest_os = guest_os(domain);
	out->firmware = xstrdup(is_uefi(os) ? "uefi" : "bios");
	char *machine = attribute(child(os, "type"), "machine", 64);
	out->machine = chipset(machine);
	free(machine);
	out->vcpus = number_or(content(child(domain, "vcpu"), 16), 1 << 20, 1);
	out->memory_bytes = memory_bytes(child(domain, "memory"));
	nics_parse(devices, &out->nics);
	owner_parse(domain, extra);
	rc = disks_parse(devices, out, e);
out:
	xmlFreeDoc(doc);
	if (rc < 0)
		shape_release(&machine_shape, out);
	return rc;
}

void point_xml_release(struct point_xml *p)
{
	struct point_disk *disks = p->disks.items;
	for (size_t i = 0; i < p->disks.count; i++) {
		free(disks[i].key);
		free(disks[i].why);
	}
	free(p->disks.items);
	free(p->name);
	free(p->socket);
	*p = (struct point_xml){0};
}

struct point_disk *point_xml_disk(const struct point_xml *p, const char *key)
{
	struct point_disk *disks = p->disks.items;
	for (size_t i = 0; i < p->disks.count; i++)
		if (strcmp(disks[i].key, key) == 0)
			return &disks[i];
	return NULL;
}

static struct point_disk *point_disk_add(struct point_xml *p, const xmlNode *node)
{
	char *key = attribute(node, "name", 32);
	if (!key_is_plain(key) || p->disks.count == 2 * LIMIT_DISKS_PER_SERVER) {
		free(key);
		return NULL;
	}
	struct point_disk *d = list_push(&p->disks, sizeof *d);
	d->key = key;
	return d;
}

int backup_xml_parse(const char *xml, size_t n, struct point_xml *out, struct err *e)
{
	xmlDocPtr doc;
	*out = (struct point_xml){0};
	if (document_parse("backup", xml, n, "domainbackup", &doc, e) < 0)
		return -1;
	const xmlNode *top = xmlDocGetRootElement(doc);
	out->socket = attribute(child(top, "server"), "socket", 4096);
	for (xmlNodePtr node = child(child(top, "disks"), "disk"); node; node = next_same(node)) {
		if (!attribute_is(node, "backup", "yes"))
			continue;
		struct point_disk *d = point_disk_add(out, node);
		char *bitmap = attribute(node, "exportbitmap", 64);
		if (d)
			d->incremental = text_equal(bitmap, BACKUP_BITMAP);
		free(bitmap);
	}
	xmlFreeDoc(doc);
	return 0;
}

int checkpoint_xml_parse(const char *xml, size_t n, struct point_xml *out, struct err *e)
{
	xmlDocPtr doc;
	*out = (struct point_xml){0};
	if (document_parse("checkpoint", xml, n, "domaincheckpoint", &doc, e) < 0)
		return -1;
	const xmlNode *top = xmlDocGetRootElement(doc);
	out->name = content(child(top, "name"), 256);
	for (xmlNodePtr node = child(child(top, "disks"), "disk"); node; node = next_same(node)) {
		struct point_disk *d = point_disk_add(out, node);
		if (d)
			d->tracked = attribute_is(node, "checkpoint", "bitmap");
	}
	char *sizes = content(child(top, "description"), 8192);
	char *rest = sizes, *word;
	while ((word = rest ? strsep(&rest, " ") : NULL)) {
		char *equals = strchr(word, '=');
		if (!equals)
			continue;
		*equals = '\0';
		struct point_disk *d = point_xml_disk(out, word);
		if (d)
			d->size_bytes = number_or(xstrdup(equals + 1), LIMIT_DISK_MAX_BYTES, 0);
	}
	free(sizes);
	xmlFreeDoc(doc);
	return 0;
}

bool capabilities_xml_uuid(const char *xml, size_t n, char out[37])
{
	xmlDocPtr doc;
	if (document_parse("capabilities", xml, n, "capabilities", &doc, NULL) < 0)
		return false;
	char *uuid = content(child(child(xmlDocGetRootElement(doc), "host"), "uuid"), 64);
	bool good = uuid && strlen(uuid) == 36 && strspn(uuid, "0123456789abcdef-") == 36 &&
		    strspn(uuid, "0-") != 36;
	if (good)
		memcpy(out, uuid, 37);
	free(uuid);
	xmlFreeDoc(doc);
	return good;
}

/* --- writing --- */

static void escape(struct buf *b, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&': buf_add_str(b, "&amp;"); break;
		case '<': buf_add_str(b, "&lt;"); break;
		case '>': buf_add_str(b, "&gt;"); break;
		case '\'': buf_add_str(b, "&apos;"); break;
		case '"': buf_add_str(b, "&quot;"); break;
		default: buf_add_byte(b, (uint8_t)*text);
		}
}

char *backup_xml_build(const struct point_xml *p, const char *base, const char *scratch_dir)
{
	struct buf b = {0};
	const struct point_disk *disks = p->disks.items;
	buf_add_str(&b, "<domainbackup mode='pull'><server transport='unix' socket='");
	escape(&b, p->socket);
	buf_add_str(&b, "'/><disks>");
	for (size_t i = 0; i < p->disks.count; i++) {
		buf_add_str(&b, "<disk backup='yes' type='file' name='");
		escape(&b, disks[i].key);
		buf_add_str(&b, "' exportname='");
		escape(&b, disks[i].key);
		if (disks[i].incremental) {
			buf_add_str(&b, "' exportbitmap='" BACKUP_BITMAP
					"' backupmode='incremental' incremental='");
			escape(&b, base);
		} else {
			buf_add_str(&b, "' backupmode='full");
		}
		buf_add_str(&b, "'><scratch file='");
		escape(&b, scratch_dir);
		buf_add_str(&b, "/scratch.");
		escape(&b, disks[i].key);
		buf_add_str(&b, "'/></disk>");
	}
	buf_add_str(&b, "</disks></domainbackup>");
	return buf_detach_str(&b);
}

char *checkpoint_xml_build(const struct point_xml *p)
{
	struct buf b = {0};
	const struct point_disk *disks = p->disks.items;
	buf_add_str(&b, "<domaincheckpoint><name>");
	escape(&b, p->name);
	buf_add_str(&b, "</name><description>");
	for (size_t i = 0; i < p->disks.count; i++)
		if (disks[i].tracked)
			buf_printf(&b, "%s=%lld ", disks[i].key, (long long)disks[i].size_bytes);
	buf_add_str(&b, "</description><disks>");
	for (size_t i = 0; i < p->disks.count; i++) {
		buf_add_str(&b, "<disk name='");
		escape(&b, disks[i].key);
		buf_printf(&b, "' checkpoint='%s'/>", disks[i].tracked ? "bitmap" : "no");
	}
	buf_add_str(&b, "</disks></domaincheckpoint>");
	return buf_detach_str(&b);
}
