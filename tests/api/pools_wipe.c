/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Pools that wipe: what was in a block is gone with its release, for the next owner and for whoever looks at the memory. A
 * pool that doesn't wipe is looked at in the same way, so that it is known what would be seen.
 */
#include "pools_common.h"
#include "crime.h"

#include <bufpool/buf.h>
#include <criterion/criterion.h>
#include <string.h>

TestSuite(pools_wipe, .timeout = 60, .init = t_hold_epochs);

enum { SECRET = 0xa7 };
static const size_t sizes[] = { 8, 16, 100, 1024, 4096, 14336, 40000, 65536, 65537, 100000, 1 << 20, 5 << 20 };

/* The whole capacity; a function of its own, whose caller's compiler knows no smaller bound. */
static __attribute__((noinline)) size_t write_secret(void *p)
{
	const size_t n = bufpool_capacity(p);

	memset(t_launder(p), SECRET, n);
	return n;
}

static void by_release(void *p, size_t n)
{
	(void)n;
	bufpool_release(p);
}

static void by_size(void *p, size_t n)
{
	bufpool_release_sized(p, n);
}

static void by_aligned_size(void *p, size_t n)
{
	bufpool_release_aligned_sized(p, 8, n);
}

/* Asks for less than the pool does. */
static void by_wiping_nothing(void *p, size_t n)
{
	(void)n;
	bufpool_release_wiped(p, 0);
}

static void by_many(void *p, size_t n)
{
	void *blocks[2] = { p, NULL };

	(void)n;
	bufpool_release_many(blocks, 2);
}

static void by_growing(void *p, size_t n)
{
	p = bufpool_resize_used(p, 0, n * 2 + 1000);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void by_shrinking(void *p, size_t n)
{
	p = bufpool_resize_used(p, 0, n / 4);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void (*const ways[])(void *p, size_t n) = { by_release, by_size, by_aligned_size, by_wiping_nothing, by_many, by_growing,
	by_shrinking };

/* How many words of the secret are left of a block of n bytes. */
static size_t left_of(struct bufpool *pool, size_t n, size_t way)
{
	void *p = bufpool_acquire_from(pool, n);
	size_t capacity;

	cr_assert_not_null(p);
	capacity = write_secret(p);
	ways[way](p, n);
	return p_words_left(p, capacity, SECRET);
}

static void expect_nothing_left(struct bufpool *pool)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (size_t way = 0; way < T_COUNT(ways); way++) {
			const size_t left = left_of(pool, sizes[i], way);

			cr_assert_eq(left, 0, "%zu bytes, way %zu: %zu words are there still", sizes[i], way, left);
		}
}

Test(pools_wipe, the_memory_is_cleared)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);

	expect_nothing_left(pool);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

/* That the tests around this one see something where nothing is wiped; what a release over the cap or a resize leaves is
 * jemalloc's to keep or give back. */
Test(pools_wipe, without_the_flag_it_is_not)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("no secrets", 0, 0, 0);
	size_t seen = 0;

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		seen = left_of(pool, sizes[i], 0);
		if (sizes[i] > 16 && sizes[i] <= T_CAP)
			cr_assert_geq(seen, sizes[i] / 8 / 2, "%zu bytes: %zu words", sizes[i], seen);
		else if (sizes[i] > T_CAP)
			cr_log_info("%zu bytes: %zu words are there after the release", sizes[i], seen);
	}
	bufpool_destroy(pool);
}

Test(pools_wipe, in_pass_mode_too)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);

	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	expect_nothing_left(pool);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	expect_nothing_left(pool);
	bufpool_destroy(pool);
}

/* A block that was far too large for its buffers, five times in a row, goes back by a way of its own. */
Test(pools_wipe, what_buffers_give_back)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);

	for (int i = 0; i < 5; i++) {
		struct bufpool_buf b;
		unsigned char *p;
		size_t n;

		bufpool_buf_init(&b, pool);
		cr_assert_eq(bufpool_buf_reserve(&b, 40000), 0);
		p = b.data;
		n = write_secret(p);
		b.len = 100;
		bufpool_buf_release(&b);
		cr_assert_eq(p_words_left(p, n, SECRET), 0, "buffer %d", i);
	}
	cr_assert_eq(p_stats(pool).buf_given_back, 1);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

