// SPDX-License-Identifier: Apache-2.0
/* Where a store of kind s3 is, and who may enter it. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "store/s3.h"

#define PREFIX_MAX	512
#define VALUE_MAX	2048
#define CREDENTIALS_MAX (64 * KIB)
#define KEY_ID_MAX	128
#define DEFAULT_REGION	"us-east-1"
#define USAGE		"s3:BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION"

/* Amazon S3 user guide, bucket naming rules; dots are allowed though not advised. */
static bool bucket_ok(const char *bucket)
{
	size_t n = strlen(bucket);
	if (n < 3 || n > 63 || strstr(bucket, "..") || strspn(bucket, ".-") || bucket[n - 1] == '-')
		return false;
	for (const char *p = bucket; *p; p++)
		if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '-' &&
		    *p != '.')
			return false;
	return true;
}

/* Only what needs no encoding anywhere; no segment that is empty or dots. */
static bool prefix_ok(const char *prefix)
{
	size_t n = strlen(prefix);
	if (n > PREFIX_MAX)
		return false;
	while (*prefix) {
		n = strcspn(prefix, "/");
		if (n == 0 || prefix[0] == '.')
			return false;
		for (size_t i = 0; i < n; i++)
			if (!isalnum((unsigned char)prefix[i]) && !strchr("._-", prefix[i]))
				return false;
		prefix += n + (prefix[n] == '/');
	}
	return true;
}

static int place_split(const char *place, size_t n, struct s3_place *p, struct err *e)
{
	char *text = xstrndup(place, n), *slash = strchr(text, '/');
	if (slash)
		*slash++ = '\0';
	p->bucket = xstrdup(text);
	p->prefix = xstrdup(slash && *slash ? slash : "");
	free(text);
	if (!bucket_ok(p->bucket))
		return err_set(
		    e, ERR_INVALID,
		    "\"%.80s\" is no name of a bucket (3 to 63 of a-z 0-9 . -); give " USAGE,
		    p->bucket);
	n = strlen(p->prefix);
	if (n && p->prefix[n - 1] == '/')
		p->prefix[--n] = '\0';
	if (!prefix_ok(p->prefix))
		return err_set(e, ERR_INVALID,
			       "\"%.200s\" is no prefix for a store: parts of A-Z a-z 0-9 . _ - "
			       "with single slashes between, not beginning with a dot",
			       p->prefix);
	p->where = xasprintf("s3:%s%s%s", p->bucket, n ? "/" : "", p->prefix);
	if (n) {
		char *with_slash = xasprintf("%s/", p->prefix);
		free(p->prefix);
		p->prefix = with_slash;
	}
	return 0;
}

/* Undo %XX; NULL when that is not well-formed. */
static char *value_decode(const char *value, size_t n)
{
	struct buf out = {0};
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)value[i];
		if (byte == '%') {
			const char digits[] = {i + 1 < n ? value[i + 1] : '\0',
					       i + 2 < n ? value[i + 2] : '\0', '\0'};
			if (!hex_decode(digits, 1, &byte) || byte < ' ') {
				buf_release(&out);
				return NULL;
			}
			i += 2;
		}
		buf_add_byte(&out, byte);
	}
	return buf_detach_str(&out);
}

static int sse_set(struct s3_place *p, char *value, struct err *e)
{
	if (strcmp(value, "AES256") == 0 || strcmp(value, "aws:kms") == 0) {
		p->sse = value;
		return 0;
	}
	if (text_starts(value, "aws:kms:") && value[strlen("aws:kms:")]) {
		p->sse = xstrdup("aws:kms");
		p->sse_key = xstrdup(value + strlen("aws:kms:"));
		free(value);
		return 0;
	}
	err_set(e, ERR_INVALID, "sse is AES256, aws:kms or aws:kms:KEY-ID, not \"%.100s\"", value);
	free(value);
	return -1;
}

/* One of name=value. */
static int option_set(struct s3_place *p, const char *option, size_t n, struct err *e)
{
	const struct {
		const char *name;
		char **to;
	} options[] = {{"endpoint", &p->endpoint},
		       {"region", &p->region},
		       {"ca", &p->ca_file},
		       {"cache", &p->cache_dir},
		       {"credentials", &p->credentials_file},
		       {"sse", &p->sse}};
	const char *equals = memchr(option, '=', n);
	size_t name = equals ? (size_t)(equals - option) : n;
	for (size_t i = 0; i < COUNT_OF(options); i++) {
		if (strlen(options[i].name) != name || memcmp(options[i].name, option, name) != 0)
			continue;
		char *value = equals && n - name - 1 <= VALUE_MAX
				  ? value_decode(equals + 1, n - name - 1)
				  : NULL;
		if (!value || !*value || *options[i].to) {
			free(value);
			return err_set(e, ERR_INVALID,
				       "the store's option %s needs one value of 1 to %d bytes",
				       options[i].name, VALUE_MAX);
		}
		if (options[i].to == &p->sse)
			return sse_set(p, value, e);
		*options[i].to = value;
		return 0;
	}
	/* The value may be a secret that was put where it must not be. */
	return err_set(e, ERR_INVALID,
		       "the store has no option \"%.*s\"; it knows endpoint, region, sse, ca, "
		       "cache and credentials (a file)",
		       (int)(name < 40 ? name : 40), option);
}

