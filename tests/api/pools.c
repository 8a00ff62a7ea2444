/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools: rules, books and limits of their own, and release that finds the pool by itself at each of its entries.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(pools, .timeout = 60, .init = t_hold_epochs);

static const size_t sizes[] = { 0, 1, 16, 100, 1024, 4096, 14336, 32768, 40000, 65536, 65537, 100000, 1 << 20, 5 << 20 };

/* ---- books ---- */

static void expect_untouched(const struct bufpool_stats *before, struct bufpool *pool)
{
	const struct bufpool_stats now = p_stats(pool);

	cr_assert_arr_eq(&now, before, sizeof(now), "acquired %d, released %d, created %d, in use %d, cached %d",
			 (int)(now.acquired - before->acquired), (int)(now.released - before->released),
			 (int)(now.from_backend - before->from_backend), (int)(now.in_use - before->in_use),
			 (int)(now.cached - before->cached));
}

Test(pools, a_pool_keeps_its_own_books)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0), *b = p_make("b", 0, 0, 0);
	struct bufpool_stats others[2];
	static void *p[T_COUNT(sizes)][20];
	size_t bytes = 0;

	cr_assert(a && b && a != b);
	bufpool_release(bufpool_acquire(100));
	others[0] = p_stats(NULL);
	others[1] = p_stats(b);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (size_t k = 0; k < T_COUNT(*p); k++) {
			p[i][k] = bufpool_acquire_from(a, sizes[i]);
			cr_assert(bufpool_owns(p[i][k]), "%zu bytes", sizes[i]);
			cr_assert_geq(bufpool_capacity(p[i][k]), sizes[i]);
			bytes += bufpool_capacity(p[i][k]);
			t_fill(p[i][k], sizes[i], i * 100 + k);
		}
	cr_assert(p_balanced(a));
	cr_assert_eq(p_stats(a).in_use, T_COUNT(sizes) * T_COUNT(*p));
	cr_assert_eq(p_stats(a).in_use_bytes, bytes, "%zu, not %zu", (size_t)p_stats(a).in_use_bytes, bytes);
	cr_assert_eq(p_stats(a).over_cap, 4 * T_COUNT(*p));
	expect_untouched(&others[0], NULL);
	expect_untouched(&others[1], b);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (size_t k = 0; k < T_COUNT(*p); k++) {
			cr_assert(t_check(p[i][k], sizes[i], i * 100 + k));
			bufpool_release(p[i][k]);
		}
	cr_assert(p_balanced(a));
	cr_assert_eq(p_stats(a).in_use, 0);
	cr_assert_eq(p_stats(a).in_use_bytes, 0);
	cr_assert_eq(p_stats(a).acquired, T_COUNT(sizes) * T_COUNT(*p));
	cr_assert_eq(p_stats(a).dropped_cap, 4 * T_COUNT(*p));
	cr_assert_gt(p_stats(a).cached, 0);
	bufpool_trim(a, 0);
	cr_assert(p_settle(a));
	cr_assert_eq(p_stats(a).cached + p_stats(a).victim, 0);
	cr_assert(p_balanced(a));
	expect_untouched(&others[0], NULL);
	expect_untouched(&others[1], b);
	bufpool_destroy(a);
	expect_untouched(&others[0], NULL);
	expect_untouched(&others[1], b);
	bufpool_destroy(b);
	expect_untouched(&others[0], NULL);
}

Test(pools, and_the_default_pool_s_use_is_none_of_theirs)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0);
	const struct bufpool_stats before = p_stats(a);
	struct t_owner o = { .random = 3 };

	cr_assert_not_null(a);
	cr_assert_eq(t_owner_run(&o, 5000), 0);
	expect_untouched(&before, a);
	bufpool_destroy(a);
	cr_assert(t_balanced());
}

Test(pools, what_it_caches_it_hands_out_again)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0);
	uint64_t created;

	for (size_t i = 0; sizes[i] <= T_CAP; i++) {
		void *p = bufpool_acquire_from(a, sizes[i]);

		cr_assert_not_null(p);
		bufpool_release(p);
		created = p_stats(a).from_backend;
		for (int k = 0; k < 1000; k++)
			bufpool_release(bufpool_acquire_from(a, sizes[i]));
		cr_assert_eq(p_stats(a).from_backend, created, "%zu bytes", sizes[i]);
	}
	cr_assert_geq(p_stats(a).hits, 9 * 1000);
	bufpool_destroy(a);
}

