/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What backend.c, pooled.c and large.c, which are behind backend.h together, have of each other.
 */
#ifndef BP_SYS_BACKEND_PARTS_H
#define BP_SYS_BACKEND_PARTS_H

#include <stdbool.h>
#include <stddef.h>

enum { BP_SMALL_MAX = 14336 /* jemalloc's largest slab class with 4 KiB pages */ };

/* Around calls that may take mutexes of the pools' arenas: the guard, and a count (bp_backend_entered). false: this thread
 * is inside already. */
bool bp_backend_enter(void);
void bp_backend_leave(void);

/* plain: see bp_arena_is_plain. */
void bp_pooled_start(bool plain);
/* The blocks that the fills keep ready go back to their arena. */
void bp_pooled_flush(void);
void bp_pooled_child(void);

void bp_large_start(unsigned arena_of_pool);
void bp_large_decay(void);
/* From an arena of blocks over the cap: at a limit they may have what nobody else gets. NULL: nothing. */
void *bp_large_spare(size_t n, int flags);

#endif
