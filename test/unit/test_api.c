// SPDX-License-Identifier: Apache-2.0
/* The API door from the signed request to the answer, on metadata in memory. */
#include "test.h"

#include "api_rig.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#define SEED (RIG_NOW / 1000)

static int setup(void **state)
{
	struct rig *rig = xcalloc(1, sizeof *rig);
	rig_open(rig);
	*state = rig;
	return 0;
}

static int setup_servers(void **state)
{
	setup(state);
	rig_connector(*state, RIG_CONNECTOR, RIG_MANAGER);
	rig_import(*state, 5, true);
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	free(*state);
	return 0;
}

static const char *text_of(struct rig *rig, const char *name)
{
	return json_string_value(json_object_get(rig->answer, name));
}

/* The newest answer is this error, with a sentence that says so. */
static void expect_error(struct rig *rig, const char *code, const char *says)
{
	const char *got = text_of(rig, "__type"), *message = text_of(rig, "message");
	if (!got || strcmp(got, code) || !message || !strstr(message, says))
		fail_msg("expected %s with '%s', got %d %s: %s", code, says, rig->status,
			 got ? got : "(no error)", message ? message : "");
	assert_true(rig->status >= 400);
}

static void expect_ok(struct rig *rig)
{
	if (rig->status != 200)
		fail_msg("%d %s: %s", rig->status, text_of(rig, "__type"), text_of(rig, "message"));
}

static json_t *item(struct rig *rig, const char *list, size_t i)
{
	return json_array_get(json_object_get(rig->answer, list), i);
}

static size_t list_size(struct rig *rig, const char *list)
{
	assert_true(json_is_array(json_object_get(rig->answer, list)));
	return json_array_size(json_object_get(rig->answer, list));
}

/* The id of the server with this name, into `out`. */
static void server_id(struct rig *rig, const char *name, char out[ID_BYTES])
{
	rig_call(rig, SMS "GetServers", "{}");
	expect_ok(rig);
	for (size_t i = 0; i < list_size(rig, "serverList"); i++) {
		json_t *s = item(rig, "serverList", i), *vm = json_object_get(s, "vmServer");
		if (strcmp(json_string_value(json_object_get(vm, "vmName")), name))
			continue;
		snprintf(out, ID_BYTES, "%s", json_string_value(json_object_get(s, "serverId")));
		return;
	}
	fail_msg("no server %s", name);
}

static void create_job(struct rig *rig, const char *server, char out[ID_BYTES])
{
	char id[ID_BYTES];
	server_id(rig, server, id);
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
	expect_ok(rig);
	snprintf(out, ID_BYTES, "%s", text_of(rig, "replicationJobId"));
}

/* --- the door -------------------------------------------------------------------------------- */

