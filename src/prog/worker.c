// SPDX-License-Identifier: Apache-2.0
/*
 * godwit-worker: carries out one step for godwitd in a process of its own, so that its death is a
 * failed step and nothing more.
 *
 * godwit-worker boot --nbd SOCKET --scratch DIR --evidence DIR --patience MS [--no-ocr]
 *
 * reads a struct machine (wire/machine.h, encoded) from standard input and prints two lines,
 * "verdict: <word>" and "sentence: <sentence>". Exit status 0 when the test could be done, whatever
 * its verdict; 1 with one sentence on standard error when it could not; 2 for wrong usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "guest/boot.h"
#include "image/image.h"
#include "io/file.h"
#include "wire/wire.h"

#define PATIENCE_MIN_MS 1000
#define PATIENCE_MAX_MS (24 * 3600ll * 1000) /* what godwitd takes */

static const char usage[] =
    "usage: godwit-worker boot --nbd SOCKET --scratch DIR --evidence DIR --patience MS [--no-ocr]\n"
    "       (a machine, encoded, on standard input)\n";

struct options {
	const char *nbd;
	struct boot_plan plan;
};

static int parse_options(int argc, char **argv, struct options *o, struct err *e)
{
	static const struct option known[] = {
	    {"nbd", required_argument, NULL, 'n'},	{"scratch", required_argument, NULL, 's'},
	    {"evidence", required_argument, NULL, 'e'}, {"patience", required_argument, NULL, 'p'},
	    {"no-ocr", no_argument, NULL, 'o'},		{NULL, 0, NULL, 0},
	};
	int c;

	o->plan.ocr = true;
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'n': o->nbd = optarg; break;
		case 's': o->plan.scratch_dir = optarg; break;
		case 'e': o->plan.evidence_dir = optarg; break;
		case 'p':
			if (number_parse("--patience", optarg, PATIENCE_MIN_MS, PATIENCE_MAX_MS,
					 &o->plan.patience_ms, e) < 0)
				return -1;
			break;
		case 'o': o->plan.ocr = false; break;
		default: return err_set(e, ERR_INVALID, "an option is unknown or lacks its value");
		}
	}
	if (argc - optind != 1 || !text_equal(argv[optind], "boot") || !o->nbd ||
	    !o->plan.scratch_dir || !o->plan.evidence_dir || !o->plan.patience_ms)
		return err_set(e, ERR_INVALID, "something is missing or too much");
	return 0;
}

static int read_machine(struct machine *machine, struct err *e)
{
	struct buf in = {0};
	size_t n;
	int result;

	do {
		buf_reserve(&in, 65536);
		n = fread(in.data + in.len, 1, 65536, stdin);
		in.len += n;
	} while (n > 0 && in.len <= LIMIT_FRAME_BYTES);
	if (in.len > LIMIT_FRAME_BYTES)
		result = err_set(e, ERR_INVALID, "it has more than %llu bytes", LIMIT_FRAME_BYTES);
	else
		result = wire_decode(&machine_shape, in.data, in.len, machine, e);
	buf_release(&in);
	return result < 0 ? err_prefix(e, "the machine on standard input") : 0;
}

static int make_overlays(const struct options *o, struct err *e)
{
	const struct machine_disk *disks = o->plan.machine.disks.items;
	unsigned made = 0;

	for (unsigned i = 0; i < o->plan.machine.disks.count; i++) {
		char export_name[24], *overlay;
		int result;

		if (disks[i].refusal)
			continue;
		snprintf(export_name, sizeof export_name, "disk%u", i);
		overlay = boot_overlay(o->plan.scratch_dir, i);
		result = image_overlay(o->nbd, export_name, 0, overlay, e);
		free(overlay);
		if (result < 0)
			return -1;
		made++;
	}
	return made ? 0 : err_set(e, ERR_INVALID, "the machine has no disk to boot from");
}

static int boot(struct options *o, struct err *e)
{
	enum verdict verdict;
	char sentence[LIMIT_SENTENCE_BYTES];

	if (read_machine(&o->plan.machine, e) < 0 || boot_isolate(e) < 0 ||
	    file_make_dirs(o->plan.scratch_dir, 0700, e) < 0 || make_overlays(o, e) < 0 ||
	    boot_test(&o->plan, &verdict, sentence, sizeof sentence, e) < 0)
		return -1;
	printf("verdict: %s\nsentence: %s\n", verdict_word(verdict), sentence);
	return fflush(stdout) == 0 ? 0 : err_set(e, ERR_IO, "cannot write the verdict");
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct err e = {0};
	int result;

	log_init("godwit-worker", LOG_LEVEL_INFO);
	umask(0077);
	if (parse_options(argc, argv, &o, &e) < 0) {
		fprintf(stderr, "godwit-worker: %s\n%s", e.text, usage);
		return 2;
	}
	result = boot(&o, &e);
	if (result < 0)
		fprintf(stderr, "%s\n", e.text);
	shape_release(&machine_shape, &o.plan.machine);
	return result < 0 ? 1 : 0;
}
