/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Questions about blocks, for blocks of every kind: pooled, over the cap, aligned, jemalloc's own.
 */
#include "cache/block.h"

#include <criterion/criterion.h>
#include <string.h>

#include "pools.h"
#include "support.h"
#include "sys/backend.h"

static const size_t sizes[] = { 16384, 20000, 65536, 65537, 100000, 1 << 20, 4 << 20, (4 << 20) + 1, 9 << 20 };

Test(block, capacity_is_the_good_size_and_all_of_it_can_be_used)
{
	u_need_rseq();
	u_start(NULL);
	for (size_t i = 0; i < U_COUNT(sizes); i++) {
		unsigned char *p = u_get(sizes[i], false);
		size_t n = bp_block_capacity(p);
		cr_assert_geq(n, sizes[i]);
		cr_assert_eq(n, bp_block_good_size(U_POOL, sizes[i]), "%zu", sizes[i]);
		cr_assert_eq(n, bp_backend_usable(p));
		memset(p, 1, n);
		cr_assert(bp_block_is(p));
		cr_assert_not(bp_block_is(p + 16));
		cr_assert_not(bp_block_is(p + n / 2 + 8));
		bp_pool_release(U_POOL, p);
	}
	cr_assert_eq(bp_block_capacity(NULL), 0);
	cr_assert_not(bp_block_is(NULL));
	cr_assert_not(bp_block_is(&sizes));
}

Test(block, resizing_keeps_what_is_used)
{
	u_need_rseq();
	u_start(NULL);
	for (size_t i = 0; i < U_COUNT(sizes); i++)
		for (size_t j = 0; j < U_COUNT(sizes); j++) {
			unsigned char *p = u_get(sizes[i], false);
			size_t used = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
			for (size_t at = 0; at < used; at += 97)
				p[at] = (unsigned char)(at / 97);
			unsigned char *q = bp_block_resize(U_POOL, p, used, sizes[j]);
			cr_assert_not_null(q);
			cr_assert(bp_block_is(q));
			cr_assert_geq(bp_block_capacity(q), sizes[j]);
			for (size_t at = 0; at < used; at += 97)
				cr_assert_eq(q[at], (unsigned char)(at / 97), "from %zu to %zu: byte %zu", sizes[i],
					     sizes[j], at);
			if (bp_block_good_size(U_POOL, sizes[i]) == bp_block_good_size(U_POOL, sizes[j]))
				cr_assert_eq(p, q, "the same class needs no move");
			bp_pool_release(U_POOL, q);
		}
	u_assert_balance(0);
	cr_assert_eq(atomic_load(&U_POOL->large_bytes), 0);
	cr_assert_eq(atomic_load(&U_POOL->large_acquired), atomic_load(&U_POOL->large_released));
}

Test(block, a_resize_that_fails_leaves_all_as_it_was)
{
	u_start(NULL);
	unsigned char *p = u_get(U_SIZE, false);
	p[U_SIZE - 1] = 7;
	cr_assert_null(bp_block_resize(U_POOL, p, U_SIZE, PTRDIFF_MAX));
	cr_assert_eq(p[U_SIZE - 1], 7);
	cr_assert_neq(bp_block_resize(U_POOL, NULL, 0, U_SIZE), NULL);
	u_assert_balance(2 * U_SIZE);
}

Test(block, alignments_of_every_power_of_two)
{
	u_start(NULL);
	for (size_t alignment = 1; alignment <= 1 << 22; alignment *= 2)
		for (size_t i = 0; i < U_COUNT(sizes); i++) {
			char *p = bp_block_aligned(U_POOL, alignment, sizes[i], i % 2 == 0);
			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % alignment, 0, "%zu bytes aligned to %zu", sizes[i], alignment);
			size_t n = bp_block_capacity(p);
			cr_assert_geq(n, sizes[i]);
			if (i % 2 == 0)
				for (size_t at = 0; at < sizes[i]; at += 512)
					cr_assert_eq(p[at], 0);
			memset(p, 0xff, n);
			bp_pool_release(U_POOL, p);
		}
	u_assert_balance(0);
	cr_assert_null(bp_block_aligned(U_POOL, 4096, SIZE_MAX - 100, false));
}

Test(block, a_size_is_right_where_it_leads_to_the_blocks_class)
{
	u_need_rseq();
	u_start(NULL);
	for (size_t i = 0; i < U_COUNT(sizes); i++) {
		char *p = u_get(sizes[i], false);
		size_t n = bp_block_capacity(p);
		cr_assert(bp_block_has_size(U_POOL, p, sizes[i]));
		cr_assert(bp_block_has_size(U_POOL, p, n));
		cr_assert_not(bp_block_has_size(U_POOL, p, n + 1), "%zu", sizes[i]);
		cr_assert_not(bp_block_has_size(U_POOL, p, 100));
		bp_pool_release(U_POOL, p);
	}
}
