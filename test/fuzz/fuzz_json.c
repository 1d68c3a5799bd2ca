// SPDX-License-Identifier: Apache-2.0
/*
 * The first line names the operation, the rest is its body, as a caller with a key may send it:
 * the request is signed like any other.
 */
#include <stdlib.h>
#include <string.h>

#include "api_rig.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct rig rig;

static void open_once(void)
{
	static bool is_open;
	if (is_open)
		return;
	rig_open(&rig);
	rig_connector(&rig, RIG_CONNECTOR, RIG_MANAGER);
	rig_import(&rig, 3, false);
	is_open = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	open_once();
	char *text = xstrndup((const char *)data, n);
	char *body = text, *op = strsep(&body, "\n");
	/* A target is a header's value: no control character reaches it. */
	for (char *p = op; *p; p++)
		*p = (char)(*p < ' ' ? '?' : *p);
	char *target = xasprintf("%s%.64s", *op == '!' ? GODWIT : SMS, op + (*op == '!'));
	rig_request(&rig, &(struct rig_request){.target = target, .body = body ? body : ""});
	free(target);
	free(text);
	return 0;
}
