// SPDX-License-Identifier: Apache-2.0
/* Calls of the service: client.conf, signed requests, pages. */
#include <curl/curl.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/shape.h"
#include "base/text.h"
#include "io/sigv4.h"
#include "prog/godwit.h"

#define ANSWER_MAX (64 * MIB)
#define SMS	   "AWSServerMigrationService_V2016_10_24"
#define GODWIT	   "Godwit_V2026_11_21"

static int set_member(void *context, const char *section, const char *name, const char *value)
{
	struct cli *c = context;
	(void)section;
	char **members[] = {&c->endpoint, &c->region,	 &c->access_key_id, &c->secret_access_key,
			    &c->ca_file,  &c->state_dir, &c->store};
	static const char *const names[] = {
	    "endpoint", "region",    "access_key_id", "secret_access_key",
	    "ca_file",	"state_dir", "store"};
	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (strcmp(name, names[i]) == 0) {
			text_set(members[i], value);
			return 1;
		}
	return 1; /* a newer one's key */
}

int cli_config(struct cli *c, struct err *e)
{
	char *path = xasprintf("%s/client.conf", c->state);
	int line = ini_parse(path, set_member, c), result = -1;
	if (line == -1 && access(path, R_OK) != 0 && errno == EACCES)
		err_set(e, ERR_DENIED,
			"'%s' is for another user: run this as the one who ran "
			"'godwit up'",
			path);
	else if (line == -1)
		err_set(e, ERR_NOT_FOUND,
			"there is no service in '%s': start one with 'godwit up', or name its "
			"folder with --state or GODWIT_STATE",
			c->state);
	else if (line)
		err_set(e, ERR_INVALID, "'%s' cannot be understood in line %d", path, line);
	else if (!c->endpoint || !c->region || !c->access_key_id || !c->secret_access_key)
		err_set(e, ERR_INVALID,
			"'%s' must set endpoint, region, access_key_id and secret_access_key",
			path);
	else
		result = 0;
	free(path);
	return result;
}

void cli_release(struct cli *c)
{
	free(c->endpoint);
	free(c->region);
	free(c->access_key_id);
	free(c->secret_access_key);
	free(c->ca_file);
	free(c->state_dir);
	free(c->store);
}

char *cli_store(const struct cli *c)
{
	return c->store ? xstrdup(c->store)
			: xasprintf("dir:%s/store", c->state_dir ? c->state_dir : c->state);
}

/* --- one request --- */

struct request {
	struct cli *cli;
	const char *target;
	char *body;
	char date[17];
	char *host;
	struct buf authorization;
	struct buf answer;
	bool too_long;
};

static int sign(struct request *r, struct err *e)
{
	const char *host = strstr(r->cli->endpoint, "://");
	host = host ? host + 3 : r->cli->endpoint;
	r->host = xstrndup(host, strcspn(host, "/"));
	amz_date_text(clock_now_ms(), r->date);
	struct http_header headers[] = {{"content-type", "application/x-amz-json-1.1"},
					{"host", r->host},
					{"x-amz-date", r->date},
					{"x-amz-target", r->target}};
	struct http_request q = {.method = "POST",
				 .path = "/",
				 .query = "",
				 .headers = headers,
				 .header_count = COUNT_OF(headers),
				 .body = r->body,
				 .body_len = strlen(r->body)};
	return sigv4_sign(&q, r->date, r->cli->region, "sms", r->cli->access_key_id,
			  r->cli->secret_access_key, &r->authorization, e);
}

static size_t take(char *data, size_t size, size_t n, void *context)
{
	struct request *r = context;
	if (r->answer.len + size * n > ANSWER_MAX) {
		r->too_long = true;
		return 0;
	}
	buf_add(&r->answer, data, size * n);
	return size * n;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
	char *line = xasprintf("%s: %s", name, value);
	list = curl_slist_append(list, line);
	free(line);
	return list;
}

