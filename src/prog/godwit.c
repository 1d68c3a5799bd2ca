// SPDX-License-Identifier: Apache-2.0
/* godwit: the command line for people. The commands are a table; help, completion and parsing come
 * from it. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "prog/godwit.h"

#define STATE_DEFAULT "/var/lib/godwit"

const struct cli_option cli_common_options[] = {
    {"state", "DIR", "folder of the service ($GODWIT_STATE, else " STATE_DEFAULT ")"},
    {"json", NULL, "print the answer as JSON"},
    {"help", NULL, "show the command's options"},
    {0}};

static const struct cli_option none[] = {{0}};
static const struct cli_option up_options[] = {
    {"listen", "ADDR", "where the API listens (127.0.0.1:8443)"},
    {"door", "ADDR", "where connectors connect (127.0.0.1:8703)"},
    {"http", NULL, "plain HTTP for the API; on loopback only"},
    {"hosts", "LIST", "names and addresses in the certificate that is made"},
    {"connector", "SITE", "site of the connector (libvirt:qemu:///system)"},
    {"no-connector", NULL, "start the service alone"},
    {"rules", "NAME", "unlimited, or aws: the vendor's business quotas"},
    {"region", "NAME", "that clients must name (us-east-1)"},
    {"slots", "N", "boot tests at once"},
    {"boot-patience", "S", "seconds until a boot without evidence is unproven"},
    {"store", "PLACE", "dir:PATH, or s3:BUCKET/PREFIX?... of godwit-s3(7)"},
    {0}};
static const struct cli_option job_set_options[] = {
    {"boot-test", "WORD", "required, advisory or off"},
    {"boot-test-every", "N", "test the image of every Nth run"},
    {"pause-on-failure", "WORD", "yes or no"},
    {"failure-limit", "N", "failures in a row until the job pauses"},
    {0}};
static const struct cli_option image_list_options[] = {{"job", "JOB", "only images of this job"},
						       {0}};
static const struct cli_option serve_options[] = {
    {"socket", "PATH", "unix socket (STATE/run/IMAGE.sock)"},
    {"overlay", "FILE", "writable: what is written goes into this file"},
    {0}};
static const struct cli_option commit_options[] = {
    {"drop", NULL, "remove the overlay instead, and what was written with it"}, {0}};
static const struct cli_option boot_options[] = {
    {"display", "NAME", "none, gtk, sdl or curses, as QEMU knows them (none)"}, {0}};
static const struct cli_option diff_options[] = {
    {"files", NULL, "the files that differ, by virt-diff"}, {0}};
static const struct cli_option run_options[] = {
    {"name", "NAME", "of the machine (the server's, with the end of the image's id)"},
    {"memory", "SIZE", "of the machine (the server's)"},
    {"network", "NAME", "a network of libvirt (none)"},
    {"connect", "URI", "libvirt ($LIBVIRT_DEFAULT_URI, else qemu:///system)"},
    {"rate", "SIZE", "bytes each second at most that become local (0: no limit)"},
    {"wait", NULL, "until its disks are local"},
    {0}};
static const struct cli_option stop_options[] = {
    {"remove", NULL, "and remove it, with what was written in it"}, {0}};
static const struct cli_option export_options[] = {
    {"format", "NAME", "raw, qcow2, vmdk, vhd or vhdx (qcow2)"},
    {"disk", "N", "which disk, counted from 0 (0)"},
    {0}};

const struct command cli_commands[] = {
    {"up", "", up_options, "Start the service and a connector on this machine.", cmd_up},
    {"down", "", none, "Stop both.", cmd_down},
    {"env", "", none, "Print the shell variables with which the AWS CLI reaches the service.",
     cmd_env},
    {"status", "", none, "Show the service, its connectors, jobs and runs in numbers.", cmd_status},
    {"watch", "[JOB|RUN]", none, "Follow a run until it ends.", cmd_watch},
    {"job list", "", none, "List replication jobs.", cmd_job_list},
    {"job show", "JOB", none, "Show a job.", cmd_job_show},
    {"job resume", "JOB", none, "Go on with a job that paused after failures.", cmd_job_resume},
    {"job set", "JOB", job_set_options,
     "Set how images of a job are proven and what its failures do.", cmd_job_set},
    {"run list", "JOB", none, "List the runs of a job, the newest first.", cmd_run_list},
    {"run show", "RUN", none, "Show what a run read, sent and stored.", cmd_run_show},
    {"image list", "", image_list_options, "List images and whether they were seen to boot.",
     cmd_image_list},
    {"image show", "IMAGE", none, "Show an image, its disks and its verdict.", cmd_image_show},
    {"image delete", "IMAGE", none, "Delete an image.", cmd_image_delete},
    {"image verify", "IMAGE", none, "Read and hash everything of an image.", cmd_image_verify},
    {"image serve", "IMAGE", serve_options,
     "Serve the disks of an image by NBD, read-only or over an overlay.", cmd_image_serve},
    {"image commit", "OVERLAY", commit_options, "Make an image of what was written over one.",
     cmd_image_commit},
    {"image boot", "IMAGE", boot_options,
     "Boot an image under a throw-away overlay, without a network.", cmd_image_boot},
    {"image run", "IMAGE", run_options,
     "Run an image as a domain of libvirt, from the store at once.", cmd_image_run},
    {"image runs", "", none, "List the machines that run images.", cmd_image_runs},
    {"image stop", "MACHINE", stop_options, "Stop a machine that runs an image.", cmd_image_stop},
    {"image export", "IMAGE FILE", export_options, "Write a disk of an image to a file.",
     cmd_image_export},
    {"image diff", "IMAGE IMAGE", diff_options, "Show where two images differ.", cmd_image_diff},
    {"store show", "", none, "Show what the store holds, and how much of it nobody needs.",
     cmd_store_show},
    {"store collect", "", none, "Free what nobody needs, and wait for it.", cmd_store_collect},
    {"connector list", "", none, "List connectors.", cmd_connector_list},
    {"connector token", "NAME", none, "Make a one-time token for a new connector.",
     cmd_connector_token},
    {"stages", "", none, "List the stages of a run, in order.", cmd_stages},
    {"completion", "SHELL", none, "Print the completion script for a shell (bash).",
     cmd_completion},
    {"help", "[COMMAND] [WORD]", none, "List the commands, or show one.", cmd_help},
};
const unsigned cli_command_count = COUNT_OF(cli_commands);

/* --- help and completion, from the table --- */