static void test_signature(void **state)
{
	struct rig *rig = *state;
	static const struct {
		struct rig_request request;
		const char *code, *says;
	} cases[] = {
	    {{.is_unsigned = true}, "MissingAuthenticationTokenException", "not signed"},
	    {{.secret = "wrong"}, "InvalidSignatureException", "secret"},
	    {{.key_id = "AKIDNOBODY"}, "UnrecognizedClientException", "AKIDNOBODY"},
	    {{.key_id = "AKIDDISABLED"}, "UnrecognizedClientException", "AKIDDISABLED"},
	    {{.region = "eu-west-1"}, "InvalidSignatureException", RIG_REGION},
	    {{.service = "ec2"}, "InvalidSignatureException", "sms"},
	    {{.skew = LIMIT_CLOCK_SKEW_MS + 1000}, "RequestExpired", "clocks"},
	    {{.skew = -LIMIT_CLOCK_SKEW_MS - 1000}, "RequestExpired", "clocks"},
	    {{.sent_body = "{\"maxResults\":1}"}, "InvalidSignatureException", "body"},
	    {{.sent_target = SMS "DeleteServerCatalog"}, "InvalidSignatureException", "body"},
	    {{.content_hash = "UNSIGNED-PAYLOAD"}, "InvalidSignatureException", "hash"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct rig_request request = cases[i].request;
		request.target = SMS "GetServers";
		rig_request(rig, &request);
		expect_error(rig, cases[i].code, cases[i].says);
	}
	static const struct rig_request good[] = {
	    {.skew = LIMIT_CLOCK_SKEW_MS - 1000},
	    {.skew = -LIMIT_CLOCK_SKEW_MS + 1000},
	    {.path = "/sms/api"},
	    {.path = "/sms/api/"},
	    {.path = "/with%20space/\xc3\xa4"},
	    {.content_hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
	};
	for (unsigned i = 0; i < COUNT_OF(good); i++) {
		struct rig_request request = good[i];
		request.target = SMS "GetServers";
		rig_request(rig, &request);
		expect_ok(rig);
	}
}

static void test_every_header_of_a_signed_list_is_needed(void **state)
{
	struct rig *rig = *state;
	static const char *const headers[] = {"Authorization",
					      "AWS4-HMAC-SHA256 Credential=", NULL};
	struct buf body = {0};
	char request_id[40];
	int status = api_handle(&rig->service, RIG_REGION, "POST", "/", headers, "{}", 2, rig->now,
				&body, request_id);
	assert_int_equal(status, 400);
	assert_non_null(strstr(buf_str(&body), "IncompleteSignatureException"));
	buf_release(&body);
}

static void test_routing(void **state)
{
	struct rig *rig = *state;
	static const char *const unknown[] = {
	    NULL,
	    "GetServers",
	    SMS "GetServer",
	    SMS "getServers",
	    SMS,
	    "AWSServerMigrationService_V2016_10_2.GetServers",
	    "x.AWSServerMigrationService_V2016_10_24.GetServers",
	    GODWIT "GetServers",
	    "..",
	};
	for (unsigned i = 0; i < COUNT_OF(unknown); i++) {
		rig_request(rig, &(struct rig_request){.target = unknown[i]});
		expect_error(rig, "UnknownOperationException", "");
		assert_int_equal(rig->status, 400);
	}
	rig_request(rig, &(struct rig_request){.target = SMS "GetServers", .method = "GET"});
	expect_error(rig, "MethodNotAllowedException", "POST");
	assert_int_equal(rig->status, 405);
}

static void test_applications_are_refused_honestly(void **state)
{
	struct rig *rig = *state;
	unsigned refused = 0;
	for (unsigned i = 0; i < api_sms.op_count; i++) {
		char target[128];
		if (api_sms.ops[i].handler)
			continue;
		snprintf(target, sizeof target, SMS "%s", api_sms.ops[i].name);
		rig_call(rig, target, "{}");
		expect_error(rig, "OperationNotPermittedException",
			     "is not part of this version of godwit yet");
		assert_int_equal(rig->status, 400);
		refused++;
	}
	assert_int_equal(api_sms.op_count, 35);
	assert_int_equal(refused, 24);
}

static void test_bad_bodies(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *op, *body, *code, *says;
	} cases[] = {
	    {"GetServers", "", "SerializationException", "not JSON"},
	    {"GetServers", "{", "SerializationException", "not JSON"},
	    {"GetServers", "{} {}", "SerializationException", "not JSON"},
	    {"GetServers", "[]", "SerializationException", "object"},
	    {"GetServers", "\"x\"", "SerializationException", ""},
	    {"GetServers", "{\"nextToken\":\"\xff\"}", "SerializationException", "not JSON"},
	    {"GetServers", "{\"maxResults\":1,\"maxResults\":2}", "SerializationException",
	     "duplicate"},
	    {"GetServers", "{\"maxResults\":\"12\"}", "SerializationException",
	     "maxResults must be an integer"},
	    {"GetServers", "{\"maxResults\":1.5}", "SerializationException", "an integer"},
	    {"GetServers", "{\"vmServerAddressList\":{}}", "SerializationException", "a list"},
	    {"GetServers", "{\"vmServerAddressList\":[1]}", "SerializationException",
	     "vmServerAddressList[0] must be an object"},
	    {"GetServers", "{\"vmServerAddressList\":[{\"vmId\":7}]}", "SerializationException",
	     "vmServerAddressList[0].vmId must be a string"},
	    {"GetServers", "{\"vmServerAddressList\":[{\"vmId\":\"x\"}]}",
	     "MissingRequiredParameterException", "vmManagerId"},
	    {"GetServers", "{\"maxResults\":99999999999}", "InvalidParameterException",
	     "maxResults"},
	    {"CreateReplicationJob", "{}", "MissingRequiredParameterException", "serverId"},
	    {"CreateReplicationJob", "{\"serverId\":null,\"seedReplicationTime\":1}",
	     "MissingRequiredParameterException", "serverId"},
	    {"CreateReplicationJob", "{\"serverId\":\"\",\"seedReplicationTime\":1}",
	     "MissingRequiredParameterException", "serverId"},
	    {"CreateReplicationJob", "{\"serverId\":\"s\"}", "MissingRequiredParameterException",
	     "seedReplicationTime"},
	    {"CreateReplicationJob", "{\"serverId\":\"s\",\"seedReplicationTime\":\"2016-10-24\"}",
	     "SerializationException", "seedReplicationTime"},
	    {"CreateReplicationJob", "{\"serverId\":\"s\",\"seedReplicationTime\":-1}",
	     "InvalidParameterException", "seedReplicationTime"},
	    {"CreateReplicationJob", "{\"serverId\":\"s\",\"seedReplicationTime\":1e300}",
	     "InvalidParameterException", "seedReplicationTime"},
	    {"CreateReplicationJob",
	     "{\"serverId\":\"s\",\"seedReplicationTime\":1,\"licenseType\":\"FOO\"}",
	     "InvalidParameterException", "must be one of AWS, BYOL"},
	    {"CreateReplicationJob", "{\"serverId\":\"s\",\"seedReplicationTime\":1,\"runOnce\":1}",
	     "SerializationException", "runOnce must be a boolean"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		char target[128];
		snprintf(target, sizeof target, SMS "%s", cases[i].op);
		rig_request(rig, &(struct rig_request){.target = target, .body = cases[i].body});
		expect_error(rig, cases[i].code, cases[i].says);
		assert_int_equal(rig->status, 400);
	}
	rig_request(rig, &(struct rig_request){.target = SMS "GetServers",
					       .body = "{\"nextToken\":null,\"unknown\":[[]]}"});
	expect_ok(rig);
}

static void test_depth_and_size(void **state)
{
	struct rig *rig = *state;
	for (unsigned depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
		struct buf body = {0};
		buf_add_str(&body, "{\"a\":");
		for (unsigned i = 1; i < depth; i++)
			buf_add_byte(&body, '[');
		buf_add_str(&body, "\"]]]]\\\"[[[[\"");
		for (unsigned i = 1; i < depth; i++)
			buf_add_byte(&body, ']');
		buf_add_byte(&body, '}');
		rig_request(
		    rig, &(struct rig_request){.target = SMS "GetServers", .body = buf_str(&body)});
		if (depth == LIMIT_JSON_DEPTH)
			expect_ok(rig);
		else
			expect_error(rig, "SerializationException", "deep");
		buf_release(&body);
	}
	char *large = xmalloc(LIMIT_REQUEST_BODY_BYTES + 2);
	memset(large, ' ', LIMIT_REQUEST_BODY_BYTES + 1);
	large[LIMIT_REQUEST_BODY_BYTES + 1] = '\0';
	rig_request(rig, &(struct rig_request){.target = SMS "GetServers", .body = large});
	expect_error(rig, "RequestEntityTooLargeException", "larger");
	assert_int_equal(rig->status, 413);
	large[LIMIT_REQUEST_HEADER_BYTES] = '\0';
	rig_request(rig, &(struct rig_request){.target = large});
	expect_error(rig, "RequestHeaderTooLargeException", "header");
	free(large);
}

static void test_patterns_and_ranges(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *op, *body, *code;
	} cases[] = {
	    {"GetAppValidationOutput", "{\"appId\":\"app-0123456789abcdef0\"}", NULL},
	    {"GetAppValidationOutput", "{\"appId\":\"app-x\"}", "app-x"},
	    {"GetAppValidationOutput", "{\"appId\":\"app-0123456789abcdef0\\n\"}", "pattern"},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"name\":\"a b\"}]}",
	     "appValidationConfigurations[0].name"},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"name\":\"S\\\\\xc3\xa4\"}]}",
	     NULL},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"ssmValidationParameters\":{\"executionTimeoutSeconds\":28801}}]}",
	     "from 60 to 28800"},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"ssmValidationParameters\":{\"instanceId\":\"i-1234567\"}}]}",
	     "instanceId"},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"ssmValidationParameters\":{\"instanceId\":\"mi-12345678901234567\"}}]}",
	     NULL},
	    {"PutAppValidationConfiguration",
	     "{\"appId\":\"app-0123456789abcdef0\",\"appValidationConfigurations\":"
	     "[{\"ssmValidationParameters\":{\"source\":{\"s3Location\":{\"bucket\":\"ab\"}}}}]}",
	     "at least 3"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct api_call call = {0};
		const struct api_op *op = NULL;
		for (unsigned k = 0; k < api_sms.op_count; k++) {
			if (!strcmp(api_sms.ops[k].name, cases[i].op))
				op = &api_sms.ops[k];
		}
		assert_non_null(op);
		json_t *body = json_loads(cases[i].body, 0, NULL);
		assert_non_null(body);
		int result = api_validate(&call, op->input, body);
		json_decref(body);
		if (!cases[i].code) {
			assert_int_equal(result, 0);
			continue;
		}
		assert_int_equal(result, -1);
		assert_string_equal(call.error.code, "InvalidParameterException");
		if (!strstr(call.error.message, cases[i].code))
			fail_msg("%s: %s", cases[i].body, call.error.message);
	}
	(void)rig;
}

