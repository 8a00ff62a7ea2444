/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Epochs: what lies unused survives one and not two, wherever it lies; the boundary waits for the queue; CPUs that stand
 * still are drained by others. Each interleaving of a boundary with something else is in schedules.c.
 */
#include "cache/epoch.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "cache/giveback.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/release.h"
#include "percpu/fallback.h"
#include "pools.h"
#include "support.h"

enum { MANY = 400 };
static void *blocks[MANY];

static void cache(size_t count)
{
	u_acquire(blocks, count, U_SIZE);
	u_release(blocks, count);
}

static uint64_t kept(void)
{
	struct bp_account a = u_account(U_SIZE);
	return a.cached + a.victim;
}

static void two_epochs(void)
{
	cache(100);
	uint64_t all = kept(), created = u_account(U_SIZE).created;
	cr_assert_geq(all, 100);
	bp_epoch_advance(U_POOL);
	cr_assert_eq(kept(), all, "one idle epoch costs nothing");
	u_acquire(blocks, 100, U_SIZE);
	cr_assert_eq(u_account(U_SIZE).created, created, "the victim serves");
	u_release(blocks, 100);
	bp_epoch_advance(U_POOL);
	cr_assert_geq(kept(), 100, "what was used is young again");
	bp_epoch_advance(U_POOL);
	bp_epoch_advance(U_POOL);
	cr_assert_eq(kept(), 0, "two idle epochs free everything");
	cr_assert_eq(u_account(U_SIZE).dropped_epoch, u_account(U_SIZE).created);
	u_assert_balance(0);
}

Test(epoch, what_is_idle_survives_one_epoch_and_not_two)
{
	u_start(NULL);
	two_epochs();
}

Test(epoch, in_the_portable_mode_too)
{
	u_start_portable();
	two_epochs();
}

Test(epoch, the_boundary_waits_for_the_queue)
{
	u_start(NULL);
	u_acquire(blocks, 4, U_SIZE);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	for (int i = 0; i < 4; i++)
		*bp_mark_of(blocks[i]) = bp_mark_value(blocks[i]);
	/* More than one poll gives back. */
	struct bp_level *queue = bp_pool_queue(U_POOL, epoch);
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, 4);
	bp_pool_put_blocks(U_POOL, queue, u_class(U_SIZE), blocks, 4);
	atomic_store(&U_POOL->last_giveback, UINT64_MAX / 2); /* the shortest of steps: one magazine at a time */
	atomic_fetch_add(&queue->magazines, 1);               /* and one that is on its way */
	for (int i = 0; i < 10; i++) {
		atomic_store(&U_POOL->deadline, 0);
		bp_epoch_poll(U_POOL, -1, 0);
		cr_assert_eq(bp_pool_epoch(U_POOL), epoch, "the queue would become the shared level");
		cr_assert_leq(atomic_load(&U_POOL->deadline), bp_os_now_ms(), "put off for a whole epoch");
	}
	atomic_fetch_sub(&queue->magazines, 1);
	for (int i = 0; i < 10 && bp_pool_epoch(U_POOL) == epoch; i++) {
		atomic_store(&U_POOL->deadline, 0);
		bp_epoch_poll(U_POOL, -1, 0);
	}
	cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1, "put off, not given up");
	cr_assert_eq(u_account(U_SIZE).dropped_epoch, 4);
}

Test(epoch, roles_rotate)
{
	u_start(NULL);
	for (int i = 0; i < 7; i++) {
		uint32_t epoch = bp_pool_epoch(U_POOL);
		struct bp_level *shared = bp_pool_shared(U_POOL, epoch), *victim = bp_pool_victim(U_POOL, epoch);
		bp_epoch_advance(U_POOL);
		cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1);
		cr_assert_eq(bp_pool_victim(U_POOL, epoch + 1), shared);
		cr_assert_eq(bp_pool_queue(U_POOL, epoch + 1), victim);
	}
}

