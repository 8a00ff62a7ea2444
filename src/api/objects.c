/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools: the public functions. A hit is a pop or a push on the stacks of the pool's engine, nothing else; all else
 * is a visit, during which the pool does not end. Read objects.h first, and last objects_life.c.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "api/objects.h"

#include <errno.h>

#include "cache/acquire.h"
#include "cache/bare.h"
#include "cache/block.h"
#include "cache/leaks.h"
#include "cache/misuse.h"
#include "cache/watch.h"

/* ---- slow paths ---- */

#define SLOW __attribute__((noinline, cold))

static void *construct(struct bufpool_objects *o)
{
	int saved = errno;
	errno = 0;
	void *obj = o->construct(o->ctx);
	if (obj != NULL) {
		bp_objects_count_new(o);
		errno = saved;
		return obj;
	}
	int failed = errno == 0 ? ENOMEM : errno;
	struct bp_pool *engine = bp_objects_engine(o);
	if (engine != NULL)
		obj = bp_bare_acquire_anywhere(engine, bp_objects_class());
	errno = obj == NULL ? failed : saved;
	return obj;
}

static void *cached(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	int saved = errno;
	void *obj = engine == NULL ? NULL : bp_pool_acquire_cached(engine, bp_objects_class());
	errno = saved;
	return obj;
}

/* An object that is a block as well is noted as what it is acquired as now. */
static void note(const void *obj)
{
	bool block = bp_range_has(obj) && bp_range_start_of(obj) != 0;
	if (bp_unlikely(bp_watch.leaks))
		bp_leaks_note(obj, block ? bp_block_capacity(obj) : 0, &bp_default_pool);
}

static SLOW void *acquire_slow(struct bufpool_objects *o, bool make)
{
	uint32_t visit;
	if (!bp_objects_enter(o, &visit)) {
		bp_misuse_report(&bp_default_pool, BP_MISUSE_POOL, o, 0, true);
		errno = EINVAL;
		return NULL;
	}
	void *obj = cached(o);
	if (obj == NULL && make)
		obj = construct(o);
	if (obj != NULL)
		note(obj);
	bp_objects_leave(o, visit);
	return obj;
}

/* It was out and goes now. */
static void discard(struct bufpool_objects *o, void *obj, int reason)
{
	if (bp_unlikely(bp_watch.leaks))
		bp_leaks_forget(obj);
	bp_objects_destruct(o, obj, reason);
	bp_objects_forget_out(o);
}

static SLOW void refuse(struct bufpool_objects *o, void *obj)
{
	int saved = errno;
	discard(o, obj, BUFPOOL_OBJECTS_REFUSED);
	errno = saved;
}

static void keep_slowly(struct bp_pool *engine, void *obj)
{
	if (bp_unlikely(bp_watch.leaks))
		bp_leaks_forget(obj);
	/* What is watched has no hits: the stack may well have room. */
	if (!bp_watch.on || !bp_rseq_push(engine->slabs.base, bp_objects_class(), obj))
		bp_pool_release_full(engine, obj, bp_objects_class() + 1);
}

static SLOW void release_slow(struct bufpool_objects *o, void *obj)
{
	int saved = errno;
	uint32_t visit;
	if (bp_objects_enter(o, &visit)) {
		struct bp_pool *engine = bp_watch.strict && bp_watch_drops() ? NULL : bp_objects_keeper(o);
		if (engine != NULL)
			keep_slowly(engine, obj);
		else
			discard(o, obj, BUFPOOL_OBJECTS_PASSED);
		bp_objects_leave(o, visit);
	} else {
		discard(o, obj, BUFPOOL_OBJECTS_DESTROYED);
	}
	errno = saved;
}

/* ---- the public functions ---- */

static bool is_known(const struct bufpool_objects_ops *ops)
{
	const unsigned char *rest = (const unsigned char *)ops + sizeof(*ops);
	if (ops->size < sizeof(*ops) || ops->construct == NULL)
		return false;
	for (size_t i = sizeof(*ops); i < ops->size; i++)
		if (*rest++ != 0)
			return false;
	return true;
}

int bufpool_objects_create(struct bufpool_objects **out, const struct bufpool_objects_ops *ops, void *ctx)
{
	if (!is_known(ops))
		return -EINVAL;
	struct bufpool_objects *o = bp_pool_acquire(&bp_default_pool, sizeof(*o), false);
	if (o == NULL)
		return -ENOMEM;
	o->reset = ops->reset;
	o->ctx = ctx;
	o->construct = ops->construct;
	o->destruct = ops->destruct;
	bp_objects_begin(o);
	*out = o;
	return 0;
}

/* No hit on a CPU's stack. In the portable mode it may be one on the thread's seat. Releases are visits there: nobody can
 * make an operation on a seat begin anew, so that one which a signal has stopped would be missed at the pool's end. */
static __attribute__((noinline)) void *acquire_aside(struct bufpool_objects *o, struct bp_slabs *s, bool make)
{
	void *obj;
	/* The limit is 0 where everything passes through. */
	if (s != NULL && atomic_load_explicit(&bp_default_pool.seat_limit, memory_order_relaxed) != 0 &&
	    bp_seat_pop(&obj, s->base, bp_objects_class()))
		return obj;
	return acquire_slow(o, make);
}

static inline __attribute__((always_inline)) void *acquire(struct bufpool_objects *o, bool make)
{
	struct bp_slabs *s = atomic_load_explicit(&o->hits, memory_order_acquire);
	void *obj = bp_percpu_nothing;
	if (bp_likely(s != NULL))
		obj = bp_rseq_pop(s->base, bp_objects_class());
	return bp_likely(obj != bp_percpu_nothing) ? obj : acquire_aside(o, s, make);
}

void *bufpool_objects_acquire(struct bufpool_objects *o)
{
	return acquire(o, true);
}

void *bufpool_objects_acquire_cached(struct bufpool_objects *o)
{
	return acquire(o, false);
}

static inline __attribute__((always_inline)) void keep(struct bufpool_objects *o, void *obj)
{
	struct bp_slabs *s = atomic_load_explicit(&o->hits, memory_order_acquire);
	/* The limit is 0 where everything passes through: nothing is to be kept then. */
	if (bp_unlikely(s == NULL) || bp_unlikely(atomic_load_explicit(&bp_default_pool.limit, memory_order_relaxed) == 0) ||
	    bp_unlikely(!bp_rseq_push(s->base, bp_objects_class(), obj)))
		release_slow(o, obj);
}

/* Apart, because it needs a frame. */
static __attribute__((noinline)) void reset_and_keep(struct bufpool_objects *o, void *obj)
{
	if (bp_likely(o->reset(obj, o->ctx)))
		keep(o, obj);
	else
		refuse(o, obj);
}

void bufpool_objects_release(struct bufpool_objects *o, void *obj)
{
	if (bp_unlikely(obj == NULL))
		return;
	if (o->reset == NULL)
		keep(o, obj);
	else
		reset_and_keep(o, obj);
}

void bufpool_objects_destroy(struct bufpool_objects *o)
{
	int saved = errno;
	if (o == NULL)
		return;
	if (!bp_objects_end(o))
		bp_misuse_report(&bp_default_pool, BP_MISUSE_POOL, o, 0, true);
	errno = saved;
}
