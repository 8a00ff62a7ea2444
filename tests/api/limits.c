/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Under RLIMIT_AS: whatever of its range the library can't have, acquire works or fails with ENOMEM, all that was held
 * is whole, and nothing crashes. The limit is set before the program starts.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(limits, .timeout = 120);

static const size_t limits_mb[] = { 40, 64, 128, 300, 1024, 5000 };

static void expect_survival(const char *command, const char *argument, const char *conf, size_t mb)
{
	const char *const argv[] = { T_HELPER, command, argument, NULL };
	struct t_result r;

	t_program(&r, argv, conf, mb << 20);
	cr_assert(t_exited(&r, 0), "%s %s in %zu MB: status %x, %s", command, argument, mb, r.status, r.text);
}

Test(limits, small_blocks_until_there_are_none)
{
	for (size_t i = 0; i + 1 < T_COUNT(limits_mb); i++)
		expect_survival("exhaust", "1000", NULL, limits_mb[i]);
}

Test(limits, large_blocks_until_there_are_none)
{
	for (size_t i = 0; i < T_COUNT(limits_mb); i++)
		expect_survival("exhaust", "65536", NULL, limits_mb[i]);
}

Test(limits, blocks_over_the_cap_until_there_are_none)
{
	for (size_t i = 0; i < T_COUNT(limits_mb); i++)
		expect_survival("exhaust", "3000000", NULL, limits_mb[i]);
}

Test(limits, the_fallback_too)
{
	expect_survival("exhaust", "40000", "percpu:fallback", 128);
	expect_survival("exhaust", "40000", "mode:pass", 128);
}

Test(limits, ordinary_work_in_little_space)
{
	for (size_t i = 1; i < T_COUNT(limits_mb); i++)
		expect_survival("use", NULL, NULL, limits_mb[i]);
}

Test(limits, many_returns_what_it_got)
{
	expect_survival("partial", "65536", NULL, 200);
	expect_survival("partial", "100000", NULL, 200);
	expect_survival("partial", "40000", NULL, 400);
}
