/* SPDX-License-Identifier: BSD-2-Clause
 *
 * S21 as it happens to a program that sets no option: burst.c with the default epoch.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(burst_long, S21_with_the_default_epoch, .timeout = 120)
{
	struct t_result r;
	long grown, peak, kept, ms;

	t_helper(&r, "burst", "1000", NULL);
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_eq(sscanf(r.text, "grown %ld KiB, peak %ld KiB, kept %ld KiB after %ld", &grown, &peak, &kept, &ms), 4, "%s",
		     r.text);
	cr_assert(kept >= 0 && kept < 64 * 1024 && ms < 2300, "%s", r.text);
	cr_assert_leq(grown, 16 * 1024, "%s", r.text);
}
