/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a pool learns from its buffers: each rule of sizing.h alone, then what they come to together. The shares and
 * counts are asked of the rules, not of the numbers, wherever that can be done.
 */
#include "cache/sizing.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "size_classes.h"
#include "support.h"

enum { CAP = 65536 };

static struct bp_sizing sizing;

static struct bp_use use(size_t capacity, size_t content)
{
	return (struct bp_use){ .capacity = capacity, .content = content };
}

static bool ends(struct bp_use u)
{
	return bp_sizing_is_settled(&sizing, u) || bp_sizing_learn(&sizing, u, CAP, 0);
}

/* A buffer that begins as the pool says, or with `asked` bytes, and grows to `content`. */
static bool lives(size_t asked, size_t content)
{
	size_t begin = bp_sizing_begin(&sizing, asked, CAP);
	struct bp_use u = { begin < content ? content : begin, content, begin < content };
	u.capacity = bp_class_size(bp_class_of(u.capacity));
	return ends(u);
}

/* ---- keeping ---- */

Test(sizing, a_quarter_used_is_well_used)
{
	cr_assert(!bp_sizing_is_too_large(use(65536, 16384)));
	cr_assert(bp_sizing_is_too_large(use(65536, 16383)));
	cr_assert(bp_sizing_is_too_large(use(65536, 0)));
}

Test(sizing, small_blocks_are_never_too_large)
{
	cr_assert(!bp_sizing_is_too_large(use(4096, 0)));
	cr_assert(bp_sizing_is_too_large(use(5120, 0)));
	for (int i = 0; i < 1000; i++)
		cr_assert(ends(use(4096, 1)));
	cr_assert_eq(sizing.given_back, 0);
}

Test(sizing, the_fifth_in_a_row_is_given_back)
{
	for (int i = 0; i < 4; i++)
		cr_assert(ends(use(65536, 100)), "number %d", i + 1);
	cr_assert(!ends(use(65536, 100)));
	cr_assert_eq(sizing.given_back, 1);
	cr_assert(ends(use(65536, 100)), "a new row begins");
}

Test(sizing, a_block_well_used_ends_the_row)
{
	for (int i = 0; i < 1000; i++)
		cr_assert(ends(use(65536, i % 5 == 4 ? 20000 : 100)), "number %d", i + 1);
	cr_assert_eq(sizing.given_back, 0);
}

Test(sizing, a_small_block_does_not_end_the_row)
{
	for (int i = 0; i < 4; i++) {
		cr_assert(ends(use(65536, 100)));
		cr_assert(ends(use(128, 100)));
	}
	cr_assert(!ends(use(65536, 100)));
}

/* Who asks for large blocks again and again wants them: that must come to an end. */
Test(sizing, few_are_given_back_in_a_window_and_each_row_is_twice_as_long)
{
	int last = 0, before = 0, count = 0;

	for (int i = 1; i <= 100000; i++) {
		if (ends(use(65536, 100)))
			continue;
		if (count++ > 0)
			cr_assert_geq(i - last, 2 * before - 1, "%d after %d", i - last, before);
		before = i - last;
		last = i;
	}
	cr_assert_eq(count, BP_SIZING_ROWS);
	cr_assert_eq(sizing.given_back, BP_SIZING_ROWS);
	cr_assert_lt(last, 100);
}

/* What is written, other CPUs have to fetch. */
static unsigned written_in(unsigned uses)
{
	unsigned written = 0;

	for (unsigned i = 0; i < uses; i++) {
		struct bp_sizing before = sizing;
		lives(10, i % 8 ? 60 : 6000);
		ends(use(65536, i % 2 ? 100 : 40000));
		before.outgrown = sizing.outgrown;
		written += memcmp(&before, &sizing, sizeof(before)) != 0;
	}
	return written;
}

Test(sizing, what_is_never_settled_is_looked_at_ever_more_rarely)
{
	unsigned first = written_in(100), later;

	for (int i = 0; i < 20; i++)
		written_in(100000);
	later = written_in(100000);
	cr_assert_geq(first, 90);
	cr_assert_leq(later, 2000, "%u of 200000", later);
}

