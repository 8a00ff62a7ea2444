/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The default pool's heap over a range of the test's own size: what the tests of the backend's three parts begin with.
 */
#ifndef BP_TESTS_UNIT_HEAP_H
#define BP_TESTS_UNIT_HEAP_H

#include "sys/backend.h"

#include <criterion/criterion.h>

#include "sys/range.h"

enum { MIB = 1 << 20 };

static struct bp_heap heap = { .owner = BP_OWNER_NONE };

static inline void start(size_t range)
{
	cr_assert(bp_range_start(range, true));
	cr_assert(bp_backend_start(&heap, 2000));
}

#endif