/* No block of one pool is ever another's. */
Test(pools, blocks_stay_in_their_pool)
{
	p_need_own_memory();
	struct bufpool *pools[3] = { NULL, p_make("a", 0, 0, 0), p_make("b", 0, 0, 0) };
	static void *p[3][200];

	for (size_t n = 64; n <= 65536; n *= 4) {
		for (int i = 0; i < 3; i++) {
			for (int k = 0; k < 200; k++)
				memset(p[i][k] = bufpool_acquire_from(pools[i], n), i, n);
		}
		for (int i = 0; i < 3; i++)
			bufpool_release_many(p[i], 200);
		for (int i = 1; i < 3; i++)
			cr_assert_eq(p_stats(pools[i]).in_use, 0);
		for (int k = 0; k < 200; k++) {
			const void *again = bufpool_acquire_from(pools[1], n);

			for (int j = 0; j < 200; j++)
				cr_assert(again != p[0][j] && again != p[2][j]);
			p[1][k] = (void *)(uintptr_t)again;
		}
		bufpool_release_many(p[1], 200);
	}
	bufpool_destroy(pools[1]);
	bufpool_destroy(pools[2]);
	cr_assert(t_balanced());
}

/* ---- release finds the pool ---- */

static void by_release(void *p, size_t n)
{
	(void)n;
	bufpool_release(p);
}

static void by_size(void *p, size_t n)
{
	bufpool_release_sized(p, n);
}

static void by_capacity(void *p, size_t n)
{
	(void)n;
	bufpool_release_sized(p, bufpool_capacity(p));
}

static void by_aligned_size(void *p, size_t n)
{
	bufpool_release_aligned_sized(p, 8, n);
}

static void wiped(void *p, size_t n)
{
	bufpool_release_wiped(p, n);
}

static void among_many(void *p, size_t n)
{
	void *blocks[5] = { NULL, bufpool_acquire(n), p, NULL, bufpool_acquire(n) };

	bufpool_release_many(blocks, 5);
}

static void by_a_function_pointer(void *p, size_t n)
{
	void (*volatile release)(void *p) = bufpool_release;

	(void)n;
	release(p);
}

static void after_growing(void *p, size_t n)
{
	p = bufpool_resize(p, n * 3 + 100);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void after_shrinking(void *p, size_t n)
{
	p = bufpool_resize(p, n / 5);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void after_resizing_to_nothing(void *p, size_t n)
{
	(void)n;
	p = bufpool_resize(p, 0);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void after_growing_what_is_used(void *p, size_t n)
{
	p = bufpool_resize_used(p, n / 2, n * 2 + 100);
	cr_assert_not_null(p);
	bufpool_release(p);
}

static void (*const entries[])(void *p, size_t n) = { by_release, by_size, by_capacity, by_aligned_size, wiped, among_many,
	by_a_function_pointer, after_growing, after_shrinking, after_resizing_to_nothing, after_growing_what_is_used };

Test(pools, release_finds_the_pool_at_each_entry)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0), *other = p_make("other", 0, 0, 0);
	const struct bufpool_stats before = p_stats(other);

	for (size_t entry = 0; entry < T_COUNT(entries); entry++)
		for (size_t i = 0; i < T_COUNT(sizes); i++) {
			const int64_t out = (int64_t)t_stats().in_use;
			void *p = bufpool_acquire_from(a, sizes[i]);

			cr_assert_not_null(p);
			cr_assert_eq(p_stats(a).in_use, 1);
			errno = 4711;
			entries[entry](p, sizes[i]);
			cr_assert_eq(errno, 4711);
			cr_assert_eq(p_stats(a).in_use, 0, "entry %zu, %zu bytes", entry, sizes[i]);
			cr_assert_eq((int64_t)t_stats().in_use, out, "entry %zu, %zu bytes", entry, sizes[i]);
			cr_assert(p_balanced(a));
		}
	cr_assert_eq(p_stats(a).misuse + t_stats().misuse, 0);
	expect_untouched(&before, other);
	bufpool_destroy(other);
	bufpool_destroy(a);
	cr_assert(t_balanced());
}

#define BY_CONSTANT_SIZE(pool, n)                                                 \
	do {                                                                      \
		void *p_ = bufpool_acquire_from(pool, n);                         \
		cr_assert_not_null(p_);                                           \
		memset(p_, 1, n);                                                 \
		bufpool_release_sized(p_, n);                                     \
		cr_assert_eq(p_stats(pool).in_use, 0, "%d bytes", n);             \
		cr_assert_eq(p_stats(pool).released, p_stats(pool).acquired);     \
	} while (0)

Test(pools, release_of_a_constant_size_too)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0);
	const struct bufpool_stats before = t_stats();

	for (int round = 0; round < 100; round++) {
		BY_CONSTANT_SIZE(a, 1);
		BY_CONSTANT_SIZE(a, 48);
		BY_CONSTANT_SIZE(a, 100);
		BY_CONSTANT_SIZE(a, 4096);
		BY_CONSTANT_SIZE(a, 40000);
		BY_CONSTANT_SIZE(a, 65536);
	}
	expect_untouched(&before, NULL);
	cr_assert(p_balanced(a));
	bufpool_destroy(a);
}

