/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What backend.c and large.c, the two halves of backend.h, have of each other.
 */
#ifndef BP_SYS_LARGE_H
#define BP_SYS_LARGE_H

#include <stdbool.h>
#include <stddef.h>

enum { BP_SMALL_MAX = 14336 /* jemalloc's largest slab class with 4 KiB pages */ };

/* Around calls that may take mutexes of the pools' arenas: the guard, and a count (bp_backend_entered). false: this thread
 * is inside already. */
bool bp_backend_enter(void);
void bp_backend_leave(void);

void bp_large_start(unsigned arena_of_pool);
void bp_large_decay(void);

#endif
