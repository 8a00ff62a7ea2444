/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Misses: the order in which they look (S9), and what leaves them: a block without a mark that nobody else has.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "cache/epoch.h"
#include "cache/fill.h"
#include "cache/misuse.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/release.h"
#include "pools.h"
#include "support.h"

enum { MANY = 400 };
static void *blocks[MANY];

static void to_level(struct bp_level *l, void **some, size_t count)
{
	for (size_t i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
	atomic_fetch_add(&U_POOL->counts[u_class(U_SIZE)].released, count);
	bp_pool_put_blocks(U_POOL, l, u_class(U_SIZE), some, count);
}

static void *acquire(void)
{
	return u_get(U_SIZE, false);
}

Test(acquire, own_cpu_then_shared_then_victim_then_jemalloc)
{
	u_start(NULL);
	uint32_t epoch = bp_pool_epoch(U_POOL);
	u_acquire(blocks, 3, U_SIZE);
	cr_assert_eq(u_on_cpus(U_SIZE), 0);
	to_level(bp_pool_victim(U_POOL, epoch), blocks, 1);
	to_level(bp_pool_shared(U_POOL, epoch), blocks + 1, 1);
	bp_pool_release(U_POOL, blocks[2]);
	cr_assert_eq(u_on_cpus(U_SIZE), 1);
	struct bp_account before = u_account(U_SIZE);
	cr_assert_eq(acquire(), blocks[2]);
	cr_assert_eq(acquire(), blocks[1]);
	cr_assert_eq(u_account(U_SIZE).from_shared, before.from_shared + 1);
	cr_assert_eq(acquire(), blocks[0]);
	cr_assert_eq(u_account(U_SIZE).from_victim, before.from_victim + 1);
	cr_assert_eq(u_account(U_SIZE).created, before.created);
	blocks[3] = acquire();
	cr_assert_gt(u_account(U_SIZE).created, before.created);
	for (int i = 0; i < 3; i++)
		cr_assert_neq(blocks[3], blocks[i]);
	u_assert_balance(4 * U_SIZE);
}

Test(acquire, what_is_queued_is_not_handed_out)
{
	u_start(NULL);
	u_acquire(blocks, 8, U_SIZE);
	to_level(&U_POOL->over, blocks, 4);
	to_level(bp_pool_queue(U_POOL, bp_pool_epoch(U_POOL)), blocks + 4, 4);
	atomic_store(&U_POOL->giving, true); /* and stays there */
	void *p = u_get(U_SIZE, false);
	cr_assert_eq(u_account(U_SIZE).from_shared + u_account(U_SIZE).from_victim, 0);
	cr_assert_eq(u_account(U_SIZE).queued, 8);
	bp_pool_release(U_POOL, p);
	u_assert_balance(0);
}

/* S9: released on one CPU, handed out on another before jemalloc is asked. Large classes steal; at most each ms. */
Test(acquire, a_large_block_is_stolen_from_another_cpu)
{
	u_need_rseq();
	size_t size = BP_STEAL_SIZE;
	u_start(NULL);
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	u_acquire(blocks, 3, size);
	u_release(blocks, 3);
	size_t there = u_on_cpus(size);
	cr_assert_geq(there, 3);
	uint64_t created = u_account(size).created;
	atomic_store(&U_POOL->last_steal, 0); /* the misses above have tried */
	u_pin(u_cpu(1));
	void *p = u_get(size, false);
	cr_assert_eq(u_account(size).created, created, "a fresh block, though CPU 0 has some");
	cr_assert_eq(u_account(size).from_steal, 1);
	cr_assert_eq(u_on_cpus(size), 0, "the rest went to the shared level");
	cr_assert_eq(u_account(size).cached, there - 1);
	cr_assert_eq(*bp_mark_of(p), 0);
	u_assert_balance(size);
}

/* Each costs that CPU an interrupt. Other work on this one may take as long as the pause: not every round of the test
 * has to see it. */
Test(acquire, it_is_not_stolen_twice_at_once)
{
	u_need_rseq();
	unsigned refused = 0;
	u_start(NULL);
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	for (int round = 0; round < 20; round++) {
		bp_epoch_trim(U_POOL, 0);
		u_pin(u_cpu(0));
		u_acquire(blocks, 3, U_SIZE);
		u_release(blocks, 3);
		u_pin(u_cpu(1));
		uint64_t stolen = u_account(U_SIZE).from_steal;
		atomic_store(&U_POOL->last_steal, bp_os_now_ns());
		void *p = acquire();
		refused += u_account(U_SIZE).from_steal == stolen;
		bp_pool_release(U_POOL, p);
	}
	cr_assert_gt(refused, 0);
	u_assert_balance(0);
}

/* One of a magazine is handed out; what of the others finds no room on this CPU stays where it was. */
Test(acquire, what_finds_no_room_goes_back_to_its_level)
{
	u_start(NULL);
	u_acquire(blocks, 60, U_SIZE);
	uint64_t created = u_account(U_SIZE).created;
	to_level(bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), blocks, 60);
	acquire();
	cr_assert_lt(u_on_cpus(U_SIZE), 59, "all of them had room");
	u_assert_balance(U_SIZE);
	for (int i = 1; i < 60; i++)
		acquire();
	cr_assert_eq(u_account(U_SIZE).created, created);
	u_assert_balance(60 * U_SIZE);
}