/* Content goes along, and the new block is the pool's of the old one. */
Test(pools, resize_stays_in_the_pool)
{
	p_need_own_memory();
	struct bufpool *a = p_make("a", 0, 0, 0);
	const struct bufpool_stats before = t_stats();
	uint64_t random = 5;
	size_t n = 10;
	unsigned char *p = bufpool_acquire_from(a, n);

	t_fill(p, n, 1);
	for (int i = 0; i < 3000; i++) {
		const size_t next = t_random_size(&random), kept = n < next ? n : next;

		p = bufpool_resize(p, next);
		cr_assert_not_null(p);
		cr_assert(t_check(p, kept, (uint64_t)i + 1), "from %zu to %zu bytes", n, next);
		cr_assert_eq(p_stats(a).in_use, 1);
		cr_assert_eq(p_stats(a).in_use_bytes, bufpool_capacity(p));
		n = next;
		t_fill(p, n, (uint64_t)i + 2);
	}
	bufpool_release(p);
	expect_untouched(&before, NULL);
	cr_assert(p_balanced(a));
	bufpool_destroy(a);
}

Test(pools, random_work_in_three_pools)
{
	p_need_own_memory();
	enum { HELD = 300, STEPS = 60000 };
	struct bufpool *pools[3] = { p_make("a", 4096, 0, 0), p_make("b", T_LARGEST, 0, 0),
		p_make("c", 0, 1 << 20, BUFPOOL_WIPE) };
	static struct { void *p; size_t n; uint64_t seed; int pool; } held[HELD];
	uint64_t random = 11, out[3] = { 0 };

	for (int i = 0; i < STEPS; i++) {
		const size_t at = t_random(&random) % HELD;

		if (held[at].p) {
			cr_assert(t_check(held[at].p, held[at].n, held[at].seed));
			entries[t_random(&random) % T_COUNT(entries)](held[at].p, held[at].n);
			held[at].p = NULL;
			out[held[at].pool]--;
		} else {
			held[at].pool = (int)(t_random(&random) % 3);
			held[at].n = t_random_size(&random);
			held[at].seed = (uint64_t)i;
			held[at].p = bufpool_acquire_from(pools[held[at].pool], held[at].n);
			cr_assert_not_null(held[at].p);
			t_fill(held[at].p, held[at].n, held[at].seed);
			out[held[at].pool]++;
		}
		if (i % 5000 == 0)
			bufpool_advance_epoch(pools[i / 5000 % 3]);
		for (int k = 0; i % 500 == 0 && k < 3; k++) {
			cr_assert_eq(p_stats(pools[k]).in_use, out[k]);
			cr_assert(p_balanced(pools[k]));
		}
	}
	for (size_t at = 0; at < HELD; at++)
		bufpool_release(held[at].p);
	for (int k = 0; k < 3; k++) {
		cr_assert_eq(p_stats(pools[k]).in_use, 0);
		cr_assert(p_balanced(pools[k]));
		bufpool_destroy(pools[k]);
	}
	cr_assert(t_balanced());
}
