// SPDX-License-Identifier: Apache-2.0
/*
 * The index of a large store, without its packs: how long it takes to open, to look up names that
 * are there and that are not, to mark and count as a collection does, and how much memory stays
 * with the process (what is mapped from files is the page cache's). Prints "WHAT VALUE UNIT" lines.
 *
 * index_store DIR MILLIONS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/pack.h"
#include "store/segment.h"
#include "store/store.h"

#define LOOKUPS	     2000000ull
#define BATCH	     1024
#define RECORD_BYTES 20000u /* 40 KiB of disk, compressed to half */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int result, const struct err *e)
{
	if (result >= 0)
		return;
	fprintf(stderr, "index_store: %s\n", e->text);
	exit(1);
}

/* KiB of a line of /proc/self/status. */
static uint64_t status_kib(const char *word)
{
	char line[200];
	uint64_t found = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, word, strlen(word)) == 0)
			found = strtoull(line + strlen(word) + 1, NULL, 10);
	if (f)
		fclose(f);
	return found;
}

static void tell(const char *what, double value, const char *unit)
{
	printf("%-34s %12.3f %s\n", what, value, unit);
	fflush(stdout);
}

static uint64_t mixed(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* The `i`th of `count` names of a tier, in order: evenly spread as hashes are, with chance. */
static void name_at(uint64_t tier, uint64_t i, uint64_t count, struct name *out)
{
	uint64_t step = UINT64_MAX / count, rest[3];
	uint64_t key = __builtin_bswap64(i * step + mixed(i * 8 + tier) % step);
	for (unsigned k = 0; k < 3; k++)
		rest[k] = mixed(key + k);
	memcpy(out->bytes, &key, 8);
	memcpy(out->bytes + 8, rest, 24);
}

static void tier_write(const char *dir, uint64_t tier, uint64_t count)
{
	struct err e = {0};
	uint32_t in_pack = PACK_TARGET_BYTES / (RECORD_BYTES + RECORD_HEADER_BYTES);
	uint32_t packs = (uint32_t)(count / in_pack + 1);
	struct name *pack_names = xcalloc(packs, sizeof *pack_names);
	uint8_t *entries = xmalloc(count * SEGMENT_ENTRY_BYTES);
	char *path = xasprintf("%s/index/%016llx.idx", dir, (unsigned long long)tier);
	for (uint32_t i = 0; i < packs; i++)
		name_at(tier + 100, i, packs, &pack_names[i]);
	for (uint64_t i = 0; i < count; i++) {
		struct name name;
		uint32_t at = (uint32_t)(mixed(i) % count); /* packs are in the order of disks */
		name_at(tier, i, count, &name);
		index_entry_encode(&name, at / in_pack,
				   PACK_HEADER_BYTES +
				       at % in_pack * (RECORD_BYTES + RECORD_HEADER_BYTES),
				   RECORD_BYTES, entries + i * SEGMENT_ENTRY_BYTES);
	}
	struct store_segment part = {.kind = SEGMENT_INDEX,
				     .packs = pack_names->bytes,
				     .pack_count = packs,
				     .entries = entries,
				     .count = count};
	double from = now();
	int fd = segment_write(path, &part, 1, NULL, &e);
	must(fd, &e);
	fsync(fd);
	close(fd);
	if (tier == 1)
		tell("merge, as written out", (double)count / (now() - from) / 1e6,
		     "million entries/s");
	free(path);
	free(entries);
	free(pack_names);
}

/* Like a level-structured index after many commits. */
static const unsigned tier_percent[] = {62, 20, 9, 4, 2, 1, 1, 1};

static uint64_t tier_count(uint64_t all, unsigned tier)
{
	return all * tier_percent[tier] / 100;
}

static double look_up(struct store *s, uint64_t all, bool there, double *found)
{
	struct err e = {0};
	struct name names[BATCH];
	uint8_t have[BATCH];
	uint64_t hits = 0;
	double spent = 0;
	for (uint64_t done = 0; done < LOOKUPS; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++) {
			uint64_t chosen = mixed(done + i) % all;
			unsigned tier = 0;
			while (tier + 1 < COUNT_OF(tier_percent) && chosen >= tier_count(all, tier))
				chosen -= tier_count(all, tier++);
			chosen %= tier_count(all, tier);
			name_at(tier + 1, chosen, tier_count(all, tier), &names[i]);
			if (!there)
				names[i].bytes[12] ^= 1;
		}
		double from = now();
		must(store_has(s, NULL, names, BATCH, have, &e), &e);
		spent += now() - from;
		for (unsigned i = 0; i < BATCH; i++)
			hits += have[i];
	}
	*found = (double)hits / (double)LOOKUPS;
	return spent / (double)LOOKUPS * 1e6;
}

static int mark(void *context, struct store_live *live, struct err *e)
{
	uint64_t all = *(uint64_t *)context;
	struct name names[BATCH];
	(void)e;
	for (unsigned tier = 0; tier < COUNT_OF(tier_percent); tier++) {
		uint64_t count = tier_count(all, tier);
		for (uint64_t i = 0; i < count;) {
			unsigned n = 0;
			while (n < BATCH && i < count)
				name_at(tier + 1, i++, count, &names[n++]);
			store_live_add(live, LIVE_LEAF, names, n, NULL);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct store *s;
	double found, from;
	uint64_t before;
	if (argc != 3)
		return fputs("usage: index_store DIR MILLIONS\n", stderr), 2;
	uint64_t all = strtoull(argv[2], NULL, 10) * 1000000;
	must(store_open(argv[1], true, true, &s, &e), &e);
	store_close(s);
	for (unsigned tier = 0; tier < COUNT_OF(tier_percent); tier++)
		tier_write(argv[1], tier + 1, tier_count(all, tier));
	tell("entries", (double)all / 1e6, "million");
	before = status_kib("RssAnon:");
	from = now();
	must(store_open(argv[1], false, false, &s, &e), &e);
	tell("open, reader", now() - from, "s");
	store_close(s);
	from = now();
	must(store_open(argv[1], true, false, &s, &e), &e);
	tell("open, writer", now() - from, "s");
	tell("memory, writer", (double)(status_kib("RssAnon:") - before) / 1024, "MiB");
	tell("memory per TiB at 40 KiB a chunk",
	     (double)(status_kib("RssAnon:") - before) / 1024 * (double)(TIB / (40 * KIB)) /
		 (double)all,
	     "MiB");
	double hit = look_up(s, all, true, &found);
	tell("look up what is there", hit, "us");
	if (found < 1)
		return fputs("index_store: names are missing\n", stderr), 1;
	double miss = look_up(s, all, false, &found);
	tell("look up what is not", miss, "us");
	if (found > 0)
		return fputs("index_store: names are found that are not there\n", stderr), 1;
	struct store_collected out;
	struct store_collecting plan = {.mark = mark, .context = &all, .dry = true};
	from = now();
	must(store_collect(s, &plan, &out, &e), &e);
	tell("collection, marking and judging", now() - from, "s");
	tell("memory, most at any time", (double)status_kib("VmHWM:") / 1024, "MiB (with files)");
	if (out.live_names != out.names)
		return fputs("index_store: not all was marked\n", stderr), 1;
	store_close(s);
	return 0;
}
