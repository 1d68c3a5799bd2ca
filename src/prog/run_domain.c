// SPDX-License-Identifier: Apache-2.0
/* The domain of a machine that runs an image. */
#include <errno.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/process.h"
#include "prog/run.h"

#define MEMORY_MIN  (128 * MIB)
#define RECONNECT_S 30 /* so long a read waits for the keeper to serve again */
#define MARK	    "godwit image "
#define POLL_MS	    500

static void say_nothing(void *context, virErrorPtr error)
{
	(void)context;
	(void)error;
}

static int libvirt_error(struct err *e, const char *what, const char *name)
{
	const virError *last = virGetLastError();
	enum err_kind kind = ERR_UNAVAILABLE;

	if (last && (last->code == VIR_ERR_NO_DOMAIN || last->code == VIR_ERR_NO_NETWORK))
		kind = ERR_NOT_FOUND;
	return err_set(e, kind, "libvirt cannot %s '%s': %s", what, name,
		       last && last->message ? last->message : "it does not say why");
}

const char *run_state_word(enum run_state state)
{
	static const char *const words[] = {"gone", "off", "running", "paused", "stuck"};

	return words[state];
}

int run_connect(const char *uri, virConnectPtr *out, struct err *e)
{
	virSetErrorFunc(NULL, say_nothing);
	*out = virConnectOpen(uri);
	return *out ? 0 : libvirt_error(e, "be reached at", uri);
}

static virDomainPtr find(virConnectPtr conn, const struct run_place *p, struct err *e)
{
	virDomainPtr domain = virDomainLookupByName(conn, p->name);

	if (!domain)
		libvirt_error(e, "find the domain", p->name);
	return domain;
}

/* --- its description --- */

static void add_escaped(struct buf *out, const char *text)
{
	xmlChar *safe = xmlEncodeSpecialChars(NULL, (const xmlChar *)text);

	buf_add_str(out, (const char *)safe);
	xmlFree(safe);
}

static bool is_pc(const struct machine *m)
{
	return m->machine && (text_equal(m->machine, "pc") || text_starts(m->machine, "pc-i440fx"));
}

/* The bus that the chipset has, and the first letters of its disks' names. */
static const char *bus_of(const struct machine *m, const struct machine_disk *d,
			  const char **letters)
{
	*letters = "sd";
	if (text_equal(d->bus, "ide") && is_pc(m)) {
		*letters = "hd";
		return "ide";
	}
	if (text_equal(d->bus, "ide") || text_equal(d->bus, "sata"))
		return "sata";
	if (text_equal(d->bus, "scsi"))
		return "scsi";
	*letters = "vd";
	return "virtio";
}

void run_target_name(const struct machine *m, unsigned disk, char out[16])
{
	const char *letters;

	bus_of(m, (const struct machine_disk *)m->disks.items + disk, &letters);
	if (disk < 26)
		snprintf(out, 16, "%s%c", letters, 'a' + disk);
	else
		snprintf(out, 16, "%s%c%c", letters, 'a' + disk / 26 - 1, 'a' + disk % 26);
}

static void target_of(const struct run_place *p, unsigned disk, char out[16])
{
	const json_t *d = json_array_get(json_object_get(p->machine, "disks"), disk);

	snprintf(out, 16, "%s", text_of(d, "target"));
}

