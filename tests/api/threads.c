/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads: hand-overs (S3), many consumers (S8), storms of threads and of CPUs (S11), the stress of Go's pool (S14).
 * Whoever holds a block writes its own pattern into it and looks for it before letting go: a block with two owners
 * shows as wrong content.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

TestSuite(threads, .timeout = 60);

/* ---- a queue between threads: bounded, any number of both ---- */

enum { SLOTS = 256 };

static struct queue {
	_Atomic uint64_t head, tail;
	struct { _Atomic uint64_t turn; void *p; } slots[SLOTS];
} queue;

static void queue_init(void)
{
	for (uint64_t i = 0; i < SLOTS; i++)
		atomic_store(&queue.slots[i].turn, i);
}

static void queue_put(void *p)
{
	const uint64_t at = atomic_fetch_add(&queue.tail, 1);

	while (atomic_load(&queue.slots[at % SLOTS].turn) != at)
		sched_yield();
	queue.slots[at % SLOTS].p = p;
	atomic_store(&queue.slots[at % SLOTS].turn, at + 1);
}

static void *queue_take(void)
{
	const uint64_t at = atomic_fetch_add(&queue.head, 1);
	void *p;

	while (atomic_load(&queue.slots[at % SLOTS].turn) != at + 1)
		sched_yield();
	p = queue.slots[at % SLOTS].p;
	atomic_store(&queue.slots[at % SLOTS].turn, at + SLOTS);
	return p;
}

/* ---- S3: one acquires, the other releases ---- */

static atomic_uint wrong;

struct handover {
	size_t n;
	uint64_t count;
};

static void *release_what_comes(void *argument)
{
	const struct handover *h = argument;

	for (uint64_t i = 0; i < h->count; i++) {
		void *p = queue_take();

		if (!t_check(p, 16, i))
			atomic_fetch_add(&wrong, 1);
		bufpool_release(p);
	}
	return NULL;
}

static void hand_over(size_t n, uint64_t count)
{
	struct handover h = { n, count };
	pthread_t consumer;

	queue_init();
	memset(&queue, 0, offsetof(struct queue, slots));
	cr_assert_eq(pthread_create(&consumer, NULL, release_what_comes, &h), 0);
	for (uint64_t i = 0; i < count; i++) {
		void *p = bufpool_acquire(n);

		if (p)
			t_fill(p, 16, i);
		queue_put(p);
	}
	pthread_join(consumer, NULL);
	cr_assert_eq(atomic_load(&wrong), 0);
}

static void hand_over_without_jemalloc(size_t n, size_t warm, uint64_t count)
{
	static void *blocks[4000];
	struct bufpool_stats before, after;

	t_need_pool(n);
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(bufpool_acquire_many(blocks, warm, n), warm);
	bufpool_release_many(blocks, warm);
	hand_over(n, count / 20);
	before = t_stats();
	hand_over(n, count);
	after = t_stats();
	cr_assert_eq(after.acquired, before.acquired + count);
	cr_assert_eq(after.from_backend, before.from_backend, "blocks were made");
	cr_assert_eq(t_dropped(&after), t_dropped(&before), "blocks were given back");
	cr_assert(t_balanced());
}

Test(threads, S3_a_million_hand_overs_without_jemalloc)
{
	hand_over_without_jemalloc(1024, 4000, 1000000);
}

Test(threads, S3_hand_overs_of_large_blocks_without_jemalloc)
{
	hand_over_without_jemalloc(40000, 1000, 200000);
}

/* ---- S8: one producer, nine consumers, each item exactly once ---- */

enum { ITEMS = 2000000, CONSUMERS = 9 };
static _Atomic unsigned char seen[ITEMS];

static void *consume(void *unused)
{
	for (;;) {
		uint64_t *item = queue_take();
		uint64_t i;

		if (!item)
			return unused;
		i = item[0];
		if (i >= ITEMS || item[2] != ~i || atomic_fetch_add(&seen[i], 1))
			atomic_fetch_add(&wrong, 1);
		bufpool_release(item);
	}
}

