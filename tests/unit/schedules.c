/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of two actors: on a stack of magazines, and of the boundary of an epoch with what happens at any
 * time. After each schedule every magazine and every block is in one place and the pool's numbers add up.
 */
#include "schedule.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/policy.h"
#include "cache/release.h"
#include "pools.h"
#include "support.h"

/* ---- a stack ---- */

enum { MAGAZINES = 4 };
static struct bp_stack stack, other;
static uint32_t magazines[MAGAZINES];
static unsigned on_stack;
static uint32_t hand[2][8];
static unsigned in_hand[2];
static uint32_t known; /* magazines that there are in all */

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

static void reset(void)
{
	memset(in_hand, 0, sizeof(in_hand));
	for (unsigned i = 0; i < on_stack; i++)
		bp_stack_push(&stack, magazines[i]);
	for (unsigned i = on_stack; i < MAGAZINES; i++)
		keep((int)(i % 2), magazines[i]);
}

static unsigned times[1 << 16];

static void found(uint32_t m, const char *where)
{
	cr_assert(m != 0 && m < U_COUNT(times), "%s: %u is no magazine; schedule %s", where, m, u_schedule());
	cr_assert_eq(++times[m], 1, "magazine %u is in two places, one is %s; schedule %s", m, where, u_schedule());
}

/* All are somewhere, and none is in two places. */
static void check_magazines(void)
{
	memset(times, 0, sizeof(times));
	uint32_t m, n = 0, held[64];
	for (int who = 0; who < 2; who++)
		for (unsigned i = 0; i < in_hand[who]; i++, n++)
			found(hand[who][i], "a hand");
	for (; (m = bp_stack_pop(&stack)) != 0; n++)
		found(m, "the stack");
	for (; (m = bp_stack_pop(&other)) != 0; n++)
		found(m, "the other stack");
	uint32_t spare = 0;
	while (bp_magazines_free() > 0 && (m = bp_magazine_new()) != 0) {
		found(held[spare++] = m, "the free list");
		cr_assert_lt(spare, U_COUNT(held));
	}
	cr_assert_eq(n + spare, known, "%u of %u magazines; schedule %s", n + spare, known, u_schedule());
	while (spare > 0)
		bp_magazine_free(held[--spare]);
}

/* The four that a schedule starts with come back into the test's hands. */
static void check_and_collect(void)
{
	check_magazines();
	while (bp_magazines_free() > 0)
		bp_magazine_new();
}