static void add_disk(struct buf *xml, const struct run_place *p, const struct machine *m,
		     unsigned i)
{
	const struct machine_disk *d = (const struct machine_disk *)m->disks.items + i;
	const json_t *about = json_array_get(json_object_get(p->machine, "disks"), i);
	char *file = run_disk_file(p, i), target[16];
	const char *letters, *bus = bus_of(m, d, &letters);

	target_of(p, i, target);
	/* A read that fails stops the guest, and is done again when it goes on. */
	buf_add_str(xml,
		    "<disk type='file' device='disk'><driver name='qemu' type='qcow2' "
		    "discard='unmap' error_policy='stop' rerror_policy='stop'/><source file='");
	add_escaped(xml, file);
	buf_printf(xml,
		   "'/><backingStore type='network'><format type='raw'/><source protocol='nbd' "
		   "name='%s'><host transport='unix' socket='",
		   text_of(about, "export"));
	add_escaped(xml, p->socket);
	buf_printf(xml,
		   "'/><reconnect delay='%d'/></source><backingStore/></backingStore>"
		   "<target dev='%s' bus='%s'/><boot order='%u'/></disk>\n",
		   RECONNECT_S, target, bus, i + 1);
	free(file);
}

static char *describe(const struct run_place *p, const struct machine *m, int64_t memory_bytes)
{
	struct buf xml = {0};
	const char *network = text_of(p->machine, "network");

	if (memory_bytes < (int64_t)MEMORY_MIN)
		memory_bytes = 512 * MIB;
	buf_printf(&xml,
		   "<domain type='%s'><name>%s</name><description>" MARK "%s</description>"
		   "<memory unit='KiB'>%lld</memory><vcpu>%lld</vcpu>\n<os%s>"
		   "<type arch='x86_64' machine='%s'>hvm</type></os>"
		   "<features><acpi/><apic/></features><cpu mode='maximum'/>"
		   "<clock offset='utc'/><devices>\n",
		   boot_kvm_works() ? "kvm" : "qemu", p->name, text_of(p->machine, "imageId"),
		   (long long)(memory_bytes / 1024), m->vcpus > 0 ? (long long)m->vcpus : 1ll,
		   text_equal(m->firmware, "uefi") ? " firmware='efi'" : "",
		   is_pc(m) ? "pc" : "q35");
	for (unsigned i = 0; i < m->disks.count; i++)
		add_disk(&xml, p, m, i);
	if (*network) {
		buf_add_str(&xml, "<interface type='network'><source network='");
		add_escaped(&xml, network);
		buf_add_str(&xml, "'/><model type='virtio'/></interface>\n");
	}
	buf_add_str(&xml, "<controller type='scsi' model='virtio-scsi'/>"
			  "<controller type='usb' model='none'/><serial type='pty'/>"
			  "<console type='pty'/><video><model type='vga'/></video>"
			  "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
			  "<memballoon model='none'/></devices></domain>\n");
	return buf_detach_str(&xml);
}

static xmlChar *text_at(const char *xml, const char *path)
{
	xmlDocPtr doc = xmlReadMemory(xml, (int)strlen(xml), "domain.xml", NULL,
				      XML_PARSE_NONET | XML_PARSE_NOERROR);
	xmlXPathContextPtr context = doc ? xmlXPathNewContext(doc) : NULL;
	xmlXPathObjectPtr found = context ? xmlXPathEval((const xmlChar *)path, context) : NULL;
	xmlChar *text = NULL;

	if (found && found->nodesetval && found->nodesetval->nodeNr > 0)
		text = xmlNodeGetContent(found->nodesetval->nodeTab[0]);
	xmlXPathFreeObject(found);
	xmlXPathFreeContext(context);
	xmlFreeDoc(doc);
	return text;
}

static bool is_ours(virDomainPtr domain, const struct run_place *p)
{
	char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE);
	xmlChar *about = xml ? text_at(xml, "/domain/description") : NULL;
	char *mark = xasprintf(MARK "%s", text_of(p->machine, "imageId"));
	bool ours = about && strcmp((const char *)about, mark) == 0;

	xmlFree(about);
	free(mark);
	free(xml);
	return ours;
}

