/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See giveback.h. A step takes the last blocks of a magazine, at most BP_GIVEBACK_BLOCKS; the rest returns to its queue.
 * Pages are purged after each BP_PURGE_BYTES, and once more when the queue has run empty: a purge on the way leaves a byte
 * of the debt, or there would be no such end where it falls on the last magazine. Those of blocks over the cap decay with
 * time in arenas of their own, or, a named pool's, go at an epoch's end; where memory is too scarce for that, at once.
 *
 * A thread that is inside jemalloc (this is then a signal handler) can't give back: the blocks stay in their magazine,
 * large ones wait in `deferred`.
 */
#include "cache/giveback.h"

#include "cache/account.h"
#include "cache/block.h"
#include "cache/inherit.h"
#include "cache/policy.h"
#include "cache/release.h"
#include "sys/backend.h"
#include "sys/pass.h"

static void owe(struct bp_pool *pool, uint64_t bytes)
{
	atomic_fetch_add_explicit(&pool->purge_debt, bytes, memory_order_relaxed);
}

/* To where it came from. false: not now. */
static bool drop(struct bp_pool *pool, unsigned class, void *const *blocks, size_t count, enum bp_why why)
{
	if (pool->bare != NULL) {
		pool->bare->drop(pool, blocks, count, why);
		return true;
	}
	if (!bp_backend_give_back(blocks, count, class, &pool->heap))
		return false;
	owe(pool, count * bp_class_size(class));
	return true;
}

static bool purge_if(struct bp_pool *pool, uint64_t at_least, uint64_t left)
{
	uint64_t debt = atomic_load_explicit(&pool->purge_debt, memory_order_relaxed);
	if (debt < at_least || !atomic_compare_exchange_strong_explicit(&pool->purge_debt, &debt, left, memory_order_relaxed,
									memory_order_relaxed))
		return false;
	bp_backend_purge(&pool->heap);
	return true;
}

/* The first class that has something queued there. */
static uint32_t next_magazine(struct bp_level *l, unsigned *class)
{
	if (bp_level_is_empty(l))
		return 0;
	for (unsigned c = 0; c < BP_CLASS_COUNT; c++) {
		uint32_t magazine = bp_stack_is_empty(&l->classes[c].stack) ? 0 : bp_level_take(l, c);
		if (magazine != 0) {
			*class = c;
			return magazine;
		}
	}
	return 0;
}

/* Of `count` blocks that are in this thread's hands: how many may go, so that no fewer are left than the program has asked
 * to be kept? */
static uint32_t dispensable(struct bp_pool *pool, unsigned class, uint32_t count)
{
	uint32_t floor = atomic_load_explicit(&pool->counts[class].prefilled, memory_order_relaxed);
	struct bp_account now;
	if (bp_likely(floor == 0))
		return count;
	bp_account_class(&now, pool, class);
	uint64_t left = now.cached + now.victim + now.queued;
	return left >= floor ? count : left + count <= floor ? 0 : (uint32_t)(left + count - floor);
}

/* The last `n` of a magazine's blocks. false: not now. */
static bool give_back_last(struct bp_pool *pool, unsigned class, uint32_t magazine, uint32_t n, bool over)
{
	void *blocks[BP_GIVEBACK_BLOCKS];
	struct bp_counts *c = &pool->counts[class];
	uint32_t left = bp_magazine_count(magazine) - n;
	/* First: what has gone to jemalloc must not be found in a magazine by the child of a fork. */
	__builtin_memcpy(blocks, bp_magazine_slots(magazine) + left, n * sizeof(*blocks));
	bp_magazine_set_count(magazine, left);
	if (!drop(pool, class, blocks, n, over ? BP_WHY_BUDGET : BP_WHY_EPOCH)) {
		bp_magazine_set_count(magazine, left + n);
		return false;
	}
	atomic_fetch_add_explicit(over ? &c->dropped_budget : &c->dropped_epoch, n, memory_order_relaxed);
	return true;
}

static bool give_back(struct bp_pool *pool, struct bp_level *l, bool over)
{
	unsigned class;
	uint32_t magazine = next_magazine(l, &class);
	if (magazine == 0)
		return false;
	uint32_t n = bp_magazine_count(magazine);
	if (!over && (n = dispensable(pool, class, n)) == 0) {
		bp_level_put(bp_pool_shared(pool, bp_pool_epoch(pool)), class, magazine);
		return true;
	}
	bool given = give_back_last(pool, class, magazine, n < BP_GIVEBACK_BLOCKS ? n : BP_GIVEBACK_BLOCKS, over);
	if (bp_magazine_count(magazine) == 0)
		bp_magazine_free(magazine);
	else
		bp_level_put(over ? l : bp_pool_queue(pool, bp_pool_epoch(pool)), class, magazine); /* an epoch may have ended */
	return given;
}

static bool free_deferred(struct bp_pool *pool)
{
	uint32_t magazine = bp_backend_busy() ? 0 : bp_stack_pop(&pool->deferred);
	if (magazine == 0)
		return false;
	void *p = bp_magazine_slots(magazine)[0];
	bp_magazine_free(magazine); /* first, as above */
	if (!bp_range_has(p))
		bp_pass_free(p);
	else
		bp_giveback_large(pool, p);
	return true;
}

