/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What schedule.c, which runs two actors step by step, and explore.c and bounded.c, which say whose step comes next, have
 * of each other.
 */
#ifndef BUFPOOL_TESTS_UNIT_STEPS_H
#define BUFPOOL_TESTS_UNIT_STEPS_H

#include "schedule.h"

enum { U_STEPS_MAX = 4096 };

struct u_step {
	const volatile void *at;
	int kind;
};

/* The steps of the run that is going on or has just ended; the first `u_repeated` of them are those of the run before,
 * but for the last, which is the other actor's. */
extern struct u_made {
	int who;
	struct u_step step;
	uint64_t state; /* before it; 0: not looked at */
} u_steps[U_STEPS_MAX];
extern int u_length, u_repeated;

/* pick says whose step comes next; -1: what would follow is known, and the run is cut short. false: it was. */
bool u_run(const struct u_plan *plan, int (*pick)(void));

/* For pick. */
bool u_has_ended(int who);
/* What the actor that made the last step will use next; NULL: it has ended. */
const volatile void *u_coming(void);
/* All that the rest of the run depends on. */
uint64_t u_state(void);

/* Have they to do with each other? */
static inline bool u_meet(const struct u_step *a, const struct u_step *b)
{
	return a->at == b->at && (a->kind != b->kind || a->kind == U_WRITE);
}

#endif
