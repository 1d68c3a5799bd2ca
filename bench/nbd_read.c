// SPDX-License-Identifier: Apache-2.0
/*
 * Random reads of 4 KiB over NBD, for the benchmarks:
 *   nbd_read URI FIRST LENGTH COUNT IN_FLIGHT [PASSES]
 * reads COUNT different blocks of the range [FIRST, FIRST + LENGTH), in an order that is the same
 * for everybody, IN_FLIGHT at a time on one connection, and prints the seconds of each pass over
 * them. COUNT 0: all blocks of the range.
 */
#include <libnbd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK 4096
#define MOST  64

static _Noreturn void fail(void)
{
	fprintf(stderr, "nbd_read: %s\n", nbd_get_error());
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static unsigned in_flight;

static int done(void *slot, int *error)
{
	if (*error) {
		fprintf(stderr, "nbd_read: a read failed\n");
		exit(1);
	}
	*(int *)slot = 0;
	in_flight--;
	return 1;
}

static void pass(struct nbd_handle *nbd, const uint64_t *offsets, uint64_t count, unsigned most)
{
	static uint8_t bufs[MOST][BLOCK];
	static int busy[MOST];

	for (uint64_t i = 0; i < count || in_flight;) {
		unsigned slot = 0;

		if (i == count || in_flight == most) {
			if (nbd_poll(nbd, -1) < 0)
				fail();
			continue;
		}
		while (busy[slot])
			slot++;
		busy[slot] = 1;
		in_flight++;
		if (nbd_aio_pread(
			nbd, bufs[slot], BLOCK, offsets[i++],
			(nbd_completion_callback){.callback = done, .user_data = &busy[slot]},
			0) < 0)
			fail();
	}
}

int main(int argc, char **argv)
{
	uint64_t state = 88172645463325252ull, first, blocks, count, *offsets;
	struct nbd_handle *nbd = nbd_create();
	unsigned most, passes;

	if (argc < 6) {
		fputs("usage: nbd_read URI FIRST LENGTH COUNT IN_FLIGHT [PASSES]\n", stderr);
		return 2;
	}
	first = strtoull(argv[2], NULL, 0);
	blocks = strtoull(argv[3], NULL, 0) / BLOCK;
	count = strtoull(argv[4], NULL, 0);
	most = (unsigned)strtoul(argv[5], NULL, 0);
	passes = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 0) : 1;
	if (!nbd || !blocks || most < 1 || most > MOST)
		return 2;
	if (!count || count > blocks)
		count = blocks;
	offsets = calloc(blocks, sizeof *offsets);
	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t at = next_random(&state) % (i + 1);

		offsets[i] = offsets[at];
		offsets[at] = first + i * BLOCK;
	}
	if (nbd_connect_uri(nbd, argv[1]) < 0)
		fail();
	for (unsigned i = 0; i < passes; i++) {
		double begin = now();

		pass(nbd, offsets, count, most);
		printf("%.6f\n", now() - begin);
	}
	nbd_close(nbd);
	free(offsets);
	return 0;
}
