/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See bare.h. What is unusual: emptying looks into the stacks' slots from outside. Nobody pops there any more; pushes are
 * shut out first, unless all items are known to be cached: then there is none that could be pushed, and no CPU has to
 * be stopped.
 */
#include "cache/bare.h"

#include <sched.h>

#include "cache/release.h"

enum { LEVELS = 4, CLOSE_TRIES = 100 /* a CPU's lock, in the portable mode, is held for a few instructions */ };

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static struct bp_level *level_of(struct bp_pool *pool, unsigned i)
{
	return i < LEVELS - 1 ? &pool->levels[i] : &pool->over;
}

void bp_bare_adopt(struct bp_pool *pool, unsigned class, size_t count)
{
	add(&pool->counts[class].created, count);
	add(&pool->counts[class].from_fill, count);
	bp_pool_outside(pool, (int64_t)(count * bp_class_size(class)));
}

void bp_bare_disown(struct bp_pool *pool, unsigned class)
{
	add(&pool->counts[class].released, 1);
	add(&pool->counts[class].dropped_budget, 1);
	bp_pool_outside(pool, -(int64_t)bp_class_size(class));
}

static void to_shared(void *ctx, unsigned class, void **items, size_t count)
{
	struct bp_pool *pool = ctx;
	add(&pool->counts[class].cpu_out, count);
	bp_pool_put_blocks(pool, bp_pool_shared(pool, bp_pool_epoch(pool)), class, items, count);
}

static void *one_of(struct bp_pool *pool, struct bp_level *l, unsigned class)
{
	uint32_t magazine = bp_pool_take(pool, l, class);
	if (magazine == 0)
		return NULL;
	uint32_t rest = bp_magazine_count(magazine) - 1;
	void *item = bp_magazine_slots(magazine)[rest];
	bp_magazine_set_count(magazine, rest);
	if (rest > 0)
		bp_pool_put(pool, l, class, magazine);
	else
		bp_magazine_free(magazine);
	add(&pool->counts[class].from_steal, 1);
	return item;
}

void *bp_bare_acquire_anywhere(struct bp_pool *pool, unsigned class)
{
	void *item = NULL;
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		if (bp_percpu_count(pool->slabs, (int)cpu, class) > 0)
			bp_percpu_take(pool->slabs, (int)cpu, class, class, to_shared, pool);
	for (unsigned i = 0; item == NULL && i < LEVELS; i++)
		item = one_of(pool, level_of(pool, i), class);
	return item;
}

uint64_t bp_bare_cached(struct bp_pool *pool, unsigned class)
{
	int64_t n = 0;
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		n += bp_percpu_count(pool->slabs, (int)cpu, class);
	for (unsigned i = 0; i < LEVELS; i++)
		n += atomic_load_explicit(&level_of(pool, i)->classes[class].blocks, memory_order_relaxed);
	return n < 0 ? 0 : (uint64_t)n;
}

/* Where a CPU can't be stopped (this thread is in a sandbox), what is being pushed there at this very moment is lost. */
static void close_stacks(struct bp_pool *pool, unsigned class)
{
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		for (int i = 0; i < CLOSE_TRIES && !bp_percpu_close(pool->slabs, (int)cpu, class); i++)
			sched_yield();
}

static void empty_level(struct bp_level *l, unsigned class, void (*each)(void *ctx, void *item), void *ctx)
{
	uint32_t magazine;
	while ((magazine = bp_level_take(l, class)) != 0) {
		uint32_t n = bp_magazine_count(magazine);
		bp_magazine_set_count(magazine, 0); /* first: see inherit.h */
		for (; n > 0; n--)
			each(ctx, bp_magazine_slots(magazine)[n - 1]);
		bp_magazine_free(magazine);
	}
}

void bp_bare_empty(struct bp_pool *pool, unsigned class, bool in_hands, void (*each)(void *ctx, void *item), void *ctx)
{
	void **slots;
	if (in_hands)
		close_stacks(pool, class);
	atomic_thread_fence(memory_order_acquire); /* pairs with the commits of pushes: what they count is there */
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++) {
		for (uint32_t n = bp_percpu_forget(&slots, pool->slabs, (int)cpu, class, UINT32_MAX); n > 0; n--)
			each(ctx, slots[n - 1]);
	}
	for (unsigned i = 0; i < LEVELS; i++)
		empty_level(level_of(pool, i), class, each, ctx);
}
