/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See block.h. Sizes of blocks within the range come from the page table; what lies outside is jemalloc's own and is
 * asked there.
 */
#include "cache/block.h"

#include <errno.h>
#include <string.h>

#include "cache/acquire.h"
#include "cache/leaks.h"
#include "cache/misuse.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "cache/watch.h"
#include "sys/backend.h"
#include "sys/bump.h"
#include "sys/pass.h"

/* Of which pool a block of p's size and content would come. */
static struct bp_pool *pool_of(struct bp_pool *pool, const void *p)
{
	int owner;
	if (!bp_range_has(p) || bp_range_start_aside(&owner, p) == 0)
		return pool;
	struct bp_pool *own = bp_pools_at(owner);
	return own != NULL ? own : pool;
}

/* Is p a block of the default pool's that is out, and not a large one? Its tag is set then. */
static bool is_usual(unsigned *tag, void *p)
{
	return bp_range_has(p) && bp_range_starts(tag, p) && *bp_mark_of(p) != bp_mark_value(p) && *tag != BP_TAG_HUGE;
}

bool bp_block_is(const void *p)
{
	return bp_range_has(p) && bp_range_start_of(p) != 0;
}

bool bp_block_is_foreign(const void *p)
{
	return !bp_range_has(p) && !bp_misuse_lenient &&
	       !atomic_load_explicit(&bp_range.incomplete, memory_order_relaxed) && !bp_bump_has(p);
}

size_t bp_block_capacity(const void *p)
{
	if (p == NULL || bp_block_is_foreign(p))
		return 0;
	if (!bp_range_has(p))
		return bp_bump_has(p) ? bp_bump_size(p) : bp_backend_usable(p);
	unsigned tag = bp_range_start_of(p);
	if (tag == 0)
		return 0; /* the inside of a block, or none any more: jemalloc would not take the question well */
	return tag == BP_TAG_HUGE ? bp_backend_usable(p) : bp_class_size(tag - 1);
}

/* What passes through has jemalloc's own sizes. */
static bool is_pooled(struct bp_pool *pool, size_t n)
{
	size_t pass = atomic_load_explicit(&pool->pass, memory_order_relaxed);
	bool passing = atomic_load_explicit(&pool->passing, memory_order_relaxed) && !pool->heap.whole;
	return n <= pool->cap && n >= pass && !passing;
}

size_t bp_block_good_size(struct bp_pool *pool, size_t n)
{
	return is_pooled(pool, n) ? bp_class_size(bp_class_of(n)) : bp_backend_good_size(bp_pass_size(n));
}

bool bp_block_is_out(struct bp_pool *pool, void *p)
{
	if (bp_block_is_foreign(p)) {
		bp_misuse_report(pool, BP_MISUSE_FOREIGN, p, 0, true);
		errno = EINVAL;
		return false;
	}
	if (!bp_range_has(p))
		return true;
	unsigned tag = bp_range_start_of(p);
	if (tag == 0)
		bp_pool_release_invalid(pool, p);
	else if (*bp_mark_of(p) == bp_mark_value(p))
		bp_pool_release_twice(pool, p, tag);
	else
		return true;
	errno = EINVAL;
	return false;
}

size_t bp_block_good_aligned_size(struct bp_pool *pool, size_t alignment, size_t n)
{
	size_t rounded = bp_round_up(n == 0 ? 1 : n, alignment);
	if (alignment > BP_PAGE || rounded < n || !is_pooled(pool, rounded))
		return bp_backend_good_aligned_size(n == 0 ? 1 : n, alignment);
	size_t size = bp_class_size(bp_class_of(rounded));
	return size % alignment == 0 ? size : bp_backend_good_aligned_size(n, alignment);
}

/* Blocks that are never kept are resized where they lie, if there is room behind them. */
static bool resize_unwatched(struct bp_pool *pool, void *p, size_t now, size_t n)
{
	if (bp_block_good_size(pool, n) == now)
		return true;
	if (pool->wipes && n < now)
		return false; /* what it shrinks by would go back as it is */
	if (now <= pool->cap || n <= pool->cap || !bp_backend_large_resize(p, n, &pool->heap))
		return false;
	atomic_fetch_add_explicit(&pool->large_bytes, (int64_t)bp_block_capacity(p) - (int64_t)now, memory_order_relaxed);
	return true;
}

