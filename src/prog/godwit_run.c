// SPDX-License-Identifier: Apache-2.0
/* image run, runs, stop: an image as a domain of libvirt, from the store at once. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/shape.h"
#include "io/file.h"
#include "prog/run.h"

#define CONNECT_DEFAULT "qemu:///system"
#define MEMORY_MAX	(4 * TIB)
#define RATE_MAX	TIB
#define PATIENCE_S	60
#define TURN_MS		1000

static const char *connect_uri(const struct cli *c)
{
	const char *given = cli_value(c, "connect"), *env = getenv("LIBVIRT_DEFAULT_URI");

	return given ? given : env && *env ? env : CONNECT_DEFAULT;
}

/* The server's name and the end of the image's id, made fit. */
static char *default_name(const struct local *l)
{
	const char *id = text_of(l->image, "imageId"), *name = text_of(l->image, "name");
	size_t n = strlen(id);
	char *out = xasprintf("%.48s-%s", *name ? name : "machine", n > 6 ? id + n - 6 : id);

	for (char *p = out; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '_' || (*p == '.' && p > out)))
			*p = p > out ? '-' : 'm';
	return out;
}

/* --- run --- */

/* A copy beside its running source has the same addresses as it. */
static int check_network(virConnectPtr conn, const struct local *l, const char *network,
			 struct err *e)
{
	bool isolated;

	if (!network)
		return 0;
	if (run_network_isolated(conn, network, &isolated, e) < 0)
		return -1;
	if (isolated || strcmp(text_of(l->image, "serverPower"), "running") != 0)
		return 0;
	return err_set(e, ERR_DENIED,
		       "server %s was running when the catalog was imported, and its image has the "
		       "same addresses: stop it and import the catalog again, or leave --network "
		       "out",
		       text_of(l->image, "serverId"));
}

static void describe(struct run_place *p, const struct local *l, const char *uri,
		     const char *network)
{
	json_t *disks = json_array();
	struct machine machine = {0};

	local_fill_machine(l, &machine);
	for (unsigned i = 0; i < l->count; i++) {
		const json_t *disk = json_array_get(l->disks, i);
		char name[96], target[16];

		run_target_name(&machine, i, target);
		overlay_export(name, sizeof name, text_of(l->image, "imageId"), i);
		json_array_append_new(disks, json_pack("{s:s, s:s, s:I, s:s}", "export", name,
						       "root", text_of(disk, "root"), "sizeBytes",
						       (json_int_t)number_of(disk, "sizeBytes"),
						       "target", target));
	}
	shape_release(&machine_shape, &machine);
	p->machine = json_pack("{s:s, s:s, s:s, s:s, s:o}", "imageId", text_of(l->image, "imageId"),
			       "connect", uri, "store", l->store, "network", network ? network : "",
			       "disks", disks);
}

/* What is there of this name must be of this image; else it is described. */
static int prepare(struct cli *c, struct run_place *p, const struct local *l, bool *resumed,
		   struct err *e)
{
	struct err why = {0};

	*resumed = run_place_read(p, &why) == 0;
	if (*resumed && strcmp(text_of(p->machine, "imageId"), c->args[0]) == 0)
		return 0;
	if (*resumed)
		return err_set(e, ERR_CONFLICT, "machine '%s' runs image %s: give a --name",
			       p->name, text_of(p->machine, "imageId"));
	if (why.kind != ERR_NOT_FOUND)
		return err_set(e, why.kind, "%s", why.text);
	describe(p, l, connect_uri(c), cli_value(c, "network"));
	return 0;
}

