/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools in the child of a fork: what was out stays out on both sides, the child uses, destroys and makes pools,
 * whatever the parent's other threads were doing.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(pools_fork, .timeout = 150);

enum { POOLS = 3, HELD = 120 };
static struct bufpool *pools[POOLS];
static struct { void *p; size_t n; } held[POOLS][HELD];

static void hold_some(void)
{
	static const size_t sizes[] = { 16, 100, 1024, 5000, 40000, 65536, 65537, 200000 };

	for (size_t i = 0; i < POOLS; i++) {
		pools[i] = p_make("inherited", 0, 0, i == 1 ? BUFPOOL_WIPE : 0);
		cr_assert_not_null(pools[i]);
		for (size_t k = 0; k < HELD; k++) {
			held[i][k].n = sizes[k % T_COUNT(sizes)];
			held[i][k].p = bufpool_acquire_from(pools[i], held[i][k].n);
			cr_assert_not_null(held[i][k].p);
			t_fill(held[i][k].p, held[i][k].n, i * HELD + k);
			bufpool_release(bufpool_acquire_from(pools[i], held[i][k].n / 2)); /* some cached as well */
		}
	}
}

static bool whole(void)
{
	for (size_t i = 0; i < POOLS; i++)
		for (size_t k = 0; k < HELD; k++)
			if (!t_check(held[i][k].p, held[i][k].n, i * HELD + k))
				return false;
	return true;
}

static bool use(struct bufpool *pool)
{
	void *p[100];

	for (size_t k = 0; k < T_COUNT(p); k++) {
		p[k] = bufpool_acquire_from(pool, k * k * 10);
		if (!p[k])
			return false;
		t_fill(p[k], k * k * 10, k);
	}
	for (size_t k = 0; k < T_COUNT(p); k++) {
		if (!t_check(p[k], k * k * 10, k))
			return false;
		bufpool_release(p[k]);
	}
	return true;
}

/* Everything that a child may do. */
static int use_all(void)
{
	struct bufpool *fresh[POOLS];

	if (!whole())
		return 1;
	for (int i = 0; i < POOLS; i++)
		if (!use(pools[i]) || p_stats(pools[i]).in_use != HELD || !p_balanced(pools[i]))
			return 2;
	if (!whole())
		return 3; /* what was out when the parent forked has been handed out again */
	for (int i = 0; i < POOLS; i++)
		for (int k = 0; k < HELD; k++)
			bufpool_release(held[i][k].p);
	for (int i = 0; i < POOLS; i++)
		if (p_stats(pools[i]).in_use || !p_balanced(pools[i]))
			return 4;
	bufpool_advance_epoch(pools[0]);
	bufpool_advance_epoch(pools[0]);
	bufpool_trim(pools[1], 0);
	bufpool_tick();
	for (int i = 0; i < POOLS; i++)
		if (!use(pools[i]) || !p_balanced(pools[i]))
			return 5;
	for (int i = 0; i < POOLS; i++) {
		fresh[i] = p_make("the child's", 0, 0, 0);
		if (!fresh[i] || !use(fresh[i]))
			return 6;
	}
	for (int i = 0; i < POOLS; i++)
		bufpool_destroy(pools[i]);
	for (int i = 0; i < POOLS; i++)
		for (int k = 0; k < HELD; k++)
			if (bufpool_owns(held[i][k].p))
				return 7;
	for (int i = 0; i < POOLS; i++) {
		pools[i] = p_make("in their place", 0, 0, 0);
		if (!pools[i] || !use(pools[i]) || !use(fresh[i]) || !p_balanced(pools[i]))
			return 8;
	}
	for (int i = 0; i < POOLS; i++) {
		bufpool_destroy(fresh[i]);
		bufpool_destroy(pools[i]);
	}
	return t_balanced() && !t_stats().misuse ? 0 : 9;
}

/* At once, without having used them. */
static int destroy_at_once(void)
{
	const int nowhere = dup(STDERR_FILENO);

	close(STDERR_FILENO); /* what was out is said there */
	for (int i = 0; i < POOLS; i++)
		bufpool_destroy(pools[i]);
	dup2(nowhere, STDERR_FILENO);
	for (int i = 0; i < POOLS; i++) {
		pools[i] = p_make("in their place", 0, 0, 0);
		if (!pools[i] || !use(pools[i]) || p_stats(pools[i]).in_use || !p_balanced(pools[i]))
			return 1;
	}
	return t_balanced() ? 0 : 2;
}

