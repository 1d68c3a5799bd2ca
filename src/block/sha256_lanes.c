// SPDX-License-Identifier: Apache-2.0
#include "block/sha256_lanes.h"

#include <assert.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define BLOCK  64
#define LANES  2
#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* FIPS 180-4, 4.2.2 and 5.3.3 */
static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

struct lane {
	__m128i abef, cdgh; /* the state, in the order the instructions want */
	const uint8_t *at;
	size_t blocks; /* left of the message, or of its padding */
	const struct name_job *job;
	bool padding;
	uint8_t pad[BLOCK];
};

bool sha256_lanes_here(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* `count` blocks of each lane. */
TARGET static void run(struct lane lanes[LANES], size_t count)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
	__m128i abef[LANES], cdgh[LANES];

	for (int i = 0; i < LANES; i++) {
		abef[i] = lanes[i].abef;
		cdgh[i] = lanes[i].cdgh;
	}
	for (size_t block = 0; block < count; block++) {
		__m128i before_abef[LANES], before_cdgh[LANES], w[LANES][4];

#pragma GCC unroll 2
		for (int i = 0; i < LANES; i++) {
			const __m128i *from = (const __m128i *)(lanes[i].at + block * BLOCK);

			before_abef[i] = abef[i];
			before_cdgh[i] = cdgh[i];
#pragma GCC unroll 4
			for (int j = 0; j < 4; j++)
				w[i][j] = _mm_shuffle_epi8(_mm_loadu_si128(from + j), swap);
		}
#pragma GCC unroll 16
		for (int r = 0; r < 16; r++) {
			__m128i k = _mm_load_si128((const __m128i *)&constants[4 * r]);

#pragma GCC unroll 2
			for (int i = 0; i < LANES; i++) {
				__m128i now = w[i][r & 3], x = _mm_add_epi32(now, k), t;

				cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], x);
				x = _mm_shuffle_epi32(x, 0x0e);
				abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], x);
				if (r >= 12)
					continue; /* the message schedule is complete */
				t = _mm_sha256msg1_epu32(now, w[i][(r + 1) & 3]);
				x = _mm_alignr_epi8(w[i][(r + 3) & 3], w[i][(r + 2) & 3], 4);
				t = _mm_add_epi32(t, x);
				w[i][r & 3] = _mm_sha256msg2_epu32(t, w[i][(r + 3) & 3]);
			}
		}
		for (int i = 0; i < LANES; i++) {
			abef[i] = _mm_add_epi32(abef[i], before_abef[i]);
			cdgh[i] = _mm_add_epi32(cdgh[i], before_cdgh[i]);
		}
	}
	for (int i = 0; i < LANES; i++) {
		lanes[i].abef = abef[i];
		lanes[i].cdgh = cdgh[i];
		lanes[i].at += count * BLOCK;
		lanes[i].blocks -= count;
	}
}

static void pad(struct lane *l)
{
	uint64_t bits = (uint64_t)l->job->len * 8;

	memset(l->pad, 0, sizeof l->pad);
	l->pad[0] = 0x80;
	for (int i = 0; i < 8; i++)
		l->pad[BLOCK - 1 - i] = (uint8_t)(bits >> 8 * i);
	l->at = l->pad;
	l->blocks = 1;
	l->padding = true;
}

static void begin(struct lane *l, const struct name_job *job)
{
	const uint32_t *h = initial;

	l->job = job;
	l->at = job->data;
	l->blocks = job->len / BLOCK;
	l->padding = false;
	l->abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
	l->cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
	if (l->blocks == 0)
		pad(l);
}

static void store(const struct lane *l)
{
	uint32_t abef[4], cdgh[4];
	uint8_t *to = l->job->out->bytes;

	_mm_storeu_si128((__m128i *)abef, l->abef);
	_mm_storeu_si128((__m128i *)cdgh, l->cdgh);
	const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2],
				   abef[1], abef[0], cdgh[1], cdgh[0]};
	for (int i = 0; i < 8; i++) {
		uint32_t big = __builtin_bswap32(words[i]);
		memcpy(to + 4 * i, &big, 4);
	}
}

void sha256_lanes(const struct name_job *jobs, size_t count)
{
	struct lane lanes[LANES] = {{.job = NULL}};
	size_t next = 0;

	for (;;) {
		size_t least = SIZE_MAX;
		const struct lane *busy = NULL;

		for (int i = 0; i < LANES; i++) {
			struct lane *l = &lanes[i];

			if (l->job && l->blocks == 0 && !l->padding)
				pad(l);
			if (l->job && l->blocks == 0) {
				store(l);
				l->job = NULL;
			}
			if (!l->job && next < count) {
				assert(jobs[next].len % BLOCK == 0);
				begin(l, &jobs[next++]);
			}
			if (l->job && l->blocks < least)
				least = l->blocks;
			if (l->job)
				busy = l;
		}
		if (!busy)
			return;
		for (int i = 0; i < LANES; i++)
			if (!lanes[i].job) { /* along for the ride; nobody looks */
				lanes[i].at = busy->at;
				lanes[i].blocks = least;
			}
		run(lanes, least);
	}
}

#else

bool sha256_lanes_here(void)
{
	return false;
}

void sha256_lanes(const struct name_job *jobs, size_t count)
{
	(void)jobs;
	(void)count;
	assert(!"there are no lanes on this processor");
}

#endif
