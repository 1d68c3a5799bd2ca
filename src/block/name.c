// SPDX-License-Identifier: Apache-2.0
#include "block/name.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/text.h"
#include "block/sha256_lanes.h"

/* Fetched once: a fetch walks the providers under a lock, which costs more than a small chunk. */
static EVP_MD *sha256;
static bool lanes_here;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
	lanes_here = sha256_lanes_here();
	sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	assert(sha256);
}

static bool lanes_fit(const struct name_job *jobs, size_t count)
{
	if (!lanes_here || count < 2)
		return false;
	for (size_t i = 0; i < count; i++)
		if (jobs[i].len % 64)
			return false;
	return true;
}

void name_many(const struct name_job *jobs, size_t count)
{
	pthread_once(&sha256_once, fetch_sha256);
	if (lanes_fit(jobs, count)) {
		sha256_lanes(jobs, count);
		return;
	}
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	assert(context);
	for (size_t i = 0; i < count; i++) {
		int ok = EVP_DigestInit_ex2(context, sha256, NULL) &&
			 EVP_DigestUpdate(context, jobs[i].data, jobs[i].len) &&
			 EVP_DigestFinal_ex(context, jobs[i].out->bytes, NULL);
		assert(ok);
	}
	EVP_MD_CTX_free(context);
}

void name_of(const void *data, size_t n, struct name *out)
{
	name_many(&(struct name_job){.data = data, .len = n, .out = out}, 1);
}

void name_hex(const struct name *name, char out[NAME_HEX_BYTES])
{
	hex_encode(name->bytes, NAME_BYTES, out);
}

bool name_parse(const char *hex, struct name *out)
{
	return strlen(hex) == 2 * NAME_BYTES && hex_decode(hex, NAME_BYTES, out->bytes);
}

int name_compare(const struct name *a, const struct name *b)
{
	return memcmp(a->bytes, b->bytes, NAME_BYTES);
}

bool name_is_zero(const struct name *name)
{
	static const struct name zero;
	return name_compare(name, &zero) == 0;
}
