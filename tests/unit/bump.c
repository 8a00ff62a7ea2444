/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The buffer of the calls that come too early: its blocks, its end, and what the engine makes of them later. That it is
 * in use at the right time is tests/shim/ifunc.c's.
 */
#include "sys/bump.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/block.h"
#include "support.h"

#define POOL (&bp_default_pool)

static const size_t sizes[] = { 0, 1, 8, 15, 16, 17, 100, 4096, 5000, 20000 };

Test(bump, serves_no_longer_once_the_program_runs)
{
	cr_assert_not(bp_bump_serves());
	cr_assert(bp_pool_start(POOL));
	cr_assert_eq(atomic_load(&bp_bump_top), 0);
}

Test(bump, blocks_are_zeroed_aligned_and_apart)
{
	char *before = NULL;
	for (size_t i = 0; i < U_COUNT(sizes); i++) {
		char *p = bp_bump_new(1, sizes[i]);
		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % 16, 0);
		cr_assert_geq(bp_bump_size(p), sizes[i]);
		cr_assert(bp_bump_size(p) >= 16 && bp_bump_size(p) < sizes[i] + 32);
		for (size_t at = 0; at < bp_bump_size(p); at++)
			cr_assert_eq(p[at], 0, "%zu bytes, byte %zu", sizes[i], at);
		cr_assert(bp_bump_has(p) && bp_bump_has(p + bp_bump_size(p) - 1));
		cr_assert(before == NULL || before + bp_bump_size(before) <= p - 16);
		memset(p, 0xff, bp_bump_size(p));
		cr_assert(before == NULL || bp_bump_size(before) < 32768, "the size was overwritten");
		before = p;
	}
}

Test(bump, alignments_of_every_power_of_two)
{
	for (size_t alignment = 1; alignment <= 1 << 16; alignment *= 2) {
		char *p = bp_bump_new(alignment, 100);
		cr_assert_not_null(p, "%zu", alignment);
		cr_assert_eq((uintptr_t)p % alignment, 0, "%zu", alignment);
		cr_assert_geq(bp_bump_size(p), 100);
	}
	for (size_t alignment = (size_t)1 << 63; alignment > BP_BUMP_BYTES << 20; alignment /= 2) {
		errno = 0;
		cr_assert_null(bp_bump_new(alignment, 1));
		cr_assert_eq(errno, ENOMEM);
	}
}

Test(bump, what_does_not_fit_is_refused_and_changes_nothing)
{
	static const size_t too_large[] = { BP_BUMP_BYTES - 15, BP_BUMP_BYTES, BP_BUMP_BYTES + 1, PTRDIFF_MAX,
					    SIZE_MAX - 15, SIZE_MAX - 14, SIZE_MAX };
	for (size_t i = 0; i < U_COUNT(too_large); i++) {
		errno = 0;
		cr_assert_null(bp_bump_new(1, too_large[i]), "%zu", too_large[i]);
		cr_assert_eq(errno, ENOMEM);
	}
	cr_assert_eq(atomic_load(&bp_bump_top), 0);
	char *p = bp_bump_new(1, BP_BUMP_BYTES - 16);
	cr_assert_not_null(p, "all of it in one block");
	cr_assert_eq(p + bp_bump_size(p), bp_bump_buffer + BP_BUMP_BYTES);
	cr_assert_null(bp_bump_new(1, 0));
}

Test(bump, small_blocks_to_the_last_byte)
{
	char *p, *last = NULL;
	size_t count = 0;
	for (; (p = bp_bump_new(1, 16)) != NULL; last = p)
		count++;
	cr_assert_eq(count, BP_BUMP_BYTES / 32);
	cr_assert_eq(last + 16, bp_bump_buffer + BP_BUMP_BYTES);
}

Test(bump, knows_its_own_blocks_only)
{
	static char other;
	cr_assert_not(bp_bump_has(bp_bump_buffer), "nothing is handed out yet");
	char *p = bp_bump_new(1, 1);
	cr_assert(bp_bump_has(p));
	cr_assert_not(bp_bump_has(NULL));
	cr_assert_not(bp_bump_has(&other));
	cr_assert_not(bp_bump_has(&p));
	cr_assert_not(bp_bump_has(bp_bump_buffer - 1));
	cr_assert_not(bp_bump_has(bp_bump_buffer + BP_BUMP_BYTES));
}

