/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The acquire family: sizes, alignment, content, partial results and the errors. Sizes that no machine has go through
 * volatile variables, because the compiler knows alloc_size and would refuse them.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

TestSuite(acquire, .timeout = 30);

static const size_t sizes[] = { 0, 1, 7, 8, 9, 15, 16, 17, 48, 64, 65, 128, 129, 1000, 1024, 4095, 4096, 4097, 14336,
	14337, 16384, 32768, 32769, 40000, 65535, 65536, 65537, 81920, 100000, 1 << 20, (4 << 20) - 1, 4 << 20,
	(4 << 20) + 1, 16 << 20 };

static void dirty(size_t n, size_t count)
{
	void *blocks[64];

	for (size_t i = 0; i < count; i++) {
		blocks[i] = bufpool_acquire(n);
		memset(blocks[i], 0xa5, n);
	}
	bufpool_release_many(blocks, count);
}

Test(acquire, every_size_is_writable_and_aligned)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		const size_t n = sizes[i];
		unsigned char *p = bufpool_acquire(n);

		cr_assert_not_null(p, "%zu bytes", n);
		cr_assert(t_aligned(p, n >= 16 ? 16 : 8), "%p for %zu bytes", (void *)p, n);
		cr_assert_geq(bufpool_capacity(p), n);
		t_fill(p, n, i);
		cr_assert(t_check(p, n, i));
		bufpool_release(p);
	}
	cr_assert(t_balanced());
}

Test(acquire, every_size_up_to_the_cap_and_beyond)
{
	for (size_t n = 0; n <= T_CAP + 300; n += n < 2048 ? 1 : 61) {
		unsigned char *p = bufpool_acquire(n);

		cr_assert_not_null(p);
		cr_assert_geq(bufpool_capacity(p), n);
		if (n)
			p[0] = p[n - 1] = 1;
		bufpool_release(p);
	}
	cr_assert(t_balanced());
}

Test(acquire, zero_bytes_give_distinct_blocks)
{
	void *a = bufpool_acquire(0), *b = bufpool_acquire(0), *c = bufpool_acquire_array(0, 8);
	void *d = bufpool_acquire_zeroed(0);

	cr_assert(a && b && c && d);
	cr_assert(a != b && a != c && a != d && b != c && b != d && c != d);
	bufpool_release(a);
	bufpool_release(b);
	bufpool_release_sized(c, 0);
	bufpool_release(d);
}

Test(acquire, blocks_do_not_overlap)
{
	enum { COUNT = 400 };
	unsigned char *blocks[COUNT];
	uint64_t random = 4;
	size_t n[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		n[i] = t_random_size(&random);
		blocks[i] = bufpool_acquire(n[i]);
		cr_assert_not_null(blocks[i]);
		t_fill(blocks[i], n[i], i * 1000003);
	}
	for (size_t i = 0; i < COUNT; i++) {
		cr_assert(t_check(blocks[i], n[i], i * 1000003), "block %zu of %zu bytes", i, n[i]);
		bufpool_release(blocks[i]);
	}
}

Test(acquire, zeroed_is_zero_after_dirty_reuse)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		void *blocks[8];

		dirty(sizes[i], 8);
		for (size_t k = 0; k < 8; k++) {
			blocks[k] = bufpool_acquire_zeroed(sizes[i]);
			cr_assert_not_null(blocks[k]);
			cr_assert(t_all(blocks[k], sizes[i], 0), "%zu bytes", sizes[i]);
			memset(blocks[k], 0xff, sizes[i]);
		}
		bufpool_release_many(blocks, 8);
	}
}

Test(acquire, array_multiplies)
{
	unsigned char *p = bufpool_acquire_array(1000, 24);

	cr_assert_not_null(p);
	cr_assert_geq(bufpool_capacity(p), 24000);
	memset(p, 1, 24000);
	bufpool_release_sized(p, 24000);
}

Test(acquire, array_overflow_is_ENOMEM)
{
	static volatile const size_t pairs[][2] = { { SIZE_MAX, 2 }, { 2, SIZE_MAX }, { SIZE_MAX / 2 + 1, 2 },
		{ (size_t)1 << 32, (size_t)1 << 32 }, { SIZE_MAX / 8 + 2, 8 }, { SIZE_MAX, SIZE_MAX } };

	for (size_t i = 0; i < T_COUNT(pairs); i++) {
		errno = 0;
		cr_assert_null(bufpool_acquire_array(pairs[i][0], pairs[i][1]));
		cr_assert_eq(errno, ENOMEM);
	}
}

