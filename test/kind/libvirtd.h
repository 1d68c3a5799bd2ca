// SPDX-License-Identifier: Apache-2.0
/* What tests with a libvirtd of their own begin with. */
#ifndef TEST_LIBVIRTD_H
#define TEST_LIBVIRTD_H

#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/process.h"

/* virErrorFunc: what failed is asserted, not printed. */
static void quiet(void *context, virErrorPtr error)
{
	(void)context;
	(void)error;
}

/* The first line that a command prints; without it the test is skipped. */
static char *run(const char *const *argv, int64_t ms)
{
	struct buf out = {0};
	struct err e = {0};
	if (process_run(&(struct process_plan){.argv = argv}, ms, 65536, &out, &e) < 0) {
		printf("SKIP: %s: %s\n", argv[0], e.text);
		exit(77);
	}
	char *text = buf_detach_str(&out);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

#endif
