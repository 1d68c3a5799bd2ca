// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/handlers.h"
#include "api/server.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "io/sigv4.h"

#define HEADERS_MAX 100

static const struct api_service *const services[] = {&api_sms, &api_godwit};

/* The request as received, in the form that the signature is made over. */
struct received {
	struct http_header headers[HEADERS_MAX];
	struct http_request request;
	char *path;
};

static const char *header(const struct received *r, const char *name)
{
	for (unsigned i = 0; i < r->request.header_count; i++) {
		if (!strcasecmp(r->headers[i].name, name))
			return r->headers[i].value;
	}
	return NULL;
}

static int receive(struct api_call *call, struct received *r, const char *method, const char *path,
		   const char *const *headers, const void *in, size_t in_len)
{
	size_t bytes = strlen(path);
	unsigned count = 0;
	for (; headers[2 * count]; count++) {
		bytes += strlen(headers[2 * count]) + strlen(headers[2 * count + 1]) + 4;
		if (count == HEADERS_MAX || bytes > LIMIT_REQUEST_HEADER_BYTES)
			return api_fail(call, "RequestHeaderTooLargeException",
					"the headers of the request are more than %d or larger "
					"than %llu bytes",
					HEADERS_MAX, LIMIT_REQUEST_HEADER_BYTES);
		r->headers[count].name = headers[2 * count];
		r->headers[count].value = headers[2 * count + 1];
	}
	if (in_len > LIMIT_REQUEST_BODY_BYTES)
		return api_fail(call, "RequestEntityTooLargeException",
				"the body of the request is larger than %llu bytes",
				LIMIT_REQUEST_BODY_BYTES);
	if (strcmp(method, "POST"))
		return api_fail(call, "MethodNotAllowedException",
				"operations are called with POST, not %.16s", method);
	r->path = xstrdup(path);
	char *query = strchr(r->path, '?');
	if (query)
		*query++ = '\0';
	r->request = (struct http_request){
	    .method = method,
	    .path = r->path,
	    .query = query ? query : "",
	    .headers = r->headers,
	    .header_count = count,
	    .body = in,
	    .body_len = in_len,
	};
	return 0;
}

/* "<prefix of the service>.<operation>" */
static int route(struct api_call *call, const char *target)
{
	if (!target)
		return api_fail(
		    call, "UnknownOperationException",
		    "the request has no X-Amz-Target header, which names the operation");
	const char *dot = strrchr(target, '.');
	for (unsigned i = 0; dot && i < COUNT_OF(services); i++) {
		const struct api_service *s = services[i];
		if (strlen(s->target_prefix) != (size_t)(dot - target) ||
		    strncmp(s->target_prefix, target, (size_t)(dot - target)))
			continue;
		for (unsigned k = 0; k < s->op_count; k++) {
			if (strcmp(s->ops[k].name, dot + 1))
				continue;
			call->service = s;
			call->op = &s->ops[k];
			return 0;
		}
	}
	return api_fail(call, "UnknownOperationException", "there is no operation '%.128s'",
			target);
}

/* The deepest nesting of objects and lists, counted before anything is parsed. */
static unsigned json_depth(const char *text, size_t n)
{
	unsigned depth = 0, deepest = 0;
	bool in_string = false;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > deepest)
				deepest = depth;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return deepest;
}

static json_t *parse(struct api_call *call, const char *text, size_t n)
{
	if (json_depth(text, n) > LIMIT_JSON_DEPTH) {
		api_fail(call, "SerializationException",
			 "the body is nested more than %d levels deep", LIMIT_JSON_DEPTH);
		return NULL;
	}
	json_error_t error;
	json_t *body = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
	if (!body) {
		api_fail(call, "SerializationException", "the body is not JSON: %s, line %d",
			 error.text, error.line);
		return NULL;
	}
	if (!json_is_object(body)) {
		json_decref(body);
		api_fail(call, "SerializationException", "the body must be a JSON object");
		return NULL;
	}
	return body;
}

static int perform(struct api_call *call, const struct received *r, json_t *out)
{
	if (!call->op->handler)
		return api_fail(call, "OperationNotPermittedException",
				"%s is not part of this version of godwit yet", call->op->name);
	json_t *in = parse(call, r->request.body, r->request.body_len);
	if (!in)
		return -1;
	int result = 0;
	if (call->op->input)
		result = api_validate(call, call->op->input, in);
	if (!result)
		result = call->op->handler(call, in, out);
	json_decref(in);
	return result;
}

static void request_id_make(char out[40])
{
	uint8_t raw[16];
	char h[33];
	random_bytes(raw, sizeof raw);
	raw[6] = (uint8_t)(0x40 | (raw[6] & 0x0f)); /* RFC 4122: random, variant 1 */
	raw[8] = (uint8_t)(0x80 | (raw[8] & 0x3f));
	hex_encode(raw, sizeof raw, h);
	snprintf(out, 40, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16, h + 20);
}

static void answer(struct buf *body, json_t *out)
{
	/* 14 digits: seconds with milliseconds, as the decimal they were, until the year 5138 */
	char *text = json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(14));
	buf_add_str(body, text ? text : "{}");
	free(text);
}

static void answer_error(struct api_call *call, struct buf *body)
{
	json_t *out = json_object();
	out_text(out, "__type", call->error.code);
	out_text(out, "message", call->error.message);
	answer(body, out);
	json_decref(out);
	if (call->error.status >= 500)
		log_error("%s %s: %s: %s", call->request_id, call->op ? call->op->name : "request",
			  call->error.code, call->error.message);
}

int api_handle(struct service *service, const char *region, const char *method, const char *path,
	       const char *const *headers, const void *in, size_t in_len, int64_t now,
	       struct buf *body, char request_id[40])
{
	struct api_world world = {.service = service};
	struct api_call call = {.world = &world, .now = now};
	struct received r = {0};
	char *user = NULL, *access_key_id = NULL;
	json_t *out = json_object();
	int status = 200;

	request_id_make(call.request_id);
	memcpy(request_id, call.request_id, sizeof call.request_id);
	if (receive(&call, &r, method, path, headers, in ? in : "", in_len) ||
	    api_authenticate(&call, &r.request, region, &user, &access_key_id))
		goto out;
	call.user = user;
	call.access_key_id = access_key_id;
	if (route(&call, header(&r, "x-amz-target")) || perform(&call, &r, out))
		goto out;
	answer(body, out);
out:
	if (call.error.status) {
		status = call.error.status;
		answer_error(&call, body);
	}
	json_decref(out);
	free(user);
	free(access_key_id);
	free(r.path);
	return status;
}
