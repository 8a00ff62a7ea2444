/* SPDX-License-Identifier: BSD-2-Clause
 *
 * misuse:report: every kind is counted, one line is written and the program goes on with a pool that is still whole:
 * nothing is handed out twice, and the numbers still add up.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void report(void)
{
	t_hold_epochs();
	cr_assert_eq(bufpool_option_set("misuse", "report"), 0);
}

TestSuite(report, .timeout = 60, .init = report);

static int compare(const void *a, const void *b)
{
	const uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

/* Takes many blocks of that size at once: all of them must be different ones. */
static void expect_distinct(size_t n)
{
	enum { COUNT = 3000 };
	static void *blocks[COUNT];

	cr_assert_eq(bufpool_acquire_many(blocks, COUNT, n), COUNT);
	qsort(blocks, COUNT, sizeof(*blocks), compare);
	for (size_t i = 1; i < COUNT; i++)
		cr_assert_neq(blocks[i], blocks[i - 1], "%zu bytes: %p handed out twice", n, blocks[i]);
	bufpool_release_many(blocks, COUNT);
}

static const size_t tried[] = { 16, 100, 1024, 40000 };

Test(report, a_double_release_counts_and_gives_nothing_twice)
{
	for (size_t i = 0; i < T_COUNT(tried); i++) {
		uint64_t misuse;
		void *p, *again;

		t_need_pool(tried[i]);
		misuse = t_stats().misuse;
		p = bufpool_acquire(tried[i]);
		again = t_launder(p);
		bufpool_release(p);
		bufpool_release(again);
		cr_assert_eq(t_stats().misuse, misuse + 1, "%zu bytes", tried[i]);
		cr_assert_eq(t_stats().in_use, 0);
		cr_assert(t_balanced());
		expect_distinct(tried[i]);
		cr_assert(t_balanced());
	}
}

Test(report, an_invalid_release_counts_and_changes_nothing)
{
	for (size_t i = 2; i < T_COUNT(tried); i++) {
		struct bufpool_stats before, after;
		unsigned char *p;

		t_need_pool(tried[i]);
		p = bufpool_acquire(tried[i]);
		t_fill(p, tried[i], 4);
		before = t_stats();
		bufpool_release(t_launder(p + 16));
		bufpool_release(t_launder(p + 1));
		after = t_stats();
		cr_assert_eq(after.misuse, before.misuse + 2);
		cr_assert_eq(after.in_use, before.in_use);
		cr_assert_eq(after.released, before.released);
		cr_assert(t_check(p, tried[i], 4));
		bufpool_release(p);
		expect_distinct(tried[i]);
		cr_assert(t_balanced());
	}
}

Test(report, a_foreign_release_counts_and_leaves_the_memory_alone)
{
	unsigned char mine[256] __attribute__((aligned(64)));
	const uint64_t misuse = t_stats().misuse;

	t_need_pool(64);
	t_fill(mine, sizeof(mine), 8);
	bufpool_release(t_launder(mine + 64));
	cr_assert_eq(t_stats().misuse, misuse + 1);
	cr_assert(t_check(mine, sizeof(mine), 8));
	expect_distinct(64);
	cr_assert(t_balanced());
}

Test(report, a_wrong_size_counts_and_the_block_goes_to_its_own_class)
{
	static const size_t given[] = { 100, 8, 60000 };

	for (size_t i = 0; i < T_COUNT(given); i++) {
		uint64_t misuse;
		void *p;

		t_need_pool(1000);
		misuse = t_stats().misuse;
		p = bufpool_acquire(1000);
		bufpool_release_sized(p, given[i]);
		cr_assert_eq(t_stats().misuse, misuse + 1);
		p = bufpool_acquire(given[i]);
		cr_assert_geq(bufpool_capacity(p), given[i]);
		t_fill(p, given[i], 1);
		bufpool_release(p);
		expect_distinct(1000);
		expect_distinct(given[i]);
		cr_assert(t_balanced());
	}
}

Test(report, a_written_block_is_set_aside_for_good)
{
	for (size_t i = 0; i < T_COUNT(tried); i++) {
		struct bufpool_stats before;
		unsigned char *p, *old;
		void *next;

		t_need_pool(tried[i]);
		p = bufpool_acquire(tried[i]);
		old = t_launder(p);
		bufpool_release(p);
		before = t_stats();
		memset(old, 0x5a, tried[i]);
		next = bufpool_acquire(tried[i]);
		cr_assert_not_null(next);
		cr_assert_neq(next, old, "%zu bytes", tried[i]);
		cr_assert_eq(t_stats().misuse, before.misuse + 1);
		cr_assert_eq(t_stats().set_aside, before.set_aside + 1);
		cr_assert(t_balanced());
		bufpool_release(next);
		expect_distinct(tried[i]);
	}
}

Test(report, hundreds_of_crimes_of_every_kind)
{
	uint64_t random = 31, crimes = 0;

	t_need_pool(1000);
	for (int i = 0; i < 300; i++) {
		const size_t n = 16 + t_random(&random) % 8000;
		unsigned char *p = bufpool_acquire(n), *old = t_launder(p);

		cr_assert_not_null(p);
		switch (i % 3) {
		case 0:
			bufpool_release(p);
			bufpool_release(old);
			break;
		case 1:
			bufpool_release(t_launder(old + 1));
			bufpool_release(p);
			break;
		default:
			bufpool_release_sized(p, n * 2 + 100);
		}
		crimes++;
		cr_assert_eq(t_stats().misuse, crimes);
	}
	for (size_t n = 16; n < 8016; n = n * 2 + 1)
		expect_distinct(n);
	cr_assert_eq(t_stats().in_use, 0, "%d blocks count as in use", (int)t_stats().in_use);
	cr_assert(t_balanced());
}

/* Two releases of one block at once on two threads: whichever way it is found, nobody may share a block afterwards. */
static void *release_together(void *argument)
{
	bufpool_release(argument);
	return NULL;
}

Test(report, a_racing_double_release_gives_nothing_twice)
{
	struct bufpool_stats s;

	t_need_pool(128);
	for (int i = 0; i < 300; i++) {
		void *p = bufpool_acquire(128), *again = t_launder(p);
		void *blocks[512];
		pthread_t thread;

		cr_assert_eq(pthread_create(&thread, NULL, release_together, p), 0);
		bufpool_release(again);
		pthread_join(thread, NULL);
		cr_assert_eq(bufpool_acquire_many(blocks, T_COUNT(blocks), 128), T_COUNT(blocks));
		qsort(blocks, T_COUNT(blocks), sizeof(*blocks), compare);
		for (size_t k = 1; k < T_COUNT(blocks); k++)
			cr_assert_neq(blocks[k], blocks[k - 1]);
		bufpool_release_many(blocks, T_COUNT(blocks));
	}
	s = t_stats();
	cr_assert_geq(s.misuse, 299, "%d of 300 were noticed", (int)s.misuse);
}

Test(report, counts_without_aborting_in_a_started_program)
{
	t_need_pool(16);
	struct t_result r;

	t_helper(&r, "double", NULL, "misuse:report");
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_not_null(strstr(r.text, "bufpool: misuse: double release: 0x"), "%s", r.text);
	cr_assert_not_null(strstr(r.text, "misuse 1\n"), "%s", r.text);
	t_helper(&r, "double", NULL, NULL);
	cr_assert(t_aborted(&r), "%s", r.text);
}
