// SPDX-License-Identifier: Apache-2.0
/*
 * godwit-copy: copies one disk. It is given connected descriptors and a plan, no path and no
 * credential, because it is the one that parses what a foreign disk holds.
 *
 * 0: its plan, one frame. 1: its result, a FINISHED or a FAULT frame. 3: the stream to the
 * service. 4 and on: the NBD sockets.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "copy/copy.h"
#include "copy/plan.h"
#include "copy/sandbox.h"

#ifdef __SANITIZE_ADDRESS__
/* The leak check at exit attaches to the process, which the sandbox forbids. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static int check_plan(const struct copy_plan *plan, struct err *e)
{
	if (!plan->export_name || plan->nbd_count < 1)
		return err_set(e, ERR_INVALID, "the plan of the copy names no disk");
	return 0;
}

static int copy_by(const struct copy_plan *plan, struct door_finished *finished, struct err *e)
{
	int fds[COPY_PLAN_NBD_MAX];
	struct extents changed = {0};
	struct copy_source from = {.nbd_fds = fds,
				   .nbd_count = (unsigned)plan->nbd_count,
				   .export_name = plan->export_name,
				   .dirty_context = plan->dirty_context,
				   .full = plan->full != 0,
				   .level = (int)plan->level,
				   .bytes_per_second = plan->bytes_per_second};
	struct stream *to;
	int result;

	for (int i = 0; i < COPY_PLAN_NBD_MAX; i++)
		fds[i] = COPY_FD_NBD + i;
	if (copy_plan_changed(plan, &changed, e)) {
		extents_release(&changed);
		return -1;
	}
	if (plan->has_changed)
		from.changed = &changed;
	to = stream_of_fd(COPY_FD_STREAM);
	result = copy_send(&from, to, finished, e);
	stream_close(to);
	extents_release(&changed);
	return result;
}

int main(void)
{
	struct stream *in, *out;
	struct copy_plan plan = {0};
	struct door_finished finished = {0};
	struct err e = {0};
	int result;

	signal(SIGPIPE, SIG_IGN);
	in = stream_of_fd(STDIN_FILENO);
	out = stream_of_fd(STDOUT_FILENO);
	result = sandbox_enter(&e);
	if (result == 0)
		result = frame_expect(in, COPY_PLAN, &copy_plan_shape, &plan, &e);
	if (result == 0)
		result = check_plan(&plan, &e);
	if (result == 0)
		result = copy_by(&plan, &finished, &e);
	if (result == 0)
		result = frame_write(out, DOOR_FINISHED, &door_finished_shape, &finished, &e);
	else
		frame_fault(out, &e, NULL);
	shape_release(&copy_plan_shape, &plan);
	shape_release(&door_finished_shape, &finished);
	stream_close(in);
	stream_close(out);
	return result ? EXIT_FAILURE : EXIT_SUCCESS;
}