bool bp_giveback_step(struct bp_pool *pool)
{
	if (atomic_load_explicit(&pool->decay_due, memory_order_relaxed) &&
	    atomic_exchange_explicit(&pool->decay_due, false, memory_order_relaxed))
		bp_backend_decay();
	if (purge_if(pool, BP_PURGE_BYTES, 1))
		return true;
	if (give_back(pool, &pool->over, true) || give_back(pool, bp_pool_queue(pool, bp_pool_epoch(pool)), false) ||
	    free_deferred(pool))
		return true;
	if (bp_inherit_is_due(pool) && bp_inherit_step(pool))
		return true;
	/* The end of a burst: the last pages, and the magazines that carried it. */
	if (!purge_if(pool, 1, 0))
		return false;
	if (bp_magazines_free() > BP_MAGAZINES_IDLE)
		bp_magazines_purge();
	return true;
}

/* Does more wait than may? What an epoch has queued was cached before, and is no more memory than it was. */
static bool is_crowded(struct bp_pool *pool)
{
	uint64_t waiting = bp_level_bytes(&pool->over) + atomic_load_explicit(&pool->purge_debt, memory_order_relaxed);
	return waiting > bp_policy_waiting(bp_account_memory_limit());
}

void bp_giveback_some(struct bp_pool *pool)
{
	if (atomic_exchange_explicit(&pool->giving, true, memory_order_acquire))
		return;
	uint64_t start = bp_os_now_ns();
	uint64_t last = atomic_exchange_explicit(&pool->last_giveback, start, memory_order_relaxed);
	uint64_t end = start + bp_policy_giveback_ns(start > last ? start - last : 0, is_crowded(pool));
	while (!bp_backend_busy() && bp_giveback_step(pool) && bp_os_now_ns() < end)
		;
	atomic_store_explicit(&pool->giving, false, memory_order_release);
}

bool bp_giveback_is_due(struct bp_pool *pool)
{
	return !bp_level_is_empty(&pool->over) || !bp_level_is_empty(bp_pool_queue(pool, bp_pool_epoch(pool))) ||
	       atomic_load_explicit(&pool->purge_debt, memory_order_relaxed) != 0 || !bp_stack_is_empty(&pool->deferred) ||
	       atomic_load_explicit(&pool->decay_due, memory_order_relaxed) || bp_inherit_is_due(pool);
}

void bp_giveback_all(struct bp_pool *pool)
{
	while (!bp_backend_busy() && (bp_inherit_step(pool) || bp_giveback_step(pool)))
		;
}

void bp_giveback_at_once(struct bp_pool *pool, unsigned class, void *const *blocks, size_t count)
{
	struct bp_counts *c = &pool->counts[class];
	bp_pool_outside(pool, -(int64_t)(count * bp_class_size(class)));
	if (drop(pool, class, blocks, count, BP_WHY_BUDGET)) {
		atomic_fetch_add_explicit(&c->dropped_budget, count, memory_order_relaxed);
		return;
	}
	/* Inside jemalloc (a signal handler), and no memory for a magazine: the blocks are lost, and the numbers say so.
	 * set_aside counts against what was acquired (account.c), which these were not. */
	atomic_fetch_add_explicit(&c->set_aside, count, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->from_fill, count, memory_order_relaxed);
}

/* What blocks over the cap have left behind is with jemalloc still: at most what there was of them, less what there is.
 * The most is seen by whoever releases next. Reads the limit, if nobody has, for what is worth it. */
static void forget_large(struct bp_pool *pool, int64_t bytes)
{
	int64_t before = atomic_fetch_sub_explicit(&pool->large_bytes, bytes, memory_order_relaxed), now = before - bytes;
	uint64_t known = atomic_load_explicit(&bp_default_pool.memory_limit, memory_order_relaxed);
	if (!pool->heap.whole && bp_policy_waiting(known) == UINT64_MAX)
		return; /* it decays */
	int64_t peak = atomic_load_explicit(&pool->large_peak, memory_order_relaxed);
	if (before > peak)
		atomic_store_explicit(&pool->large_peak, peak = before, memory_order_relaxed);
	if (peak - now < BP_PURGE_BYTES || (uint64_t)(peak - now) <= bp_policy_waiting(bp_account_memory_limit()))
		return;
	atomic_store_explicit(&pool->large_peak, now, memory_order_relaxed);
	if (pool->heap.whole)
		bp_backend_purge(&pool->heap);
	else
		bp_backend_trim();
}

void bp_giveback_large_due(struct bp_pool *pool)
{
	int64_t now = atomic_load_explicit(&pool->large_bytes, memory_order_relaxed);
	int64_t peak = atomic_exchange_explicit(&pool->large_peak, now, memory_order_relaxed);
	if (peak > now)
		owe(pool, (uint64_t)(peak - now));
}

void bp_giveback_large(struct bp_pool *pool, void *p)
{
	int64_t bytes = bp_backend_busy() ? 0 : (int64_t)bp_block_capacity(p);
	if (!bp_backend_large_free(p))
		bp_giveback_later(pool, p);
	else
		forget_large(pool, bytes);
}

void bp_giveback_later(struct bp_pool *pool, void *p)
{
	uint32_t magazine = bp_magazine_new();
	if (magazine == 0)
		return;
	bp_magazine_slots(magazine)[0] = p;
	bp_magazine_set_count(magazine, 1);
	bp_stack_push(&pool->deferred, magazine);
}
