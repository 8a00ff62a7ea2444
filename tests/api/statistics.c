/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every number is true: created = in use + cached + victim + queued + set aside + dropped after any work, on one thread
 * and on many; and the protocol of the structures' size field.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

TestSuite(statistics, .timeout = 60);

Test(statistics, identity_after_many_random_workloads)
{
	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct t_owner o = { .random = seed };

		cr_assert_eq(t_owner_run(&o, 400), 0, "seed %d", (int)seed);
		cr_assert(t_balanced(), "seed %d", (int)seed);
		if (seed % 3 == 0)
			bufpool_advance_epoch(NULL);
		if (seed % 7 == 0)
			bufpool_trim(NULL, seed * 1000);
		if (seed % 5 == 0)
			bufpool_tick();
		cr_assert(t_balanced(), "seed %d", (int)seed);
	}
	cr_assert_eq(t_stats().in_use, 0);
}

Test(statistics, identity_in_the_middle_of_a_workload)
{
	t_need_pool(16);
	struct t_owner o = { .random = 99 };
	unsigned wrong = 0;

	for (int i = 0; i < 20000; i++) {
		wrong += t_owner_step(&o);
		if (i % 37 == 0) {
			cr_assert(t_balanced(), "step %d", i);
			cr_assert_eq(t_stats().in_use, o.count);
		}
	}
	cr_assert_eq(wrong + t_owner_finish(&o), 0);
}

static void *run_owner(void *argument)
{
	struct t_owner *o = argument;

	return (void *)(uintptr_t)t_owner_run(o, 30000);
}

Test(statistics, identity_after_many_threads)
{
	enum { THREADS = 8 };
	static struct t_owner owners[THREADS];
	pthread_t threads[THREADS];

	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < THREADS; i++) {
			owners[i].random = (uint64_t)(round * THREADS + i);
			cr_assert_eq(pthread_create(&threads[i], NULL, run_owner, &owners[i]), 0);
		}
		for (int i = 0; i < THREADS; i++) {
			void *wrong = NULL;

			pthread_join(threads[i], &wrong);
			cr_assert_null(wrong);
		}
		cr_assert(t_balanced(), "round %d", round);
		cr_assert_eq(t_stats().in_use, 0);
	}
}

Test(statistics, every_acquire_is_served_from_somewhere, .init = t_hold_epochs)
{
	struct bufpool_stats s;
	struct t_owner o = { .random = 5 };

	cr_assert_eq(t_owner_run(&o, 20000), 0);
	s = t_stats();
	/* A miss takes its own block from what jemalloc gave it, so the sources can't be fewer than the acquires. */
	cr_assert_leq(s.hits + s.from_shared + s.from_victim + s.from_steal, s.acquired);
	cr_assert_geq(s.hits + s.from_shared + s.from_victim + s.from_steal + s.from_backend, s.acquired);
	cr_assert_eq(s.released, s.acquired);
	cr_assert_eq(s.misuse, 0);
	cr_assert_eq(s.set_aside, 0);
}

Test(statistics, acquired_released_and_in_use_count_each_call, .init = t_hold_epochs)
{
	static const size_t tried[] = { 0, 100, 40000, 65536, 65537, 1 << 20, 5 << 20 };

	for (size_t i = 0; i < T_COUNT(tried); i++) {
		const struct bufpool_stats before = t_stats();
		struct bufpool_stats held, after;
		void *blocks[9];

		t_need_pool(tried[i] > T_CAP ? T_CAP : tried[i]);
		cr_assert_eq(bufpool_acquire_many(blocks, 9, tried[i]), 9);
		held = t_stats();
		bufpool_release_many(blocks, 9);
		after = t_stats();
		cr_assert_geq(held.acquired, before.acquired + 9);
		cr_assert_eq(held.in_use, before.in_use + 9, "%zu bytes", tried[i]);
		cr_assert_geq(held.in_use_bytes, before.in_use_bytes + 9 * tried[i]);
		cr_assert_eq(after.released, held.released + 9);
		cr_assert_eq(after.in_use, before.in_use);
		cr_assert_eq(after.in_use_bytes, before.in_use_bytes);
		cr_assert_eq(after.over_cap - before.over_cap, tried[i] > T_CAP ? 9 : 0);
		cr_assert(t_balanced());
	}
}

Test(statistics, classes_sum_up_to_the_whole, .init = t_hold_epochs)
{
	t_need_pool(16);
	struct bufpool_class_stats c, sum = { 0 };
	struct bufpool_stats s;
	uint64_t cached_bytes = 0, victim_bytes = 0, in_use_bytes = 0, random = 6;
	static void *blocks[3000];

	for (size_t i = 0; i < T_COUNT(blocks); i++)
		blocks[i] = bufpool_acquire(t_random(&random) % (T_CAP + 1));
	bufpool_release_many(blocks, 1500);
	bufpool_advance_epoch(NULL);
	bufpool_release_many(blocks + 1500, 1000);
	for (size_t n = 1; n <= T_LARGEST; n = c.class_size + 1) {
		c = t_class(n);
		cr_assert_eq(c.class_size, bufpool_good_size(n));
		sum.acquired += c.acquired;
		sum.released += c.released;
		sum.hits += c.hits;
		sum.from_shared += c.from_shared;
		sum.from_victim += c.from_victim;
		sum.from_steal += c.from_steal;
		sum.from_backend += c.from_backend;
		sum.in_use += c.in_use;
		sum.cached += c.cached;
		sum.victim += c.victim;
		sum.queued += c.queued;
		cached_bytes += c.cached * c.class_size;
		victim_bytes += c.victim * c.class_size;
		in_use_bytes += c.in_use * c.class_size;
	}
	s = t_stats();
#define T_SUM(field) cr_assert_eq(sum.field, s.field, #field ": %d, not %d", (int)sum.field, (int)s.field)
	T_SUM(acquired);
	T_SUM(released);
	T_SUM(hits);
	T_SUM(from_shared);
	T_SUM(from_victim);
	T_SUM(from_steal);
	T_SUM(from_backend);
	T_SUM(in_use);
	T_SUM(cached);
	T_SUM(victim);
	T_SUM(queued);
	cr_assert_eq(cached_bytes, s.cached_bytes);
	cr_assert_eq(victim_bytes, s.victim_bytes);
	cr_assert_eq(in_use_bytes, s.in_use_bytes);
	cr_assert_geq(s.in_use, 500);
	bufpool_release_many(blocks + 2500, 500);
}