static int release_at_once(void)
{
	for (int i = 0; i < POOLS; i++)
		for (int k = HELD - 1; k >= 0; k--)
			bufpool_release_sized(held[i][k].p, held[i][k].n);
	for (int i = 0; i < POOLS; i++)
		if (p_stats(pools[i]).in_use || !p_balanced(pools[i]))
			return 1;
	return 0;
}

static int (*const checks[])(void) = { use_all, destroy_at_once, release_at_once };

static void release_all(void)
{
	cr_assert(whole(), "the children's doings are none of the parent's");
	for (int i = 0; i < POOLS; i++) {
		cr_assert(p_balanced(pools[i]));
		cr_assert_eq(p_stats(pools[i]).in_use, HELD);
		for (int k = 0; k < HELD; k++)
			bufpool_release(held[i][k].p);
		cr_assert_eq(p_stats(pools[i]).in_use, 0);
		bufpool_destroy(pools[i]);
	}
	cr_assert(t_balanced());
}

Test(pools_fork, the_child_of_one_thread)
{
	p_need_own_memory();
	hold_some();
	for (size_t i = 0; i < 5 * T_COUNT(checks); i++)
		cr_assert_eq(t_in_child(checks[i % T_COUNT(checks)]), 0, "child %zu", i);
	release_all();
}

/* ---- beside threads ---- */

static atomic_bool stop;

/* At work in all pools, and in ones of its own that come and go. */
static void *churn(void *seed)
{
	uint64_t random = (uintptr_t)seed;
	uintptr_t wrong = 0;

	while (!atomic_load(&stop)) {
		struct bufpool *mine = p_make("short", 0, 0, 0);

		for (int i = 0; mine && i < 20; i++) {
			struct bufpool *pool = i % 2 ? mine : pools[t_random(&random) % POOLS];
			const size_t n = t_random_size(&random) % 80000;
			void *p = bufpool_acquire_from(pool, n);

			if (!p)
				return (void *)1;
			t_fill(p, n, random);
			wrong += !t_check(p, n, random);
			bufpool_release(p);
		}
		bufpool_destroy(mine);
		bufpool_tick();
	}
	return (void *)wrong;
}

/* The parent's threads had some out, too: lost to the child, as the header says, and counted in use there. */
static int use_all_beside(void)
{
	struct bufpool *fresh;

	if (!whole())
		return 1;
	for (int i = 0; i < POOLS; i++)
		if (!use(pools[i]) || p_stats(pools[i]).in_use < HELD)
			return 2;
	if (!whole())
		return 3;
	for (int i = 0; i < POOLS; i++)
		for (int k = 0; k < HELD; k++)
			bufpool_release(held[i][k].p);
	bufpool_advance_epoch(pools[0]);
	bufpool_trim(pools[1], 0);
	bufpool_tick();
	for (int i = 0; i < POOLS; i++)
		if (!use(pools[i]))
			return 4;
	fresh = p_make("the child's", 0, 0, 0);
	if (!fresh || !use(fresh) || p_stats(fresh).in_use || !p_balanced(fresh))
		return 5;
	bufpool_destroy(fresh);
	return destroy_at_once() ? 6 : 0;
}

static int (*const checks_beside[])(void) = { use_all_beside, destroy_at_once };

static void fork_beside(int threads, int forks)
{
	pthread_t ids[4];
	uintptr_t wrong = 0;
	int failed = 0;

	hold_some();
	for (int i = 0; i < threads; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, churn, (void *)(uintptr_t)(i + 1)), 0);
	for (int i = 0; i < forks && !failed; i++)
		failed = t_in_child(checks_beside[(size_t)i % T_COUNT(checks_beside)]);
	atomic_store(&stop, true);
	for (int i = 0; i < threads; i++) {
		void *one = NULL;

		pthread_join(ids[i], &one);
		wrong += (uintptr_t)one;
	}
	cr_assert_eq(failed, 0, "a child: %d", failed);
	cr_assert_eq(wrong, 0);
	release_all();
}

Test(pools_fork, the_child_of_many_threads)
{
	p_need_own_memory();
	fork_beside(4, 40);
}

Test(pools_fork, the_child_of_many_threads_and_short_epochs)
{
	p_need_own_memory();
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	fork_beside(3, 40);
}

static int generations(void)
{
	for (int i = 0; i < POOLS; i++)
		if (!use(pools[i]))
			return 1;
	return t_in_child(use_all_beside) & 255;
}

Test(pools_fork, the_child_s_child)
{
	pthread_t thread;

	p_need_own_memory();
	hold_some();
	cr_assert_eq(pthread_create(&thread, NULL, churn, (void *)7), 0);
	for (int i = 0; i < 12; i++)
		cr_assert_eq(t_in_child(generations), 0, "child %d", i);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	release_all();
}