Test(bump, copies_as_many_bytes_as_it_is_told)
{
	unsigned char from[300], to[300];
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (unsigned char)(i * 7 + 1);
	for (size_t n = 0; n < sizeof(from); n += 13) {
		memset(to, 0, sizeof(to));
		bp_bump_copy(to, from, n);
		cr_assert_arr_eq(to, from, n);
		cr_assert_eq(to[n], 0);
	}
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 200 };

static struct { char *blocks[BP_BUMP_BYTES / 32]; size_t count, wrong; } taken[THREADS];
static pthread_barrier_t barrier;

static void *take_all(void *arg)
{
	size_t t = (size_t)arg;
	char *p;
	pthread_barrier_wait(&barrier);
	while ((p = bp_bump_new(1, 24)) != NULL)
		taken[t].blocks[taken[t].count++] = p;
	for (size_t i = 0; i < taken[t].count; i++)
		memset(taken[t].blocks[i], (int)t + 1, bp_bump_size(taken[t].blocks[i]));
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < taken[t].count; i++)
		for (size_t at = 0; at < 32; at++)
			taken[t].wrong += taken[t].blocks[i][at] != (char)(t + 1);
	return NULL;
}

Test(bump, threads_never_share_a_block)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t threads[THREADS];
		size_t sum = 0, wrong = 0;
		memset(taken, 0, sizeof(taken));
		atomic_store(&bp_bump_top, 0); /* as if nothing had been handed out: no other way back */
		cr_assert_eq(pthread_barrier_init(&barrier, NULL, THREADS), 0);
		for (size_t t = 0; t < THREADS; t++)
			cr_assert_eq(pthread_create(&threads[t], NULL, take_all, (void *)t), 0);
		for (size_t t = 0; t < THREADS; t++) {
			pthread_join(threads[t], NULL);
			sum += taken[t].count;
			wrong += taken[t].wrong;
		}
		cr_assert_eq(wrong, 0, "round %d", round);
		cr_assert_eq(sum, BP_BUMP_BYTES / 48, "round %d", round);
	}
}

/* ---- cost ---- */

static size_t pages_in_memory(void)
{
	unsigned char there[BP_BUMP_BYTES / BP_PAGE];
	char *start = (char *)bp_round_up((uintptr_t)bp_bump_buffer, BP_PAGE);
	size_t bytes = BP_BUMP_BYTES - BP_PAGE, sum = 0;
	cr_assert_eq(mincore(start, bytes, there), 0);
	for (size_t i = 0; i < bytes / BP_PAGE; i++)
		sum += there[i] & 1;
	return sum;
}

Test(bump, costs_pages_only_where_it_is_used)
{
	cr_assert_eq(pages_in_memory(), 0);
	memset(bp_bump_new(1, 5 * BP_PAGE), 1, 5 * BP_PAGE);
	cr_assert(pages_in_memory() >= 4 && pages_in_memory() <= 6);
}

/* ---- later ---- */

Test(bump, the_engine_knows_its_blocks_again)
{
	char *p = bp_bump_new(1, 100), *q = bp_bump_new(1, 100);
	cr_assert(bp_pool_start(POOL));
	memset(p, 5, 100);
	cr_assert_eq(bp_block_capacity(p), bp_bump_size(p));
	cr_assert_not(bp_block_is(p));
	cr_assert_not(bp_block_is_foreign(p));
	cr_assert(bp_block_is_out(POOL, p));
	cr_assert(bp_block_has_size(POOL, p, 100));
	char *moved = bp_block_resize(POOL, p, SIZE_MAX, 1000);
	cr_assert(moved != NULL && !bp_bump_has(moved));
	for (size_t i = 0; i < 100; i++)
		cr_assert_eq(moved[i], 5);
	cr_assert(bp_block_resize(POOL, q, SIZE_MAX, 10) != NULL);
	bp_pool_release(POOL, p);
	bp_pool_release(POOL, p); /* nothing can come of it */
	cr_assert_not(bp_pool_release_sized(POOL, q, 100), "left to the slow path");
	bp_pool_release(POOL, q);
	bp_pool_release(POOL, moved);
	cr_assert_eq(atomic_load(&POOL->misuse), 0);
}

/* What lies beside it is as foreign as ever. */
Test(bump, foreign_blocks_stay_foreign)
{
	static char other[32];
	u_need_rseq(); /* elsewhere pointers from outside are left to jemalloc */
	cr_assert_not_null(bp_bump_new(1, 100));
	cr_assert(bp_pool_start(POOL));
	cr_assert(bp_block_is_foreign(other));
}
