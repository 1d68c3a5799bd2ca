// SPDX-License-Identifier: Apache-2.0
/* Signature Version 4 against the vectors that AWS published as aws-sig-v4-test-suite. */
#include "test.h"

#include "base/text.h"
#include "io/sigv4.h"

#define KEY_ID	 "AKIDEXAMPLE"
#define SECRET	 "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define AMZ_DATE "20150830T123600Z"
#define REGION	 "us-east-1"
#define SERVICE	 "service"

static const struct http_header host_and_date[] = {
    {"Host", "example.amazonaws.com"},
    {"X-Amz-Date", AMZ_DATE},
};

static void expect(const struct http_request *r, const char *signature)
{
	struct buf value = {0};
	struct sigv4_authorization a;
	char again[65];
	assert_ok(sigv4_sign(r, AMZ_DATE, REGION, SERVICE, KEY_ID, SECRET, &value, err));
	assert_ok(sigv4_parse(buf_str(&value), &a, err));
	assert_string_equal(a.signature, signature);
	assert_string_equal(a.access_key_id, KEY_ID);
	assert_string_equal(a.date, "20150830");
	assert_string_equal(a.region, REGION);
	assert_string_equal(a.service, SERVICE);
	assert_ok(sigv4_signature(r, a.signed_headers, AMZ_DATE, a.region, a.service, SECRET, again,
				  err));
	assert_string_equal(again, signature);
	buf_release(&value);
}

