/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where released blocks go when this CPU's stack has no room, and how stacks get the room that they need.
 */
#include "cache/release.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/epoch.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "pools.h"
#include "support.h"
#include "sys/backend.h"

enum { MANY = 700 };
static void *blocks[MANY];

static struct bp_level *shared(void)
{
	return bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL));
}

Test(release, a_full_stack_sends_half_of_it_to_the_shared_level)
{
	u_start(NULL);
	unsigned class = u_class(U_SIZE);
	u_acquire(blocks, 100, U_SIZE);
	unsigned capacity = 0;
	for (int i = 0; i < 100 && atomic_load(&shared()->magazines) == 0; i++) {
		bp_pool_release(U_POOL, blocks[i]);
		capacity = atomic_load(&bp_slab_of(U_POOL->slabs, u_slab())->cpu.classes[class].capacity);
	}
	cr_assert_eq(atomic_load(&shared()->magazines), 1);
	cr_assert_eq(atomic_load(&shared()->classes[class].blocks), bp_policy_flush(class, capacity) + 1);
	cr_assert_eq(u_on_cpus(U_SIZE), capacity - bp_policy_flush(class, capacity));
}

Test(release, what_was_flushed_comes_back)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	u_release(blocks, MANY);
	uint64_t created = u_account(U_SIZE).created;
	u_acquire(blocks, MANY, U_SIZE);
	cr_assert_eq(u_account(U_SIZE).created, created);
	u_assert_balance(MANY * U_SIZE);
}

Test(release, over_the_budget_blocks_are_queued)
{
	u_start("budget:1m");
	u_acquire(blocks, MANY, U_SIZE);
	for (size_t i = 0; i < MANY; i++) {
		bp_pool_release(U_POOL, blocks[i]);
		uint64_t kept = bp_level_bytes(shared()) +
				bp_level_bytes(bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL)));
		cr_assert_leq(kept, 1 << 20, "%lu bytes are kept", (unsigned long)kept);
	}
	struct bp_account a = u_account(U_SIZE);
	cr_assert_leq(a.cached + a.victim, u_on_cpus(U_SIZE) + (1 << 20) / U_SIZE);
	cr_assert_gt(a.dropped_budget + a.queued, MANY / 4);
	cr_assert_eq(a.dropped_epoch, 0);
	u_assert_balance(0);
}

Test(release, what_waits_as_victim_counts_against_the_budget)
{
	u_start("budget:1m");
	u_acquire(blocks, MANY, U_SIZE);
	u_release(blocks, MANY / 2);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	for (int i = 0; i < 1000 && bp_pool_epoch(U_POOL) == epoch; i++) {
		atomic_store(&U_POOL->deadline, 0);
		bp_epoch_poll(U_POOL, -1, 0);
	}
	struct bp_level *victim = bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL));
	cr_assert_geq(bp_level_bytes(victim), 1 << 19);
	u_release(blocks + MANY / 2, MANY / 2);
	/* This CPU's blocks became victims, too, whatever the budget says. */
	cr_assert_leq(bp_level_bytes(shared()) + bp_level_bytes(victim), (1 << 20) + 8 * U_SIZE);
	u_assert_balance(0);
}

Test(release, a_stack_that_is_pressed_from_both_sides_grows)
{
	u_start(NULL);
	unsigned class = u_class(U_SIZE);
	int cpu = u_slab();
	struct bp_cpu *c = &bp_slab_of(U_POOL->slabs, cpu)->cpu;
	u_acquire(blocks, 1, U_SIZE);
	unsigned first = atomic_load(&c->classes[class].capacity);
	cr_assert_eq(first, bp_policy_first_capacity(class, 0, BP_CPU_BYTES));
	for (int i = 0; i < 5; i++)
		bp_pool_pressed(U_POOL, cpu, class, BP_PRESS_OVERFLOW);
	cr_assert_eq(atomic_load(&c->classes[class].capacity), first, "one side alone asks for nothing");
	bp_pool_pressed(U_POOL, cpu, class, BP_PRESS_UNDERFLOW);
	cr_assert_eq(atomic_load(&c->classes[class].capacity), bp_policy_grown_capacity(class, first, bp_percpu_slots(class), 0,
										 BP_CPU_BYTES));
	for (int i = 0; i < 2000; i++)
		bp_pool_pressed(U_POOL, cpu, class, i % 2 == 0 ? BP_PRESS_OVERFLOW : BP_PRESS_UNDERFLOW);
	unsigned most = atomic_load(&c->classes[class].capacity);
	cr_assert(most > first && most <= bp_percpu_slots(class));
	cr_assert_leq(atomic_load(&c->capacity_bytes), BP_CPU_BYTES);
	bp_pool_pressed(U_POOL, -1, class, BP_PRESS_OVERFLOW);
}

