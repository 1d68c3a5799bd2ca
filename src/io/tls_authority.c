// SPDX-License-Identifier: Apache-2.0
#include "io/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/limits.h"
#include "base/text.h"
#include "io/file.h"
#include "io/tls_error.h"

#define AUTHORITY_DAYS (10 * 365)
#define REQUEST_MAX    (16 * KIB)
#define HOSTS_MAX      64
#define DAY_S	       (24l * 3600)

int tls_fail(struct err *e, enum err_kind kind, const char *format, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	err_set(e, kind, "%s%s%s", text, reason ? ": " : "", reason ? reason : "");
	ERR_clear_error();
	return -1;
}

/* --- PEM files --- */

static EVP_PKEY *read_key(const char *path, struct err *e)
{
	BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	if (!key)
		tls_fail(e, ERR_INVALID, "cannot read the key '%s'", path);
	BIO_free(bio);
	return key;
}

static X509 *read_certificate(const char *path, struct err *e)
{
	BIO *bio = BIO_new_file(path, "r");
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (!x)
		tls_fail(e, ERR_INVALID, "cannot read the certificate '%s'", path);
	BIO_free(bio);
	return x;
}

static int write_bio(const char *path, BIO *bio, mode_t mode, struct err *e)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);
	int result = file_write(path, data, (size_t)n, mode, e);
	BIO_free(bio);
	return result;
}

static int write_key(const char *path, EVP_PKEY *key, struct err *e)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	if (!bio || !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
		BIO_free(bio);
		return tls_fail(e, ERR_IO, "cannot encode the key '%s'", path);
	}
	return write_bio(path, bio, 0600, e);
}

static int write_certificate(const char *path, X509 *x, struct err *e)
{
	BIO *bio = BIO_new(BIO_s_mem());
	if (!bio || !PEM_write_bio_X509(bio, x)) {
		BIO_free(bio);
		return tls_fail(e, ERR_IO, "cannot encode the certificate '%s'", path);
	}
	return write_bio(path, bio, 0644, e);
}

static char *bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);
	return xstrndup(data, (size_t)n);
}

/* --- making certificates --- */

static bool set_serial(X509 *x)
{
	uint8_t raw[16];
	random_bytes(raw, sizeof raw);
	raw[0] = (raw[0] & 0x7f) | 0x40; /* positive, and always as long */
	BIGNUM *n = BN_bin2bn(raw, sizeof raw, NULL);
	bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
	BN_free(n);
	return ok;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					  (const unsigned char *)common_name, -1, -1, 0);
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for a public key, not signed yet. The issuer NULL: itself. It is valid since
 * yesterday, because clocks differ. */
static X509 *new_certificate(EVP_PKEY *key, const char *common_name, int days, X509 *issuer,
			     struct err *e)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	if (x && X509_set_version(x, X509_VERSION_3) && set_serial(x) &&
	    set_name(name, common_name) &&
	    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(x), days * DAY_S) && X509_set_pubkey(x, key) &&
	    add_extension(x, issuer ? issuer : x, NID_subject_key_identifier, "hash") &&
	    add_extension(x, issuer ? issuer : x, NID_authority_key_identifier, "keyid:always"))
		return x;
	tls_fail(e, ERR_INVALID, "cannot make a certificate for '%s'", common_name);
	X509_free(x);
	return NULL;
}

static bool sign(X509 *x, EVP_PKEY *key)
{
	return X509_sign(x, key, EVP_sha256()) != 0;
}

