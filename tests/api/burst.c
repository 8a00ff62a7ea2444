/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Memory after a burst comes back (S21): two epochs later nothing of it is kept, and as soon as that has been given back
 * the process is at its base + 16 MB. The epochs are shortened, the small calls are not; the suite `long` does it with
 * the default epoch.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(burst, .timeout = 60);

static void expect_back(const char *command, const char *epoch_ms, const char *more)
{
	char conf[128];
	long grown, peak, kept, ms;
	struct t_result r;

	snprintf(conf, sizeof(conf), "epoch_ms:%s%s", epoch_ms, more);
	t_helper(&r, command, epoch_ms, conf);
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_eq(sscanf(r.text, "grown %ld KiB, peak %ld KiB, kept %ld KiB after %ld", &grown, &peak, &kept, &ms), 4, "%s",
		     r.text);
	cr_assert_gt(peak, 480 * 1024, "the burst was none: %s", r.text);
	cr_assert_geq(kept, 0, "two epochs have not ended: %s", r.text);
	cr_assert_lt(ms, 2 * strtol(epoch_ms, NULL, 10) + 300, "%s", r.text);
	cr_assert_lt(kept, 64 * 1024, "%s", r.text); /* what CPUs' stacks may hold yet: 16 MiB each */
	cr_assert_leq(grown, 16 * 1024, "%s", r.text);
	cr_assert_not_null(strstr(r.text, "balanced 1"), "%s", r.text);
	cr_log_info("%s", r.text);
}

Test(burst, S21_small_calls_bring_it_back)
{
	expect_back("burst", "200", "");
}

Test(burst, S21_tick_alone_brings_it_back)
{
	expect_back("tick", "200", "");
}

Test(burst, S21_in_fallback_mode)
{
	expect_back("burst", "200", ",percpu:fallback");
}

Test(burst, S21_with_the_helper_thread)
{
	expect_back("burst", "200", ",background:true");
}
