/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Release where this CPU's stack does not simply take the block, and the moves that the other slow paths share.
 *
 * Invariant: the way of a block within the cap waits for nobody. What may wait is what enters jemalloc: the release of a
 * block that is never kept, and the giving back that one thread at a time does on its slow path (giveback.c).
 */
#include "cache/release.h"

#include <errno.h>
#include <string.h>

#include "cache/account.h"
#include "cache/block.h"
#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/misuse.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/watch.h"
#include "sys/backend.h"
#include "sys/bump.h"
#include "sys/pass.h"

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- moves ---- */

void bp_pool_outside(struct bp_pool *pool, int64_t bytes)
{
	int64_t now = atomic_fetch_add_explicit(&pool->outside, bytes, memory_order_relaxed) + bytes;
	int64_t peak = atomic_load_explicit(&pool->peak, memory_order_relaxed);
	while (now > peak && !atomic_compare_exchange_weak_explicit(&pool->peak, &peak, now, memory_order_relaxed,
								    memory_order_relaxed))
		;
}

static int64_t bytes_in(uint32_t magazine, unsigned class)
{
	return (int64_t)(bp_magazine_count(magazine) * bp_class_size(class));
}

void bp_pool_put(struct bp_pool *pool, struct bp_level *l, unsigned class, uint32_t magazine)
{
	bp_pool_outside(pool, -bytes_in(magazine, class));
	bp_level_put(l, class, magazine);
}

uint32_t bp_pool_take(struct bp_pool *pool, struct bp_level *l, unsigned class)
{
	uint32_t magazine = bp_level_take(l, class);
	if (magazine != 0)
		bp_pool_outside(pool, bytes_in(magazine, class));
	return magazine;
}

size_t bp_pool_put_blocks(struct bp_pool *pool, struct bp_level *l, unsigned class, void *const *blocks, size_t count)
{
	size_t most = bp_policy_batch(class);
	while (count > 0) {
		size_t n = count < most ? count : most;
		uint32_t magazine = bp_magazine_new();
		if (magazine == 0) {
			bp_giveback_at_once(pool, class, blocks, count);
			return count * bp_class_size(class);
		}
		bp_magazine_fill(magazine, blocks, (uint32_t)n, bp_policy_sorts(class));
		bp_pool_put(pool, l, class, magazine);
		blocks += n;
		count -= n;
	}
	return 0;
}

void bp_pool_pressed(struct bp_pool *pool, int cpu, unsigned class, unsigned press)
{
	if (cpu < 0)
		return;
	struct bp_cpu *c = &bp_slab_of(pool->slabs, cpu)->cpu;
	struct bp_cpu_class *k = &c->classes[class];
	uint64_t bytes = atomic_load_explicit(&c->capacity_bytes, memory_order_relaxed);
	uint64_t most = bp_policy_cpu_bytes(atomic_load_explicit(&bp_default_pool.memory_limit, memory_order_relaxed),
					    bp_percpu_processors(pool->slabs));
	if (atomic_load_explicit(&k->opened, memory_order_relaxed) == 0) {
		unsigned first = bp_policy_first_capacity(class, bytes, most);
		uint32_t none;
		if (bp_percpu_open(pool->slabs, cpu, class, first)) {
			add(&c->capacity_bytes, first * bp_class_size(class));
			/* A program that calls rarely is to be noticed as such soon. */
			if (bp_percpu_recount(&none, pool->slabs, cpu, class, BP_INTERVAL_FIRST))
				add(&pool->counts[class].pops_folded, (uint64_t)(int64_t)(int32_t)none);
		}
		return;
	}
	unsigned before = atomic_exchange_explicit(&k->pressed, (uint8_t)press, memory_order_relaxed);
	if (before == BP_PRESS_NONE || before == press)
		return;
	unsigned now = atomic_load_explicit(&k->capacity, memory_order_relaxed);
	unsigned grown = bp_policy_grown_capacity(class, now, bp_percpu_slots(class), bytes, most);
	if (grown > now) {
		bp_percpu_resize(pool->slabs, cpu, class, grown);
		add(&c->capacity_bytes, (grown - now) * bp_class_size(class));
	}
}

/* ---- a full stack ---- */

/* Shared, or where the budget forbids to keep more, the queue of what goes back. */
static struct bp_level *level_for(struct bp_pool *pool, uint64_t bytes)
{
	uint32_t epoch = bp_pool_epoch(pool);
	struct bp_level *shared = bp_pool_shared(pool, epoch);
	uint64_t cached = bp_level_bytes(shared) + bp_level_bytes(bp_pool_victim(pool, epoch));
	return cached + bytes <= bp_account_budget(pool) ? shared : &pool->over;
}

/* Half a stack and p leave as a magazine; inside jemalloc p alone, for without memory for one it is lost there. Not inline:
 * only here is that much of the thread's stack needed. */
