/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How blocks move between the CPUs' stacks and the levels, for the files of the slow path.
 */
#ifndef BP_CACHE_RELEASE_H
#define BP_CACHE_RELEASE_H

#include "cache/pool.h"

/* Bytes that left (positive) or entered the levels, for the peak in use. */
void bp_pool_outside(struct bp_pool *pool, int64_t bytes);

void bp_pool_put(struct bp_pool *pool, struct bp_level *l, unsigned class, uint32_t magazine);
uint32_t bp_pool_take(struct bp_pool *pool, struct bp_level *l, unsigned class);
/* Any number of marked blocks, copied into magazines. Returns the bytes of those that went back at once instead, because
 * there was no memory for magazines. */
size_t bp_pool_put_blocks(struct bp_pool *pool, struct bp_level *l, unsigned class, void *const *blocks, size_t count);

/* A marked block that is not to be kept, though its class is. */
void bp_pool_release_for_good(struct bp_pool *pool, unsigned class, void *p);

/* This CPU's stack ran empty or full: notes it, and gives it more room where it did both in turn. */
void bp_pool_pressed(struct bp_pool *pool, int cpu, unsigned class, unsigned press);

#endif
