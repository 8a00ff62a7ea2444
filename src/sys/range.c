/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See range.h. What is unusual: a block's slab start is never asked of jemalloc, it follows from the block's address.
 * A slab of class size s is lcm(s, page) bytes, so the distance of a page from its slab's start, modulo s, differs for
 * each page of the slab: only one of them makes the block's offset a multiple of s. (A jemalloc configured for larger
 * slabs has multiples of that length, for which the same arithmetic finds the start of the right cycle.)
 */
#include "sys/range.h"

#include <pthread.h>

struct bp_range bp_range;

enum {
	COMMIT_STEP = 2 << 20, /* of the range, a system call each; what mlockall(MCL_FUTURE) makes resident at once */
	TABLE_STEP = 64 << 10, /* of the table: 64 MiB of range */
	/* The table begins inside a page: the entries of the first pages, which every program uses, would otherwise share
	 * the low 12 address bits with the blocks in them, and each load of an entry would wait for the store to the
	 * block before it (measured: 7.0 instead of 3.7 ns a pair). */
	TABLE_SKEW = 2112,
};

/* Huge pages. A program that only grows spends half of its time in page faults; from HUGE_FROM on, growth asks for huge
 * pages. They must not outlive it: where part of one is given back, khugepaged would fill the hole again in the time of a
 * minute. So a huge page's worth that is given back in part is taken out, for good; `huge` says which are in. */
enum { HUGE_SHIFT = 21, HUGE_FROM = 16 << 20 };
#define HUGE_BYTES ((size_t)1 << HUGE_SHIFT)
#define HUGE_MOST ((size_t)1 << 40)

static bool wants_huge;
BP_REMOTE _Atomic uint8_t bp_range_huge[(HUGE_MOST >> HUGE_SHIFT) / 8];

/* Held inside jemalloc's hooks, beside whose mutexes it is one more, and for shrinking. No flag with a spin that yields:
 * sandboxes know futex, not sched_yield. */
static pthread_mutex_t growing = PTHREAD_MUTEX_INITIALIZER;
static size_t carved; /* bytes handed to jemalloc; written under growing */
static size_t table_committed;

/* Page faults are half of the time of a program that only grows, and most of a fault is getting into the kernel. So pages of
 * slabs are fetched in rows: a share of what lies before them, so that little is fetched in vain, and nothing by a program that
 * stays below 2 MiB. */
enum { AHEAD_SHARE = 64, AHEAD_LEAST = 32 << 10, AHEAD_MOST = 256 << 10 };
static _Atomic size_t ahead; /* offset below which slabs' pages have been fetched or faulted in */

/* Bytes of the table, from its first page on, that the first `bytes` of the range need. */
static size_t table_size(size_t bytes)
{
	return bp_round_up(TABLE_SKEW + bytes / BP_PAGE * sizeof(uint32_t), BP_PAGE);
}

/* LeakSanitizer's, where the program has one: it looks for pointers in memory that it knows, which the range is not, and
 * would report what only blocks lead to. Of what is named here only what can be read counts, so nobody takes it back. */
extern void __lsan_register_root_region(const void *from, size_t bytes) __attribute__((weak));

bool bp_range_start(size_t wish, bool with_huge)
{
	wants_huge = with_huge;
	for (size_t bytes = wish; bytes >= (size_t)64 << 20; bytes /= 2) {
		size_t table_bytes = table_size(bytes);
		char *base = bp_os_reserve(bytes, COMMIT_STEP);
		if (base == NULL)
			continue;
		char *table = bp_os_reserve(table_bytes, BP_PAGE);
		if (table == NULL) {
			bp_os_unmap(base, bytes);
			continue;
		}
		/* A system may give huge pages unasked (Debian's does), and would fill again what is given back in part. */
		bp_os_huge(base, bytes, false);
		bp_os_huge(table, table_bytes, false);
		bp_range.base = base;
		bp_range.table = (_Atomic uint32_t *)(table + TABLE_SKEW);
		bp_range.reserved = bytes;
		bp_range.secret = (uintptr_t)bp_os_random();
		if (&__lsan_register_root_region != NULL)
			__lsan_register_root_region(base, bytes);
		return true;
	}
	bp_range.secret = (uintptr_t)bp_os_random();
	return false;
}