static void print_option(const struct cli_option *o)
{
	char left[40];
	snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "",
		 o->value ? o->value : "");
	printf("  %-26s %s\n", left, o->help);
}

static void print_command(const struct command *k)
{
	printf("usage: godwit %s%s%s%s\n%s\n", k->words, *k->slots ? " " : "", k->slots,
	       k->options->name ? " [options]" : "", k->help);
	for (const struct cli_option *o = k->options; o->name; o++)
		print_option(o);
	for (const struct cli_option *o = cli_common_options; o->name; o++)
		print_option(o);
}

static void print_commands(void)
{
	puts("godwit " GODWIT_VERSION " moves whole servers.\n\nusage: godwit COMMAND [options]\n");
	for (unsigned i = 0; i < cli_command_count; i++) {
		const struct command *k = &cli_commands[i];
		char left[64];
		snprintf(left, sizeof left, "%s%s%s", k->words, *k->slots ? " " : "", k->slots);
		printf("  %-24s %s\n", left, k->help);
	}
	puts("\n'godwit help COMMAND' shows a command's options; godwit(1) tells the rest.");
}

int cmd_help(struct cli *c, struct err *e)
{
	unsigned shown = 0;
	if (!c->args[0])
		return print_commands(), 0;
	char *asked = c->args[1] ? xasprintf("%s %s", c->args[0], c->args[1]) : xstrdup(c->args[0]);
	size_t n = strlen(asked);
	for (unsigned i = 0; i < cli_command_count; i++) {
		const char *words = cli_commands[i].words;
		if (strncmp(words, asked, n) == 0 && (words[n] == '\0' || words[n] == ' ')) {
			if (shown++)
				putchar('\n');
			print_command(&cli_commands[i]);
		}
	}
	if (!shown)
		err_set(e, ERR_INVALID, "there is no command '%s'; 'godwit help' lists them",
			asked);
	free(asked);
	return shown ? 0 : EXIT_USAGE;
}

static void print_options_of(const struct cli_option *options)
{
	for (; options->name; options++)
		printf("--%s ", options->name);
}

int cmd_completion(struct cli *c, struct err *e)
{
	if (strcmp(c->args[0], "bash") != 0) {
		err_set(e, ERR_INVALID, "there is a completion for bash only, not for '%s'",
			c->args[0]);
		return EXIT_USAGE;
	}
	puts(
	    "# godwit completion bash: source it, or put it into bash-completion's folder\n"
	    "_godwit() {\n"
	    "\tlocal now=${COMP_WORDS[COMP_CWORD]} said=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n"
	    "\tlocal line rest options words=\n"
	    "\twhile IFS='|' read -r line options; do\n"
	    "\t\tcase \"$line \" in \"${said:+$said }\"*)\n"
	    "\t\t\trest=${line#\"$said\"}; rest=${rest# }; words+=\" ${rest%% *}\" ;; esac\n"
	    "\t\tcase \"$said \" in \"$line \"*) [ -z \"$line\" ] || words+=\" $options\" ;; esac\n"
	    "\tdone <<'END'");
	for (unsigned i = 0; i < cli_command_count; i++) {
		printf("%s|", cli_commands[i].words);
		print_options_of(cli_commands[i].options);
		print_options_of(cli_common_options);
		putchar('\n');
	}
	puts("END\n"
	     "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$now\" | sort -u)\n"
	     "}\n"
	     "complete -o default -F _godwit godwit");
	return 0;
}