Test(statistics, a_class_counts_its_own_blocks_only, .init = t_hold_epochs)
{
	const uint64_t other = t_class(2000).acquired;
	void *blocks[10];

	t_need_pool(1000);
	cr_assert_eq(bufpool_acquire_many(blocks, 10, 1000), 10);
	cr_assert_eq(t_class(1000).in_use, 10);
	cr_assert_eq(t_class(1024).in_use, 10, "the same class");
	cr_assert_eq(t_class(1025).in_use, 0);
	cr_assert_eq(t_class(2000).acquired, other);
	bufpool_release_many(blocks, 10);
	cr_assert_eq(t_class(1000).in_use, 0);
}

/* ---- the size field ---- */

Test(statistics, size_too_small_is_EINVAL_and_nothing_is_written)
{
	static const size_t small[] = { 0, 1, sizeof(size_t), offsetof(struct bufpool_stats, in_use),
		sizeof(struct bufpool_stats) - 1 };

	for (size_t i = 0; i < T_COUNT(small); i++) {
		struct bufpool_stats s;

		memset(&s, 0x5a, sizeof(s));
		s.size = small[i];
		cr_assert_eq(bufpool_stats_get(&s, NULL), -EINVAL, "size %zu", small[i]);
		cr_assert_eq(s.size, small[i]);
		cr_assert(t_all(&s.acquired, sizeof(s) - offsetof(struct bufpool_stats, acquired), 0x5a));
	}
}

Test(statistics, class_size_too_small_is_EINVAL_and_nothing_is_written)
{
	static const size_t small[] = { 0, 8, sizeof(struct bufpool_class_stats) - 1 };

	for (size_t i = 0; i < T_COUNT(small); i++) {
		struct bufpool_class_stats s;

		memset(&s, 0x5a, sizeof(s));
		s.size = small[i];
		cr_assert_eq(bufpool_class_stats_get(&s, NULL, 100), -EINVAL, "size %zu", small[i]);
		cr_assert(t_all(&s.class_size, sizeof(s) - offsetof(struct bufpool_class_stats, class_size), 0x5a));
	}
}

Test(statistics, larger_size_is_filled_as_far_as_known)
{
	struct {
		struct bufpool_stats s;
		unsigned char later[64];
	} newer;
	struct {
		struct bufpool_class_stats s;
		unsigned char later[64];
	} newer_class;

	memset(&newer, 0x5a, sizeof(newer));
	newer.s.size = sizeof(newer);
	cr_assert_eq(bufpool_stats_get(&newer.s, NULL), 0);
	cr_assert_eq(newer.s.size, sizeof(newer.s));
	cr_assert(t_all(newer.later, sizeof(newer.later), 0x5a));
	cr_assert_eq(t_imbalance(&newer.s), 0);
	memset(&newer_class, 0x5a, sizeof(newer_class));
	newer_class.s.size = sizeof(newer_class);
	cr_assert_eq(bufpool_class_stats_get(&newer_class.s, NULL, 100), 0);
	cr_assert_eq(newer_class.s.size, sizeof(newer_class.s));
	cr_assert(t_all(newer_class.later, sizeof(newer_class.later), 0x5a));
}

Test(statistics, no_class_over_4M_is_ERANGE)
{
	t_need_pool(16);
	struct bufpool_class_stats s = { .size = sizeof(s) };

	cr_assert_eq(bufpool_class_stats_get(&s, NULL, T_LARGEST), 0);
	cr_assert_eq(s.class_size, T_LARGEST);
	cr_assert_eq(bufpool_class_stats_get(&s, NULL, (size_t)T_LARGEST + 1), -ERANGE);
	cr_assert_eq(bufpool_class_stats_get(&s, NULL, SIZE_MAX), -ERANGE);
	cr_assert_eq(bufpool_class_stats_get(&s, NULL, 0), 0);
	cr_assert_eq(s.class_size, bufpool_good_size(0));
}

Test(statistics, before_first_use_all_is_zero)
{
	const struct bufpool_stats s = t_stats();

	cr_assert_eq(s.acquired + s.released + s.in_use + s.misuse, 0);
	cr_assert_eq(t_imbalance(&s), 0);
}

/* Each thread adds its own in rows; what a thread asks for has all of its calls in it. */
Test(statistics, calls_that_pass_through_are_counted_each)
{
	uint64_t before;

	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	before = t_stats().passed_through;
	for (int i = 1; i <= 1000; i++) {
		bufpool_release(bufpool_acquire(100));
		cr_assert_eq(t_stats().passed_through, before + i);
	}
}
