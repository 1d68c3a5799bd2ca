// SPDX-License-Identifier: Apache-2.0
/* godwitd: the service. Also, as `godwitd --intake`, the process that alone writes the store. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/server.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "io/process.h"
#include "io/tls.h"
#include "job/loop.h"
#include "job/overlay.h"

struct options {
	const char *state, *listen, *door, *store, *meta, *rules, *region, *hosts, *certificate,
	    *key;
	bool http;
	int64_t boot_patience_ms, slots;
};

static const char usage_text[] =
    "usage: godwitd [options]\n"
    "  --state DIR        everything of this service is under it (/var/lib/godwit)\n"
    "  --listen ADDR      API, host:port (127.0.0.1:8443)\n"
    "  --door ADDR        data door for connectors, host:port (127.0.0.1:8703)\n"
    "  --http             plain HTTP for the API; refused off loopback\n"
    "  --hosts LIST       names and addresses in the certificate it makes\n"
    "  --certificate FILE --key FILE   a certificate of your own for the API (PEM)\n"
    "  --region NAME      that clients must name (us-east-1)\n"
    "  --rules NAME       unlimited (default) or aws: the vendor's business quotas\n"
    "  --store PLACE      (dir:STATE/store)\n"
    "  --meta PLACE       (sqlite:STATE/meta.db)\n"
    "  --slots N          boot tests at once (half the processors)\n"
    "  --boot-patience S  seconds until a boot without evidence is unproven\n"
    "  --version, --help\n";

static int usage(const char *what)
{
	fprintf(stderr, "godwitd: %s; 'godwitd --help' lists the options\n", what);
	return 2;
}

/* --- first start: keys that people and connectors begin with --- */

static int any_row(void *context, const void *row)
{
	(void)row;
	*(bool *)context = true;
	return 1;
}

static int table_has_rows(struct meta *meta, const struct meta_table *table, bool *exists,
			  struct err *e)
{
	struct meta_tx *tx;
	struct err none;
	struct meta_scan scan = {.limit = 1};
	*exists = false;
	if (meta_begin(meta, false, &tx, e) < 0)
		return -1;
	int r = meta_scan(tx, table, &scan, any_row, exists, e);
	meta_end(tx, true, &none);
	return r < 0 ? -1 : 0;
}

/* The first access key, into client.conf for `godwit` and for people. */
static int make_access_key(const struct options *o, struct meta *meta, const char *endpoint,
			   const char *store, struct err *e)
{
	struct access_key_row row = {0};
	struct meta_tx *tx;
	struct err none;
	char id[ID_BYTES], secret[65];
	id_make(id, "AKGW", 16);
	for (char *p = id; *p; p++)
		if (*p >= 'a' && *p <= 'f')
			*p = (char)(*p - 'a' + 'A');
	secret_make(secret);
	text_set(&row.access_key_id, id);
	text_set(&row.secret, secret);
	text_set(&row.user, "admin");
	row.created = clock_now_ms();
	struct buf conf = {0};
	buf_printf(&conf,
		   "; How clients reach this service. Keep it secret.\n"
		   "endpoint = %s\nregion = %s\naccess_key_id = %s\nsecret_access_key = %s\n"
		   "ca_file = %s/tls/ca.pem\nstate_dir = %s\nstore = %s\n",
		   endpoint, o->region, id, secret, o->state, o->state, store);
	char *path = xasprintf("%s/client.conf", o->state);
	/* The file first: a key that nobody was told is of no use, a file without its key is
	 * written again at the next start. */
	int r = file_write(path, conf.data, conf.len, 0600, e);
	if (r == 0)
		r = meta_begin(meta, true, &tx, e);
	if (r == 0) {
		r = meta_put(tx, &meta_access_keys, &row, e);
		if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
			r = -1;
	}
	free(path);
	buf_release(&conf);
	shape_release(meta_access_keys.shape, &row);
	return r;
}

