/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The misses: what acquire does when this CPU's stack has nothing. Order: the stack again (a count of pops that ran out,
 * another CPU by now), the shared level, the victim, for large classes another CPU, jemalloc.
 *
 * Invariant: a block that leaves here has no mark. Blocks from the stacks and levels must carry one, fresh blocks get
 * theirs cleared (jemalloc may return a block that went back with its mark on).
 */
#include <errno.h>
#include <string.h>

#include "cache/acquire.h"
#include "cache/epoch.h"
#include "cache/fill.h"
#include "cache/giveback.h"
#include "cache/misuse.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/release.h"
#include "cache/watch.h"
#include "sys/backend.h"
#include "sys/bump.h"
#include "sys/pass.h"

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* Who goes to jemalloc, and may wait there anyway, does what polls left undone because another thread was in it. */
static void give_back(struct bp_pool *pool)
{
	if (bp_unlikely(bp_giveback_is_due(pool)))
		bp_giveback_some(pool);
}

/* A shared counter would cost a pass more than the rest of it: each thread adds its own in rows of BP_PASS_ROW, and looks
 * at the clock then. */
static void end_row(struct bp_pool *pool)
{
	add(&pool->passed, bp_thread.passed);
	bp_thread.passed = 0;
	if (atomic_load_explicit(&pool->state, memory_order_acquire) != BP_POOL_READY)
		return;
	uint32_t epoch = bp_pool_epoch(pool);
	bp_epoch_poll(pool, bp_percpu_enter(pool->slabs, epoch), 0);
	if (bp_pool_epoch(pool) != epoch)
		bp_backend_decay_all();
	give_back(pool);
}

static void count_pass(struct bp_pool *pool)
{
	if (bp_unlikely(++bp_thread.passed >= BP_PASS_ROW))
		end_row(pool);
}

static void *straight(size_t n, bool zero)
{
	return zero ? bp_pass_calloc(n) : bp_pass_malloc(n);
}

/* Where jemalloc has nothing, it may still have free pages that do not lie together: purged ones it joins. Or the pool has
 * them, in its range, and jemalloc's own arenas can get no more. */
static void *pass(struct bp_pool *pool, size_t n, bool zero)
{
	if (!atomic_load_explicit(&bp_range.incomplete, memory_order_relaxed))
		atomic_store_explicit(&bp_range.incomplete, true, memory_order_relaxed);
	void *p = straight(n, zero);
	if (p == NULL && n <= BP_PURGE_FOR) {
		bp_backend_trim();
		p = straight(n, zero);
	}
	bool opened = atomic_load_explicit(&pool->opened, memory_order_acquire) == BP_CACHES_OPEN;
	if (p == NULL && opened && pool->usable && n <= pool->cap)
		return bp_fill_one(pool, -1, bp_class_of(n), zero);
	if (p == NULL)
		return out_of_memory();
	count_pass(pool);
	return p;
}

void *bp_pool_pass_aligned(struct bp_pool *pool, size_t alignment, size_t n, bool zero)
{
	count_pass(pool);
	atomic_store_explicit(&bp_range.incomplete, true, memory_order_relaxed);
	void *p = bp_pass_aligned(alignment, n);
	if (p == NULL && n <= BP_PURGE_FOR) {
		bp_backend_trim();
		p = bp_pass_aligned(alignment, n);
	}
	if (p != NULL && zero)
		memset(p, 0, n);
	return p == NULL ? out_of_memory() : p;
}

/* May what a cache gave be handed out? */
static bool is_sound(struct bp_pool *pool, unsigned class, void *p)
{
	if (bp_unlikely(pool->bare == NULL && !bp_pool_unmark(p)))
		return bp_misuse_unchecked();
	return bp_likely(!bp_watch.strict) || pool->bare != NULL || bp_watch_is_poison(p, class);
}

