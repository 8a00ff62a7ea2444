/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of two actors. Included before everything else in the sources that the program is made of: each
 * atomic operation of theirs becomes a point where the other actor may go on, without a line in the product. An actor
 * is a coroutine, and a step is what it does from one such point to the next.
 *
 * Two schedules that differ only in the order of steps which have nothing to do with each other end alike; one of them
 * is run. Steps have to do with each other where they use one atomic variable and do not both just read it or both just
 * add to it; what leaves a variable as it was has read it. So what an addition returned must not matter to anybody; it
 * does in bp_pool_outside, for the peak: there the scene says that additions count as writes.
 *
 * Two schedules that lead to the same state go on alike, and one of them is run on (explore.c). A state is all that the
 * rest of the schedule depends on: the atomic variables; what the actors have on their stacks and in registers; and what
 * they share besides, which the plan digests: rows of magazines, slots, marks, jemalloc. What is left out there without
 * right makes two states one, and schedules behind the second one are missed.
 *
 * Where these are too many, those with few preemptions find most of what there is to find (Musuvathi and Qadeer,
 * "Iterative context bounding", 2007). An actor is then preempted only before what both have to do with: earlier comes
 * to the same.
 *
 * What is shared and not atomic needs no points of its own as long as it is somebody's: got from the other one by an atomic
 * operation, and by the next one given away. Orders of those are the orders of what is done with it, so the reduction
 * loses none. What this does not cover: data races within a step, and orders that a memory weaker than x86's allows.
 */
#ifndef BUFPOOL_TESTS_UNIT_SCHEDULE_H
#define BUFPOOL_TESTS_UNIT_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct u_plan {
	void (*before)(void); /* sets the scene: the same each time */
	void (*actor[2])(void);
	void (*after)(void);  /* checks it; u_schedule() says which one it was */
	/* A digest of what the actors share that is not in atomic variables. NULL: states are not told apart. */
	uint64_t (*state)(void);
	const volatile void *ordered; /* additions to this variable count as writes */
	bool alike;           /* the actors are the same in all: schedules that begin with the second one are left out */
};

/* Runs them all, or stops after `most` runs (0: never). How many schedules there were: 1 where the actors have nothing to do
 * with each other; runs that were cut short don't count. Fails the test where a schedule that is run again takes another
 * way. */
unsigned u_explore(const struct u_plan *plan, unsigned most);
/* Was the last exploration of all of them? */
bool u_complete(void);
/* All those in which an actor loses its turn to the other one at most `preemptions` times before its end. */
unsigned u_explore_bounded(const struct u_plan *plan, int preemptions);
/* The schedule that runs or has just run: a digit for each step. */
const char *u_schedule(void);
/* Called when an actor goes on after the other one: both are one thread, and what is the thread's may have to change. */
extern void (*u_resumed)(int who);
/* Who runs: 0, 1, or -1 for none of the actors. */
int u_actor(void);

/* For digests. Of the variables, as they are now: what they were at the scene's start is left out. */
uint64_t u_mix(uint64_t digest, uint64_t value);
uint64_t u_memory(void);

/* Says which schedule failed. Criterion's own assertions cost more than a schedule, also where they hold. */
#define u_check(condition, ...) \
	do { \
		if (!(condition)) \
			u_fail(#condition, __VA_ARGS__); \
	} while (0)
void u_fail(const char *condition, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* ---- the points ---- */

enum { U_READ, U_ADD, U_WRITE };
/* bytes: of the variable; 0: none that is part of the state, but a thing of the plan's own (always U_WRITE or U_ADD). */
void u_access(const volatile void *at, int kind, size_t bytes) __attribute__((visibility("hidden")));

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_clear_explicit

/* The type without _Atomic; operands are evaluated before the point, in which they may have points of their own. */
#define U_PLAIN(p) ((__typeof__((void)0, *(p)) *)(p))
#define U_POINT(p, v, kind, operation) \
	({ \
		__auto_type u_p = U_PLAIN(p); \
		__typeof__(*u_p) u_v = (v); \
		u_access(u_p, kind, sizeof(*u_p)); \
		operation; \
	})

#define atomic_load_explicit(p, order) \
	({ \
		__auto_type u_p = U_PLAIN(p); \
		u_access(u_p, U_READ, sizeof(*u_p)); \
		__atomic_load_n(u_p, order); \
	})
#define atomic_store_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_store_n(u_p, u_v, order))
#define atomic_exchange_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_exchange_n(u_p, u_v, order))
#define atomic_fetch_add_explicit(p, v, order) U_POINT(p, v, U_ADD, __atomic_fetch_add(u_p, u_v, order))
#define atomic_fetch_sub_explicit(p, v, order) U_POINT(p, v, U_ADD, __atomic_fetch_sub(u_p, u_v, order))
#define atomic_fetch_or_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_fetch_or(u_p, u_v, order))
#define atomic_fetch_and_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_fetch_and(u_p, u_v, order))

#define atomic_compare_exchange_strong_explicit(p, old, v, order, otherwise) \
	U_POINT(p, v, U_WRITE, __atomic_compare_exchange_n(u_p, old, u_v, false, order, otherwise))
#define atomic_compare_exchange_weak_explicit(p, old, v, order, otherwise) \
	atomic_compare_exchange_strong_explicit(p, old, v, order, otherwise)
#define atomic_flag_test_and_set_explicit(p, order) \
	U_POINT((unsigned char *)(p), 1, U_WRITE, __atomic_exchange_n(u_p, u_v, order))
#define atomic_flag_clear_explicit(p, order) \
	U_POINT((unsigned char *)(p), 0, U_WRITE, __atomic_store_n(u_p, u_v, order))

#endif
