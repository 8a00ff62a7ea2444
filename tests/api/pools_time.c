/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Epochs of named pools: what lies unused for two goes back, whoever it is that makes the calls; and the mode, changed
 * while their blocks are out. Counts where the test ends epochs itself, bounds where it is about time.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

TestSuite(pools_time, .timeout = 60);

enum { MANY = 200 };
static const size_t sizes[] = { 16, 1024, 4096, 40000, 65536 };
static void *p[MANY];

static void fill_cache(struct bufpool *pool, size_t n)
{
	for (int i = 0; i < MANY; i++) {
		p[i] = bufpool_acquire_from(pool, n);
		cr_assert_not_null(p[i]);
		memset(p[i], 3, n);
	}
	bufpool_release_many(p, MANY);
}

static uint64_t kept(struct bufpool *pool)
{
	const struct bufpool_stats s = p_stats(pool);

	return s.cached + s.victim + s.queued;
}

/* ---- epochs that the test ends ---- */

Test(pools_time, one_epoch_keeps_and_two_give_back, .init = t_hold_epochs)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		struct bufpool *pool = p_make("epochs", 0, 0, 0);
		uint64_t created;

		fill_cache(pool, sizes[i]);
		bufpool_advance_epoch(pool);
		cr_assert_geq(kept(pool), MANY);
		created = p_stats(pool).from_backend;
		fill_cache(pool, sizes[i]);
		cr_assert_eq(p_stats(pool).from_backend, created, "%zu bytes", sizes[i]);
		bufpool_advance_epoch(pool);
		bufpool_advance_epoch(pool);
		cr_assert(p_settle(pool));
		cr_assert_eq(kept(pool), 0, "%zu bytes: %d", sizes[i], (int)kept(pool));
		cr_assert_geq(p_stats(pool).dropped_epoch, MANY);
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
	}
}

Test(pools_time, an_epoch_is_one_pool_s, .init = t_hold_epochs)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0), *b = p_make("b", 0, 0, 0);
	struct bufpool_stats before;

	fill_cache(a, 40000);
	fill_cache(b, 40000);
	fill_cache(NULL, 40000);
	before = t_stats();
	for (int i = 0; i < 3; i++)
		bufpool_advance_epoch(a);
	cr_assert(p_settle(a));
	cr_assert_eq(p_stats(a).epochs, p_stats(b).epochs + 3);
	cr_assert_eq(kept(a), 0);
	cr_assert_geq(kept(b), MANY);
	cr_assert_eq(t_stats().epochs, before.epochs);
	cr_assert_eq(kept(NULL), before.cached + before.victim + before.queued);
	for (int i = 0; i < 3; i++)
		bufpool_advance_epoch(NULL);
	cr_assert(t_settle());
	cr_assert_geq(kept(b), MANY, "the default pool's epochs are its own");
	bufpool_destroy(a);
	bufpool_destroy(b);
}

/* They are never kept; their pages are, by jemalloc, so that the next one does not fetch them anew. */
Test(pools_time, pages_of_blocks_over_the_cap_go_back_at_an_epoch_s_end, .init = t_hold_epochs)
{
	enum { LARGE = 1 << 20, COUNT = 64 };
	struct bufpool *pool = p_make("large", 0, 0, 0);
	size_t full, before = t_rss();

	p_need_own_memory();
	for (int i = 0; i < COUNT; i++) {
		p[i] = bufpool_acquire_from(pool, LARGE);
		cr_assert_not_null(p[i]);
		memset(p[i], 3, LARGE);
	}
	full = t_rss();
	cr_assert_geq(full - before, COUNT / 2 * LARGE);
	bufpool_release_many(p, COUNT);
	bufpool_advance_epoch(pool);
	cr_assert_leq(t_rss(), full - COUNT * 3 / 4 * LARGE, "%zu of %zu KiB are still there", t_rss() >> 10, full >> 10);
	bufpool_destroy(pool);
}

/* ---- epochs that end by the clock ---- */

typedef void use_fn(struct bufpool *other);

static void use_default(struct bufpool *other)
{
	(void)other;
	for (int i = 0; i < 1000; i++) {
		bufpool_release(bufpool_acquire(1000));
		bufpool_release(bufpool_acquire(40000));
	}
}

static void use_another(struct bufpool *other)
{
	for (int i = 0; i < 1000; i++)
		bufpool_release(bufpool_acquire_from(other, 1000));
}

static void tick(struct bufpool *other)
{
	(void)other;
	bufpool_tick();
	t_sleep_ms(1);
}

static void sleep_as_tick_says(struct bufpool *other)
{
	const int ms = bufpool_tick();

	(void)other;
	cr_assert_geq(ms, -1);
	t_sleep_ms(ms < 0 || ms > 100 ? 100 : (unsigned)ms);
}

