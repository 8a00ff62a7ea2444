/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What only bare pools do (pools.h): their items are the owner's, who makes and ends them and says here how many there are,
 * so that created = in use + cached + dropped holds for them as it does for blocks. An item is of one class for good,
 * whatever its size.
 */
#ifndef BP_CACHE_BARE_H
#define BP_CACHE_BARE_H

#include "cache/pool.h"

/* So many more items are out from now on. */
void bp_bare_adopt(struct bp_pool *pool, unsigned class, size_t count);
/* An item that was out is gone. */
void bp_bare_disown(struct bp_pool *pool, unsigned class);

/* A cached item, wherever it is and whatever that costs: all CPUs' stacks, and what is queued to be dropped. */
void *bp_bare_acquire_anywhere(struct bp_pool *pool, unsigned class);

/* Items that are cached. True at rest. */
uint64_t bp_bare_cached(struct bp_pool *pool, unsigned class);

/* Gives `each` what is cached, at the pool's end: nobody acquires, polls or ticks any more. in_hands: of those that were
 * taken some have not come back, and may be on their way: releases that are in flight have ended when this returns, and
 * later ones find the stacks full. */
void bp_bare_empty(struct bp_pool *pool, unsigned class, bool in_hands, void (*each)(void *ctx, void *item), void *ctx);

#endif
