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
/* Nothing is done where arena is 0, which is never one of ours. */
enum bp_arena_deed { BP_ARENA_DECAY, BP_ARENA_PURGE, BP_ARENA_RESET };
void bp_arena_do(enum bp_arena_deed what, unsigned arena);

/* Does nobody but us set this jemalloc up? What it is set to is known then, and need not be asked. configured: it is not our
 * malloc_conf that it reads. Starts jemalloc. */
bool bp_arena_is_plain(bool configured);
/* Blocks from fresh slabs; how many. Only where jemalloc is plain. */
size_t bp_arena_batch(void **out, size_t count, size_t size, int flags);

/* A setting or a statistic of jemalloc's by its name; false and 0 where there is none. */
bool bp_arena_setting_is(const char *name);
size_t bp_arena_setting(const char *name);

#endif
