/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See fill.h. What is unusual: a fill of small blocks fetches more than the one that is asked for, and caches the others.
 */
#include "cache/fill.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "cache/account.h"
#include "cache/block.h"
#include "cache/epoch.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "cache/watch.h"
#include "sys/backend.h"

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* ---- rows of small blocks ---- */

static void created(struct bp_pool *pool, unsigned class, size_t n)
{
	add(&pool->counts[class].created, n);
	bp_pool_outside(pool, (int64_t)(n * bp_class_size(class)));
}

/* Buffers that fills work in: too large for small stacks. */
BP_REMOTE struct {
	atomic_flag taken;
	void *blocks[BP_FILL_BLOCKS];
} bp_fill_buffers[4];
static __thread unsigned own_buffers __attribute__((tls_model("initial-exec"))); /* bits: those that this thread works in */

/* The bit is there before and after the flag: whenever a signal handler forks, none is missing. */
static int take_buffer(void)
{
	for (int i = 0; i < (int)(sizeof(bp_fill_buffers) / sizeof(*bp_fill_buffers)); i++) {
		if (own_buffers >> i & 1)
			continue;
		own_buffers |= 1u << i;
		atomic_signal_fence(memory_order_seq_cst);
		if (!atomic_flag_test_and_set_explicit(&bp_fill_buffers[i].taken, memory_order_acquire))
			return i;
		own_buffers &= ~(1u << i);
	}
	return -1;
}