Test(epoch, it_ends_when_it_is_due_and_once)
{
	u_start(NULL);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	for (int i = 0; i < 100; i++)
		bp_epoch_poll(U_POOL, -1, 0);
	cr_assert_eq(bp_pool_epoch(U_POOL), epoch, "an hour has not passed");
	atomic_store(&U_POOL->deadline, bp_os_now_ms());
	for (int i = 0; i < 100; i++)
		bp_epoch_poll(U_POOL, -1, 0);
	cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1);
	cr_assert_gt(atomic_load(&U_POOL->deadline), bp_os_now_ms() + 3500000);
}

static void *poll_at_once(void *unused)
{
	(void)unused;
	for (int i = 0; i < 2000; i++)
		bp_epoch_poll(U_POOL, -1, 0);
	return NULL;
}

Test(epoch, one_thread_wins_the_boundary)
{
	pthread_t ids[4];
	u_start(NULL);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	atomic_store(&U_POOL->deadline, bp_os_now_ms() + 20);
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_create(&ids[i], NULL, poll_at_once, NULL);
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_join(ids[i], NULL);
	while (bp_os_now_ms() < atomic_load(&U_POOL->deadline) && bp_pool_epoch(U_POOL) == epoch)
		bp_epoch_poll(U_POOL, -1, 0);
	bp_epoch_poll(U_POOL, -1, 0);
	cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1);
}

enum { ROUNDS = 20000, SPREAD = 1024 };
static _Atomic unsigned begun, ended;

/* Two threads on one CPU would look for each other in vain for a time slice. */
static void wait_until(_Atomic unsigned *reached, unsigned round)
{
	for (unsigned spin = 0; atomic_load(reached) < round; spin++)
		if (spin > 10000)
			sched_yield();
}

static void *poll_in_rounds(void *unused)
{
	u_pin(u_cpu(0));
	for (unsigned round = 1; round <= ROUNDS; round++) {
		wait_until(&begun, round);
		bp_epoch_poll(U_POOL, -1, 0);
		atomic_fetch_add(&ended, 1);
	}
	return unused;
}

/* The same moment after moment, since they must come within nanoseconds of each other to disagree. */
Test(epoch, of_two_that_come_at_once_one_ends_it, .timeout = 60)
{
	pthread_t id;
	u_start(NULL);
	cr_assert_eq(pthread_create(&id, NULL, poll_in_rounds, NULL), 0);
	u_pin(u_cpu(1) < 0 ? u_cpu(0) : u_cpu(1));
	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint32_t epoch = bp_pool_epoch(U_POOL);
		atomic_store(&U_POOL->deadline, 0);
		atomic_store(&begun, round);
		for (unsigned spin = round % SPREAD; spin > 0; spin--) /* the other one hears of it a little later */
			__asm__ volatile("");
		bp_epoch_poll(U_POOL, -1, 0);
		wait_until(&ended, round);
		cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1, "round %u", round);
	}
	pthread_join(id, NULL);
}

/* ---- CPUs ---- */

Test(epoch, a_cpu_retires_its_own_stacks_at_its_next_slow_path)
{
	u_start(NULL);
	cache(3);
	size_t on_cpu = u_on_cpus(U_SIZE);
	cr_assert_gt(on_cpu, 0);
	atomic_store(&U_POOL->deadline, 0);
	bp_epoch_poll(U_POOL, -1, 0);
	cr_assert_eq(u_on_cpus(U_SIZE), on_cpu, "whoever has no CPU leaves it alone for one epoch");
	int cpu = bp_percpu_enter(U_POOL->slabs, bp_pool_epoch(U_POOL));
	bp_epoch_poll(U_POOL, cpu, 0);
	cr_assert_eq(u_on_cpus(U_SIZE), 0);
	cr_assert_geq(u_account(U_SIZE).victim, on_cpu);
	cr_assert_eq(atomic_load(&bp_slab_of(U_POOL->slabs, cpu)->cpu.epoch), bp_pool_epoch(U_POOL));
	u_assert_balance(0);
}

