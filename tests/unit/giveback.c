/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Giving back: a step is bounded, all of it comes to an end, and a thread inside jemalloc puts everything off.
 */
#include "cache/giveback.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "cache/policy.h"
#include "cache/release.h"
#include "pools.h"
#include "support.h"
#include "sys/backend.h"

enum { MANY = 640 };
static void *blocks[MANY];

static void queue(struct bp_level *l, void **some, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
	atomic_fetch_add(&U_POOL->counts[u_class(size)].released, count);
	bp_pool_put_blocks(U_POOL, l, u_class(size), some, count);
}

Test(giveback, a_step_is_one_magazine)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	cr_assert_not(bp_giveback_is_due(U_POOL));
	cr_assert_not(bp_giveback_step(U_POOL));
	queue(&U_POOL->over, blocks, MANY, U_SIZE);
	cr_assert(bp_giveback_is_due(U_POOL));
	uint64_t gone = 0;
	unsigned steps = 0;
	for (; bp_giveback_step(U_POOL); steps++) {
		uint64_t now = u_account(U_SIZE).dropped_budget;
		cr_assert_leq(now - gone, BP_MAGAZINE_SLOTS);
		gone = now;
	}
	cr_assert_eq(gone, MANY);
	cr_assert_geq(steps, MANY / BP_MAGAZINE_SLOTS);
	cr_assert_not(bp_giveback_is_due(U_POOL));
	cr_assert_eq(u_account(U_SIZE).dropped_epoch, 0);
	u_assert_balance(0);
}

/* Small blocks: a magazine of them holds more. */
Test(giveback, of_a_large_magazine_a_step_takes_a_part)
{
	enum { SMALL = 64 };
	uint64_t gone = 0;
	u_start(NULL);
	u_acquire(blocks, MANY, SMALL);
	queue(&U_POOL->over, blocks, MANY, SMALL);
	cr_assert_lt(atomic_load(&U_POOL->over.magazines), MANY / BP_GIVEBACK_BLOCKS, "these are no large ones");
	while (bp_giveback_step(U_POOL)) {
		uint64_t now = u_account(SMALL).dropped_budget;
		cr_assert_leq(now - gone, BP_GIVEBACK_BLOCKS);
		cr_assert_eq(now + u_account(SMALL).queued, MANY);
		gone = now;
	}
	cr_assert_eq(gone, MANY);
	u_assert_balance(0);
}

Test(giveback, of_a_prefilled_class_goes_what_may)
{
	enum { SMALL = 64, FLOOR = 500 };
	u_start(NULL);
	u_acquire(blocks, MANY, SMALL);
	queue(bp_pool_queue(U_POOL, bp_pool_epoch(U_POOL)), blocks, MANY, SMALL);
	atomic_store(&U_POOL->counts[u_class(SMALL)].prefilled, FLOOR);
	struct bp_account a = u_account(SMALL);
	uint64_t before = a.cached + a.victim + a.queued;
	bp_giveback_all(U_POOL);
	a = u_account(SMALL);
	cr_assert_eq(a.dropped_epoch, before - FLOOR);
	cr_assert_eq(a.cached + a.victim + a.queued, FLOOR);
	u_assert_balance(0);
}

static void take_back_at_a_boundary(struct bp_pool *pool, void *const *some, size_t count, enum bp_why why)
{
	(void)why;
	cr_assert(bp_level_is_empty(bp_pool_queue(pool, bp_pool_epoch(pool))), "the boundary waits");
	atomic_fetch_add(&pool->epoch, 1);
	cr_assert(bp_backend_give_back(some, count, u_class(64), &pool->heap));
}

/* While a magazine is in the hands of who gives it back its queue is empty, so that the epoch may end there: that queue is the
 * shared level then. */
Test(giveback, what_is_left_of_a_magazine_is_queued_where_the_queue_is_now)
{
	enum { SMALL = 64, COUNT = 200 };
	static const struct bp_bare at_a_boundary = { .drop = take_back_at_a_boundary };
	u_start(NULL);
	u_acquire(blocks, COUNT, SMALL);
	struct bp_account before = u_account(SMALL);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	queue(bp_pool_queue(U_POOL, epoch), blocks, COUNT, SMALL);
	cr_assert_eq(atomic_load(&bp_pool_queue(U_POOL, epoch)->magazines), 1);
	U_POOL->bare = &at_a_boundary;
	cr_assert(bp_giveback_step(U_POOL));
	U_POOL->bare = NULL;
	cr_assert_eq(bp_pool_epoch(U_POOL), epoch + 1);
	struct bp_account a = u_account(SMALL);
	cr_assert_eq(a.dropped_epoch, BP_GIVEBACK_BLOCKS);
	cr_assert_eq(a.queued, COUNT - BP_GIVEBACK_BLOCKS, "%zu are queued", (size_t)a.queued);
	cr_assert_eq(a.cached + a.victim, before.cached + before.victim);
	u_assert_balance(0);
}