/* Presses every class from both sides until there is no more room to be had; *least: that of two blocks of each. */
static uint64_t all_room(uint64_t *least)
{
	int cpu = u_slab();
	struct bp_cpu *c = &bp_slab_of(U_POOL->slabs, cpu)->cpu;
	u_acquire(blocks, 1, U_SIZE);
	for (int round = 0; round < 40; round++)
		for (unsigned class = U_POOL->first_class; class < U_POOL->classes; class++)
			bp_pool_pressed(U_POOL, cpu, class, round % 2 == 0 ? BP_PRESS_OVERFLOW : BP_PRESS_UNDERFLOW);
	uint64_t sum = *least = 0;
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		sum += atomic_load(&c->classes[class].capacity) * bp_class_size(class);
		*least += class < U_POOL->classes ? 2 * bp_class_size(class) : 0;
	}
	cr_assert_eq(sum, atomic_load(&c->capacity_bytes));
	return sum;
}

Test(release, a_cpu_is_not_given_more_room_than_its_bytes)
{
	uint64_t least;
	u_start(NULL);
	uint64_t room = all_room(&least);
	cr_assert(room > BP_CPU_BYTES / 2 && room <= BP_CPU_BYTES + least);
}

Test(release, where_memory_is_scarce_all_cpus_have_a_sixteenth_of_it)
{
	uint64_t least;
	u_start(NULL);
	uint64_t limit = (uint64_t)bp_percpu_processors(U_POOL->slabs) * 64 << 20;
	atomic_store(&U_POOL->memory_limit, limit);
	uint64_t room = all_room(&least);
	cr_assert(room > (4 << 20) / 2 && room <= (4 << 20) + least, "%lu KiB", (unsigned long)room >> 10);
}

Test(release, errno_survives)
{
	u_start(NULL);
	u_acquire(blocks, MANY, U_SIZE);
	void *large = u_get(1 << 20, false);
	errno = 4711;
	u_release(blocks, MANY);
	bp_pool_release(U_POOL, large);
	void *volatile none = NULL;
	bp_pool_release(U_POOL, none);
	cr_assert_eq(errno, 4711);
}

/* Or a program whose memory is locked: giving pages back then fails, and jemalloc takes no care of errno. */
static void refuse_madvise(void)
{
	if (!u_refuse(SYS_madvise, EINVAL))
		_exit(77);
	errno = 4711;
}

static void release_what_passed(void)
{
	bp_pool_set_mode(U_POOL, true);
	void *p = memset(u_get(8 << 20, false), 1, 8 << 20);
	bp_backend_set_decay(0);
	refuse_madvise();
	bp_pool_release(U_POOL, p);
	_exit(errno == 4711 ? 0 : 1);
}