/* Where rows are not sorted. */
Test(epoch, what_retires_stays_in_the_order_of_its_stack)
{
	enum { SIZE = 1024, COUNT = 30 };
	static void *some[COUNT];
	unsigned found = 0;
	u_start(NULL);
	if (u_class(SIZE) < U_POOL->first_class)
		cr_skip_test("small blocks pass through");
	cr_assert_not(bp_policy_sorts(u_class(SIZE)));
	u_acquire(some, COUNT, SIZE);
	u_release(some, COUNT);
	atomic_store(&U_POOL->deadline, 0);
	bp_epoch_poll(U_POOL, u_slab(), 0);
	for (uint32_t m; (m = bp_level_take(bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL)), u_class(SIZE))) != 0;)
		for (uint32_t i = 0; i < bp_magazine_count(m); i++)
			found += found < COUNT && bp_magazine_slots(m)[i] == some[found];
	cr_assert_eq(found, COUNT, "%u in order", found);
}

/* The CPU's lock stands for a thread that was moved to another CPU in the middle of it. */
Test(epoch, a_retirement_that_was_cut_short_is_gone_on_with)
{
	u_start_portable();
	u_without_seat();
	cache(3);
	int cpu = bp_percpu_enter(U_POOL->slabs, bp_pool_epoch(U_POOL));
	size_t on_cpu = u_on_cpus(U_SIZE);
	cr_assert_gt(on_cpu, 0);
	atomic_store(&U_POOL->deadline, 0);
	cr_assert(bp_fallback_lock(U_POOL->slabs, cpu));
	bp_epoch_poll(U_POOL, cpu, 0);
	bp_fallback_unlock(U_POOL->slabs, cpu);
	cr_assert_eq(u_on_cpus(U_SIZE), on_cpu);
	bp_epoch_poll(U_POOL, cpu, 0);
	cr_assert_eq(u_on_cpus(U_SIZE), 0, "nobody went on with it");
	cr_assert_geq(u_account(U_SIZE).victim, on_cpu);
	u_assert_balance(0);
}

Test(epoch, advancing_makes_victims_of_what_lies_on_other_cpus)
{
	u_start(NULL);
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	cache(3);
	size_t on_cpu = u_on_cpus(U_SIZE);
	u_pin(u_cpu(1));
	bp_epoch_advance(U_POOL);
	cr_assert_eq(u_on_cpus(U_SIZE), 0);
	cr_assert_geq(u_account(U_SIZE).victim, on_cpu);
	u_assert_balance(0);
}

Test(epoch, a_cpu_that_stands_still_for_two_epochs_is_drained_by_others)
{
	u_start(NULL);
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	cache(3);
	size_t on_cpu = u_on_cpus(U_SIZE);
	u_pin(u_cpu(1));
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(u_on_cpus(U_SIZE), on_cpu);
		atomic_store(&U_POOL->deadline, 0);
		bp_epoch_poll(U_POOL, -1, 0);
	}
	for (int i = 0; i < 10 && u_on_cpus(U_SIZE) > 0; i++)
		bp_epoch_poll(U_POOL, -1, 0);
	cr_assert_eq(u_on_cpus(U_SIZE), 0);
	bp_giveback_all(U_POOL);
	cr_assert_geq(u_account(U_SIZE).dropped_epoch, on_cpu, "they are due, not victims");
	u_assert_balance(0);
}

Test(epoch, hits_alone_notice_time)
{
	u_start(NULL);
	if (bp_percpu_mode() != BP_PERCPU_RSEQ)
		cr_skip_test("there are no hits in the portable mode");
	cache(3);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	atomic_store(&bp_options.epoch_ms, 20);
	atomic_store(&U_POOL->deadline, 0);
	uint64_t slow = u_account(U_SIZE).hits, end = u_now_us() + 10000000, calls = 0;
	while (bp_pool_epoch(U_POOL) - epoch < 5 && u_now_us() < end)
		for (int i = 0; i < 1000; i++, calls++) {
			void *p = u_get(U_SIZE, false);
			bp_pool_release(U_POOL, p);
		}
	cr_assert_geq(bp_pool_epoch(U_POOL) - epoch, 5);
	cr_assert_geq(u_account(U_SIZE).hits - slow, calls * 9 / 10, "these were no hits");
}

