// SPDX-License-Identifier: Apache-2.0
#include "job/notice.h"

#include "base/log.h"
#include "base/text.h"

void notice_make(const struct job_state *state, const char *event, struct notice *n)
{
	const struct job_row *job = &state->job;
	const struct run_row *run = &state->run;
	bool of_run = text_equal(event, "completed") || text_equal(event, "failed");

	*n = (struct notice){
	    .event = event,
	    .job_id = job->id,
	    .run_id = run->id,
	    .server_id = job->server_id,
	    .server_name = job->vm_name,
	    .image_id = run->ami_id,
	    .sentence = of_run ? run->status_message : job->status_message,
	};
}

static void pair(struct buf *out, const char *key, const char *value)
{
	if (!value)
		return;
	buf_printf(out, "%s%s=\"", out->len ? " " : "", key);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			buf_add_byte(out, '\\');
		buf_add_byte(out, (uint8_t)*value);
	}
	buf_add_byte(out, '"');
}

void notice_line(const struct notice *n, struct buf *out)
{
	struct buf line = {0};

	pair(&line, "event", n->event);
	pair(&line, "job", n->job_id);
	pair(&line, "run", n->run_id);
	pair(&line, "server", n->server_id);
	pair(&line, "name", n->server_name);
	pair(&line, "image", n->image_id);
	pair(&line, "text", n->sentence);
	buf_add(out, line.data, line.len);
	buf_release(&line);
}

void notice_log(void *context, const struct notice *n)
{
	bool bad = text_equal(n->event, "failed") || text_equal(n->event, "paused");
	struct buf line = {0};

	(void)context;
	notice_line(n, &line);
	log_at(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "notice: %s", buf_str(&line));
	buf_release(&line);
}
