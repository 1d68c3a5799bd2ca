// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/handlers.h"
#include "base/text.h"

/* Clients try again after 5xx, so that no refusal of ours has one (spec: both clients make three
 * attempts). */
const struct api_exception api_exceptions[] = {
    {"DryRunOperationException", 400, false, true, true},
    {"InternalError", 500, true, true, true},
    {"InvalidParameterException", 400, false, true, true},
    {"MissingRequiredParameterException", 400, false, true, true},
    {"NoConnectorsAvailableException", 400, false, true, true},
    {"OperationNotPermittedException", 400, false, true, true},
    {"ReplicationJobAlreadyExistsException", 400, false, true, true},
    {"ReplicationJobNotFoundException", 400, false, true, true},
    {"ReplicationRunLimitExceededException", 400, false, true, true},
    {"ServerCannotBeReplicatedException", 400, false, true, true},
    {"TemporarilyUnavailableException", 503, true, false, true},
    {"UnauthorizedOperationException", 403, false, true, true},
    /* not in the model: what the services of this protocol answer before an operation begins */
    {"IncompleteSignatureException", 400, false, true, false},
    {"InvalidSignatureException", 403, false, true, false},
    {"MethodNotAllowedException", 405, false, true, false},
    {"MissingAuthenticationTokenException", 403, false, true, false},
    {"RequestEntityTooLargeException", 413, false, true, false},
    {"RequestExpired", 400, false, true, false},
    {"RequestHeaderTooLargeException", 431, false, true, false},
    {"SerializationException", 400, false, true, false},
    {"UnknownOperationException", 400, false, true, false},
    {"UnrecognizedClientException", 403, false, true, false},
    {NULL, 0, false, false, false},
};

const struct api_exception *api_exception_named(const char *name)
{
	for (const struct api_exception *x = api_exceptions; x->name; x++) {
		if (!strcmp(x->name, name))
			return x;
	}
	return NULL;
}

int api_fail(struct api_call *call, const char *code, const char *format, ...)
{
	const struct api_exception *x = api_exception_named(code);
	va_list ap;
	va_start(ap, format);
	vsnprintf(call->error.message, sizeof call->error.message, format, ap);
	va_end(ap);
	snprintf(call->error.code, sizeof call->error.code, "%s", code);
	call->error.status = x ? x->status : 400;
	return -1;
}

int api_fail_err(struct api_call *call, const struct err *e)
{
	const char *code = "InternalError";
	switch (e->kind) {
	case ERR_INVALID:
	case ERR_NOT_FOUND: code = "InvalidParameterException"; break;
	case ERR_CONFLICT:
	case ERR_DENIED: code = "OperationNotPermittedException"; break;
	case ERR_FULL:
	case ERR_BUSY:
	case ERR_UNAVAILABLE: code = "TemporarilyUnavailableException"; break;
	case ERR_NONE:
	case ERR_CORRUPT:
	case ERR_IO: break;
	}
	return api_fail(call, code, "%s", e->text);
}
