/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of two actors on a stack of magazines and on the free list; after each schedule every magazine is
 * in one place. And that schedule.c, which chooses them, leaves nothing out. Those of the pool: schedules_pool.c.
 */
#include "schedule.h"

#include <criterion/criterion.h>
#include <string.h>

#include "cache/stack.h"
#include "sets.h"
#include "support.h"

/* ---- a stack ---- */

enum { MAGAZINES = 4, EVER = 8 /* that are used at the most */ };
static struct bp_stack stack, other;
static uint32_t magazines[MAGAZINES];
static unsigned on_stack; /* of these, the others are in the actors' hands */
static uint32_t hand[2][8];
static unsigned in_hand[2];

static void keep(int who, uint32_t m)
{
	if (m != 0)
		hand[who][in_hand[who]++] = m;
}

static uint32_t give(int who)
{
	return in_hand[who] == 0 ? 0 : hand[who][--in_hand[who]];
}

static void pop(int who)
{
	keep(who, bp_stack_pop(&stack));
}

static void push(int who)
{
	uint32_t m = give(who);
	if (m != 0)
		bp_stack_push(&stack, m);
}

/* The table as at its start: which magazine a step touches is part of the step, and so is whether that changes it. */
static void reset(void)
{
	bp_magazines_child(1);
	while (bp_magazines_used() <= EVER)
		bp_magazine_new();
	for (uint32_t m = 1; m <= EVER; m++)
		bp_magazine_free(m);
	bp_magazines_child(1);
	stack = other = (struct bp_stack){ 0 };
	memset(in_hand, 0, sizeof(in_hand));
	for (unsigned i = 0; i < MAGAZINES; i++)
		magazines[i] = bp_magazine_new();
	for (unsigned i = on_stack; i < MAGAZINES; i++)
		keep((int)(i % 2), magazines[i]);
}

static void reset_stack(void)
{
	reset();
	for (unsigned i = 0; i < on_stack; i++)
		bp_stack_push(&stack, magazines[i]);
}

static void reset_free(void)
{
	reset();
	for (unsigned i = 0; i < on_stack; i++)
		bp_magazine_free(magazines[i]);
}

/* Where the free list is empty for a moment, new ones come into being. */
static uint32_t known(void)
{
	return (uint32_t)(bp_magazines_bytes() / (BP_MAGAZINE_SLOTS * sizeof(void *) + 8)) - 1;
}

static unsigned times[64];

static void found(uint32_t m, const char *where)
{
	u_check(m != 0 && m < U_COUNT(times), "%u, %s, is no magazine", m, where);
	u_check(++times[m] == 1, "magazine %u is in two places, one is %s", m, where);
}

/* All are somewhere, and none is in two places. */
static void check(void)
{
	memset(times, 0, sizeof(times));
	uint32_t m, n = 0, all = known();
	u_check(all <= EVER, "%u magazines", all);
	for (int who = 0; who < 2; who++)
		for (; (m = give(who)) != 0; n++)
			found(m, "in a hand");
	for (; (m = bp_stack_pop(&stack)) != 0; n++)
		found(m, "on the stack");
	for (; (m = bp_stack_pop(&other)) != 0; n++)
		found(m, "on the other stack");
	for (; bp_magazines_free() > 0 && (m = bp_magazine_new()) != 0; n++)
		found(m, "on the free list");
	u_check(n == all, "%u of %u magazines", n, all);
}

static void explore(void (*before)(void), unsigned there, void (*a)(void), void (*b)(void))
{
	struct u_plan plan = { .before = before, .actor = { a, b }, .after = check };
	on_stack = there;
	cr_assert_gt(u_explore(&plan, 0), 1, "the actors had nothing to do with each other");
}

static void setup(void)
{
	cr_assert(bp_magazines_start((size_t)1 << 20));
}

#define ACTOR(name, who, ...) \
	static void name(void) \
	{ \
		const int me = who; \
		__VA_ARGS__ \
	}

