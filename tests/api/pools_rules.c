/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a pool is made with: cap and budget of its own, what is refused, and that two pools do not share limits.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(pools_rules, .timeout = 60, .init = t_hold_epochs);

/* ---- the cap ---- */

static void expect_cap(struct bufpool *pool, size_t cap)
{
	struct bufpool_stats before, after;
	void *p = bufpool_acquire_from(pool, cap);

	cr_assert_not_null(p);
	memset(p, 1, cap);
	before = p_stats(pool);
	bufpool_release(p);
	after = p_stats(pool);
	cr_assert_eq(after.cached, before.cached + 1, "cap %zu", cap);
	cr_assert_eq(after.over_cap, 0, "cap %zu", cap);
	p = bufpool_acquire_from(pool, bufpool_good_size(cap) + 1);
	cr_assert_not_null(p);
	memset(p, 1, cap + 1);
	cr_assert_eq(p_stats(pool).over_cap, 1, "cap %zu", cap);
	bufpool_release(p);
	cr_assert_eq(p_stats(pool).dropped_cap, 1, "cap %zu", cap);
	cr_assert_eq(p_stats(pool).cached, after.cached, "cap %zu", cap);
	cr_assert(p_balanced(pool));
}

Test(pools_rules, the_cap_is_inclusive_from_4_KiB_to_4_MiB)
{
	static const size_t caps[] = { 4096, 5120, 8192, 65536, 81920, 1 << 20, 3 << 20, T_LARGEST };

	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(caps); i++) {
		struct bufpool *pool = p_make("capped", caps[i], 0, 0);

		cr_assert_not_null(pool);
		expect_cap(pool, caps[i]);
		bufpool_destroy(pool);
	}
}

Test(pools_rules, a_cap_between_two_classes_is_kept_as_well)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("capped", 5000, 0, 0);

	cr_assert_not_null(pool);
	expect_cap(pool, 5000);
	bufpool_destroy(pool);
}

Test(pools_rules, no_cap_is_the_option_s)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("as the option says", 0, 0, 0);
	struct bufpool *unconfigured = NULL;

	expect_cap(pool, T_CAP);
	bufpool_destroy(pool);
	cr_assert_eq(bufpool_create(&unconfigured, NULL), 0);
	expect_cap(unconfigured, T_CAP);
	bufpool_destroy(unconfigured);
}

/* Blocks that one pool keeps and the other doesn't. */
Test(pools_rules, caps_are_not_shared)
{
	p_need_own_memory();
	struct bufpool *small = p_make("small", 4096, 0, 0), *large = p_make("large", T_LARGEST, 0, 0);

	for (int i = 0; i < 100; i++) {
		bufpool_release(bufpool_acquire_from(small, 10000));
		bufpool_release(bufpool_acquire_from(large, 10000));
		bufpool_release(bufpool_acquire_from(large, 1 << 20));
	}
	cr_assert_eq(p_stats(small).over_cap, 100);
	cr_assert_eq(p_stats(small).cached, 0);
	cr_assert_eq(p_stats(large).over_cap, 0);
	cr_assert_geq(p_stats(large).hits, 190);
	cr_assert_eq(t_stats().over_cap, 0);
	bufpool_destroy(small);
	bufpool_destroy(large);
}

/* ---- the budget ---- */

enum { BLOCKS = 300, BLOCK = 65536 };