Test(threads, S8_one_producer_and_nine_consumers_see_each_item_once)
{
	pthread_t ids[CONSUMERS];
	size_t missing = 0;

	queue_init();
	for (int i = 0; i < CONSUMERS; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, consume, NULL), 0);
	for (uint64_t i = 0; i < ITEMS; i++) {
		uint64_t *item = bufpool_acquire(24);

		cr_assert_not_null(item);
		item[0] = i;
		item[2] = ~i;
		queue_put(item);
	}
	for (int i = 0; i < CONSUMERS; i++)
		queue_put(NULL);
	for (int i = 0; i < CONSUMERS; i++)
		pthread_join(ids[i], NULL);
	for (size_t i = 0; i < ITEMS; i++)
		missing += seen[i] != 1;
	cr_assert_eq(missing, 0);
	cr_assert_eq(atomic_load(&wrong), 0);
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

/* ---- storms ---- */

static atomic_bool moving;

static void *work(void *argument)
{
	static atomic_uint seed;
	struct t_owner o = { .random = atomic_fetch_add(&seed, 1) };
	unsigned found = 0;

	for (unsigned i = 0; i < (unsigned)(uintptr_t)argument; i++) {
		if (atomic_load(&moving) && i % 64 == 0)
			t_pin(t_cpu((i / 64 + (unsigned)o.count) & 1));
		found += t_owner_step(&o);
	}
	atomic_fetch_add(&wrong, found + t_owner_finish(&o));
	return NULL;
}

static void run_workers(int threads, unsigned steps)
{
	pthread_t ids[100];

	for (int i = 0; i < threads; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, work, (void *)(uintptr_t)steps), 0);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	cr_assert_eq(atomic_load(&wrong), 0);
}

static void storm(int threads, unsigned steps)
{
	run_workers(threads, steps);
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert(t_balanced());
}

Test(threads, S14_stress_of_100_threads)
{
	storm(100, 3000);
}

Test(threads, S14_stress_with_epochs_as_fast_as_they_come)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	storm(10, 30000);
}

Test(threads, threads_that_come_and_go_leave_nothing_behind)
{
	for (int i = 0; i < 20; i++)
		storm(20, 50);
}

Test(threads, S11_affinity_storm)
{
	if (t_cpu(1) < 0)
		cr_skip_test("needs two CPUs");
	atomic_store(&moving, true);
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	storm(8, 40000);
}

/* The pool starts while the process may use one CPU, and the others come later. */
Test(threads, S11_more_cpus_than_at_start)
{
	enum { PAIRS = 10000 };

	if (t_cpu(1) < 0)
		cr_skip_test("needs two CPUs");
	int first = t_cpu(0), second = t_cpu(1);
	t_pin(first);
	bufpool_release(bufpool_acquire(40000));
	t_need_pool(40000);
	for (int cpu = 0; cpu < 2; cpu++) {
		t_pin(cpu == 0 ? first : second);
		uint64_t before = t_class(40000).hits;
		for (int i = 0; i < PAIRS; i++) {
			void *p = bufpool_acquire(40000);
			cr_assert_not_null(p);
			*(volatile char *)p = 1;
			bufpool_release(p);
		}
		cr_assert_geq(t_class(40000).hits - before, PAIRS - PAIRS / 100, "CPU %d", cpu);
	}
}

/* A block outlives the thread that acquired it. */
static void *leave(void *argument)
{
	void **blocks = argument;

	for (size_t i = 0; i < 500; i++) {
		blocks[i] = bufpool_acquire(700);
		if (blocks[i])
			t_fill(blocks[i], 700, i);
	}
	return NULL;
}

Test(threads, blocks_outlive_their_thread)
{
	static void *blocks[500];
	pthread_t thread;

	for (int round = 0; round < 20; round++) {
		cr_assert_eq(pthread_create(&thread, NULL, leave, blocks), 0);
		pthread_join(thread, NULL);
		for (size_t i = 0; i < 500; i++)
			cr_assert(t_check(blocks[i], 700, i));
		bufpool_release_many(blocks, 500);
	}
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

/* Epochs, trims, ticks and statistics from their own threads while others work. */
static void *meddle(void *argument)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	for (unsigned i = 0; !atomic_load((atomic_bool *)argument); i++) {
		bufpool_advance_epoch(NULL);
		if (i % 4 == 0)
			bufpool_trim(NULL, i % 3 * 100000);
		bufpool_tick();
		bufpool_stats_get(&s, NULL);
		sched_yield();
	}
	return NULL;
}

Test(threads, epochs_and_trims_from_other_threads)
{
	static atomic_bool stop;
	pthread_t ids[2];

	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, meddle, &stop), 0);
	for (int i = 0; i < 5; i++)
		run_workers(3, 4000);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(ids[i], NULL);
	cr_assert(t_balanced());
}
