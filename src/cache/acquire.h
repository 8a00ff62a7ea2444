/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ways of getting blocks beside the hit path and its misses (pool.h).
 */
#ifndef BP_CACHE_ACQUIRE_H
#define BP_CACHE_ACQUIRE_H

#include "cache/pool.h"

/* Over the cap, or aligned to more than a page. */
void *bp_pool_acquire_large(struct bp_pool *pool, size_t n, size_t alignment, bool zero);

/* A block of a class that is kept and whose size the alignment, at most a page, divides, where the class's blocks do not begin
 * at multiples of it by themselves. */
void *bp_pool_acquire_aligned(struct bp_pool *pool, unsigned class, size_t alignment, bool zero);

/* What is cached, in the order of a miss, and nothing new: NULL. For bare pools. */
void *bp_pool_acquire_cached(struct bp_pool *pool, unsigned class);

#endif
