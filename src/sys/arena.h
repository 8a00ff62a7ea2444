/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc's arenas that carve the pool's range: their extent hooks, and asking and telling them things. For backend.c.
 * Everything here is called under the guard (pass.h).
 */
#ifndef BP_SYS_ARENA_H
#define BP_SYS_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BP_NO_ARENA UINT32_MAX

/* decays: jemalloc gives its pages back by itself. BP_NO_ARENA: there are too many, or no memory. */
unsigned bp_arena_create(bool decays);
bool bp_arena_set(unsigned arena, const char *name, void *value, size_t size);
/* mib: of "arena.0.", and something to do. Nothing is done where arena is 0, which is never one of ours. */
void bp_arena_do(size_t *mib, unsigned arena);

/* A setting or a statistic of jemalloc's by its name; false and 0 where there is none. */
bool bp_arena_setting_is(const char *name);
size_t bp_arena_setting(const char *name);

#endif
