/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How growable buffers are emptied and end: reset, shrink, detach, steal, release.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(buf_end, .timeout = 60);

static void assert_empty(const struct bufpool_buf *b)
{
	const struct bufpool_buf init = BUFPOOL_BUF_INIT;

	cr_assert_eq(memcmp(b, &init, sizeof(init)), 0);
}

Test(buf_end, S1_reset_keeps_the_capacity)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_not_null(bufpool_buf_extend(&b, 5000));
	const unsigned char *data = b.data;
	const size_t cap = b.cap;
	bufpool_buf_reset(&b);
	cr_assert(b.len == 0 && b.cap == cap && b.data == data);
	cr_assert_eq((unsigned char *)bufpool_buf_extend(&b, cap), data);
	bufpool_buf_release(&b);
}

Test(buf_end, S2_reset_clears_nothing)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	t_fill(bufpool_buf_extend(&b, 5000), 5000, 7);
	bufpool_buf_reset(&b);
	cr_assert(t_check(b.data, 5000, 7));
	bufpool_buf_release(&b);
}

Test(buf_end, S20_shrink_moves_to_the_smallest_class)
{
	static const size_t large[] = { 4096, T_CAP, 1 << 20, 64 << 20 }, small[] = { 1, 10, 16, 17, 100, 3000 };

	for (size_t i = 0; i < T_COUNT(large); i++) {
		for (size_t k = 0; k < T_COUNT(small); k++) {
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			t_fill(bufpool_buf_extend(&b, large[i]), small[k], 3);
			b.len = small[k];
			cr_assert_eq(bufpool_buf_shrink(&b), 0);
			/* What passes through has blocks of 16 bytes, too. */
			cr_assert_leq(b.cap, small[k] < 16 ? 16 : bufpool_good_size(small[k]));
			cr_assert_eq(b.cap, bufpool_capacity(b.data));
			cr_assert_eq(b.len, small[k]);
			cr_assert(t_check(b.data, small[k], 3));
			bufpool_buf_release(&b);
		}
	}
	cr_assert(t_balanced());
}

Test(buf_end, S20_a_gigabyte_with_10_bytes_left_costs_one_block_of_16)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	t_need_pool(16);
	if (bufpool_buf_reserve(&b, (size_t)1 << 30))
		cr_skip_test("no gigabyte to be had here");
	cr_assert_eq(bufpool_buf_append(&b, "0123456789", 10), 0);
	const struct bufpool_stats before = t_stats();
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert_eq(t_stats().in_use_bytes, before.in_use_bytes - bufpool_good_size((size_t)1 << 30) + 16);
	cr_assert_eq(b.cap, 16);
	cr_assert_eq(memcmp(b.data, "0123456789", 10), 0);
	bufpool_buf_release(&b);
}

Test(buf_end, shrink_of_what_fits_or_is_empty)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_not_null(bufpool_buf_extend(&b, 5000));
	const unsigned char *data = b.data;
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert(b.data == data && b.len == 5000);
	bufpool_buf_reset(&b);
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert(!b.data && !b.cap);
	bufpool_buf_release(&b);
}

Test(buf_end, a_detached_block_is_the_caller_s)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t len = 99;
	unsigned char *p;

	t_fill(bufpool_buf_extend(&b, 3000), 3000, 5);
	const unsigned char *data = b.data;
	p = bufpool_buf_detach(&len, &b);
	cr_assert(p == data && len == 3000);
	assert_empty(&b);
	cr_assert_eq(bufpool_buf_append(&b, "other", 5), 0);
	bufpool_buf_release(&b);
	cr_assert(t_check(p, 3000, 5));
	bufpool_release(p);
	cr_assert_not_null(bufpool_buf_extend(&b, 1));
	p = bufpool_buf_detach(NULL, &b);
	bufpool_release(p);
	cr_assert(t_balanced());
}

Test(buf_end, detaching_nothing_is_NULL_and_no_error)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t len = 99;

	errno = 77;
	cr_assert_null(bufpool_buf_detach(&len, &b));
	cr_assert_eq(len, 0);
	cr_assert_eq(errno, 77);
}

Test(buf_end, stealing_moves_the_value)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT, stolen;

	cr_assert_eq(bufpool_buf_append(&b, "abc", 3), 0);
	const struct bufpool_buf before = b;
	stolen = bufpool_buf_steal(&b);
	assert_empty(&b);
	cr_assert_eq(memcmp(&stolen, &before, sizeof(before)), 0);
	bufpool_buf_release(&b);
	cr_assert_eq(memcmp(stolen.data, "abc", 3), 0);
	bufpool_buf_release(&stolen);
	cr_assert(t_balanced());
}

Test(buf_end, S6_releasing_nothing_or_twice_is_harmless)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	bufpool_buf_release(NULL);
	bufpool_buf_release(&b);
	cr_assert_not_null(bufpool_buf_extend(&b, 100));
	bufpool_buf_release(&b);
	assert_empty(&b);
	const struct bufpool_stats before = t_stats();
	bufpool_buf_release(&b);
	bufpool_buf_release(&b);
	cr_assert_eq(t_stats().released, before.released);
	cr_assert_eq(t_stats().misuse, 0);
}

Test(buf_end, a_released_one_may_be_used_again)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	for (size_t i = 0; i < 1000; i++) {
		t_fill(bufpool_buf_extend(&b, 100 * i), 100 * i, i);
		cr_assert(t_check(b.data, 100 * i, i));
		bufpool_buf_release(&b);
	}
	cr_assert(t_balanced());
	cr_assert_eq(t_stats().in_use, 0);
}

Test(buf_end, release_keeps_errno)
{
	static const size_t sizes[] = { 10, T_CAP, 1 << 20 };

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		for (int k = 0; k < 20; k++) { /* large ones with no content: some of them are given back */
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			cr_assert_eq(bufpool_buf_reserve(&b, sizes[i]), 0);
			errno = 77;
			bufpool_buf_release(&b);
			cr_assert_eq(errno, 77);
		}
	}
}