Test(release, errno_survives_what_the_kernel_refuses)
{
	char err[256];
	u_start(NULL);
	int status = u_in_child(release_what_passed, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("this kernel filters no system calls");
	cr_assert_eq(status, 0, "status %x: %s", status, err);
}

Test(release, blocks_of_the_cap_are_kept_when_there_is_no_room_either)
{
	u_start(NULL);
	u_acquire(blocks, 200, 65536);
	u_release(blocks, 200);
	cr_assert_eq(atomic_load(&U_POOL->large_released), 0);
	cr_assert_geq(u_account(65536).cached + u_account(65536).queued, 200);
	u_assert_balance(0);
}

Test(release, the_peak_is_the_most_that_was_ever_outside)
{
	u_start(NULL);
	int64_t before = atomic_load(&U_POOL->outside);
	bp_pool_outside(U_POOL, 1000);
	bp_pool_outside(U_POOL, 500);
	bp_pool_outside(U_POOL, -1200);
	bp_pool_outside(U_POOL, 100);
	cr_assert_eq(atomic_load(&U_POOL->outside), before + 400);
	cr_assert_geq(atomic_load(&U_POOL->peak), before + 1500);
}

/* In which order is seen where rows are not sorted. */
Test(release, the_last_in_is_the_first_out_of_a_magazine_too)
{
	u_start(NULL);
	unsigned class = u_class(U_SIZE), seen = 0;
	cr_assert_not(bp_policy_sorts(class));
	u_acquire(blocks, 200, U_SIZE);
	u_release(blocks, 200);
	for (uint32_t m; (m = bp_level_take(bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), class)) != 0;) {
		size_t at = 0;
		for (uint32_t i = 0; i < bp_magazine_count(m); i++, seen++) {
			while (at < 200 && blocks[at] != bp_magazine_slots(m)[i])
				at++;
			cr_assert_lt(at, 200, "one that was released before stands behind");
		}
	}
	cr_assert_geq(seen, 100);
}

Test(release, any_number_of_blocks_becomes_magazines)
{
	u_start(NULL);
	struct bp_level *l = &U_POOL->over;
	unsigned class = u_class(U_SIZE);
	u_acquire(blocks, 200, U_SIZE);
	atomic_fetch_add(&U_POOL->counts[class].released, 200);
	bp_pool_put_blocks(U_POOL, l, class, blocks, 0);
	cr_assert_eq(atomic_load(&l->magazines), 0);
	bp_pool_put_blocks(U_POOL, l, class, blocks, 200);
	unsigned batch = bp_policy_batch(class);
	cr_assert_eq(atomic_load(&l->magazines), (200 + batch - 1) / batch);
	cr_assert_eq(atomic_load(&l->classes[class].blocks), 200);
	bool seen[200] = { false };
	for (uint32_t m; (m = bp_level_take(l, class)) != 0;)
		for (uint32_t i = 0; i < bp_magazine_count(m); i++) {
			size_t at = 0;
			while (at < 200 && blocks[at] != bp_magazine_slots(m)[i])
				at++;
			cr_assert(at < 200 && !seen[at]);
			seen[at] = true;
		}
}

/* No magazine to be had: the blocks go back at once. */
Test(release, without_magazines_nothing_is_lost, .timeout = 60)
{
	u_start(NULL);
	u_acquire(blocks, 200, U_SIZE);
	while (bp_magazine_new() != 0)
		;
	u_release(blocks, 200);
	struct bp_account a = u_account(U_SIZE);
	cr_assert_gt(a.dropped_budget, 0);
	cr_assert_eq(a.dropped_budget + a.cached, a.created);
	u_assert_balance(0);
	void *p = u_get(U_SIZE, false);
	cr_assert_not_null(p);
	u_assert_balance(U_SIZE);
}

/* What the other slow paths move, when there is none. */
Test(release, without_magazines_whole_rows_go_back_at_once, .timeout = 60)
{
	u_start(NULL);
	u_acquire(blocks, 150, U_SIZE);
	while (bp_magazine_new() != 0)
		;
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, 150);
	size_t gone = bp_pool_put_blocks(U_POOL, bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), u_class(U_SIZE), blocks, 150);
	cr_assert_eq(gone, 150 * U_SIZE);
	cr_assert_eq(u_account(U_SIZE).dropped_budget, 150);
	u_assert_balance(0);
}

/* Whoever needs the memory is told that some came free, or it would not try again. */
Test(release, without_magazines_a_trim_says_what_went, .timeout = 60)
{
	u_start(NULL);
	u_acquire(blocks, 2, U_SIZE);
	u_release(blocks, 2);
	while (bp_magazine_new() != 0)
		;
	uint64_t cached = u_account(U_SIZE).cached;
	cr_assert_geq(cached, 1);
	cr_assert_eq(bp_epoch_trim(U_POOL, 0), cached * U_SIZE);
	cr_assert_eq(u_account(U_SIZE).cached, 0);
	cr_assert_eq(bp_epoch_trim(U_POOL, 0), 0);
}
