// SPDX-License-Identifier: Apache-2.0
/* up, down, env, status: the service and its connector on this machine. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/shape.h"
#include "base/text.h"
#include "io/file.h"
#include "io/process.h"
#include "prog/godwit.h"
#include "store/store.h"

#define START_MS 60000
#define STOP_MS	 60000

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
	static const char *const names[] = {"HOME",
					    "XDG_RUNTIME_DIR",
					    "LIBVIRT_DEFAULT_URI",
					    "ASAN_OPTIONS",
					    "UBSAN_OPTIONS",
					    "LSAN_OPTIONS",
					    "SSH_AUTH_SOCK",
					    "TMPDIR",
					    "GODWIT_HOLD_STAGE_MS",
					    "GODWIT_DISK_BYTES_PER_SECOND"};
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
	const char *store = cli_value(c, "store");
	char **needs = store_environment(store ? store : "");
	for (char **v = needs; *v; v++)
		*(char **)list_push(&env, sizeof(char *)) = xstrdup(*v);
	store_environment_free(needs);
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

/* How long a program's log is: what comes after is of this start. */
static off_t log_length(const struct cli *c, const char *name)
{
	char *path = state_file(c, "log", name, ".log");
	struct stat st;
	off_t length = stat(path, &st) == 0 ? st.st_size : 0;
	free(path);
	return length;
}

/* The last error in the log from `since` on, else its last line, without time and name; "" when
 * there is none. */
static char *last_words(const struct cli *c, const char *name, off_t since)
{
	char *path = state_file(c, "log", name, ".log"), text[8192], *words = NULL;
	char *hint = xasprintf("; '%s --help'", name);
	bool error = false;
	off_t length = log_length(c, name), room = sizeof text - 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0
			   : pread(fd, text, (size_t)room,
				   length - since > room ? length - room : since);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *save, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *colon = strstr(line, ": ");
		bool bad = strstr(line, " error ") != NULL;
		if (error && !bad)
			continue;
		error = bad;
		text_set(&words, colon ? colon + 2 : line);
	}
	char *end = words ? strstr(words, hint) : NULL;
	if (end)
		*end = '\0';
	free(path);
	free(hint);
	return words ? words : xstrdup("");
}

/* Why what was started is not there: its own words. `status` as waitpid gave it, or -1 while it
 * runs on. A wrong option is the caller's. */
static int gave_up(const struct cli *c, const char *name, const char *what, off_t since, pid_t pid,
		   int status, struct err *e)
{
	char *words = last_words(c, name, since);
	if (status == -1 && e->kind != ERR_NONE)
		text_set(&words, e->text); /* how the last attempt to reach it ended */
	if (status == -1)
		err_set(e, ERR_UNAVAILABLE,
			"%s is not ready after %d s and runs on as process %d%s%s; its log is "
			"%s/log/%s.log",
			what, START_MS / 1000, (int)pid, *words ? ": " : "", words, c->state, name);
	else
		err_set(e, ERR_UNAVAILABLE, "%s did not start: %s; its log is %s/log/%s.log", what,
			*words ? words : "it says nothing of why", c->state, name);
	free(words);
	return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE ? EXIT_USAGE
										      : -1;
}

/* --- up --- */

static void add_option(const struct cli *c, struct list *arguments, const char *name)
{
	const char *value = cli_value(c, name);
	if (!value)
		return;
	bool takes = false;
	for (const struct cli_option *o = c->command->options; o->name; o++)
		takes |= o->value && strcmp(o->name, name) == 0;
	*(char **)list_push(arguments, sizeof(char *)) = takes ? xasprintf("--%s=%s", name, value)
							       : xasprintf("--%s", name);
}

static bool service_answers(struct cli *c, struct err *e)
{
	return cli_config(c, e) == 0 && call_godwit(c, "GetServiceStatus", NULL, NULL, e) == 0;
}

static int start_service(struct cli *c, struct err *e)
{
	static const char *const passed[] = {"listen", "door",	"http",		 "hosts", "rules",
					     "region", "slots", "boot-patience", "store"};
	struct list arguments = {0};
	off_t since = log_length(c, service_name);
	int status = -1;
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
		if (service_answers(c, e)) {
			*e = (struct err){0};
			return 0;
		}
		if (process_wait(pid, 100, &status, NULL) == 1)
			break;
	}
	return gave_up(c, service_name, "the service", since, pid, status, e);
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
	off_t since = log_length(c, connector_name);
	int status = -1;
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
		if (process_wait(pid, 200, &status, NULL) == 1)
			break;
		if (connector_is_known(c))
			return 0;
	}
	result = gave_up(c, connector_name, "the connector", since, pid, status, e);
	if (status != -1)
		err_set(e, e->kind, "%s; the service runs on without it", e->text);
	return result;
}

static void show_how(const struct cli *c)
{
	printf("endpoint        %s\n", c->endpoint);
	printf("region          %s\n", c->region);
	printf("access key id   %s   (its secret is in %s/client.conf)\n", c->access_key_id,
	       c->state);
	printf("CA file         %s\n", c->ca_file ? c->ca_file : "-");
	char *store = cli_store(c);
	printf("store           %s\n", store);
	free(store);
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
	if (result < 0 && e->kind == ERR_DENIED)
		err_set(e, ERR_DENIED,
			"%s: run this as root or as the folder's owner, or name a folder of yours "
			"with --state",
			e->text);
	return result;
}

/* Options of a start that change nothing now. */
static bool any_given(const struct cli *c, bool service, bool connector)
{
	for (const struct cli_option *o = c->command->options; o->name; o++) {
		bool of_connector = strcmp(o->name, "connector") == 0;
		if (strcmp(o->name, "no-connector") != 0 && cli_value(c, o->name) &&
		    (of_connector ? connector : service))
			return true;
	}
	return false;
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
	int result = ran ? 0 : start_service(c, e);
	if (result)
		return result;
	if (ran && cli_config(c, e) < 0)
		return -1;
	bool connected = running(c, connector_name) != 0;
	if (!cli_value(c, "no-connector") && !connected)
		result = start_connector(c, e);
	if (result)
		return result;
	if (c->json) {
		json_t *all = json_pack("{s:s, s:s, s:s, s:s*}", "endpoint", c->endpoint, "region",
					c->region, "accessKeyId", c->access_key_id, "caFile",
					c->ca_file);
		show_json(all);
		json_decref(all);
		return 0;
	}
	puts(ran ? "The service is running already.\n" : "The service is running.\n");
	if (any_given(c, ran, connected))
		puts("What runs keeps the options it was started with; 'godwit down' comes before "
		     "others.\n");
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
	char *run = xasprintf("%s/run", c->state);
	int there = access(run, X_OK) == 0 ? 0 : errno;
	free(run);
	if (there == ENOENT)
		return err_set(e, ERR_NOT_FOUND,
			       "there is no service in '%s': name its folder with --state or "
			       "GODWIT_STATE",
			       c->state);
	if (there)
		return err_errno(e, there,
				 "the service in '%s' is another user's: run this as the one who "
				 "ran 'godwit up'",
				 c->state);
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
