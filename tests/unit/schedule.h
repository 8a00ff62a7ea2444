/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of two actors. Included before everything else in the sources that the program is made of: each
 * atomic operation of theirs becomes a point where the other actor may go on, without a line in the product. An actor
 * is a coroutine, and a step is what it does from one such point to the next.
 *
 * Two schedules that differ only in the order of steps which have nothing to do with each other end alike; one of them
 * is run (Flanagan and Godefroid, "Dynamic partial-order reduction", 2005, with sleep sets). Steps have to do with each
 * other where they use one atomic variable and do not both just read it or both just add to it. So what an addition
 * returned must not matter to anybody; it does in bp_pool_outside, for the peak, which decides nothing in these tests.
 *
 * Where these are too many, those with few preemptions find most of what there is to find (Musuvathi and Qadeer,
 * "Iterative context bounding", 2007). An actor is then preempted only before what both have to do with: earlier comes
 * to the same.
 *
 * What is not covered: orders that a memory weaker than x86's allows, and data races within a step. A call into
 * jemalloc is part of one step; all of them have to do with each other.
 */
#ifndef BUFPOOL_TESTS_UNIT_SCHEDULE_H
#define BUFPOOL_TESTS_UNIT_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>

struct u_plan {
	void (*before)(void); /* sets the scene: the same each time */
	void (*actor[2])(void);
	void (*after)(void);  /* checks it; u_schedule() says which one it was */
};

/* Runs them all, or the first `most` (0: all). How many there were: 1 where the actors have nothing to do with each
 * other. Fails the test where a schedule that is run again takes another way. */
unsigned u_explore(const struct u_plan *plan, unsigned most);
/* Was the last exploration of all of them? */
bool u_complete(void);
/* All those in which an actor loses its turn to the other one at most `preemptions` times before its end. */
unsigned u_explore_bounded(const struct u_plan *plan, int preemptions);
/* The schedule that runs or has just run: a digit for each step. */
const char *u_schedule(void);
/* Who runs: 0, 1, or -1 for none of the actors. */
int u_actor(void);

/* Says which schedule failed. Criterion's own assertions cost more than a schedule, also where they hold. */
#define u_check(condition, ...) \
	do { \
		if (!(condition)) \
			u_fail(#condition, __VA_ARGS__); \
	} while (0)
void u_fail(const char *condition, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* ---- the points ---- */

enum { U_READ, U_ADD, U_WRITE };
void u_access(const volatile void *at, int kind) __attribute__((visibility("hidden")));
/* The last access changed nothing. */
void u_unchanged(void) __attribute__((visibility("hidden")));

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
		u_access(u_p, kind); \
		operation; \
	})

#define atomic_load_explicit(p, order) \
	({ \
		__auto_type u_p = U_PLAIN(p); \
		u_access(u_p, U_READ); \
		__atomic_load_n(u_p, order); \
	})
#define atomic_store_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_store_n(u_p, u_v, order))
#define atomic_exchange_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_exchange_n(u_p, u_v, order))
#define atomic_fetch_add_explicit(p, v, order) U_POINT(p, v, U_ADD, __atomic_fetch_add(u_p, u_v, order))
#define atomic_fetch_sub_explicit(p, v, order) U_POINT(p, v, U_ADD, __atomic_fetch_sub(u_p, u_v, order))
#define atomic_fetch_or_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_fetch_or(u_p, u_v, order))
#define atomic_fetch_and_explicit(p, v, order) U_POINT(p, v, U_WRITE, __atomic_fetch_and(u_p, u_v, order))

#define U_CHANGED(done) \
	({ \
		bool u_done = (done); \
		if (!u_done) \
			u_unchanged(); \
		u_done; \
	})
#define atomic_compare_exchange_strong_explicit(p, old, v, order, otherwise) \
	U_POINT(p, v, U_WRITE, U_CHANGED(__atomic_compare_exchange_n(u_p, old, u_v, false, order, otherwise)))
#define atomic_compare_exchange_weak_explicit(p, old, v, order, otherwise) \
	atomic_compare_exchange_strong_explicit(p, old, v, order, otherwise)
#define atomic_flag_test_and_set_explicit(p, order) \
	U_POINT((unsigned char *)(p), 1, U_WRITE, !U_CHANGED(!__atomic_exchange_n(u_p, u_v, order)))
#define atomic_flag_clear_explicit(p, order) \
	U_POINT((unsigned char *)(p), 0, U_WRITE, __atomic_store_n(u_p, u_v, order))

#endif
