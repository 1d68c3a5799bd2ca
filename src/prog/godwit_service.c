// SPDX-License-Identifier: Apache-2.0
/* up, down, env, status: the service and its connector on this machine. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/shape.h"
#include "base/text.h"
#include "io/file.h"
#include "io/process.h"
#include "prog/godwit.h"

#define START_MS  60000
#define STOP_MS	  60000
#define LOG_LINES 8

static const char service_name[] = "godwitd";
static const char connector_name[] = "godwit-connector";

/* --- programs in the background --- */

static char *state_file(const struct cli *c, const char *dir, const char *name, const char *suffix)
{
	return xasprintf("%s/%s/%s%s", c->state, dir, name, suffix);
}

/* The process of a pid file, when it still is that program: a number may have been given to
 * another, and what ended but was not reaped has no command line. */
static pid_t running(const struct cli *c, const char *name)
{
	char *path = state_file(c, "run", name, ".pid"), *proc = NULL;
	struct buf text = {0}, command = {0};
	int64_t pid = 0;
	if (file_read(path, 64, &text, NULL) == 0 && text.len) {
		text.data[strcspn(buf_str(&text), "\n")] = '\0';
		if (number_parse("pid", buf_str(&text), 2, INT32_MAX, &pid, NULL) < 0)
			pid = 0;
	}
	if (pid) {
		proc = xasprintf("/proc/%d/cmdline", (int)pid);
		if (file_read(proc, 64 * KIB, &command, NULL) < 0 ||
		    !strstr(buf_str(&command), name))
			pid = 0;
	}
	free(path);
	free(proc);
	buf_release(&text);
	buf_release(&command);
	return (pid_t)pid;
}

/* Variables that the libraries of the daemons look at, besides what every child gets. */
static void add_environment(struct list *env)
{
	static const char *const names[] = {
	    "HOME",	     "XDG_RUNTIME_DIR", "LIBVIRT_DEFAULT_URI", "ASAN_OPTIONS",
	    "UBSAN_OPTIONS", "LSAN_OPTIONS",	"SSH_AUTH_SOCK",       "TMPDIR"};
	for (unsigned i = 0; i < COUNT_OF(names); i++) {
		const char *value = getenv(names[i]);
		if (value)
			*(char **)list_push(env, sizeof(char *)) = xasprintf("%s=%s", names[i],
									     value);
	}
	list_push(env, sizeof(char *));
}

static void free_texts(struct list *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(((char **)texts->items)[i]);
	free(texts->items);
}

static int start_program(struct cli *c, const char *name, const char *const *arguments,
			 unsigned count, pid_t *pid, struct err *e)
{
	char *program = process_sibling(name), *log = state_file(c, "log", name, ".log");
	char *pid_file = state_file(c, "run", name, ".pid"), text[16];
	const char **argv = xcalloc(count + 2, sizeof *argv);
	struct list env = {0};
	add_environment(&env);
	argv[0] = program;
	memcpy(argv + 1, arguments, count * sizeof *argv);
	struct process_plan plan = {
	    .argv = argv, .log_file = log, .env = env.items, .keep_alive = true};
	int result = process_start(&plan, pid, e);
	if (result == 0) {
		snprintf(text, sizeof text, "%d\n", (int)*pid);
		result = file_write(pid_file, text, strlen(text), 0600, e);
	}
	free_texts(&env);
	free(argv);
	free(program);
	free(log);
	free(pid_file);
	return result;
}

/* The last lines of a program's log, for the one who must see why it did not start. */
static void show_log(const struct cli *c, const char *name)
{
	char *path = state_file(c, "log", name, ".log");
	const char *const argv[] = {"tail", "-n", "8", path, NULL};
	struct buf text = {0};
	if (process_run(&(struct process_plan){.argv = argv}, 5000, 64 * KIB, &text, NULL) == 0)
		fprintf(stderr, "The last lines of %s:\n%s", path, buf_str(&text));
	buf_release(&text);
	free(path);
}

static int gave_up(const struct cli *c, const char *name, pid_t pid, struct err *e)
{
	int status;
	show_log(c, name);
	if (process_wait(pid, 0, &status, NULL) == 1)
		return err_set(e, ERR_UNAVAILABLE, "%s ended before it was ready", name);
	return err_set(e, ERR_UNAVAILABLE, "%s was not ready within %d s; it still runs as %d",
		       name, START_MS / 1000, (int)pid);
}

/* --- up --- */

static void add_option(const struct cli *c, struct list *arguments, const char *name)
{
	const char *value = cli_value(c, name);
	if (!value)
		return;
	*(char **)list_push(arguments, sizeof(char *)) = xasprintf("--%s", name);
	if (*value)
		*(char **)list_push(arguments, sizeof(char *)) = xstrdup(value);
}