static void test_where_it_may_listen(void **state)
{
	struct rig *rig = *state;
	static const struct {
		struct api_config config;
		enum err_kind kind;
		const char *says;
	} cases[] = {
	    {{.listen = "0.0.0.0:0"}, ERR_DENIED, "plain HTTP"},
	    {{.listen = "[::]:0"}, ERR_DENIED, "plain HTTP"},
	    {{.listen = "127.0.0.1"}, ERR_INVALID, "<host>:<port>"},
	    {{.listen = ":80"}, ERR_INVALID, "<host>:<port>"},
	    {{.listen = "127.0.0.1:x"}, ERR_INVALID, "port"},
	    {{.listen = "127.0.0.1:65536"}, ERR_INVALID, "port"},
	    {{.listen = "127.0.0.1:0", .cert_file = "/dev/null"}, ERR_INVALID, "key"},
	    {{.listen = "127.0.0.1:0", .cert_file = "/nonexistent", .key_file = "/nonexistent"},
	     ERR_NOT_FOUND,
	     "/nonexistent"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct api_server *server = NULL;
		struct err e = {0};
		int port;
		assert_int_equal(
		    api_server_start(&cases[i].config, &rig->service, &server, &port, &e), -1);
		if (e.kind != cases[i].kind || !strstr(e.text, cases[i].says))
			fail_msg("%s: %s", cases[i].config.listen, e.text);
	}
}

/* --- catalog and connectors ------------------------------------------------------------------ */

static void test_nothing_yet(void **state)
{
	struct rig *rig = *state;
	rig_call(rig, SMS "GetConnectors", "{}");
	expect_ok(rig);
	assert_int_equal(list_size(rig, "connectorList"), 0);
	rig_call(rig, SMS "GetServers", "{}");
	expect_ok(rig);
	assert_int_equal(list_size(rig, "serverList"), 0);
	assert_string_equal(text_of(rig, "serverCatalogStatus"), "NOT_IMPORTED");
	assert_true(json_is_number(json_object_get(rig->answer, "lastModifiedOn")));
	rig_call(rig, SMS "GetReplicationJobs", "{}");
	assert_int_equal(list_size(rig, "replicationJobList"), 0);
	rig_call(rig, SMS "GetReplicationJobs", "{s:s}", "replicationJobId", "sms-job-00000000");
	assert_int_equal(list_size(rig, "replicationJobList"), 0);
	rig_call(rig, SMS "ImportServerCatalog", "{}");
	expect_error(rig, "NoConnectorsAvailableException", "connector");
}

static void test_connectors(void **state)
{
	struct rig *rig = *state;
	rig_connector(rig, RIG_CONNECTOR, RIG_MANAGER);
	rig_connector(rig, "c-0123456789abcdef1", "another");
	rig_call(rig, SMS "GetConnectors", "{}");
	expect_ok(rig);
	assert_int_equal(list_size(rig, "connectorList"), 2);
	json_t *c = item(rig, "connectorList", 0);
	assert_string_equal(json_string_value(json_object_get(c, "connectorId")), RIG_CONNECTOR);
	assert_string_equal(json_string_value(json_object_get(c, "status")), "HEALTHY");
	assert_string_equal(json_string_value(json_object_get(c, "vmManagerName")),
			    "host (libvirt)");
	assert_null(json_object_get(c, "vmManagerType"));
	json_t *capabilities = json_object_get(c, "capabilityList");
	assert_int_equal(json_array_size(capabilities), 1);
	assert_true(json_is_real(json_object_get(c, "associatedOn")));

	rig->now += UNHEALTHY_AFTER_MS + 1;
	rig_call(rig, SMS "GetConnectors", "{s:i}", "maxResults", 1);
	c = item(rig, "connectorList", 0);
	assert_string_equal(json_string_value(json_object_get(c, "status")), "UNHEALTHY");
	assert_non_null(text_of(rig, "nextToken"));
	rig_call(rig, SMS "ImportServerCatalog", "{}");
	expect_error(rig, "NoConnectorsAvailableException", "healthy");

	rig_call(rig, SMS "DisassociateConnector", "{s:s}", "connectorId", RIG_CONNECTOR);
	expect_ok(rig);
	rig_call(rig, SMS "GetConnectors", "{}");
	assert_int_equal(list_size(rig, "connectorList"), 1);
	rig_call(rig, SMS "DisassociateConnector", "{s:s}", "connectorId", RIG_CONNECTOR);
	expect_error(rig, "InvalidParameterException", RIG_CONNECTOR);
}

static void test_catalog(void **state)
{
	struct rig *rig = *state;
	rig_call(rig, SMS "GetServers", "{}");
	expect_ok(rig);
	assert_string_equal(text_of(rig, "serverCatalogStatus"), "AVAILABLE");
	assert_int_equal(list_size(rig, "serverList"), 5);
	json_t *s = item(rig, "serverList", 0), *vm = json_object_get(s, "vmServer");
	assert_string_equal(json_string_value(json_object_get(s, "serverType")), "VIRTUAL_MACHINE");
	assert_true(text_starts(json_string_value(json_object_get(s, "serverId")), "s-"));
	assert_null(json_object_get(s, "replicationJobId"));
	assert_null(json_object_get(s, "replicationJobTerminated"));
	assert_null(json_object_get(vm, "vmManagerType"));
	assert_string_equal(json_string_value(json_object_get(vm, "vmManagerName")),
			    "host (libvirt)");
	json_t *address = json_object_get(vm, "vmServerAddress");
	assert_string_equal(json_string_value(json_object_get(address, "vmManagerId")),
			    RIG_MANAGER);

	rig_call(rig, SMS "GetServers", "{s:[{s:s,s:s},{s:s,s:s},{s:s,s:s}]}",
		 "vmServerAddressList", "vmManagerId", RIG_MANAGER, "vmId",
		 "00000000-0000-4000-8000-000000000002", "vmManagerId", RIG_MANAGER, "vmId",
		 "00000000-0000-4000-8000-000000000002", "vmManagerId", "another", "vmId",
		 "00000000-0000-4000-8000-000000000001");
	expect_ok(rig);
	assert_int_equal(list_size(rig, "serverList"), 1);

	rig_call(rig, SMS "ImportServerCatalog", "{}");
	expect_ok(rig);
	rig_call(rig, SMS "GetServers", "{}");
	assert_string_equal(text_of(rig, "serverCatalogStatus"), "IMPORTING");
	rig_call(rig, SMS "DeleteServerCatalog", "{}");
	expect_error(rig, "OperationNotPermittedException", "");
}

static void test_delete_catalog(void **state)
{
	struct rig *rig = *state;
	char id[ID_BYTES];
	server_id(rig, "web000", id);
	rig_call(rig, SMS "DeleteServerCatalog", "{}");
	expect_ok(rig);
	rig_call(rig, SMS "GetServers", "{}");
	assert_string_equal(text_of(rig, "serverCatalogStatus"), "DELETED");
	assert_int_equal(list_size(rig, "serverList"), 0);
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
	expect_error(rig, "InvalidParameterException", "not in the catalog");
	rig_import(rig, 5, false);
	char again[ID_BYTES];
	server_id(rig, "web000", again);
	assert_string_equal(id, again);
}

/* Every id once over all pages, though a server comes in between, before and after. */
static void test_paging_with_insertions(void **state)
{
	struct rig *rig = *state;
	rig_connector(rig, RIG_CONNECTOR, RIG_MANAGER);
	rig_import(rig, 120, false);
	json_t *first = json_object(), *seen = json_object();
	rig_call(rig, SMS "GetServers", "{s:i}", "maxResults", LIMIT_PAGE);
	assert_int_equal(list_size(rig, "serverList"), 120);
	assert_null(text_of(rig, "nextToken"));
	for (size_t i = 0; i < 120; i++) {
		json_t *id = json_object_get(item(rig, "serverList", i), "serverId");
		json_object_set_new(first, json_string_value(id), json_true());
	}
	char token[512] = "";
	unsigned pages = 0;
	do {
		rig_call(rig, SMS "GetServers", *token ? "{s:i,s:s}" : "{s:i}", "maxResults", 7,
			 "nextToken", token);
		expect_ok(rig);
		assert_true(list_size(rig, "serverList") <= 7);
		for (size_t i = 0; i < list_size(rig, "serverList"); i++) {
			json_t *id = json_object_get(item(rig, "serverList", i), "serverId");
			assert_null(json_object_get(seen, json_string_value(id)));
			json_object_set_new(seen, json_string_value(id), json_true());
		}
		const char *next = text_of(rig, "nextToken");
		assert_true(!next || strcmp(next, token));
		snprintf(token, sizeof token, "%s", next ? next : "");
		if (++pages == 5)
			rig_import(rig, 140, false);
	} while (*token);
	const char *key;
	json_t *value;
	json_object_foreach(first, key, value) assert_non_null(json_object_get(seen, key));
	assert_true(pages >= 120 / 7);
	json_decref(first);
	json_decref(seen);
}

static void test_page_sizes_and_tokens(void **state)
{
	struct rig *rig = *state;
	static const int wrong[] = {0, -1, LIMIT_PAGE + 1};
	static const char *const lists[] = {SMS "GetServers", SMS "GetConnectors",
					    SMS "GetReplicationJobs", GODWIT "ListImages"};
	for (unsigned k = 0; k < COUNT_OF(lists); k++) {
		for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
			rig_call(rig, lists[k], "{s:i}", "maxResults", wrong[i]);
			expect_error(rig, "InvalidParameterException", "maxResults");
		}
		rig_call(rig, lists[k], "{s:s}", "nextToken", "bm9uc2Vuc2U");
		expect_error(rig, "InvalidParameterException", "nextToken");
	}
	rig_call(rig, SMS "GetServers", "{s:i}", "maxResults", 2);
	char token[512];
	snprintf(token, sizeof token, "%s", text_of(rig, "nextToken"));
	rig_call(rig, SMS "GetReplicationJobs", "{s:s}", "nextToken", token);
	expect_error(rig, "InvalidParameterException", "nextToken");
	for (size_t i = 0; i < strlen(token); i++) {
		char changed[512];
		snprintf(changed, sizeof changed, "%s", token);
		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		rig_call(rig, SMS "GetServers", "{s:s}", "nextToken", changed);
		expect_error(rig, "InvalidParameterException", "nextToken");
	}
	rig_call(rig, SMS "GetServers", "{s:s}", "nextToken", token);
	expect_ok(rig);
	assert_int_equal(list_size(rig, "serverList"), 3);
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void test_create_refusals(void **state)
{
	struct rig *rig = *state;
	char id[ID_BYTES];
	server_id(rig, "web000", id);
	static const struct {
		const char *extra;
		const char *code, *says;
	} cases[] = {
	    {"", "MissingRequiredParameterException", "frequency"},
	    {",\"runOnce\":false", "MissingRequiredParameterException", "frequency"},
	    {",\"frequency\":0", "InvalidParameterException", "from 1 to 24"},
	    {",\"frequency\":25", "InvalidParameterException", "from 1 to 24"},
	    {",\"frequency\":-1", "InvalidParameterException", "from 1 to 24"},
	    {",\"frequency\":1,\"numberOfRecentAmisToKeep\":271", "InvalidParameterException",
	     "from 0 to 270"},
	    {",\"frequency\":1,\"kmsKeyId\":\"alias/x\"", "InvalidParameterException", "encrypted"},
	    {",\"frequency\":1,\"encrypted\":true", "OperationNotPermittedException",
	     "unencrypted"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		char *body = xasprintf("{\"serverId\":\"%s\",\"seedReplicationTime\":%lld%s}", id,
				       (long long)SEED, cases[i].extra);
		rig_request(
		    rig, &(struct rig_request){.target = SMS "CreateReplicationJob", .body = body});
		expect_error(rig, cases[i].code, cases[i].says);
		free(body);
	}
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED + 31 * 86400, "frequency", 12);
	expect_error(rig, "InvalidParameterException", "30 days");
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", "s-00000000",
		 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
	expect_error(rig, "InvalidParameterException", "s-00000000");
	static const char *const bad[] = {"refused", "bad-disk"};
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		server_id(rig, bad[i], id);
		rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
			 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
		expect_error(rig, "ServerCannotBeReplicatedException", "disk");
	}
	rig_call(rig, SMS "GetReplicationJobs", "{}");
	assert_int_equal(list_size(rig, "replicationJobList"), 0);
}

