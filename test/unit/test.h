// SPDX-License-Identifier: Apache-2.0
/* What every cmocka program needs, in the order cmocka wants it. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Fails with the sentence of the error. */
#define assert_ok(call)                                                                            \
	do {                                                                                       \
		struct err assert_ok_err = {0}, *const err = &assert_ok_err;                       \
		if ((call) < 0)                                                                    \
			fail_msg("%s: %s", #call, err->text);                                      \
	} while (0)

#endif