/* What takes turns would always meet the same turn of a count. */
Test(sizing, looks_are_at_random)
{
	unsigned looked[2] = { 0, 0 };

	sizing.looks = (uint32_t)BP_SIZING_LOOKS << BP_SIZING_RARELY;
	for (unsigned i = 0; i < 4000000; i++) {
		sizing.votes = 1;
		ends(use(128, 100));
		looked[i % 2] += sizing.votes == 0;
	}
	cr_assert(looked[0] > 1000 && looked[1] > 1000, "%u and %u", looked[0], looked[1]);
}

Test(sizing, the_next_window_looks_again)
{
	for (int i = 0; i < 100; i++)
		ends(use(65536, 100));
	for (int i = 0; i < 4; i++)
		cr_assert(bp_sizing_learn(&sizing, use(65536, 100), CAP, BP_SIZING_WINDOW));
	cr_assert(!bp_sizing_learn(&sizing, use(65536, 100), CAP, BP_SIZING_WINDOW));
}

/* The votes lower the start; a block of that size is as good as any other meanwhile. */
Test(sizing, what_began_too_large_on_advice_is_no_strike)
{
	sizing.turns = BP_SIZING_TURNS;
	atomic_store(&sizing.start, 65536);
	for (int i = 0; i < 100; i++)
		cr_assert(ends(use(65536, 100)));
	cr_assert_eq(sizing.strikes, 0);
	cr_assert_eq(sizing.start, 65536);
	for (int i = 0; i < 4; i++)
		cr_assert(bp_sizing_learn(&sizing, use(81920, 100), 1 << 20, 0));
	cr_assert(!bp_sizing_learn(&sizing, use(81920, 100), 1 << 20, 0));
}

/* They go back whatever this says: what is counted here is what it decided. */
Test(sizing, blocks_over_the_cap_are_not_counted)
{
	for (int i = 0; i < 100; i++)
		cr_assert(ends(use(CAP + 4096, 100)));
	cr_assert_eq(sizing.given_back, 0);
	cr_assert_eq(sizing.strikes, 0);
}

/* ---- beginning ---- */

Test(sizing, nothing_is_learned_from_buffers_that_fit)
{
	const struct bp_sizing before = sizing;

	for (size_t n = 0; n <= CAP; n++)
		cr_assert(ends(use(bp_class_size(bp_class_of(n)), n)));
	cr_assert_arr_eq(&sizing, &before, sizeof(before));
	cr_assert_eq(bp_sizing_begin(&sizing, 100, CAP), 100);
}

Test(sizing, buffers_that_are_outgrown_begin_larger_until_they_are_not)
{
	static const size_t contents[] = { 17, 65, 100, 1000, 5000, 20000, 65536 };

	for (size_t i = 0; i < U_COUNT(contents); i++) {
		sizing = (struct bp_sizing){ 0 };
		for (int k = 0; k < 300; k++)
			cr_assert(lives(10, contents[i]));
		uint64_t outgrown = sizing.outgrown;
		cr_assert(outgrown > 0 && outgrown < 200, "%zu bytes: %d", contents[i], (int)outgrown);
		for (int k = 0; k < 10000; k++)
			cr_assert(lives(10, contents[i]));
		cr_assert_eq(sizing.outgrown, outgrown, "%zu bytes", contents[i]);
		cr_assert(sizing.start < 2 * contents[i] || sizing.start == BP_SIZING_FIRST);
	}
}

Test(sizing, a_start_is_a_class_and_never_over_the_cap)
{
	for (size_t cap = 4096; cap <= (4u << 20); cap += cap / 3) {
		sizing = (struct bp_sizing){ 0 };
		for (int i = 0; i < 1000; i++) {
			struct bp_use u = { 8u << 20, 8u << 20, true };
			bp_sizing_learn(&sizing, u, cap, 0);
			cr_assert_leq(sizing.start, cap);
			cr_assert(sizing.start == 0 || bp_class_size(bp_class_of(sizing.start)) == sizing.start);
		}
		cr_assert_gt(sizing.start * 2, cap, "as far as it goes: %zu of %zu", sizing.start, cap);
	}
}

