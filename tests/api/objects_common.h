/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of object pools share: objects that know how often they were made, handed out and ended. They lie in an
 * array of the test's and are never freed, so that a second destruct is seen as one.
 */
#ifndef BUFPOOL_TESTS_API_OBJECTS_COMMON_H
#define BUFPOOL_TESTS_API_OBJECTS_COMMON_H

#include "support.h"

#include <bufpool/objects.h>
#include <stdatomic.h>

enum { O_MANY = 200000, O_REASONS = BUFPOOL_OBJECTS_DESTROYED + 1 };

struct thing {
	_Atomic unsigned hands; /* 1 while somebody has it */
	_Atomic unsigned ends;
	unsigned uses;
	bool refused;           /* what reset is to say */
};

/* A pool's context. Counts what went wrong, too: functions that the pool calls can't assert. */
struct maker {
	struct bufpool_objects *pool;
	_Atomic unsigned made, resets, ended, wrong;
	_Atomic unsigned why[O_REASONS];
	_Atomic unsigned most;  /* construct fails beyond */
	int64_t end_ns;         /* that long takes each destruct */
	struct thing *things;
};

/* A new pool of things; most: O_MANY. */
void o_create(struct maker *m);
/* The same with another reset, NULL included. */
void o_create_with(struct maker *m, bool (*reset)(void *obj, void *ctx));
bool o_reset(void *obj, void *ctx);
void o_destruct(void *obj, void *ctx, int reason);

/* With the thing marked as being in somebody's hands, or no longer: two owners are counted as wrong. */
struct thing *o_acquire(struct maker *m);
struct thing *o_acquire_cached(struct maker *m);
void o_release(struct maker *m, struct thing *t);
void o_acquire_all(struct maker *m, struct thing **things, size_t count);
void o_release_all(struct maker *m, struct thing **things, size_t count);

/* Every thing that was made has ended, once, and nothing went wrong. */
bool o_all_ended_once(struct maker *m);
/* Skips the running test where nothing is cached in this process. */
void o_need_pool(void);
/* bufpool_tick until so many have ended, for 10 s at most. */
bool o_tick_until_ended(struct maker *m, unsigned count);

#endif
