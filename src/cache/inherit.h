/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the child of a threaded fork makes of the caches that it got a copy of.
 *
 * The kernel copies memory page by page while the other threads run on, so a block may be seen in the stack that it left
 * and in the level that it entered, or in neither. The child therefore starts with empty caches of its own and goes
 * through the copies later, when it has lived for an epoch: most children exec before that and never pay.
 *
 * Why it is safe to give a block back that is found in a copy
 *   - It bears its mark. Whoever took it out had cleared that before the program saw the block; where the program may rely
 *     on what another thread did (it holds a lock that was released after), that was copied as well.
 *   - Nor has the child's program released it, which would mark it again: whatever the program may have has left its stack
 *     or magazine, whose count no longer has it, before others could come by it.
 *   - It is given back once: the mark is cleared with it, and the second place where it is seen finds none.
 *   - It was not given back before: jemalloc's mutexes are taken before the copy begins, and a block leaves its stack or
 *     magazine before it goes there.
 * What another thread had in its hands is lost to the child, and so is what object pools keep, which is their users'.
 *
 * A signal handler may have forked above this thread's own slow path, which then goes on: with magazines in its hands that
 * may get into the child's levels. Then those of the copy are not gone through.
 */
#ifndef BP_CACHE_INHERIT_H
#define BP_CACHE_INHERIT_H

#include "cache/pool.h"

/* In the child: puts the caches aside. The levels have been emptied. */
void bp_inherit(struct bp_pool *pool);

/* Is anything left to be gone through? */
bool bp_inherit_is_left(struct bp_pool *pool);
/* And is it time? */
bool bp_inherit_is_due(struct bp_pool *pool);

/* Gives back some blocks of a stack or a magazine. false: nothing is left. */
bool bp_inherit_step(struct bp_pool *pool);

#endif
