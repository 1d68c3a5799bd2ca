// SPDX-License-Identifier: Apache-2.0
/* An overlay of an image becomes an image: see job/overlay.h. */
#include "api/handlers.h"
#include "job/overlay.h"

/* The part of the service that does it; none in a service without an intake. */
static struct overlay_commits *commits_of(struct api_call *call)
{
	struct overlay_commits *all = api_service_of(call)->commits;

	if (!all)
		api_fail(call, "TemporarilyUnavailableException", "this service has no store");
	return all;
}

int handle_begin_image_commit(struct api_call *call, json_t *in, json_t *out)
{
	struct overlay_commits *all = commits_of(call);
	char id[ID_BYTES];
	struct err e = {0};

	if (!all)
		return -1;
	if (overlay_commit_begin(all, in_text(in, "imageId"), call->now, id, &e) < 0)
		return api_fail_err(call, &e);
	out_text(out, "commitId", id);
	return 0;
}

int handle_commit_image_disk(struct api_call *call, json_t *in, json_t *out)
{
	struct overlay_commits *all = commits_of(call);
	struct err e = {0};

	(void)out;
	if (!all)
		return -1;
	if (overlay_commit_disk(all, in_text(in, "commitId"), in_integer(in, "disk", 0),
				in_text(in, "socket"), call->now, &e) < 0)
		return api_fail_err(call, &e);
	return 0;
}

int handle_end_image_commit(struct api_call *call, json_t *in, json_t *out)
{
	struct overlay_commits *all = commits_of(call);
	char id[ID_BYTES];
	struct err e = {0};

	if (!all)
		return -1;
	if (overlay_commit_end(all, in_text(in, "commitId"), call->now, id, &e) < 0)
		return api_fail_err(call, &e);
	out_text(out, "imageId", id);
	return 0;
}
