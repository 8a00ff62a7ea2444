/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How an object pool begins and ends, and its engine with it (objects.h says who ends it); the engine's calls into the pool.
 * What its users' calls do meanwhile is in objects.c.
 */
#include <string.h>

#include "api/objects.h"
#include "cache/bare.h"
#include "cache/pools.h"
#include "cache/watch.h"

/* alive: objects and the pool itself, times 2; and whether the engine counts them. */
enum { ADOPTED = 1, ONE = 2 };

/* ---- objects ---- */

void bp_objects_count_new(struct bufpool_objects *o)
{
	/* Acquire: who sees that the engine counts sees the engine. */
	if (atomic_fetch_add_explicit(&o->alive, ONE, memory_order_acquire) & ADOPTED)
		bp_bare_adopt(bp_objects_engine(o), bp_objects_class(), 1);
}

/* ---- the end ---- */

static void free_pool(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	if (engine != NULL)
		bp_pools_destroy(engine);
	bp_pool_release(&bp_default_pool, o);
}

/* So many are no longer there, and the engine knows. */
static void forget(struct bufpool_objects *o, size_t count)
{
	uint64_t gone = count * ONE;
	/* Both ways: who frees has seen what all others did with it. */
	if ((atomic_fetch_sub_explicit(&o->alive, gone, memory_order_acq_rel) & ~(uint64_t)ADOPTED) == gone)
		free_pool(o);
}

/* The engine, if it counts, is told first: with the last one it goes. */
void bp_objects_forget_out(struct bufpool_objects *o)
{
	uint64_t now = atomic_load_explicit(&o->alive, memory_order_acquire);
	while (!(now & ADOPTED))
		if (atomic_compare_exchange_weak_explicit(&o->alive, &now, now - ONE, memory_order_acq_rel,
							  memory_order_acquire)) {
			if (now == ONE)
				free_pool(o);
			return;
		}
	bp_bare_disown(bp_objects_engine(o), bp_objects_class());
	forget(o, 1);
}

struct last {
	struct bufpool_objects *pool;
	size_t count;
};

static void destruct_last(void *ctx, void *obj)
{
	struct last *l = ctx;
	bp_objects_destruct(l->pool, obj, BUFPOOL_OBJECTS_DESTROYED);
	l->count++;
}

void bp_objects_finish(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	struct last l = { o, 0 };
	if (engine != NULL) {
		uint64_t objects = atomic_load_explicit(&o->alive, memory_order_acquire) / ONE - 1;
		bool in_hands = bp_bare_cached(engine, bp_objects_class()) != objects;
		bp_bare_empty(engine, bp_objects_class(), in_hands, destruct_last, &l);
	}
	forget(o, l.count + 1);
}

/* ---- the engine's side ---- */

static void drop(struct bp_pool *engine, void *const *objects, size_t count, enum bp_why why)
{
	struct bufpool_objects *o = engine->owner;
	for (size_t i = 0; i < count; i++)
		bp_objects_destruct(o, objects[i], why == BP_WHY_EPOCH ? BUFPOOL_OBJECTS_UNUSED : BUFPOOL_OBJECTS_BUDGET);
	forget(o, count);
}

/* An instance that lost the race in bp_objects_start_engine is nobody's, and must not keep its owner alive. */
static bool hold(struct bp_pool *engine, uint32_t *visit)
{
	struct bufpool_objects *o = engine->owner;
	return bp_objects_engine(o) == engine && bp_objects_enter(o, visit);
}

static void let_go(struct bp_pool *engine, uint32_t visit)
{
	bp_objects_leave(engine->owner, visit);
}

static const struct bp_bare bare = { drop, hold, let_go };

/* Two threads may be at it at once: the second one's instance goes again. */
struct bp_pool *bp_objects_start_engine(struct bufpool_objects *o)
{
	struct bp_pool *fresh, *engine = NULL;
	if (bp_pools_create_bare(&fresh, bp_objects_class() + 1, &bare, o) != 0)
		return NULL;
	/* Release: who finds it finds it ready. */
	if (!atomic_compare_exchange_strong_explicit(&o->engine, &engine, fresh, memory_order_acq_rel, memory_order_acquire)) {
		bp_pools_destroy(fresh);
		return engine;
	}
	uint64_t before = atomic_fetch_or_explicit(&o->alive, ADOPTED, memory_order_acq_rel);
	bp_bare_adopt(fresh, bp_objects_class(), before / ONE - 1);
	if (!bp_watch.on)
		atomic_store_explicit(&o->hits, &fresh->slabs, memory_order_release);
	return fresh;
}

/* ---- the two ends of it ---- */

void bp_objects_begin(struct bufpool_objects *o)
{
	atomic_init(&o->hits, NULL);
	atomic_init(&o->engine, NULL);
	atomic_init(&o->visits, (uint64_t)bp_pools_forks << 32);
	atomic_init(&o->alive, ONE);
}

bool bp_objects_end(struct bufpool_objects *o)
{
	uint32_t visit;
	if (!bp_objects_enter(o, &visit))
		return false;
	atomic_store_explicit(&o->hits, NULL, memory_order_relaxed);
	atomic_fetch_or_explicit(&o->visits, BP_OBJECTS_ENDING, memory_order_relaxed);
	bp_objects_leave(o, visit);
	return true;
}
