/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks from jemalloc, for requests that no cache serves, and ahead of them. Memory that is missing is looked for in what
 * the pools have cached; NULL, ENOMEM where that isn't enough. May wait on jemalloc's mutexes.
 *
 * Invariant: what is handed out has no mark, what is cached has one, and everything is counted where it is created.
 */
#ifndef BP_CACHE_FILL_H
#define BP_CACHE_FILL_H

#include "cache/pool.h"

/* A block of a class that is kept. Others of its slab go to this CPU's stack (cpu; -1: none) and the shared level. */
void *bp_fill_one(struct bp_pool *pool, int cpu, unsigned class, bool zero);
/* One that begins at a page; of a class with pages of its own. */
void *bp_fill_aligned(struct bp_pool *pool, unsigned class, bool zero);
/* One that is never kept: over the cap, or aligned to more than a page. */
void *bp_fill_large(struct bp_pool *pool, size_t n, size_t alignment, bool zero);

/* Sets how many blocks of the class epochs leave cached, and fetches what is missing to it. How many of them are cached
 * now; where that is fewer, errno is ENOMEM, or ENOTSUP: this class passes through. */
size_t bp_pool_prefill(struct bp_pool *pool, unsigned class, size_t count);

/* In the child of a fork. */
void bp_fill_child(void);

#endif
