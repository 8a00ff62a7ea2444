/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of a seat's owner and of who takes its stack, changes its capacity or closes it. The owner is stopped
 * anywhere in an operation; the taker then looks twice and gives up. Afterwards each token is in one place, the stack is
 * open and the owner is back. The tool runs things in one order for all: that membarrier stands in for the fence that the
 * owner does without is not tested here but in seats.c, on two CPUs.
 */
#include "schedule.h"

#include <criterion/criterion.h>

#include "percpu/percpu.h"
#include "percpu/seats.h"
#include "percpu/stacks.h"
#include "scene.h"
#include "support.h"

enum { TOKENS = 6, ON_STACK = 3, CLASS = 9, CAPACITY = 4, ALL = BP_CLASS_COUNT - 1 };

static struct bp_slabs slabs;
static int cpu;
static struct bp_rseq *areas[2];
static unsigned times[TOKENS], outcomes[2];
static void *hand[2][2 * TOKENS];
static unsigned in_hand[2];
static bool takes;

static void *token(size_t n)
{
	return (void *)((n + 1) * 4096);
}

/* Both are coroutines of one thread. */
static void resume(int who)
{
	bp_thread.rseq = areas[who];
}

static void keep(int who, void *p)
{
	hand[who][in_hand[who]++] = p;
}

static void reset(void)
{
	struct bp_slab *slab = bp_slab_of(slabs, cpu);
	struct bp_limits *limits = &slab->limits[CLASS];
	uint32_t bottom = ~atomic_load(&limits->floor);
	void **slots = (void **)slab + bottom;
	in_hand[0] = in_hand[1] = 0;
	for (unsigned i = 0; i < TOKENS; i++) {
		slots[i] = NULL;
		if (i < ON_STACK)
			slots[i] = token(i);
		else
			keep(0, token(i));
	}
	atomic_store(&slab->words[CLASS], BP_WORD(BP_COUNT_OF(100), bottom + ON_STACK));
	atomic_store(&limits->end, bottom + CAPACITY);
	atomic_store(&slab->cpu.classes[CLASS].capacity, CAPACITY);
	resume(0);
}

static void check(void)
{
	struct bp_slab *slab = bp_slab_of(slabs, cpu);
	struct bp_limits *limits = &slab->limits[CLASS];
	void **slots = (void **)slab + bp_bottoms[CLASS];
	resume(0);
	u_check(atomic_load(&limits->floor) != 0 && atomic_load(&limits->end) != 0, "the stack is closed");
	u_check(atomic_load(&bp_thread.rseq->here) >= 0, "the owner is away");
	u_check(atomic_load(&slab->cpu.taken) == 0, "the taker is still at it");
	for (uint32_t n = bp_percpu_count(slabs, cpu, CLASS); n > 0; n--)
		keep(1, slots[n - 1]);
	for (unsigned i = 0; i < TOKENS; i++)
		times[i] = 0;
	for (int who = 0; who < 2; who++)
		for (unsigned i = 0; i < in_hand[who]; i++) {
			uintptr_t n = (uintptr_t)hand[who][i] / 4096 - 1;
			u_check(n < TOKENS && times[n]++ == 0, "token %lu is in two places", (unsigned long)n);
		}
	u_check(in_hand[0] + in_hand[1] == TOKENS, "%u of %u tokens", in_hand[0] + in_hand[1], TOKENS);
	outcomes[takes]++;
}

/* ---- the owner ---- */

static void pop(void)
{
	void *p;
	resume(0);
	if (bp_seat_pop(&p, slabs.base, CLASS))
		keep(0, p);
}

static void push(void)
{
	resume(0);
	if (in_hand[0] > 0 && bp_seat_push(slabs.base, CLASS, hand[0][in_hand[0] - 1]))
		in_hand[0]--;
}

static void pop_two(void)
{
	void *two[2];
	resume(0);
	for (size_t i = 0, n = bp_percpu_pop_batch(two, 2, slabs, cpu, CLASS); i < n; i++)
		keep(0, two[i]);
}

static void push_two(void)
{
	resume(0);
	size_t n = bp_percpu_push_batch(slabs, cpu, CLASS, &hand[0][in_hand[0] - 2], 2);
	if (n == 1)
		hand[0][in_hand[0] - 2] = hand[0][in_hand[0] - 1];
	in_hand[0] -= (unsigned)n;
}

static void recount(void)
{
	uint32_t pops;
	resume(0);
	bp_percpu_recount(&pops, slabs, cpu, CLASS, 50);
}

static void pop_push(void)
{
	pop();
	push();
}

static void push_pop_pop(void)
{
	push();
	pop();
	pop();
}

/* ---- the other ---- */

static void has_taken(void *ctx, unsigned class, void **blocks, size_t count)
{
	(void)ctx, (void)class;
	for (size_t i = 0; i < count; i++)
		keep(1, blocks[i]);
}

static void take(void)
{
	resume(1);
	takes = bp_percpu_take(slabs, cpu, 0, ALL, has_taken, NULL);
}

static void take_twice(void)
{
	take();
	take();
}

static void resize_and_take(void)
{
	resume(1);
	bp_percpu_resize(slabs, cpu, CLASS, 2);
	take();
}

static void setup(void)
{
	u_seats = true;
	bp_percpu_start(BP_PERCPU_FALLBACK);
	if (bp_seats.count == 0)
		cr_skip_test("this kernel has no membarrier");
	cr_assert(bp_percpu_create(&slabs));
	cpu = bp_percpu_enter(slabs, 0);
	cr_assert(bp_seat_is(cpu));
	bp_percpu_open(slabs, cpu, CLASS, CAPACITY);
	areas[0] = bp_thread.rseq;
	areas[1] = &bp_rseq_none;
	u_resumed = resume;
}

TestSuite(schedules_seats, .init = setup, .timeout = 100);

static void explore(void (*owner)(void), void (*other)(void))
{
	struct u_plan plan = { .before = reset, .actor = { owner, other }, .after = check };
	cr_assert_gt(u_explore(&plan, 0), 1, "the actors had nothing to do with each other");
}

#define AGAINST(other) \
	Test(schedules_seats, an_owner_against_##other) \
	{ \
		void (*const owners[])(void) = { pop, push, pop_two, push_two, recount, pop_push, push_pop_pop }; \
		for (size_t i = 0; i < U_COUNT(owners); i++) \
			explore(owners[i], other); \
		cr_assert(outcomes[0] > 0 && outcomes[1] > 0, "%u failed, %u did not", outcomes[0], outcomes[1]); \
	}

AGAINST(take)
AGAINST(take_twice)
AGAINST(resize_and_take)

/* ---- the end of a stack ---- */

static bool closed;

static void close_it(void)
{
	resume(1);
	closed = bp_percpu_close(slabs, cpu, CLASS);
}

static void check_closed(void)
{
	struct bp_limits *limits = &bp_slab_of(slabs, cpu)->limits[CLASS];
	u_check(!closed || atomic_load(&limits->end) <= bp_bottoms[CLASS], "what was closed is open for pushes");
	outcomes[closed]++;
}

Test(schedules_seats, what_was_closed_no_taker_opens)
{
	struct u_plan plan = { .before = reset, .actor = { take, close_it }, .after = check_closed };
	cr_assert_gt(u_explore(&plan, 0), 1);
	cr_assert(outcomes[0] > 0 && outcomes[1] > 0, "%u failed, %u did not", outcomes[0], outcomes[1]);
}