/* Within a few of the pools' own epochs: what is due after two is given back in shares, and counted at some moment after.
 * How long these take is the machine's business. */
static void expect_given_back(use_fn *use, const char *who)
{
	enum { LIMIT_S = 20, EPOCHS = 6 };
	struct bufpool *pools[3] = { p_make("idle", 0, 0, 0), p_make("idle too", 0, 0, 0), p_make("other", 0, 0, 0) };
	int64_t begin;
	uint64_t left = 1, first, epochs = 0;

	cr_assert_eq(bufpool_option_set("epoch_ms", "50"), 0);
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		fill_cache(pools[0], sizes[i]);
		fill_cache(pools[1], sizes[i]);
	}
	first = p_stats(pools[0]).epochs + p_stats(pools[1]).epochs;
	begin = t_now_ns();
	while (left && epochs <= 2 * EPOCHS && t_now_ns() - begin < LIMIT_S * (int64_t)1000000000) {
		use(pools[2]);
		epochs = p_stats(pools[0]).epochs + p_stats(pools[1]).epochs - first;
		left = kept(pools[0]) + kept(pools[1]);
	}
	cr_log_info("%s: %d of both pools' epochs", who, (int)epochs);
	cr_assert_eq(left, 0, "%s: %d blocks after %d of both pools' epochs and %d ms", who, (int)left, (int)epochs,
		     (int)((t_now_ns() - begin) / 1000000));
	for (int i = 0; i < 3; i++) {
		cr_assert(p_balanced(pools[i]));
		bufpool_destroy(pools[i]);
	}
}

Test(pools_time, S10_the_default_pool_s_use_is_enough)
{
	p_need_own_memory();
	expect_given_back(use_default, "the default pool used");
}

Test(pools_time, S10_another_pool_s_use_is_enough)
{
	p_need_own_memory();
	expect_given_back(use_another, "another pool used");
}

Test(pools_time, S10_bufpool_tick_is_enough)
{
	p_need_own_memory();
	expect_given_back(tick, "tick alone");
}

Test(pools_time, S10_tick_called_when_it_says)
{
	p_need_own_memory();
	expect_given_back(sleep_as_tick_says, "tick when it says");
	for (int i = 0; i < 100 && bufpool_tick() >= 0; i++)
		t_sleep_ms(20);
	cr_assert_eq(bufpool_tick(), -1, "nothing is pending any more");
}