static void put_buffer(int i)
{
	atomic_flag_clear_explicit(&bp_fill_buffers[i].taken, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	own_buffers &= ~(1u << i);
}

/* A signal handler may have forked in the middle of a fill, which goes on. */
void bp_fill_child(void)
{
	for (size_t i = 0; i < sizeof(bp_fill_buffers) / sizeof(*bp_fill_buffers); i++)
		if (!(own_buffers >> i & 1))
			atomic_flag_clear_explicit(&bp_fill_buffers[i].taken, memory_order_relaxed);
}

/* The first block is the caller's, the others are cached with their marks on. A fresh slab's blocks come in ascending order.
 * The stack gives the last one first, so that they are pushed the other way round: what a program builds in one go then lies
 * in the order in which it will walk it. */
static void *distribute(struct bp_pool *pool, int cpu, unsigned class, void **blocks, size_t n)
{
	created(pool, class, n);
	for (size_t i = 1; i < n; i++)
		bp_watch_mark(blocks[i], class);
	bp_row_turn_round(blocks + 1, n - 1);
	size_t put = cpu < 0 ? 0 : bp_percpu_push_batch(pool->slabs, cpu, class, blocks + 1, n - 1);
	add(&pool->counts[class].cpu_in, put);
	bp_pool_put_blocks(pool, bp_pool_shared(pool, bp_pool_epoch(pool)), class, blocks + 1 + put, n - 1 - put);
	return blocks[0];
}

static void *fill(struct bp_pool *pool, int cpu, unsigned class)
{
	struct bp_counts *c = &pool->counts[class];
	uint32_t before = atomic_load_explicit(&c->fill, memory_order_relaxed);
	unsigned wanted = bp_policy_fill(class, before == 0 ? 1 : before, bp_backend_slab_blocks(class));
	int buffer = wanted > 1 ? take_buffer() : -1;
	assert(wanted <= BP_FILL_BLOCKS);
	void *one, **blocks = buffer < 0 ? &one : bp_fill_buffers[buffer].blocks;
	size_t n = bp_backend_fill(blocks, buffer < 0 ? 1 : wanted, class, &pool->heap);
	atomic_store_explicit(&c->fill, wanted, memory_order_relaxed);
	void *p = n == 0 ? NULL : !bp_range_has(blocks[0]) ? blocks[0] : distribute(pool, cpu, class, blocks, n);
	if (buffer >= 0)
		put_buffer(buffer);
	return p;
}

/* ---- ahead of need ---- */

static size_t prefill(struct bp_pool *pool, unsigned class, size_t count)
{
	void *blocks[BP_MAGAZINE_SLOTS];
	size_t done = 0;
	while (done < count) {
		size_t wanted = count - done < BP_MAGAZINE_SLOTS ? count - done : BP_MAGAZINE_SLOTS;
		size_t n = bp_backend_fill(blocks, wanted, class, &pool->heap);
		if (n == 0 || !bp_range_has(blocks[0])) {
			if (n != 0)
				bp_backend_give_back(blocks, n, class, &pool->heap);
			errno = ENOMEM;
			break;
		}
		created(pool, class, n);
		for (size_t i = 0; i < n; i++)
			bp_watch_mark(blocks[i], class);
		bp_row_turn_round(blocks, n); /* see distribute */
		bp_pool_put_blocks(pool, bp_pool_shared(pool, bp_pool_epoch(pool)), class, blocks, n);
		done += n;
	}
	return done;
}

size_t bp_pool_prefill(struct bp_pool *pool, unsigned class, size_t count)
{
	struct bp_counts *c = &pool->counts[class];
	struct bp_account now;
	if (class < pool->first_class || atomic_load_explicit(&pool->passing, memory_order_relaxed)) {
		errno = ENOTSUP;
		return 0;
	}
	uint32_t before = atomic_exchange_explicit(&c->prefilled, (uint32_t)count, memory_order_relaxed);
	add(&pool->prefilled_bytes, (count - before) * bp_class_size(class));
	bp_account_class(&now, pool, class);
	size_t cached = now.cached + now.victim;
	return cached >= count ? count : cached + prefill(pool, class, count - cached);
}

/* ---- what a request gets ---- */

/* No memory: what is cached in other classes may be what is missing. Worth a second try? */
static bool reclaim(struct bp_pool *pool)
{
	if (bp_backend_busy())
		return false;
	return (bp_epoch_trim(pool, 0) | bp_pools_trim(pool)) > 0;
}

/* p, fresh, goes out. alone: no other came with it, and it is not yet counted. */
static void *hand_out(struct bp_pool *pool, unsigned class, void *p, bool alone, bool zero)
{
	if (!bp_range_has(p)) {
		add(&pool->passed, 1);
	} else {
		if (alone)
			created(pool, class, 1);
		add(&pool->counts[class].from_fill, 1);
	}
	if (!alone && zero)
		memset(p, 0, bp_class_size(class));
	else if (!zero)
		*bp_mark_of(p) = 0;
	return p;
}

void *bp_fill_one(struct bp_pool *pool, int cpu, unsigned class, bool zero)
{
	bool alone = bp_backend_slab_blocks(class) == 1 && bp_class_size(class) > BP_PAGE;
	if (bp_unlikely(atomic_load_explicit(&pool->passing, memory_order_relaxed)) && pool->heap.whole)
		alone = true; /* nothing ahead of need */
	void *p;
	int tries = 0;
	while ((p = alone ? bp_backend_one(class, zero, false, &pool->heap) : fill(pool, cpu, class)) == NULL)
		if (++tries > BP_RECLAIM_TRIES || !reclaim(pool))
			return out_of_memory();
	return hand_out(pool, class, p, alone, zero);
}

void *bp_fill_aligned(struct bp_pool *pool, unsigned class, bool zero)
{
	void *p;
	int tries = 0;
	while ((p = bp_backend_one(class, zero, true, &pool->heap)) == NULL)
		if (++tries > BP_RECLAIM_TRIES || !reclaim(pool))
			return out_of_memory();
	return hand_out(pool, class, p, true, zero);
}

void *bp_fill_large(struct bp_pool *pool, size_t n, size_t alignment, bool zero)
{
	void *p;
	int tries = 0;
	while ((p = bp_backend_large(n, alignment, zero, &pool->heap)) == NULL)
		if (n > PTRDIFF_MAX || ++tries > BP_RECLAIM_TRIES || !reclaim(pool))
			return out_of_memory();
	if (!zero)
		*bp_mark_of(p) = 0;
	if (!bp_range_has(p)) {
		add(&pool->passed, 1);
		return p;
	}
	add(&pool->large_acquired, 1);
	atomic_fetch_add_explicit(&pool->large_bytes, (int64_t)bp_block_capacity(p), memory_order_relaxed);
	return p;
}
