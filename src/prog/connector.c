// SPDX-License-Identifier: Apache-2.0
/* godwit-connector: beside the servers; finds them, and sends their disks to the service. */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "copy/connector.h"

static const char usage_text[] =
    "usage: godwit-connector --service HOST:PORT --site PLACE [options]\n"
    "  --service HOST:PORT  the data door of the service\n"
    "  --site PLACE         libvirt:URI, such as libvirt:qemu:///system\n"
    "  --state DIR          keys, sockets, scratch space (/var/lib/godwit/connector)\n"
    "  --token-file FILE    the one-time token, for the first time\n"
    "  --name NAME          for people (the host's name)\n"
    "  --version, --help\n";

static int usage(const char *what)
{
	fprintf(stderr, "godwit-connector: %s; 'godwit-connector --help' lists the options\n",
		what);
	return 2;
}

/* Points in time stay where they are when we end: the next start finds them and goes on. */
static void *signal_thread(void *set)
{
	int number;
	sigwait(set, &number);
	log_info("stopping; runs under way go on after the next start");
	_exit(0);
}

int main(int argc, char **argv)
{
	static char host[256] = "connector";
	struct connector_config config = {.state_dir = "/var/lib/godwit/connector", .name = host};
	static const struct option table[] = {
	    {"service", 1, NULL, 's'}, {"site", 1, NULL, 'i'},
	    {"state", 1, NULL, 'd'},   {"token-file", 1, NULL, 't'},
	    {"name", 1, NULL, 'n'},    {"version", 0, NULL, 'v'},
	    {"help", 0, NULL, 'h'},    {0}};
	struct err e = {0};
	int c;
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	gethostname(host, sizeof host - 1);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		switch (c) {
		case 's': config.service = optarg; break;
		case 'i': config.site = optarg; break;
		case 'd': config.state_dir = optarg; break;
		case 't': config.token_file = optarg; break;
		case 'n': config.name = optarg; break;
		case 'v': return puts("godwit-connector " GODWIT_VERSION), 0;
		case 'h': return fputs(usage_text, stdout), 0;
		case ':': return usage("an option lacks its value");
		default: return usage("unknown option");
		}
	}
	if (optind < argc)
		return usage("takes options only");
	if (!config.service || !config.site)
		return usage("--service and --site are needed");
	if (config.state_dir[0] != '/')
		return usage("--state must be an absolute path");
	log_init("godwit-connector", LOG_LEVEL_INFO);
	const char *hold = getenv("GODWIT_HOLD_STAGE_MS"); /* for tests: godwit-connector(8) */
	if (hold &&
	    number_parse("GODWIT_HOLD_STAGE_MS", hold, 0, 60000, &config.hold_stage_ms, &e) < 0)
		return usage(e.text);
	const char *rate = getenv("GODWIT_DISK_BYTES_PER_SECOND");
	if (rate && number_parse("GODWIT_DISK_BYTES_PER_SECOND", rate, 0, INT64_MAX / 1000,
				 &config.bytes_per_second, &e) < 0)
		return usage(e.text);
	static sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	pthread_t thread;
	if (pthread_create(&thread, NULL, signal_thread, &signals) != 0)
		return 1;
	connector_serve(&config, &e);
	log_error("%s", e.text);
	return 1;
}
