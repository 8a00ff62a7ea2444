/* SPDX-License-Identifier: BSD-2-Clause
 *
 * All pools beside the default one: named pools, whose blocks lie in an arena of their own, and bare pools, which keep what
 * is not theirs (objects). Each is an instance of the engine and has a number, by which the page table names the owner of a
 * block.
 *
 * Invariant: a number is one pool's from its creation to its end, and then the next one's; what belongs to the number (the
 * arena, the CPUs' slabs) stays with it and is emptied, never destroyed. So any number of pools can come and go without
 * leaving memory or addresses behind.
 *
 * Nothing here takes a lock. Whoever looks after other pools (an epoch's end, bufpool_tick, a fork's child) visits each: a
 * pool that is being visited ends when the visit does.
 */
#ifndef BP_CACHE_POOLS_H
#define BP_CACHE_POOLS_H

#include "cache/pool.h"

enum {
	BP_POOLS_NAMED = BP_OWNERS, /* numbers below it are named pools', from 1; jemalloc has arenas for nearly all of them */
	BP_POOLS = 65536,           /* from there to here bare ones' */
	BP_POOLS_CHUNK = 16         /* pools whose memory is taken at once */
};

struct bp_pool_rules {
	const char *name; /* NULL: "" */
	size_t cap;       /* 0: the default pool's */
	uint64_t budget;  /* 0: as for the default pool */
	bool wipes;
};

/* The default pool's start, for those who can't do without: by another thread it may take longer, on a busy machine, than a
 * request would wait for. */
bool bp_pools_start(void);

/* 0; -EMFILE: there are too many pools; -ENOMEM. */
int bp_pools_create(struct bp_pool **out, const struct bp_pool_rules *rules);
/* One of `classes` classes for what is `owner`'s own. */
int bp_pools_create_bare(struct bp_pool **out, unsigned classes, const struct bp_bare *bare, void *owner);
/* Ends it, with all blocks that are out. Nobody may be using it. What was out is said on standard error. */
void bp_pools_destroy(struct bp_pool *pool);

/* The memory of numbers, by chunks; entries appear once. */
extern _Atomic(struct bp_pool *) bp_pools_chunks[BP_POOLS / BP_POOLS_CHUNK];
enum { BP_POOL_STRIDE = (sizeof(struct bp_pool) + 4095) & ~4095ul };

/* NULL: there is none. Acquire pairs with the release of who put the chunk, or the pool, there. */
static inline struct bp_pool *bp_pools_at(int id)
{
	char *chunk = (char *)atomic_load_explicit(&bp_pools_chunks[id / BP_POOLS_CHUNK], memory_order_acquire);
	struct bp_pool *pool = (struct bp_pool *)(chunk + (size_t)(id % BP_POOLS_CHUNK) * BP_POOL_STRIDE);
	if (bp_unlikely(chunk == NULL || atomic_load_explicit(&pool->state, memory_order_acquire) != BP_POOL_READY))
		return NULL;
	return pool;
}

/* Of which pool is p, a block of the range? NULL: no block starts there, or its pool is gone. */
struct bp_pool *bp_pools_owner(const void *p);

/* ---- visits, by whoever looks after the others' time ---- */

/* Every pool but the default one; bare: those as well. A pool does not end while it is visited. */
typedef void bp_pools_visit_fn(struct bp_pool *pool, void *ctx);
void bp_pools_visit(bp_pools_visit_fn *visit, void *ctx, bool bare);

/* At the end of an epoch of `from`'s: looks whether other pools' have ended, once an epoch in all. Bare pools are left
 * alone: their users' functions are not called from somebody else's calls. */
void bp_pools_poll(struct bp_pool *from, uint64_t now_ms, uint64_t epoch_ms);
/* bp_epoch_tick for all, bare ones too, the default pool's answer being `ms`. */
int bp_pools_tick(int ms);
/* Gives back what pools other than `from` have cached; bare ones are left alone. Bytes. */
size_t bp_pools_trim(struct bp_pool *from);
void bp_pools_set_mode(bool passing);
/* How many threaded forks lie between the first process and this one. */
extern uint32_t bp_pools_forks;
void bp_pools_child(void (*start_afresh)(struct bp_pool *pool));

#endif