static void test_no_connector(void **state)
{
	struct rig *rig = *state;
	char id[ID_BYTES];
	server_id(rig, "web000", id);
	rig_call(rig, SMS "DisassociateConnector", "{s:s}", "connectorId", RIG_CONNECTOR);
	expect_ok(rig);
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
	expect_error(rig, "NoConnectorsAvailableException", "host (libvirt)");
}

static void test_job(void **state)
{
	struct rig *rig = *state;
	char id[ID_BYTES], job[ID_BYTES];
	server_id(rig, "web001", id);
	unsigned wakes = rig->wakes;
	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i, s:s, s:i, s:s}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED + 3600, "frequency", 12, "description",
		 "nightly \xc3\xa4", "numberOfRecentAmisToKeep", 3, "licenseType", "BYOL");
	expect_ok(rig);
	assert_true(rig->wakes > wakes);
	snprintf(job, sizeof job, "%s", text_of(rig, "replicationJobId"));
	assert_true(text_starts(job, "sms-job-"));

	rig_call(rig, SMS "CreateReplicationJob", "{s:s, s:I, s:i}", "serverId", id,
		 "seedReplicationTime", (json_int_t)SEED, "frequency", 12);
	expect_error(rig, "ReplicationJobAlreadyExistsException", job);

	rig_call(rig, SMS "GetReplicationJobs", "{s:s}", "replicationJobId", job);
	expect_ok(rig);
	assert_int_equal(list_size(rig, "replicationJobList"), 1);
	json_t *j = item(rig, "replicationJobList", 0);
	assert_string_equal(json_string_value(json_object_get(j, "replicationJobId")), job);
	assert_string_equal(json_string_value(json_object_get(j, "serverId")), id);
	assert_string_equal(json_string_value(json_object_get(j, "state")), "PENDING");
	assert_string_equal(json_string_value(json_object_get(j, "description")),
			    "nightly \xc3\xa4");
	assert_string_equal(json_string_value(json_object_get(j, "licenseType")), "BYOL");
	assert_int_equal(json_integer_value(json_object_get(j, "frequency")), 12);
	assert_int_equal(json_integer_value(json_object_get(j, "numberOfRecentAmisToKeep")), 3);
	assert_true(json_number_value(json_object_get(j, "seedReplicationTime")) == SEED + 3600);
	assert_true(json_is_array(json_object_get(j, "replicationRunList")));
	json_t *vm = json_object_get(j, "vmServer");
	assert_string_equal(json_string_value(json_object_get(vm, "vmName")), "web001");

	rig_call(rig, SMS "GetServers", "{}");
	for (size_t i = 0; i < list_size(rig, "serverList"); i++) {
		json_t *s = item(rig, "serverList", i);
		bool ours = !strcmp(json_string_value(json_object_get(s, "serverId")), id);
		json_t *of = json_object_get(s, "replicationJobId");
		assert_int_equal(of != NULL, ours);
		assert_int_equal(json_is_false(json_object_get(s, "replicationJobTerminated")),
				 ours);
	}

	rig_call(rig, SMS "UpdateReplicationJob", "{s:s, s:i, s:I, s:s}", "replicationJobId", job,
		 "frequency", 24, "nextReplicationRunStartTime", (json_int_t)SEED + 7200,
		 "description", "weekly");
	expect_ok(rig);
	rig_call(rig, SMS "GetReplicationRuns", "{s:s}", "replicationJobId", job);
	expect_ok(rig);
	assert_int_equal(list_size(rig, "replicationRunList"), 0);
	j = json_object_get(rig->answer, "replicationJob");
	assert_int_equal(json_integer_value(json_object_get(j, "frequency")), 24);
	assert_string_equal(json_string_value(json_object_get(j, "description")), "weekly");
	assert_true(json_number_value(json_object_get(j, "nextReplicationRunStartTime")) ==
		    SEED + 7200);
	rig_call(rig, SMS "UpdateReplicationJob", "{s:s, s:I}", "replicationJobId", job,
		 "nextReplicationRunStartTime", (json_int_t)SEED + 31 * 86400);
	expect_error(rig, "InvalidParameterException", "30 days");
	rig_call(rig, SMS "UpdateReplicationJob", "{s:s, s:i}", "replicationJobId", job,
		 "frequency", 25);
	expect_error(rig, "InvalidParameterException", "from 1 to 24");

	rig_call(rig, SMS "DeleteReplicationJob", "{s:s}", "replicationJobId", job);
	expect_ok(rig);
	rig_call(rig, SMS "GetReplicationJobs", "{}");
	assert_int_equal(list_size(rig, "replicationJobList"), 1);
	j = item(rig, "replicationJobList", 0);
	assert_true(text_starts(json_string_value(json_object_get(j, "state")), "DELET"));
	assert_null(json_object_get(j, "nextReplicationRunStartTime"));
	rig_call(rig, SMS "StartOnDemandReplicationRun", "{s:s}", "replicationJobId", job);
	expect_error(rig, "OperationNotPermittedException", "");
}

