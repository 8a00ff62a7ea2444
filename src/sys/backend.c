/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See backend.h. Here: its start, heaps and time. Arenas, hooks and settings: arena.c; blocks of the pooled classes: pooled.c;
 * those over the cap: large.c; what passes the pool by: pass.c.
 *
 * Invariants: every call that can take one of jemalloc's mutexes runs under the guard (pass.h); an arena is always named
 * together with a tcache choice (MALLOCX_ARENA alone would go through the thread's own tcache, which belongs to other
 * arenas).
 *
 * What is unusual
 *   - The start asks jemalloc nothing if it can be helped: see arena.c.
 *   - Nothing here decays by itself in the arena of the pooled classes: bp_backend_purge does, when the pool says so.
 */
#include "sys/backend.h"

#include <string.h>

#include "sys/arena.h"
#include "sys/backend_parts.h"
#include "sys/jemalloc.h"
#include "sys/limits.h"
#include "sys/pass.h"
#include "sys/range.h"
#include "sys/text.h"

enum { JEMALLOC_DECAY_MS = 10000 /* its default */ };

/* How the embedded jemalloc is set up; MALLOC_CONF overrules it. No caches of its own for threads that don't ask (pass.h).
 * Four pages where a slab would be one (two for 16 bytes, which then has all the blocks that a slab may have): each slab
 * costs 128 bytes for ever, and some hundred instructions. See plain_slab_blocks in pooled.c. */
#define PRESET "tcache:false,slab_sizes:1-16:2|17-32:4|49-64:4|113-128:4|225-256:4|449-512:4|897-1024:4|1793-2048:4"

/* jemalloc starts itself when it is loaded, and reads this then. */
#if BP_JEMALLOC_EMBEDDED
const char *je_malloc_conf = PRESET;
#endif

static unsigned pool_arena = BP_NO_ARENA; /* the default pool's */
static bool configured;        /* by the program's own malloc_conf */
static bool sets_decay = true; /* the user has not said how long pages may lie */
static bool decays_so;         /* jemalloc has been told from the beginning */

bool bp_backend_busy(void)
{
	return bp_guard.inside;
}

/* Threads that are inside jemalloc for the pools' arenas and may hold its mutexes: a hit that comes by a duty leaves it to
 * others then (bp_backend_entered). Advice only, so relaxed. What passes through has other arenas and is not counted. */
static _Atomic unsigned entered;
static __thread bool is_in __attribute__((tls_model("initial-exec")));

bool bp_backend_enter(void)
{
	if (!bp_guard_enter())
		return false;
	is_in = true;
	atomic_fetch_add_explicit(&entered, 1, memory_order_relaxed);
	return true;
}

void bp_backend_leave(void)
{
	atomic_fetch_sub_explicit(&entered, 1, memory_order_relaxed);
	is_in = false;
	bp_guard_leave();
}

bool bp_backend_entered(void)
{
	return atomic_load_explicit(&entered, memory_order_relaxed) != 0;
}

/* Profiles, junk and zeroes are jemalloc's work on each call: hits would escape it. */
static bool has_reason_to_pass(void)
{
	const char *junk = "false";
	size_t size = sizeof(junk);
	return bp_arena_setting_is("opt.prof") || bp_arena_setting_is("opt.zero") ||
	       (je_mallctl("opt.junk", &junk, &size, NULL, 0) == 0 && strcmp(junk, "false") != 0);
}

void bp_backend_configure(const char *configuration, void (*message)(void *ctx, const char *text), unsigned decay_ms)
{
	/* One arena a CPU instead of four: they serve what passes through only, and each costs several pages at start. */
	static char preset[256];
	struct bp_text t = BP_TEXT_ON(preset);
	bp_text_add(&t, "narenas:");
	bp_text_number(&t, bp_os_possible_cpus());
	bp_text_add(&t, ",dirty_decay_ms:");
	bp_text_number(&t, decay_ms);
	/* Address space that one arena retains is lost to the others, its huge blocks' own to all: where it is limited,
	 * 100 bytes may not be had after 16 MiB were given back. */
	bp_text_add(&t, bp_os_is_limited() ? ",retain:false," PRESET : "," PRESET);
	configured = configuration != NULL;
	decays_so = !configured;
	je_malloc_conf = configured ? configuration : preset;
	je_malloc_message = message;
}

