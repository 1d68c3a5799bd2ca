// SPDX-License-Identifier: Apache-2.0
#include "io/sigv4.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/text.h"

#define ALGORITHM	   "AWS4-HMAC-SHA256"
#define SHA256_BYTES	   32
#define SIGNED_HEADERS_MAX 64
#define QUERY_PARTS_MAX	   64
#define PATH_SEGMENTS_MAX  256

/* --- the Authorization header ---------------------------------------------------------------- */

/* The scope's parts are names of ours or AWS's: no space, control character or slash. */
static bool is_scope_word(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && !strchr("-_.+=@", *s))
			return false;
	}
	return true;
}

static bool is_digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
	}
	return true;
}

/* "AKID/date/region/service/aws4_request", split in place. */
static int parse_credential(char *text, struct sigv4_authorization *out, struct err *e)
{
	char *parts[5];
	unsigned count = 0;
	for (char *p = text; p && count < 5; count++) {
		parts[count] = p;
		p = strchr(p, '/');
		if (p)
			*p++ = '\0';
		if (p && count == 4)
			return err_set(e, ERR_INVALID,
				       "the Credential of the Authorization header has more than "
				       "five parts");
	}
	if (count != 5)
		return err_set(e, ERR_INVALID,
			       "the Credential of the Authorization header must be "
			       "<access key id>/<date>/<region>/<service>/aws4_request");
	for (unsigned i = 0; i < 5; i++) {
		if (!is_scope_word(parts[i]))
			return err_set(e, ERR_INVALID,
				       "part %u of the Credential of the Authorization header is "
				       "empty or has a character that cannot be in it",
				       i + 1);
	}
	if (strcmp(parts[4], "aws4_request"))
		return err_set(e, ERR_INVALID,
			       "the Credential of the Authorization header must end in "
			       "aws4_request");
	if (strlen(parts[1]) != 8 || !is_digits(parts[1], 8))
		return err_set(e, ERR_INVALID,
			       "the date in the Credential of the Authorization header must be "
			       "YYYYMMDD");
	out->access_key_id = parts[0];
	out->date = parts[1];
	out->region = parts[2];
	out->service = parts[3];
	return 0;
}

static int check_signed_headers(const char *text, struct err *e)
{
	for (const char *p = text; *p; p++) {
		bool edge = p == text || p[-1] == ';';
		if (*p == ';' ? edge || !p[1]
			      : !(islower((unsigned char)*p) || isdigit((unsigned char)*p) ||
				  strchr("-_", *p)))
			return err_set(e, ERR_INVALID,
				       "SignedHeaders of the Authorization header must be "
				       "lower-case names with ';' between them");
	}
	return 0;
}

static int check_signature(const char *text, struct err *e)
{
	if (strlen(text) == 2 * SHA256_BYTES &&
	    strspn(text, "0123456789abcdef") == 2 * SHA256_BYTES)
		return 0;
	return err_set(
	    e, ERR_INVALID,
	    "the Signature of the Authorization header must be 64 lower-case hexadecimal "
	    "digits");
}

static char *trim(char *s)
{
	s += strspn(s, " \t");
	size_t n = strlen(s);
	while (n && strchr(" \t", s[n - 1]))
		s[--n] = '\0';
	return s;
}

/* One "Name=value" of the header. */
static int parse_part(char *part, char **credential, struct sigv4_authorization *out, struct err *e)
{
	char *value = strchr(part, '=');
	if (!value)
		return err_set(e, ERR_INVALID,
			       "the Authorization header must be a list of Name=value parts");
	*value++ = '\0';
	const char *name = part;
	bool twice;
	if (!strcmp(name, "Credential")) {
		twice = *credential != NULL;
		*credential = value;
	} else if (!strcmp(name, "SignedHeaders")) {
		twice = out->signed_headers != NULL;
		out->signed_headers = value;
	} else if (!strcmp(name, "Signature")) {
		twice = out->signature != NULL;
		out->signature = value;
	} else {
		return err_set(e, ERR_INVALID,
			       "the Authorization header has an unknown part '%.32s'", name);
	}
	if (twice)
		return err_set(e, ERR_INVALID, "the Authorization header has %s twice", name);
	return 0;
}