static void test_unknown_job(void **state)
{
	struct rig *rig = *state;
	static const struct {
		const char *target, *code;
	} cases[] = {
	    {SMS "DeleteReplicationJob", "ReplicationJobNotFoundException"},
	    {SMS "UpdateReplicationJob", "ReplicationJobNotFoundException"},
	    {SMS "GetReplicationRuns", "InvalidParameterException"},
	    {SMS "StartOnDemandReplicationRun", "InvalidParameterException"},
	    {GODWIT "ResumeReplicationJob", "ReplicationJobNotFoundException"},
	    {GODWIT "PutReplicationJobOptions", "ReplicationJobNotFoundException"},
	};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		rig_call(rig, cases[i].target, "{s:s}", "replicationJobId", "sms-job-00000000");
		expect_error(rig, cases[i].code, "sms-job-00000000");
		rig_call(rig, cases[i].target, "{}");
		expect_error(rig, "MissingRequiredParameterException", "replicationJobId");
	}
}

static void fail_run(struct rig *rig, const char *job)
{
	struct job_event event = {.kind = RUN_FAILED, .error = ERR_IO, .text = "the test said so"};
	assert_ok(service_job_event(&rig->service, job, &event, rig->now, NULL, err));
}

static void test_on_demand(void **state)
{
	struct rig *rig = *state;
	char job[ID_BYTES], run[ID_BYTES];
	create_job(rig, "web000", job);
	/* the seed's own run first */
	struct job_event tick = {.kind = JOB_TICK};
	assert_ok(service_job_event(&rig->service, job, &tick, rig->now, NULL, err));
	fail_run(rig, job);
	for (unsigned i = 0; i < ON_DEMAND_PER_DAY; i++) {
		rig_call(rig, SMS "StartOnDemandReplicationRun", "{s:s, s:s}", "replicationJobId",
			 job, "description", "by hand");
		expect_ok(rig);
		snprintf(run, sizeof run, "%s", text_of(rig, "replicationRunId"));
		assert_true(text_starts(run, "sms-run-"));
		rig_call(rig, SMS "StartOnDemandReplicationRun", "{s:s}", "replicationJobId", job);
		expect_error(rig, "OperationNotPermittedException", "");
		rig_call(rig, SMS "GetReplicationRuns", "{s:s}", "replicationJobId", job);
		json_t *r = item(rig, "replicationRunList", 0);
		assert_string_equal(json_string_value(json_object_get(r, "replicationRunId")), run);
		assert_string_equal(json_string_value(json_object_get(r, "type")), "ON_DEMAND");
		assert_string_equal(json_string_value(json_object_get(r, "description")),
				    "by hand");
		assert_true(json_is_number(json_object_get(r, "scheduledStartTime")));
		rig_call(rig, GODWIT "GetRunProgress", "{s:s}", "replicationRunId", run);
		expect_ok(rig);
		assert_string_equal(text_of(rig, "replicationJobId"), job);
		fail_run(rig, job);
		rig->now += 60000;
	}
	rig_call(rig, SMS "StartOnDemandReplicationRun", "{s:s}", "replicationJobId", job);
	expect_error(rig, "ReplicationRunLimitExceededException", "");

	rig_call(rig, SMS "GetReplicationRuns", "{s:s, s:i}", "replicationJobId", job, "maxResults",
		 2);
	assert_int_equal(list_size(rig, "replicationRunList"), 2);
	json_t *r = item(rig, "replicationRunList", 0);
	assert_string_equal(json_string_value(json_object_get(r, "replicationRunId")), run);
	assert_string_equal(json_string_value(json_object_get(r, "state")), "FAILED");
	assert_null(json_object_get(r, "stageDetails"));
	rig_call(rig, SMS "GetReplicationRuns", "{s:s, s:i, s:s}", "replicationJobId", job,
		 "maxResults", 2, "nextToken", text_of(rig, "nextToken"));
	expect_ok(rig);
	assert_int_equal(list_size(rig, "replicationRunList"), 1);
	assert_null(text_of(rig, "nextToken"));
	r = item(rig, "replicationRunList", 0);
	assert_string_equal(json_string_value(json_object_get(r, "type")), "AUTOMATIC");
	rig_call(rig, SMS "GetReplicationJobs", "{}");
	json_t *runs = json_object_get(item(rig, "replicationJobList", 0), "replicationRunList");
	assert_int_equal(json_array_size(runs), 3);
	assert_string_equal(
	    json_string_value(json_object_get(json_array_get(runs, 0), "replicationRunId")), run);
}

