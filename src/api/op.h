// SPDX-License-Identifier: Apache-2.0
/*
 * The operations as a table: every operation, its members, their types, ranges, patterns and enums
 * is data (api/ops_sms.c from the service model 2016-10-24; api/ops_godwit.c for what it lacks).
 * Parsing, validation, error names, documentation and the model for `aws configure add-model` come
 * from it.
 */
#ifndef API_OP_H
#define API_OP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum api_type { API_STRING, API_INTEGER, API_BOOLEAN, API_TIMESTAMP, API_STRUCTURE, API_LIST };

struct api_shape {
	const char *name; /* of the model: "ServerType", "VmServer", "ServerList" */
	enum api_type type;
	const char *const *values; /* enum words, NULL-terminated, or NULL */
	const char *pattern;	   /* POSIX extended, as the model's, or NULL */
	int64_t min, max;	   /* length of a string (characters), value of an integer; */
	bool has_min, has_max;	   /*   items of a list */
	const struct api_member *members; /* structure */
	const struct api_shape *item;	  /* list */
};

struct api_member {
	const char *name; /* NULL ends the array */
	const struct api_shape *shape;
	bool required;
	const char *doc;
};

struct api_call;
typedef int api_handler_fn(struct api_call *call, json_t *in, json_t *out);

struct api_op {
	const char *name;
	const struct api_shape *input, *output; /* structures, or NULL */
	const char *const *errors;		/* names, NULL-terminated */
	api_handler_fn *handler;		/* NULL: an honest error for now */
	const char *doc;
	const char *paged_list; /* output member that nextToken pages, or NULL */
	int default_page;
};

struct api_service {
	const char *target_prefix; /* "AWSServerMigrationService_V2016_10_24" */
	const char *signing_name;  /* "sms" */
	const struct api_op *ops;
	unsigned op_count;
};

extern const struct api_service api_sms;    /* the public model */
extern const struct api_service api_godwit; /* our own: prefix "Godwit_V2026_11_21" */

/* What a handler knows and how it fails. */
struct api_error {
	char code[64]; /* InvalidParameterException … */
	char message[600];
	int status; /* HTTP: 400, 403, 500, 503 */
};

struct api_call {
	const struct api_service *service;
	const struct api_op *op;
	void *world; /* struct api_world */
	const char *user, *access_key_id;
	char request_id[40];
	int64_t now; /* ms */
	struct api_error error;
};

/* Fill call->error and return -1. Code is the exact exception name. */
int api_fail(struct api_call *call, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Map an err to the operation's exceptions (INVALID, NOT_FOUND: InvalidParameterException;
 * CONFLICT, DENIED: OperationNotPermittedException; FULL, BUSY, UNAVAILABLE:
 * TemporarilyUnavailableException; else InternalError). */
int api_fail_err(struct api_call *call, const struct err *e);

/* Check a parsed body against a structure: types (SerializationException), required members
 * (MissingRequiredParameterException), ranges, patterns, enums (InvalidParameterException, naming
 * member, value and what is allowed). null counts as absent; unknown members are ignored. */
int api_validate(struct api_call *call, const struct api_shape *shape, json_t *body);

#endif
