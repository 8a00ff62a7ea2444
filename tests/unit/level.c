/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Levels: the counts follow the magazines, whoever moves them.
 */
#include "cache/level.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "support.h"

static struct bp_level levels[2];

static uint32_t magazine(uint32_t count)
{
	uint32_t m = bp_magazine_new();
	cr_assert_neq(m, 0);
	bp_magazine_set_count(m, count);
	return m;
}

static void assert_counts(struct bp_level *l, unsigned class, int64_t blocks, int64_t bytes, int64_t magazines)
{
	cr_assert_eq(atomic_load(&l->classes[class].blocks), blocks);
	cr_assert_eq(atomic_load(&l->bytes), bytes);
	cr_assert_eq(atomic_load(&l->magazines), magazines);
	cr_assert_eq(bp_level_bytes(l), (uint64_t)bytes);
	cr_assert_eq(bp_level_is_empty(l), magazines == 0);
}

Test(level, counts_are_blocks_bytes_and_magazines)
{
	struct bp_level *l = &levels[0];
	cr_assert(bp_magazines_start((size_t)1 << 20));
	assert_counts(l, 5, 0, 0, 0);
	cr_assert_eq(bp_level_take(l, 5), 0);
	assert_counts(l, 5, 0, 0, 0);
	uint32_t a = magazine(7), b = magazine(64), c = magazine(3);
	bp_level_put(l, 5, a);
	assert_counts(l, 5, 7, 7 * 80, 1);
	bp_level_put(l, 44, b);
	assert_counts(l, 44, 64, 7 * 80 + 64 * 65536, 2);
	bp_level_put(l, 5, c);
	assert_counts(l, 5, 10, 10 * 80 + 64 * 65536, 3);
	cr_assert_eq(bp_level_take(l, 6), 0, "the neighbour's");
	cr_assert_eq(bp_level_take(l, 5), c);
	cr_assert_eq(bp_level_take(l, 5), a);
	cr_assert_eq(bp_level_take(l, 5), 0);
	cr_assert_eq(bp_level_take(l, 44), b);
	assert_counts(l, 5, 0, 0, 0);
}

Test(level, while_others_work_a_count_below_zero_reads_as_nothing)
{
	atomic_store(&levels[0].bytes, -5);
	atomic_store(&levels[0].magazines, -1);
	cr_assert_eq(bp_level_bytes(&levels[0]), 0);
	cr_assert(bp_level_is_empty(&levels[0]));
}

static void *shovel(void *argument)
{
	uint64_t state = (uintptr_t)argument;
	for (int i = 0; i < 100000; i++) {
		uint64_t n = u_random(&state);
		unsigned class = (unsigned)(n % 3);
		uint32_t m = bp_level_take(&levels[n / 8 % 2], class);
		if (m == 0)
			continue;
		if (n / 32 % 4 == 0)
			bp_magazine_set_count(m, (uint32_t)(n / 256 % 64) + 1);
		bp_level_put(&levels[n / 16 % 2], class, m);
	}
	return NULL;
}

Test(level, at_rest_the_counts_are_what_is_there)
{
	pthread_t ids[4];
	cr_assert(bp_magazines_start((size_t)1 << 20));
	for (uint32_t i = 0; i < 30; i++)
		bp_level_put(&levels[i % 2], i % 3, magazine(i));
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_create(&ids[i], NULL, shovel, (void *)(i + 1));
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_join(ids[i], NULL);
	unsigned found = 0;
	for (int l = 0; l < 2; l++) {
		int64_t bytes = 0, all = 0;
		for (unsigned class = 0; class < 3; class++) {
			int64_t blocks = 0, counted = atomic_load(&levels[l].classes[class].blocks);
			for (uint32_t m; (m = bp_stack_pop(&levels[l].classes[class].stack)) != 0; all++)
				blocks += bp_magazine_count(m);
			cr_assert_eq(blocks, counted);
			bytes += blocks * (int64_t)bp_class_size(class);
		}
		cr_assert_eq(bytes, atomic_load(&levels[l].bytes));
		cr_assert_eq(all, atomic_load(&levels[l].magazines));
		found += (unsigned)all;
	}
	cr_assert_eq(found, 30);
}