int sigv4_parse(const char *value, struct sigv4_authorization *out, struct err *e)
{
	*out = (struct sigv4_authorization){0};
	size_t n = strlen(value);
	if (n >= sizeof out->storage)
		return err_set(e, ERR_INVALID, "the Authorization header is longer than %zu bytes",
			       sizeof out->storage - 1);
	memcpy(out->storage, value, n + 1);
	char *rest = out->storage + strlen(ALGORITHM);
	if (!text_starts(out->storage, ALGORITHM) || (*rest != ' ' && *rest != '\t'))
		return err_set(e, ERR_INVALID,
			       "the Authorization header must begin with " ALGORITHM);
	char *credential = NULL;
	while (rest) {
		char *next = strchr(rest, ',');
		if (next)
			*next++ = '\0';
		if (parse_part(trim(rest), &credential, out, e))
			return -1;
		rest = next;
	}
	const char *missing = !credential	     ? "Credential"
			      : !out->signed_headers ? "SignedHeaders"
			      : !out->signature	     ? "Signature"
						     : NULL;
	if (missing || !*out->signed_headers)
		return err_set(e, ERR_INVALID, "the Authorization header has no %s",
			       missing ? missing : "SignedHeaders");
	if (parse_credential(credential, out, e) || check_signed_headers(out->signed_headers, e) ||
	    check_signature(out->signature, e))
		return -1;
	return 0;
}

/* --- the canonical request ------------------------------------------------------------------- */

/* The path of a service other than S3: dot segments and double slashes removed, then every byte but
 * the unreserved ones percent-encoded, a '%' of the path as sent included. */
static int add_canonical_path(struct buf *out, const char *path, struct err *e)
{
	struct {
		const char *start;
		size_t n;
	} segments[PATH_SEGMENTS_MAX];
	unsigned count = 0;
	const char *end = path + strlen(path);
	for (const char *p = path; p < end; p++) {
		size_t n = strcspn(p, "/");
		if (n == 2 && !strncmp(p, "..", 2)) {
			count -= count > 0;
		} else if (n && !(n == 1 && *p == '.')) {
			if (count == PATH_SEGMENTS_MAX)
				return err_set(e, ERR_INVALID,
					       "the path of the request has more than %d segments",
					       PATH_SEGMENTS_MAX);
			segments[count].start = p;
			segments[count++].n = n;
		}
		p += n;
		if (p == end)
			break;
	}
	for (unsigned i = 0; i < count; i++) {
		buf_add_byte(out, '/');
		for (size_t k = 0; k < segments[i].n; k++) {
			unsigned char c = (unsigned char)segments[i].start[k];
			if (c < 0x80 && (isalnum(c) || strchr("-._~", c)))
				buf_add_byte(out, c);
			else
				buf_printf(out, "%%%02X", c);
		}
	}
	if (!count || path[strlen(path) - 1] == '/')
		buf_add_byte(out, '/');
	return 0;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Parameters sorted, each with its '='; they are taken as encoded by the sender. A NUL between
 * name and value makes "a" sort before "a-b" whatever follows. */
static int add_canonical_query(struct buf *out, const char *query, struct err *e)
{
	char *copy = xstrdup(query ? query : ""), *parts[QUERY_PARTS_MAX];
	unsigned count = 0;
	int result = -1;
	for (char *p = copy; p && *copy;) {
		char *next = strchr(p, '&');
		if (next)
			*next++ = '\0';
		if (count == QUERY_PARTS_MAX) {
			err_set(e, ERR_INVALID, "the query of the request has more than %d parts",
				QUERY_PARTS_MAX);
			goto out;
		}
		char *value = strchr(p, '=');
		parts[count++] = xasprintf("%.*s\x01%s", (int)(value ? value - p : (long)strlen(p)),
					   p, value ? value + 1 : "");
		p = next;
	}
	qsort(parts, count, sizeof *parts, compare_text);
	for (unsigned i = 0; i < count; i++) {
		char *value = strchr(parts[i], '\x01');
		*value++ = '\0';
		buf_printf(out, "%s%s=%s", i ? "&" : "", parts[i], value);
	}
	result = 0;
out:
	for (unsigned i = 0; i < count; i++)
		free(parts[i]);
	free(copy);
	return result;
}

/* The value without outer spaces, runs of inner ones as one. */
static void add_trimmed(struct buf *out, const char *value)
{
	bool space = false, any = false;
	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			space = true;
			continue;
		}
		if (space && any)
			buf_add_byte(out, ' ');
		buf_add_byte(out, (uint8_t)*value);
		space = false;
		any = true;
	}
}

