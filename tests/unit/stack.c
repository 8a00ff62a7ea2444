/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Magazines and their stacks: each in one place at a time, under as many threads as there are (S8), and the memory that
 * they take and give back. Every interleaving of two actors is in schedules.c.
 */
#include "cache/stack.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support.h"
#include "sys/os.h"

enum { TABLE = 1 << 18, LAST = BP_MAGAZINE_SLOTS - 1 };

static struct bp_stack stack;

static void *token(uint64_t n)
{
	return (void *)(uintptr_t)(n * 16 + 4096);
}

static size_t address_space(void)
{
	char text[64] = "";
	bp_os_read_file(text, sizeof(text), "/proc/self/statm");
	return strtoul(text, NULL, 10) * BP_PAGE;
}

Test(stack, before_the_start_there_are_none)
{
	cr_assert_eq(bp_magazine_new(), 0);
	cr_assert_eq(bp_stack_pop(&stack), 0);
	cr_assert(bp_stack_is_empty(&stack));
}

Test(stack, the_last_in_is_the_first_out)
{
	cr_assert(bp_magazines_start(TABLE));
	uint32_t m[10];
	for (unsigned i = 0; i < 10; i++) {
		m[i] = bp_magazine_new();
		cr_assert_neq(m[i], 0);
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(m[i], m[j]);
		bp_stack_push(&stack, m[i]);
		cr_assert_not(bp_stack_is_empty(&stack));
	}
	for (unsigned i = 10; i-- > 0;)
		cr_assert_eq(bp_stack_pop(&stack), m[i]);
	cr_assert(bp_stack_is_empty(&stack));
	cr_assert_eq(bp_stack_pop(&stack), 0);
}

/* ---- somebody is getting memory for more ---- */

/* What comes in between, once. */
static void (*in_between)(void);

/* The core's calls end here, too. */
int mprotect(void *at, size_t bytes, int access)
{
	void (*now)(void) = in_between;
	in_between = NULL;
	if (now != NULL)
		now();
	return (int)syscall(SYS_mprotect, at, bytes, access);
}

static bool taken[4096];

static void take(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t m = bp_magazine_new();
		cr_assert(m != 0 && m < U_COUNT(taken) && !taken[m], "%u", m);
		taken[m] = true;
		bp_magazine_slots(m)[LAST] = token(m);
	}
}

static void take_many(void)
{
	take(600); /* more than are ever kept ahead, and than are got at a time */
}

/* A handler, or other threads for as long as this one doesn't run. */
Test(stack, who_comes_while_more_are_got_has_one_all_the_same)
{
	cr_assert(bp_magazines_start(TABLE));
	in_between = take_many; /* of the first ones, */
	take(1);
	cr_assert_null(in_between);
	in_between = take_many; /* and ahead of need */
	take(256);
	cr_assert_null(in_between);
	for (uint32_t m = 1; m < U_COUNT(taken); m++)
		cr_assert(!taken[m] || bp_magazine_slots(m)[LAST] == token(m));
}

static void shrink(void)
{
	bp_magazines_shrink(0);
}

Test(stack, what_is_being_got_is_not_given_back, .timeout = 60)
{
	cr_assert(bp_magazines_start(TABLE));
	in_between = shrink;
	take(63);
	cr_assert_null(in_between);
	cr_assert_eq(bp_magazine_new(), 0);
}

Test(stack, the_table_shrinks_to_what_has_been_used)
{
	size_t before = address_space();
	cr_assert(bp_magazines_start(TABLE));
	for (unsigned i = 1; i <= 1000; i++)
		bp_magazine_slots(bp_magazine_new())[LAST] = token(i);
	bp_magazines_shrink(2000);
	cr_assert_leq(address_space(), before + (4 << 20) + (64 << 10));
	for (unsigned i = 1001; i < 1984; i++) {
		uint32_t m = bp_magazine_new();
		cr_assert_neq(m, 0);
		bp_magazine_slots(m)[LAST] = token(m);
		bp_stack_push(&stack, m);
	}
	cr_assert_eq(bp_magazine_new(), 0);
	bp_magazines_shrink(0);
	for (unsigned i = 1; i < 1984; i++)
		cr_assert_eq(bp_magazine_slots(i)[LAST], token(i));
}