static bool resize_in_place(struct bp_pool *pool, void *p, size_t now, size_t n)
{
	bool done = resize_unwatched(pool, p, now, n);
	if (bp_unlikely(bp_watch.leaks) && done)
		bp_leaks_resize(p, n);
	return done;
}

/* Between two classes: to a block of the other one. */
static void *move(struct bp_pool *pool, void *p, size_t now, size_t used, size_t n)
{
	void *fresh = bp_pool_acquire(pool, n, false);
	if (fresh == NULL)
		return NULL;
	used = used < now ? used : now;
	if (bp_bump_has(p))
		bp_bump_copy(fresh, p, used < n ? used : n);
	else
		memcpy(fresh, p, used < n ? used : n);
	bp_pool_release(pool, p);
	return fresh;
}

static __attribute__((noinline)) void *resize_other(struct bp_pool *pool, void *p, size_t used, size_t n)
{
	if (p == NULL)
		return bp_pool_acquire(pool, n, false);
	if (!bp_block_is_out(pool, p))
		return NULL;
	pool = pool_of(pool, p);
	size_t now = bp_block_capacity(p);
	if (now == 0) {
		errno = ENOMEM; /* a signal handler inside jemalloc, which alone knows how much is to be copied */
		return NULL;
	}
	return bp_range_has(p) && resize_in_place(pool, p, now, n) ? p : move(pool, p, now, used, n);
}

void *bp_block_resize(struct bp_pool *pool, void *p, size_t used, size_t n)
{
	unsigned tag;
	if (bp_likely(n < atomic_load_explicit(&bp_default_pool.small, memory_order_relaxed)) && bp_likely(is_usual(&tag, p)))
		return bp_class_fine(n) + 1u == tag ? p : move(pool, p, bp_class_size(tag - 1), used, n);
	return resize_other(pool, p, used, n);
}

/* Every class whose size is a multiple of the alignment starts its blocks aligned (slabs and large blocks begin at a
 * page), up to a page; rounding n up to the alignment leads to such a class. */
void *bp_block_aligned(struct bp_pool *pool, size_t alignment, size_t n, bool zero)
{
	size_t rounded = bp_round_up(n == 0 ? 1 : n, alignment);
	if (rounded < n)
		rounded = SIZE_MAX;
	bool started = bp_pool_start(pool);
	if (!started && bp_bump_serves())
		return bp_bump_new(alignment, n);
	bool passing = !started || atomic_load_explicit(&pool->passing, memory_order_relaxed);
	unsigned class = rounded > pool->cap ? BP_CLASS_COUNT : bp_class_of(rounded);
	void *p;
	if (!passing && (alignment > BP_PAGE || rounded > pool->cap))
		p = bp_pool_acquire_large(pool, n == 0 ? 1 : n, alignment, zero);
	else if (passing || class < pool->first_class || bp_class_size(class) % alignment != 0)
		p = bp_pool_pass_aligned(pool, alignment, n, zero);
	else if (bp_likely(bp_backend_aligns(class, alignment)))
		return bp_pool_acquire(pool, rounded, zero);
	else
		p = bp_pool_acquire_aligned(pool, class, alignment, zero);
	return bp_watch_out(pool, p, n, zero);
}

bool bp_block_has_size(struct bp_pool *pool, const void *p, size_t n)
{
	if (!bp_range_has(p))
		return true;
	pool = pool_of(pool, p);
	unsigned tag = bp_range_start_of(p);
	if (tag == 0)
		return true; /* the release itself finds out */
	size_t usable = bp_block_capacity(p);
	if (n <= pool->cap)
		return tag == BP_TAG_HUGE ? n == usable : bp_class_of(n) + 1 == tag;
	return usable == 0 || (n <= usable && (tag == BP_TAG_HUGE || n > (tag == 1 ? 0 : bp_class_size(tag - 2))));
}

bool bp_block_has_aligned_size(struct bp_pool *pool, const void *p, size_t alignment, size_t n)
{
	if (alignment == 0 || (alignment & (alignment - 1)) != 0)
		return false;
	size_t rounded = bp_round_up(n == 0 ? 1 : n, alignment);
	return bp_block_has_size(pool, p, rounded) || bp_block_capacity(p) == bp_block_good_aligned_size(pool, alignment, n);
}
