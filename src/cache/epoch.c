/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Epochs, after Go's sync.Pool: at a boundary the victim's blocks become due and the shared level becomes the victim, so
 * that what lies unused for one epoch costs nothing, and for two it is gone. The roles of the levels rotate (level.h); the
 * boundary waits for the queue to have run empty, because the queue becomes the next shared level.
 *
 * The CPUs' stacks follow on their own. `cpu.epoch` is the boundary at which a CPU last retired its stacks:
 *   - its own next slow path retires them to the victim (hits lead there, see the count of pops in percpu.h);
 *   - a CPU that has missed a whole epoch stands still. Whoever polls takes its blocks away: they have been unused since
 *     the boundary before the last one, so they are due, not victims.
 * A thread that migrates while it retires stops there and puts cpu.epoch back, for the next one to go on.
 */
#include "cache/epoch.h"

#include "cache/control.h"
#include "cache/giveback.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "sys/backend.h"

static struct bp_cpu *cpu_of(struct bp_pool *pool, int cpu)
{
	return &bp_slab_of(pool->slabs, cpu)->cpu;
}

/* Where blocks belong that a CPU has held since the boundary `seen`. */
static struct bp_level *level_after(struct bp_pool *pool, uint32_t seen, uint32_t epoch)
{
	return epoch - seen >= 2 ? bp_pool_queue(pool, epoch) : bp_pool_victim(pool, epoch);
}

/* ---- this CPU ---- */