/* A block that its program wrote to after its release, or that two threads released at once, is never used again. */
static void set_aside(struct bp_pool *pool, unsigned class, void *p)
{
	add(&pool->counts[class].set_aside, 1);
	bool strict = atomic_load_explicit(&bp_options.check, memory_order_relaxed) >= BP_CHECK_ON;
	bp_misuse_report(pool, BP_MISUSE_WRITE, p, bp_class_size(class), strict || !bp_misuse_lenient);
}

/* Keeps the rest of a magazine on this CPU, as much as fits; what doesn't goes back to its level. */
static void keep_rest(struct bp_pool *pool, struct bp_level *from, int cpu, unsigned class, uint32_t magazine)
{
	uint32_t n = bp_magazine_count(magazine);
	void **slots = bp_magazine_slots(magazine);
	size_t put = 0;
	/* First: what is on a stack, and may be somebody's next, must not be found in a magazine by the child of a fork. */
	bp_magazine_set_count(magazine, 0);
	if (cpu >= 0)
		put = bp_percpu_push_batch(pool->slabs, cpu, class, slots, n);
	add(&pool->counts[class].cpu_in, put);
	if (put == n) {
		bp_magazine_free(magazine);
		return;
	}
	memmove(slots, slots + put, (n - put) * sizeof(*slots));
	bp_magazine_set_count(magazine, n - (uint32_t)put);
	bp_pool_put(pool, from, class, magazine);
}

/* One block from a level. NULL: nothing there. */
static void *from_level(struct bp_pool *pool, struct bp_level *l, _Atomic uint64_t *counter, int cpu, unsigned class)
{
	uint32_t magazine;
	while ((magazine = bp_pool_take(pool, l, class)) != 0) {
		if (bp_unlikely(bp_watch.strict) && pool->bare == NULL && !bp_watch_draws(magazine)) {
			bp_pool_put(pool, l, class, magazine);
			return NULL;
		}
		uint32_t n = bp_magazine_count(magazine) - 1;
		void *p = bp_magazine_slots(magazine)[n];
		bp_magazine_set_count(magazine, n);
		keep_rest(pool, l, cpu, class, magazine);
		add(counter, 1);
		if (is_sound(pool, class, p))
			return p;
		set_aside(pool, class, p);
	}
	return NULL;
}

/* ---- stealing ---- */

struct loot {
	struct bp_pool *pool;
	void *block;
};

/* Takes one for itself; the rest goes to the shared level. */
static void share_loot(void *ctx, unsigned class, void **blocks, size_t count)
{
	struct loot *loot = ctx;
	add(&loot->pool->counts[class].cpu_out, count);
	loot->block = blocks[--count];
	bp_pool_put_blocks(loot->pool, bp_pool_shared(loot->pool, bp_pool_epoch(loot->pool)), class, blocks, count);
}

/* From the first other CPU that has some. Not too often: each time costs that CPU an interrupt. */
static void *steal(struct bp_pool *pool, int cpu, unsigned class)
{
	uint64_t now = bp_os_now_ns(), last = atomic_load_explicit(&pool->last_steal, memory_order_relaxed);
	if (now - last < BP_STEAL_PAUSE_NS ||
	    !atomic_compare_exchange_strong_explicit(&pool->last_steal, &last, now, memory_order_relaxed, memory_order_relaxed))
		return NULL;
	for (unsigned i = 1; i < pool->slabs.cpus && i <= BP_STEAL_STEP; i++) {
		int other = (int)(((unsigned)cpu + i) % pool->slabs.cpus);
		struct loot loot = { pool, NULL };
		if (bp_percpu_count(pool->slabs, other, class) == 0)
			continue;
		bp_percpu_take(pool->slabs, other, class, class, share_loot, &loot);
		if (loot.block == NULL)
			continue;
		add(&pool->counts[class].from_steal, 1);
		if (is_sound(pool, class, loot.block))
			return loot.block;
		set_aside(pool, class, loot.block);
	}
	return NULL;
}

/* ---- the entries ---- */