Test(stack, every_change_has_a_tag_of_its_own)
{
	cr_assert(bp_magazines_start(TABLE));
	uint32_t m = bp_magazine_new();
	uint64_t last = atomic_load(&stack.head);
	for (int i = 0; i < 1000; i++) {
		bp_stack_push(&stack, m);
		cr_assert_eq(atomic_load(&stack.head) >> 32, (last >> 32) + 2 * i + 1);
		bp_stack_pop(&stack);
		cr_assert_eq(atomic_load(&stack.head) >> 32, (last >> 32) + 2 * i + 2);
	}
	/* It wraps, and takes nothing of the index with it. */
	atomic_store(&stack.head, (uint64_t)UINT32_MAX << 32);
	bp_stack_push(&stack, m);
	cr_assert_eq(atomic_load(&stack.head), m);
	cr_assert_eq(bp_stack_pop(&stack), m);
}

Test(stack, rows_and_counts_are_each_magazines_own)
{
	enum { MANY = 3000 };
	static uint32_t m[MANY];
	cr_assert(bp_magazines_start(TABLE));
	for (uint32_t i = 0; i < MANY; i++) {
		m[i] = bp_magazine_new();
		cr_assert_neq(m[i], 0);
		bp_magazine_set_count(m[i], i % (BP_MAGAZINE_SLOTS + 1));
		for (unsigned j = 0; j < BP_MAGAZINE_SLOTS; j++)
			bp_magazine_slots(m[i])[j] = token(i * BP_MAGAZINE_SLOTS + j);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		cr_assert_eq(bp_magazine_count(m[i]), i % (BP_MAGAZINE_SLOTS + 1));
		for (unsigned j = 0; j < BP_MAGAZINE_SLOTS; j++)
			cr_assert_eq(bp_magazine_slots(m[i])[j], token(i * BP_MAGAZINE_SLOTS + j));
	}
}

/* ---- order ---- */

static uint32_t pairs_up(void *const *row, uint32_t n)
{
	uint32_t up = 0;
	for (uint32_t i = 1; i < n; i++)
		up += row[i - 1] < row[i];
	return up;
}

/* Sorts a copy; what comes out is the same blocks. */
static void sort(void **out, void *const *in, uint32_t n)
{
	uint32_t m = bp_magazine_new();
	bp_magazine_fill(m, in, n, true);
	memcpy(out, bp_magazine_slots(m), n * sizeof(*in));
	cr_assert_eq(bp_magazine_count(m), n);
	uint64_t seen = 0;
	for (uint32_t i = 0; i < n; i++)
		seen += (uint64_t)(uintptr_t)in[i] * (uintptr_t)in[i] - (uint64_t)(uintptr_t)out[i] * (uintptr_t)out[i];
	cr_assert_eq(seen, 0, "the same ones");
	bp_magazine_set_count(m, 0);
	bp_magazine_free(m);
}

static void shuffle(void **row, uint32_t n, uint64_t *seed)
{
	for (uint32_t i = n; i > 1; i--) {
		uint32_t other = (uint32_t)(u_random(seed) % i);
		void *p = row[i - 1];
		row[i - 1] = row[other];
		row[other] = p;
	}
}

Test(stack, a_row_in_no_order_is_sorted)
{
	void *row[BP_MAGAZINE_SLOTS], *sorted[BP_MAGAZINE_SLOTS];
	uint64_t seed = 64;
	cr_assert(bp_magazines_start(TABLE));
	for (uint32_t n = 0; n <= BP_MAGAZINE_SLOTS; n++) {
		for (uintptr_t i = 0; i < n; i++)
			row[i] = (void *)((i + 1) * (BP_ROW_NEAR + 16));
		shuffle(row, n, &seed);
		cr_assert(n < 32 || pairs_up(row, n) > n / 4);
		sort(sorted, row, n);
		cr_assert_eq(pairs_up(sorted, n), 0, "%u", n);
	}
}

/* Whichever way their addresses go, and with a few jumps from one place to another; with one jump more it is sorted. */
Test(stack, a_row_of_neighbours_stays_as_it_is)
{
	void *row[BP_MAGAZINE_SLOTS], *sorted[BP_MAGAZINE_SLOTS];
	uint64_t seed = 66;
	cr_assert(bp_magazines_start(TABLE));
	for (uint32_t n = 16; n <= BP_MAGAZINE_SLOTS; n++)
		for (uint32_t jumps = 0; jumps <= n / BP_ROW_FAR + 1; jumps++) {
			uintptr_t place = 4096;
			for (uintptr_t i = 0; i < n; i++) {
				place += i > 0 && i <= jumps ? 3 * BP_ROW_NEAR : 0;
				row[i] = (void *)(place + u_random(&seed) % (BP_ROW_NEAR / 16) * 16);
			}
			sort(sorted, row, n);
			cr_assert_eq(memcmp(sorted, row, n * sizeof(*row)) == 0, jumps <= n / BP_ROW_FAR, "%u", n);
		}
}

