// SPDX-License-Identifier: Apache-2.0
/* The export of one version to a raw file as `godwit image export` does it, for the benchmarks:
 * export_disk STORE ROOT FILE SCRATCH. */
#include <stdio.h>
#include <unistd.h>

#include "image/image.h"

int main(int argc, char **argv)
{
	struct err e = {0};
	struct name root;

	if (argc < 5 || !name_parse(argv[2], &root)) {
		fputs("usage: export_disk STORE ROOT FILE SCRATCH\n", stderr);
		return 2;
	}
	if (image_export(argv[1], &root, "raw", argv[3], argv[4], NULL, NULL, &e) < 0) {
		fprintf(stderr, "export_disk: %s\n", e.text);
		return 1;
	}
	return 0;
}
