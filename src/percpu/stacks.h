/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where the stacks lie in every slab, and how one is opened: what percpu.c, which opens each for the first time, and
 * taking.c, which opens what it has closed, have in common.
 */
#ifndef BP_PERCPU_STACKS_H
#define BP_PERCPU_STACKS_H

#include "percpu/percpu.h"

/* The index of a stack's first slot; written once, at start. */
extern uint32_t bp_bottoms[BP_CLASS_COUNT] BP_HIDDEN;

/* The word has been written. */
static inline void bp_open_stack(struct bp_limits *limits, unsigned class, unsigned capacity)
{
	atomic_store_explicit(&limits->floor, ~bp_bottoms[class], memory_order_release);
	atomic_store_explicit(&limits->end, bp_bottoms[class] + capacity, memory_order_release);
}

#endif