static void test_jobs_page(void **state)
{
	struct rig *rig = *state;
	char job[3][ID_BYTES];
	static const char *const names[] = {"web000", "web001", "web002"};
	for (unsigned i = 0; i < 3; i++)
		create_job(rig, names[i], job[i]); /* in the same millisecond */
	json_t *seen = json_object();
	char token[512] = "";
	do {
		rig_call(rig, SMS "GetReplicationJobs", *token ? "{s:i,s:s}" : "{s:i}",
			 "maxResults", 1, "nextToken", token);
		expect_ok(rig);
		assert_int_equal(list_size(rig, "replicationJobList"), 1);
		json_t *id = json_object_get(item(rig, "replicationJobList", 0),
					     "replicationJobId");
		assert_null(json_object_get(seen, json_string_value(id)));
		json_object_set_new(seen, json_string_value(id), json_true());
		snprintf(token, sizeof token, "%s",
			 text_of(rig, "nextToken") ? text_of(rig, "nextToken") : "");
	} while (*token);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(json_object_get(seen, job[i]));
	json_decref(seen);
}

/* --- our own operations ---------------------------------------------------------------------- */

static void test_options(void **state)
{
	struct rig *rig = *state;
	char job[ID_BYTES];
	create_job(rig, "web000", job);
	rig_call(rig, GODWIT "PutReplicationJobOptions", "{s:s,s:s,s:i,s:b,s:i}",
		 "replicationJobId", job, "bootTest", "advisory", "bootTestEvery", 4,
		 "pauseOnFailure", 0, "failureLimit", 7);
	expect_ok(rig);
	struct meta_tx *tx;
	struct job_row row = {0};
	assert_ok(meta_begin(rig->service.meta, false, &tx, err));
	assert_ok(meta_get(tx, &meta_jobs, job, &row, err));
	assert_ok(meta_end(tx, false, err));
	assert_string_equal(row.boot_test, "advisory");
	assert_int_equal(row.boot_test_every, 4);
	assert_int_equal(row.pause_on_failure, 0);
	assert_int_equal(row.failure_limit, 7);
	shape_release(meta_jobs.shape, &row);
	rig_call(rig, GODWIT "PutReplicationJobOptions", "{s:s,s:s}", "replicationJobId", job,
		 "bootTest", "maybe");
	expect_error(rig, "InvalidParameterException", "required, advisory, off");
	rig_call(rig, GODWIT "PutReplicationJobOptions", "{s:s,s:i}", "replicationJobId", job,
		 "failureLimit", 0);
	expect_error(rig, "InvalidParameterException", "failureLimit");
	rig_call(rig, GODWIT "ResumeReplicationJob", "{s:s}", "replicationJobId", job);
	expect_error(rig, "OperationNotPermittedException", "");
}

