/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A million pools one after the other, unused and used, on one thread and on several, leave no memory, no addresses and no
 * mappings behind; nor do fewer of them in the portable mode.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

TestSuite(pools_long, .timeout = 170);

enum { CYCLES = 1000000, PORTABLE_CYCLES = 400000, WARM_UP = 20000, THREADS = 4 };

static unsigned cycles(void)
{
	char percpu[32] = "";

	bufpool_option_get(percpu, sizeof(percpu), "percpu");
	return strcmp(percpu, "fallback") ? CYCLES : PORTABLE_CYCLES;
}

typedef void cycle_fn(unsigned i);

static void unused(unsigned i)
{
	(void)i;
	bufpool_destroy(p_make("unused", 0, 0, 0));
}

static void used(unsigned i)
{
	struct bufpool *pool = p_make("used", 0, 0, 0);
	unsigned char *p = bufpool_acquire_from(pool, i % 300), *q = bufpool_acquire_from(pool, 4096 + i * 64 % 60000);

	*p = 1;
	*q = 2;
	bufpool_release(p);
	if (i % 3)
		bufpool_release(q);
	bufpool_destroy(pool);
}

static void used_over_the_cap(unsigned i)
{
	struct bufpool *pool = p_make("over the cap", 4096, 0, 0);
	unsigned char *p = bufpool_acquire_from(pool, 5000 + i * 4096 % 500000);

	*p = 1;
	if (i % 2)
		bufpool_release(p);
	bufpool_destroy(pool);
}

static void expect_as_before(const struct p_process *before, const struct p_process *after, size_t addresses, size_t resident)
{
	cr_assert_leq(after->size, before->size + addresses, "%zu -> %zu KiB of addresses", before->size >> 10,
		      after->size >> 10);
	cr_assert_leq(after->resident, before->resident + resident, "%zu -> %zu KiB resident", before->resident >> 10,
		      after->resident >> 10);
	cr_assert_leq(after->mappings, before->mappings + 16, "%zu -> %zu mappings", before->mappings, after->mappings);
}

static void expect_nothing_left(cycle_fn *cycle, unsigned count)
{
	struct p_process before, after;
	FILE *said = freopen("/dev/null", "w", stderr); /* of each pool that ends with blocks out */

	cr_assert_not_null(said);
	p_need_own_memory();
	for (unsigned i = 0; i < WARM_UP; i++)
		cycle(i);
	before = p_process();
	for (unsigned i = 0; i < count; i++)
		cycle(i);
	after = p_process();
	expect_as_before(&before, &after, 0, 1u << 20);
	cr_assert(t_balanced());
}

Test(pools_long, unused_ones)
{
	expect_nothing_left(unused, cycles());
}

Test(pools_long, used_ones)
{
	expect_nothing_left(used, cycles());
}

Test(pools_long, ones_used_over_the_cap)
{
	expect_nothing_left(used_over_the_cap, cycles() / 5);
}

/* ---- several at once ---- */

static void *cycle_them(void *count)
{
	for (unsigned i = 0; i < (unsigned)(uintptr_t)count; i++)
		used(i);
	return NULL;
}

static void on_threads(unsigned count)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, cycle_them, (void *)(uintptr_t)count), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

Test(pools_long, used_ones_on_four_threads)
{
	struct p_process before, after;
	FILE *said = freopen("/dev/null", "w", stderr);

	cr_assert_not_null(said);
	p_need_own_memory();
	on_threads(WARM_UP);
	before = p_process();
	for (int round = 0; round < 5; round++)
		on_threads(cycles() / THREADS / 5);
	after = p_process();
	expect_as_before(&before, &after, 1u << 20, 2u << 20);
	cr_assert(t_balanced());
}

/* Four thousand at once, again and again. */
Test(pools_long, all_there_can_be_again_and_again)
{
	enum { MOST = 8192 };
	static struct bufpool *all[MOST];
	struct p_process before = { 0 }, after = { 0 };
	int most = 0;

	p_need_own_memory();
	for (int round = 0; round < 20; round++) {
		int n = 0;

		while (n < MOST && !bufpool_create(&all[n], NULL)) {
			bufpool_release(bufpool_acquire_from(all[n], 1000));
			n++;
		}
		cr_assert_geq(n, most, "round %d: %d pools, %d before", round, n, most);
		most = n;
		while (n > 0)
			bufpool_destroy(all[--n]);
		after = p_process();
		if (round == 2)
			before = after;
	}
	expect_as_before(&before, &after, 0, 4u << 20);
}
