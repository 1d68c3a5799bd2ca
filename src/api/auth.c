// SPDX-License-Identifier: Apache-2.0
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#include "api/handlers.h"
#include "base/limits.h"
#include "base/text.h"
#include "io/sigv4.h"

static const char *header(const struct http_request *r, const char *name)
{
	for (unsigned i = 0; i < r->header_count; i++) {
		if (!strcasecmp(r->headers[i].name, name))
			return r->headers[i].value;
	}
	return NULL;
}

static bool is_signed(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; p; p = strchr(p, ';') ? strchr(p, ';') + 1 : NULL) {
		if (!strncmp(p, name, n) && (p[n] == ';' || !p[n]))
			return true;
	}
	return false;
}

/* What the signature must cover: the host (so that it is of use at this address only), the date,
 * the operation, and a session token where there is one. */
static int check_coverage(struct api_call *call, const struct http_request *r,
			  const struct sigv4_authorization *a)
{
	static const char *const always[] = {"host", "x-amz-date"};
	static const char *const if_present[] = {"x-amz-target", "x-amz-security-token",
						 "x-amz-content-sha256"};
	for (unsigned i = 0; i < COUNT_OF(always); i++) {
		if (!is_signed(a->signed_headers, always[i]))
			return api_fail(call, "IncompleteSignatureException",
					"SignedHeaders of the Authorization header must name %s",
					always[i]);
	}
	for (unsigned i = 0; i < COUNT_OF(if_present); i++) {
		if (header(r, if_present[i]) && !is_signed(a->signed_headers, if_present[i]))
			return api_fail(call, "IncompleteSignatureException",
					"SignedHeaders of the Authorization header must name %s",
					if_present[i]);
	}
	return 0;
}

static int check_scope(struct api_call *call, const struct sigv4_authorization *a,
		       const char *amz_date, const char *region)
{
	if (strcmp(a->service, "sms"))
		return api_fail(call, "InvalidSignatureException",
				"the Credential must be scoped to the service sms, not '%s'",
				a->service);
	if (region && strcmp(a->region, region))
		return api_fail(call, "InvalidSignatureException",
				"the Credential must be scoped to the region %s, not '%s': use "
				"--region %s",
				region, a->region, region);
	if (strncmp(a->date, amz_date, 8))
		return api_fail(call, "InvalidSignatureException",
				"the date of the Credential, %s, is not that of X-Amz-Date, %s",
				a->date, amz_date);
	return 0;
}

static int check_date(struct api_call *call, const char *amz_date)
{
	int64_t sent;
	if (!amz_date)
		return api_fail(call, "IncompleteSignatureException",
				"the request has no X-Amz-Date header");
	if (!amz_date_parse(amz_date, &sent))
		return api_fail(call, "IncompleteSignatureException",
				"X-Amz-Date must be a date such as 20261121T040506Z");
	int64_t skew = call->now - sent;
	if (skew <= LIMIT_CLOCK_SKEW_MS && skew >= -LIMIT_CLOCK_SKEW_MS)
		return 0;
	char now[17], apart[24], allowed[24];
	amz_date_text(call->now, now);
	duration_text(skew < 0 ? -skew : skew, apart);
	duration_text(LIMIT_CLOCK_SKEW_MS, allowed);
	return api_fail(call, "RequestExpired",
			"the request is dated %s and it is %s here: %s apart, where %s are "
			"allowed; set the clocks",
			amz_date, now, apart, allowed);
}

/* Where the sender says what the body hashes to, it must: there is no unsigned body. */
static int check_content_hash(struct api_call *call, const struct http_request *r)
{
	const char *told = header(r, "x-amz-content-sha256");
	if (!told)
		return 0;
	uint8_t digest[32];
	char hex[65];
	if (EVP_Digest(r->body ? r->body : "", r->body_len, digest, NULL, EVP_sha256(), NULL) != 1)
		return api_fail(call, "InternalError", "SHA-256 is not available");
	hex_encode(digest, sizeof digest, hex);
	if (strcmp(told, hex))
		return api_fail(call, "InvalidSignatureException",
				"X-Amz-Content-Sha256 is not the hash of the body");
	return 0;
}

static int find_key(struct api_call *call, const char *id, struct access_key_row *row)
{
	struct service *service = ((struct api_world *)call->world)->service;
	struct meta_tx *tx;
	struct err e = {0};
	if (meta_begin(service->meta, false, &tx, &e))
		return api_fail_err(call, &e);
	int got = meta_get(tx, &meta_access_keys, id, row, &e);
	meta_end(tx, false, NULL);
	if (got && e.kind != ERR_NOT_FOUND)
		return api_fail_err(call, &e);
	if (!got && !row->disabled && row->secret)
		return 0;
	if (!got)
		shape_release(meta_access_keys.shape, row);
	return api_fail(call, "UnrecognizedClientException",
			"the access key id '%.128s' is not one of this service", id);
}

int api_authenticate(struct api_call *call, const struct http_request *request, const char *region,
		     char **user, char **access_key_id)
{
	const char *value = header(request, "authorization");
	if (!value || !*value)
		return api_fail(call, "MissingAuthenticationTokenException",
				"the request is not signed: it has no Authorization header");
	struct sigv4_authorization a;
	struct err e = {0};
	if (sigv4_parse(value, &a, &e))
		return api_fail(call, "IncompleteSignatureException", "%s", e.text);
	const char *amz_date = header(request, "x-amz-date");
	if (check_date(call, amz_date) || check_coverage(call, request, &a) ||
	    check_scope(call, &a, amz_date, region) || check_content_hash(call, request))
		return -1;
	struct access_key_row key = {0};
	if (find_key(call, a.access_key_id, &key))
		return -1;

	int result = -1;
	char signature[65];
	if (sigv4_signature(request, a.signed_headers, amz_date, a.region, a.service, key.secret,
			    signature, &e)) {
		api_fail(call, "IncompleteSignatureException", "%s", e.text);
		goto out;
	}
	if (CRYPTO_memcmp(signature, a.signature, 64)) {
		api_fail(call, "InvalidSignatureException",
			 "the signature is not the one that the secret of this access key makes "
			 "for this request: check the secret, and that nothing between changed "
			 "host, path or body");
		goto out;
	}
	*user = xstrdup(key.user ? key.user : "");
	*access_key_id = xstrdup(key.access_key_id);
	result = 0;
out:
	OPENSSL_cleanse(key.secret, strlen(key.secret));
	shape_release(meta_access_keys.shape, &key);
	return result;
}