static void add_image(struct rig *rig, unsigned i)
{
	struct image_row image = {.created = RIG_NOW + i / 2, .sequence = i, .size_bytes = 4096};
	struct meta_tx *tx;
	text_setf(&image.id, "ami-%08u", i);
	text_set(&image.job_id, i % 2 ? "sms-job-00000001" : "sms-job-00000002");
	text_set(&image.server_id, "s-00000001");
	text_setf(&image.run_id, "sms-run-%08u", i);
	text_set(&image.state, "available");
	text_set(&image.verdict, "booted");
	text_set(&image.verdict_text, "it reached its login prompt");
	struct image_disk *disk = list_push(&image.disks, sizeof *disk);
	text_set(&disk->key, "vda");
	text_set(&disk->root, "00");
	text_set(&disk->bus, "virtio");
	disk->size_bytes = 4096;
	assert_ok(meta_begin(rig->service.meta, true, &tx, err));
	assert_ok(meta_put(tx, &meta_images, &image, err));
	assert_ok(meta_end(tx, true, err));
	shape_release(meta_images.shape, &image);
}

static void test_images(void **state)
{
	struct rig *rig = *state;
	for (unsigned i = 0; i < 9; i++)
		add_image(rig, i);
	unsigned seen = 0;
	char token[512] = "";
	do {
		rig_call(rig, GODWIT "ListImages", *token ? "{s:i,s:s}" : "{s:i}", "maxResults", 2,
			 "nextToken", token);
		expect_ok(rig);
		for (size_t i = 0; i < list_size(rig, "imageList"); i++) {
			char expected[ID_BYTES];
			snprintf(expected, sizeof expected, "ami-%08u", 8 - seen++);
			json_t *id = json_object_get(item(rig, "imageList", i), "imageId");
			assert_string_equal(json_string_value(id), expected);
		}
		snprintf(token, sizeof token, "%s",
			 text_of(rig, "nextToken") ? text_of(rig, "nextToken") : "");
	} while (*token);
	assert_int_equal(seen, 9);
	rig_call(rig, GODWIT "ListImages", "{s:s,s:i}", "replicationJobId", "sms-job-00000001",
		 "maxResults", 3);
	assert_int_equal(list_size(rig, "imageList"), 3);
	rig_call(rig, GODWIT "ListImages", "{s:s,s:s}", "replicationJobId", "sms-job-00000001",
		 "nextToken", text_of(rig, "nextToken"));
	assert_int_equal(list_size(rig, "imageList"), 1);

	rig_call(rig, GODWIT "GetImage", "{s:s}", "imageId", "ami-00000003");
	expect_ok(rig);
	assert_string_equal(text_of(rig, "verdict"), "booted");
	assert_string_equal(json_string_value(json_object_get(item(rig, "disks", 0), "root")),
			    "00");
	rig_call(rig, GODWIT "DeleteImage", "{s:s}", "imageId", "ami-00000003");
	expect_ok(rig);
	rig_call(rig, GODWIT "ListImages", "{}");
	assert_int_equal(list_size(rig, "imageList"), 8);
	rig_call(rig, GODWIT "GetImage", "{s:s}", "imageId", "ami-00000003");
	assert_string_equal(text_of(rig, "state"), "deleted");
	rig_call(rig, GODWIT "GetImage", "{s:s}", "imageId", "ami-x");
	expect_error(rig, "InvalidParameterException", "ami-x");
	rig_call(rig, GODWIT "DeleteImage", "{s:s}", "imageId", "ami-x");
	expect_error(rig, "InvalidParameterException", "ami-x");
	rig_call(rig, GODWIT "GetRunProgress", "{s:s}", "replicationRunId", "sms-run-x");
	expect_error(rig, "InvalidParameterException", "sms-run-x");
}