Test(giveback, what_is_given_back_is_with_the_kernel)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	for (size_t i = 0; i < MANY; i++)
		memset(blocks[i], 1, U_SIZE);
	size_t before = u_mapped(bp_range.base, bp_range.reserved).resident;
	queue(bp_pool_queue(U_POOL, bp_pool_epoch(U_POOL)), blocks, MANY, U_SIZE);
	bp_giveback_all(U_POOL);
	size_t after = u_mapped(bp_range.base, bp_range.reserved).resident;
	cr_assert_leq(after + MANY * U_SIZE - (1 << 20), before, "%zu of %zu bytes are still there", after, before);
	cr_assert_eq(atomic_load(&U_POOL->purge_debt), 0);
	cr_assert_eq(u_account(U_SIZE).dropped_epoch, MANY);
}

Test(giveback, the_kernel_is_given_its_share_all_along)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	queue(&U_POOL->over, blocks, MANY, U_SIZE);
	uint64_t most = 0;
	do {
		uint64_t debt = atomic_load(&U_POOL->purge_debt);
		most = debt > most ? debt : most;
	} while (bp_giveback_step(U_POOL));
	cr_assert_geq(MANY * U_SIZE, 4 * (uint64_t)BP_PURGE_BYTES, "this was too little to tell");
	cr_assert_leq(most, BP_PURGE_BYTES + BP_MAGAZINE_SLOTS * U_SIZE);
}

/* The last magazine given back is the one after which pages are purged anyway. */
Test(giveback, a_burst_that_ends_with_a_whole_share_ends_all_the_same)
{
	enum { BURST = BP_PURGE_BYTES / 40960 + 1, MAGAZINES = 8 * BP_MAGAZINES_IDLE };
	static uint32_t m[MAGAZINES];
	u_start(NULL);
	u_acquire(blocks, BURST, U_SIZE);
	for (unsigned i = 0; i < MAGAZINES; i++) {
		m[i] = bp_magazine_new();
		memset(bp_magazine_slots(m[i]), 1, BP_MAGAZINE_SLOTS * sizeof(void *));
	}
	for (unsigned i = 0; i < MAGAZINES; i++)
		bp_magazine_free(m[i]);
	size_t rows = MAGAZINES * BP_MAGAZINE_SLOTS * sizeof(void *);
	cr_assert_geq(u_mapped(bp_magazine_slots(1), rows).resident, rows / 2);
	queue(&U_POOL->over, blocks, BURST, U_SIZE);
	bp_giveback_all(U_POOL);
	cr_assert_leq(u_mapped(bp_magazine_slots(1), rows).resident, rows / 8, "the magazines that carried it are still there");
	cr_assert_not(bp_giveback_is_due(U_POOL));
}

Test(giveback, a_slow_path_gives_back_for_a_bounded_time)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	queue(&U_POOL->over, blocks, MANY, U_SIZE);
	unsigned calls = 0;
	for (; bp_giveback_is_due(U_POOL) && calls < 100000; calls++) {
		atomic_store(&U_POOL->last_giveback, bp_os_now_ns()); /* it has just been done */
		bp_giveback_some(U_POOL);
	}
	cr_assert_gt(calls, 1, "all of it in one pause");
	cr_assert_lt(calls, 100000);
	cr_assert_eq(u_account(U_SIZE).dropped_budget, MANY);
}

/* A crowd goes without waiting for its share of the time: a call that leaves one has taken all that a call may. */
Test(giveback, where_memory_is_scarce_no_more_than_its_share_waits)
{
	u_start(NULL);
	atomic_store(&U_POOL->memory_limit, 64 << 20);
	u_acquire(blocks, MANY, U_SIZE);
	queue(&U_POOL->over, blocks, MANY, U_SIZE);
	unsigned calls = 0;
	for (uint64_t waiting = UINT64_MAX; waiting > bp_policy_waiting(64 << 20); calls++) {
		uint64_t start = bp_os_now_ns();
		atomic_store(&U_POOL->last_giveback, start); /* it has just been done */
		bp_giveback_some(U_POOL);
		waiting = bp_level_bytes(&U_POOL->over) + atomic_load(&U_POOL->purge_debt);
		cr_assert(waiting <= bp_policy_waiting(64 << 20) || bp_os_now_ns() - start >= bp_policy_giveback_ns(0, true),
			  "%lu bytes wait", (unsigned long)waiting);
	}
	cr_assert_lt(calls, MANY);
	u_assert_balance(0);
}

