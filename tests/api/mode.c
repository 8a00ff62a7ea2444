/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The mode changed by the program itself: before its first call, while blocks are out and cached, and while threads
 * work. Nothing that is out or cached at a change may be lost, doubled or broken.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(mode, .timeout = 60);

enum { THREADS = 4, BLOCK = 65536, MANY = 500 };

/* The compiler is not to know it: constant sizes have a way of their own, see the_mode_reaches_constant_sizes_too. */
static volatile size_t unknown = BLOCK;

static void set(const char *mode)
{
	char value[16];

	cr_assert_eq(bufpool_option_set("mode", mode), 0);
	cr_assert_eq(bufpool_option_get(value, sizeof(value), "mode"), 0);
	cr_assert_str_eq(value, mode);
}

static void use(int times)
{
	for (int i = 0; i < times; i++)
		bufpool_release(bufpool_acquire(unknown));
}

Test(mode, a_pool_that_passed_from_the_start_pools_when_told)
{
	struct bufpool_stats s;
	void *passed, *pooled;

	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	passed = bufpool_acquire(BLOCK);
	memset(passed, 7, BLOCK);
	use(1000);
	s = t_stats();
	cr_assert_eq(s.acquired, 0);
	cr_assert_eq(s.cached, 0);
	cr_assert_geq(s.passed_through, 1000 - 255);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	t_need_pool(BLOCK);
	set("pool");
	s = t_stats();
	use(10000);
	cr_assert_eq(t_stats().acquired - s.acquired, 10000);
	cr_assert_geq(t_stats().hits - s.hits, 9900);
	cr_assert(t_all(passed, BLOCK, 7));
	pooled = bufpool_acquire(BLOCK);
	bufpool_release(passed);
	bufpool_release(pooled);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert(t_balanced());
}

Test(mode, pass_and_pool_before_the_first_call)
{
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	t_need_pool(BLOCK);
	set("pool");
	use(1000);
	cr_assert_geq(t_stats().hits, 900);
}

/* What is cached stays so and is used again afterwards; what is out goes back to where it came from. */
Test(mode, blocks_of_before_the_change_go_where_they_belong)
{
	static void *out[MANY];
	struct bufpool_stats before, after;

	t_need_pool(BLOCK);
	t_hold_epochs();
	for (int i = 0; i < MANY; i++)
		memset(out[i] = bufpool_acquire(BLOCK), i, BLOCK);
	use(10);
	set("pass");
	before = t_stats();
	for (int i = 0; i < MANY / 2; i++) {
		cr_assert(t_all(out[i], BLOCK, (unsigned char)i));
		bufpool_release(out[i]);
	}
	after = t_stats();
	cr_assert_eq(after.released - before.released, MANY / 2);
	cr_assert_eq(before.in_use - after.in_use, MANY / 2);
	use(10);
	cr_assert_eq(t_stats().acquired, after.acquired, "nothing comes from the pool");
	cr_assert(t_balanced());
	set("pool");
	for (int i = MANY / 2; i < MANY; i++) {
		cr_assert(t_all(out[i], BLOCK, (unsigned char)i));
		bufpool_release(out[i]);
	}
	cr_assert_eq(t_stats().in_use, before.in_use - MANY);
	cr_assert(t_balanced());
}

/* A class with so few pops behind it that nothing but the mode sends its requests to the slow path. */
Test(mode, what_is_cached_is_not_handed_out)
{
	void *p[8];
	uint64_t hits;

	t_need_pool(BLOCK);
	t_hold_epochs();
	for (size_t i = 0; i < T_COUNT(p); i++)
		p[i] = bufpool_acquire(unknown);
	for (size_t i = 0; i < T_COUNT(p); i++)
		bufpool_release(p[i]);
	set("pass");
	hits = t_stats().hits;
	for (size_t i = 0; i < T_COUNT(p); i++) {
		p[i] = bufpool_acquire(unknown);
		cr_assert_not(bufpool_owns(p[i]));
	}
	for (size_t i = 0; i < T_COUNT(p); i++)
		bufpool_release(p[i]);
	cr_assert_eq(t_stats().hits, hits);
	set("pool");
	for (size_t i = 0; i < T_COUNT(p); i++)
		p[i] = bufpool_acquire(unknown);
	cr_assert_eq(t_stats().hits, hits + T_COUNT(p));
	for (size_t i = 0; i < T_COUNT(p); i++)
		bufpool_release(p[i]);
	cr_assert(t_balanced());
}

Test(mode, the_mode_reaches_constant_sizes_too)
{
	t_need_pool(BLOCK);
	for (int i = 0; i < 5; i++)
		bufpool_release(bufpool_acquire(BLOCK));
	set("pass");
	for (int i = 0; i < 100; i++) {
		void *p = bufpool_acquire(BLOCK);

		cr_assert_not(bufpool_owns(p));
		bufpool_release(p);
	}
	set("pool");
	cr_assert(t_balanced());
}

/* ---- while threads work ---- */

static bool stop;

static void *work(void *seed)
{
	struct t_owner o = { .random = (uintptr_t)seed };
	uintptr_t wrong = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		wrong += t_owner_step(&o);
	return (void *)(wrong + t_owner_finish(&o));
}

static void change_while_threads_work(unsigned changes, unsigned pause_ms)
{
	pthread_t threads[THREADS];
	struct bufpool_stats s;
	uintptr_t wrong = 0;
	void *one;

	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < changes; i++) {
		cr_assert_eq(bufpool_option_set("mode", i % 2 == 0 ? "pass" : "pool"), 0);
		if (pause_ms > 0)
			t_sleep_ms(pause_ms);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &one);
		wrong += (uintptr_t)one;
	}
	cr_assert_eq(wrong, 0);
	s = t_stats();
	cr_assert_eq(s.in_use, 0);
	cr_assert_eq(s.misuse + s.set_aside, 0);
	cr_assert_gt(s.acquired, 0);
	cr_assert(t_balanced());
	set("pass");
	set("pool");
}

Test(mode, changed_while_threads_work)
{
	t_need_pool(BLOCK);
	change_while_threads_work(400, 2);
	cr_assert_gt(t_stats().passed_through, 0);
}

Test(mode, changed_without_a_pause_while_threads_work)
{
	t_need_pool(BLOCK);
	change_while_threads_work(200000, 0);
}

/* Threads that work already when the caches are made. */
Test(mode, passed_from_the_start_and_changed_while_threads_work)
{
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	bufpool_release(bufpool_acquire(BLOCK));
	change_while_threads_work(401, 1);
	use(1000);
	cr_assert_geq(t_stats().hits, 900);
}