static void add_preparing_run(struct rig *rig, const char *id, int64_t since)
{
	struct run_row run = {.sequence = since, .stage_since = since};
	struct meta_tx *tx;
	text_set(&run.id, id);
	text_set(&run.job_id, "sms-job-00000001");
	text_set(&run.state, "ACTIVE");
	text_set(&run.type, "AUTOMATIC");
	text_set(&run.stage, "Preparing");
	assert_ok(meta_begin(rig->service.meta, true, &tx, err));
	assert_ok(meta_put(tx, &meta_runs, &run, err));
	assert_ok(meta_end(tx, true, err));
	shape_release(meta_runs.shape, &run);
}

static void test_queue_position(void **state)
{
	struct rig *rig = *state;
	add_preparing_run(rig, "sms-run-b", 2000);
	add_preparing_run(rig, "sms-run-a", 3000);
	add_preparing_run(rig, "sms-run-c", 1000);
	static const struct {
		const char *id;
		int before;
	} cases[] = {{"sms-run-c", 0}, {"sms-run-b", 1}, {"sms-run-a", 2}};
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		rig_call(rig, GODWIT "GetRunProgress", "{s:s}", "replicationRunId", cases[i].id);
		expect_ok(rig);
		assert_int_equal(json_integer_value(json_object_get(rig->answer, "queuePosition")),
				 cases[i].before);
	}
}

static void test_token_and_status(void **state)
{
	struct rig *rig = *state;
	rig_call(rig, GODWIT "CreateConnectorToken", "{s:s}", "name", "site-1");
	expect_ok(rig);
	assert_int_equal(strlen(text_of(rig, "token")), 64);
	assert_true(json_number_value(json_object_get(rig->answer, "expires")) * 1000 ==
		    RIG_NOW + ENROL_TOKEN_MS);
	rig_call(rig, GODWIT "CreateConnectorToken", "{s:s}", "name", "no spaces please");
	expect_error(rig, "InvalidParameterException", "name");
	char job[ID_BYTES];
	create_job(rig, "web000", job);
	rig_call(rig, GODWIT "GetServiceStatus", "{}");
	expect_ok(rig);
	assert_string_equal(text_of(rig, "region"), RIG_REGION);
	assert_string_equal(text_of(rig, "version"), GODWIT_VERSION);
	assert_int_equal(json_integer_value(json_object_get(rig->answer, "servers")), 5);
	assert_int_equal(json_integer_value(json_object_get(rig->answer, "connectorsHealthy")), 1);
	assert_int_equal(json_integer_value(json_object_get(item(rig, "jobs", 0), "count")), 1);
}

#define TEST(f, before) cmocka_unit_test_setup_teardown(f, before, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_signature, setup),
	    TEST(test_every_header_of_a_signed_list_is_needed, setup),
	    TEST(test_routing, setup),
	    TEST(test_applications_are_refused_honestly, setup),
	    TEST(test_bad_bodies, setup),
	    TEST(test_depth_and_size, setup),
	    TEST(test_patterns_and_ranges, setup),
	    TEST(test_where_it_may_listen, setup),
	    TEST(test_nothing_yet, setup),
	    TEST(test_connectors, setup),
	    TEST(test_catalog, setup_servers),
	    TEST(test_delete_catalog, setup_servers),
	    TEST(test_paging_with_insertions, setup),
	    TEST(test_page_sizes_and_tokens, setup_servers),
	    TEST(test_create_refusals, setup_servers),
	    TEST(test_no_connector, setup_servers),
	    TEST(test_job, setup_servers),
	    TEST(test_unknown_job, setup),
	    TEST(test_on_demand, setup_servers),
	    TEST(test_jobs_page, setup_servers),
	    TEST(test_options, setup_servers),
	    TEST(test_images, setup),
	    TEST(test_queue_position, setup),
	    TEST(test_token_and_status, setup_servers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
