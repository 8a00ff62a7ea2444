/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The portable mode with this thread on its seat: what the tests of seats begin with.
 */
#ifndef BP_TESTS_UNIT_SEATED_H
#define BP_TESTS_UNIT_SEATED_H

#include "percpu/seats.h"

#include <criterion/criterion.h>

enum { TOKENS = 64, CLASS = 9, ALL = BP_CLASS_COUNT - 1, MOST = BP_SEATS_MOST };

static struct bp_slabs slabs;

static inline void *token(size_t n)
{
	return (void *)(n * 16 + 4096);
}

/* In the portable mode; this thread has sat down. */
static inline int start(void)
{
	bp_percpu_start(BP_PERCPU_FALLBACK);
	if (bp_seats.count == 0)
		cr_skip_test("this kernel has no membarrier");
	cr_assert(bp_percpu_create(&slabs));
	int cpu = bp_percpu_enter(slabs, 0);
	cr_assert(bp_seat_is(cpu));
	bp_percpu_open(slabs, cpu, CLASS, 40);
	return cpu;
}

#endif
