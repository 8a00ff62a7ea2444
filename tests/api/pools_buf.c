/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Buffers, bytes and vectors with blocks of a named pool: these come from it, go back to it, and teach it and no other.
 */
#include "pools_common.h"

#include <bufpool/buf.h>
#include <bufpool/bytes.h>
#include <bufpool/vec.h>
#include <criterion/criterion.h>
#include <string.h>

TestSuite(pools_buf, .timeout = 60, .init = t_hold_epochs);

static void expect_untouched(const struct bufpool_stats *before)
{
	const struct bufpool_stats now = t_stats();

	cr_assert_arr_eq(&now, before, sizeof(now), "%d blocks of the default pool acquired",
			 (int)(now.acquired - before->acquired));
}

static void expect_out(struct bufpool *pool, uint64_t count)
{
	cr_assert_eq(p_stats(pool).in_use, count, "%d out, not %d", (int)p_stats(pool).in_use, (int)count);
	cr_assert(p_balanced(pool));
}

Test(pools_buf, growth_stays_in_the_pool)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("bufs", 0, 0, 0);
	const struct bufpool_stats before = t_stats();
	struct bufpool_buf b;

	bufpool_buf_init(&b, pool);
	expect_out(pool, 0);
	for (size_t n = 0; n < 300000; n += 1000) {
		void *at = bufpool_buf_extend(&b, 1000);

		cr_assert_not_null(at);
		t_fill(at, 1000, n);
		expect_out(pool, 1);
		cr_assert_eq(p_stats(pool).in_use_bytes, b.cap);
	}
	for (size_t n = 0; n < 300000; n += 1000)
		cr_assert(t_check(b.data + n, 1000, n));
	b.len = 10;
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert_leq(b.cap, 16);
	cr_assert(t_check(b.data, 8, 0));
	expect_out(pool, 1);
	cr_assert_geq(bufpool_buf_printf(&b, "%05000d", 1), 5000);
	cr_assert_eq(bufpool_buf_append(&b, "x", 1), 0);
	cr_assert_not_null(bufpool_buf_cstr(&b));
	expect_out(pool, 1);
	b.len = 0;
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	expect_out(pool, 0);
	cr_assert_eq(bufpool_buf_append(&b, "again", 5), 0);
	expect_out(pool, 1);
	bufpool_buf_release(&b);
	expect_out(pool, 0);
	cr_assert_gt(p_stats(pool).buf_outgrown, 0);
	expect_untouched(&before);
	/* Released it is of the default pool. */
	cr_assert_eq(bufpool_buf_append(&b, "again", 5), 0);
	expect_out(pool, 0);
	bufpool_buf_release(&b);
	bufpool_destroy(pool);
}

Test(pools_buf, what_is_detached_is_the_pool_s_still)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("bufs", 0, 0, 0);
	const struct bufpool_stats before = t_stats();
	struct bufpool_buf b;
	char *text;
	size_t n = 0;

	bufpool_buf_init(&b, pool);
	for (int i = 0; i < 100; i++) {
		cr_assert_gt(bufpool_buf_printf(&b, "%d %0*d", i, i * 50, 7), 0);
		text = bufpool_buf_detach(&n, &b);
		cr_assert_not_null(text);
		cr_assert_null(b.data);
		expect_out(pool, 1);
		text = bufpool_resize(text, n + 1);
		cr_assert_not_null(text);
		expect_out(pool, 1);
		bufpool_release(text);
		expect_out(pool, 0);
	}
	cr_assert_eq(bufpool_buf_append(&b, "still the pool's", 16), 0);
	expect_out(pool, 1);
	struct bufpool_buf stolen = bufpool_buf_steal(&b);
	cr_assert_eq(bufpool_buf_append(&stolen, "!", 1), 0);
	bufpool_buf_release(&stolen);
	expect_out(pool, 0);
	expect_untouched(&before);
	bufpool_destroy(pool);
}

/* A block of the default pool in a buffer of the other: each goes to where it belongs. */
Test(pools_buf, buffers_of_two_pools_side_by_side)
{
	p_need_own_memory();
	struct bufpool *pools[3] = { NULL, p_make("a", 0, 0, 0), p_make("b", 4096, 0, 0) };
	struct bufpool_buf b[3];

	for (int i = 0; i < 3; i++)
		bufpool_buf_init(&b[i], pools[i]);
	for (size_t n = 0; n < 100000; n += 100)
		for (size_t i = 0; i < 3; i++)
			t_fill(bufpool_buf_extend(&b[i], 100), 100, n * 3 + i);
	for (size_t n = 0; n < 100000; n += 100)
		for (size_t i = 0; i < 3; i++)
			cr_assert(t_check(b[i].data + n, 100, n * 3 + i));
	for (int i = 0; i < 3; i++) {
		bufpool_buf_release(&b[i]);
		cr_assert_eq(p_stats(pools[i]).in_use, 0);
		cr_assert(p_balanced(pools[i]));
	}
	bufpool_destroy(pools[1]);
	bufpool_destroy(pools[2]);
}

/* ---- the cap is the pool's ---- */