int run_domain_define(virConnectPtr conn, const struct run_place *p, const struct machine *m,
		      int64_t memory_bytes, struct err *e)
{
	virDomainPtr domain = virDomainLookupByName(conn, p->name);
	char *xml;

	if (domain) {
		bool ours = is_ours(domain, p);

		virDomainFree(domain);
		return ours ? 0
			    : err_set(e, ERR_CONFLICT,
				      "libvirt has another domain '%s': give a --name", p->name);
	}
	xml = describe(p, m, memory_bytes);
	domain = virDomainDefineXML(conn, xml);
	free(xml);
	if (!domain)
		return libvirt_error(e, "take the domain", p->name);
	virDomainFree(domain);
	return 0;
}

/* --- its life --- */

static enum run_state state_of(virDomainPtr domain)
{
	int state = 0, reason = 0;

	if (virDomainGetState(domain, &state, &reason, 0) < 0)
		return RUN_GONE;
	switch (state) {
	case VIR_DOMAIN_PAUSED: return reason == VIR_DOMAIN_PAUSED_IOERROR ? RUN_STUCK : RUN_PAUSED;
	case VIR_DOMAIN_SHUTOFF:
	case VIR_DOMAIN_CRASHED: return RUN_OFF;
	default: return RUN_RUNNING;
	}
}

/* The qcow2 header says it: a disk that is whole has no backing file. */
static bool disk_is_local(const struct run_place *p, unsigned disk)
{
	char *file = run_disk_file(p, disk);
	const char *const argv[] = {"qemu-img", "info", "-U", "--output=json", file, NULL};
	struct process_plan plan = {.argv = argv};
	struct buf text = {0};
	bool local = false;

	if (process_run(&plan, 30000, 256 * KIB, &text, NULL) == 0) {
		json_t *info = json_loads(buf_str(&text), 0, NULL);

		local = info && !*text_of(info, "backing-filename");
		json_decref(info);
	}
	buf_release(&text);
	free(file);
	return local;
}

int run_domain_look(virConnectPtr conn, const struct run_place *p, struct run_look *out,
		    struct err *e)
{
	virDomainPtr domain = virDomainLookupByName(conn, p->name);
	const json_t *disks = json_object_get(p->machine, "disks"), *disk;