/* This CPU's stack once more: its count of pops had run out, or this is the portable mode, or the thread has moved. */
static void *from_cpu(struct bp_pool *pool, int cpu, unsigned class)
{
	void *p;
	while (cpu >= 0 && (p = bp_percpu_pop(pool->slabs, cpu, class)) != NULL) {
		if (is_sound(pool, class, p))
			return p;
		set_aside(pool, class, p);
	}
	return NULL;
}

static void *from_cache(struct bp_pool *pool, int cpu, unsigned class)
{
	struct bp_counts *c = &pool->counts[class];
	uint32_t epoch = bp_pool_epoch(pool);
	void *p = from_cpu(pool, cpu, class);
	if (p != NULL)
		return p;
	bp_pool_pressed(pool, cpu, class, BP_PRESS_UNDERFLOW);
	p = from_level(pool, bp_pool_shared(pool, epoch), &c->from_shared, cpu, class);
	if (p == NULL)
		p = from_level(pool, bp_pool_victim(pool, epoch), &c->from_victim, cpu, class);
	if (p == NULL && cpu >= 0 && (pool->bare != NULL || bp_policy_steals(class)))
		p = steal(pool, cpu, class);
	return p;
}

static void *cached(struct bp_pool *pool, int cpu, unsigned class)
{
	void *p = bp_percpu_mode() == BP_PERCPU_RSEQ ? NULL : from_cpu(pool, cpu, class);
	if (p == NULL) {
		bp_epoch_poll(pool, cpu, class);
		p = from_cache(pool, cpu, class);
	}
	if (p == NULL)
		give_back(pool);
	return p;
}

static void *miss(struct bp_pool *pool, int cpu, unsigned class, bool zero)
{
	void *p = cached(pool, cpu, class);
	if (p == NULL)
		return bp_fill_one(pool, cpu, class, zero);
	if (zero)
		memset(p, 0, bp_class_size(class));
	return p;
}

void *bp_pool_acquire_miss(struct bp_pool *pool, unsigned class, bool zero)
{
	if (!bp_pool_start(pool) || class < pool->first_class || class >= pool->classes ||
	    atomic_load_explicit(&pool->passing, memory_order_relaxed))
		return bp_pool_acquire_other(pool, bp_class_size(class), zero);
	return miss(pool, bp_percpu_enter(pool->slabs, bp_pool_epoch(pool)), class, zero);
}

void *bp_pool_acquire_cached(struct bp_pool *pool, unsigned class)
{
	return cached(pool, bp_percpu_enter(pool->slabs, bp_pool_epoch(pool)), class);
}

void *bp_pool_acquire_unmarked(struct bp_pool *pool, unsigned class, void *p, bool zero)
{
	if (p != bp_percpu_nothing) {
		if (bp_misuse_unchecked())
			return zero ? memset(p, 0, bp_class_size(class)) : p;
		set_aside(pool, class, p);
	}
	return bp_pool_acquire_miss(pool, class, zero);
}

/* From what is cached. NULL: there is nothing, or an unsound block was there. */
static void *one_cached(struct bp_pool *pool, unsigned class)
{
	void *p = bp_rseq_pop(pool->slabs.base, class);
	if (p == bp_percpu_nothing)
		return bp_pool_acquire_cached(pool, class);
	if (is_sound(pool, class, p))
		return p;
	set_aside(pool, class, p);
	return NULL;
}

/* A program that wants alignment once wants it always: what it releases is aligned, and found again at once. */
static void *aligned_cached(struct bp_pool *pool, unsigned class, size_t alignment)
{
	void *others[BP_ALIGNED_TRIES], *p;
	unsigned n = 0;
	while ((p = one_cached(pool, class)) != NULL && ((uintptr_t)p & (alignment - 1)) != 0) {
		others[n++] = p;
		p = NULL;
		if (n == BP_ALIGNED_TRIES)
			break;
	}
	while (n > 0)
		bp_pool_release(pool, others[--n]);
	return p;
}

