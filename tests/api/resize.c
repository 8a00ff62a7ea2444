/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool_resize and bufpool_resize_used: what is kept, in both directions across the cap, and that a failure leaves
 * the block alone. The owner of a block that moved must not see its old place again, so every test goes on with the
 * returned pointer only.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(resize, .timeout = 30);

static const size_t sizes[] = { 0, 1, 8, 9, 100, 128, 129, 1000, 4096, 16384, 40000, 65536, 65537, 81920, 200000,
	1 << 20, 5 << 20 };

Test(resize, every_pair_of_sizes_keeps_the_smaller_part)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		for (size_t k = 0; k < T_COUNT(sizes); k++) {
			const size_t kept = sizes[i] < sizes[k] ? sizes[i] : sizes[k];
			void *p = bufpool_acquire(sizes[i]);

			cr_assert_not_null(p);
			t_fill(p, sizes[i], i * 100 + k);
			p = bufpool_resize(p, sizes[k]);
			cr_assert_not_null(p, "%zu to %zu", sizes[i], sizes[k]);
			cr_assert(t_check(p, kept, i * 100 + k), "%zu to %zu", sizes[i], sizes[k]);
			cr_assert_geq(bufpool_capacity(p), sizes[k]);
			t_fill(p, sizes[k], 5);
			cr_assert(t_check(p, sizes[k], 5));
			bufpool_release_sized(p, sizes[k]);
		}
	}
	cr_assert(t_balanced());
}

Test(resize, null_acquires)
{
	void *p = bufpool_resize(NULL, 500), *q = bufpool_resize_used(NULL, 0, 500);

	cr_assert(p && q && p != q);
	cr_assert_geq(bufpool_capacity(p), 500);
	cr_assert_geq(bufpool_capacity(q), 500);
	bufpool_release(p);
	bufpool_release(q);
}

Test(resize, to_no_bytes_is_a_block_and_frees_nothing)
{
	t_need_pool(16);
	const uint64_t in_use = t_stats().in_use;
	void *p = bufpool_resize(bufpool_acquire(1000), 0), *q = bufpool_resize(NULL, 0), *other;

	cr_assert(p && q && p != q);
	cr_assert_eq(t_stats().in_use, in_use + 2);
	other = bufpool_acquire(0);
	cr_assert(other != p && other != q);
	p = bufpool_resize(p, 2000);
	cr_assert_not_null(p);
	bufpool_release(p);
	bufpool_release(q);
	bufpool_release(other);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(resize, growing_step_by_step_across_the_cap_and_back)
{
	unsigned char *p = NULL;
	size_t n = 0;

	for (; n < 300000; n += n / 2 + 1) {
		p = bufpool_resize(p, n + n / 2 + 1);
		cr_assert_not_null(p);
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(p[i], (unsigned char)(i * 7), "byte %zu of %zu", i, n);
		for (size_t i = n; i < n + n / 2 + 1; i++)
			p[i] = (unsigned char)(i * 7);
	}
	while ((n = n * 2 / 3)) {
		p = bufpool_resize(p, n);
		cr_assert_not_null(p);
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(p[i], (unsigned char)(i * 7), "byte %zu of %zu", i, n);
	}
	bufpool_release(p);
	cr_assert(t_balanced());
}

Test(resize, within_the_class_stays_in_place)
{
	t_need_pool(16);
	static const size_t from[] = { 1, 100, 1025, 33000, 65535 };

	for (size_t i = 0; i < T_COUNT(from); i++) {
		void *p = bufpool_acquire(from[i]), *old = t_launder(p);

		p = bufpool_resize(p, bufpool_good_size(from[i]));
		cr_assert_eq(p, old, "%zu bytes", from[i]);
		p = bufpool_resize(p, from[i]);
		cr_assert_eq(p, old, "%zu bytes", from[i]);
		bufpool_release(p);
	}
}

Test(resize, failure_leaves_the_block)
{
	t_need_pool(16);
	static volatile const size_t huge[] = { SIZE_MAX, (size_t)PTRDIFF_MAX + 1, (size_t)1 << 60 };
	static const size_t from[] = { 100, 40000, 200000 };

	for (size_t i = 0; i < T_COUNT(from); i++) {
		void *p = bufpool_acquire(from[i]);

		t_fill(p, from[i], 3);
		for (size_t k = 0; k < T_COUNT(huge); k++) {
			errno = 0;
			cr_assert_null(bufpool_resize(p, huge[k]));
			cr_assert_eq(errno, ENOMEM);
			errno = 0;
			cr_assert_null(bufpool_resize_used(p, 10, huge[k]));
			cr_assert_eq(errno, ENOMEM);
		}
		cr_assert(t_check(p, from[i], 3));
		cr_assert(bufpool_owns(p));
		bufpool_release_sized(p, from[i]);
	}
	cr_assert(t_balanced());
}

Test(resize, used_keeps_the_used_bytes)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		for (size_t k = 0; k < T_COUNT(sizes); k++) {
			const size_t both = sizes[i] < sizes[k] ? sizes[i] : sizes[k];

			for (size_t part = 0; part < 3; part++) {
				const size_t used = both * part / 2;
				void *p = bufpool_acquire(sizes[i]);

				t_fill(p, sizes[i], i + k);
				p = bufpool_resize_used(p, used, sizes[k]);
				cr_assert_not_null(p);
				cr_assert(t_check(p, used, i + k), "%zu of %zu to %zu", used, sizes[i], sizes[k]);
				cr_assert_geq(bufpool_capacity(p), sizes[k]);
				t_fill(p, sizes[k], 1);
				bufpool_release(p);
			}
		}
	}
	cr_assert(t_balanced());
}

Test(resize, the_old_place_is_free_for_others_only_once)
{
	enum { COUNT = 200 };
	void *blocks[3 * COUNT];
	size_t count = 0;

	for (; count < COUNT; count++) {
		blocks[count] = bufpool_resize(bufpool_acquire(100), 5000);
		t_fill(blocks[count], 5000, count);
	}
	for (; count < 3 * COUNT; count++) {
		blocks[count] = bufpool_acquire(count & 1 ? 100 : 5000);
		memset(blocks[count], 0xee, 100);
	}
	for (size_t i = 0; i < COUNT; i++)
		cr_assert(t_check(blocks[i], 5000, i));
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(blocks[i], blocks[k]);
	bufpool_release_many(blocks, count);
	cr_assert(t_balanced());
}

/* A block may stay larger than asked for when it shrinks in place; its owner knows only what it asked for. */
Test(resize, a_sized_release_takes_what_resize_was_asked_for)
{
	for (size_t from = 1000; from < 300000; from += 1777) {
		for (size_t to = 1000; to < 300000; to += 7 * 1777) {
			void *p = bufpool_resize(bufpool_acquire(from), to);

			cr_assert_not_null(p);
			bufpool_release_sized(p, to);
		}
	}
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert(t_balanced());
}