static int make_disks(const struct run_place *p, struct err *e)
{
	json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(p->machine, "disks"), i, disk)
	{
		char *file = run_disk_file(p, (unsigned)i);
		int result = 0;

		if (access(file, F_OK) < 0)
			result = image_overlay(p->socket, text_of(disk, "export"),
					       (uint64_t)number_of(disk, "sizeBytes"), file, e);
		free(file);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int start(struct cli *c, struct run_place *p, const struct local *l, virConnectPtr conn,
		 int64_t memory, struct err *e)
{
	struct machine machine = {0};
	struct run_look now;
	int result = -1;

	local_fill_machine(l, &machine);
	if (!memory)
		memory = machine.memory_bytes;
	if (run_place_write(p, e) < 0 || run_domain_look(conn, p, &now, e) < 0)
		goto out;
	/* A machine that is all local needs no keeper. */
	if (now.local < now.disks || !now.disks)
		if (run_keeper_start(p, e) < 0 || make_disks(p, e) < 0 ||
		    run_let_qemu_in(conn, l->state, p, e) < 0)
			goto out;
	if (run_domain_define(conn, p, &machine, memory, e) < 0 || run_domain_start(conn, p, e) < 0)
		goto out;
	result = 0;
out:
	shape_release(&machine_shape, &machine);
	(void)c;
	return result;
}

static int wait_until_local(struct cli *c, const struct run_place *p, virConnectPtr conn,
			    struct err *e)
{
	struct meter meter = {.quiet = c->json};
	struct run_look now = {0};
	int result;

	local_catch_signals();
	do {
		clock_sleep_ms(TURN_MS);
		result = run_domain_look(conn, p, &now, e);
		if (result == 0)
			meter_show(&meter, now.done, now.total);
		if (result == 0 && now.local < now.disks && now.state != RUN_RUNNING &&
		    now.state != RUN_STUCK)
			result = err_set(e, ERR_CONFLICT,
					 "machine '%s' is %s: its disks become local while it runs",
					 p->name, run_state_word(now.state));
	} while (result == 0 && now.local < now.disks && !local_interrupted());
	meter_end(&meter);
	return result;
}

static void show_run(const struct cli *c, const struct run_place *p, const struct run_look *now,
		     int64_t ms, bool resumed)
{
	if (c->json) {
		json_t *answer = json_pack(
		    "{s:s, s:s, s:s, s:I, s:I, s:b, s:I}", "name", p->name, "imageId",
		    text_of(p->machine, "imageId"), "state", run_state_word(now->state),
		    "bytesLocal", (json_int_t)now->done, "bytesTotal", (json_int_t)now->total,
		    "resumed", resumed, "startMs", (json_int_t)ms);

		show_json(answer);
		json_decref(answer);
		return;
	}
	printf("machine %s %s image %s after %.1f s%s\n", p->name,
	       resumed ? "goes on with" : "runs", text_of(p->machine, "imageId"), (double)ms / 1000,
	       now->local == now->disks
		   ? "; its disks are local"
		   : "; its disks become local meanwhile ('godwit image runs')");
}

int cmd_image_run(struct cli *c, struct err *e)
{
	const char *memory_text = cli_value(c, "memory"), *given = cli_value(c, "name");
	const char *rate_text = cli_value(c, "rate");
	const char *uri = connect_uri(c), *network = cli_value(c, "network");
	int64_t began = clock_mono_ms();
	uint64_t memory = 0, rate = 0;
	struct run_place p = {0};
	struct run_look now = {0};
	struct local l;
	virConnectPtr conn = NULL;
	bool resumed = false;
	char *name;
	int result;

	if (memory_text &&
	    size_parse("--memory", memory_text, 128 * MIB, MEMORY_MAX, &memory, e) < 0)
		return EXIT_USAGE;
	if (rate_text && size_parse("--rate", rate_text, 0, RATE_MAX, &rate, e) < 0)
		return EXIT_USAGE;
	if (local_open(c, &l, e) < 0)
		return -1;
	name = given ? xstrdup(given) : default_name(&l);
	result = run_place_open(l.state, name, &p, e);
	if (result == 0)
		result = prepare(c, &p, &l, &resumed, e);
	if (result == 0 && resumed) {
		uri = text_of(p.machine, "connect");
		network = *text_of(p.machine, "network") ? text_of(p.machine, "network") : NULL;
	}
	if (result == 0 && rate_text)
		json_object_set_new(p.machine, "rate", json_integer((json_int_t)rate));
	if (result == 0)
		result = run_connect(uri, &conn, e);
	if (result == 0)
		result = check_network(conn, &l, network, e);
	if (result == 0)
		result = start(c, &p, &l, conn, (int64_t)memory, e);
	if (result == 0 && rate_text)
		result = run_domain_set_rate(conn, &p, e);
	began = clock_mono_ms() - began;
	if (result == 0 && cli_value(c, "wait"))
		result = wait_until_local(c, &p, conn, e);
	if (result == 0)
		result = run_domain_look(conn, &p, &now, e);
	if (result == 0)
		show_run(c, &p, &now, began, resumed);
	if (conn)
		virConnectClose(conn);
	run_place_close(&p);
	local_release(&l);
	free(name);
	return result;
}

/* --- runs --- */

static json_t *row_of(const struct run_place *p)
{
	struct run_look now = {0};
	struct err e = {0};
	virConnectPtr conn = NULL;
	json_t *row;

	if (run_connect(text_of(p->machine, "connect"), &conn, &e) == 0)
		run_domain_look(conn, p, &now, &e);
	row = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b}", "name", p->name, "imageId",
			text_of(p->machine, "imageId"), "connect", text_of(p->machine, "connect"),
			"state", conn ? run_state_word(now.state) : "unknown", "bytesLocal",
			(json_int_t)now.done, "bytesTotal", (json_int_t)now.total, "local",
			now.disks > 0 && now.local == now.disks, "kept", run_keeper_lives(p));
	if (conn)
		virConnectClose(conn);
	return row;
}