ACTOR(a_push, 0, push(me);)
ACTOR(b_push, 1, push(me);)
ACTOR(a_pop, 0, pop(me);)
ACTOR(b_pop, 1, pop(me);)
ACTOR(a_pop_pop, 0, pop(me); pop(me);)
ACTOR(b_pop_pop, 1, pop(me); pop(me);)
ACTOR(a_pop_push, 0, pop(me); push(me);)
ACTOR(b_push_pop, 1, push(me); pop(me);)
ACTOR(b_pop_push_pop, 1, pop(me); push(me); pop(me);)

/* Pops two and pushes the first one back: who read `next` before that must not believe it (ABA). */
static void b_turn_over(void)
{
	uint32_t first = bp_stack_pop(&stack), second = bp_stack_pop(&stack);
	keep(1, second);
	if (first != 0)
		bp_stack_push(&stack, first);
}

static void a_move(void)
{
	uint32_t m = bp_stack_pop(&stack);
	if (m != 0)
		bp_stack_push(&other, m);
}

static void b_move_back(void)
{
	uint32_t m = bp_stack_pop(&other);
	if (m != 0)
		bp_stack_push(&stack, m);
	pop(1);
}

static void new(void)
{
	keep(u_actor(), bp_magazine_new());
}

static void a_new_and_free(void)
{
	keep(0, bp_magazine_new());
	uint32_t m = give(0);
	if (m != 0)
		bp_magazine_free(m);
	keep(0, bp_magazine_new());
}

static void b_free_and_new(void)
{
	uint32_t m = give(1);
	if (m != 0)
		bp_magazine_free(m);
	keep(1, bp_magazine_new());
}

static void b_purge(void)
{
	bp_magazines_purge();
}

TestSuite(schedules, .init = setup, .timeout = 100);

/* ---- the tool ---- */

static _Atomic unsigned counter;
static unsigned sums[3], results;

static void reset_counter(void)
{
	atomic_store(&counter, 0);
}

static void add_in_two_steps(void)
{
	unsigned now = atomic_load(&counter);
	atomic_store(&counter, now + 1);
}

static void add(void)
{
	atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
}

static void read(void)
{
	u_check(atomic_load(&counter) <= 2, "more than was added");
}

static void count_sums(void)
{
	sums[atomic_load(&counter)]++;
}

/* Two loads and two stores on one variable have four outcomes that differ: one after the other, either way round, and
 * both loads first, either store last. */
Test(schedules, the_tool_finds_what_differs)
{
	struct u_plan plan = { .before = reset_counter, .actor = { add_in_two_steps, add_in_two_steps }, .after = count_sums };
	cr_expect_eq(u_explore(&plan, 0), 4);
	cr_expect_eq(sums[1], 2, "lost updates");
	cr_expect_eq(sums[2], 2);
	plan.actor[0] = plan.actor[1] = add;
	cr_expect_eq(u_explore(&plan, 0), 1, "additions commute");
	plan.actor[1] = read;
	cr_expect_eq(u_explore(&plan, 0), 2);
	plan.actor[0] = read;
	cr_expect_eq(u_explore(&plan, 0), 1, "loads commute");
	plan.actor[0] = plan.actor[1] = add_in_two_steps;
	cr_expect_eq(u_explore_bounded(&plan, 0), 2, "one after the other");
	cr_expect_eq(u_explore_bounded(&plan, 9), 6, "4 over 2");
}

static _Atomic unsigned taken;
static unsigned plain;

static void reset_plain(void)
{
	atomic_store(&taken, 0);
	plain = 0;
}

/* Twice, where the other one isn't at it. */
static void change_plain(void)
{
	const unsigned mine = (unsigned)u_actor() + 1;
	for (int i = 0; i < 2; i++)
		if (atomic_exchange_explicit(&taken, 1, memory_order_acquire) == 0) {
			plain = 3 * plain + mine; /* and no register has it later */
			atomic_store_explicit(&taken, 0, memory_order_release);
		}
}