/* Blocks over the cap, one after the other, all of them touched. What of the range is then resident. */
static size_t left_by_large_blocks(void)
{
	enum { LARGE = 200000, COUNT = 200 };
	for (int i = 0; i < COUNT; i++)
		blocks[i] = memset(u_get(LARGE, false), 1, LARGE);
	for (int i = 0; i < COUNT; i++)
		bp_pool_release(U_POOL, blocks[i]);
	return u_mapped(bp_range.base, bp_range.reserved).resident;
}

Test(giveback, pages_of_large_blocks_wait_for_their_epochs_where_memory_is_ample)
{
	u_start(NULL);
	atomic_store(&U_POOL->memory_limit, (uint64_t)BP_AMPLE_MIB << 20);
	cr_assert_geq(left_by_large_blocks(), 32 << 20);
}

Test(giveback, where_it_is_scarce_only_their_share_does)
{
	u_start(NULL);
	size_t before = u_mapped(bp_range.base, bp_range.reserved).resident;
	atomic_store(&U_POOL->memory_limit, 64 << 20);
	size_t left = left_by_large_blocks();
	cr_assert_leq(left, before + bp_policy_waiting(64 << 20) + (1 << 20), "%zu KiB", left >> 10);
	cr_assert_eq(atomic_load(&U_POOL->large_bytes), 0);
}

Test(giveback, a_large_block_that_comes_again_and_again_keeps_its_pages_all_the_same)
{
	enum { LARGE = 1 << 20, ROUNDS = 100 };
	struct rusage before, after;
	u_start(NULL);
	atomic_store(&U_POOL->memory_limit, 64 << 20);
	for (int i = 0; i < ROUNDS; i++) {
		if (i == ROUNDS / 10)
			getrusage(RUSAGE_SELF, &before);
		bp_pool_release(U_POOL, memset(u_get(LARGE, false), 1, LARGE));
	}
	getrusage(RUSAGE_SELF, &after);
	cr_assert_lt(after.ru_minflt - before.ru_minflt, 2 * LARGE / BP_PAGE, "%ld page faults",
		     after.ru_minflt - before.ru_minflt);
}

Test(giveback, blocks_that_can_not_be_queued_go_at_once)
{
	u_start(NULL);
	u_acquire(blocks, 10, U_SIZE);
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, 10);
	bp_giveback_at_once(U_POOL, u_class(U_SIZE), blocks, 10);
	cr_assert_eq(u_account(U_SIZE).dropped_budget, 10);
	u_assert_balance(0);
}

/* ---- inside jemalloc ---- */

static void *large;
static _Atomic unsigned met, went;

/* Once, when it hits. */
static void intrude(int signal)
{
	(void)signal;
	if (!bp_backend_busy() || atomic_load(&met) > 0)
		return;
	atomic_fetch_add(&met, 1);
	int64_t there = atomic_load(&U_POOL->over.magazines);
	bp_giveback_step(U_POOL);
	bp_giveback_all(U_POOL);
	went += atomic_load(&U_POOL->over.magazines) != there;
	bp_giveback_large(U_POOL, large);
	bp_giveback_at_once(U_POOL, u_class(U_SIZE), blocks + 10, 5);
}

Test(giveback, inside_jemalloc_it_is_put_off, .timeout = 60)
{
	static void *others[64];
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	u_start(NULL);
	u_acquire(blocks, 25, U_SIZE);
	queue(&U_POOL->over, blocks, 10, U_SIZE);
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, 5); /* which the handler gives back */
	large = bp_backend_large(1 << 20, 1, false, &U_POOL->heap);
	cr_assert_eq(bp_range_start_of(large), u_class(1 << 20) + 1);
	signal(SIGALRM, intrude);
	setitimer(ITIMER_REAL, &often, NULL);
	for (uint64_t start = u_now_us(); atomic_load(&met) == 0 && u_now_us() < start + 20000000;) {
		size_t n = bp_backend_fill(others, 64, u_class(512), &U_POOL->heap);
		bp_backend_give_back(others, n, u_class(512), &U_POOL->heap);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert_eq(atomic_load(&met), 1, "no signal came while the thread was inside");
	cr_assert_eq(atomic_load(&went), 0);
	cr_assert_eq(u_account(U_SIZE).queued, 10, "the magazine is back in its queue");
	cr_assert(bp_giveback_is_due(U_POOL));
	cr_assert_neq(bp_range_start_of(large), 0);
	cr_assert_not(bp_stack_is_empty(&U_POOL->deferred));
	bp_giveback_all(U_POOL);
	cr_assert_eq(u_account(U_SIZE).dropped_budget, 10);
	cr_assert_eq(bp_range_start_of(large), 0, "the large block went as well");
	cr_assert(bp_stack_is_empty(&U_POOL->deferred));
	cr_assert_eq(u_account(U_SIZE).set_aside, 5, "what could neither go nor be queued");
	u_assert_balance(10 * U_SIZE);
}
