/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools inside: the structure, and what objects.c, where the public functions are, needs of objects_life.c. Tests
 * look inside by it. include/bufpool/objects.h is the documentation; the engine is that of blocks (cache/pool.h, bare.h).
 *
 * A pool is a small structure; the engine's instance comes with the first release that keeps something. `hits` are its
 * stacks, NULL where all calls go the slow way: there is no engine yet, or no more, or each call is watched (watch.h).
 *
 * Who ends it. Destroy doesn't wait, and objects may come back later. Two words tell when what may go:
 *   - `visits`: calls on the slow path, and whether the pool ends. Whoever makes the last visit after bufpool_objects_destroy
 *     empties the engine (bp_objects_finish), so that nobody is in it then. Hits are not visits: a hit of release that is
 *     in flight holds an object that is out, and bp_bare_empty sees to it.
 *   - `alive`: objects that exist, and 1 for the pool until it is finished. Whoever takes it to 0 frees the pool and the
 *     engine's instance: nobody can come back any more.
 *
 * A visit bears the number of forks before it: in the child of a threaded fork the visits of threads that are not there
 * don't count, and one that this thread began before (it forks in one of the user's functions) is not ended twice.
 */
#ifndef BP_API_OBJECTS_H
#define BP_API_OBJECTS_H

#include "bufpool/objects.h"
#include "cache/pool.h"
#include "cache/pools.h"

/* An object counts as 1 KiB: a CPU keeps 64 of them to begin with and 256 at most, of which half move at a time, and 4 096
 * a CPU may be cached however few are in use. */
enum { BP_OBJECTS_SIZE = 1024 };

struct bufpool_objects {
	/* Read on hits. */
	_Atomic(struct bp_slabs *) hits;
	bool (*reset)(void *obj, void *ctx);
	void *ctx;
	void *(*construct)(void *ctx);
	void (*destruct)(void *obj, void *ctx, int reason);
	char apart[BP_LINE - 5 * sizeof(void *)];
	/* Written by slow paths. */
	_Atomic(struct bp_pool *) engine; /* NULL: none yet */
	_Atomic uint64_t visits;
	_Atomic uint64_t alive;
	char rest[BP_LINE - 3 * sizeof(uint64_t)];
};
_Static_assert(offsetof(struct bufpool_objects, engine) == BP_LINE && sizeof(struct bufpool_objects) == 2 * BP_LINE,
	       "slow paths write to lines that hits don't read: blocks of that size begin with one");

/* The class as which objects are kept. */
static inline __attribute__((always_inline)) unsigned bp_objects_class(void)
{
	return bp_class_of(BP_OBJECTS_SIZE);
}

/* The instance of the engine that keeps them; NULL: there is none yet. */
static inline struct bp_pool *bp_objects_engine(struct bufpool_objects *o)
{
	return atomic_load_explicit(&o->engine, memory_order_acquire); /* pairs with bp_objects_start_engine */
}

static inline void bp_objects_destruct(struct bufpool_objects *o, void *obj, int reason)
{
	if (o->destruct != NULL)
		o->destruct(obj, o->ctx, reason);
}

/* ---- objects_life.c ---- */

/* A pool's beginning: nothing is kept yet, and nobody visits it. */
void bp_objects_begin(struct bufpool_objects *o);
/* Its end: nobody else comes in, and whoever leaves last finishes it. false: it has ended before. */
bool bp_objects_end(struct bufpool_objects *o);
/* Nobody is in the engine any more, and nobody will be. */
void bp_objects_finish(struct bufpool_objects *o);

/* NULL: no memory. On a visit. */
struct bp_pool *bp_objects_start_engine(struct bufpool_objects *o);

/* One more exists, in its maker's hands. */
void bp_objects_count_new(struct bufpool_objects *o);
/* One that was out is no longer there; with the last one an ended pool goes. */
void bp_objects_forget_out(struct bufpool_objects *o);

/* ---- visits: what a call does that is no hit; inline, because each release is one in the portable mode ---- */

/* `visits`: flags, calls, and in the upper half the number of forks. */
enum { BP_OBJECTS_ENDING = 1, BP_OBJECTS_FINISHED = 2, BP_OBJECTS_FLAGS = 3, BP_OBJECTS_VISIT = 4 };

static inline uint64_t bp_objects_visitors(uint64_t visits)
{
	return (uint32_t)visits & ~(uint32_t)BP_OBJECTS_FLAGS;
}

static inline uint64_t bp_objects_in_this_process(uint64_t visits)
{
	return visits >> 32 == bp_pools_forks ? visits : (uint64_t)bp_pools_forks << 32 | (visits & BP_OBJECTS_FLAGS);
}

static inline void bp_objects_leave(struct bufpool_objects *o, uint32_t visit)
{
	if (visit != bp_pools_forks)
		return;
	uint64_t now = atomic_load_explicit(&o->visits, memory_order_relaxed), then;
	bool last;
	do {
		then = now - BP_OBJECTS_VISIT;
		last = bp_objects_visitors(then) == 0 && (now & BP_OBJECTS_FLAGS) == BP_OBJECTS_ENDING;
		if (last)
			then |= BP_OBJECTS_FINISHED;
		/* Releases what this visit did, and acquires what the others did. */
	} while (!atomic_compare_exchange_weak_explicit(&o->visits, &now, then, memory_order_acq_rel, memory_order_relaxed));
	if (last)
		bp_objects_finish(o);
}

/* false: the pool is ending, and this is no visit. */
static inline bool bp_objects_enter(struct bufpool_objects *o, uint32_t *visit)
{
	uint64_t now = atomic_load_explicit(&o->visits, memory_order_relaxed);
	do {
		if (now & BP_OBJECTS_ENDING)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&o->visits, &now, bp_objects_in_this_process(now) + BP_OBJECTS_VISIT,
							memory_order_acquire, memory_order_relaxed));
	*visit = bp_pools_forks;
	return true;
}

/* Where objects go that are to be kept; NULL: nothing is kept. On a visit. */
static inline struct bp_pool *bp_objects_keeper(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	if (atomic_load_explicit(&bp_default_pool.passing, memory_order_relaxed))
		return NULL;
	return engine != NULL ? engine : bp_objects_start_engine(o);
}

#endif