static void setup(unsigned there)
{
	cr_assert(bp_magazines_start((size_t)1 << 20));
	for (int i = 0; i < MAGAZINES; i++)
		magazines[i] = bp_magazine_new();
	known = MAGAZINES;
	on_stack = there;
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

TestSuite(schedules, .timeout = 100);

Test(schedules, pops_and_pushes_of_two_on_one_stack)
{
	setup(0);
	on_stack = 2;
	struct u_plan plan = { reset, { a_push, b_push }, check_and_collect };
	cr_assert_geq(u_explore(&plan, 1000000), 20, "two pushes of three steps each, and their repetitions");
	plan.actor[0] = a_pop;
	plan.actor[1] = b_pop;
	cr_assert_geq(u_explore(&plan, 1000000), 20);
	plan.actor[1] = b_push;
	cr_assert_geq(u_explore(&plan, 1000000), 20);
}

Test(schedules, several_pops_against_several_pops)
{
	setup(0);
	on_stack = 4;
	struct u_plan plan = { reset, { a_pop_pop, b_pop_pop }, check_and_collect };
	cr_assert_geq(u_explore(&plan, 1000000), 252);
	for (on_stack = 1; on_stack < 4; on_stack++)
		u_explore(&plan, 1000000);
}

Test(schedules, a_magazine_that_comes_back_in_between)
{
	setup(0);
	on_stack = 3;
	struct u_plan plan = { reset, { a_pop, b_turn_over }, check_and_collect };
	cr_assert_geq(u_explore(&plan, 1000000), 100);
	plan.actor[0] = a_pop_push;
	cr_assert_geq(u_explore(&plan, 1000000), 1000);
	plan.actor[1] = b_pop_push_pop;
	cr_assert_geq(u_explore(&plan, 1000000), 1000);
	plan.actor[1] = b_push_pop;
	cr_assert_geq(u_explore(&plan, 1000000), 252);
}

Test(schedules, a_magazine_on_two_stacks_in_turn)
{
	setup(0);
	on_stack = 2;
	struct u_plan plan = { reset, { a_move, b_move_back }, check_and_collect };
	cr_assert_geq(u_explore(&plan, 1000000), 100);
}

/* ---- the free list ---- */

static void reset_free(void)
{
	memset(in_hand, 0, sizeof(in_hand));
	for (unsigned i = 0; i < MAGAZINES; i++)
		if (i < on_stack)
			bp_magazine_free(magazines[i]);
		else
			keep((int)(i % 2), magazines[i]);
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

/* Where the free list is empty for a moment, new ones come into being: then there are more. The four that the next
 * schedule starts with are any of them, the others wait on `other`. */
static void check_free(void)
{
	static uint32_t all[U_COUNT(times)];
	uint32_t n = 0, m;
	memset(times, 0, sizeof(times));
	for (int who = 0; who < 2; who++)
		while ((m = give(who)) != 0)
			found(all[n++] = m, "a hand");
	while ((m = bp_stack_pop(&other)) != 0)
		found(all[n++] = m, "not in the scene");
	while (bp_magazines_free() > 0 && (m = bp_magazine_new()) != 0)
		found(all[n++] = m, "the free list");
	known = (uint32_t)(bp_magazines_bytes() / (BP_MAGAZINE_SLOTS * sizeof(void *) + 8)) - 1;
	cr_assert_eq(n, known, "%u of %u magazines; schedule %s", n, known, u_schedule());
	while (n > MAGAZINES)
		bp_stack_push(&other, all[--n]);
	memcpy(magazines, all, sizeof(magazines));
}

Test(schedules, the_free_list)
{
	setup(0);
	on_stack = 2;
	struct u_plan plan = { reset_free, { a_new_and_free, b_free_and_new }, check_free };
	cr_assert_geq(u_explore(&plan, 100000), 252);
}

Test(schedules, the_free_list_while_it_is_purged)
{
	setup(0);
	on_stack = 3;
	struct u_plan plan = { reset_free, { a_new_and_free, b_purge }, check_free };
	cr_assert_geq(u_explore(&plan, 100000), 100);
}

/* ---- the boundary of an epoch ---- */

enum { BLOCKS = 6, HALF = BLOCKS / 2 };
static void *blocks[BLOCKS]; /* each scene starts with these in the test's hands */
static void *got[2];
static uint32_t scene_epoch;
static uint64_t in_use_bytes;

static unsigned class(void)
{
	return u_class(U_SIZE);
}

/* As release leaves them: marked. */
static void mark(void *const *some, size_t count)
{
	for (size_t i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
}

static void put(struct bp_level *l, unsigned from, unsigned count)
{
	mark(blocks + from, count);
	atomic_fetch_add(&U_POOL->counts[class()].released, count);
	bp_pool_put_blocks(U_POOL, l, class(), blocks + from, count);
}

static void scene(void)
{
	u_acquire(blocks, BLOCKS, U_SIZE);
	got[0] = got[1] = NULL;
	scene_epoch = bp_pool_epoch(U_POOL);
	put(bp_pool_shared(U_POOL, scene_epoch), 0, HALF);
	put(bp_pool_victim(U_POOL, scene_epoch), HALF, HALF);
}

/* With something queued, so that the boundary has to wait for it. */
static void scene_queued(void)
{
	u_acquire(blocks, BLOCKS, U_SIZE);
	got[0] = got[1] = NULL;
	scene_epoch = bp_pool_epoch(U_POOL);
	put(bp_pool_shared(U_POOL, scene_epoch), 0, 2);
	put(bp_pool_victim(U_POOL, scene_epoch), 2, 2);
	put(bp_pool_queue(U_POOL, scene_epoch), 4, 2);
}

/* Half of them in the hands of the actor that puts them. */
static void scene_held(void)
{
	u_acquire(blocks, BLOCKS, U_SIZE);
	got[0] = got[1] = NULL;
	scene_epoch = bp_pool_epoch(U_POOL);
	put(bp_pool_victim(U_POOL, scene_epoch), 0, HALF);
}

/* The blocks that levels and stacks hold: each one of ours, and each once. */
static void check_places(void)
{
	unsigned seen[BLOCKS] = { 0 }, strangers = 0;
	struct bp_level *levels[] = { &U_POOL->levels[0], &U_POOL->levels[1], &U_POOL->levels[2], &U_POOL->over };
	for (size_t l = 0; l < U_COUNT(levels); l++) {
		uint32_t held[32], n = 0, m;
		int64_t counted = atomic_load(&levels[l]->classes[class()].blocks), there = 0;
		while (n < 32 && (m = bp_level_take(levels[l], class())) != 0) {
			held[n++] = m;
			there += bp_magazine_count(m);
			for (uint32_t i = 0; i < bp_magazine_count(m); i++) {
				unsigned which = 0;
				while (which < BLOCKS && blocks[which] != bp_magazine_slots(m)[i])
					which++;
				strangers += which == BLOCKS;
				if (which < BLOCKS)
					cr_assert_eq(++seen[which], 1, "a block twice; schedule %s", u_schedule());
			}
		}
		cr_assert_eq(counted, there, "level %zu counts %ld blocks, but has %ld; schedule %s", l, (long)counted,
			     (long)there, u_schedule());
		while (n > 0)
			bp_level_put(levels[l], class(), held[--n]);
	}
	for (int who = 0; who < 2; who++)
		for (unsigned i = 0; i < BLOCKS && got[who] != NULL; i++)
			cr_assert(got[who] != blocks[i] || seen[i]++ == 0, "handed out and kept; schedule %s",
				  u_schedule());
	cr_assert(got[0] == NULL || got[0] != got[1], "handed out twice; schedule %s", u_schedule());
}

static void check_pool(void)
{
	check_places();
	in_use_bytes = ((got[0] != NULL) + (got[1] != NULL)) * U_SIZE;
	u_assert_balance(in_use_bytes);
	uint32_t passed = bp_pool_epoch(U_POOL) - scene_epoch;
	cr_assert_leq(passed, 1, "two boundaries at once; schedule %s", u_schedule());
	for (int who = 0; who < 2; who++)
		if (got[who] != NULL) {
			memset(got[who], 0x55, U_SIZE);
			bp_pool_release(U_POOL, got[who]);
		}
	bp_epoch_trim(U_POOL, 0);
	u_assert_balance(0);
	struct bp_account now = u_account(U_SIZE);
	cr_assert_eq(now.cached + now.victim + now.queued, 0, "something is out of reach; schedule %s", u_schedule());
}

/* A boundary that falls due while somebody polls. */
static void poll_due(void)
{
	atomic_store(&U_POOL->deadline, 0);
	bp_epoch_poll(U_POOL, -1, class());
}

static void rotate_by_poll(void)
{
	poll_due();
}

static void advance(void)
{
	bp_epoch_advance(U_POOL);
}

static void take_one_a(void)
{
	got[0] = bp_pool_acquire_miss(U_POOL, class(), false);
}

static void take_one_b(void)
{
	got[1] = bp_pool_acquire_miss(U_POOL, class(), false);
}

static void put_some(void)
{
	put(bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), HALF, HALF);
}

static void give_back_steps(void)
{
	for (int i = 0; i < 3; i++)
		bp_giveback_step(U_POOL);
}

static void trim(void)
{
	bp_epoch_trim(U_POOL, U_SIZE);
}

static void take_from_victim(void)
{
	uint32_t m = bp_pool_take(U_POOL, bp_pool_victim(U_POOL, bp_pool_epoch(U_POOL)), class());
	if (m != 0)
		bp_pool_put(U_POOL, bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL)), class(), m);
}

