// SPDX-License-Identifier: Apache-2.0
#include "copy/throttle.h"

#define SAVED_MS 100

static int64_t most(const struct throttle *t)
{
	int64_t bytes = t->bytes_per_second / (1000 / SAVED_MS);
	return bytes > 0 ? bytes : 1;
}

void throttle_init(struct throttle *t, int64_t bytes_per_second, int64_t now_ms)
{
	*t = (struct throttle){.bytes_per_second = bytes_per_second, .at_ms = now_ms};
	t->credit = most(t);
}

static void earn(struct throttle *t, int64_t now_ms)
{
	int64_t passed = now_ms - t->at_ms;

	t->at_ms = now_ms;
	if (passed <= 0)
		return;
	/* After so long the bucket is full whatever was owed; and nothing below overflows. */
	if (passed > (most(t) - t->credit) / t->bytes_per_second * 1000 + 2000) {
		t->credit = most(t);
		t->rest = 0;
		return;
	}
	/* Whole seconds apart, so that the product stays small for any rate. */
	t->credit += passed / 1000 * t->bytes_per_second;
	t->rest += passed % 1000 * (t->bytes_per_second % 1000);
	t->credit += passed % 1000 * (t->bytes_per_second / 1000) + t->rest / 1000;
	t->rest %= 1000;
	if (t->credit > most(t)) {
		t->credit = most(t);
		t->rest = 0;
	}
}

int64_t throttle_take(struct throttle *t, int64_t bytes, int64_t now_ms)
{
	int64_t owed;

	if (t->bytes_per_second <= 0)
		return 0;
	earn(t, now_ms);
	t->credit -= bytes;
	if (t->credit >= 0)
		return 0;
	owed = -t->credit;
	return owed / t->bytes_per_second * 1000 +
	       (owed % t->bytes_per_second * 1000 + t->bytes_per_second - 1) / t->bytes_per_second;
}