static struct u_set plains;

static void note_plain(void)
{
	u_set_add(&plains, plain);
}

static uint64_t all_the_state(void)
{
	return plain;
}

static uint64_t too_little_state(void)
{
	return 0;
}

static uint32_t count_plains(uint64_t (*state)(void))
{
	struct u_plan plan = {
		.before = reset_plain, .actor = { change_plain, change_plain }, .after = note_plain, .state = state,
	};
	u_set_clear(&plains);
	u_explore(&plan, 0);
	return plains.count;
}

Test(schedules, states_are_told_apart_by_what_is_shared_and_not_atomic)
{
	uint32_t there = count_plains(NULL);
	cr_expect_gt(there, 6, "the orders of twice two, and less where somebody is at it");
	cr_expect_eq(count_plains(all_the_state), there);
	cr_expect_lt(count_plains(too_little_state), there, "a state that leaves it out hides ends");
}

/* Ends that differ in who holds what, and in the order on the stack. */
static bool ends[15625]; /* 5^6 */

static void note_end(void)
{
	unsigned end = 0;
	for (int who = 0; who < 2; who++, end = end * 5 + 4)
		for (unsigned i = 0; i < in_hand[who]; i++)
			end = end * 5 + hand[who][i] - 1;
	uint32_t m, back[MAGAZINES], n = 0;
	while ((m = bp_stack_pop(&stack)) != 0) {
		end = end * 5 + m - 1;
		back[n++] = m;
	}
	while (n > 0)
		bp_stack_push(&stack, back[--n]);
	results += !ends[end];
	ends[end] = true;
	check();
}

/* The few schedules that are run lead wherever all do. */
static void compare(void (*a)(void), void (*b)(void))
{
	struct u_plan plan = { .before = reset_stack, .actor = { a, b }, .after = note_end };
	on_stack = 3;
	results = 0;
	memset(ends, 0, sizeof(ends));
	unsigned few = u_explore(&plan, 0), found_by_few = results;
	unsigned all = u_explore_bounded(&plan, 100);
	cr_expect_eq(results, found_by_few, "%u ends, of which %u are found", results, found_by_few);
	cr_expect(results > 1 && few < all, "%u ends, %u schedules of %u", results, few, all);
}

Test(schedules, the_tool_leaves_nothing_out)
{
	compare(a_pop, b_pop);
	compare(a_pop, b_turn_over);
	compare(a_pop_pop, b_pop_pop);
	compare(a_pop_push, b_push_pop);
}

/* ---- stacks ---- */

Test(schedules, S8_pops_and_pushes_of_two_on_one_stack)
{
	explore(reset_stack, 2, a_push, b_push);
	explore(reset_stack, 2, a_pop, b_pop);
	explore(reset_stack, 2, a_pop, b_push);
}

Test(schedules, S8_several_pops_against_several_pops)
{
	for (unsigned there = 1; there <= 4; there++)
		explore(reset_stack, there, a_pop_pop, b_pop_pop);
}

Test(schedules, S8_a_magazine_that_comes_back_in_between)
{
	explore(reset_stack, 3, a_pop, b_turn_over);
	explore(reset_stack, 3, a_pop_push, b_turn_over);
	explore(reset_stack, 3, a_pop_push, b_pop_push_pop);
	explore(reset_stack, 3, a_pop_push, b_push_pop);
}

Test(schedules, S8_a_magazine_on_two_stacks_in_turn)
{
	explore(reset_stack, 2, a_move, b_move_back);
}

Test(schedules, the_free_list)
{
	explore(reset_free, 0, new, new);
	for (unsigned there = 0; there < 4; there++)
		explore(reset_free, there, a_new_and_free, b_free_and_new);
}

Test(schedules, the_free_list_while_it_is_purged)
{
	for (unsigned there = 1; there < 4; there++)
		explore(reset_free, there, a_new_and_free, b_purge);
}
