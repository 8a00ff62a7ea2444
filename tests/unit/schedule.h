/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every interleaving of two actors. An actor is a coroutine; where the code says BP_YIELD (src/cache/stack.c) either one
 * may go on. All schedules are run, one after the other, depth first: a schedule is the list of who went on at each
 * point, and the next one differs from it in the last choice that had an alternative.
 *
 * Included before everything else in the sources that the program is made of.
 */
#ifndef BUFPOOL_TESTS_UNIT_SCHEDULE_H
#define BUFPOOL_TESTS_UNIT_SCHEDULE_H

void u_yield(void) __attribute__((visibility("hidden")));
#define BP_YIELD() u_yield()

struct u_plan {
	void (*before)(void); /* sets the scene */
	void (*actor[2])(void);
	void (*after)(void);  /* checks it; u_schedule() says which one it was */
};

/* How many schedules there were: all, or the first `most`. Fails the test where the actors never met. */
unsigned u_explore(const struct u_plan *plan, unsigned most);
/* The schedule that runs or has just run: a digit for each choice. */
const char *u_schedule(void);

#endif