static __attribute__((noinline)) void flush(struct bp_pool *pool, int cpu, unsigned class, void *p)
{
	void *blocks[BP_MAGAZINE_SLOTS];
	size_t n = 0;
	if (cpu >= 0 && !bp_backend_busy()) {
		_Atomic uint16_t *room = &bp_slab_of(pool->slabs, cpu)->cpu.classes[class].capacity;
		unsigned capacity = atomic_load_explicit(room, memory_order_relaxed);
		n = bp_percpu_pop_batch(blocks, bp_policy_flush(class, capacity), pool->slabs, cpu, class);
		add(&pool->counts[class].cpu_out, n);
		bp_row_turn_round(blocks, n); /* the last in are the first out again, from magazines as from stacks */
	}
	add(&pool->counts[class].released, 1);
	blocks[n++] = p;
	bp_pool_put_blocks(pool, level_for(pool, n * bp_class_size(class)), class, blocks, n);
}

static void release_large(struct bp_pool *pool, void *p)
{
	add(&pool->large_released, 1);
	bp_giveback_large(pool, p);
}

void bp_pool_release_for_good(struct bp_pool *pool, unsigned class, void *p)
{
	add(&pool->counts[class].released, 1);
	if (bp_backend_busy())
		bp_pool_put_blocks(pool, &pool->over, class, &p, 1);
	else
		bp_giveback_at_once(pool, class, &p, 1);
}

static void release_full(struct bp_pool *pool, void *p, unsigned tag)
{
	unsigned class = tag - 1;
	if (class >= pool->classes) {
		release_large(pool, p);
		return;
	}
	if (atomic_load_explicit(&pool->passing, memory_order_relaxed)) {
		bp_pool_release_for_good(pool, class, p);
		return;
	}
	int cpu = bp_percpu_enter(pool->slabs, bp_pool_epoch(pool));
	if (bp_percpu_mode() != BP_PERCPU_RSEQ && cpu >= 0 && bp_percpu_push(pool->slabs, cpu, class, p))
		return;
	bp_epoch_poll(pool, cpu, class);
	bp_pool_pressed(pool, cpu, class, BP_PRESS_OVERFLOW);
	if (cpu >= 0 && bp_percpu_push(pool->slabs, cpu, class, p))
		return;
	flush(pool, cpu, class, p);
}

static __attribute__((noinline, cold)) void release_slowly(struct bp_pool *pool, void *p, unsigned tag)
{
	int saved = errno;
	release_full(pool, p, tag);
	errno = saved;
}

/* In the portable mode also the way of a block that would be a hit: another pool's, or one whose class was said. */
void bp_pool_release_full(struct bp_pool *pool, void *p, unsigned tag)
{
	if (atomic_load_explicit(&pool->seat_limit, memory_order_relaxed) == 0 ||
	    !bp_seat_push(pool->slabs.base, tag - 1, p))
		release_slowly(pool, p, tag);
}

/* ---- what is no block of the range ---- */

void bp_pool_release_outside(struct bp_pool *pool, void *p)
{
	if (p == NULL || bp_bump_has(p))
		return;
	if (!bp_misuse_lenient && !atomic_load_explicit(&bp_range.incomplete, memory_order_relaxed)) {
		bp_misuse_report(pool, BP_MISUSE_FOREIGN, p, 0, true);
		return;
	}
	if (bp_unlikely(bp_watch.on))
		bp_watch_back(p);
	if (bp_unlikely(!bp_pass_free(p)))
		bp_giveback_later(pool, p);
}

void bp_pool_release_elsewhere(struct bp_pool *pool, void *p)
{
	int owner;
	unsigned tag = bp_range_start_aside(&owner, p);
	struct bp_pool *own = tag == 0 ? NULL : bp_pools_at(owner);
	if (bp_unlikely(own == NULL) && tag != 0 && owner == 0)
		own = &bp_default_pool;
	if (bp_unlikely(own == NULL)) {
		bp_pool_release_invalid(pool, p);
		return;
	}
	/* Its mark would go with the rest, and a double release not be seen. */
	if (bp_unlikely(own->wipes) && *bp_mark_of(p) != bp_mark_value(p))
		explicit_bzero(p, bp_block_capacity(p));
	if (bp_unlikely(bp_watch.on)) {
		bp_watch_released(own, p, tag);
		return;
	}
	bp_pool_release_marked(own, p, tag, false);
}

void bp_pool_release_invalid(struct bp_pool *pool, void *p)
{
	unsigned tag = bp_range_around(p);
	bp_misuse_report(pool, BP_MISUSE_INVALID, p, tag == 0 || tag == BP_TAG_HUGE ? 0 : bp_class_size(tag - 1), true);
}

void bp_pool_release_twice(struct bp_pool *pool, void *p, unsigned tag)
{
	if (bp_misuse_unchecked()) {
		bp_pool_release_full(pool, p, tag);
		return;
	}
	bp_misuse_report(pool, BP_MISUSE_DOUBLE, p, tag == BP_TAG_HUGE ? 0 : bp_class_size(tag - 1), true);
}