static json_t *cells_of(const json_t *row)
{
	double total = (double)number_of(row, "bytesTotal");
	char percent[24];

	snprintf(percent, sizeof percent, "%.0f%%",
		 total > 0 ? 100.0 * (double)number_of(row, "bytesLocal") / total : 0.0);
	return json_pack("[o, o, o, s, s, o]", cell_text(row, "name"), cell_text(row, "imageId"),
			 cell_text(row, "state"), percent,
			 json_is_true(json_object_get(row, "local"))  ? "no"
			 : json_is_true(json_object_get(row, "kept")) ? "yes"
								      : "run it again",
			 cell_text(row, "connect"));
}

int cmd_image_runs(struct cli *c, struct err *e)
{
	static const char *const titles[] = {"MACHINE", "IMAGE",	"STATE",
					     "LOCAL",	"IMAGE IN USE", "AT"};
	json_t *rows = json_array(), *cells = json_array(), *row;
	const struct dirent *entry;
	char *dir;
	DIR *d;
	size_t i;

	if (cli_config(c, e) < 0) {
		json_decref(rows);
		json_decref(cells);
		return -1;
	}
	dir = xasprintf("%s/machines", c->state_dir ? c->state_dir : c->state);
	d = opendir(dir);
	while (d && (entry = readdir(d))) {
		struct run_place p;

		if (entry->d_name[0] != '.' &&
		    run_place_open(c->state_dir ? c->state_dir : c->state, entry->d_name, &p,
				   NULL) == 0) {
			if (run_place_read(&p, NULL) == 0)
				json_array_append_new(rows, row_of(&p));
			run_place_close(&p);
		}
	}
	if (d)
		closedir(d);
	json_array_foreach(rows, i, row) json_array_append_new(cells, cells_of(row));
	if (c->json) {
		show_json(rows);
		json_decref(cells);
	} else {
		show_table(titles, COUNT_OF(titles), cells);
	}
	json_decref(rows);
	free(dir);
	return 0;
}

/* --- stop --- */

static int stop(struct cli *c, struct run_place *p, bool *obeyed, struct err *e)
{
	bool remove = cli_value(c, "remove") != NULL;
	struct run_look now;
	virConnectPtr conn;
	int result = run_connect(text_of(p->machine, "connect"), &conn, e);

	*obeyed = true;
	if (result < 0)
		return -1;
	result = run_domain_look(conn, p, &now, e);
	if (result == 0 && now.state != RUN_GONE && now.state != RUN_OFF)
		result = run_domain_stop(conn, p, remove ? 0 : PATIENCE_S * 1000, obeyed, e);
	if (result == 0)
		run_keeper_stop(p);
	if (result == 0 && remove && now.state != RUN_GONE)
		result = run_domain_remove(conn, p, e);
	if (result == 0 && remove)
		result = file_remove_tree(p->dir, e);
	virConnectClose(conn);
	return result;
}

int cmd_image_stop(struct cli *c, struct err *e)
{
	struct run_place p = {0};
	bool obeyed = true;
	int result = cli_config(c, e);

	if (result == 0)
		result = run_place_open(c->state_dir ? c->state_dir : c->state, c->args[0], &p, e);
	if (result == 0)
		result = run_place_read(&p, e);
	if (result == 0)
		result = stop(c, &p, &obeyed, e);
	if (result == 0 && c->json)
		puts("{}");
	else if (result == 0)
		printf("machine %s %s%s\n", p.name,
		       cli_value(c, "remove") ? "and what was written in it are gone"
					      : "is stopped; running its image again goes on",
		       obeyed || cli_value(c, "remove") ? "" : " (it did not shut down by itself)");
	run_place_close(&p);
	return result;
}
