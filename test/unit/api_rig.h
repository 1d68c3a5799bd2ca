// SPDX-License-Identifier: Apache-2.0
/* A service on metadata in memory, one access key, and a client that signs its requests. */
#ifndef API_RIG_H
#define API_RIG_H

#include <jansson.h>

#include "api/server.h"
#include "job/service.h"

#define RIG_KEY_ID    "AKIDRIG"
#define RIG_SECRET    "rig/secret+EXAMPLE"
#define RIG_REGION    "us-east-1"
#define RIG_MANAGER   "5e1d0000-0000-4000-8000-00000000f00d"
#define RIG_CONNECTOR "c-0123456789abcdef0"
#define RIG_NOW	      1795233600000 /* 2026-11-21T04:00:00Z */
#define SMS	      "AWSServerMigrationService_V2016_10_24."
#define GODWIT	      "Godwit_V2026_11_21."

struct rig {
	struct service service;
	int64_t now;
	int64_t import; /* newest that connectors were asked for */
	json_t *answer; /* of the newest call */
	int status;
	unsigned wakes;
};

void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* Register a connector that is healthy now. */
void rig_connector(struct rig *rig, const char *id, const char *manager_id);
/* Import the catalog: `count` servers named web000 …; the names of the last two say what is wrong
 * with them when `refused`: "refused" has a refusal, "bad-disk" a disk with one. */
void rig_import(struct rig *rig, unsigned count, bool refused);

/* What to get wrong about a request. */
struct rig_request {
	const char *target, *body; /* whole target; body as sent */
	const char *secret, *key_id, *region, *service;
	const char *sent_body;	  /* sent in place of the signed one */
	const char *sent_target;  /* the same */
	const char *content_hash; /* X-Amz-Content-Sha256, or NULL */
	int64_t skew;
	bool is_unsigned;
	const char *method, *path;
};
/* 200 or another status; rig->answer is what came. */
int rig_request(struct rig *rig, const struct rig_request *request);
/* A right one, its body in jansson's json_pack form. */
int rig_call(struct rig *rig, const char *target, const char *format, ...);

#endif