Test(acquire, small_blocks_are_not_stolen)
{
	size_t size = 16384;
	u_start(NULL);
	if (u_cpu(1) < 0 || u_class(size) < U_POOL->first_class)
		cr_skip_test("one CPU, or small blocks pass through");
	if (bp_seats.count > 0)
		cr_skip_test("a thread takes its seat along");
	u_acquire(blocks, 3, size);
	u_release(blocks, 3);
	u_pin(u_cpu(1));
	u_get(size, false);
	cr_assert_eq(u_account(size).from_steal, 0);
	cr_assert_geq(u_on_cpus(size), 3);
}

Test(acquire, no_block_leaves_with_its_mark)
{
	u_start(NULL);
	uint64_t state = 3;
	size_t held = 0;
	for (int i = 0; i < 30000; i++) {
		if (u_random(&state) % 2 == 0 && held < MANY) {
			size_t n = 16384 + u_random(&state) % 5 * 8192;
			void *p = blocks[held++] = u_get(n, false);
			cr_assert_neq(*bp_mark_of(p), bp_mark_value(p), "its release would be a double one");
		} else if (held > 0) {
			bp_pool_release(U_POOL, blocks[--held]);
		}
		if (i % 1000 == 0)
			bp_epoch_advance(U_POOL); /* jemalloc sees blocks with their marks on, and gives them again */
	}
}

Test(acquire, zeroed_blocks_are_zero_wherever_they_come_from)
{
	u_start(NULL);
	uint64_t state = 3;
	size_t held = 0;
	for (int i = 0; i < 6000; i++) {
		size_t n = 16384 << u_random(&state) % 4;
		if (u_random(&state) % 2 == 0 && held < MANY) {
			unsigned char *p = u_get(n, true);
			for (size_t at = 0; at < n; at += 8)
				cr_assert_eq(*(uint64_t *)(p + at), 0, "%zu bytes: byte %zu", n, at);
			memset(p, 0xff, n);
			blocks[held++] = p;
		} else if (held > 0) {
			bp_pool_release(U_POOL, blocks[--held]);
		}
		if (i % 500 == 0)
			bp_epoch_advance(U_POOL);
	}
}

/* A run over every class: the buffers of the fills are in .bss, one behind the other. */
/* Sparse tables would become resident. */
Test(acquire, zeroed_blocks_with_pages_of_their_own_are_not_touched)
{
	u_start(NULL);
	u_get(65536, true);
	size_t before = u_mapped(bp_range.base, bp_range.reserved).resident;
	for (int i = 0; i < 200; i++)
		blocks[i] = u_get(65536, true);
	size_t grown = u_mapped(bp_range.base, bp_range.reserved).resident - before;
	cr_assert_leq(grown, 1 << 20, "%zu KiB of 12800 are resident", grown >> 10);
	u_release(blocks, 200);
}

Test(acquire, fills_of_every_class_stay_within_their_buffer)
{
	u_start(NULL);
	for (unsigned class = 0; class < U_POOL->classes; class++) {
		void *last = NULL;
		for (int i = 0; i < 6000; i++) {
			void **p = u_get(bp_class_size(class), false);
			p[0] = last;
			last = p;
		}
		cr_assert_leq(atomic_load(&U_POOL->counts[class].fill), BP_FILL_BLOCKS, "class %u", class);
		for (void *next; last != NULL; last = next) {
			next = *(void **)last;
			bp_pool_release(U_POOL, last);
		}
		bp_epoch_trim(U_POOL, 0);
	}
	u_assert_balance(0);
}