static void test_get_vanilla(void **state)
{
	(void)state;
	struct http_request r = {
	    .method = "GET", .path = "/", .query = "", .headers = host_and_date, .header_count = 2};
	expect(&r, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	/* dot segments, double slashes and an empty path name the same thing */
	static const char *const same[] = {"", "//", "/./", "/a/..", "/a/../b/.."};
	for (unsigned i = 0; i < COUNT_OF(same); i++) {
		r.path = same[i];
		expect(&r, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	}
}

static void test_post_vanilla(void **state)
{
	(void)state;
	struct http_request r = {.method = "POST",
				 .path = "/",
				 .query = "",
				 .headers = host_and_date,
				 .header_count = 2};
	expect(&r, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

static void test_get_vanilla_query(void **state)
{
	(void)state;
	struct http_request r = {.method = "GET",
				 .path = "/",
				 .query = "Param2=value2&Param1=value1",
				 .headers = host_and_date,
				 .header_count = 2};
	expect(&r, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
	r.query = "Param1=value1&Param2=value2";
	expect(&r, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

static void test_post_form(void **state)
{
	(void)state;
	struct http_header headers[] = {
	    {"Content-Type", "application/x-www-form-urlencoded"},
	    {"Host", "example.amazonaws.com"},
	    {"X-Amz-Date", AMZ_DATE},
	};
	struct http_request r = {.method = "POST",
				 .path = "/",
				 .query = "",
				 .headers = headers,
				 .header_count = 3,
				 .body = "Param1=value1",
				 .body_len = 13};
	expect(&r, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

static void test_get_header_value_trim(void **state)
{
	(void)state;
	struct http_header headers[] = {
	    {"Host", "example.amazonaws.com"},
	    {"My-Header1", " value1"},
	    {"My-Header2", " \"a   b   c\""},
	    {"X-Amz-Date", AMZ_DATE},
	};
	struct http_request r = {
	    .method = "GET", .path = "/", .query = "", .headers = headers, .header_count = 4};
	expect(&r, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

static void test_anything_changed_changes_it(void **state)
{
	(void)state;
	struct http_header headers[] = {{"Host", "godwit:8443"}, {"X-Amz-Date", AMZ_DATE}};
	struct http_request base = {.method = "POST",
				    .path = "/sms/api",
				    .query = "",
				    .headers = headers,
				    .header_count = 2,
				    .body = "{}",
				    .body_len = 2};
	char signature[65], other[65];
	assert_ok(sigv4_signature(&base, "host;x-amz-date", AMZ_DATE, REGION, "sms", SECRET,
				  signature, err));
	struct http_request changed[] = {base, base, base, base};
	changed[0].body = "[]";
	changed[1].path = "/sms/api/";
	changed[2].method = "PUT";
	changed[3].query = "a";
	for (unsigned i = 0; i < COUNT_OF(changed); i++) {
		assert_ok(sigv4_signature(&changed[i], "host;x-amz-date", AMZ_DATE, REGION, "sms",
					  SECRET, other, err));
		assert_string_not_equal(signature, other);
	}
	assert_ok(sigv4_signature(&base, "host;x-amz-date", AMZ_DATE, REGION, "sms", "another",
				  other, err));
	assert_string_not_equal(signature, other);
}

static void test_missing_header(void **state)
{
	(void)state;
	struct http_request r = {
	    .method = "GET", .path = "/", .query = "", .headers = host_and_date, .header_count = 2};
	char out[65];
	struct err e = {0};
	assert_int_equal(
	    sigv4_signature(&r, "host;x-amz-target", AMZ_DATE, REGION, SERVICE, SECRET, out, &e),
	    -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.text, "x-amz-target"));
}

#define SIGNATURE_64 "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define SCOPE	     "AKID/20150830/us-east-1/sms/aws4_request"

static void test_parse_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *value, *says;
	} cases[] = {
	    {"", "begin with"},
	    {"AWS4-HMAC-SHA256", "begin with"},
	    {"Basic dXNlcjpwYXNz", "begin with"},
	    {"AWS4-HMAC-SHA256 ", "Name=value"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=host", "no Signature"},
	    {"AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" SIGNATURE_64, "no Credential"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", Signature=" SIGNATURE_64, "no SignedHeaders"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=, Signature=" SIGNATURE_64,
	     "no SignedHeaders"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=Host, Signature=" SIGNATURE_64,
	     "lower-case"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE
	     ", SignedHeaders=host;;x, Signature=" SIGNATURE_64,
	     "lower-case"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=host;, Signature=" SIGNATURE_64,
	     "lower-case"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=host, Signature=abc",
	     "64 lower-case"},
	    {"AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/sms, SignedHeaders=host, "
	     "Signature=" SIGNATURE_64,
	     "must be <access key id>"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE "/x, SignedHeaders=host, Signature=" SIGNATURE_64,
	     "more than five"},
	    {"AWS4-HMAC-SHA256 Credential=AKID/2015083/us-east-1/sms/aws4_request, "
	     "SignedHeaders=host, Signature=" SIGNATURE_64,
	     "YYYYMMDD"},
	    {"AWS4-HMAC-SHA256 Credential=AKID/20150830//sms/aws4_request, "
	     "SignedHeaders=host, Signature=" SIGNATURE_64,
	     "empty"},
	    {"AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/sms/aws5_request, "
	     "SignedHeaders=host, Signature=" SIGNATURE_64,
	     "aws4_request"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=host, SignedHeaders=host, "
	     "Signature=" SIGNATURE_64,
	     "twice"},
	    {"AWS4-HMAC-SHA256 Credential=" SCOPE ", SignedHeaders=host, Signature=" SIGNATURE_64
	     ", Extra=1",
	     "unknown part"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct sigv4_authorization a;
		struct err e = {0};
		assert_int_equal(sigv4_parse(cases[i].value, &a, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.text, cases[i].says))
			fail_msg("'%s' was refused with '%s'", cases[i].value, e.text);
	}
	char longer[2000];
	memset(longer, 'a', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	struct sigv4_authorization a;
	assert_int_equal(sigv4_parse(longer, &a, NULL), -1);
	/* without spaces after the commas, as some clients write it */
	assert_ok(sigv4_parse("AWS4-HMAC-SHA256 Credential=" SCOPE
			      ",SignedHeaders=host;x-amz-date,Signature=" SIGNATURE_64,
			      &a, err));
	assert_string_equal(a.signed_headers, "host;x-amz-date");
}

static void test_dates(void **state)
{
	(void)state;
	int64_t ms;
	char text[17];
	assert_true(amz_date_parse("20150830T123600Z", &ms));
	assert_int_equal(ms, 1440938160000);
	amz_date_text(ms, text);
	assert_string_equal(text, "20150830T123600Z");
	static const char *const wrong[] = {
	    "",
	    "20150830T123600",
	    "20150830T123600ZZ",
	    "20150830 123600Z",
	    "20150230T123600Z",
	    "20151301T000000Z",
	    "20150830T240000Z",
	    "20150830T126000Z",
	    "2015083aT123600Z",
	    "19690830T123600Z",
	    "20150800T123600Z",
	};
	for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
		if (amz_date_parse(wrong[i], &ms))
			fail_msg("'%s' passed as a date", wrong[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_get_vanilla),
	    cmocka_unit_test(test_post_vanilla),
	    cmocka_unit_test(test_get_vanilla_query),
	    cmocka_unit_test(test_post_form),
	    cmocka_unit_test(test_get_header_value_trim),
	    cmocka_unit_test(test_anything_changed_changes_it),
	    cmocka_unit_test(test_missing_header),
	    cmocka_unit_test(test_parse_refuses),
	    cmocka_unit_test(test_dates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