Test(sizing, a_start_over_another_cap_is_not_used)
{
	atomic_store(&sizing.start, 65536);
	cr_assert_eq(bp_sizing_begin(&sizing, 100, 65536), 65536);
	cr_assert_eq(bp_sizing_begin(&sizing, 100, 65535), 100);
	cr_assert_eq(bp_sizing_begin(&sizing, 65537, 1 << 20), 65537);
	cr_assert_eq(bp_sizing_begin(&sizing, 65536, 1 << 20), 65536);
}

/* 1 in `one_in` buffers needs 1000 bytes, the others 60. */
static size_t start_with(unsigned one_in)
{
	sizing = (struct bp_sizing){ .start = 64 };
	for (unsigned i = 1; i <= 5000; i++)
		lives(10, i % one_in == 0 ? 1000 : 60);
	return sizing.start;
}

Test(sizing, one_in_twenty_that_is_outgrown_is_borne)
{
	cr_assert_eq(start_with(25), 64);
	cr_assert_eq(start_with(21), 64);
	cr_assert_gt(start_with(10), 64);
}

/* The contents change: what was learned is forgotten. */
Test(sizing, a_start_far_too_large_becomes_smaller)
{
	for (int i = 0; i < 1000; i++)
		lives(10, 60000);
	cr_assert_eq(sizing.start, 65536);
	for (int i = 0; i < 1000; i++)
		lives(10, 100);
	cr_assert_leq(sizing.start, 400);
}

/* One in four needs all of it: half of it would be outgrown too often. */
Test(sizing, who_needs_the_start_speaks_for_it)
{
	atomic_store(&sizing.start, 65536);
	for (int i = 0; i < 200; i++) {
		lives(10, i % 4 == 3 ? 60000 : 100);
		cr_assert_eq(sizing.start, 65536, "number %d", i);
	}
}

Test(sizing, a_block_that_was_asked_for_says_nothing_about_the_start)
{
	atomic_store(&sizing.start, 1024);
	for (int i = 0; i < 1000; i++)
		ends(use(2048, 1));
	cr_assert_eq(sizing.start, 1024);
}

/* Where two sizes are equally right, or neither is, a program comes to rest: few changes in very many buffers. */
Test(sizing, between_two_sizes_it_comes_to_rest)
{
	uint64_t random = 1;

	for (unsigned share = 1; share < 16; share++) {
		unsigned changes = 0, late = 0;
		sizing = (struct bp_sizing){ 0 };
		for (int i = 0; i < 400000; i++) {
			size_t before = sizing.start;
			lives(10, u_random(&random) % 16 < share ? 60000 : 100);
			changes += sizing.start != before;
			late += sizing.start != before && i >= 300000;
		}
		cr_assert_leq(changes, 100, "%u of 16 large: %u changes", share, changes);
		cr_assert_leq(late, 4, "%u of 16 large: %u late changes", share, late);
	}
}

/* ---- threads ---- */

static void *run(void *argument)
{
	uint64_t random = (uintptr_t)argument;

	for (int i = 0; i < 200000; i++)
		lives(10, u_random(&random) % 70000);
	return NULL;
}

Test(sizing, many_threads_lose_votes_at_most)
{
	pthread_t threads[4];

	for (uintptr_t i = 0; i < U_COUNT(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, run, (void *)(i + 1)), 0);
	for (size_t i = 0; i < U_COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	cr_assert(sizing.start >= 4096 && sizing.start <= CAP, "%zu", (size_t)sizing.start);
	cr_assert_eq(sizing.start & (sizing.start - 1), 0);
	cr_assert_leq(sizing.turns, BP_SIZING_TURNS);
	cr_assert_leq(sizing.given_back, BP_SIZING_ROWS + U_COUNT(threads));
}