/* A class that was never pressed since the last time gives up the room that it was given. */
static void shrink_room(struct bp_pool *pool, struct bp_cpu *c, int cpu, unsigned class)
{
	struct bp_cpu_class *k = &c->classes[class];
	if (atomic_exchange_explicit(&k->pressed, BP_PRESS_NONE, memory_order_relaxed) != BP_PRESS_NONE)
		return;
	unsigned now = atomic_load_explicit(&k->capacity, memory_order_relaxed), first = bp_policy_least_capacity(class);
	if (now <= first)
		return;
	bp_percpu_resize(pool->slabs, cpu, class, first);
	uint64_t less = (now - first) * bp_class_size(class);
	uint64_t bytes = atomic_load_explicit(&c->capacity_bytes, memory_order_relaxed);
	/* Two threads may have shrunk the same room: a hint that never goes below zero. */
	while (!atomic_compare_exchange_weak_explicit(&c->capacity_bytes, &bytes, bytes > less ? bytes - less : 0,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

/* false: this thread is no longer on that CPU. Not inline: only here is that much of its stack needed. */
static __attribute__((noinline)) bool retire_class(struct bp_pool *pool, int cpu, unsigned class, struct bp_level *to)
{
	void *blocks[BP_MAGAZINE_SLOTS];
	while (bp_percpu_count(pool->slabs, cpu, class) > 0) {
		size_t n = bp_percpu_pop_batch(blocks, BP_MAGAZINE_SLOTS, pool->slabs, cpu, class);
		if (n == 0)
			return false;
		atomic_fetch_add_explicit(&pool->counts[class].cpu_out, n, memory_order_relaxed);
		bp_row_turn_round(blocks, n); /* as in flush (release.c) */
		bp_pool_put_blocks(pool, to, class, blocks, n);
	}
	return true;
}

static void retire(struct bp_pool *pool, int cpu)
{
	struct bp_cpu *c = cpu_of(pool, cpu);
	uint32_t epoch = bp_pool_epoch(pool), seen = atomic_load_explicit(&c->epoch, memory_order_relaxed);
	if (seen == epoch || !atomic_compare_exchange_strong_explicit(&c->epoch, &seen, epoch, memory_order_relaxed,
								      memory_order_relaxed))
		return;
	for (unsigned class = 0; class < pool->classes; class++) {
		if (atomic_load_explicit(&c->classes[class].opened, memory_order_relaxed) == 0)
			continue;
		if (!retire_class(pool, cpu, class, level_after(pool, seen, epoch))) {
			/* Unless another one has been through since. */
			atomic_compare_exchange_strong_explicit(&c->epoch, &epoch, seen, memory_order_relaxed,
								memory_order_relaxed);
			return;
		}
		shrink_room(pool, c, cpu, class);
	}
}

/* ---- other CPUs ---- */

struct destination {
	struct bp_pool *pool;
	struct bp_level *level;
	size_t gone; /* bytes that went back at once, for want of magazines */
};

static void collect(void *ctx, unsigned class, void **blocks, size_t count)
{
	struct destination *d = ctx;
	atomic_fetch_add_explicit(&d->pool->counts[class].cpu_out, count, memory_order_relaxed);
	d->gone += bp_pool_put_blocks(d->pool, d->level, class, blocks, count);
}

static void drain(struct bp_pool *pool, unsigned cpu, uint32_t least_age)
{
	struct bp_cpu *c = cpu_of(pool, (int)cpu);
	if (atomic_load_explicit(&c->state, memory_order_acquire) != BP_CPU_READY)
		return;
	uint32_t epoch = bp_pool_epoch(pool), seen = atomic_load_explicit(&c->epoch, memory_order_relaxed);
	if (epoch - seen < least_age || epoch == seen)
		return;
	struct destination d = { pool, level_after(pool, seen, epoch), 0 };
	if (bp_percpu_take(pool->slabs, (int)cpu, 0, pool->classes - 1, collect, &d))
		atomic_compare_exchange_strong_explicit(&c->epoch, &seen, epoch, memory_order_relaxed,
							memory_order_relaxed);
}

/* A few CPUs at a time. */
static void drain_some(struct bp_pool *pool)
{
	uint32_t done = atomic_load_explicit(&pool->drained, memory_order_relaxed);
	if (done >= pool->slabs.cpus)
		return;
	uint32_t end = done + BP_DRAIN_STEP < pool->slabs.cpus ? done + BP_DRAIN_STEP : pool->slabs.cpus;
	if (!atomic_compare_exchange_strong_explicit(&pool->drained, &done, end, memory_order_relaxed,
						     memory_order_relaxed))
		return;
	for (; done < end; done++)
		drain(pool, done, 2);
}

/* ---- the boundary ---- */

static bool rotate(struct bp_pool *pool)
{
	uint32_t epoch = bp_pool_epoch(pool);
	if (!bp_level_is_empty(bp_pool_queue(pool, epoch)) ||
	    !atomic_compare_exchange_strong_explicit(&pool->epoch, &epoch, epoch + 1, memory_order_relaxed,
						     memory_order_relaxed))
		return false;
	int64_t outside = atomic_load_explicit(&pool->outside, memory_order_relaxed);
	atomic_store_explicit(&pool->last_peak, atomic_exchange_explicit(&pool->peak, outside, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&pool->drained, 0, memory_order_relaxed);
	if (pool == &bp_default_pool)
		atomic_store_explicit(&pool->decay_due, true, memory_order_relaxed);
	else
		bp_giveback_large_due(pool);
	return true;
}

static uint64_t epoch_ms(void)
{
	return atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed);
}

/* Only one thread wins each deadline. */
static bool is_due(struct bp_pool *pool, uint64_t now)
{
	uint64_t deadline = atomic_load_explicit(&pool->deadline, memory_order_relaxed);
	return now >= deadline && atomic_compare_exchange_strong_explicit(&pool->deadline, &deadline, now + epoch_ms(),
									  memory_order_relaxed, memory_order_relaxed);
}

void bp_epoch_restart(struct bp_pool *pool)
{
	atomic_store_explicit(&pool->deadline, bp_os_now_ms() + epoch_ms(), memory_order_relaxed);
}

static void end_epoch_if_due(struct bp_pool *pool, uint64_t now)
{
	if (!is_due(pool, now))
		return;
	if (!rotate(pool))
		atomic_store_explicit(&pool->deadline, now, memory_order_relaxed); /* the queue first, then again */
	bp_pools_poll(pool, now, epoch_ms());
}

/* ---- polls ---- */

static void recount(struct bp_pool *pool, int cpu, unsigned class, uint64_t now)
{
	struct bp_cpu_class *k = &cpu_of(pool, cpu)->classes[class];
	uint32_t last = atomic_exchange_explicit(&k->last_tick, (uint32_t)now, memory_order_relaxed);
	uint32_t seen = bp_percpu_pops(pool->slabs, cpu, class), pops;
	/* The first look has none before it; another thread's may be a moment younger than `now`. */
	uint32_t elapsed = last == 0 || (int32_t)((uint32_t)now - last) < 0 ? 0 : (uint32_t)now - last;
	uint32_t interval = bp_policy_interval(seen, elapsed, (uint32_t)epoch_ms(), bp_giveback_is_due(pool));
	if (bp_percpu_recount(&pops, pool->slabs, cpu, class, interval))
		atomic_fetch_add_explicit(&pool->counts[class].pops_folded, (uint64_t)(int64_t)(int32_t)pops,
					  memory_order_relaxed);
}

void bp_epoch_poll(struct bp_pool *pool, int cpu, unsigned class)
{
	if (bp_control_is_asked())
		bp_control_serve(&bp_default_pool);
	uint64_t now = bp_os_now_ms();
	if (cpu >= 0 && bp_percpu_ticked(pool->slabs, cpu, class))
		recount(pool, cpu, class, now);
	end_epoch_if_due(pool, now);
	if (cpu >= 0)
		retire(pool, cpu);
	drain_some(pool);
	/* Where a thread is inside jemalloc, and may have been stopped there, only who goes there anyway gives back. */
	if (bp_giveback_is_due(pool) && !bp_backend_entered())
		bp_giveback_some(pool);
}

static int own_cpu(struct bp_pool *pool)
{
	return bp_percpu_enter(pool->slabs, bp_pool_epoch(pool));
}

void bp_epoch_advance(struct bp_pool *pool)
{
	bp_giveback_all(pool);
	bp_epoch_restart(pool);
	rotate(pool);
	int cpu = own_cpu(pool);
	if (cpu >= 0)
		retire(pool, cpu);
	for (unsigned other = 0; other < pool->slabs.cpus; other++)
		drain(pool, other, 1);
	bp_giveback_all(pool);
}

static bool anything_cached(struct bp_pool *pool)
{
	for (unsigned i = 0; i < 3; i++)
		if (!bp_level_is_empty(&pool->levels[i]))
			return true;
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		for (unsigned class = 0; class < pool->classes; class++)
			if (bp_percpu_count(pool->slabs, (int)cpu, class) > 0)
				return true;
	return false;
}

int bp_epoch_tick(struct bp_pool *pool)
{
	uint32_t epoch = bp_pool_epoch(pool);
	bp_epoch_poll(pool, own_cpu(pool), 0);
	/* Whoever calls this may wait. */
	if (pool == &bp_default_pool && bp_pool_epoch(pool) != epoch)
		bp_backend_decay_all();
	if (bp_giveback_is_due(pool))
		bp_giveback_some(pool);
	if (bp_giveback_is_due(pool) || atomic_load_explicit(&pool->drained, memory_order_relaxed) < pool->slabs.cpus)
		return 0;
	if (!anything_cached(pool))
		return -1;
	uint64_t now = bp_os_now_ms(), deadline = atomic_load_explicit(&pool->deadline, memory_order_relaxed);
	return deadline <= now ? 0 : (int)(deadline - now);
}

/* ---- trim ---- */

/* Moves magazines from a level to the queue until `excess` bytes have gone that way. */
static uint64_t queue_excess(struct bp_pool *pool, struct bp_level *from, uint64_t excess)
{
	uint64_t moved = 0;
	for (unsigned class = pool->classes; class-- > 0;) {
		uint32_t magazine;
		while (moved < excess && (magazine = bp_pool_take(pool, from, class)) != 0) {
			moved += bp_magazine_count(magazine) * bp_class_size(class);
			bp_pool_put(pool, &pool->over, class, magazine);
		}
	}
	return moved;
}

size_t bp_epoch_trim(struct bp_pool *pool, size_t keep)
{
	uint32_t epoch = bp_pool_epoch(pool);
	struct bp_level *shared = bp_pool_shared(pool, epoch), *victim = bp_pool_victim(pool, epoch);
	uint64_t queued = bp_level_bytes(&pool->over) + bp_level_bytes(bp_pool_queue(pool, epoch));
	struct destination d = { pool, shared, 0 };
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		bp_percpu_take(pool->slabs, (int)cpu, 0, pool->classes - 1, collect, &d);
	uint64_t cached = bp_level_bytes(shared) + bp_level_bytes(victim);
	uint64_t excess = cached > keep ? cached - keep : 0;
	uint64_t moved = queue_excess(pool, victim, excess);
	if (moved < excess)
		moved += queue_excess(pool, shared, excess - moved);
	bp_giveback_all(pool);
	return moved + queued + d.gone;
}
