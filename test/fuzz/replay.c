// SPDX-License-Identifier: Apache-2.0
/*
 * Makes a fuzz target a plain regression test: feeds it every file of a corpus folder, and each of
 * them cut short and with a byte changed, which is what a fuzzer would try first.
 * replay CORPUS-FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define INPUT_MAX_BYTES (8u << 20)
#define VARIANTS	64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* In memory of exactly this size, so that the sanitizer sees a read past the end. */
static void feed(const uint8_t *data, size_t n)
{
	uint8_t *copy = xmalloc(n);

	if (n)
		memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void feed_variants(struct buf *input)
{
	size_t step = input->len / VARIANTS + 1;

	feed(input->data, input->len);
	for (size_t i = 0; i < input->len; i += step) {
		uint8_t old = input->data[i];

		feed(input->data, i);
		input->data[i] ^= 0xff;
		feed(input->data, input->len);
		input->data[i] = (uint8_t)(old + 1);
		feed(input->data, input->len);
		input->data[i] = old;
	}
}

static int load(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rb");
	size_t n = 1;

	if (!f)
		return -1;
	while (n > 0 && out->len < INPUT_MAX_BYTES) {
		buf_reserve(out, 65536);
		n = fread(out->data + out->len, 1, 65536, f);
		out->len += n;
	}
	n = (size_t)ferror(f);
	fclose(f);
	return n ? -1 : 0;
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *entry;
	unsigned files = 0;

	if (!dir) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER (a readable one)\n", argv[0]);
		return 1;
	}
	while ((entry = readdir(dir))) {
		struct buf input = {0};
		char *path;

		if (entry->d_name[0] == '.')
			continue;
		path = xasprintf("%s/%s", argv[1], entry->d_name);
		if (load(path, &input) < 0) {
			fprintf(stderr, "%s cannot be read\n", path);
			return 1;
		}
		feed_variants(&input);
		files++;
		buf_release(&input);
		free(path);
	}
	closedir(dir);
	printf("%u files\n", files);
	return files ? 0 : 1;
}