static int post(struct request *r, long *status, struct err *e)
{
	char why[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = NULL;
	if (!curl)
		return err_set(e, ERR_IO, "cannot prepare a request");
	headers = add_header(headers, "Content-Type", "application/x-amz-json-1.1");
	headers = add_header(headers, "Host", r->host);
	headers = add_header(headers, "X-Amz-Date", r->date);
	headers = add_header(headers, "X-Amz-Target", r->target);
	headers = add_header(headers, "Authorization", buf_str(&r->authorization));
	curl_easy_setopt(curl, CURLOPT_URL, r->cli->endpoint);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->body);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10l);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 120l);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	if (r->cli->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, r->cli->ca_file);
	CURLcode code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	if (code == CURLE_OK)
		return 0;
	if (r->too_long)
		return err_set(e, ERR_INVALID, "the service's answer is too long");
	return err_set(e, ERR_UNAVAILABLE,
		       "the service at %s does not answer (%s): 'godwit up' starts it, %s/log has "
		       "its log",
		       r->cli->endpoint, *why ? why : curl_easy_strerror(code), r->cli->state);
}

static enum err_kind kind_of(const char *code, long status)
{
	if (strstr(code, "TemporarilyUnavailable"))
		return ERR_BUSY;
	if (strstr(code, "NotFound"))
		return ERR_NOT_FOUND;
	if (strstr(code, "NotPermitted"))
		return ERR_CONFLICT;
	if (strstr(code, "Signature") || strstr(code, "Unauthorized") ||
	    strstr(code, "Unrecognized"))
		return ERR_DENIED;
	return status >= 500 ? ERR_IO : ERR_INVALID;
}

static int understand(const struct request *r, long status, json_t **out, struct err *e)
{
	json_error_t where;
	json_t *answer = json_loadb(buf_str(&r->answer), r->answer.len, 0, &where);
	if (status == 200 && json_is_object(answer)) {
		*out = answer;
		return 0;
	}
	const char *code = text_of(answer, "__type"), *message = text_of(answer, "message");
	if (!*message)
		message = text_of(answer, "Message");
	if (*message)
		err_set(e, kind_of(code, status), "%s", message);
	else if (*code)
		err_set(e, kind_of(code, status), "the service answers %s", code);
	else
		err_set(e, ERR_IO, "the service at %s answers with status %ld and no reason",
			r->cli->endpoint, status);
	json_decref(answer);
	return -1;
}

static int call(struct cli *c, const char *prefix, const char *operation, json_t *in, json_t **out,
		struct err *e)
{
	char *target = xasprintf("%s.%s", prefix, operation);
	struct request r = {.cli = c, .target = target};
	json_t *ignored = NULL;
	long status = 0;
	int result = -1;
	r.body = in ? json_dumps(in, JSON_COMPACT) : xstrdup("{}");
	json_decref(in);
	if (!r.body) {
		err_set(e, ERR_INVALID, "an argument is not UTF-8 text");
		goto out;
	}
	if (!c->endpoint && cli_config(c, e) < 0)
		goto out;
	if (sign(&r, e) < 0 || post(&r, &status, e) < 0)
		goto out;
	result = understand(&r, status, out ? out : &ignored, e);
	json_decref(ignored);
out:
	free(target);
	free(r.body);
	free(r.host);
	buf_release(&r.authorization);
	buf_release(&r.answer);
	return result;
}

int call_sms(struct cli *c, const char *operation, json_t *in, json_t **out, struct err *e)
{
	return call(c, SMS, operation, in, out, e);
}

int call_godwit(struct cli *c, const char *operation, json_t *in, json_t **out, struct err *e)
{
	return call(c, GODWIT, operation, in, out, e);
}

static int call_list(struct cli *c, const char *prefix, const char *operation, json_t *in,
		     const char *member, json_t **out, struct err *e)
{
	json_t *all = json_array(), *answer;
	if (!in)
		in = json_object();
	for (;;) {
		if (call(c, prefix, operation, json_deep_copy(in), &answer, e) < 0)
			break;
		json_array_extend(all, json_object_get(answer, member));
		const char *next = text_of(answer, "nextToken");
		bool more = *next != '\0';
		if (more)
			json_object_set_new(in, "nextToken", json_string(next));
		json_decref(answer);
		if (!more) {
			json_decref(in);
			*out = all;
			return 0;
		}
	}
	json_decref(in);
	json_decref(all);
	return -1;
}

int call_sms_list(struct cli *c, const char *operation, json_t *in, const char *member,
		  json_t **out, struct err *e)
{
	return call_list(c, SMS, operation, in, member, out, e);
}

int call_godwit_list(struct cli *c, const char *operation, json_t *in, const char *member,
		     json_t **out, struct err *e)
{
	return call_list(c, GODWIT, operation, in, member, out, e);
}

const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));
	return text ? text : "";
}

int64_t number_of(const json_t *object, const char *member)
{
	return (int64_t)json_number_value(json_object_get(object, member));
}
