/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Giving back, in bounded steps: queued magazines to jemalloc, and freed pages from there to the kernel.
 */
#ifndef BP_CACHE_GIVEBACK_H
#define BP_CACHE_GIVEBACK_H

#include "cache/pool.h"

/* One step: some blocks of a magazine, or a purge where enough has been freed. false: nothing is left to do. */
bool bp_giveback_step(struct bp_pool *pool);
/* Steps, for as long as the policy allows a slow path to take. */
void bp_giveback_some(struct bp_pool *pool);
/* Is anything queued or owed? A few loads. */
bool bp_giveback_is_due(struct bp_pool *pool);
/* Until nothing is queued and all is purged. */
void bp_giveback_all(struct bp_pool *pool);

/* Marked blocks that can't be queued. */
void bp_giveback_at_once(struct bp_pool *pool, unsigned class, void *const *blocks, size_t count);
/* A block that is never kept. */
void bp_giveback_large(struct bp_pool *pool, void *p);
/* What such blocks have left in a pool's own arena, which doesn't decay, is owed to the kernel from now on. */
void bp_giveback_large_due(struct bp_pool *pool);
/* A block that is never kept, or one of jemalloc's own, whose release came while this thread was inside jemalloc. */
void bp_giveback_later(struct bp_pool *pool, void *p);

#endif