/* Blocks of over the cap that become smaller where they lie, and what they leave behind them. */
Test(pools_wipe, what_a_large_block_shrinks_by)
{
	p_need_own_memory();
	static const size_t from[] = { 200000, 1 << 20, 5 << 20, 16 << 20 };

	for (size_t i = 0; i < T_COUNT(from); i++) {
		struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);
		void *p = bufpool_acquire_from(pool, from[i]), *smaller;
		size_t capacity, left;

		cr_assert_not_null(p);
		capacity = write_secret(p);
		smaller = bufpool_resize_used(p, 0, 100000);
		cr_assert_not_null(smaller);
		bufpool_release(smaller);
		left = p_words_left(p, capacity, SECRET);
		cr_assert_eq(left, 0, "from %zu bytes: %zu words are there still", from[i], left);
		bufpool_destroy(pool);
	}
}

Test(pools_wipe, the_next_owner_sees_zeroes)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		void *p = bufpool_acquire_from(pool, sizes[i]), *again;
		const size_t capacity = write_secret(p);

		bufpool_release(p);
		again = bufpool_acquire_from(pool, sizes[i]);
		if (sizes[i] <= T_CAP) {
			cr_assert_eq(again, p, "%zu bytes: another block", sizes[i]);
			cr_assert(t_all(t_launder(again), capacity, 0), "%zu bytes", sizes[i]);
		} else {
			cr_assert_eq(p_words_left(again, capacity, SECRET), 0);
		}
		bufpool_release(again);
	}
	bufpool_destroy(pool);
}

/* Many at once: through magazines, the victim and the queue, and from other CPUs' caches. */
Test(pools_wipe, nobody_ever_gets_a_secret)
{
	enum { MANY = 500 };
	static void *p[MANY];

	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);

	for (int round = 0; round < 12; round++) {
		const size_t n = sizes[(size_t)round % T_COUNT(sizes)] % 100000;

		for (int i = 0; i < MANY; i++) {
			p[i] = bufpool_acquire_from(pool, n);
			cr_assert_not_null(p[i]);
			cr_assert_eq(p_words_left(p[i], bufpool_capacity(p[i]), SECRET), 0);
			write_secret(p[i]);
		}
		bufpool_release_many(p, MANY);
		if (round % 3 == 1)
			bufpool_advance_epoch(pool);
		if (round % 4 == 3)
			bufpool_trim(pool, 0);
	}
	bufpool_destroy(pool);
}

/* What was out is not wiped but gone: the next pool in that place doesn't see it. */
Test(pools_wipe, what_was_out_at_the_end_is_gone)
{
	enum { MANY = 200 };
	static void *p[MANY];
	static size_t capacities[MANY];

	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);
	struct bufpool *next;

	for (size_t i = 0; i < MANY; i++) {
		p[i] = bufpool_acquire_from(pool, sizes[i % T_COUNT(sizes)]);
		cr_assert_not_null(p[i]);
		capacities[i] = write_secret(p[i]);
	}
	bufpool_destroy(pool);
	for (size_t i = 0; i < MANY; i++)
		cr_assert_eq(p_words_left(p[i], capacities[i], SECRET), 0, "%zu bytes", capacities[i]);
	next = p_make("next", 0, 0, BUFPOOL_WIPE);
	for (size_t i = 0; i < MANY; i++) {
		p[i] = bufpool_acquire_from(next, sizes[i % T_COUNT(sizes)]);
		cr_assert_eq(p_words_left(p[i], bufpool_capacity(p[i]), SECRET), 0);
	}
	bufpool_release_many(p, MANY);
	bufpool_destroy(next);
}

/* ---- misuse is seen all the same ---- */

static void release_twice(void *shared)
{
	struct crime *c = shared;
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);
	void *p = bufpool_acquire_from(pool, c->n), *again = t_launder(p);

	c->address = (uintptr_t)p;
	bufpool_release(p);
	release_as(c, again);
}

Test(pools_wipe, a_double_release_aborts)
{
	static const size_t within_cap[] = { 16, 100, 1024, 4096, 40000, 65536 };

	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(within_cap); i++)
		for (int how = 0; how < RELEASE_WAYS; how++) {
			struct crime *c = crime(65536);

			c->n = within_cap[i];
			c->how = how;
			expect_abort(release_twice, c, "double release", bufpool_good_size(c->n));
		}
}

static void write_after_release(void *shared)
{
	struct crime *c = shared;
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);
	void *p = bufpool_acquire_from(pool, c->n), *old = t_launder(p);

	t_pin(t_cpu(0));
	c->address = (uintptr_t)p;
	bufpool_release(p);
	memset(old, 0x5a, c->n);
	bufpool_release(bufpool_acquire_from(pool, c->n));
}

Test(pools_wipe, and_so_does_a_write_after_release)
{
	p_need_own_memory();
	for (size_t n = 16; n <= T_CAP; n *= 16) {
		struct crime *c = crime(65536);

		c->n = n;
		expect_abort(write_after_release, c, "write after release", bufpool_good_size(n));
	}
}
