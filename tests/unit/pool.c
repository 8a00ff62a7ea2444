/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool's modes, and what it is after a fork. Its start is in start.c.
 */
#include "cache/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/epoch.h"
#include "cache/options.h"
#include "pools.h"
#include "support.h"
#include "sys/backend.h"

enum { MANY = 300 };
static void *blocks[MANY];

Test(pool, the_cap_is_a_class_and_the_option_its_lower_bound)
{
	u_need_rseq();
	u_start("cap:20000");
	cr_assert_eq(U_POOL->cap, 20480);
	cr_assert_eq(U_POOL->classes, u_class(20480) + 1);
	bp_pool_release(U_POOL, u_get(20480, false));
	cr_assert_eq(u_account(20480).created, u_account(20480).cached);
	cr_assert_gt(u_account(20480).cached, 0);
	bp_pool_release(U_POOL, u_get(20481, false));
	cr_assert_eq(atomic_load(&U_POOL->large_released), 1);
}

Test(pool, the_largest_cap_keeps_the_largest_class)
{
	u_start("cap:4m");
	void *p = u_get(4 << 20, false);
	bp_pool_release(U_POOL, p);
	cr_assert_eq(u_account(4 << 20).cached, 1);
	cr_assert_eq(u_get(4 << 20, false), p);
	u_assert_balance(4 << 20);
}

Test(pool, passing_can_be_switched_and_blocks_find_their_way)
{
	u_start(NULL);
	u_acquire(blocks, 24, U_SIZE);
	u_release(blocks + 20, 4); /* so that a hit would find something */
	uint64_t created = u_account(U_SIZE).created;
	bp_pool_set_mode(U_POOL, true);
	void *passed = u_get(U_SIZE, false);
	cr_assert_not(bp_range_has(passed));
	cr_assert_eq(u_account(U_SIZE).created, created);
	u_release(blocks, 10);
	cr_assert_eq(u_account(U_SIZE).cached, u_on_cpus(U_SIZE), "the shared level got some");
	bp_pool_set_mode(U_POOL, false);
	bp_pool_release(U_POOL, passed);
	u_release(blocks + 10, 10);
	u_assert_balance(0);
	void *p = u_get(U_SIZE, false);
	cr_assert(bp_range_has(p));
}

Test(pool, in_pass_mode_nothing_is_kept)
{
	u_options("mode:pass");
	void *p = u_get(U_SIZE, false);
	cr_assert_not(bp_range_has(p));
	bp_pool_release(U_POOL, p);
	cr_assert_eq(u_account(U_SIZE).created, 0);
}

/* A pool would hide from it what it looks for. */
Test(pool, under_valgrind_everything_passes)
{
	setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so", 1);
	void *p = u_get(U_SIZE, false);
	cr_assert_not(bp_range_has(p));
	bp_pool_release(U_POOL, p);
	cr_assert_eq(u_account(U_SIZE).created, 0);
	cr_assert_null(bp_range.base, "the address space is still reserved");
}

/* It has no restartable sequences. */
Test(pool, under_valgrind_the_portable_mode_serves_whoever_asks_for_one)
{
	setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so", 1);
	u_start("percpu:rseq");
	cr_assert_eq(bp_percpu_mode(), BP_PERCPU_FALLBACK);
	void *p = u_get(U_SIZE, false);
	cr_assert(bp_range_has(p));
	bp_pool_release(U_POOL, p);
	u_assert_balance(0);
}

Test(pool, in_the_portable_mode_small_classes_pass_for_threads_without_a_seat)
{
	u_start_portable();
	u_without_seat();
	void *p = u_get(64, false), *q = u_get(U_SIZE, false);
	cr_assert_not(bp_range_has(p));
	cr_assert(bp_range_has(q));
	bp_pool_release(U_POOL, p);
	bp_pool_release(U_POOL, q);
	u_assert_balance(0);
}

/* Of a thread that has looked for a seat in vain. */
Test(pool, the_first_block_that_passes_is_not_taken_for_a_foreign_one)
{
	u_start_portable();
	if (bp_seats.count == 0)
		cr_skip_test("no membarrier");
	cr_assert_not(atomic_load(&bp_range.incomplete));
	bp_thread.rseq = &bp_rseq_none;
	void *p = u_get(64, false);
	cr_assert_not(bp_range_has(p));
	bp_pool_release(U_POOL, p);
	cr_assert_eq(atomic_load(&U_POOL->misuse), 0);
}

