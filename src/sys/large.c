/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks over the cap, and odd alignments, for backend.h. The default pool's come from an arena for each CPU, those of a heap
 * that is whole from its own. Unlike pooled blocks with pages of their own they begin at their page.
 */
#include "sys/backend.h"

#include "sys/arena.h"
#include "sys/backend_parts.h"
#include "sys/jemalloc.h"
#include "sys/pass.h"
#include "sys/range.h"

enum {
	ARENAS_MAX = 64, /* one a CPU, then shared */
	FIRST_BYTES = 128 << 10,
};

static unsigned pool_arena = BP_NO_ARENA; /* the default pool's */
static _Atomic unsigned arenas[ARENAS_MAX];
static unsigned arena_count = 1;

void bp_large_start(unsigned arena_of_pool)
{
	unsigned cpus = bp_os_possible_cpus();
	pool_arena = arena_of_pool;
	arena_count = cpus < ARENAS_MAX ? cpus : ARENAS_MAX;
	for (unsigned i = 0; i < ARENAS_MAX; i++)
		atomic_store_explicit(&arenas[i], BP_NO_ARENA, memory_order_relaxed);
}

void bp_large_decay(void)
{
	for (unsigned i = 0; i < arena_count; i++) {
		unsigned arena = atomic_load_explicit(&arenas[i], memory_order_acquire);
		if (arena != BP_NO_ARENA)
			bp_arena_do(BP_ARENA_DECAY, arena);
	}
}

/* Blocks with pages of their own start at a page; those of slabs have the alignment of their class. */
static int alignment_for(size_t n, size_t alignment)
{
	size_t least = n <= BP_SMALL_MAX ? 1 : BP_PAGE;
	return MALLOCX_LG_ALIGN(__builtin_ctzl(alignment < least ? least : alignment));
}

/* Is this among the first few bytes? They come from the arena that is there: an arena costs 40 us and 23 pages, and
 * most programs in C++ have one such block, for ever (72 KB that libstdc++ keeps for exceptions without memory). */
static bool is_first(size_t n)
{
	static _Atomic size_t first;
	return n <= FIRST_BYTES && atomic_load_explicit(&first, memory_order_relaxed) <= FIRST_BYTES - n &&
	       atomic_fetch_add_explicit(&first, n, memory_order_relaxed) <= FIRST_BYTES - n;
}

/* This CPU's arena, made at first use. */
static unsigned own_arena(void)
{
	_Atomic unsigned *slot = &arenas[bp_os_cpu() % arena_count];
	unsigned arena = atomic_load_explicit(slot, memory_order_acquire);
	if (arena != BP_NO_ARENA)
		return arena;
	unsigned made = bp_arena_create(true);
	if (made == BP_NO_ARENA)
		return pool_arena;
	/* Two threads at once: the second arena stays unused; it costs its metadata. */
	if (atomic_compare_exchange_strong_explicit(slot, &arena, made, memory_order_acq_rel, memory_order_acquire))
		return made;
	return arena;
}

/* alignment: what the program asked for. Blocks aligned to more than a page are never kept, whatever their size: their
 * tag is that of blocks larger than every class. */
static void note_large(const void *p, size_t usable, size_t alignment, const struct bp_heap *heap)
{
	if (!bp_range_has(p))
		atomic_store_explicit(&bp_range.incomplete, true, memory_order_relaxed);
	else if (usable > BP_CLASS_SIZE_MAX || alignment > BP_PAGE)
		bp_range_note_large(p, usable, BP_TAG_HUGE, heap->owner);
	else if (usable <= BP_SMALL_MAX)
		bp_range_note_slab(p, bp_class_of(usable), heap->owner);
	else
		bp_range_note_large(p, usable, bp_class_of(usable) + 1, heap->owner);
}

void *bp_large_spare(size_t n, int flags)
{
	void *p = NULL;
	for (unsigned i = 0; p == NULL && i < arena_count; i++) {
		unsigned arena = atomic_load_explicit(&arenas[i], memory_order_acquire);
		if (arena != BP_NO_ARENA)
			p = je_mallocx(n, flags | MALLOCX_ARENA(arena));
	}
	return p;
}

/* This CPU's arena; at a limit, another CPU's may have what this one can't get, or that of the pooled classes, which has all
 * of the range that they ever needed. */
static void *large_of_default(size_t n, int flags)
{
	void *p = je_mallocx(n, flags | MALLOCX_ARENA(is_first(n) ? pool_arena : own_arena()));
	if (p == NULL)
		p = bp_large_spare(n, flags);
	return p != NULL ? p : je_mallocx(n, flags | MALLOCX_ARENA(pool_arena));
}

void *bp_backend_large(size_t n, size_t alignment, bool zero, struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return NULL;
	int flags = MALLOCX_TCACHE_NONE | alignment_for(n, alignment) | (zero ? MALLOCX_ZERO : 0);
	n = n < 16 ? 16 : n; /* no block of the range is of the 8-byte class */
	void *p = NULL;
	if (heap->whole)
		p = je_mallocx(n, flags | MALLOCX_ARENA(heap->arena));
	else if (pool_arena != BP_NO_ARENA)
		p = large_of_default(n, flags);
	if (p == NULL && !heap->whole)
		p = je_mallocx(n, flags);
	if (p != NULL)
		note_large(p, je_sallocx(p, 0), alignment, heap);
	bp_backend_leave();
	return p;
}

bool bp_backend_large_free(void *p)
{
	if (!bp_backend_enter())
		return false;
	if (bp_range_has(p))
		bp_range_forget(p, BP_PAGE);
	je_dallocx(p, MALLOCX_TCACHE_NONE);
	bp_backend_leave();
	return true;
}

bool bp_backend_large_resize(void *p, size_t n, struct bp_heap *heap)
{
	if (!bp_backend_enter())
		return false;
	bool aligned = bp_range_has(p) && bp_range_start_of(p) == BP_TAG_HUGE && je_sallocx(p, 0) <= BP_CLASS_SIZE_MAX;
	/* The block is what a new one of n bytes would be, or it stays as it was: blocks of slabs can't shrink. */
	size_t got = je_xallocx(p, n, 0, 0);
	note_large(p, got, aligned ? 2 * BP_PAGE : 1, heap);
	bp_backend_leave();
	return got == je_nallocx(n, alignment_for(n, 1));
}

/* Even this changes something: the thread's cache of jemalloc's address map. */
size_t bp_backend_usable(const void *p)
{
	if (!bp_guard_enter())
		return 0;
	size_t n = je_sallocx((void *)p, 0);
	bp_guard_leave();
	return n;
}

size_t bp_backend_good_aligned_size(size_t n, size_t alignment)
{
	return n > PTRDIFF_MAX ? 0 : je_nallocx(n, alignment_for(n, alignment));
}

size_t bp_backend_good_size(size_t n)
{
	return bp_backend_good_aligned_size(n, 1);
}
