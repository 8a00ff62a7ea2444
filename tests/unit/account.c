/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The numbers: what was created is somewhere, whichever way the blocks went; hits and pushes count themselves.
 */
#include "cache/account.h"

#include <criterion/criterion.h>
#include <string.h>

#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/options.h"
#include "cache/release.h"
#include "pools.h"
#include "support.h"
#include "sys/limits.h"

enum { MANY = 600 };
static void *blocks[MANY];

static void every_call_is_counted(void)
{
	uint64_t acquired = 0, state = 7;
	size_t held = 0;
	for (int i = 0; i < 20000; i++) {
		uint64_t n = u_random(&state);
		if (n % 2 == 0 && held < MANY) {
			u_acquire(&blocks[held++], 1, U_SIZE);
			acquired++;
		} else if (held > 0) {
			bp_pool_release(U_POOL, blocks[--held]);
		}
		if (n % 4096 == 5)
			bp_epoch_advance(U_POOL);
		if (i % 500 == 0) {
			struct bp_account a = u_account(U_SIZE);
			cr_assert_eq(a.acquired, acquired);
			cr_assert_eq(a.released, acquired - held);
			u_assert_balance(held * U_SIZE);
		}
	}
	u_release(blocks, held);
	u_assert_balance(0);
}

Test(account, every_call_is_counted_once)
{
	u_start(NULL);
	every_call_is_counted();
	struct bp_account a = u_account(U_SIZE);
	cr_assert_gt(a.hits, 1000);
	cr_assert_gt(a.from_shared + a.from_victim, 0);
}

Test(account, in_the_portable_mode_too)
{
	u_start_portable();
	every_call_is_counted();
}

Test(account, places_are_told_apart)
{
	u_start(NULL);
	u_acquire(blocks, 200, U_SIZE);
	u_assert_balance(200 * U_SIZE);
	u_release(blocks, 200);
	struct bp_account a = u_account(U_SIZE);
	cr_assert_eq(a.victim + a.queued, 0);
	cr_assert_geq(a.cached, 200);
	uint64_t all = a.cached;
	bp_epoch_advance(U_POOL);
	a = u_account(U_SIZE);
	cr_assert_eq(a.victim, all);
	cr_assert_eq(a.cached + a.queued, 0);
	bp_epoch_advance(U_POOL);
	a = u_account(U_SIZE);
	cr_assert_eq(a.dropped_epoch, all);
	cr_assert_eq(a.victim + a.cached + a.queued + a.in_use, 0);
	u_assert_balance(0);
}

Test(account, a_lost_block_shows)
{
	u_start(NULL);
	u_acquire(blocks, 40, U_SIZE);
	u_release(blocks, 40);
	bp_epoch_advance(U_POOL);
	uint32_t lost = bp_level_take(bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL)), u_class(U_SIZE));
	cr_assert_neq(lost, 0);
	struct bp_account a = u_account(U_SIZE);
	cr_assert_eq(a.created, a.in_use + a.cached + a.victim + a.queued + a.dropped_epoch + a.dropped_budget +
		     a.set_aside + bp_magazine_count(lost));
}

Test(account, the_sum_is_the_sum_of_the_classes)
{
	u_need_rseq();
	u_start(NULL);
	struct bp_account all, sum = { 0 };
	struct bp_account_bytes bytes;
	uint64_t in_use = 0, cached = 0;
	for (size_t i = 0, n = 16384; n <= 65536; n += 4096, i++)
		u_acquire(&blocks[i * 2], 2, n);
	for (size_t i = 0, n = 16384; n <= 65536; n += 4096, i++)
		bp_pool_release(U_POOL, blocks[i * 2]);
	bp_account_all(&all, &bytes, U_POOL);
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account one;
		bp_account_class(&one, U_POOL, class);
		sum.created += one.created;
		sum.in_use += one.in_use;
		sum.acquired += one.acquired;
		in_use += one.in_use * bp_class_size(class);
		cached += one.cached * bp_class_size(class);
	}
	cr_assert_eq(all.created, sum.created);
	cr_assert_eq(all.in_use, 13);
	cr_assert_eq(all.acquired, sum.acquired);
	cr_assert_eq(bytes.in_use, in_use);
	cr_assert_eq(bytes.cached, cached);
}

Test(account, the_budget_follows_the_higher_of_two_peaks)
{
	u_start("budget:1g");
	uint64_t floor = bp_account_budget(U_POOL);
	u_acquire(blocks, 500, 65536);
	cr_assert_geq(bp_account_budget(U_POOL), floor + 500 * 65536);
	u_release(blocks, 500);
	bp_epoch_advance(U_POOL);
	cr_assert_geq(bp_account_budget(U_POOL), floor + 500 * 65536, "the last epoch counts as well");
	bp_epoch_advance(U_POOL);
	bp_epoch_advance(U_POOL);
	cr_assert_leq(bp_account_budget(U_POOL), floor + (4 << 20), "two epochs later it is forgotten");
	atomic_store(&bp_options.budget, 4096);
	cr_assert_eq(bp_account_budget(U_POOL), 4096);
}

Test(account, without_an_option_an_eighth_of_the_memory_is_the_limit)
{
	u_start(NULL);
	cr_assert_eq(atomic_load(&U_POOL->memory_limit), 0, "not read before it is asked for");
	cr_assert_eq(bp_account_memory_limit(), bp_os_memory_limit());
	atomic_store(&U_POOL->memory_limit, (uint64_t)32 << 30);
	bp_pool_outside(U_POOL, (int64_t)16 << 30);
	cr_assert_eq(bp_account_budget(U_POOL), (uint64_t)4 << 30);
}

Test(account, only_cpus_that_were_used_count)
{
	u_start(NULL);
	u_acquire(blocks, 1, U_SIZE);
	cr_assert_eq(bp_account_cpus(U_POOL), 1);
	if (u_cpu(1) >= 0) {
		u_pin(u_cpu(1));
		u_acquire(blocks + 1, 1, 65536);
		/* A thread takes its seat along. */
		cr_assert_eq(bp_account_cpus(U_POOL), bp_seats.count > 0 ? 1 : 2);
	}
}