/* What a program builds in one go lies in the order in which it will walk it. */
Test(acquire, what_is_fetched_ahead_comes_in_the_order_of_its_addresses)
{
	enum { SMALL = 64, COUNT = 256 };
	static void *some[COUNT];
	unsigned up = 0;
	u_start(NULL);
	if (u_class(SMALL) < U_POOL->first_class)
		cr_skip_test("small blocks pass through");
	cr_assert_eq(bp_pool_prefill(U_POOL, u_class(SMALL), COUNT), COUNT);
	u_acquire(some, COUNT, SMALL);
	for (unsigned i = 1; i < COUNT; i++)
		up += some[i] > some[i - 1];
	cr_assert_geq(up, COUNT * 9 / 10, "%u of %u", up, COUNT);
}

Test(acquire, a_block_that_was_written_to_is_set_aside)
{
	char line[512] = "";
	int fds[2];
	u_start("misuse:report");
	u_acquire(blocks, 3, U_SIZE);
	u_release(blocks, 3);
	void *victim = blocks[2];
	memset(victim, 0x41, U_SIZE);
	cr_assert_eq(pipe(fds), 0);
	int saved = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	void *p = acquire();
	dup2(saved, STDERR_FILENO);
	cr_assert_gt(read(fds[0], line, sizeof(line) - 1), 0);
	cr_assert_not_null(strstr(line, "write after release"));
	cr_assert_not_null(strstr(line, "(class 40960)"));
	cr_assert_neq(p, victim);
	cr_assert_eq(u_account(U_SIZE).set_aside, 1);
	for (int i = 0; i < 200; i++)
		cr_assert_neq(acquire(), victim, "it is never used again");
	u_assert_balance(201 * U_SIZE);
}

/* The same wherever it lay. */
Test(acquire, what_was_written_to_in_a_level_or_on_another_cpu_is_set_aside)
{
	u_start("misuse:report");
	u_acquire(blocks, 5, U_SIZE);
	struct bp_account before = u_account(U_SIZE);
	to_level(bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), blocks, 2);
	to_level(bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL)), blocks + 2, 1);
	u_release(blocks + 3, 1);
	memset(blocks[1], 0x41, U_SIZE);
	memset(blocks[2], 0x41, U_SIZE);
	unsigned aside = 2;
	if (u_cpu(1) >= 0 && bp_percpu_mode() == BP_PERCPU_RSEQ) {
		memset(blocks[3], 0x41, U_SIZE);
		u_pin(u_cpu(1));
		aside = 3;
	}
	for (int i = 0; i < 100; i++) {
		atomic_store(&U_POOL->last_steal, 0);
		void *p = acquire();
		for (unsigned j = 1; j <= aside; j++)
			cr_assert_neq(p, blocks[j], "block %u was written to", j);
	}
	cr_assert_eq(u_account(U_SIZE).set_aside, aside);
	cr_assert_eq(u_account(U_SIZE).acquired, before.acquired + 100, "what is set aside counts as acquired");
}

Test(acquire, sizes_over_everything_are_refused)
{
	u_start(NULL);
	errno = 0;
	cr_assert_null(u_get(SIZE_MAX, false));
	cr_assert_eq(errno, ENOMEM);
	errno = 0;
	cr_assert_null(u_get(PTRDIFF_MAX, true));
	cr_assert_eq(errno, ENOMEM);
}

Test(acquire, blocks_over_the_cap_are_counted_and_not_kept)
{
	u_start(NULL);
	void *p = u_get(65537, false), *q = u_get(5 << 20, true);
	cr_assert(bp_range_has(p) && bp_range_has(q));
	cr_assert_eq(atomic_load(&U_POOL->large_acquired), 2);
	cr_assert_geq(atomic_load(&U_POOL->large_bytes), 65537 + (5 << 20));
	bp_pool_release(U_POOL, p);
	bp_pool_release(U_POOL, q);
	cr_assert_eq(atomic_load(&U_POOL->large_released), 2);
	cr_assert_eq(atomic_load(&U_POOL->large_bytes), 0);
	cr_assert_eq(bp_range_start_of(p), 0);
	u_assert_balance(0);
}
