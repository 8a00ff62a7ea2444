/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See inherit.h. The copies are the slabs of the CPUs, which the child replaces by new ones, and the rows of the magazine
 * table below the first one that the child took itself.
 *
 * What is unusual: the old slabs are never unmapped, only emptied. A signal handler that forks may return, in the child, into
 * a section that it interrupted, and that goes by the old slab: it must find it closed.
 */
#include "cache/inherit.h"

#include "cache/giveback.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "sys/backend.h"

enum { ROWS_A_STEP = 256 };

static void count_as_gone(struct bp_pool *pool, struct bp_slabs old, int cpu, unsigned class)
{
	struct bp_counts *c = &pool->counts[class];
	uint32_t pops = bp_percpu_pops(old, cpu, class);
	atomic_fetch_add_explicit(&c->cpu_out, bp_percpu_count(old, cpu, class), memory_order_relaxed);
	atomic_fetch_add_explicit(&c->pops_folded, (uint64_t)(int64_t)(int32_t)pops, memory_order_relaxed);
}

/* No new slabs, or too many old ones: these are used on, and what they hold is lost. */
static void forget_slabs(struct bp_pool *pool)
{
	void **slots;
	bp_percpu_child(pool->slabs);
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		for (unsigned class = 0; class < pool->classes; class++) {
			uint32_t n = bp_percpu_forget(&slots, pool->slabs, (int)cpu, class, UINT32_MAX);
			atomic_fetch_add_explicit(&pool->counts[class].cpu_out, n, memory_order_relaxed);
		}
}

void bp_inherit(struct bp_pool *pool)
{
	struct bp_inherited *h = &pool->inherited;
	struct bp_slabs fresh, old = pool->slabs;
	h->epoch = bp_pool_epoch(pool);
	if (pool == &bp_default_pool) { /* the magazines are everybody's */
		h->row = 1;
		/* Below a signal handler that forked, a magazine may be in use: then all stay as they are. */
		h->rows = bp_magazines_in_hands() ? h->row : bp_magazines_used();
		bp_magazines_child(bp_magazines_used());
	}
	atomic_flag_clear_explicit(&h->stepping, memory_order_relaxed);
	atomic_store_explicit(&h->left, true, memory_order_relaxed);
	if (old.cpus == 0 || h->slab_count == BP_INHERITED_SLABS || !bp_percpu_create(&fresh)) {
		forget_slabs(pool);
		return;
	}
	for (unsigned cpu = 0; cpu < old.cpus; cpu++)
		for (unsigned class = 0; class < pool->classes; class++)
			count_as_gone(pool, old, (int)cpu, class);
	h->slabs[h->slab_count++] = old;
	h->cpu = 0;
	pool->slabs = fresh;
}

bool bp_inherit_is_left(struct bp_pool *pool)
{
	return bp_unlikely(atomic_load_explicit(&pool->inherited.left, memory_order_relaxed));
}

bool bp_inherit_is_due(struct bp_pool *pool)
{
	return bp_inherit_is_left(pool) && bp_pool_epoch(pool) != pool->inherited.epoch;
}

/* It was counted as set aside, by forget_caches or, in somebody's hands, not at all. */
static void recount(struct bp_counts *c)
{
	if (atomic_load_explicit(&c->set_aside, memory_order_relaxed) == 0)
		return;
	atomic_fetch_sub_explicit(&c->set_aside, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&c->from_fill, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->dropped_epoch, 1, memory_order_relaxed);
}

/* Marked blocks only. */
static void give_back(void *p)
{
	unsigned tag = p != NULL && bp_range_has(p) ? bp_range_start_of(p) : 0;
	if (tag == 0 || tag == BP_TAG_HUGE || *bp_mark_of(p) != bp_mark_value(p))
		return;
	struct bp_pool *pool = bp_pools_owner(p);
	if (pool == NULL)
		return;
	*bp_mark_of(p) = 0;
	if (!bp_backend_give_back(&p, 1, tag - 1, &pool->heap))
		return; /* inside jemalloc: the step is not made there */
	recount(&pool->counts[tag - 1]);
	atomic_fetch_add_explicit(&pool->purge_debt, bp_class_size(tag - 1), memory_order_relaxed);
}

/* Both steps take the blocks out first: what has gone to jemalloc must not be found there by another fork's child. */

/* Some of one stack, or where a CPU's are all empty, their memory. */
static void step_slab(struct bp_pool *pool, struct bp_inherited *h)
{
	struct bp_slabs old = h->slabs[h->slab_count - 1];
	void **slots;
	for (unsigned class = 0; pool->bare == NULL && class < pool->classes; class++) {
		uint32_t n = bp_percpu_forget(&slots, old, (int)h->cpu, class, BP_GIVEBACK_BLOCKS);
		for (uint32_t i = 0; i < n; i++)
			give_back(slots[i]);
		if (n > 0)
			return;
	}
	bp_os_purge(bp_slab_of(old, (int)h->cpu), BP_SLAB_BYTES);
	if (++h->cpu == old.cpus) {
		h->cpu = 0;
		h->slab_count--;
	}
}

/* Some of a row's blocks. false: there are none. */
static bool step_row(uint32_t row)
{
	uint32_t n = bp_magazine_count(row);
	n = n < BP_MAGAZINE_SLOTS ? n : BP_MAGAZINE_SLOTS;
	uint32_t left = n < BP_GIVEBACK_BLOCKS ? 0 : n - BP_GIVEBACK_BLOCKS;
	bp_magazine_set_count(row, left);
	for (uint32_t i = left; i < n; i++)
		give_back(bp_magazine_slots(row)[i]);
	return n > 0;
}

static void step_rows(struct bp_inherited *h)
{
	for (unsigned i = 0; i < ROWS_A_STEP && h->row < h->rows && !step_row(h->row); i++)
		bp_magazine_adopt(h->row++);
	if (h->row >= h->rows)
		atomic_store_explicit(&h->left, false, memory_order_relaxed);
}

bool bp_inherit_step(struct bp_pool *pool)
{
	struct bp_inherited *h = &pool->inherited;
	if (!atomic_load_explicit(&h->left, memory_order_relaxed) || bp_backend_busy() ||
	    atomic_flag_test_and_set_explicit(&h->stepping, memory_order_acquire))
		return false;
	if (h->slab_count > 0)
		step_slab(pool, h);
	else if (atomic_load_explicit(&h->left, memory_order_relaxed))
		step_rows(h);
	atomic_flag_clear_explicit(&h->stepping, memory_order_release); /* pairs with the acquire above: one at a time */
	return true;
}