	*out = (struct run_look){.disks = (unsigned)json_array_size(disks)};
	if (!domain && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
		return libvirt_error(e, "look at", p->name);
	if (domain)
		out->state = state_of(domain);
	for (unsigned i = 0; i < out->disks && i < LIMIT_DISKS_PER_SERVER; i++) {
		virDomainBlockJobInfo job = {0};
		uint64_t size;
		char target[16];

		disk = json_array_get(disks, i);
		size = (uint64_t)number_of(disk, "sizeBytes");
		target_of(p, i, target);
		out->total += size;
		if (domain && out->state != RUN_OFF &&
		    virDomainGetBlockJobInfo(domain, target, &job, 0) == 1) {
			out->pulling[i] = true;
			if (job.end)
				out->done += (uint64_t)((double)size * (double)job.cur /
							(double)job.end);
		} else if (disk_is_local(p, i)) {
			out->is_local[i] = true;
			out->local++;
			out->done += size;
		}
	}
	if (domain)
		virDomainFree(domain);
	return 0;
}

int run_domain_start(virConnectPtr conn, const struct run_place *p, struct err *e)
{
	virDomainPtr domain = find(conn, p, e);
	int result = 0;

	if (!domain)
		return -1;
	switch (state_of(domain)) {
	case RUN_STUCK:
	case RUN_PAUSED: result = virDomainResume(domain); break;
	case RUN_OFF: result = virDomainCreate(domain); break;
	default: break;
	}
	if (result < 0)
		libvirt_error(e, "start", p->name);
	virDomainFree(domain);
	return result < 0 ? -1 : 0;
}

int run_domain_set_rate(virConnectPtr conn, const struct run_place *p, struct err *e)
{
	virDomainPtr domain = find(conn, p, e);
	unsigned long rate = (unsigned long)number_of(p->machine, "rate");
	int result = 0;

	if (!domain)
		return -1;
	for (unsigned i = 0; i < json_array_size(json_object_get(p->machine, "disks")); i++) {
		virDomainBlockJobInfo job;
		char target[16];

		target_of(p, i, target);
		if (virDomainGetBlockJobInfo(domain, target, &job, 0) == 1 &&
		    virDomainBlockJobSetSpeed(domain, target, rate,
					      VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES) < 0)
			result = libvirt_error(e, "set the rate of", p->name);
	}
	virDomainFree(domain);
	return result;
}

int run_domain_pull(virConnectPtr conn, const struct run_place *p, unsigned disk, struct err *e)
{
	unsigned long rate = (unsigned long)number_of(p->machine, "rate");
	virDomainPtr domain = find(conn, p, e);
	char target[16];
	int result;

	if (!domain)
		return -1;
	target_of(p, disk, target);
	result = virDomainBlockPull(domain, target, rate, VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES);
	if (result < 0)
		libvirt_error(e, "pull the disks of", p->name);
	virDomainFree(domain);
	return result < 0 ? -1 : 0;
}

int run_domain_stop(virConnectPtr conn, const struct run_place *p, int64_t patience_ms,
		    bool *obeyed, struct err *e)
{
	virDomainPtr domain = find(conn, p, e);
	int64_t end = clock_mono_ms() + patience_ms;
	int result = 0;

	*obeyed = true;
	if (!domain)
		return -1;
	if (state_of(domain) == RUN_RUNNING && virDomainShutdown(domain) == 0)
		while (state_of(domain) == RUN_RUNNING && clock_mono_ms() < end)
			clock_sleep_ms(POLL_MS);
	if (state_of(domain) != RUN_OFF) {
		*obeyed = false;
		result = virDomainDestroy(domain);
		if (result < 0 && state_of(domain) == RUN_OFF)
			result = 0;
	}
	if (result < 0)
		libvirt_error(e, "stop", p->name);
	virDomainFree(domain);
	return result < 0 ? -1 : 0;
}

int run_domain_remove(virConnectPtr conn, const struct run_place *p, struct err *e)
{
	virDomainPtr domain = find(conn, p, e);
	int result;

	if (!domain)
		return -1;
	result = virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_NVRAM |
						    VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
						    VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
						    VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA);
	if (result < 0)
		libvirt_error(e, "remove", p->name);
	virDomainFree(domain);
	return result < 0 ? -1 : 0;
}

int run_network_isolated(virConnectPtr conn, const char *name, bool *isolated, struct err *e)
{
	virNetworkPtr network = virNetworkLookupByName(conn, name);
	char *xml = network ? virNetworkGetXMLDesc(network, 0) : NULL;
	int result = xml ? 0 : libvirt_error(e, "find the network", name);

	*isolated = xml && !strstr(xml, "<forward");
	free(xml);
	if (network)
		virNetworkFree(network);
	return result;
}

int run_let_qemu_in(virConnectPtr conn, const char *state, const struct run_place *p, struct err *e)
{
	char *caps = virConnectGetCapabilities(conn), *machines;
	xmlChar *label = caps ? text_at(caps, "//secmodel[model='dac']/baselabel") : NULL;
	unsigned user = 0, group = 0;
	int result = 0;

	free(caps);
	/* "+64055:+108": the user that QEMU becomes; without one it is libvirt's own. */
	if (!label || sscanf((const char *)label, "+%u:+%u", &user, &group) != 2)
		user = geteuid();
	xmlFree(label);
	if (user == geteuid())
		return 0;
	/* To pass through, not to list. */
	machines = xasprintf("%s/machines", state);
	if (chmod(state, 0711) < 0 || chmod(machines, 0711) < 0 || chmod(p->dir, 0711) < 0 ||
	    chown(p->socket, user, group) < 0)
		result = err_errno(e, errno, "QEMU, which runs as user %u, cannot be let into '%s'",
				   user, p->dir);
	free(machines);
	return result;
}