Test(acquire, what_no_machine_has_is_ENOMEM)
{
	static volatile const size_t huge[] = { SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
		(size_t)1 << 60 };
	void *many[2] = { &many, &many };

	for (size_t i = 0; i < T_COUNT(huge); i++) {
		size_t capacity = 12345;

#define T_FAILS(call) (errno = 0, !(call) && errno == ENOMEM)
		cr_assert(T_FAILS(bufpool_acquire(huge[i])));
		cr_assert(T_FAILS(bufpool_acquire_zeroed(huge[i])));
		cr_assert(T_FAILS(bufpool_acquire_aligned(64, huge[i])));
		cr_assert(T_FAILS(bufpool_acquire_from(NULL, huge[i])));
		cr_assert(T_FAILS(bufpool_resize(NULL, huge[i])));
		cr_assert(T_FAILS(bufpool_acquire_at_least(&capacity, huge[i])));
		cr_assert_eq(capacity, 12345, "out-parameters are untouched on failure");
		cr_assert(T_FAILS(bufpool_acquire_many(many, 2, huge[i])));
		cr_assert(!many[0] && !many[1]);
	}
	cr_assert(t_balanced());
}

Test(acquire, aligned_is_aligned)
{
	for (size_t alignment = 1; alignment <= 2 << 20; alignment *= 2) {
		for (size_t i = 0; i < T_COUNT(sizes); i++) {
			/* Two are held, so that p isn't always the first block of its slab. */
			void *a = bufpool_acquire_aligned(alignment, sizes[i]), *b = bufpool_acquire(sizes[i]);
			void *p = bufpool_acquire_aligned(alignment, sizes[i]);

			cr_assert_not_null(p, "%zu bytes at %zu", sizes[i], alignment);
			cr_assert(t_aligned(a, alignment) && t_aligned(p, alignment), "%p at %zu", p, alignment);
			cr_assert_geq(bufpool_capacity(p), sizes[i]);
			t_fill(p, sizes[i], i);
			cr_assert(t_check(p, sizes[i], i));
			if (i & 1)
				bufpool_release(p);
			else
				bufpool_release_aligned_sized(p, alignment, sizes[i]);
			bufpool_release(a);
			bufpool_release(b);
		}
	}
	cr_assert(t_balanced());
}

Test(acquire, bad_alignment_is_EINVAL)
{
	static volatile const size_t bad[] = { 0, 3, 5, 6, 7, 24, 48, 100, 4095, 4097, SIZE_MAX };

	for (size_t i = 0; i < T_COUNT(bad); i++) {
		errno = 0;
		cr_assert_null(bufpool_acquire_aligned(bad[i], 100), "alignment %zu", bad[i]);
		cr_assert_eq(errno, EINVAL);
	}
}

Test(acquire, at_least_gives_a_capacity_that_is_all_writable)
{
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		size_t capacity = 0;
		unsigned char *p = bufpool_acquire_at_least(&capacity, sizes[i]);
		unsigned char *next = bufpool_acquire(sizes[i]);

		cr_assert(p && next);
		cr_assert_geq(capacity, sizes[i]);
		cr_assert_eq(capacity, bufpool_capacity(p));
		t_fill(next, sizes[i], 7);
		t_fill(p, capacity, i);
		cr_assert(t_check(p, capacity, i) && t_check(next, sizes[i], 7));
		bufpool_release(next);
		bufpool_release_sized(p, capacity);
	}
	cr_assert(t_balanced());
}