static bool plain_http_allowed(const char *endpoint)
{
	static const char *const loopback[] = {"http://127.0.0.1", "http://localhost",
					       "http://[::1]"};
	for (size_t i = 0; i < COUNT_OF(loopback); i++) {
		size_t n = strlen(loopback[i]);
		if (strncmp(endpoint, loopback[i], n) == 0 &&
		    (endpoint[n] == ':' || endpoint[n] == '/' || endpoint[n] == '\0'))
			return true;
	}
	return false;
}

static int endpoint_check(struct s3_place *p, struct err *e)
{
	if (!p->region)
		p->region = xstrdup(DEFAULT_REGION);
	for (const char *c = p->region; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
			return err_set(e, ERR_INVALID, "\"%.80s\" is no name of a region",
				       p->region);
	if (!p->endpoint)
		p->endpoint = xasprintf("https://s3.%s.amazonaws.com", p->region);
	if (text_starts(p->endpoint, "http://") && !plain_http_allowed(p->endpoint))
		return err_set(e, ERR_INVALID,
			       "endpoint %.200s: plain http is for loopback alone; give https://",
			       p->endpoint);
	if (p->cache_dir && p->cache_dir[0] != '/')
		return err_set(e, ERR_INVALID, "the store's cache must be an absolute path");
	return 0;
}

int s3_place_parse(const char *place, struct s3_place *p, struct err *e)
{
	const char *options = strchr(place, '?');
	size_t n = options ? (size_t)(options - place) : strlen(place);
	*p = (struct s3_place){0};
	if (place_split(place, n, p, e) < 0)
		goto fail;
	while (options && *++options) {
		n = strcspn(options, "&");
		if (option_set(p, options, n, e) < 0)
			goto fail;
		options = options[n] ? options + n : NULL;
	}
	if (endpoint_check(p, e) < 0)
		goto fail;
	return 0;
fail:
	s3_place_release(p);
	return -1;
}

/* Credentials */

static void secret_free(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}

static int take_member(void *context, const char *section, const char *name, const char *value)
{
	struct s3_place *p = context;
	const struct {
		const char *name;
		char **to;
	} members[] = {{"aws_access_key_id", &p->key_id},
		       {"aws_secret_access_key", &p->secret},
		       {"aws_session_token", &p->token}};
	for (size_t i = 0; i < COUNT_OF(members); i++)
		if ((!*section || strcmp(section, "default") == 0) &&
		    strcmp(name, members[i].name) == 0 && !*members[i].to)
			*members[i].to = xstrdup(value);
	return 1;
}

/* The file of the AWS tools: [default] aws_access_key_id = …, aws_secret_access_key = … */
static int credentials_read(struct s3_place *p, struct err *e)
{
	struct stat st;
	struct buf text = {0};
	const char *path = p->credentials_file;
	if (stat(path, &st) < 0)
		return err_errno(e, errno, "cannot read the credentials in %s", path);
	if (st.st_mode & 077)
		return err_set(e, ERR_DENIED, "others may read the credentials in %s; chmod 600 it",
			       path);
	int result = file_read(path, CREDENTIALS_MAX, &text, e);
	if (result == 0 && ini_parse_string(buf_str(&text), take_member, p) != 0)
		result = err_set(e, ERR_INVALID, "%s is no file of credentials", path);
	if (text.data)
		OPENSSL_cleanse(text.data, text.len);
	buf_release(&text);
	if (result == 0 && (!p->key_id || !p->secret))
		result = err_set(e, ERR_INVALID,
				 "%s lacks aws_access_key_id or aws_secret_access_key under "
				 "[default]",
				 path);
	return result;
}

int s3_credentials_find(struct s3_place *p, struct err *e)
{
	if (p->credentials_file) {
		if (credentials_read(p, e) < 0)
			return -1;
	} else {
		p->key_id = xstrdup(getenv("AWS_ACCESS_KEY_ID"));
		p->secret = xstrdup(getenv("AWS_SECRET_ACCESS_KEY"));
		p->token = xstrdup(getenv("AWS_SESSION_TOKEN"));
	}
	if (!p->key_id || !p->secret || !*p->key_id || !*p->secret)
		return err_set(e, ERR_DENIED,
			       "store %s: no credentials; set AWS_ACCESS_KEY_ID and "
			       "AWS_SECRET_ACCESS_KEY, or name a file with credentials=FILE",
			       p->where);
	bool fine = strlen(p->key_id) <= KEY_ID_MAX && (!p->token || strlen(p->token) <= 4096);
	for (const char *c = p->key_id; fine && *c; c++)
		fine = *c > ' ' && *c < 0x7f && *c != '/';
	for (const char *c = p->token; fine && c && *c; c++)
		fine = *c > ' ' && *c < 0x7f;
	if (!fine)
		return err_set(e, ERR_INVALID,
			       "store %s: the access key or session token is none; check the "
			       "credentials",
			       p->where);
	if (p->token && !*p->token) {
		free(p->token);
		p->token = NULL;
	}
	return 0;
}

void s3_place_release(struct s3_place *p)
{
	free(p->bucket);
	free(p->prefix);
	free(p->where);
	free(p->endpoint);
	free(p->region);
	free(p->ca_file);
	free(p->cache_dir);
	free(p->credentials_file);
	free(p->sse);
	free(p->sse_key);
	free(p->key_id);
	secret_free(p->secret);
	secret_free(p->token);
	*p = (struct s3_place){0};
}
