/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See level.h. The counts are relaxed: they order nothing, the stacks do.
 */
#include "cache/level.h"

static void count(struct bp_level *l, unsigned class, int64_t blocks, int64_t magazines)
{
	atomic_fetch_add_explicit(&l->classes[class].blocks, blocks, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->bytes, blocks * (int64_t)bp_class_size(class), memory_order_relaxed);
	atomic_fetch_add_explicit(&l->magazines, magazines, memory_order_relaxed);
}

void bp_level_put(struct bp_level *l, unsigned class, uint32_t magazine)
{
	count(l, class, bp_magazine_count(magazine), 1);
	bp_stack_push(&l->classes[class].stack, magazine);
}

uint32_t bp_level_take(struct bp_level *l, unsigned class)
{
	uint32_t magazine = bp_stack_pop(&l->classes[class].stack);
	if (magazine != 0)
		count(l, class, -(int64_t)bp_magazine_count(magazine), -1);
	return magazine;
}