/* Near blocks end side by side in two heaps far apart, and where a single one far away leaves all others in one bucket the
 * work has an end. */
Test(stack, rows_from_two_places)
{
	void *row[BP_MAGAZINE_SLOTS], *sorted[BP_MAGAZINE_SLOTS];
	uint64_t seed = 65;
	cr_assert(bp_magazines_start(TABLE));
	for (uint32_t far = 1; far < BP_MAGAZINE_SLOTS; far++) {
		for (uintptr_t i = 0; i < BP_MAGAZINE_SLOTS; i++)
			row[i] = (void *)((i + 1) * 48 + (i < far ? (uintptr_t)1 << 40 : 0));
		shuffle(row, BP_MAGAZINE_SLOTS, &seed);
		sort(sorted, row, BP_MAGAZINE_SLOTS);
		for (uint32_t i = 0; i < BP_MAGAZINE_SLOTS; i++)
			cr_assert_eq((uintptr_t)sorted[i] >> 40, i < far, "%u of %u", i, far);
	}
}

Test(stack, free_ones_are_used_first)
{
	uint32_t m[20];
	cr_assert(bp_magazines_start(TABLE));
	for (int i = 0; i < 20; i++)
		m[i] = bp_magazine_new();
	size_t bytes = bp_magazines_bytes();
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 20; i++)
			bp_magazine_free(m[i]);
		cr_assert_eq(bp_magazines_free(), 20);
		for (int i = 0; i < 20; i++)
			cr_assert_neq(m[i] = bp_magazine_new(), 0);
		cr_assert_eq(bp_magazines_free(), 0);
	}
	cr_assert_eq(bp_magazines_bytes(), bytes);
}

Test(stack, a_table_that_is_full_says_so, .timeout = 60)
{
	uint32_t n = 0, m, last = 0;
	cr_assert(bp_magazines_start(TABLE));
	for (; (m = bp_magazine_new()) != 0; last = m)
		n++;
	cr_assert_eq(n, TABLE - 1);
	cr_assert_eq(bp_magazine_new(), 0);
	bp_magazine_slots(last)[BP_MAGAZINE_SLOTS - 1] = token(1);
	bp_magazine_set_count(last, 1);
	bp_magazine_free(last);
	cr_assert_eq(bp_magazine_new(), last);
}

/* Behind the rows lie the links, which it must not take for more rows. */
Test(stack, a_small_table_ends_where_it_was_told)
{
	enum { SMALL = 65 * 64 };
	uint32_t n = 0;
	cr_assert(bp_magazines_start(SMALL));
	while (bp_magazine_new() != 0)
		n++;
	cr_assert_eq(n, SMALL - 1);
}

Test(stack, the_memory_of_free_ones_goes_back)
{
	enum { MANY = 16384 };
	static uint32_t m[MANY];
	cr_assert(bp_magazines_start(TABLE));
	for (uint32_t i = 0; i < MANY; i++) {
		m[i] = bp_magazine_new();
		for (unsigned j = 0; j < BP_MAGAZINE_SLOTS; j++)
			bp_magazine_slots(m[i])[j] = token(i);
	}
	char *rows = (char *)bp_magazine_slots(0);
	size_t all = (size_t)MANY * BP_MAGAZINE_SLOTS * sizeof(void *);
	cr_assert_geq(u_mapped(rows, all).resident, all - BP_PAGE);
	/* All but one in a hundred; what is kept must not change. */
	for (uint32_t i = 0; i < MANY; i++)
		if (i % 100 != 0)
			bp_magazine_free(m[i]);
	bp_magazines_purge();
	size_t left = u_mapped(rows, all).resident;
	cr_assert_leq(left, all / 8, "%zu of %zu bytes are still there", left, all);
	for (uint32_t i = 0; i < MANY; i += 100)
		for (unsigned j = 0; j < BP_MAGAZINE_SLOTS; j++)
			cr_assert_eq(bp_magazine_slots(m[i])[j], token(i), "a row that is in use was purged");
	cr_assert_eq(bp_magazines_free(), MANY - (MANY + 99) / 100);
	static bool seen[MANY + 2];
	size_t bytes = bp_magazines_bytes();
	for (uint32_t i = bp_magazines_free(); i-- > 0;) {
		uint32_t again = bp_magazine_new();
		cr_assert(again != 0 && again <= MANY && !seen[again]);
		seen[again] = true;
	}
	cr_assert_eq(bp_magazines_bytes(), bytes, "purging lost some");
}