/* The endpoint and the store may change between starts: client.conf says the newest. */
static int refresh_conf(const struct options *o, const char *endpoint, const char *store,
			struct err *e)
{
	char *path = xasprintf("%s/client.conf", o->state);
	struct buf old = {0}, new = {0};
	int r = file_read(path, 64 * KIB, &old, e);
	if (r == 0) {
		for (char *save, *line = strtok_r((char *)old.data, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			if (text_starts(line, "endpoint = "))
				buf_printf(&new, "endpoint = %s\n", endpoint);
			else if (!text_starts(line, "store = "))
				buf_printf(&new, "%s\n", line);
		buf_printf(&new, "store = %s\n", store);
		r = file_write(path, new.data, new.len, 0600, e);
	}
	free(path);
	buf_release(&old);
	buf_release(&new);
	return r;
}

/* A one-time token for the connector on this machine, in enrol.token. */
static int make_enrol_token(const struct options *o, struct meta *meta, struct err *e)
{
	struct enrol_token_row row = {0};
	struct meta_tx *tx;
	struct err none;
	char secret[65], hex[NAME_HEX_BYTES], fingerprint[FINGERPRINT_BYTES];
	struct name digest;
	char *ca = xasprintf("%s/tls/ca.pem", o->state), *path = NULL;
	int r = tls_fingerprint(ca, fingerprint, e);
	free(ca);
	if (r < 0)
		return -1;
	secret_make(secret);
	name_of(secret, strlen(secret), &digest);
	name_hex(&digest, hex);
	text_set(&row.secret_sha256, hex);
	text_set(&row.name, "local");
	row.created = clock_now_ms();
	row.expires = row.created + ENROL_TOKEN_MS;
	r = meta_begin(meta, true, &tx, e);
	if (r == 0) {
		r = meta_put(tx, &meta_enrol_tokens, &row, e);
		if (meta_end(tx, r == 0, r == 0 ? e : &none) < 0)
			r = -1;
	}
	if (r == 0) {
		char *line = xasprintf("%s %s\n", fingerprint, secret);
		path = xasprintf("%s/enrol.token", o->state);
		r = file_write(path, line, strlen(line), 0600, e);
		free(line);
	}
	free(path);
	shape_release(meta_enrol_tokens.shape, &row);
	return r;
}

/* --- the service --- */

struct world {
	struct options options;
	struct service service;
	struct meta *meta;
	struct intake *intake;
	struct door *door;
	struct loop *loop;
	struct api_server *api;
	int lock_fd;
	char *store_where;
};

static void wake(void *context)
{
	struct world *w = context;
	if (w->loop)
		loop_wake(w->loop);
}

static int ask_inventory(void *context, int64_t import)
{
	struct world *w = context;
	return w->door ? door_ask_inventory(w->door, import) : 0;
}

static int lock_state(struct world *w, struct err *e)
{
	const char *sub[] = {"", "/journal", "/evidence", "/scratch", "/tls", "/run", "/log"};
	for (size_t i = 0; i < COUNT_OF(sub); i++) {
		char *dir = xasprintf("%s%s", w->options.state, sub[i]);
		int r = file_make_dirs(dir, 0700, e);
		free(dir);
		if (r < 0)
			return -1;
	}
	char *path = xasprintf("%s/lock", w->options.state);
	w->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r = 0;
	if (w->lock_fd < 0)
		r = err_errno(e, errno, "cannot open %s", path);
	else if (flock(w->lock_fd, LOCK_EX | LOCK_NB) < 0)
		r = err_set(
		    e, ERR_BUSY,
		    "another godwitd already works in %s; stop it or choose another --state",
		    w->options.state);
	free(path);
	return r;
}

/* The host of --listen as a client on this machine names it. */
static char *listen_host(const struct options *o)
{
	const char *colon = strrchr(o->listen, ':');
	char *host = xstrndup(o->listen, colon ? (size_t)(colon - o->listen) : strlen(o->listen));
	if (!*host || strcmp(host, "0.0.0.0") == 0)
		text_set(&host, "127.0.0.1");
	else if (strcmp(host, "[::]") == 0)
		text_set(&host, "[::1]");
	return host;
}

static char *endpoint_of(const struct options *o, int port)
{
	char *host = listen_host(o);
	char *endpoint = xasprintf("%s://%s:%d", o->http ? "http" : "https", host, port);
	free(host);
	return endpoint;
}

/* Names for the certificate: what was asked for, and the address that client.conf names. */
static char *certificate_hosts(const struct options *o)
{
	char *host = listen_host(o), *copy = xstrdup(o->hosts), *rest = copy, *word, *all;
	const char *name = host;
	bool named = false;
	size_t n = strlen(host);
	if (*host == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		name++;
	}
	while ((word = strsep(&rest, ", ")))
		named |= strcmp(word, name) == 0;
	all = named ? xstrdup(o->hosts) : xasprintf("%s,%s", o->hosts, name);
	free(copy);
	free(host);
	return all;
}

static int start(struct world *w, struct err *e)
{
	struct options *o = &w->options;
	struct service *s = &w->service;
	char *tls_dir = xasprintf("%s/tls", o->state), *program = NULL, *endpoint = NULL;
	char *meta_where = o->meta ? xstrdup(o->meta) : xasprintf("sqlite:%s/meta.db", o->state);
	char *journal = xasprintf("%s/journal", o->state);
	char *cert = o->certificate ? xstrdup(o->certificate) : xasprintf("%s/server.pem", tls_dir);
	char *key = o->key ? xstrdup(o->key) : xasprintf("%s/server.key", tls_dir);
	int door_port = 0, api_port = 0, r = -1;
	bool exists = false;
	w->store_where = o->store ? xstrdup(o->store) : xasprintf("dir:%s/store", o->state);
	program = process_sibling("godwitd");
	char *hosts = certificate_hosts(o);
	if (lock_state(w, e) < 0 || tls_make_authority(tls_dir, hosts, e) < 0 ||
	    meta_open(meta_where, &w->meta, e) < 0)
		goto out;
	*s = (struct service){.meta = w->meta,
			      .rules = job_rules_named(o->rules),
			      .state_dir = o->state,
			      .store_where = w->store_where,
			      .region = o->region,
			      .account = "000000000000",
			      .wake = wake,
			      .wake_context = w,
			      .ask_inventory = ask_inventory,
			      .ask_context = w,
			      .notify = notice_log};
	if (intake_start(program, w->store_where, journal, door_note, s, &w->intake, e) < 0 ||
	    !(s->commits = overlay_commits_new(s, w->intake)) ||
	    door_open(s, w->intake, tls_dir, o->door, &w->door, &door_port, e) < 0)
		goto out;
	struct loop_config loop_config = {.worker_slots = (unsigned)o->slots,
					  .boot_patience_ms = o->boot_patience_ms};
	const char *hold = getenv("GODWIT_HOLD_STAGE_MS"); /* for tests: godwitd(8) */
	if (hold &&
	    number_parse("GODWIT_HOLD_STAGE_MS", hold, 0, 60000, &loop_config.hold_stage_ms, e) < 0)
		goto out;
	if (loop_start(s, w->intake, w->door, &loop_config, &w->loop, e) < 0)
		goto out;
	struct api_config api = {.listen = o->listen,
				 .cert_file = o->http ? NULL : cert,
				 .key_file = o->http ? NULL : key,
				 .region = o->region};
	if (api_server_start(&api, s, &w->api, &api_port, e) < 0)
		goto out;
	endpoint = endpoint_of(o, api_port);
	char *conf = xasprintf("%s/client.conf", o->state);
	r = table_has_rows(w->meta, &meta_access_keys, &exists, e);
	if (r == 0 && (!exists || access(conf, F_OK) != 0))
		r = make_access_key(o, w->meta, endpoint, w->store_where, e);
	else if (r == 0)
		r = refresh_conf(o, endpoint, w->store_where, e);
	free(conf);
	if (r == 0)
		r = table_has_rows(w->meta, &meta_connectors, &exists, e);
	if (r == 0 && !exists)
		r = make_enrol_token(o, w->meta, e);
	if (r == 0)
		log_info("API at %s, data door at port %d, store %s, rules %s", endpoint, door_port,
			 w->store_where, s->rules->name);
out:
	free(tls_dir);
	free(program);
	free(endpoint);
	free(hosts);
	free(meta_where);
	free(journal);
	free(cert);
	free(key);
	return r;
}

static int parse(int argc, char **argv, struct options *o, int *status)
{
	enum {
		STATE = 256,
		LISTEN,
		DOOR,
		HTTP,
		HOSTS,
		CERTIFICATE,
		KEY,
		REGION,
		RULES,
		STORE,
		META,
		SLOTS,
		PATIENCE,
		VERSION,
		HELP
	};
	static const struct option table[] = {{"state", 1, NULL, STATE},
					      {"listen", 1, NULL, LISTEN},
					      {"door", 1, NULL, DOOR},
					      {"http", 0, NULL, HTTP},
					      {"hosts", 1, NULL, HOSTS},
					      {"certificate", 1, NULL, CERTIFICATE},
					      {"key", 1, NULL, KEY},
					      {"region", 1, NULL, REGION},
					      {"rules", 1, NULL, RULES},
					      {"store", 1, NULL, STORE},
					      {"meta", 1, NULL, META},
					      {"slots", 1, NULL, SLOTS},
					      {"boot-patience", 1, NULL, PATIENCE},
					      {"version", 0, NULL, VERSION},
					      {"help", 0, NULL, HELP},
					      {0}};
	struct err e = {0};
	int c;
	*status = 2;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		int64_t n = 0;
		switch (c) {
		case STATE: o->state = optarg; break;
		case LISTEN: o->listen = optarg; break;
		case DOOR: o->door = optarg; break;
		case HTTP: o->http = true; break;
		case HOSTS: o->hosts = optarg; break;
		case CERTIFICATE: o->certificate = optarg; break;
		case KEY: o->key = optarg; break;
		case REGION: o->region = optarg; break;
		case RULES: o->rules = optarg; break;
		case STORE: o->store = optarg; break;
		case META: o->meta = optarg; break;
		case SLOTS:
			if (number_parse("--slots", optarg, 1, 16, &o->slots, &e) < 0)
				return usage(e.text), -1;
			break;
		case PATIENCE:
			if (number_parse("--boot-patience", optarg, 10, 86400, &n, &e) < 0)
				return usage(e.text), -1;
			o->boot_patience_ms = n * 1000;
			break;
		case VERSION: *status = 0; return puts("godwitd " GODWIT_VERSION), -1;
		case HELP: *status = 0; return fputs(usage_text, stdout), -1;
		case ':': return usage("an option lacks its value"), -1;
		default: return usage("unknown option"), -1;
		}
	}
	if (optind < argc)
		return usage("takes options only"), -1;
	if (!job_rules_named(o->rules))
		return usage("--rules is 'unlimited' or 'aws'"), -1;
	if (!o->certificate != !o->key)
		return usage("--certificate and --key go together"), -1;
	if (!*o->region)
		return usage("--region must not be empty"), -1;
	if (o->state[0] != '/')
		return usage("--state must be an absolute path"), -1;
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	if (argc == 4 && strcmp(argv[1], "--intake") == 0) {
		log_init("godwitd-intake", LOG_LEVEL_INFO);
		return copy_intake_main(3, argv[2], argv[3]);
	}
	log_init("godwitd", LOG_LEVEL_INFO);
	static struct world w = {.options = {.state = "/var/lib/godwit",
					     .listen = "127.0.0.1:8443",
					     .door = "127.0.0.1:8703",
					     .hosts = "localhost,127.0.0.1,::1",
					     .rules = "unlimited",
					     .region = "us-east-1"}};
	int status;
	if (parse(argc, argv, &w.options, &status) < 0)
		return status;
	/* Signals are taken by sigwait below; threads inherit the mask. */
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	struct err e = {0};
	status = 0;
	if (start(&w, &e) < 0) {
		log_error("%s", e.text);
		status = 1;
	} else {
		int number;
		sigwait(&signals, &number);
		log_info("stopping");
	}
	if (w.api)
		api_server_stop(w.api);
	loop_stop(w.loop);
	door_close(w.door);
	if (w.intake)
		intake_stop(w.intake);
	/* A boot test may still hold rows open: leave without waiting for it. What is durable stays. */
	_exit(status);
}
