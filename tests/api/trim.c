/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool_trim: what it returns is what it gave back, `keep` is respected, and the memory is the kernel's again; and
 * the budget, which bounds what is cached without anybody asking.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(trim, .timeout = 60, .init = t_hold_epochs);

static void *blocks[4000];

static uint64_t kept_bytes(void)
{
	const struct bufpool_stats s = t_stats();

	return s.cached_bytes + s.victim_bytes + s.queued_bytes;
}

static void burst(size_t count, size_t n)
{
	cr_assert_leq(count, T_COUNT(blocks));
	for (size_t i = 0; i < count; i++) {
		blocks[i] = bufpool_acquire(n);
		cr_assert_not_null(blocks[i]);
		memset(blocks[i], 1, n);
	}
	bufpool_release_many(blocks, count);
}

Test(trim, to_nothing_gives_everything_back)
{
	uint64_t kept;

	t_need_pool(48000);
	burst(200, 48000);
	burst(4000, 64);
	kept = kept_bytes();
	cr_assert_gt(kept, 200 * 48000);
	cr_assert_eq(bufpool_trim(NULL, 0), kept);
	cr_assert_eq(kept_bytes(), 0);
	cr_assert(t_balanced());
}

Test(trim, keeps_what_it_was_told_to_keep)
{
	uint64_t kept;

	t_need_pool(48000);
	burst(200, 48000);
	kept = kept_bytes();
	cr_assert_eq(bufpool_trim(NULL, kept), 0);
	cr_assert_eq(kept_bytes(), kept);
	cr_assert_geq(bufpool_trim(NULL, 2 << 20), kept - (2 << 20));
	cr_assert_leq(kept_bytes(), 2 << 20);
	/* All but `keep`: not everything. Some blocks less, as they go in batches. */
	cr_assert_geq(kept_bytes(), (2 << 20) - 16 * 49152, "%zu KiB kept", (size_t)kept_bytes() >> 10);
	cr_assert(t_balanced());
}

Test(trim, of_nothing_is_nothing)
{
	cr_assert_eq(bufpool_trim(NULL, 0), kept_bytes());
	bufpool_trim(NULL, 0);
	cr_assert_eq(bufpool_trim(NULL, 0), 0);
	cr_assert_eq(bufpool_trim(NULL, SIZE_MAX), 0);
}

Test(trim, takes_the_victim_too)
{
	t_need_pool(1024);
	burst(1000, 1024);
	bufpool_advance_epoch(NULL);
	burst(10, 40000);
	cr_assert_geq(bufpool_trim(NULL, 0), 1000 * 1024);
	cr_assert_eq(kept_bytes(), 0);
	cr_assert(t_balanced());
}

Test(trim, leaves_what_is_in_use)
{
	void *held[50];

	for (size_t i = 0; i < 50; i++) {
		held[i] = bufpool_acquire(10000);
		t_fill(held[i], 10000, i);
	}
	burst(100, 10000);
	bufpool_trim(NULL, 0);
	for (size_t i = 0; i < 50; i++)
		cr_assert(t_check(held[i], 10000, i));
	bufpool_release_many(held, 50);
	cr_assert(t_balanced());
}

Test(trim, the_memory_goes_back_to_the_kernel)
{
	size_t base, peak;

	t_need_pool(48000);
	burst(10, 48000);
	bufpool_trim(NULL, 0);
	base = t_rss();
	for (size_t i = 0; i < 2000; i++) {
		blocks[i] = bufpool_acquire(48000);
		memset(blocks[i], 1, 48000);
	}
	peak = t_rss();
	cr_assert_gt(peak, base + (90u << 20));
	bufpool_release_many(blocks, 2000);
	bufpool_trim(NULL, 0);
	cr_assert_lt(t_rss(), base + (16u << 20), "%zu KiB over the base", (t_rss() - base) >> 10);
}

Test(trim, what_comes_after_works_as_before)
{
	struct t_owner o = { .random = 12 };
	unsigned wrong = 0;

	for (int i = 0; i < 20000; i++) {
		wrong += t_owner_step(&o);
		if (i % 500 == 0)
			bufpool_trim(NULL, (size_t)i);
	}
	cr_assert_eq(wrong + t_owner_finish(&o), 0);
	cr_assert(t_balanced());
}

Test(trim, the_budget_bounds_what_is_cached)
{
	t_need_pool(48000);
	cr_assert_eq(bufpool_option_set("budget", "4194304"), 0);
	for (int round = 0; round < 5; round++) {
		struct bufpool_stats s;

		burst(500, 48000);
		burst(4000, 1000);
		s = t_stats();
		/* Beside the limit, a floor per CPU may stay. */
		cr_assert_leq(s.cached_bytes + s.victim_bytes, (4u << 20) + (4u << 20), "%zu KiB kept",
			      (size_t)(s.cached_bytes + s.victim_bytes) >> 10);
		cr_assert_gt(s.dropped_budget, 0);
		cr_assert(t_balanced());
	}
}

Test(trim, the_budget_is_finite_by_default)
{
	const struct bufpool_stats s = t_stats();

	cr_assert_gt(s.budget_bytes, 0);
	cr_assert_lt(s.budget_bytes, UINT64_MAX / 2);
}

Test(trim, the_budget_follows_the_option)
{
	bufpool_release(bufpool_acquire(10));
	cr_assert_eq(bufpool_option_set("budget", "8388608"), 0);
	cr_assert_leq(t_stats().budget_bytes, 8388608);
}
