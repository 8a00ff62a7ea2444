/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the actors may still do from a state on: which of them uses which variables, and how.
 */
#ifndef BUFPOOL_TESTS_UNIT_FUTURES_H
#define BUFPOOL_TESTS_UNIT_FUTURES_H

#include "sets.h"
#include "steps.h"

struct u_future {
	uint64_t of[2][U_KINDS][U_VARIABLES / 64];
};

void u_future_add_step(struct u_future *f, int who, const struct u_step *s);
void u_future_add(struct u_future *f, const struct u_future *more);
/* Has that actor's future to do with the step? What has is taken out. */
bool u_future_meets(struct u_future *f, int who, const struct u_step *s);

/* Keeps one of each. The number it got. */
int u_future_keep(const struct u_future *f);
const struct u_future *u_future_kept(int number);
void u_futures_forget(void);

#endif
