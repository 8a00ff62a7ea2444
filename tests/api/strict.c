/* SPDX-License-Identifier: BSD-2-Clause
 *
 * check:strict (S15): a program that relies on getting a block back, on which one, or on its content fails at once;
 * one that relies on nothing works as ever, and the numbers add up.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void strict(void)
{
	cr_assert_eq(bufpool_option_set("check", "strict"), 0);
	t_hold_epochs();
}

static void strict_portable(void)
{
	cr_assert_eq(bufpool_option_set("percpu", "fallback"), 0);
	strict();
}

TestSuite(strict, .timeout = 120, .init = strict);
TestSuite(strict_portable, .timeout = 120, .init = strict_portable);

/* How often a block comes right back. */
static unsigned come_back(size_t n, unsigned tries)
{
	unsigned back = 0;

	for (unsigned i = 0; i < tries; i++) {
		void *p = bufpool_acquire(n);
		uintptr_t was = (uintptr_t)p, is;

		bufpool_release(p);
		p = bufpool_acquire(n);
		is = (uintptr_t)p;
		back += is == was;
		bufpool_release(p);
	}
	return back;
}

static void expect_no_order(void)
{
	static const size_t sizes[] = { 16, 100, 1000, 5000, 40000, 65536 };

	for (size_t i = 0; i < T_COUNT(sizes); i++)
		cr_expect_lt(come_back(sizes[i], 200), 100, "%zu bytes", sizes[i]);
}

Test(strict, S15_the_block_released_last_is_not_the_one_that_comes_next)
{
	expect_no_order();
}

Test(strict_portable, S15_the_block_released_last_is_not_the_one_that_comes_next)
{
	expect_no_order();
}

Test(strict, S15_one_release_in_four_gives_its_block_back_for_good)
{
	enum { COUNT = 8000 };
	static void *p[COUNT];
	struct bufpool_stats before = t_stats(), after;

	cr_assert_eq(bufpool_acquire_many(p, COUNT, 200), COUNT);
	bufpool_release_many(p, COUNT);
	after = t_stats();
	cr_assert_geq(t_dropped(&after) - t_dropped(&before), COUNT / 4 - COUNT / 20);
	cr_assert_leq(t_dropped(&after) - t_dropped(&before), COUNT / 4 + COUNT / 20);
	cr_assert(t_balanced());
}

Test(strict, S15_content_is_neither_zero_nor_what_it_was)
{
	static const size_t sizes[] = { 16, 100, 1000, 5000, 40000, 65536, 200000 };

	for (unsigned round = 0; round < 20; round++)
		for (size_t i = 0; i < T_COUNT(sizes); i++) {
			unsigned char *p = bufpool_acquire(sizes[i]);

			cr_assert(t_all(p, sizes[i], 0xa5), "%zu bytes", sizes[i]);
			memset(p, 1, sizes[i]);
			bufpool_release(p);
		}
}

Test(strict, zeroed_is_zero_and_resizing_keeps)
{
	for (unsigned round = 0; round < 50; round++) {
		unsigned char *p = bufpool_acquire_zeroed(3000);

		cr_assert(t_all(p, 3000, 0));
		t_fill(p, 3000, round);
		p = bufpool_resize(p, 30000);
		cr_assert(t_check(p, 3000, round));
		p = bufpool_resize(p, 300);
		cr_assert(t_check(p, 300, round));
		bufpool_release(p);
	}
}

/* ---- writing to what was released ---- */

static size_t offset, block_size;

static void write_after_release(void *shared)
{
	enum { COUNT = 60 };
	unsigned char *p[COUNT];

	(void)shared;
	for (unsigned i = 0; i < COUNT; i++)
		p[i] = bufpool_acquire(block_size);
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned char *mine = t_launder(p[i]);

		bufpool_release(p[i]);
		mine[offset]++;
	}
	for (unsigned i = 0; i < COUNT; i++)
		p[i] = bufpool_acquire(block_size);
}

static void expect_found(size_t n, size_t at)
{
	struct t_result r;

	block_size = n;
	offset = at;
	t_child(&r, write_after_release, NULL);
	cr_expect(t_aborted(&r) && strstr(r.text, "write after release") != NULL, "byte %zu of %zu: status %x\n%s", at, n,
		  r.status, r.text);
}

Test(strict, S15_a_write_to_any_byte_after_release_is_found)
{
	static const size_t sizes[] = { 16, 64, 1024, 40960 };

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		expect_found(sizes[i], 0);
		expect_found(sizes[i], 7);
		expect_found(sizes[i], 8);
		expect_found(sizes[i], 15);
		expect_found(sizes[i], sizes[i] / 2);
		expect_found(sizes[i], sizes[i] - 1);
	}
}

static void release_twice(void *shared)
{
	void *p = bufpool_acquire(100), *again = t_launder(p);

	(void)shared;
	bufpool_release(p);
	bufpool_release(again);
}

Test(strict, a_double_release_is_found_unless_the_block_went_back)
{
	unsigned found = 0;
	struct t_result r;

	for (unsigned i = 0; i < 40; i++) {
		t_child(&r, release_twice, NULL);
		found += t_aborted(&r) && strstr(r.text, "release") != NULL;
	}
	cr_assert_geq(found, 15, "%u of 40", found); /* three in four are; by chance alone, one run in ten million has fewer */
}

/* ---- a program that relies on nothing ---- */

static void *work(void *seed)
{
	struct t_owner *owner = calloc(1, sizeof(*owner));
	uintptr_t wrong;

	owner->random = (uintptr_t)seed;
	wrong = t_owner_run(owner, 20000);
	wrong += t_owner_finish(owner);
	free(owner);
	return (void *)wrong;
}

static void expect_all_well(void)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < T_COUNT(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
	for (size_t i = 0; i < T_COUNT(threads); i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		cr_expect_null(wrong);
	}
	cr_expect(t_balanced());
	cr_expect_eq(t_stats().in_use, 0);
	cr_expect_eq(t_stats().set_aside, 0);
	cr_expect_eq(t_stats().misuse, 0);
}

Test(strict, what_relies_on_nothing_works)
{
	expect_all_well();
}

Test(strict_portable, what_relies_on_nothing_works)
{
	expect_all_well();
}

Test(strict, with_leaks_noted_as_well, .init = NULL)
{
	cr_assert_eq(bufpool_option_set("leaks", "true"), 0);
	strict();
	expect_all_well();
}

Test(strict, what_is_prefilled_is_sound)
{
	struct bufpool *pool;
	void *p[200];

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	cr_assert_eq(bufpool_prefill(pool, 200, 1000), 200);
	for (unsigned i = 0; i < T_COUNT(p); i++)
		cr_assert(t_all(p[i] = bufpool_acquire_from(pool, 1000), 1000, 0xa5));
	bufpool_release_many(p, T_COUNT(p));
	bufpool_destroy(pool);
	cr_assert_eq(t_stats().misuse, 0);
}
