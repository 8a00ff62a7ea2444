/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See backend.h. Arenas, hooks and settings: arena.c; blocks over the cap: large.c; what passes the pool by: pass.c.
 *
 * Invariants: every call that can take one of jemalloc's mutexes runs under the guard (pass.h); every block of the
 * range has its page table entry before it leaves this file; an arena is always named together with a tcache choice
 * (MALLOCX_ARENA alone would go through the thread's own tcache, which belongs to other arenas).
 *
 * What is unusual
 *   - experimental.batch_alloc fills from fresh slabs only. bp_heap.holes counts, for each class, the blocks given back and not
 *     yet taken again; while it is not zero a fill goes through an explicit tcache, which takes holes first.
 *   - The explicit tcache is not thread-safe: try-lock, or do without it. It is made when holes or the number of blocks
 *     that were fetched one by one are worth what it costs.
 *   - The start asks jemalloc nothing if it can be helped: see arena.c.
 *   - Nothing here decays by itself in the arena of the pooled classes: bp_backend_purge does, when the pool says so.
 *   - Blocks with pages of their own are always asked for page-aligned, and handed out at a place within the first page that
 *     follows from its number (colour): if all began at a page, they would share a few sets of the cache, and memcpy
 *     between them would be up to 27 times slower (4 KiB aliasing). jemalloc does the same at random, for which each of
 *     its large blocks has a spare page; but then a release could not be checked.
 *
 * Order to read: start, heaps, fills, time.
 */
#include "sys/backend.h"

#include <string.h>

#include "sys/arena.h"
#include "sys/jemalloc.h"
#include "sys/large.h"
#include "sys/pass.h"
#include "sys/range.h"
#include "sys/text.h"

enum {
	JEMALLOC_DECAY_MS = 10000, /* its default */
	COLOUR_STEP = 256,
	SINGLES = 1024, /* blocks fetched one by one at which the explicit tcache pays: 100 us, and 17 ns less for each */
};

/* How the embedded jemalloc is set up; MALLOC_CONF overrules it. No caches of its own for threads that don't ask (pass.h).
 * Four pages where a slab would be one (two for 16 bytes, which then has all the blocks that a slab may have): each slab
 * costs 128 bytes for ever, and some hundred instructions. See plain_slab_blocks. */
#define PRESET "tcache:false,slab_sizes:1-16:2|17-32:4|49-64:4|113-128:4|225-256:4|449-512:4|897-1024:4|1793-2048:4"

/* jemalloc starts itself when it is loaded, and reads this then. */
#if BP_JEMALLOC_EMBEDDED
const char *je_malloc_conf = PRESET;
#endif

/* The layout that this experimental mallctl takes; see can_batch. */
struct batch_packet {
	void **blocks;
	size_t count;
	size_t size;
	int flags;
};

static unsigned pool_arena = BP_NO_ARENA; /* the default pool's */
static size_t batch_mib[2];
static bool plain;        /* nobody but us has set jemalloc up: what follows need not be asked */
static bool configured;   /* by the program's own malloc_conf */
static bool can_batch = true;
static bool has_spare_page = true; /* jemalloc's large blocks have one */
static bool sets_decay = true; /* the user has not said how long pages may lie */
static bool decays_so;    /* jemalloc has been told from the beginning */
static bool limited;      /* memory may be refused, as of the start */

static _Atomic unsigned tcache = UINT32_MAX; /* the explicit one; UINT32_MAX: none */
static atomic_flag tcache_taken = ATOMIC_FLAG_INIT;

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

static unsigned create_tcache(void)
{
	unsigned made = UINT32_MAX;
	size_t size = sizeof(made);
	return je_mallctl("tcache.create", &made, &size, NULL, 0) == 0 ? made : UINT32_MAX;
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
	size_t length = 2, size = sizeof(ssize_t);
	ssize_t decay = 0;
	*wants_pass = bp_arena_setting("arenas.page") != BP_PAGE || has_reason_to_pass();
	has_spare_page = bp_arena_setting_is("opt.cache_oblivious");
	can_batch = je_mallctlnametomib("experimental.batch_alloc", batch_mib, &length) == 0 && length == 2;
	bool known = je_mallctl("opt.dirty_decay_ms", &decay, &size, NULL, 0) == 0;
	sets_decay = known && (decay == JEMALLOC_DECAY_MS || decay == (ssize_t)decay_ms);
	decays_so = decay == (ssize_t)decay_ms;
}

bool bp_backend_start(struct bp_heap *heap, unsigned decay_ms)
{
	/* jemalloc starts itself on the first call, and may start threads, whose stacks' bookkeeping comes from here: not
	 * yet under the guard. */
	bool wants_pass = false;
	plain = bp_arena_is_plain(configured);
	if (!bp_backend_enter())
		return false;
	const char *settings = bp_os_environment("MALLOC_CONF");
	limited = bp_os_is_limited();
	bp_pass_start(settings == NULL || strstr(settings, "tcache:false") == NULL);
	if (!plain)
		ask(decay_ms, &wants_pass);
	pool_arena = wants_pass ? BP_NO_ARENA : bp_arena_create(false);
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

/* ---- the pooled classes ---- */

/* Where in its first page a block begins that has pages of its own: one of 16 places, so that the entry's lowest byte stays
 * free for the tag. */
static size_t colour_of(const void *page)
{
	return (size_t)((uint32_t)((uintptr_t)page >> BP_PAGE_SHIFT) * 2654435769u >> 28) * COLOUR_STEP;
}

/* What jemalloc knows the block by. */
static void *page_of(const void *p)
{
	return (void *)((uintptr_t)p & ~(BP_PAGE - 1));
}

/* Enters p, fresh from jemalloc, into the page table. Where the block is to begin. */
static void *note(void *p, unsigned class, bool aligned, const struct bp_heap *heap)
{
	if (!bp_range_has(p)) {
		atomic_store_explicit(&bp_range.incomplete, true, memory_order_relaxed);
	} else if (bp_class_size(class) <= BP_SMALL_MAX) {
		bp_range_note_slab(p, class, heap->owner);
	} else {
		/* Entries that are looked up aside have no room for it. */
		if (has_spare_page && !aligned && heap->owner == BP_OWNER_NONE)
			p = (char *)p + colour_of(p);
		bp_range_note_large(p, bp_class_size(class), class + 1, heap->owner);
	}
	return p;
}

bool bp_backend_aligns(unsigned class, size_t alignment)
{
	return alignment <= COLOUR_STEP || bp_class_size(class) <= BP_SMALL_MAX || !has_spare_page;
}

static int alignment_flag(unsigned class)
{
	return bp_class_size(class) > BP_SMALL_MAX ? MALLOCX_LG_ALIGN(BP_PAGE_SHIFT) : 0;
}

/* By PRESET. */
static unsigned plain_slab_blocks(unsigned class)
{
	size_t size = bp_class_size(class);
	bool is_longer = bp_classes[class].slab_pages == 1 && size >= 16 && size <= 2048;
	return bp_classes[class].slab_blocks * (!is_longer ? 1 : size == 16 ? 2 : 4);
}

/* As jemalloc has it, which the program's MALLOC_CONF may have changed; asked at a class's first fill. */
static unsigned ask_slab_blocks(unsigned class)
{
	size_t mib[4], length = 4, size = sizeof(uint32_t);
	uint32_t blocks = 0;
	if (class >= BP_CLASS_COUNT_SLAB || je_mallctlnametomib("arenas.bin.0.nregs", mib, &length) != 0)
		return 1;
	mib[2] = class;
	return je_mallctlbymib(mib, length, &blocks, &size, NULL, 0) == 0 && blocks > 0 ? blocks : 1;
}

unsigned bp_backend_slab_blocks(unsigned class)
{
	static _Atomic uint16_t known[BP_CLASS_COUNT]; /* whoever asks gets the same answer */
	if (bp_likely(plain))
		return plain_slab_blocks(class);
	unsigned blocks = atomic_load_explicit(&known[class], memory_order_relaxed);
	if (bp_likely(blocks != 0))
		return blocks;
	if (!bp_backend_enter())
		return bp_classes[class].slab_blocks;
	blocks = ask_slab_blocks(class);
	bp_backend_leave();
	atomic_store_explicit(&known[class], (uint16_t)blocks, memory_order_relaxed);
	return blocks;
}

/* Is the explicit tcache worth having? Its first creation costs what the start has spared (arena.c). */
static bool pays(size_t count, bool holes)
{
	static _Atomic size_t singles;
	return holes || atomic_load_explicit(&tcache, memory_order_relaxed) != UINT32_MAX ||
	       atomic_fetch_add_explicit(&singles, count, memory_order_relaxed) >= SINGLES;
}

/* One by one, where it is nobody else's and pays through the explicit tcache. It never has blocks of an arena that may
 * be dropped. */
static size_t fill_singly(void **out, size_t count, unsigned class, struct bp_heap *heap, bool holes)
{
	int flags = MALLOCX_ARENA(heap->arena) | MALLOCX_TCACHE_NONE | alignment_flag(class);
	/* Where memory may be refused jemalloc can't be trusted with a tcache: see bp_pass_begin. */
	bool mine = bp_class_size(class) <= BP_SMALL_MAX && !limited && !heap->whole && pays(count, holes) &&
		    !atomic_flag_test_and_set_explicit(&tcache_taken, memory_order_acquire);
	if (mine) {
		unsigned id = atomic_load_explicit(&tcache, memory_order_relaxed);
		if (id == UINT32_MAX)
			atomic_store_explicit(&tcache, id = create_tcache(), memory_order_relaxed);
		if (id != UINT32_MAX)
			flags = MALLOCX_ARENA(heap->arena) | MALLOCX_TCACHE(id);
	}
	size_t n = 0;
	while (n < count && (out[n] = je_mallocx(bp_class_size(class), flags)) != NULL)
		n++;
	if (mine)
		atomic_flag_clear_explicit(&tcache_taken, memory_order_release);
	return n;
}

static size_t fill_fresh(void **out, size_t count, unsigned class, struct bp_heap *heap)
{
	struct batch_packet packet = { out, count, bp_class_size(class), MALLOCX_ARENA(heap->arena) | MALLOCX_TCACHE_NONE };
	if (bp_likely(plain))
		return bp_arena_batch(out, count, packet.size, packet.flags);
	size_t got = 0, size = sizeof(got);
	if (je_mallctlbymib(batch_mib, 2, &got, &size, &packet, sizeof(packet)) != 0)
		return 0;
	return got;
}

/* The range is full, or there is none: jemalloc's own arenas, except for a pool that must find all its blocks again. */
static size_t fill_outside(void **out, unsigned class)
{
	out[0] = je_mallocx(bp_class_size(class), MALLOCX_TCACHE_NONE | alignment_flag(class));
	return out[0] != NULL;
}

/* Takes up to n off the class's count of holes; how many. */
static uint32_t take_holes(struct bp_heap *heap, unsigned class, uint32_t n)
{
	_Atomic uint32_t *holes = &heap->holes[class];
	uint32_t now = atomic_load_explicit(holes, memory_order_relaxed);
	while (now != 0 && !atomic_compare_exchange_weak_explicit(holes, &now, now - (n < now ? n : now),
								  memory_order_relaxed, memory_order_relaxed))
		;
	return n < now ? n : now;
}

size_t bp_backend_fill(void **out, size_t count, unsigned class, struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return 0;
	unsigned whole = bp_backend_slab_blocks(class);
	size_t wanted = take_holes(heap, class, (uint32_t)count);
	size_t got = 0;
	if (wanted == 0 && can_batch && whole > 1 && count >= whole)
		got = fill_fresh(out, count - count % whole, class, heap);
	if (got == 0)
		got = fill_singly(out, wanted == 0 ? count : wanted, class, heap, wanted != 0);
	if (got == 0 && !heap->whole)
		got = fill_outside(out, class);
	for (size_t i = 0; i < got; i++)
		out[i] = note(out[i], class, false, heap);
	bp_backend_leave();
	return got;
}

void *bp_backend_one(unsigned class, bool zero, bool aligned, struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return NULL;
	size_t size = bp_class_size(class);
	int flags = MALLOCX_TCACHE_NONE | alignment_flag(class) | (zero ? MALLOCX_ZERO : 0);
	char *page = je_mallocx(size, flags | MALLOCX_ARENA(heap->arena)), *p = NULL;
	if (page == NULL && !heap->whole)
		page = je_mallocx(size, flags);
	if (page != NULL)
		p = note(page, class, aligned, heap);
	if (zero && p != page) /* jemalloc's zeroes end where its block does */
		memset(page + size, 0, (size_t)(p - page));
	bp_backend_leave();
	return p;
}

bool bp_backend_give_back(void *const *blocks, size_t count, unsigned class, struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return false;
	size_t size = bp_class_size(class);
	bool mine = size < 1024 && !heap->whole && !atomic_flag_test_and_set_explicit(&tcache_taken, memory_order_acquire);
	unsigned id = mine ? atomic_load_explicit(&tcache, memory_order_relaxed) : UINT32_MAX;
	int flags = id != UINT32_MAX ? MALLOCX_TCACHE(id) : MALLOCX_TCACHE_NONE;
	for (size_t i = 0; i < count; i++) {
		bool is_paged = size > BP_SMALL_MAX && bp_range_has(blocks[i]);
		if (is_paged)
			bp_range_forget(blocks[i], BP_PAGE);
		je_sdallocx(is_paged ? page_of(blocks[i]) : blocks[i], size, flags | alignment_flag(class));
	}
	if (mine)
		atomic_flag_clear_explicit(&tcache_taken, memory_order_release);
	if (size <= BP_SMALL_MAX)
		atomic_fetch_add_explicit(&heap->holes[class], (uint32_t)count, memory_order_relaxed);
	bp_backend_leave();
	return true;
}

/* ---- time ---- */

void bp_backend_purge(struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return;
	bp_arena_do(BP_ARENA_PURGE, heap->arena);
	bp_backend_leave();
}

static void flush_tcache(void)
{
	if (atomic_flag_test_and_set_explicit(&tcache_taken, memory_order_acquire))
		return;
	unsigned id = atomic_load_explicit(&tcache, memory_order_relaxed);
	if (id != UINT32_MAX)
		je_mallctl("tcache.flush", NULL, NULL, &id, sizeof(id));
	atomic_flag_clear_explicit(&tcache_taken, memory_order_release);
}

void bp_backend_decay(void)
{
	if (!bp_backend_enter())
		return;
	bp_large_decay();
	flush_tcache();
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
	/* The explicit tcache is linked with those of threads that this process does not have: leave it alone for good. Its
	 * blocks are lost to this process, at most what one fill keeps ready. */
	atomic_store_explicit(&tcache, UINT32_MAX, memory_order_relaxed);
	atomic_flag_clear_explicit(&tcache_taken, memory_order_relaxed);
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
