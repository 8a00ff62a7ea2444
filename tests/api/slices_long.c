/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slices.c's requests, a million of them: sharing alone would hold 64 GB.
 */
#include "requests.h"

#include <criterion/criterion.h>

Test(slices_long, S17_a_million_requests_keep_their_headers_in_less_than_100_MB, .timeout = 160)
{
	expect_requests_do_not_pin(1000000, 100u << 20);
}