Test(acquire, many_gives_distinct_blocks)
{
	enum { COUNT = 500 };
	static const size_t each[] = { 0, 8, 64, 1000, 4096, 40000, 70000 };
	void *blocks[COUNT];

	for (size_t i = 0; i < T_COUNT(each); i++) {
		cr_assert_eq(bufpool_acquire_many(blocks, COUNT, each[i]), COUNT);
		for (size_t k = 0; k < COUNT; k++) {
			cr_assert_geq(bufpool_capacity(blocks[k]), each[i]);
			t_fill(blocks[k], each[i], k);
		}
		for (size_t k = 0; k < COUNT; k++)
			cr_assert(t_check(blocks[k], each[i], k), "block %zu of %zu bytes", k, each[i]);
		bufpool_release_many(blocks, COUNT);
	}
	cr_assert(t_balanced());
}

Test(acquire, many_of_none_touches_nothing)
{
	void *one = &one;

	cr_assert_eq(bufpool_acquire_many(&one, 0, 64), 0);
	cr_assert_eq(one, &one);
}

Test(acquire, from_the_default_pool)
{
	void *p = bufpool_acquire_from(NULL, 3000);

	cr_assert_not_null(p);
	cr_assert_eq(bufpool_capacity(p), bufpool_good_size(3000));
	bufpool_release(p);
}

/* What follows gets blocks that are not zero by chance. */
static void leave_dirt(size_t n)
{
	void *blocks[8];

	cr_assert_eq(bufpool_acquire_many(blocks, 8, n), 8);
	for (int i = 0; i < 8; i++)
		memset(blocks[i], 0xff, n);
	bufpool_release_many(blocks, 8);
}

Test(acquire, strndup_takes_at_most_n_bytes_and_ends_them)
{
	const char unterminated[4] = { 'w', 'x', 'y', 'z' };
	char *whole, *part, *none, *four;

	leave_dirt(16);
	whole = bufpool_strndup("hello", 100);
	part = bufpool_strndup("hello", 2);
	none = bufpool_strndup("hello", 0);
	four = bufpool_strndup(unterminated, 4);
	cr_assert(whole && part && none && four);
	cr_assert_str_eq(whole, "hello");
	cr_assert_str_eq(part, "he");
	cr_assert_str_eq(none, "");
	cr_assert_str_eq(four, "wxyz");
	bufpool_release_sized(whole, 6);
	bufpool_release(part);
	bufpool_release(none);
	bufpool_release(four);
}

Test(acquire, memdup_copies_every_byte)
{
	static unsigned char source[70001];

	t_fill(source, sizeof(source), 9);
	for (size_t n = 0; n <= sizeof(source); n = n * 3 + 1) {
		void *copy = bufpool_memdup(source, n);

		cr_assert_not_null(copy);
		cr_assert(t_check(copy, n, 9), "%zu bytes", n);
		bufpool_release_sized(copy, n);
	}
}

Test(acquire, a_block_of_one_class_never_arrives_in_another)
{
	for (size_t n = 1; n <= T_CAP; n = bufpool_good_size(n) + 1) {
		bufpool_release(bufpool_acquire(n));
		for (size_t m = 1; m <= T_CAP; m = bufpool_good_size(m) + 1) {
			void *p = bufpool_acquire(m);

			cr_assert_eq(bufpool_capacity(p), bufpool_good_size(m), "%zu after %zu", m, n);
			bufpool_release(p);
		}
	}
}

/* Large blocks begin at different places of their first page unless a page is asked for: a program that does so always
 * finds its own again, also beside others that don't. */
Test(acquire, aligned_blocks_are_pooled_like_others, .init = t_hold_epochs)
{
	static const size_t sizes[] = { 4096, 16384, 40960, 65536 };
	enum { HELD = 4, ROUNDS = 1000 };

	for (size_t s = 0; s < T_COUNT(sizes); s++) {
		void *held[HELD];
		uint64_t before = 0;

		t_need_pool(sizes[s]);
		for (int round = 0; round < ROUNDS; round++) {
			for (int i = 0; i < HELD; i++) {
				held[i] = i % 2 ? bufpool_acquire(sizes[s]) : bufpool_acquire_aligned(4096, sizes[s]);
				cr_assert_not_null(held[i]);
				cr_assert(i % 2 || (uintptr_t)held[i] % 4096 == 0);
				*(volatile char *)held[i] = 1;
			}
			bufpool_release_many(held, HELD);
			if (round == ROUNDS / 10)
				before = t_stats().from_backend;
		}
		cr_assert_eq(t_stats().from_backend, before, "%zu bytes", sizes[s]);
	}
}