void bp_range_child(void)
{
	growing = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

void bp_range_stop(void)
{
	if (bp_range.base == NULL || carved != 0)
		return;
	bp_os_unmap((char *)bp_range.table - TABLE_SKEW, table_size(bp_range.reserved));
	bp_os_unmap(bp_range.base, bp_range.reserved);
	bp_range.base = NULL;
	bp_range.reserved = 0;
}

void bp_range_shrink(size_t most)
{
	pthread_mutex_lock(&growing);
	size_t used = atomic_load_explicit(&bp_range.used, memory_order_relaxed), size = most & ~((size_t)COMMIT_STEP - 1);
	size = size > used ? size : used;
	size = size > COMMIT_STEP ? size : COMMIT_STEP;
	if (bp_range.base != NULL && size < bp_range.reserved) {
		size_t table_bytes = table_size(size);
		bp_os_unmap(bp_range.base + size, bp_range.reserved - size);
		bp_os_unmap((char *)bp_range.table - TABLE_SKEW + table_bytes, table_size(bp_range.reserved) - table_bytes);
		table_committed = table_committed < table_bytes ? table_committed : table_bytes;
		bp_range.reserved = size;
	}
	pthread_mutex_unlock(&growing);
}

/* Commits end at huge pages, except the last of the range. */
static void ask_for_huge(size_t from, size_t to)
{
	if (!wants_huge || from < HUGE_FROM || to > HUGE_MOST)
		return;
	bp_os_huge(bp_range.base + from, to - from, true);
	for (size_t i = from >> HUGE_SHIFT; i < to >> HUGE_SHIFT; i++)
		atomic_fetch_or_explicit(&bp_range_huge[i / 8], (uint8_t)(1u << i % 8), memory_order_relaxed);
}

/* The huge page's worth at that offset is given back in part. */
static void no_longer_huge(size_t offset)
{
	size_t i = offset >> HUGE_SHIFT;
	uint8_t bit = (uint8_t)(1u << i % 8);
	if (i >= HUGE_MOST >> HUGE_SHIFT || !(atomic_load_explicit(&bp_range_huge[i / 8], memory_order_relaxed) & bit))
		return;
	if (atomic_fetch_and_explicit(&bp_range_huge[i / 8], (uint8_t)~bit, memory_order_relaxed) & bit)
		bp_os_huge(bp_range.base + (i << HUGE_SHIFT), HUGE_BYTES, false);
}

bool bp_range_purge(void *p, size_t bytes)
{
	size_t from = (size_t)((char *)p - bp_range.base), to = from + bytes;
	bp_range_forget(p, bytes);
	if (from % HUGE_BYTES != 0)
		no_longer_huge(from);
	if (to % HUGE_BYTES != 0)
		no_longer_huge(to);
	return bp_os_purge(p, bytes);
}

static bool aside;

void bp_range_aside(void)
{
	aside = true;
	atomic_store_explicit(&bp_range.served, 0, memory_order_relaxed);
}

/* Makes everything below `end` (an offset) usable. Called under `growing`. */
static bool commit_to(size_t end)
{
	size_t used = atomic_load_explicit(&bp_range.used, memory_order_relaxed);
	if (end <= used)
		return true;
	size_t target = bp_round_up(end, COMMIT_STEP);
	if (target > bp_range.reserved)
		target = bp_range.reserved;
	size_t table_end = bp_round_up(table_size(target), TABLE_STEP), table_all = table_size(bp_range.reserved);
	table_end = table_end < table_all ? table_end : table_all;
	if (table_end > table_committed) {
		if (!bp_os_commit((char *)bp_range.table - TABLE_SKEW + table_committed, table_end - table_committed))
			return false;
		table_committed = table_end;
	}
	if (!bp_os_commit(bp_range.base + used, target - used))
		return false;
	ask_for_huge(used, target);
	/* Pairs with the relaxed loads in bp_range_has by way of the block's own hand-over. Served first: what is in the
	 * range is served, unless nothing is. */
	if (!aside)
		atomic_store_explicit(&bp_range.served, target, memory_order_release);
	atomic_store_explicit(&bp_range.used, target, memory_order_release);
	return true;
}

void *bp_range_carve(void *at, size_t bytes, size_t alignment)
{
	char *piece = NULL;
	if (bp_range.base == NULL)
		return NULL;
	pthread_mutex_lock(&growing);
	size_t start = (size_t)(bp_round_up((uintptr_t)bp_range.base + carved, alignment) - (uintptr_t)bp_range.base);
	bool fits = bytes <= bp_range.reserved && start <= bp_range.reserved - bytes;
	if (fits && (at == NULL || at == bp_range.base + start) && commit_to(start + bytes)) {
		piece = bp_range.base + start;
		carved = start + bytes;
	}
	pthread_mutex_unlock(&growing);
	return piece;
}

static _Atomic uint32_t *entry_of(const void *p)
{
	return &bp_range.table[((uintptr_t)p - (uintptr_t)bp_range.base) >> BP_PAGE_SHIFT];
}

/* Fetches the pages from p on that have never been touched, a row of them at once: the fill that is going on would meet
 * them one fault each, and a growing program the ones behind them. */
static void prefault(uintptr_t p)
{
	size_t used = atomic_load_explicit(&bp_range.used, memory_order_relaxed), from = p - (uintptr_t)bp_range.base;
	size_t row = from / AHEAD_SHARE < AHEAD_MOST ? from / AHEAD_SHARE & ~(BP_PAGE - 1) : AHEAD_MOST;
	size_t touched = atomic_load_explicit(&ahead, memory_order_relaxed);
	if (from < touched || row < AHEAD_LEAST)
		return;
	size_t end = from + row < used ? from + row : used;
	if (atomic_compare_exchange_strong_explicit(&ahead, &touched, end, memory_order_relaxed, memory_order_relaxed))
		bp_os_populate((void *)p, end - from);
}

/* ---- entries ---- */

static uint32_t entry_for(uintptr_t start, unsigned back, unsigned tag, int owner)
{
	if (bp_likely(owner == BP_OWNER_NONE))
		return (uint32_t)start | tag;
	return (uint32_t)owner << BP_OWNER_SHIFT | back << BP_BACK_SHIFT | tag << BP_TAG_SHIFT | BP_TAG_ASIDE;
}

/* The tag of the blocks in a page, by its entry. */
static unsigned tag_in(uint32_t entry)
{
	unsigned tag = entry & 0xff;
	return tag == BP_TAG_ASIDE ? entry >> BP_TAG_SHIFT & 0xff : tag;
}

/* Is p's entry what it would be made? Slabs that were noted before, mostly. */
static bool is_noted(const void *p, unsigned class, int owner)
{
	int noted;
	unsigned tag = bp_range_start_aside(&noted, p);
	return (tag != 0 ? tag : bp_range_start_of(p)) == class + 1 && noted == owner;
}

void bp_range_note_slab(const void *p, unsigned class, int owner)
{
	if (is_noted(p, class, owner))
		return;
	size_t size = bp_class_size(class);
	unsigned pages = bp_classes[class].slab_pages;
	uintptr_t start = (uintptr_t)p & ~(BP_PAGE - 1);
	for (unsigned back = 1; ((uintptr_t)p - start) % size != 0 && back < pages; back++)
		start -= BP_PAGE;
	for (unsigned i = 0; i < pages; i++)
		atomic_store_explicit(entry_of((void *)(start + i * BP_PAGE)), entry_for(start, i, class + 1, owner),
				      memory_order_relaxed);
	if (owner == BP_OWNER_NONE) /* pools of their own may be many and small */
		prefault(start);
}

/* Clears entries of pages that are the caller's. Many of them: whole pages of the table go back to the kernel, unread, and
 * read as zero. */
static void clear_entries(_Atomic uint32_t *entry, size_t count)
{
	char *from = (char *)bp_round_up((uintptr_t)entry, BP_PAGE);
	char *to = (char *)((uintptr_t)(entry + count) & ~(BP_PAGE - 1));
	bool purged = count > 16 * BP_PAGE / sizeof(*entry) && bp_os_purge(from, (size_t)(to - from));
	for (_Atomic uint32_t *e = entry; e < entry + count; e++) {
		if (purged && (char *)e == from)
			e = (_Atomic uint32_t *)to;
		if (e < entry + count && atomic_load_explicit(e, memory_order_relaxed) != 0)
			atomic_store_explicit(e, 0, memory_order_relaxed);
	}
}

void bp_range_note_large(const void *p, size_t bytes, unsigned tag, int owner)
{
	_Atomic uint32_t *entry = entry_of(p);
	size_t pages = bp_round_up(((uintptr_t)p & (BP_PAGE - 1)) + bytes, BP_PAGE) >> BP_PAGE_SHIFT;
	atomic_store_explicit(entry, entry_for((uintptr_t)p, 0, tag, owner), memory_order_relaxed);
	clear_entries(entry + 1, pages - 1);
}

void bp_range_forget(const void *p, size_t bytes)
{
	clear_entries(entry_of(p), bp_round_up(bytes, BP_PAGE) >> BP_PAGE_SHIFT);
}

unsigned bp_range_around(const void *p)
{
	size_t page = ((uintptr_t)p - (uintptr_t)bp_range.base) >> BP_PAGE_SHIFT;
	for (size_t back = 0; back <= page && back < BP_CLASS_SIZE_MAX / BP_PAGE; back++) {
		uint32_t entry = atomic_load_explicit(&bp_range.table[page - back], memory_order_relaxed);
		unsigned tag = tag_in(entry);
		if (tag == 0)
			continue;
		size_t in_page = tag == (entry & 0xff) ? entry & (BP_PAGE - 1) & ~(size_t)0xff : 0;
		bool covers = back == 0 || tag == BP_TAG_HUGE || back * BP_PAGE < in_page + bp_class_size(tag - 1);
		return covers ? tag : 0;
	}
	return 0;
}
