/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See arena.h. What is unusual: no hook gives address space back, and none refuses to either.
 */
#include "sys/arena.h"

#include <string.h>

#include "sys/jemalloc.h"
#include "sys/range.h"

enum { RETAIN_LIMIT = 32 << 20 /* of address space that an arena takes ahead */ };

/* ---- hooks ---- */

static void *hook_alloc(extent_hooks_t *hooks, void *at, size_t bytes, size_t alignment, bool *zero, bool *commit,
			unsigned arena)
{
	(void)hooks, (void)arena;
	void *piece = bp_range_carve(at, bytes, alignment);
	if (piece != NULL)
		*zero = *commit = true;
	return piece;
}

static bool hook_purge(extent_hooks_t *hooks, void *start, size_t all, size_t offset, size_t bytes, unsigned arena)
{
	(void)hooks, (void)all, (void)arena;
	return !bp_range_purge((char *)start + offset, bytes);
}

static bool hook_split(extent_hooks_t *hooks, void *start, size_t all, size_t a, size_t b, bool committed, unsigned arena)
{
	(void)hooks, (void)start, (void)all, (void)a, (void)b, (void)committed, (void)arena;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *a, size_t size_a, void *b, size_t size_b, bool committed,
		       unsigned arena)
{
	(void)hooks, (void)a, (void)size_a, (void)b, (void)size_b, (void)committed, (void)arena;
	return false;
}

/* No dalloc, no decommit: address space is never given back, and jemalloc retains it. A hook that refuses each time
 * would make every decay deregister and reregister the extent. */
static extent_hooks_t hooks = {
	.alloc = hook_alloc,
	.purge_forced = hook_purge,
	.split = hook_split,
	.merge = hook_merge,
};

/* ---- arenas ---- */

/* The layout that this experimental mallctl takes; a version with another answers EINVAL, and the plain way is used. */
struct create_configuration {
	extent_hooks_t *hooks;
	bool metadata_use_hooks;
};

bool bp_arena_set(unsigned arena, const char *name, void *value, size_t size)
{
	size_t mib[3], length = 3;
	char path[64] = "arena.0.";
	strcat(path, name);
	if (je_mallctlnametomib(path, mib, &length) != 0)
		return false;
	mib[1] = arena;
	return je_mallctlbymib(mib, length, NULL, NULL, value, size) == 0;
}

unsigned bp_arena_create(bool decays)
{
	unsigned arena = BP_NO_ARENA;
	size_t size = sizeof(arena);
	extent_hooks_t *own = &hooks;
	struct create_configuration how = { &hooks, false };
	/* The plain form would carve 2 MiB of the range for the arena's own metadata. */
	if (je_mallctl("experimental.arenas_create_ext", &arena, &size, &how, sizeof(how)) != 0 &&
	    je_mallctl("arenas.create", &arena, &size, &own, sizeof(own)) != 0)
		return BP_NO_ARENA;
	size_t limit = RETAIN_LIMIT;
	ssize_t never = -1, at_once = 0;
	bp_arena_set(arena, "retain_grow_limit", &limit, sizeof(limit));
	bp_arena_set(arena, "muzzy_decay_ms", &at_once, sizeof(at_once));
	if (!decays)
		bp_arena_set(arena, "dirty_decay_ms", &never, sizeof(never));
	return arena;
}

void bp_arena_do(size_t *mib, unsigned arena)
{
	size_t own[3] = { mib[0], arena, mib[2] };
	if (arena != 0)
		je_mallctlbymib(own, 3, NULL, NULL, NULL, 0);
}

/* ---- jemalloc's settings ---- */

bool bp_arena_setting_is(const char *name)
{
	bool value = false;
	size_t size = sizeof(value);
	return je_mallctl(name, &value, &size, NULL, 0) == 0 && value;
}

size_t bp_arena_setting(const char *name)
{
	size_t value = 0, size = sizeof(value);
	return je_mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}