Test(pool, with_a_seat_they_are_pooled)
{
	u_start_portable();
	if (bp_seats.count == 0)
		cr_skip_test("no membarrier");
	static const size_t sizes[] = { 1, 16, 64, 1000, 4096, 4097, 32768, 65536 };
	for (size_t i = 0; i < U_COUNT(sizes); i++)
		for (int zero = 0; zero < 2; zero++) {
			void *p = u_get(sizes[i], zero);
			cr_assert(bp_range_has(p), "%zu bytes", sizes[i]);
			memset(p, 0xff, sizes[i]);
			bp_pool_release(U_POOL, p);
			uint64_t hits = u_account(sizes[i]).hits;
			void *again = u_get(sizes[i], zero);
			cr_assert_eq(again, p, "%zu bytes: not the last one", sizes[i]);
			cr_assert_eq(u_account(sizes[i]).hits, hits + 1);
			for (size_t at = 0; zero && at < sizes[i]; at++)
				cr_assert_eq(((char *)again)[at], 0);
			bp_pool_release(U_POOL, again);
		}
	u_assert_balance(0);
}

/* ---- fork ---- */

static uint64_t held;

static void child_with_everything(void)
{
	u_surely(u_balanced());
	u_surely(u_account(U_SIZE).in_use == held);
	u_surely(u_account(U_SIZE).set_aside == 0);
	uint64_t created = u_account(U_SIZE).created, cached = u_account(U_SIZE).cached;
	for (uint64_t i = 0; i < cached; i++)
		u_surely(u_get(U_SIZE, false) != NULL);
	u_surely(u_account(U_SIZE).created == created);
	u_surely(u_balanced());
}

Test(pool, a_child_of_one_thread_has_everything_as_it_was)
{
	char err[256];
	u_start(NULL);
	u_acquire(blocks, 100, U_SIZE);
	u_release(blocks, 60);
	held = 40;
	__libc_single_threaded = true; /* as it is in a program that Criterion did not start */
	int status = u_in_child(child_with_everything, err, sizeof(err));
	cr_assert_eq(status, 0, "line %d of %d", (WEXITSTATUS(status) - 1) % 200, __LINE__);
}

static _Atomic bool stop;
static void *in_parent[MANY];

/* Works in the middle of everything while the other thread forks. */
static void *work(void *unused)
{
	static void *own[50];
	uint64_t state = 5;
	(void)unused;
	for (size_t n = 0; !atomic_load(&stop);) {
		uint64_t x = u_random(&state);
		if (x % 2 == 0 && n < U_COUNT(own))
			own[n++] = u_get(U_SIZE, false);
		else if (n > 0)
			bp_pool_release(U_POOL, own[--n]);
		if (x % 64 == 1)
			bp_epoch_advance(U_POOL);
	}
	return NULL;
}

static void child_alone(void)
{
	static void *fresh[200];
	/* Nothing that the parent's other thread had, or that was cached, is handed out. */
	for (size_t i = 0; i < U_COUNT(fresh); i++) {
		fresh[i] = u_get(U_SIZE, false);
		u_surely(fresh[i] != NULL);
		for (size_t j = 0; j < MANY; j++)
			u_surely(fresh[i] != in_parent[j]);
		for (size_t j = 0; j < i; j++)
			u_surely(fresh[i] != fresh[j]);
	}
	for (size_t i = 0; i < U_COUNT(fresh); i++)
		bp_pool_release(U_POOL, fresh[i]);
	for (size_t j = 0; j < MANY; j++)
		bp_pool_release(U_POOL, in_parent[j]);
	bp_epoch_advance(U_POOL);
	bp_epoch_advance(U_POOL);
	u_surely(u_account(U_SIZE).cached + u_account(U_SIZE).victim == 0);
	u_surely(u_balanced());
}

static void children_while_working(const char *options)
{
	pthread_t id;
	u_start(options);
	u_acquire(in_parent, MANY, U_SIZE);
	pthread_create(&id, NULL, work, NULL);
	for (int i = 0; i < 60; i++) {
		char err[256];
		usleep(1000);
		int status = u_in_child(child_alone, err, sizeof(err));
		cr_assert_eq(status, 0, "child %d: status %x, line %d (or 200 more): %s", i, status,
			     (WEXITSTATUS(status) - 1) % 200, err);
	}
	atomic_store(&stop, true);
	pthread_join(id, NULL);
}

Test(pool, a_child_of_several_threads_gets_nothing_that_might_be_in_two_places, .timeout = 60)
{
	children_while_working(NULL);
}