/* --- parsing --- */

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	fputs("godwit: ", stderr);
	vfprintf(stderr, format, ap);
	fputs("\n", stderr);
	va_end(ap);
	return EXIT_USAGE;
}

/* The command of the first words, and how many those are; the longest wins. */
static const struct command *find_command(char **argv, int argc, int *used)
{
	for (int n = argc < 2 ? argc : 2; n > 0; n--)
		for (unsigned i = 0; i < cli_command_count; i++) {
			char *words = n == 2 ? xasprintf("%s %s", argv[0], argv[1])
					     : xstrdup(argv[0]);
			bool same = strcmp(words, cli_commands[i].words) == 0;
			free(words);
			if (same) {
				*used = n;
				return &cli_commands[i];
			}
		}
	return NULL;
}

static int find_option(const struct cli_option *options, const char *name, size_t n)
{
	for (int i = 0; options[i].name; i++)
		if (strlen(options[i].name) == n && strncmp(options[i].name, name, n) == 0)
			return i;
	return -1;
}

const char *cli_value(const struct cli *c, const char *name)
{
	int i = find_option(c->command->options, name, strlen(name));
	return i < 0 ? NULL : c->values[i];
}

/* One "--name", "--name=value" or "--name value"; 0, or an exit code. */
static int take_option(struct cli *c, char **argv, int argc, int *i, bool *help)
{
	const char *name = argv[*i] + 2, *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);
	int own = find_option(c->command->options, name, n);
	int common = find_option(cli_common_options, name, n);
	if (own < 0 && common < 0)
		return usage("unknown option '%s'; 'godwit help %s' lists them", argv[*i],
			     c->command->words);
	const struct cli_option *o = own >= 0 ? &c->command->options[own]
					      : &cli_common_options[common];
	const char *value = equals ? equals + 1 : "";
	if (o->value && !equals) {
		if (*i + 1 >= argc)
			return usage("--%s needs a value: %s", o->name, o->value);
		value = argv[++*i];
	} else if (!o->value && equals) {
		return usage("--%s takes no value, and '%s' gives one", o->name, argv[*i]);
	}
	if (own >= 0)
		c->values[own] = value;
	else if (strcmp(o->name, "state") == 0)
		c->state = value;
	else if (strcmp(o->name, "json") == 0)
		c->json = true;
	else
		*help = true;
	return 0;
}

static void count_slots(const char *slots, unsigned *least, unsigned *most)
{
	*least = *most = 0;
	for (const char *p = slots; *p; p++)
		if (p == slots || p[-1] == ' ') {
			++*most;
			*least += *p != '[';
		}
}

static int parse(struct cli *c, char **argv, int argc, bool *help)
{
	unsigned least, most, given = 0;
	bool only_words = false;
	count_slots(c->command->slots, &least, &most);
	for (int i = 0; i < argc; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0) {
			only_words = true;
		} else if (!only_words && text_starts(argv[i], "--")) {
			int code = take_option(c, argv, argc, &i, help);
			if (code)
				return code;
		} else if (given == most) {
			return usage("'%s' is one argument too many for 'godwit %s'", argv[i],
				     c->command->words);
		} else {
			c->args[given++] = argv[i];
		}
	}
	if (given < least && !*help)
		return usage("'godwit %s' needs %s", c->command->words, c->command->slots);
	return 0;
}

/* --state and --json may stand before the command too; where the command begins. */
static int take_leading(struct cli *c, char **argv, int argc)
{
	int i = 1;
	for (; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			c->json = true;
		else if (text_starts(argv[i], "--state="))
			c->state = argv[i] + strlen("--state=");
		else if (strcmp(argv[i], "--state") == 0 && i + 1 < argc)
			c->state = argv[++i];
		else
			break;
	}
	return i;
}

int main(int argc, char **argv)
{
	struct cli c = {.state = getenv("GODWIT_STATE")};
	struct err e = {0};
	bool help = false;
	int used = 0;
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2 || strcmp(argv[1], "--help") == 0)
		return print_commands(), argc < 2 ? EXIT_USAGE : 0;
	if (strcmp(argv[1], "--version") == 0)
		return puts("godwit " GODWIT_VERSION), 0;
	int first = take_leading(&c, argv, argc);
	if (first == argc)
		return usage("a command is needed; 'godwit help' lists them");
	c.command = find_command(argv + first, argc - first, &used);
	if (!c.command)
		return usage("there is no command '%s'; 'godwit help' lists them", argv[first]);
	int code = parse(&c, argv + first + used, argc - first - used, &help);
	if (code)
		return code;
	if (help)
		return print_command(c.command), 0;
	if (!c.state || !*c.state)
		c.state = STATE_DEFAULT;
	code = c.command->run(&c, &e);
	if (code && e.kind != ERR_NONE) {
		fflush(stdout);
		fprintf(stderr, "godwit: %s\n", e.text);
	}
	cli_release(&c);
	return code < 0 ? 1 : code;
}
