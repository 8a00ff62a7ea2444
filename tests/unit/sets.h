/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the exploration of schedules: keys with numbers, and which variables the actors have used and how.
 */
#ifndef BUFPOOL_TESTS_UNIT_SETS_H
#define BUFPOOL_TESTS_UNIT_SETS_H

#include <stdbool.h>
#include <stdint.h>

#include "schedule.h"

/* Zeroes: empty. Keys have numbers from 0 on in the order of their coming. */
struct u_set {
	uint64_t *keys;
	uint32_t *slots; /* number + 1 */
	uint32_t count, room;
};

int u_set_find(const struct u_set *s, uint64_t key); /* -1: not in it */
int u_set_add(struct u_set *s, uint64_t key);
void u_set_clear(struct u_set *s);

enum { U_VARIABLES = 512, U_KINDS = 3 };
extern struct u_set u_variables;

int u_variable(const volatile void *at);
void u_variables_forget(void);
/* Was that new? */
bool u_learn(int who, const volatile void *at, int kind);
/* Have the actors to do with each other there, as far as is known? */
bool u_is_shared(const volatile void *at);

#endif