static bool service_answers(struct cli *c, json_t **status)
{
	return cli_config(c, NULL) == 0 &&
	       call_godwit(c, "GetServiceStatus", NULL, status, NULL) == 0;
}

static int start_service(struct cli *c, struct err *e)
{
	static const char *const passed[] = {"listen", "door",	 "http",  "hosts",
					     "rules",  "region", "slots", "boot-patience"};
	struct list arguments = {0};
	pid_t pid;
	*(char **)list_push(&arguments, sizeof(char *)) = xstrdup("--state");
	*(char **)list_push(&arguments, sizeof(char *)) = xstrdup(c->state);
	for (unsigned i = 0; i < COUNT_OF(passed); i++)
		add_option(c, &arguments, passed[i]);
	int result = start_program(c, service_name, (const char *const *)arguments.items,
				   (unsigned)arguments.count, &pid, e);
	free_texts(&arguments);
	if (result < 0)
		return -1;
	for (int64_t end = clock_mono_ms() + START_MS; clock_mono_ms() < end;) {
		if (service_answers(c, NULL))
			return 0;
		if (kill(pid, 0) < 0 || process_wait(pid, 100, NULL, NULL) == 1)
			break;
	}
	show_log(c, service_name);
	return err_set(e, ERR_UNAVAILABLE,
		       "the service did not start in %s; its log is %s/log/%s.log", c->state,
		       c->state, service_name);
}

/* Where a connector on this machine finds the door. */
static char *door_here(const struct cli *c)
{
	const char *door = cli_value(c, "door");
	if (!door)
		door = "127.0.0.1:8703";
	if (text_starts(door, "0.0.0.0:") || *door == ':')
		return xasprintf("127.0.0.1%s", strrchr(door, ':'));
	if (text_starts(door, "[::]:"))
		return xasprintf("[::1]%s", strrchr(door, ':'));
	return xstrdup(door);
}

static bool connector_is_known(struct cli *c)
{
	json_t *list;
	bool known = false;
	size_t i;
	json_t *one;
	if (call_sms_list(c, "GetConnectors", NULL, "connectorList", &list, NULL) < 0)
		return false;
	json_array_foreach(list, i, one) known |= strcmp(text_of(one, "status"), "HEALTHY") == 0;
	json_decref(list);
	return known;
}

static int start_connector(struct cli *c, struct err *e)
{
	const char *site = cli_value(c, "connector");
	char *dir = xasprintf("%s/connector", c->state), *door = door_here(c);
	char *token = xasprintf("%s/enrol.token", c->state);
	pid_t pid;
	const char *const arguments[] = {
	    "--state",	    dir,    "--service", door,
	    "--token-file", token,  "--site",	 site ? site : "libvirt:qemu:///system",
	    "--name",	    "local"};
	int result = start_program(c, connector_name, arguments, COUNT_OF(arguments), &pid, e);
	free(dir);
	free(door);
	free(token);
	if (result < 0)
		return -1;
	for (int64_t end = clock_mono_ms() + START_MS; clock_mono_ms() < end;) {
		if (process_wait(pid, 200, NULL, NULL) == 1) {
			show_log(c, connector_name);
			return err_set(e, ERR_UNAVAILABLE,
				       "the connector did not start; its log is %s/log/%s.log",
				       c->state, connector_name);
		}
		if (connector_is_known(c))
			return 0;
	}
	return gave_up(c, connector_name, pid, e);
}

static void show_how(const struct cli *c)
{
	printf("endpoint        %s\n", c->endpoint);
	printf("region          %s\n", c->region);
	printf("access key id   %s   (its secret is in %s/client.conf)\n", c->access_key_id,
	       c->state);
	printf("CA file         %s\n", c->ca_file ? c->ca_file : "-");
	printf("store           %s/store\n", c->state);
	printf("logs            %s/log\n\nTry:\n", c->state);
	printf("  eval \"$(godwit env --state %s)\"\n", c->state);
	printf("  aws sms get-connectors --endpoint-url %s\n", c->endpoint);
}

static int make_folders(const struct cli *c, struct err *e)
{
	static const char *const names[] = {"run", "log", "connector"};
	int result = 0;
	for (unsigned i = 0; i < COUNT_OF(names) && result == 0; i++) {
		char *dir = xasprintf("%s/%s", c->state, names[i]);
		result = file_make_dirs(dir, 0700, e);
		free(dir);
	}
	return result;
}