static X509 *new_authority(EVP_PKEY *key, struct err *e)
{
	char id[ID_BYTES], name[ID_BYTES + 24];
	id_make(id, "", 8); /* authorities of different services do not look alike */
	snprintf(name, sizeof name, "godwit authority %s", id);
	X509 *x = new_certificate(key, name, AUTHORITY_DAYS, NULL, e);
	if (x && add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") && sign(x, key))
		return x;
	if (x)
		tls_fail(e, ERR_IO, "cannot make the authority's certificate");
	X509_free(x);
	return NULL;
}

/* --- hosts --- */

static bool is_address(const char *host)
{
	ASN1_OCTET_STRING *raw = a2i_IPADDRESS(host);
	ASN1_OCTET_STRING_free(raw);
	ERR_clear_error();
	return raw != NULL;
}

/* A host goes into a configuration language of OpenSSL's, so it is only what hosts are made of. */
static bool is_host(const char *host)
{
	size_t n = strlen(host);
	return n > 0 && n < 254 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789.-_:*") == n;
}

typedef int host_fn(void *context, const char *host, struct err *e);

static int each_host(const char *hosts, host_fn *visit, void *context, struct err *e)
{
	char *list = xstrdup(hosts), *save = NULL;
	int result = 0, count = 0;
	for (char *h = strtok_r(list, ", ", &save); h && result == 0;
	     h = strtok_r(NULL, ", ", &save)) {
		if (!is_host(h) || ++count > HOSTS_MAX)
			result = err_set(e, ERR_INVALID,
					 "'%.253s' cannot be a host name or address of the service",
					 h);
		else
			result = visit(context, h, e);
	}
	free(list);
	if (result == 0 && count == 0)
		result = err_set(e, ERR_INVALID, "the service's certificate needs a host name");
	return result;
}

static int add_alternative(void *context, const char *host, struct err *e)
{
	(void)e;
	struct buf *names = context;
	buf_printf(names, "%s%s:%s", names->len ? "," : "", is_address(host) ? "IP" : "DNS", host);
	return 0;
}

static int check_covered(void *context, const char *host, struct err *e)
{
	X509 *x = context;
	bool covered = is_address(host) ? X509_check_ip_asc(x, host, 0) == 1
					: X509_check_host(x, host, 0, 0, NULL) == 1;
	return covered ? 0 : err_set(e, ERR_NOT_FOUND, "'%s' is not in the certificate", host);
}

static X509 *new_server(EVP_PKEY *key, const char *hosts, X509 *ca, EVP_PKEY *ca_key, struct err *e)
{
	struct buf names = {0};
	X509 *x = NULL;
	if (each_host(hosts, add_alternative, &names, e) < 0)
		goto out;
	x = new_certificate(key, "godwit service", AUTHORITY_DAYS - 1, ca, e);
	if (!x)
		goto out;
	if (!add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") ||
	    !add_extension(x, ca, NID_key_usage, "critical,digitalSignature") ||
	    !add_extension(x, ca, NID_ext_key_usage, "serverAuth") ||
	    !add_extension(x, ca, NID_subject_alt_name, buf_str(&names)) || !sign(x, ca_key)) {
		tls_fail(e, ERR_INVALID, "cannot make a certificate for the hosts '%.200s'", hosts);
		X509_free(x);
		x = NULL;
	}
out:
	buf_release(&names);
	return x;
}

/* --- the authority's folder --- */

struct folder {
	char *ca, *ca_key, *server, *server_key;
};

static struct folder folder_in(const char *dir)
{
	return (struct folder){xasprintf("%s/ca.pem", dir), xasprintf("%s/ca.key", dir),
			       xasprintf("%s/server.pem", dir), xasprintf("%s/server.key", dir)};
}

static void folder_release(struct folder *f)
{
	free(f->ca);
	free(f->ca_key);
	free(f->server);
	free(f->server_key);
}

static bool there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* The key is written before its certificate: a certificate that is there has its key. */
static int make_ca(const struct folder *f, struct err *e)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key ? new_authority(key, e) : NULL;
	int result = -1;
	if (!key)
		tls_fail(e, ERR_IO, "cannot make a key");
	else if (x && write_key(f->ca_key, key, e) == 0 && write_certificate(f->ca, x, e) == 0)
		result = 0;
	X509_free(x);
	EVP_PKEY_free(key);
	return result;
}

/* A service that stops in between must not keep the old certificate with the new key. */
static int replace_server(const struct folder *f, EVP_PKEY *key, X509 *x, struct err *e)
{
	unlink(f->server);
	return write_key(f->server_key, key, e) < 0 ? -1 : write_certificate(f->server, x, e);
}

static int make_server(const struct folder *f, const char *hosts, struct err *e)
{
	EVP_PKEY *ca_key = read_key(f->ca_key, e), *key = EVP_EC_gen("P-256");
	X509 *ca = ca_key ? read_certificate(f->ca, e) : NULL;
	X509 *x = ca && key ? new_server(key, hosts, ca, ca_key, e) : NULL;
	int result = -1;
	if (ca && !key)
		tls_fail(e, ERR_IO, "cannot make a key");
	else if (x)
		result = replace_server(f, key, x, e);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return result;
}