/* What the start must know, where it is not plain. */
static void ask(unsigned decay_ms, bool *wants_pass)
{
	size_t size = sizeof(ssize_t);
	ssize_t decay = 0;
	*wants_pass = bp_arena_setting("arenas.page") != BP_PAGE || has_reason_to_pass();
	bool known = je_mallctl("opt.dirty_decay_ms", &decay, &size, NULL, 0) == 0;
	sets_decay = known && (decay == JEMALLOC_DECAY_MS || decay == (ssize_t)decay_ms);
	decays_so = decay == (ssize_t)decay_ms;
}

bool bp_backend_start(struct bp_heap *heap, unsigned decay_ms)
{
	/* jemalloc starts itself on the first call, and may start threads, whose stacks' bookkeeping comes from here: not
	 * yet under the guard. */
	bool wants_pass = false;
	bool plain = bp_arena_is_plain(configured);
	if (!bp_backend_enter())
		return false;
	const char *settings = bp_os_environment("MALLOC_CONF");
	bp_pass_start(settings == NULL || strstr(settings, "tcache:false") == NULL);
	if (!plain)
		ask(decay_ms, &wants_pass);
	pool_arena = wants_pass ? BP_NO_ARENA : bp_arena_create(false);
	bp_pooled_start(plain);
	bp_large_start(pool_arena);
	bp_backend_leave();
	if (!decays_so)
		bp_backend_set_decay(decay_ms);
	*heap = (struct bp_heap){ .arena = pool_arena == BP_NO_ARENA ? 0 : pool_arena, .owner = heap->owner };
	return pool_arena != BP_NO_ARENA;
}

/* ---- heaps of named pools ---- */

bool bp_backend_heap_create(struct bp_heap *heap, int owner)
{
	if (!bp_backend_enter())
		return false;
	unsigned arena = heap->arena != 0 ? heap->arena : bp_arena_create(false);
	bp_backend_leave();
	if (arena == BP_NO_ARENA)
		return false;
	heap->arena = arena;
	heap->owner = owner;
	heap->whole = true;
	return true;
}

bool bp_backend_heap_drop(struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return false;
	bp_arena_do(BP_ARENA_RESET, heap->arena);
	bp_arena_do(BP_ARENA_PURGE, heap->arena);
	bp_backend_leave();
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++)
		if (atomic_load_explicit(&heap->holes[class], memory_order_relaxed) != 0)
			atomic_store_explicit(&heap->holes[class], 0, memory_order_relaxed);
	return true;
}

void bp_backend_set_decay(unsigned decay_ms)
{
	if (!sets_decay || !bp_backend_enter())
		return;
	ssize_t soon = decay_ms;
	unsigned arenas = 0;
	size_t size = sizeof(arenas);
	je_mallctl("arenas.narenas", &arenas, &size, NULL, 0);
	je_mallctl("arenas.dirty_decay_ms", NULL, NULL, &soon, sizeof(soon)); /* of those to come */
	for (unsigned i = 0; i < arenas; i++)
		if (i != pool_arena)
			bp_arena_set(i, "dirty_decay_ms", &soon, sizeof(soon)); /* fails where there is none yet */
	bp_backend_leave();
}

const char *bp_backend_name(void)
{
	return BP_JEMALLOC_EMBEDDED ? "embedded" : "shared";
}

/* ---- time ---- */

void bp_backend_purge(struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return;
	bp_arena_do(BP_ARENA_PURGE, heap->arena);
	bp_backend_leave();
}

void bp_backend_decay(void)
{
	if (!bp_backend_enter())
		return;
	bp_large_decay();
	bp_pooled_flush();
	bp_backend_leave();
}

void bp_backend_decay_all(void)
{
	if (!bp_backend_enter())
		return;
	bp_arena_do(BP_ARENA_DECAY, MALLCTL_ARENAS_ALL);
	bp_backend_leave();
}

void bp_backend_trim(void)
{
	if (!bp_backend_enter())
		return;
	bp_arena_do(BP_ARENA_PURGE, MALLCTL_ARENAS_ALL);
	bp_backend_leave();
}

void bp_backend_print_stats(void)
{
	je_malloc_stats_print(NULL, NULL, "a");
}

void bp_backend_child(void)
{
	bp_pooled_child();
	atomic_store_explicit(&entered, is_in, memory_order_relaxed);
}

void bp_backend_stats(struct bp_backend_stats *out)
{
	*out = (struct bp_backend_stats){ 0 };
	if (!bp_backend_enter())
		return;
	uint64_t epoch = 1;
	je_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
	out->allocated = bp_arena_setting("stats.allocated");
	out->active = bp_arena_setting("stats.active");
	out->metadata = bp_arena_setting("stats.metadata");
	out->resident = bp_arena_setting("stats.resident");
	out->mapped = bp_arena_setting("stats.mapped");
	bp_backend_leave();
}