int cmd_up(struct cli *c, struct err *e)
{
	if (cli_value(c, "connector") && cli_value(c, "no-connector")) {
		err_set(e, ERR_INVALID, "--connector and --no-connector exclude each other");
		return EXIT_USAGE;
	}
	if (c->state[0] != '/') {
		err_set(e, ERR_INVALID, "--state must be an absolute path, not '%s'", c->state);
		return EXIT_USAGE;
	}
	if (make_folders(c, e) < 0)
		return -1;
	bool ran = running(c, service_name) != 0;
	if (!ran && start_service(c, e) < 0)
		return -1;
	if (ran && cli_config(c, e) < 0)
		return -1;
	bool connected = running(c, connector_name) != 0;
	if (!cli_value(c, "no-connector") && !connected && start_connector(c, e) < 0)
		return -1;
	if (c->json) {
		json_t *all = json_pack("{s:s, s:s, s:s, s:s*}", "endpoint", c->endpoint, "region",
					c->region, "accessKeyId", c->access_key_id, "caFile",
					c->ca_file);
		show_json(all);
		json_decref(all);
		return 0;
	}
	puts(ran ? "The service is running already.\n" : "The service is running.\n");
	show_how(c);
	return 0;
}

/* --- down --- */

static int stop_program(struct cli *c, const char *name, bool *any, struct err *e)
{
	pid_t pid = running(c, name);
	char *pid_file = state_file(c, "run", name, ".pid");
	int result = 0;
	if (pid && kill(pid, SIGTERM) < 0 && errno != ESRCH) {
		result = err_errno(e, errno, "cannot stop %s, which runs as %d", name, (int)pid);
	} else if (pid) {
		*any = true;
		int64_t end = clock_mono_ms() + STOP_MS;
		while (running(c, name) && clock_mono_ms() < end)
			clock_sleep_ms(50);
		if (running(c, name))
			kill(pid, SIGKILL);
		while (running(c, name))
			clock_sleep_ms(50);
	}
	if (result == 0)
		unlink(pid_file);
	free(pid_file);
	return result;
}

int cmd_down(struct cli *c, struct err *e)
{
	bool any = false;
	/* The connector first: it ends its work while the service still hears of it. */
	if (stop_program(c, connector_name, &any, e) < 0 ||
	    stop_program(c, service_name, &any, e) < 0)
		return -1;
	if (c->json)
		puts(any ? "{\"stopped\": true}" : "{\"stopped\": false}");
	else
		puts(any ? "Stopped." : "Nothing was running.");
	return 0;
}

/* --- env --- */

static void show_variable(const char *name, const char *value)
{
	printf("export %s='", name);
	for (; value && *value; value++)
		if (*value == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*value);
	puts("'");
}

int cmd_env(struct cli *c, struct err *e)
{
	if (cli_config(c, e) < 0)
		return -1;
	if (c->json) {
		json_t *all = json_pack(
		    "{s:s, s:s, s:s, s:s, s:s*}", "GODWIT_ENDPOINT", c->endpoint,
		    "AWS_DEFAULT_REGION", c->region, "AWS_ACCESS_KEY_ID", c->access_key_id,
		    "AWS_SECRET_ACCESS_KEY", c->secret_access_key, "AWS_CA_BUNDLE", c->ca_file);
		show_json(all);
		json_decref(all);
		return 0;
	}
	show_variable("GODWIT_ENDPOINT", c->endpoint);
	show_variable("AWS_DEFAULT_REGION", c->region);
	show_variable("AWS_ACCESS_KEY_ID", c->access_key_id);
	show_variable("AWS_SECRET_ACCESS_KEY", c->secret_access_key);
	if (c->ca_file)
		show_variable("AWS_CA_BUNDLE", c->ca_file);
	show_variable("AWS_EC2_METADATA_DISABLED", "true");
	return 0;
}

/* --- status --- */

static void show_counts(const char *label, const json_t *counts)
{
	size_t i;
	json_t *one;
	printf("%-15s", label);
	if (json_array_size(counts) == 0)
		fputs(" none", stdout);
	json_array_foreach(counts, i, one)
	{
		printf("%s %lld ", i ? "," : "", (long long)number_of(one, "count"));
		show_text(text_of(one, "state"));
	}
	putchar('\n');
}

int cmd_status(struct cli *c, struct err *e)
{
	json_t *s;
	if (call_godwit(c, "GetServiceStatus", NULL, &s, e) < 0)
		return -1;
	if (c->json) {
		show_json(s);
	} else {
		show_field("service", c->endpoint);
		show_field("version", text_of(s, "version"));
		show_field("region", text_of(s, "region"));
		show_field("rules", text_of(s, "rules"));
		printf("%-15s %lld, %lld of them healthy\n", "connectors",
		       (long long)number_of(s, "connectors"),
		       (long long)number_of(s, "connectorsHealthy"));
		show_field("catalog", text_of(s, "serverCatalogStatus"));
		printf("%-15s %lld\n", "servers", (long long)number_of(s, "servers"));
		show_counts("jobs", json_object_get(s, "jobs"));
		show_counts("runs", json_object_get(s, "runs"));
		printf("%-15s %lld\n", "images", (long long)number_of(s, "images"));
	}
	json_decref(s);
	return 0;
}