Test(epoch, room_that_was_given_is_taken_back_where_nothing_presses)
{
	u_start(NULL);
	unsigned class = u_class(U_SIZE), first = bp_policy_first_capacity(class, 0, BP_CPU_BYTES);
	for (int i = 0; i < 6; i++)
		cache(100);
	int cpu = bp_percpu_enter(U_POOL->slabs, 0);
	struct bp_cpu *c = &bp_slab_of(U_POOL->slabs, cpu)->cpu;
	cr_assert_gt(atomic_load(&c->classes[class].capacity), first);
	uint64_t sum = 0;
	for (int i = 0; i < 3; i++)
		bp_epoch_advance(U_POOL);
	cr_assert_eq(atomic_load(&c->classes[class].capacity), first);
	for (unsigned i = 0; i < BP_CLASS_COUNT; i++)
		sum += atomic_load(&c->classes[i].capacity) * bp_class_size(i);
	cr_assert_eq(atomic_load(&c->capacity_bytes), sum, "the sum of the capacities is not their sum");
}

/* ---- tick and trim ---- */

/* "At once" while there are CPUs to look at. */
static int tick(void)
{
	int ms = 0;
	for (unsigned i = 0; i <= U_POOL->slabs.cpus && ms == 0; i++)
		ms = bp_epoch_tick(U_POOL);
	return ms;
}

Test(epoch, a_tick_says_when_to_come_again)
{
	u_start(NULL);
	cr_assert_eq(tick(), -1);
	cache(3);
	int ms = bp_epoch_tick(U_POOL);
	cr_assert(ms > 3500000 && ms <= 3600000, "%d", ms);
	bp_epoch_advance(U_POOL);
	atomic_store(&U_POOL->deadline, 0);
	for (int i = 0; i < 1000 && (ms = bp_epoch_tick(U_POOL)) == 0; i++)
		;
	cr_assert_eq(ms, -1, "all of it went back by ticks: %d", ms);
	cr_assert_eq(kept(), 0);
}

Test(epoch, a_trim_keeps_what_it_was_told_and_says_what_went)
{
	u_start(NULL);
	cache(MANY);
	uint64_t all = kept();
	size_t went = bp_epoch_trim(U_POOL, 64 * U_SIZE);
	cr_assert_eq(went, (all - kept()) * U_SIZE);
	cr_assert_leq(kept() * U_SIZE, 64 * U_SIZE);
	cr_assert_geq(kept() * U_SIZE, 64 * U_SIZE - BP_BATCH_BYTES, "a magazine more or less");
	went = bp_epoch_trim(U_POOL, 0);
	cr_assert_gt(went, 0);
	cr_assert_eq(kept(), 0);
	cr_assert_eq(bp_epoch_trim(U_POOL, 0), 0);
	u_assert_balance(0);
}

Test(epoch, what_a_trim_finds_queued_went_with_it)
{
	u_start(NULL);
	u_acquire(blocks, 100, U_SIZE);
	for (int i = 0; i < 100; i++)
		*bp_mark_of(blocks[i]) = bp_mark_value(blocks[i]);
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, 100);
	bp_pool_put_blocks(U_POOL, &U_POOL->over, u_class(U_SIZE), blocks, 60);
	bp_pool_put_blocks(U_POOL, bp_pool_queue(U_POOL, bp_pool_epoch(U_POOL)), u_class(U_SIZE), blocks + 60, 40);
	cr_assert_eq(bp_epoch_trim(U_POOL, SIZE_MAX), 100 * U_SIZE);
	cr_assert_eq(u_account(U_SIZE).queued, 0);
	u_assert_balance(0);
}