Test(pool, nor_in_the_portable_mode, .timeout = 60)
{
	children_while_working("percpu:fallback");
}

static void child_of_a_moment(void)
{
	static void *fresh[200];
	uint64_t aside = u_account(U_SIZE).set_aside;
	u_surely(u_account(U_SIZE).cached == 0);
	u_surely(aside >= 100);
	u_surely(u_balanced());
	for (size_t i = 0; i < U_COUNT(fresh); i++) {
		u_surely((fresh[i] = u_get(U_SIZE, false)) != NULL);
		for (size_t j = 0; j < 100; j++)
			u_surely(fresh[i] != blocks[j]);
	}
	bp_pool_release(U_POOL, fresh[0]);
	u_surely(u_on_cpus(U_SIZE) == 1);
	bp_epoch_trim(U_POOL, 0);
	u_surely(u_on_cpus(U_SIZE) == 0);
	u_surely(!atomic_load(&U_POOL->giving));
	/* What was cached at the fork is given back as well, each block once. */
	u_surely(u_account(U_SIZE).set_aside == 0);
	u_surely(u_account(U_SIZE).dropped_epoch >= aside);
	u_surely(u_balanced());
}

/* The moment that is hard to meet: the child's parent had a thread that was taking this CPU's stacks and one that was
 * giving back. */
static void fork_at_that_moment(const char *options)
{
	char err[256];
	u_start(options);
	u_acquire(blocks, 100, U_SIZE);
	u_release(blocks, 100);
	struct bp_cpu *cpu = &bp_slab_of(U_POOL->slabs, bp_percpu_enter(U_POOL->slabs, 0))->cpu;
	__libc_single_threaded = false;
	atomic_store(&U_POOL->giving, true);
	atomic_store(&cpu->taken, 1);
	atomic_store(&cpu->lock, 1);
	int status = u_in_child(child_of_a_moment, err, sizeof(err));
	atomic_store(&cpu->lock, 0);
	atomic_store(&cpu->taken, 0);
	cr_assert_eq(status, 0, "status %x, line %d (or 200 more): %s", status, (WEXITSTATUS(status) - 1) % 200, err);
}

Test(pool, a_child_frees_what_threads_held_that_it_does_not_have)
{
	fork_at_that_moment(NULL);
}

Test(pool, and_in_the_portable_mode)
{
	fork_at_that_moment("percpu:fallback");
}

enum { TWICE = 40, SMALL = 512 }; /* in a slab: larger blocks are no blocks any more once they are given back */

/* Whatever jemalloc was given twice, or was given though it is out, it would hand out twice. */
static void child_of_doubles(void)
{
	static void *fresh[4 * TWICE];
	uint64_t aside = u_account(SMALL).set_aside;
	struct bp_backend_stats before, after;
	bp_backend_stats(&before);
	bp_epoch_trim(U_POOL, 0);
	bp_backend_stats(&after);
	u_surely(before.allocated - after.allocated == aside * bp_class_size(u_class(SMALL)));
	u_surely(u_account(SMALL).set_aside == 0);
	u_surely(u_balanced());
	for (size_t i = 0; i < U_COUNT(fresh); i++) {
		u_surely((fresh[i] = u_get(SMALL, false)) != NULL);
		u_surely(fresh[i] != blocks[TWICE]);
		for (size_t j = 0; j < i; j++)
			u_surely(fresh[i] != fresh[j]);
	}
	bp_pool_release(U_POOL, blocks[TWICE]);
	u_release(fresh, U_COUNT(fresh));
	u_surely(u_balanced());
}

/* What the kernel's copy may look like: blocks that are in a stack and in a magazine, and one in a magazine that another
 * thread had handed out by then. */
static void fork_with_doubles(const char *options)
{
	char err[256];
	u_start(options);
	u_acquire(blocks, TWICE + 1, SMALL);
	u_release(blocks, TWICE);
	uint32_t m = bp_magazine_new();
	memcpy(bp_magazine_slots(m), blocks, (TWICE + 1) * sizeof(*blocks));
	bp_magazine_set_count(m, TWICE + 1);
	__libc_single_threaded = false;
	int status = u_in_child(child_of_doubles, err, sizeof(err));
	bp_magazine_free(m);
	cr_assert_eq(status, 0, "status %x, line %d (or 200 more): %s", status, (WEXITSTATUS(status) - 1) % 200, err);
}

Test(pool, what_a_child_sees_twice_it_gives_back_once)
{
	fork_with_doubles(NULL);
}