static void explore_pool(void (*before)(void), void (*a)(void), void (*b)(void), unsigned least)
{
	struct u_plan plan = { before, { a, b }, check_pool };
	unsigned n = u_explore(&plan, 4000);
	cr_assert_geq(n, least, "only %u schedules", n);
}

Test(schedules, a_boundary_against_acquires)
{
	u_start(NULL);
	explore_pool(scene, rotate_by_poll, take_one_b, 10);
	explore_pool(scene_queued, rotate_by_poll, take_one_b, 10);
	explore_pool(scene, advance, take_one_b, 50);
	explore_pool(scene_queued, advance, take_one_b, 50);
}

Test(schedules, acquires_against_acquires)
{
	u_start(NULL);
	explore_pool(scene, take_one_a, take_one_b, 50);
	explore_pool(scene_queued, take_one_a, take_one_b, 50);
}

Test(schedules, a_boundary_against_what_enters_the_shared_level)
{
	u_start(NULL);
	explore_pool(scene_held, rotate_by_poll, put_some, 5);
	explore_pool(scene_held, advance, put_some, 5);
}

Test(schedules, a_boundary_against_giving_back)
{
	u_start(NULL);
	explore_pool(scene_queued, rotate_by_poll, give_back_steps, 10);
	explore_pool(scene_queued, advance, give_back_steps, 50);
}

Test(schedules, a_boundary_against_a_boundary)
{
	u_start(NULL);
	explore_pool(scene_queued, rotate_by_poll, rotate_by_poll, 10);
}

Test(schedules, a_boundary_against_moves_out_of_the_victim)
{
	u_start(NULL);
	explore_pool(scene, rotate_by_poll, take_from_victim, 10);
	explore_pool(scene_queued, advance, take_from_victim, 50);
}

/* A trim gives back for as long as the clock allows, so that the tree of schedules changes from run to run and becomes
 * too large to end: give back by a clock of the test first. UNIT_OPEN=1 runs them. */
static void open_question(void)
{
	if (getenv("UNIT_OPEN") == NULL)
		cr_skip_test("open: the schedules of a trim are too many (UNIT_OPEN=1 runs them)");
}

Test(schedules, a_trim_against_acquires)
{
	open_question();
	u_start(NULL);
	explore_pool(scene, trim, take_one_b, 50);
}

Test(schedules, a_trim_against_a_boundary)
{
	open_question();
	u_start(NULL);
	explore_pool(scene_queued, trim, rotate_by_poll, 50);
}

Test(schedules, a_trim_against_giving_back)
{
	open_question();
	u_start(NULL);
	explore_pool(scene_queued, trim, give_back_steps, 50);
}
