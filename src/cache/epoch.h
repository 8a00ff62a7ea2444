/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Epochs: time as the pool sees it. See epoch.c.
 */
#ifndef BP_CACHE_EPOCH_H
#define BP_CACHE_EPOCH_H

#include "cache/pool.h"

/* Every slow path calls this first: looks at the clock, ends the epoch if it is due, retires this CPU's stacks if that
 * is, drains CPUs that stand still, gives back a step. cpu: this thread's, or -1. class: the one it came for. */
void bp_epoch_poll(struct bp_pool *pool, int cpu, unsigned class);

/* Ends the epoch now, on all CPUs, and gives back everything that falls due by it. */
void bp_epoch_advance(struct bp_pool *pool);

/* The epoch that runs now ends in epoch_ms. */
void bp_epoch_restart(struct bp_pool *pool);

/* What is due, in one bounded step. Ms until there is more to do, -1: nothing is cached. */
int bp_epoch_tick(struct bp_pool *pool);

/* Gives back all but `keep` bytes of what is cached. Bytes given back. */
size_t bp_epoch_trim(struct bp_pool *pool, size_t keep);

#endif
