/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks of the pooled classes, for backend.h: filling from a heap's arena and giving back to it.
 *
 * Invariant: every block of the range has its page table entry before it leaves this file.
 *
 * What is unusual
 *   - experimental.batch_alloc fills from fresh slabs only. bp_heap.holes counts, for each class, the blocks given back and not
 *     yet taken again; while it is not zero a fill goes through an explicit tcache, which takes holes first.
 *   - The explicit tcache is not thread-safe: try-lock, or do without it. It is made when holes or the number of blocks
 *     that were fetched one by one are worth what it costs.
 *   - Blocks with pages of their own are always asked for page-aligned, and handed out at a place within the first page that
 *     follows from its number (colour): if all began at a page, they would share a few sets of the cache, and memcpy
 *     between them would be up to 27 times slower (4 KiB aliasing). jemalloc does the same at random, for which each of
 *     its large blocks has a spare page; but then a release could not be checked.
 *
 * Order to read: places, slabs, the explicit tcache, fills.
 */
#include "sys/backend.h"

#include <string.h>

#include "sys/arena.h"
#include "sys/backend_parts.h"
#include "sys/jemalloc.h"
#include "sys/limits.h"
#include "sys/range.h"

enum {
	SINGLES = 1024, /* blocks fetched one by one at which the explicit tcache pays: 100 us, and 17 ns less for each */
};

static size_t batch_mib[2];
static bool plain;                 /* nobody but us has set jemalloc up: what follows need not be asked */
static bool can_batch = true;
static bool has_spare_page = true; /* jemalloc's large blocks have one */
static bool limited;               /* memory may be refused, as of the start */

void bp_pooled_start(bool is_plain)
{
	size_t length = 2;
	plain = is_plain;
	limited = bp_os_is_limited();
	if (plain)
		return;
	has_spare_page = bp_arena_setting_is("opt.cache_oblivious");
	can_batch = je_mallctlnametomib("experimental.batch_alloc", batch_mib, &length) == 0 && length == 2;
}

/* ---- places ---- */

/* Where in its first page a block begins that has pages of its own: one of 16 places, so that the entry's lowest byte stays
 * free for the tag. */
static size_t colour_of(const void *page)
{
	return (size_t)((uint32_t)((uintptr_t)page >> BP_PAGE_SHIFT) * 2654435769u >> 28) * BP_COLOUR_STEP;
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
	return alignment <= BP_COLOUR_STEP || bp_class_size(class) <= BP_SMALL_MAX || !has_spare_page;
}

static int alignment_flag(unsigned class)
{
	return bp_class_size(class) > BP_SMALL_MAX ? MALLOCX_LG_ALIGN(BP_PAGE_SHIFT) : 0;
}

/* ---- slabs ---- */

/* By backend.c's PRESET. */
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

/* ---- the explicit tcache ---- */

static _Atomic unsigned tcache = UINT32_MAX; /* UINT32_MAX: none */
static atomic_flag tcache_taken = ATOMIC_FLAG_INIT;

static unsigned create_tcache(void)
{
	unsigned made = UINT32_MAX;
	size_t size = sizeof(made);
	return je_mallctl("tcache.create", &made, &size, NULL, 0) == 0 ? made : UINT32_MAX;
}

/* Is the explicit tcache worth having? Its first creation costs what the start has spared (arena.c). */
static bool pays(size_t count, bool holes)
{
	static _Atomic size_t singles;
	return holes || atomic_load_explicit(&tcache, memory_order_relaxed) != UINT32_MAX ||
	       atomic_fetch_add_explicit(&singles, count, memory_order_relaxed) >= SINGLES;
}

void bp_pooled_flush(void)
{
	if (atomic_flag_test_and_set_explicit(&tcache_taken, memory_order_acquire))
		return;
	unsigned id = atomic_load_explicit(&tcache, memory_order_relaxed);
	if (id != UINT32_MAX)
		je_mallctl("tcache.flush", NULL, NULL, &id, sizeof(id));
	atomic_flag_clear_explicit(&tcache_taken, memory_order_release);
}

void bp_pooled_child(void)
{
	/* The explicit tcache is linked with those of threads that this process does not have: leave it alone for good. Its
	 * blocks are lost to this process, at most what one fill keeps ready. */
	atomic_store_explicit(&tcache, UINT32_MAX, memory_order_relaxed);
	atomic_flag_clear_explicit(&tcache_taken, memory_order_relaxed);
}

/* ---- fills ---- */

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

/* The layout that this experimental mallctl takes; see can_batch. */
struct batch_packet {
	void **blocks;
	size_t count;
	size_t size;
	int flags;
};

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

/* The arena gets no more, at a limit, or because the range is full or there is none: what blocks over the cap have left, or
 * jemalloc's own arenas. Not for a pool that must find all its blocks again. */
static void *elsewhere(size_t size, int flags)
{
	void *p = bp_large_spare(size, flags);
	return p != NULL ? p : je_mallocx(size, flags);
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
		got = (out[0] = elsewhere(bp_class_size(class), MALLOCX_TCACHE_NONE | alignment_flag(class))) != NULL;
	for (size_t i = 0; i < got; i++)
		if (i == 0 || page_of(out[i]) != page_of(out[i - 1])) /* what else lies in that page is noted with it */
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
		page = elsewhere(size, flags);
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
