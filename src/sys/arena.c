/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See arena.h. What is unusual: no hook gives address space back, and none refuses to either.
 *
 * The first question to jemalloc (mallctl) has it make statistics of every arena and clear them: 41 pages and 85 us, a
 * fifth of a small program's start. So nothing is asked where the answers are known, and until something has been,
 * arenas are made by the inner functions of the embedded jemalloc by which mallctl makes them. Afterwards they must not
 * be: mallctl counts arenas itself. They are those of one version; of another one everything is asked.
 */
#include "sys/arena.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "sys/jemalloc.h"
#include "sys/range.h"

#define HAS_INNER                                                                                                      \
	(BP_JEMALLOC_EMBEDDED && JEMALLOC_VERSION_MAJOR == 5 && JEMALLOC_VERSION_MINOR == 3 && JEMALLOC_VERSION_BUGFIX == 0)

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

#if HAS_INNER
_Atomic bool bp_jemalloc_asked;
static bool plain;

extern struct arena_s *bp_je_arena_init(void *thread, unsigned arena, const struct create_configuration *how);
extern unsigned bp_je_narenas_total_get(void);
extern bool bp_je_arena_retain_grow_limit_get_set(void *thread, struct arena_s *, size_t *old, const size_t *value);
extern bool bp_je_arena_decay_ms_set(void *thread, struct arena_s *, int state, ssize_t ms);
extern size_t bp_je_batch_alloc(void **out, size_t count, size_t size, int flags);
extern __thread char bp_je_tsd_tls[] __attribute__((tls_model("initial-exec")));

enum { STATE_DIRTY = 1 };

/* jemalloc's own pages are as large as the range's: the smallest block that is aligned to two has four. The profiler,
 * junk and the like can only be on where somebody asked for them. */
bool bp_arena_is_plain(bool configured)
{
	plain = je_nallocx(1, MALLOCX_ALIGN(2 * BP_PAGE)) == 4 * BP_PAGE && !configured &&
		bp_os_environment("MALLOC_CONF") == NULL && !bp_os_is_link("/etc/malloc.conf");
	return plain;
}

size_t bp_arena_batch(void **out, size_t count, size_t size, int flags)
{
	return bp_je_batch_alloc(out, count, size, flags);
}

/* With one thread, so that nobody asks meanwhile. */
static bool may_create_unasked(void)
{
	return plain && __libc_single_threaded && !atomic_load_explicit(&bp_jemalloc_asked, memory_order_relaxed);
}

static unsigned create_unasked(bool decays)
{
	static const struct create_configuration how = { &hooks, false };
	unsigned number = bp_je_narenas_total_get();
	struct arena_s *arena = bp_je_arena_init(bp_je_tsd_tls, number, &how);
	if (arena == NULL)
		return BP_NO_ARENA;
	size_t limit = RETAIN_LIMIT;
	bp_je_arena_retain_grow_limit_get_set(bp_je_tsd_tls, arena, NULL, &limit);
	if (!decays)
		bp_je_arena_decay_ms_set(bp_je_tsd_tls, arena, STATE_DIRTY, -1);
	return number;
}
#else
#if BP_JEMALLOC_EMBEDDED
_Atomic bool bp_jemalloc_asked;
#endif

bool bp_arena_is_plain(bool configured)
{
	(void)configured;
	je_nallocx(1, 0);
	return false;
}

size_t bp_arena_batch(void **out, size_t count, size_t size, int flags)
{
	(void)out, (void)count, (void)size, (void)flags;
	return 0;
}

static bool may_create_unasked(void)
{
	return false;
}

static unsigned create_unasked(bool decays)
{
	(void)decays;
	return BP_NO_ARENA;
}
#endif

static unsigned create_by_question(bool decays)
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

unsigned bp_arena_create(bool decays)
{
	return may_create_unasked() ? create_unasked(decays) : create_by_question(decays);
}

void bp_arena_do(enum bp_arena_deed what, unsigned arena)
{
	static const char *const names[] = { "arena.0.decay", "arena.0.purge", "arena.0.reset" };
	static _Atomic uint64_t places[3]; /* the first and last number of each, and 1 for known: all find the same */
	uint64_t place = atomic_load_explicit(&places[what], memory_order_relaxed);
	size_t mib[3], length = 3;
	if (arena == 0)
		return;
	if (place == 0 && je_mallctlnametomib(names[what], mib, &length) == 0) {
		place = (uint64_t)1 << 63 | (uint64_t)mib[0] << 32 | mib[2];
		atomic_store_explicit(&places[what], place, memory_order_relaxed);
	}
	size_t own[3] = { place >> 32 & INT32_MAX, arena, (uint32_t)place };
	if (place != 0)
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
