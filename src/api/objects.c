/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools. include/bufpool/objects.h is the documentation; the engine is that of blocks (cache/pool.h, bare.h).
 *
 * A pool is a small structure; the engine's instance comes with the first release that keeps something. `hits` are its
 * stacks, NULL where all calls go the slow way: there is no engine yet, or no more, or each call is watched (watch.h).
 *
 * Who ends it. Destroy doesn't wait, and objects may come back later. Two words tell when what may go:
 *   - `visits`: calls on the slow path, and whether the pool ends. Whoever makes the last visit after bufpool_objects_destroy
 *     empties the engine (`finish`), so that nobody is in it then. Hits are not visits: a hit of release that is in flight
 *     holds an object that is out, and bp_bare_empty sees to it.
 *   - `alive`: objects that exist, and 1 for the pool until it is finished. Whoever takes it to 0 frees the pool and the
 *     engine's instance: nobody can come back any more.
 *
 * A visit bears the number of forks before it: in the child of a threaded fork the visits of threads that are not there
 * don't count, and one that this thread began before (it forks in one of the user's functions) is not ended twice.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "api/objects.h"

#include <errno.h>
#include <string.h>

#include "cache/acquire.h"
#include "cache/bare.h"
#include "cache/block.h"
#include "cache/leaks.h"
#include "cache/misuse.h"
#include "cache/pools.h"
#include "cache/watch.h"

/* An object counts as 1 KiB: a CPU keeps 64 of them to begin with and 256 at most, 64 move at a time, and 4 096 a CPU may
 * be cached however few are in use. */
enum { NOMINAL_SIZE = 1024 };

/* visits: flags, calls, and in the upper half the number of forks. */
enum { ENDING = 1, FINISHED = 2, FLAGS = ENDING | FINISHED, ONE_VISIT = 4 };
/* alive: objects and the pool itself, times 2; and whether the engine counts them. */
enum { ADOPTED = 1, ONE = 2 };

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

static inline __attribute__((always_inline)) unsigned class_of_all(void)
{
	return bp_class_of(NOMINAL_SIZE);
}

unsigned bp_objects_class(void)
{
	return class_of_all();
}

struct bp_pool *bp_objects_engine(struct bufpool_objects *o)
{
	return atomic_load_explicit(&o->engine, memory_order_acquire); /* pairs with start_engine */
}

/* ---- the end ---- */

static void destruct(struct bufpool_objects *o, void *obj, int reason)
{
	if (o->destruct != NULL)
		o->destruct(obj, o->ctx, reason);
}

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

/* One that was out is no longer there. The engine, if it counts, is told first: with the last one it goes. */
static void forget_one_out(struct bufpool_objects *o)
{
	uint64_t now = atomic_load_explicit(&o->alive, memory_order_acquire);
	while (!(now & ADOPTED))
		if (atomic_compare_exchange_weak_explicit(&o->alive, &now, now - ONE, memory_order_acq_rel,
							  memory_order_acquire)) {
			if (now == ONE)
				free_pool(o);
			return;
		}
	bp_bare_disown(bp_objects_engine(o), class_of_all());
	forget(o, 1);
}

struct last {
	struct bufpool_objects *pool;
	size_t count;
};

static void destruct_last(void *ctx, void *obj)
{
	struct last *l = ctx;
	destruct(l->pool, obj, BUFPOOL_OBJECTS_DESTROYED);
	l->count++;
}

/* Nobody is in the engine any more, and nobody will be. */
static void finish(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	struct last l = { o, 0 };
	if (engine != NULL) {
		uint64_t objects = atomic_load_explicit(&o->alive, memory_order_acquire) / ONE - 1;
		bool in_hands = bp_bare_cached(engine, class_of_all()) != objects;
		bp_bare_empty(engine, class_of_all(), in_hands, destruct_last, &l);
	}
	forget(o, l.count + 1);
}

/* ---- visits ---- */

static uint64_t count_of(uint64_t visits)
{
	return (uint32_t)visits & ~(uint32_t)FLAGS;
}

static uint64_t in_this_process(uint64_t visits)
{
	return visits >> 32 == bp_pools_forks ? visits : (uint64_t)bp_pools_forks << 32 | (visits & FLAGS);
}

static void leave(struct bufpool_objects *o, uint32_t visit)
{
	if (visit != bp_pools_forks)
		return;
	uint64_t now = atomic_load_explicit(&o->visits, memory_order_relaxed), then;
	bool last;
	do {
		then = now - ONE_VISIT;
		last = count_of(then) == 0 && (now & FLAGS) == ENDING;
		if (last)
			then |= FINISHED;
		/* Releases what this visit did, and acquires what the others did. */
	} while (!atomic_compare_exchange_weak_explicit(&o->visits, &now, then, memory_order_acq_rel, memory_order_relaxed));
	if (last)
		finish(o);
}

/* false: the pool is ending, and this is no visit. */
static bool enter(struct bufpool_objects *o, uint32_t *visit)
{
	uint64_t now = atomic_load_explicit(&o->visits, memory_order_relaxed);
	do {
		if (now & ENDING)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&o->visits, &now, in_this_process(now) + ONE_VISIT,
							memory_order_acquire, memory_order_relaxed));
	*visit = bp_pools_forks;
	return true;
}

/* ---- the engine's side ---- */