static void use_many(struct bufpool *pool)
{
	static void *p[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		memset(p[i] = bufpool_acquire_from(pool, BLOCK), 1, BLOCK);
	bufpool_release_many(p, BLOCKS);
	cr_assert(p_settle(pool));
}

static uint64_t kept(struct bufpool *pool)
{
	const struct bufpool_stats s = p_stats(pool);

	return s.cached_bytes + s.victim_bytes;
}

Test(pools_rules, the_budget_bounds_what_is_cached)
{
	enum { BUDGET = 2 << 20 };

	p_need_own_memory();
	struct bufpool *pool = p_make("budgeted", 0, BUDGET, 0);

	for (int round = 0; round < 10; round++) {
		use_many(pool);
		cr_assert_leq(p_stats(pool).budget_bytes, BUDGET);
		/* The CPU's own stack is beside it, as in the default pool: 64 such blocks. */
		cr_assert_leq(kept(pool), BUDGET + 64 * BLOCK, "%zu bytes", (size_t)kept(pool));
	}
	cr_assert_gt(p_stats(pool).dropped_budget, 0);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

Test(pools_rules, budgets_are_not_shared)
{
	p_need_own_memory();
	struct bufpool *poor = p_make("poor", 0, 1 << 20, 0), *rich = p_make("rich", 0, 1 << 30, 0);
	uint64_t created;

	use_many(rich);
	created = p_stats(rich).from_backend;
	for (int round = 0; round < 5; round++)
		use_many(poor);
	cr_assert_gt(p_stats(poor).dropped_budget, 0);
	cr_assert_eq(p_stats(rich).dropped_budget, 0);
	cr_assert_geq(kept(rich), BLOCKS * (uint64_t)BLOCK, "%zu bytes", (size_t)kept(rich));
	use_many(rich);
	cr_assert_eq(p_stats(rich).from_backend, created, "all of it was there still");
	bufpool_destroy(poor);
	bufpool_destroy(rich);
}

Test(pools_rules, nor_is_the_default_pool_s)
{
	t_need_pool(BLOCK);
	struct bufpool *rich = p_make("rich", 0, 1 << 30, 0), *poor;
	uint64_t dropped;

	use_many(rich);
	cr_assert_eq(bufpool_option_set("budget", "1048576"), 0);
	use_many(NULL);
	cr_assert_gt(t_stats().dropped_budget, 0);
	cr_assert_eq(p_stats(rich).dropped_budget, 0);
	cr_assert_geq(kept(rich), BLOCKS * (uint64_t)BLOCK);
	cr_assert_eq(bufpool_option_set("budget", "1073741824"), 0);
	use_many(NULL);
	dropped = t_stats().dropped_budget;
	poor = p_make("poor", 0, 1 << 20, 0);
	use_many(poor);
	cr_assert_gt(p_stats(poor).dropped_budget, 0);
	cr_assert_eq(t_stats().dropped_budget, dropped);
	cr_assert_geq(kept(NULL), BLOCKS * (uint64_t)BLOCK);
	bufpool_destroy(rich);
	bufpool_destroy(poor);
}

Test(pools_rules, no_budget_is_the_option_s)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("as the option says", 0, 0, 0);

	cr_assert_eq(bufpool_option_set("budget", "2097152"), 0);
	use_many(pool);
	cr_assert_leq(p_stats(pool).budget_bytes, 2097152);
	cr_assert_gt(p_stats(pool).dropped_budget, 0);
	bufpool_destroy(pool);
}

Test(pools_rules, trim_keeps_what_it_is_told_to)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 1 << 30, 0), *b = p_make("b", 0, 1 << 30, 0);
	uint64_t before;
	size_t given;

	use_many(a);
	use_many(b);
	before = kept(a);
	given = bufpool_trim(a, 4 << 20);
	cr_assert(p_settle(a));
	cr_assert_leq(kept(a), 4 << 20);
	cr_assert_gt(kept(a), 3 << 20);
	cr_assert_eq(given, before - kept(a), "%zu bytes, not %zu", given, (size_t)(before - kept(a)));
	cr_assert_geq(kept(b), BLOCKS * (uint64_t)BLOCK);
	cr_assert_eq(bufpool_trim(a, 0), 4 << 20);
	cr_assert_eq(kept(a), 0);
	cr_assert(p_balanced(a));
	bufpool_destroy(a);
	bufpool_destroy(b);
}

/* ---- what is refused ---- */

static void expect_refused(const struct bufpool_conf *conf, const char *what)
{
	struct bufpool *const none = (struct bufpool *)&none;
	struct bufpool *pool = none;

	cr_assert_eq(bufpool_create(&pool, conf), -EINVAL, "%s", what);
	cr_assert_eq(pool, none, "%s: out was written to", what);
}

Test(pools_rules, invalid_rules_are_refused)
{
	static const size_t caps[] = { 1, 2048, 4095, T_LARGEST + 1, 1 << 30, SIZE_MAX };
	static const unsigned flags[] = { 2, 3, 1u << 31, ~0u };
	static const size_t small[] = { 0, 1, sizeof(size_t), sizeof(struct bufpool_conf) - 1 };
	struct bufpool_conf conf = { 0 };

	for (size_t i = 0; i < T_COUNT(small); i++) {
		conf = (struct bufpool_conf){ .size = small[i] };
		expect_refused(&conf, "size");
	}
	for (size_t i = 0; i < T_COUNT(caps); i++) {
		conf = (struct bufpool_conf){ .size = sizeof(conf), .cap = caps[i] };
		expect_refused(&conf, "cap");
	}
	for (size_t i = 0; i < T_COUNT(flags); i++) {
		conf = (struct bufpool_conf){ .size = sizeof(conf), .flags = flags[i] };
		expect_refused(&conf, "flags");
	}
}

/* A program compiled with a later header: what it does not use does not matter, what it does must not be ignored. */
Test(pools_rules, a_larger_structure)
{
	struct {
		struct bufpool_conf conf;
		uint64_t later[4];
	} larger = { .conf = { .size = sizeof(larger), .name = "later" } };
	struct bufpool *pool = NULL;

	cr_assert_eq(bufpool_create(&pool, &larger.conf), 0);
	bufpool_destroy(pool);
	larger.later[3] = 1;
	expect_refused(&larger.conf, "an unknown field");
	larger.later[3] = 0;
	larger.later[0] = 1;
	expect_refused(&larger.conf, "an unknown field");
}

/* Refused ones take no number with them. */
Test(pools_rules, refusals_cost_nothing)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .cap = 1 };
	struct bufpool *pool = NULL;

	for (int i = 0; i < 100000; i++)
		cr_assert_eq(bufpool_create(&pool, &conf), -EINVAL);
	pool = p_make("the first", 0, 0, 0);
	cr_assert_not_null(pool);
	bufpool_destroy(pool);
}

Test(pools_rules, impossible_sizes)
{
	struct bufpool *pool = p_make("a", 0, 0, 0);
	static const size_t huge[] = { SIZE_MAX, SIZE_MAX - 100, SIZE_MAX / 2 + 1, (size_t)1 << 60 };

	for (size_t i = 0; i < T_COUNT(huge); i++) {
		const size_t n = *(const size_t volatile *)&huge[i];

		errno = 0;
		cr_assert_null(bufpool_acquire_from(pool, n));
		cr_assert_eq(errno, ENOMEM);
	}
	cr_assert_eq(p_stats(pool).in_use, 0);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}
