// SPDX-License-Identifier: Apache-2.0
/* The command line `godwit`: what its commands share. */
#ifndef PROG_GODWIT_H
#define PROG_GODWIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

#define CLI_ARGS_MAX	4
#define CLI_OPTIONS_MAX 16

#define EXIT_USAGE	2

struct cli_option {
	const char *name;  /* without the dashes; NULL ends the array */
	const char *value; /* what it takes, for people; NULL: nothing */
	const char *help;
};

struct cli;

struct command {
	const char *words; /* "job list" */
	const char *slots; /* "JOB [FILE]" */
	const struct cli_option *options;
	const char *help;
	int (*run)(struct cli *c, struct err *e); /* 0, -1, or an exit code */
};

extern const struct command cli_commands[];
extern const unsigned cli_command_count;
extern const struct cli_option cli_common_options[];

struct cli {
	const struct command *command;
	const char *state; /* folder of the service */
	bool json;
	const char *args[CLI_ARGS_MAX]; /* NULL where an optional one was not given */
	const char *values[CLI_OPTIONS_MAX];
	/* from STATE/client.conf, by cli_config */
	char *endpoint, *region, *access_key_id, *secret_access_key, *ca_file, *state_dir, *store;
};

/* The value of an option of this command ("" for one that takes none), NULL when not given. */
const char *cli_value(const struct cli *c, const char *name);

/* Read STATE/client.conf (again). */
int cli_config(struct cli *c, struct err *e);
void cli_release(struct cli *c);
/* Where the service keeps its store, as store_open takes it; the caller frees. */
char *cli_store(const struct cli *c);

/* Call an operation of the service: of the public model, or of our own. `in` is taken (NULL: no
 * members); *out is the caller's. The service's sentence becomes the error. */
int call_sms(struct cli *c, const char *operation, json_t *in, json_t **out, struct err *e);
int call_godwit(struct cli *c, const char *operation, json_t *in, json_t **out, struct err *e);
/* All pages of a list: *out is an array. */
int call_sms_list(struct cli *c, const char *operation, json_t *in, const char *member,
		  json_t **out, struct err *e);
int call_godwit_list(struct cli *c, const char *operation, json_t *in, const char *member,
		     json_t **out, struct err *e);

/* Members of an answer; "" and 0 when they are not there. */
const char *text_of(const json_t *object, const char *member);
int64_t number_of(const json_t *object, const char *member);

/* --- showing (standard output) --- */

void show_json(const json_t *value);
/* Text from anywhere, without what would steer a terminal. */
void show_text(const char *text);
/* A line "label: text"; nothing for an empty text. */
void show_field(const char *label, const char *text);
/* Rows of `columns` cells under their titles; `rows` is an array of arrays of strings, taken. */
void show_table(const char *const *titles, unsigned columns, json_t *rows);
/* A new string: a size, a time, for a cell. */
json_t *cell_size(const json_t *object, const char *member);
json_t *cell_time(const json_t *object, const char *member);
json_t *cell_text(const json_t *object, const char *member);

/* --- the commands --- */

int cmd_up(struct cli *c, struct err *e);
int cmd_down(struct cli *c, struct err *e);
int cmd_env(struct cli *c, struct err *e);
int cmd_status(struct cli *c, struct err *e);
int cmd_watch(struct cli *c, struct err *e);
int cmd_job_list(struct cli *c, struct err *e);
int cmd_job_show(struct cli *c, struct err *e);
int cmd_job_resume(struct cli *c, struct err *e);
int cmd_job_set(struct cli *c, struct err *e);
int cmd_run_list(struct cli *c, struct err *e);
int cmd_run_show(struct cli *c, struct err *e);
int cmd_connector_list(struct cli *c, struct err *e);
int cmd_connector_token(struct cli *c, struct err *e);
int cmd_image_list(struct cli *c, struct err *e);
int cmd_image_show(struct cli *c, struct err *e);
int cmd_image_delete(struct cli *c, struct err *e);
int cmd_image_verify(struct cli *c, struct err *e);
int cmd_image_serve(struct cli *c, struct err *e);
int cmd_image_boot(struct cli *c, struct err *e);
int cmd_image_commit(struct cli *c, struct err *e);
int cmd_image_run(struct cli *c, struct err *e);
int cmd_image_runs(struct cli *c, struct err *e);
int cmd_image_stop(struct cli *c, struct err *e);
int cmd_image_diff(struct cli *c, struct err *e);
int cmd_image_export(struct cli *c, struct err *e);
int cmd_store_show(struct cli *c, struct err *e);
int cmd_store_collect(struct cli *c, struct err *e);
int cmd_stages(struct cli *c, struct err *e);
int cmd_completion(struct cli *c, struct err *e);
int cmd_help(struct cli *c, struct err *e);

#endif