Test(stack, a_child_starts_anew)
{
	cr_assert(bp_magazines_start(TABLE));
	for (int i = 0; i < 600; i++)
		bp_magazine_new();
	bp_magazine_free(bp_magazine_new());
	uint32_t first = bp_magazines_used();
	cr_assert_geq(first, 601);
	bp_magazines_child(first);
	cr_assert_eq(bp_magazines_free(), 0);
	static bool seen[2200];
	for (int i = 0; i < 1500; i++) {
		uint32_t m = bp_magazine_new();
		cr_assert(m >= first && m < U_COUNT(seen) && !seen[m]);
		seen[m] = true;
		bp_magazine_slots(m)[0] = token(m);
	}
}

Test(stack, without_address_space_there_is_no_start)
{
	struct rlimit limit;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (u_status_kb("VmSize") << 10) + (64 << 20);
	setrlimit(RLIMIT_AS, &limit);
	size_t before = u_status_kb("VmSize");
	cr_assert_not(bp_magazines_start(TABLE));
	cr_assert_eq(bp_magazine_new(), 0);
	cr_assert_leq(u_status_kb("VmSize"), before, "half of it is still reserved");
}

/* ---- S8: one producer, nine consumers, each item once; the magazines are used again and again ---- */

enum { ITEMS = 2000000, CONSUMERS = 9 };

static _Atomic uint8_t *seen;
static _Atomic uint64_t consumed, wrong;

static void *produce(void *unused)
{
	uint64_t next = 0;
	(void)unused;
	while (next < ITEMS) {
		uint32_t m = bp_magazine_new(), n = 0;
		if (m == 0) {
			atomic_store(&wrong, 1);
			return NULL;
		}
		uint32_t wanted = (uint32_t)(next % BP_MAGAZINE_SLOTS) + 1;
		for (; n < wanted && next < ITEMS; n++)
			bp_magazine_slots(m)[n] = token(next++);
		bp_magazine_set_count(m, n);
		bp_stack_push(&stack, m);
		while (next - atomic_load(&consumed) > 20000) /* so that they are used again */
			sched_yield();
	}
	return NULL;
}

static void *consume(void *unused)
{
	(void)unused;
	while (atomic_load(&consumed) < ITEMS && atomic_load(&wrong) == 0) {
		uint32_t m = bp_stack_pop(&stack);
		if (m == 0) {
			sched_yield();
			continue;
		}
		uint32_t n = bp_magazine_count(m);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t item = ((uintptr_t)bp_magazine_slots(m)[i] - 4096) / 16;
			if (n > BP_MAGAZINE_SLOTS || item >= ITEMS || atomic_fetch_add(&seen[item], 1) != 0)
				atomic_fetch_add(&wrong, 1);
		}
		bp_magazine_free(m);
		atomic_fetch_add(&consumed, n);
	}
	return NULL;
}

Test(stack, S8_one_producer_and_nine_consumers_see_each_item_once, .timeout = 100)
{
	pthread_t ids[CONSUMERS + 1];
	cr_assert(bp_magazines_start(TABLE));
	seen = calloc(ITEMS, 1);
	for (int i = 0; i <= CONSUMERS; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, i == 0 ? produce : consume, NULL), 0);
	for (int i = 0; i <= CONSUMERS; i++)
		pthread_join(ids[i], NULL);
	cr_assert_eq(atomic_load(&wrong), 0);
	cr_assert_eq(atomic_load(&consumed), ITEMS);
	for (size_t i = 0; i < ITEMS; i++)
		cr_assert_eq(atomic_load(&seen[i]), 1, "item %zu was seen %u times", i, atomic_load(&seen[i]));
	cr_assert_leq(bp_magazines_bytes(), 12 << 20, "the magazines were not used again");
}