/* "name:value[,value]\n" of all headers of that name. */
static int add_header(struct buf *out, const struct http_request *r, const char *name, size_t n,
		      struct err *e)
{
	unsigned found = 0;
	buf_add(out, name, n);
	for (unsigned i = 0; i < r->header_count; i++) {
		if (strlen(r->headers[i].name) != n || strncasecmp(r->headers[i].name, name, n))
			continue;
		buf_add_byte(out, found++ ? ',' : ':');
		add_trimmed(out, r->headers[i].value);
	}
	buf_add_byte(out, '\n');
	if (!found)
		return err_set(e, ERR_INVALID,
			       "the header '%.*s' is named in SignedHeaders but is not in the "
			       "request",
			       (int)(n < 64 ? n : 64), name);
	return 0;
}

static void sha256_hex(const void *data, size_t n, char out[2 * SHA256_BYTES + 1])
{
	uint8_t digest[SHA256_BYTES];
	if (EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	hex_encode(digest, sizeof digest, out);
}

static int canonical_request(struct buf *out, const struct http_request *r,
			     const char *signed_headers, struct err *e)
{
	buf_printf(out, "%s\n", r->method);
	if (add_canonical_path(out, r->path, e))
		return -1;
	buf_add_byte(out, '\n');
	if (add_canonical_query(out, r->query, e))
		return -1;
	buf_add_byte(out, '\n');
	unsigned count = 0;
	for (const char *p = signed_headers;;) {
		size_t n = strcspn(p, ";");
		if (++count > SIGNED_HEADERS_MAX)
			return err_set(e, ERR_INVALID, "more than %d signed headers",
				       SIGNED_HEADERS_MAX);
		if (add_header(out, r, p, n, e))
			return -1;
		if (!p[n])
			break;
		p += n + 1;
	}
	char hash[2 * SHA256_BYTES + 1];
	const char *payload = r->payload_sha256;
	if (!payload) {
		sha256_hex(r->body ? r->body : "", r->body_len, hash);
		payload = hash;
	}
	buf_printf(out, "\n%s\n%s", signed_headers, payload);
	return 0;
}

/* --- the signature --------------------------------------------------------------------------- */

static void hmac(const void *key, size_t key_len, const void *data, size_t n,
		 uint8_t out[SHA256_BYTES])
{
	if (!HMAC(EVP_sha256(), key, (int)key_len, data, n, out, NULL))
		abort();
}

static void hmac_text(uint8_t key[SHA256_BYTES], const char *text)
{
	uint8_t out[SHA256_BYTES];
	hmac(key, SHA256_BYTES, text, strlen(text), out);
	memcpy(key, out, sizeof out);
}

int sigv4_signature(const struct http_request *r, const char *signed_headers, const char *amz_date,
		    const char *region, const char *service, const char *secret, char out[65],
		    struct err *e)
{
	struct buf canonical = {0}, to_sign = {0}, first_key = {0};
	int result = -1;
	if (strlen(amz_date) < 8) {
		err_set(e, ERR_INVALID, "the date of the request must be YYYYMMDDTHHMMSSZ");
		goto out;
	}
	if (canonical_request(&canonical, r, signed_headers, e))
		goto out;
	char date[9], hash[2 * SHA256_BYTES + 1];
	snprintf(date, sizeof date, "%.8s", amz_date);
	sha256_hex(canonical.data, canonical.len, hash);
	buf_printf(&to_sign, ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", amz_date, date, region,
		   service, hash);

	uint8_t key[SHA256_BYTES];
	buf_printf(&first_key, "AWS4%s", secret);
	hmac(first_key.data, first_key.len, date, strlen(date), key);
	hmac_text(key, region);
	hmac_text(key, service);
	hmac_text(key, "aws4_request");
	hmac_text(key, buf_str(&to_sign));
	hex_encode(key, sizeof key, out);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(first_key.data, first_key.len);
	result = 0;
out:
	buf_release(&canonical);
	buf_release(&to_sign);
	buf_release(&first_key);
	return result;
}

int sigv4_sign(const struct http_request *r, const char *amz_date, const char *region,
	       const char *service, const char *access_key_id, const char *secret, struct buf *out,
	       struct err *e)
{
	char *names[SIGNED_HEADERS_MAX];
	unsigned count = 0;
	struct buf list = {0};
	int result = -1;
	for (unsigned i = 0; i < r->header_count; i++) {
		if (count == SIGNED_HEADERS_MAX) {
			err_set(e, ERR_INVALID, "more than %d headers to sign", SIGNED_HEADERS_MAX);
			goto out;
		}
		char *name = names[count++] = xstrdup(r->headers[i].name);
		for (; *name; name++)
			*name = (char)tolower((unsigned char)*name);
	}
	qsort(names, count, sizeof *names, compare_text);
	for (unsigned i = 0; i < count; i++) {
		if (i == 0 || strcmp(names[i], names[i - 1]))
			buf_printf(&list, "%s%s", i ? ";" : "", names[i]);
	}
	/* With another name in it the list would not be read as it was signed. */
	if (check_signed_headers(buf_str(&list), NULL)) {
		err_set(e, ERR_INVALID,
			"a header to be signed has a name of other characters than letters, "
			"digits, '-' and '_'");
		goto out;
	}
	char signature[65];
	if (sigv4_signature(r, buf_str(&list), amz_date, region, service, secret, signature, e))
		goto out;
	buf_printf(out,
		   ALGORITHM " Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, "
			     "Signature=%s",
		   access_key_id, amz_date, region, service, buf_str(&list), signature);
	result = 0;
out:
	for (unsigned i = 0; i < count; i++)
		free(names[i]);
	buf_release(&list);
	return result;
}

/* --- dates ----------------------------------------------------------------------------------- */

static int number_at(const char *text, unsigned digits)
{
	int v = 0;
	while (digits--)
		v = v * 10 + (*text++ - '0');
	return v;
}

bool amz_date_parse(const char *text, int64_t *ms)
{
	if (strlen(text) != 16 || !is_digits(text, 8) || text[8] != 'T' ||
	    !is_digits(text + 9, 6) || text[15] != 'Z')
		return false;
	struct tm tm = {
	    .tm_year = number_at(text, 4) - 1900,
	    .tm_mon = number_at(text + 4, 2) - 1,
	    .tm_mday = number_at(text + 6, 2),
	    .tm_hour = number_at(text + 9, 2),
	    .tm_min = number_at(text + 11, 2),
	    .tm_sec = number_at(text + 13, 2),
	};
	time_t t = timegm(&tm);
	*ms = (int64_t)t * 1000;
	/* timegm carries the 31st of June over to July; only what comes back equal was a date. */
	char back[17];
	if (t < 0)
		return false;
	amz_date_text(*ms, back);
	return !strcmp(back, text);
}

void amz_date_text(int64_t ms, char out[17])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm);
}
