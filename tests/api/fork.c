/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fork: the child uses everything at once, nothing is handed out twice, and its books are right, whatever the parent's
 * other threads were doing. Children report through their exit status and have an alarm against deadlocks.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(fork, .timeout = 150);

static void *held[300];

static int work_and_balance(void)
{
	static struct t_owner o;

	o.random = (uint64_t)getpid();
	if (t_owner_run(&o, 3000))
		return 1;
	if (!t_balanced())
		return 2;
	bufpool_advance_epoch(NULL);
	bufpool_advance_epoch(NULL);
	bufpool_tick();
	bufpool_trim(NULL, 0);
	if (t_owner_run(&o, 1000))
		return 3;
	return t_balanced() ? 0 : 4;
}

Test(fork, the_child_acquires_and_releases_at_once)
{
	struct t_owner o = { .random = 1 };

	cr_assert_eq(t_owner_run(&o, 1000), 0);
	for (int i = 0; i < 20; i++) {
		const int failed = t_in_child(work_and_balance);

		cr_assert_eq(failed, 0, "child %d: %d", i, failed);
	}
	cr_assert(t_balanced());
}

Test(fork, before_first_use_too)
{
	cr_assert_eq(t_in_child(work_and_balance), 0);
	cr_assert_eq(t_in_child(work_and_balance), 0);
}

static int new_blocks_are_new(void)
{
	static void *fresh[2000];

	if (bufpool_acquire_many(fresh, 2000, 1000) != 2000)
		return 1;
	for (size_t i = 0; i < 2000; i++) {
		for (size_t k = 0; k < T_COUNT(held); k++)
			if (fresh[i] == held[k])
				return 2;
		for (size_t k = 0; k < i; k++)
			if (fresh[i] == fresh[k])
				return 3;
	}
	for (size_t k = 0; k < T_COUNT(held); k++)
		if (!t_check(held[k], 1000, k))
			return 4;
	bufpool_release_many(fresh, 2000);
	bufpool_release_many(held, T_COUNT(held));
	return t_balanced() ? 0 : 5;
}

Test(fork, what_is_in_use_stays_in_use_on_both_sides)
{
	cr_assert_eq(bufpool_acquire_many(held, T_COUNT(held), 1000), T_COUNT(held));
	for (size_t k = 0; k < T_COUNT(held); k++)
		t_fill(held[k], 1000, k);
	cr_assert_eq(t_in_child(new_blocks_are_new), 0);
	for (size_t k = 0; k < T_COUNT(held); k++)
		cr_assert(t_check(held[k], 1000, k), "the child's releases are none of the parent's");
	bufpool_release_many(held, T_COUNT(held));
	cr_assert(t_balanced());
}

static int counts_what_was_held(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	if (bufpool_stats_get(&s, NULL) || s.in_use != T_COUNT(held))
		return 1;
	if (t_imbalance(&s))
		return 2;
	bufpool_release_many(held, T_COUNT(held));
	if (bufpool_stats_get(&s, NULL) || s.in_use)
		return 3;
	return 0;
}

Test(fork, the_child_s_books_begin_as_the_parent_s)
{
	t_need_pool(1000);
	cr_assert_eq(bufpool_acquire_many(held, T_COUNT(held), 1000), T_COUNT(held));
	cr_assert_eq(t_in_child(counts_what_was_held), 0);
	bufpool_release_many(held, T_COUNT(held));
}

/* ---- while others work ---- */

static atomic_bool stop;

static void *churn(void *argument)
{
	struct t_owner *o = argument;
	unsigned wrong = 0;

	while (!atomic_load(&stop))
		wrong += t_owner_step(o);
	return (void *)(uintptr_t)(wrong + t_owner_finish(o));
}

static void fork_beside_threads(int threads, int forks, int (*check)(void))
{
	static struct t_owner owners[8];
	pthread_t ids[8];
	int failed = 0;

	atomic_store(&stop, false);
	for (int i = 0; i < threads; i++) {
		owners[i].random = (uint64_t)i;
		cr_assert_eq(pthread_create(&ids[i], NULL, churn, &owners[i]), 0);
	}
	for (int i = 0; i < forks && !failed; i++)
		failed = t_in_child(check);
	atomic_store(&stop, true);
	for (int i = 0; i < threads; i++) {
		void *wrong = NULL;

		pthread_join(ids[i], &wrong);
		cr_expect_null(wrong, "the parent's thread %d", i);
	}
	cr_assert_eq(failed, 0, "a child: %d", failed);
	cr_assert(t_balanced());
	cr_assert_eq(t_stats().in_use, 0);
}

Test(fork, beside_threads_at_work)
{
	fork_beside_threads(4, 100, work_and_balance);
}

Test(fork, beside_threads_and_short_epochs)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	fork_beside_threads(3, 100, work_and_balance);
}

static void *thread_of_the_child(void *argument)
{
	struct t_owner *o = argument;

	return (void *)(uintptr_t)t_owner_run(o, 2000);
}

static int threads_in_the_child(void)
{
	static struct t_owner owners[3];
	pthread_t ids[3];
	int wrong = 0;

	for (int i = 0; i < 3; i++) {
		owners[i].random = (uint64_t)(i + getpid());
		if (pthread_create(&ids[i], NULL, thread_of_the_child, &owners[i]))
			return 1;
	}
	for (int i = 0; i < 3; i++) {
		void *result = NULL;

		pthread_join(ids[i], &result);
		wrong |= result != NULL;
	}
	if (wrong)
		return 2;
	return t_balanced() ? 0 : 3;
}

Test(fork, threads_in_the_child_beside_threads_in_the_parent)
{
	if (!*T_SHIM)
		cr_skip_test("gcc's sanitizers leave their own malloc locked in the child, if a thread was in it");
	fork_beside_threads(2, 40, threads_in_the_child);
}

static int nested(void)
{
	const int inner = t_in_child(work_and_balance);

	return inner ? inner & 255 : work_and_balance();
}

Test(fork, generations)
{
	fork_beside_threads(2, 20, nested);
}