Test(pools_buf, S12_kept_up_to_the_pool_s_cap)
{
	p_need_own_memory();
	static const size_t caps[] = { 4096, 65536, 1 << 20, T_LARGEST };

	for (size_t i = 0; i < T_COUNT(caps); i++) {
		struct bufpool *pool = p_make("capped", caps[i], 0, 0);
		struct bufpool_buf b;
		uint64_t cached;

		bufpool_buf_init(&b, pool);
		cr_assert_not_null(bufpool_buf_extend(&b, caps[i]));
		cr_assert_eq(b.cap, caps[i]);
		cached = p_class(pool, caps[i]).cached;
		bufpool_buf_release(&b);
		cr_assert_eq(p_class(pool, caps[i]).cached, cached + 1, "cap %zu", caps[i]);
		bufpool_buf_init(&b, pool);
		cr_assert_not_null(bufpool_buf_extend(&b, caps[i] + 1));
		bufpool_buf_release(&b);
		cr_assert_eq(p_stats(pool).dropped_cap, 1, "cap %zu", caps[i]);
		cr_assert_eq(p_stats(pool).cached, cached + 1);
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
	}
}

/* ---- what is learned ---- */

static void grow_and_release(struct bufpool *pool, size_t n)
{
	struct bufpool_buf b;

	bufpool_buf_init(&b, pool);
	cr_assert_not_null(bufpool_buf_extend(&b, 10));
	while (b.len < n)
		cr_assert_not_null(bufpool_buf_extend(&b, n - b.len < 100 ? n - b.len : 100));
	bufpool_buf_release(&b);
}

Test(pools_buf, a_pool_learns_for_itself)
{
	p_need_own_memory();
	struct bufpool *large = p_make("large", 0, 0, 0), *small = p_make("small", 0, 0, 0);
	uint64_t outgrown;

	for (int i = 0; i < 300; i++)
		grow_and_release(large, 5000);
	for (int i = 0; i < 300; i++)
		grow_and_release(small, 12);
	cr_assert_eq(p_stats(large).buf_start_bytes, 8192);
	cr_assert_eq(p_stats(small).buf_start_bytes, 0);
	cr_assert_eq(t_stats().buf_start_bytes, 0);
	cr_assert_eq(p_stats(small).buf_outgrown, 0);
	cr_assert_eq(t_stats().buf_outgrown, 0);
	outgrown = p_stats(large).buf_outgrown;
	cr_assert_gt(outgrown, 0);
	for (int i = 0; i < 300; i++)
		grow_and_release(large, 5000);
	cr_assert_eq(p_stats(large).buf_outgrown, outgrown);
	for (int i = 0; i < 300; i++)
		grow_and_release(NULL, 2000);
	cr_assert_gt(t_stats().buf_outgrown, 0);
	cr_assert_eq(p_stats(large).buf_start_bytes, 8192);
	bufpool_destroy(large);
	bufpool_destroy(small);
	/* A new pool in the place of the old one knows nothing. */
	large = p_make("fresh", 0, 0, 0);
	cr_assert_eq(p_stats(large).buf_start_bytes, 0);
	cr_assert_eq(p_stats(large).buf_outgrown, 0);
	bufpool_destroy(large);
}

Test(pools_buf, large_blocks_for_small_content_are_given_back)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("strikes", 0, 0, 0);

	for (int i = 0; i < 5; i++) {
		struct bufpool_buf b;

		bufpool_buf_init(&b, pool);
		cr_assert_eq(bufpool_buf_reserve(&b, 40000), 0);
		cr_assert_not_null(bufpool_buf_extend(&b, 100));
		bufpool_buf_release(&b);
	}
	cr_assert_eq(p_stats(pool).buf_given_back, 1);
	cr_assert_eq(t_stats().buf_given_back, 0);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

/* What a buffer outgrew is released, so a pool that wipes clears it. */
Test(pools_buf, what_it_outgrows_is_wiped)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("secrets", 0, 0, BUFPOOL_WIPE);
	struct bufpool_buf b;
	const unsigned char *was[8];
	size_t count = 0;

	bufpool_buf_init(&b, pool);
	for (size_t n = 16; count < T_COUNT(was); n *= 2) {
		cr_assert_eq(bufpool_buf_reserve(&b, n), 0);
		memset(b.data, 0xa7, b.cap);
		b.len = b.cap;
		was[count++] = b.data;
	}
	bufpool_buf_release(&b);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(p_words_left(was[i], 16, 0xa7), 0, "block %zu", i);
	bufpool_destroy(pool);
}

/* ---- bytes and vectors ---- */

Test(pools_buf, bytes_and_vectors_give_it_back)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("frozen", 0, 0, 0);
	const struct bufpool_stats before = t_stats();
	struct bufpool_bytes whole, part;
	struct bufpool_vec v = { 0 };
	struct bufpool_buf b;

	bufpool_buf_init(&b, pool);
	t_fill(bufpool_buf_extend(&b, 60000), 60000, 9);
	cr_assert_eq(bufpool_bytes_freeze(&whole, &b), 0);
	cr_assert_eq(bufpool_bytes_sub(&part, &whole, 0, 59000), 0);
	bufpool_bytes_release(&whole);
	cr_assert(t_check(part.data, 59000, 9));
	bufpool_bytes_release(&part);
	expect_out(pool, 0);
	cr_assert_eq(t_stats().in_use, before.in_use);
	for (int i = 0; i < 100; i++) {
		void *p = bufpool_acquire_from(pool, 3000);

		t_fill(p, 3000, (uint64_t)i);
		cr_assert_eq(bufpool_vec_push(&v, p, 3000), 0);
	}
	expect_out(pool, 100);
	bufpool_vec_advance(&v, 3000 * 10 + 1);
	expect_out(pool, 90);
	bufpool_vec_truncate(&v, 50);
	expect_out(pool, 50);
	bufpool_vec_release(&v);
	expect_out(pool, 0);
	cr_assert_eq(t_stats().in_use, before.in_use);
	cr_assert(t_balanced());
	bufpool_destroy(pool);
}