/* An event loop that calls as it is told, and no longer: nothing may be left when it is told that nothing is pending. */
Test(pools_time, S10_tick_says_for_how_long_it_is_worth_while)
{
	p_need_own_memory();
	cr_assert_eq(bufpool_option_set("epoch_ms", "50"), 0);
	struct bufpool *pool = p_make("idle", 0, 0, 0);
	int ms = 0;

	for (int i = 0; i < 300 && bufpool_tick() >= 0; i++)
		t_sleep_ms(10);
	cr_assert_eq(bufpool_tick(), -1);
	fill_cache(pool, 40000);
	for (int i = 0; i < 1000 && (ms = bufpool_tick()) >= 0; i++)
		t_sleep_ms((unsigned)ms);
	cr_assert_eq(ms, -1);
	cr_assert_eq(kept(pool), 0, "%d blocks", (int)kept(pool));
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

/* What is used in each epoch stays, though the pool beside it is given back. */
Test(pools_time, what_is_used_stays)
{
	p_need_own_memory();
	cr_assert_eq(bufpool_option_set("epoch_ms", "200"), 0);
	struct bufpool *used = p_make("used", 0, 0, 0), *idle = p_make("idle", 0, 0, 0);
	uint64_t created = 0;
	int64_t begin;

	cr_assert_eq(t_pin(t_cpu(0)), 0);
	fill_cache(idle, 40000);
	bufpool_release(bufpool_acquire_from(used, 40000));
	created = p_stats(used).from_backend;
	begin = t_now_ns();
	while (t_now_ns() - begin < 1200 * (int64_t)1000000 ||
	       (t_now_ns() - begin < 20000 * (int64_t)1000000 && (kept(idle) > 0 || p_stats(used).epochs < 3)))
		for (int i = 0; i < 1000; i++)
			bufpool_release(bufpool_acquire_from(used, 40000));
	cr_assert_eq(p_stats(used).from_backend, created);
	cr_assert_eq(kept(idle), 0);
	cr_assert_geq(p_stats(used).epochs, 3, "%d epochs", (int)p_stats(used).epochs);
	bufpool_destroy(used);
	bufpool_destroy(idle);
}

/* ---- the mode ---- */

static void set(const char *mode)
{
	cr_assert_eq(bufpool_option_set("mode", mode), 0);
}

Test(pools_time, the_mode_changed_with_blocks_out, .init = t_hold_epochs)
{
	p_need_own_memory();
	static void *out[T_COUNT(sizes) + 2][40];
	struct bufpool *pool = p_make("switched", 0, 0, 0);
	size_t n[T_COUNT(sizes) + 2] = { 16, 1024, 4096, 40000, 65536, 65537, 1 << 20 };
	static const char *const modes[] = { "pool", "pass", "pool", "pass" };

	/* Ten of each size in each mode; given back in later ones. */
	for (size_t round = 0; round < T_COUNT(modes); round++) {
		set(modes[round]);
		for (size_t i = 0; i < T_COUNT(n); i++)
			for (size_t k = 0; k < 10; k++) {
				void **at = &out[i][round * 10 + k];

				*at = bufpool_acquire_from(pool, n[i]);
				cr_assert_not_null(*at);
				cr_assert(bufpool_owns(*at), "a pool's blocks end with it in mode %s too", modes[round]);
				t_fill(*at, n[i], round * 1000 + i * 10 + k);
				if (k % 2)
					continue;
				cr_assert(t_check(*at, n[i], round * 1000 + i * 10 + k));
				bufpool_release(*at);
				*at = NULL;
			}
		cr_assert(p_balanced(pool), "in mode %s", modes[round]);
	}
	for (size_t i = 0; i < T_COUNT(n); i++)
		for (size_t k = 0; k < 40; k++) {
			if (!out[i][k])
				continue;
			cr_assert(t_check(out[i][k], n[i], k / 10 * 1000 + i * 10 + k % 10));
			bufpool_release(out[i][k]);
			if (k == 20)
				set("pool");
		}
	cr_assert_eq(p_stats(pool).in_use, 0);
	cr_assert(p_balanced(pool));
	cr_assert_eq(t_stats().misuse + p_stats(pool).misuse, 0);
	bufpool_destroy(pool);
	cr_assert(t_balanced());
}

/* In pass mode nothing is kept, of a named pool neither. */
Test(pools_time, in_pass_mode_nothing_is_kept, .init = t_hold_epochs)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("passing", 0, 0, 0);
	uint64_t before;

	fill_cache(pool, 1024);
	set("pass");
	before = kept(pool);
	for (int i = 0; i < 10; i++)
		fill_cache(pool, 4096);
	cr_assert_leq(kept(pool), before);
	cr_assert_eq(p_stats(pool).in_use, 0);
	cr_assert(p_balanced(pool));
	set("pool");
	fill_cache(pool, 4096);
	cr_assert_geq(kept(pool), MANY);
	bufpool_destroy(pool);
}

Test(pools_time, made_in_one_mode_and_destroyed_in_another, .init = t_hold_epochs)
{
	p_need_own_memory();
	for (int i = 0; i < 20; i++) {
		struct bufpool *pool;
		void *mine;

		set(i % 2 ? "pass" : "pool");
		pool = p_make("switched", 0, 0, 0);
		cr_assert_not_null(pool);
		for (size_t k = 0; k < T_COUNT(sizes); k++)
			fill_cache(pool, sizes[k]);
		mine = bufpool_acquire_from(pool, 5000);
		void *const place = t_launder(mine);
		set(i % 2 ? "pool" : "pass");
		fill_cache(pool, 4096);
		bufpool_release(mine);
		cr_assert_eq(p_stats(pool).in_use, 0);
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
		cr_assert_not(bufpool_owns(place));
	}
	cr_assert_eq(t_stats().misuse, 0);
}

/* Passing from the start no pool has memory of its own: everything works all the same, and what is out stays the program's. */
Test(pools_time, passing_from_the_start)
{
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	struct bufpool *pool = p_make("passing", 0, 0, 0), *later;
	void *mine[2];

	cr_assert_not_null(pool);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		fill_cache(pool, sizes[i]);
	mine[0] = bufpool_acquire_from(pool, 5000);
	mine[1] = bufpool_acquire_from(pool, 1 << 20);
	memset(mine[0], 1, 5000);
	memset(mine[1], 2, 1 << 20);
	mine[1] = bufpool_resize(mine[1], 2 << 20);
	cr_assert_not_null(mine[1]);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	later = p_make("later", 0, 0, 0);
	cr_assert_not_null(later);
	fill_cache(later, 4096);
	fill_cache(pool, 4096);
	bufpool_advance_epoch(pool);
	bufpool_trim(pool, 0);
	bufpool_tick();
	cr_assert_eq(p_stats(later).in_use, 0);
	bufpool_destroy(pool);
	bufpool_destroy(later);
	cr_assert(t_all(mine[0], 5000, 1));
	cr_assert(t_all(mine[1], 1 << 20, 2));
	bufpool_release(mine[0]);
	bufpool_release(mine[1]);
	cr_assert_eq(t_stats().misuse, 0);
}
