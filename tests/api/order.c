/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who gets what: the order in which a CPU hands its blocks out (S14: Go's test of new and get), and where a miss looks
 * before jemalloc is asked (S9). Threads pin themselves; a machine with one CPU skips what needs two.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(order, .timeout = 30, .init = t_hold_epochs);

Test(order, S14_last_released_is_first_acquired)
{
	static const size_t tried[] = { 8, 64, 1024, 4096, 40000, 65536 };

	for (size_t i = 0; i < T_COUNT(tried); i++) {
		void *a, *b, *c, *released[3];

		t_need_pool(tried[i]);
		a = bufpool_acquire(tried[i]);
		b = bufpool_acquire(tried[i]);
		c = bufpool_acquire(tried[i]);
		released[0] = t_launder(a);
		released[1] = t_launder(b);
		released[2] = t_launder(c);
		bufpool_release(a);
		bufpool_release(b);
		bufpool_release(c);
		for (int k = 2; k >= 0; k--) {
			void *p = bufpool_acquire(tried[i]);

			cr_assert_eq(p, released[k], "%zu bytes, place %d", tried[i], k);
		}
		bufpool_release_many(released, 3);
	}
}

Test(order, S14_a_pair_returns_the_same_block_for_ever)
{
	void *first;

	t_need_pool(1024);
	first = bufpool_acquire(1024);
	bufpool_release(t_launder(first));
	for (int i = 0; i < 100000; i++) {
		void *p = bufpool_acquire(1024);

		cr_assert_eq(p, first);
		bufpool_release(p);
	}
	cr_assert_geq(t_stats().hits, 100000);
}

Test(order, S14_batches_within_the_cache_stay_out_of_jemalloc)
{
	void *blocks[1000];
	uint64_t created;

	t_need_pool(1024);
	for (int round = 0; round < 200; round++) {
		if (round == 2)
			created = t_stats().from_backend;
		cr_assert_eq(bufpool_acquire_many(blocks, T_COUNT(blocks), 1024), T_COUNT(blocks));
		bufpool_release_many(blocks, T_COUNT(blocks));
	}
	cr_assert_eq(t_stats().from_backend, created);
}

Test(order, S14_classes_do_not_disturb_each_other)
{
	void *small, *large;

	t_need_pool(1024);
	t_need_pool(40000);
	small = bufpool_acquire(1024);
	large = bufpool_acquire(40000);
	bufpool_release(t_launder(small));
	bufpool_release(t_launder(large));
	for (int i = 0; i < 1000; i++) {
		void *p = bufpool_acquire(1024), *q = bufpool_acquire(40000);

		cr_assert_eq(p, small);
		cr_assert_eq(q, large);
		bufpool_release(p);
		bufpool_release(q);
	}
}

/* ---- S9: from one CPU to another ---- */

struct job {
	int cpu;
	size_t n, count;
	void **blocks;
	bool acquire;
	unsigned failed;
};

static void *work(void *argument)
{
	struct job *j = argument;

	if (t_pin(j->cpu)) {
		j->failed++;
		return NULL;
	}
	if (j->acquire)
		j->failed += bufpool_acquire_many(j->blocks, j->count, j->n) != j->count;
	else
		bufpool_release_many(j->blocks, j->count);
	return NULL;
}

static void on_cpu(unsigned index, bool acquire, void **blocks, size_t count, size_t n)
{
	struct job j = { .cpu = t_cpu(index), .n = n, .count = count, .blocks = blocks, .acquire = acquire };
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, work, &j), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(j.failed, 0);
}

static void need_two_cpus(void)
{
	if (t_cpu(1) < 0)
		cr_skip_test("needs two CPUs");
}

static void *blocks[5000], *others[5000];

static bool among(const void *p, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i] == p)
			return true;
	return false;
}

Test(order, S9_released_on_one_CPU_acquired_on_the_other)
{
	static const struct { size_t n, released, acquired; } tried[] = { { 64, 5000, 1000 }, { 1024, 5000, 1000 },
		{ 40000, 500, 100 } };

	need_two_cpus();
	for (size_t i = 0; i < T_COUNT(tried); i++) {
		uint64_t created;

		t_need_pool(tried[i].n);
		on_cpu(0, true, blocks, tried[i].released, tried[i].n);
		on_cpu(0, false, blocks, tried[i].released, tried[i].n);
		created = t_stats().from_backend;
		on_cpu(1, true, others, tried[i].acquired, tried[i].n);
		cr_assert_eq(t_stats().from_backend, created, "%zu bytes: jemalloc was asked", tried[i].n);
		on_cpu(1, false, others, tried[i].acquired, tried[i].n);
	}
	cr_assert(t_balanced());
}

Test(order, S9_a_few_large_blocks_are_stolen_before_jemalloc_is_asked)
{
	uint64_t created;

	need_two_cpus();
	t_need_pool(48000);
	bufpool_trim(NULL, 0);
	cr_assert(t_settle());
	on_cpu(0, true, blocks, 8, 48000);
	on_cpu(0, false, blocks, 8, 48000);
	created = t_stats().from_backend;
	on_cpu(1, true, others, 1, 48000);
	cr_assert_eq(t_stats().from_backend, created);
	cr_assert(among(others[0], 8));
	cr_assert_geq(t_stats().from_steal + t_stats().from_shared, 1);
	on_cpu(1, false, others, 1, 48000);
	cr_assert(t_balanced());
}

Test(order, S9_the_victim_comes_before_jemalloc_on_every_CPU)
{
	uint64_t created, victims;

	need_two_cpus();
	t_need_pool(1024);
	on_cpu(0, true, blocks, 2000, 1024);
	on_cpu(0, false, blocks, 2000, 1024);
	bufpool_advance_epoch(NULL);
	created = t_stats().from_backend;
	victims = t_stats().from_victim;
	on_cpu(1, true, others, 500, 1024);
	cr_assert_eq(t_stats().from_backend, created);
	cr_assert_gt(t_stats().from_victim, victims);
	on_cpu(1, false, others, 500, 1024);
	cr_assert(t_balanced());
}

Test(order, S9_the_own_CPU_comes_before_the_shared_level)
{
	struct bufpool_stats before, after;
	void *own, *p;

	need_two_cpus();
	t_need_pool(1024);
	on_cpu(1, true, blocks, 5000, 1024);
	on_cpu(1, false, blocks, 5000, 1024);
	own = bufpool_acquire(1024);
	bufpool_release(t_launder(own));
	before = t_stats();
	p = bufpool_acquire(1024);
	after = t_stats();
	cr_assert_eq(p, own);
	cr_assert_eq(after.hits, before.hits + 1);
	cr_assert_eq(after.from_shared, before.from_shared);
	bufpool_release(p);
}

Test(order, S9_the_shared_level_comes_before_the_victim)
{
	struct bufpool_stats before, after;

	need_two_cpus();
	t_need_pool(1024);
	/* 5000 blocks: 2500 grow old, 2500 are released in this epoch, more than one CPU keeps to itself. */
	on_cpu(0, true, blocks, 5000, 1024);
	on_cpu(0, false, blocks, 2500, 1024);
	bufpool_advance_epoch(NULL);
	on_cpu(0, false, blocks + 2500, 2500, 1024);
	before = t_stats();
	on_cpu(1, true, others, 1, 1024);
	after = t_stats();
	cr_assert_geq(after.from_shared, before.from_shared + 1);
	cr_assert_eq(after.from_victim, before.from_victim);
	cr_assert_eq(after.from_backend, before.from_backend);
	on_cpu(1, false, others, 1, 1024);
}
