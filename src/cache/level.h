/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A level: for each class a stack of magazines, with counts. The shared level, the victim and the queue of what goes
 * back are three levels whose roles rotate at each epoch: the boundary is O(1), whatever is cached.
 *
 * Counts are by level and not by role, so that a thread which was descheduled between looking up the role and pushing
 * leaves them right. They are updated behind the stacks' own exchange: true at rest.
 */
#ifndef BP_CACHE_LEVEL_H
#define BP_CACHE_LEVEL_H

#include "cache/stack.h"
#include "size_classes.h"
#include "sys/os.h"

struct bp_level_class {
	struct bp_stack stack;
	_Atomic int64_t blocks;
} __attribute__((aligned(BP_LINE)));
_Static_assert(sizeof(struct bp_level_class) == BP_LINE, "classes do not share lines");

struct bp_level {
	struct bp_level_class classes[BP_CLASS_COUNT];
	_Atomic int64_t bytes __attribute__((aligned(BP_LINE)));
	_Atomic int64_t magazines;
};

void bp_level_put(struct bp_level *l, unsigned class, uint32_t magazine);
/* 0: empty. */
uint32_t bp_level_take(struct bp_level *l, unsigned class);

static inline uint64_t bp_level_bytes(struct bp_level *l)
{
	int64_t n = atomic_load_explicit(&l->bytes, memory_order_relaxed);
	return n < 0 ? 0 : (uint64_t)n;
}

static inline bool bp_level_is_empty(struct bp_level *l)
{
	return atomic_load_explicit(&l->magazines, memory_order_relaxed) <= 0;
}

#endif
