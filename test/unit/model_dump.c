// SPDX-License-Identifier: Apache-2.0
/* model_dump sms|godwit: the table of operations in botocore's form, for test/unit/model.py. */
#include <stdio.h>
#include <string.h>

#include "api/handlers.h"

int main(int argc, char **argv)
{
	if (argc != 2 || (strcmp(argv[1], "sms") && strcmp(argv[1], "godwit"))) {
		fputs("usage: model_dump sms|godwit\n", stderr);
		return 2;
	}
	json_t *model = api_model(strcmp(argv[1], "sms") ? &api_godwit : &api_sms);
	int result = json_dumpf(model, stdout, JSON_INDENT(1));
	json_decref(model);
	return result ? 1 : 0;
}