void *bp_pool_acquire_aligned(struct bp_pool *pool, unsigned class, size_t alignment, bool zero)
{
	void *p = bp_watch.on ? NULL : aligned_cached(pool, class, alignment);
	if (p != NULL)
		return zero ? memset(p, 0, bp_class_size(class)) : p;
	return bp_fill_aligned(pool, class, zero);
}

void *bp_pool_acquire_large(struct bp_pool *pool, size_t n, size_t alignment, bool zero)
{
	bp_epoch_poll(pool, -1, 0);
	give_back(pool);
	return bp_fill_large(pool, n, alignment, zero);
}

static void *acquire_unwatched(struct bp_pool *pool, size_t n, bool zero)
{
	bool started = bp_pool_start(pool);
	if (!started && bp_bump_serves())
		return bp_bump_new(1, n);
	bool passing = !started || atomic_load_explicit(&pool->passing, memory_order_relaxed);
	if (passing && !pool->heap.whole)
		return pass(pool, n, zero);
	if (n > pool->cap)
		return bp_pool_acquire_large(pool, n, 1, zero);
	unsigned class = bp_class_of(n);
	if (passing)
		return bp_fill_one(pool, -1, class, zero);
	return class < pool->first_class ? pass(pool, n, zero) : bp_pool_acquire_miss(pool, class, zero);
}

static __attribute__((noinline, cold)) void *acquire_unpassed(struct bp_pool *pool, size_t n, bool zero)
{
	return bp_watch_out(pool, acquire_unwatched(pool, n, zero), n, zero);
}

/* In the middle of a row. */
static inline __attribute__((always_inline)) void *pass_quickly(struct bp_pool *pool, size_t n)
{
	void *p = bp_pass_malloc(n);
	if (bp_unlikely(p == NULL))
		return pass(pool, n, false);
	bp_thread.passed++;
	return p;
}

/* Where a class or everything passes through, this is its hit path: what it has to do beside jemalloc's malloc is a
 * compare and a count. */
static __attribute__((noinline)) void *pass_or_miss(struct bp_pool *pool, size_t n, bool zero)
{
	if (n >= atomic_load_explicit(&pool->pass, memory_order_relaxed) || zero || bp_thread.passed + 1 >= BP_PASS_ROW)
		return acquire_unpassed(pool, n, zero);
	return pass_quickly(pool, n);
}

void *bp_pool_acquire_other(struct bp_pool *pool, size_t n, bool zero)
{
	if (n < atomic_load_explicit(&pool->seat_small, memory_order_relaxed))
		return bp_pool_acquire_seated(pool, bp_class_fine(n), n, zero);
	if (n > BP_CLASS_LOOKUP_MAX && n <= atomic_load_explicit(&pool->seat_limit, memory_order_relaxed))
		return bp_pool_acquire_seated(pool, bp_class_coarse(n), n, zero);
	return pass_or_miss(pool, n, zero);
}

static __attribute__((noinline)) void *miss_on_seat(struct bp_pool *pool, unsigned class, size_t n, bool zero)
{
	int cpu = bp_percpu_enter(pool->slabs, bp_pool_epoch(pool));
	/* Nor does anything pass in the child of a vfork, whose sandbox may not know what a first pass asks the kernel. */
	if (!bp_seat_is(cpu) && n < pool->unseated && bp_thread.rseq != &bp_rseq_vfork)
		return pass(pool, n, zero);
	return miss(pool, cpu, class, zero);
}

void *bp_pool_acquire_unseated(struct bp_pool *pool, unsigned class, size_t n, bool zero)
{
	/* Nothing passes unnoticed: releases must know before that not all blocks are in the range. */
	if (bp_thread.rseq != &bp_rseq_none || n >= pool->unseated || zero || bp_thread.passed + 1 >= BP_PASS_ROW ||
	    bp_unlikely(!atomic_load_explicit(&bp_range.incomplete, memory_order_relaxed)))
		return miss_on_seat(pool, class, n, zero);
	return pass_quickly(pool, n);
}