static void drop(struct bp_pool *engine, void *const *objects, size_t count, enum bp_why why)
{
	struct bufpool_objects *o = engine->owner;
	for (size_t i = 0; i < count; i++)
		destruct(o, objects[i], why == BP_WHY_EPOCH ? BUFPOOL_OBJECTS_UNUSED : BUFPOOL_OBJECTS_BUDGET);
	forget(o, count);
}

/* An instance that lost the race in start_engine is nobody's, and must not keep its owner alive. */
static bool hold(struct bp_pool *engine, uint32_t *visit)
{
	struct bufpool_objects *o = engine->owner;
	return bp_objects_engine(o) == engine && enter(o, visit);
}

static void let_go(struct bp_pool *engine, uint32_t visit)
{
	leave(engine->owner, visit);
}

static const struct bp_bare bare = { drop, hold, let_go };

/* Two threads may be at it at once: the second one's instance goes again. */
static struct bp_pool *start_engine(struct bufpool_objects *o)
{
	struct bp_pool *fresh, *engine = NULL;
	if (bp_pools_create_bare(&fresh, class_of_all() + 1, &bare, o) != 0)
		return NULL;
	/* Release: who finds it finds it ready. */
	if (!atomic_compare_exchange_strong_explicit(&o->engine, &engine, fresh, memory_order_acq_rel, memory_order_acquire)) {
		bp_pools_destroy(fresh);
		return engine;
	}
	uint64_t before = atomic_fetch_or_explicit(&o->alive, ADOPTED, memory_order_acq_rel);
	bp_bare_adopt(fresh, class_of_all(), before / ONE - 1);
	if (!bp_watch.on)
		atomic_store_explicit(&o->hits, &fresh->slabs, memory_order_release);
	return fresh;
}

/* Where objects go that are to be kept; NULL: nothing is kept. */
static struct bp_pool *keeper(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	if (atomic_load_explicit(&bp_default_pool.passing, memory_order_relaxed))
		return NULL;
	return engine != NULL ? engine : start_engine(o);
}

/* ---- slow paths ---- */

#define SLOW __attribute__((noinline, cold))

/* One more exists. */
static void count_new(struct bufpool_objects *o)
{
	/* Acquire: who sees that the engine counts sees the engine. */
	if (atomic_fetch_add_explicit(&o->alive, ONE, memory_order_acquire) & ADOPTED)
		bp_bare_adopt(bp_objects_engine(o), class_of_all(), 1);
}

static void *construct(struct bufpool_objects *o)
{
	int saved = errno;
	errno = 0;
	void *obj = o->construct(o->ctx);
	if (obj != NULL) {
		count_new(o);
		errno = saved;
		return obj;
	}
	int failed = errno == 0 ? ENOMEM : errno;
	struct bp_pool *engine = bp_objects_engine(o);
	if (engine != NULL)
		obj = bp_bare_acquire_anywhere(engine, class_of_all());
	errno = obj == NULL ? failed : saved;
	return obj;
}

static void *cached(struct bufpool_objects *o)
{
	struct bp_pool *engine = bp_objects_engine(o);
	int saved = errno;
	void *obj = engine == NULL ? NULL : bp_pool_acquire_cached(engine, class_of_all());
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
	if (!enter(o, &visit)) {
		bp_misuse_report(&bp_default_pool, BP_MISUSE_POOL, o, 0, true);
		errno = EINVAL;
		return NULL;
	}
	void *obj = cached(o);
	if (obj == NULL && make)
		obj = construct(o);
	if (obj != NULL)
		note(obj);
	leave(o, visit);
	return obj;
}

/* It was out and goes now. */
static void discard(struct bufpool_objects *o, void *obj, int reason)
{
	if (bp_unlikely(bp_watch.leaks))
		bp_leaks_forget(obj);
	destruct(o, obj, reason);
	forget_one_out(o);
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
	if (!bp_watch.on || !bp_rseq_push(engine->slabs.base, class_of_all(), obj))
		bp_pool_release_full(engine, obj, class_of_all() + 1);
}

static SLOW void release_slow(struct bufpool_objects *o, void *obj)
{
	int saved = errno;
	uint32_t visit;
	if (enter(o, &visit)) {
		struct bp_pool *engine = bp_watch.strict && bp_watch_drops() ? NULL : keeper(o);
		if (engine != NULL)
			keep_slowly(engine, obj);
		else
			discard(o, obj, BUFPOOL_OBJECTS_PASSED);
		leave(o, visit);
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
	atomic_init(&o->hits, NULL);
	atomic_init(&o->engine, NULL);
	atomic_init(&o->visits, (uint64_t)bp_pools_forks << 32);
	atomic_init(&o->alive, ONE);
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
	    bp_seat_pop(&obj, s->base, class_of_all()))
		return obj;
	return acquire_slow(o, make);
}

static inline __attribute__((always_inline)) void *acquire(struct bufpool_objects *o, bool make)
{
	struct bp_slabs *s = atomic_load_explicit(&o->hits, memory_order_acquire);
	void *obj = bp_percpu_nothing;
	if (bp_likely(s != NULL))
		obj = bp_rseq_pop(s->base, class_of_all());
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
	    bp_unlikely(!bp_rseq_push(s->base, class_of_all(), obj)))
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
	uint32_t visit;
	if (o == NULL)
		return;
	if (enter(o, &visit)) {
		atomic_store_explicit(&o->hits, NULL, memory_order_relaxed);
		atomic_fetch_or_explicit(&o->visits, ENDING, memory_order_relaxed);
		leave(o, visit);
	} else {
		bp_misuse_report(&bp_default_pool, BP_MISUSE_POOL, o, 0, true);
	}
	errno = saved;
}