static bool server_is_good(const struct folder *f, const char *hosts)
{
	if (!there(f->server) || !there(f->server_key))
		return false;
	X509 *x = read_certificate(f->server, NULL);
	bool good = x && each_host(hosts, check_covered, x, NULL) == 0;
	X509_free(x);
	return good;
}

int tls_make_authority(const char *dir, const char *hosts, struct err *e)
{
	struct folder f = folder_in(dir);
	int result = file_make_dirs(dir, 0700, e);
	bool fresh = result == 0 && !there(f.ca);
	if (fresh)
		result = make_ca(&f, e);
	if (result == 0 && (fresh || !server_is_good(&f, hosts)))
		result = make_server(&f, hosts, e);
	folder_release(&f);
	return result;
}

/* --- enrolment --- */

static EVP_PKEY *own_key(const char *path, struct err *e)
{
	if (there(path))
		return read_key(path, e);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	if (!key)
		tls_fail(e, ERR_IO, "cannot make a key");
	if (key && write_key(path, key, e) < 0) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

int tls_make_request(const char *key_file, const char *common_name, char **request, struct err *e)
{
	EVP_PKEY *key = own_key(key_file, e);
	X509_REQ *r = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	int result = -1;
	if (!key)
		goto out;
	if (!r || !bio || !set_name(X509_REQ_get_subject_name(r), common_name) ||
	    !X509_REQ_set_pubkey(r, key) || !X509_REQ_sign(r, key, EVP_sha256()) ||
	    !PEM_write_bio_X509_REQ(bio, r)) {
		tls_fail(e, ERR_INVALID, "cannot make a certificate request for '%s'", common_name);
		goto out;
	}
	*request = bio_text(bio);
	result = 0;
out:
	BIO_free(bio);
	X509_REQ_free(r);
	EVP_PKEY_free(key);
	return result;
}

/* The public key of a request that proves to hold the private one. */
static EVP_PKEY *key_of_request(const char *request, struct err *e)
{
	size_t n = strlen(request);
	BIO *bio = n <= REQUEST_MAX ? BIO_new_mem_buf(request, (int)n) : NULL;
	X509_REQ *r = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = r ? X509_REQ_get_pubkey(r) : NULL;
	if (!key) {
		tls_fail(e, ERR_INVALID, "the certificate request cannot be read");
	} else if (X509_REQ_verify(r, key) != 1) {
		tls_fail(e, ERR_INVALID, "the certificate request is not signed with its own key");
		EVP_PKEY_free(key);
		key = NULL;
	} else if (EVP_PKEY_get_security_bits(key) < 112) {
		err_set(e, ERR_INVALID, "the key of the certificate request is too weak");
		EVP_PKEY_free(key);
		key = NULL;
	}
	X509_REQ_free(r);
	BIO_free(bio);
	return key;
}

int tls_sign_request(const char *ca_dir, const char *request, const char *common_name, int days,
		     char **certificate, struct err *e)
{
	struct folder f = folder_in(ca_dir);
	EVP_PKEY *key = key_of_request(request, e);
	EVP_PKEY *ca_key = key ? read_key(f.ca_key, e) : NULL;
	X509 *ca = ca_key ? read_certificate(f.ca, e) : NULL;
	X509 *x = ca ? new_certificate(key, common_name, days, ca, e) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	int result = -1;
	if (!x)
		goto out;
	if (!bio || !add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") ||
	    !add_extension(x, ca, NID_key_usage, "critical,digitalSignature") ||
	    !add_extension(x, ca, NID_ext_key_usage, "clientAuth") || !sign(x, ca_key) ||
	    !PEM_write_bio_X509(bio, x)) {
		tls_fail(e, ERR_IO, "cannot sign a certificate for '%s'", common_name);
		goto out;
	}
	*certificate = bio_text(bio);
	result = 0;
out:
	BIO_free(bio);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	folder_release(&f);
	return result;
}

int tls_fingerprint(const char *pem_file, char out[FINGERPRINT_BYTES], struct err *e)
{
	uint8_t raw[32];
	X509 *x = read_certificate(pem_file, e);
	if (!x)
		return -1;
	int ok = X509_digest(x, EVP_sha256(), raw, NULL);
	X509_free(x);
	if (!ok)
		return tls_fail(e, ERR_IO, "cannot hash the certificate '%s'", pem_file);
	hex_encode(raw, sizeof raw, out);
	return 0;
}
