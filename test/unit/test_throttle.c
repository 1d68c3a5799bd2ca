// SPDX-License-Identifier: Apache-2.0
#include "copy/throttle.h"
#include "test.h"

static void no_limit_never_waits(void **state)
{
	struct throttle t;

	(void)state;
	throttle_init(&t, 0, 1000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(throttle_take(&t, INT64_C(1) << 40, 1000), 0);
}

/* Whatever the pieces, an hour of a virtual clock carries an hour's bytes. */
static void keeps_the_rate(void **state)
{
	static const int64_t rates[] = {1, 999, 1000, 4096, 1000003, INT64_C(10) << 30};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		int64_t now = 5000, piece = rates[i] / 7 + 1, sent = 0;
		struct throttle t;

		throttle_init(&t, rates[i], now);
		while (now < 5000 + 3600 * 1000) {
			now += throttle_take(&t, piece, now);
			sent += piece;
		}
		assert_in_range(sent / piece, rates[i] * 3600 / piece - 1,
				(rates[i] * 3601) / piece + 2);
	}
}

static void idle_time_is_not_saved_up(void **state)
{
	struct throttle t;

	(void)state;
	throttle_init(&t, 1000, 0);
	assert_int_equal(throttle_take(&t, 100, 0), 0);
	assert_int_equal(throttle_take(&t, 1100, INT64_C(86400) * 1000), 1000);
}

static void a_clock_that_steps_back_is_survived(void **state)
{
	struct throttle t;

	(void)state;
	throttle_init(&t, 1000, 100000);
	assert_int_equal(throttle_take(&t, 600, 100000), 500);
	assert_int_equal(throttle_take(&t, 0, 50000), 500);
	assert_int_equal(throttle_take(&t, 0, 50500), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_limit_never_waits),
	    cmocka_unit_test(keeps_the_rate),
	    cmocka_unit_test(idle_time_is_not_saved_up),
	    cmocka_unit_test(a_clock_that_steps_back_is_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
