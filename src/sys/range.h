/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one address range that all pooled memory comes from, and its page table.
 *
 * Why: release(p) must learn from p alone whether p is a block and of which class, without a header in the block and
 * without asking jemalloc. One compare says whether p lies in the range; one load from the table gives the class and
 * where the slab begins; one multiplication says whether p is the start of a block in it.
 *
 * An entry is 32 bits for each page of the range: the low half of the slab's start address, whose lowest byte (the start
 * is page-aligned) holds the tag, class + 1. 0: no block starts in this page. BP_TAG_ASIDE: the page belongs to a pool
 * other than the default one, or to one that looks at each call; then the other bits say which pool, which class and how
 * many pages back the slab begins. Such a release costs a few loads more and the default pool's nothing. The invariant: an
 * entry is written before the first block of its page is handed out, under jemalloc's own synchronisation, and never on a
 * hit; so a relaxed load suffices for whoever holds a block of the page (the hand-over of the block orders it). Whoever
 * holds none (misuse) may read a stale or a new entry, both of which lead to a report or to the mark's check.
 *
 * Range and table are reserved without access and committed together as the range grows, so that mlockall, core files
 * and RLIMIT_DATA see what is used and no more.
 *
 * Read first: struct bp_range, then bp_range_start_of; range.c grows it.
 */
#ifndef BP_SYS_RANGE_H
#define BP_SYS_RANGE_H

#include <stdatomic.h>

#include "size_classes.h"
#include "sys/os.h"

enum { BP_COLOUR_STEP = 256 }; /* blocks with pages of their own begin at multiples of it in their first page */

struct bp_range {
	char beside[BP_LINE];      /* each pair reads what follows: so it shares no set of the L1 cache with their beginnings */
	char *base;
	_Atomic size_t used;       /* bytes from base that are committed, table included; release by the grower, relaxed
	                            * by readers: whoever has a block already synchronised with its grower */
	_Atomic size_t served;     /* the same, for releases that can be hits at once; 0: none can (bp_range_aside) */
	_Atomic uint32_t *table;
	uintptr_t secret;          /* a released block's mark is secret ^ address */
	size_t reserved;           /* shrinks only (bp_range_shrink) */
	_Atomic bool incomplete;   /* some blocks came from outside the range: no range, or it was full */
};

extern struct bp_range bp_range BP_HIDDEN __attribute__((aligned(BP_COLOUR_STEP)));

/* Reserves as much as the process's limits allow, at most `wish` bytes. huge: ask for huge pages for growth. false:
 * nothing could be had; the backend then works without a range. */
bool bp_range_start(size_t wish, bool huge);

/* From now on releases go aside: bp_range_serves is false for all. */
void bp_range_aside(void);

/* In the child of a fork from a process with more threads. */
void bp_range_child(void);
/* Gives it all back; nothing may have been carved. */
void bp_range_stop(void);
/* Gives back the addresses beyond `most` bytes, and beyond what is used, and those of the table for them. */
void bp_range_shrink(size_t most);

/* Carves a committed piece. at: where it must be, or NULL. Serialised by a mutex:
 * called from jemalloc's extent hooks only. NULL: full, or `at` is not the next free address. */
void *bp_range_carve(void *at, size_t bytes, size_t alignment);

/* Whose blocks: the number of a pool, whose releases go aside, or none (the default pool, which is found without asking). */
enum { BP_OWNER_NONE = -1, BP_OWNERS = 4096 };

/* Says which class the blocks of p's slab have: writes the entries of all its pages if p's does not say so yet. p is
 * the start of a block of `class`. */
void bp_range_note_slab(const void *p, unsigned class, int owner);

/* A block with pages of its own: its first page's entry is `tag`, the others are cleared. It begins at a multiple of 256 within
 * that page, and at its start where the owner is one. */
void bp_range_note_large(const void *p, size_t bytes, unsigned tag, int owner);
/* The tag of the page that p is in, or of the block whose later page that is; 0: none. For reports: it searches. */
unsigned bp_range_around(const void *p);
/* Gives the memory of a piece to the kernel, its entries cleared. */
bool bp_range_purge(void *p, size_t bytes);
/* Clears the entries of a piece: its pages have been given back, or its block is no longer out. */
void bp_range_forget(const void *p, size_t bytes);

static inline bool bp_range_has(const void *p)
{
	return (uintptr_t)p - (uintptr_t)bp_range.base < atomic_load_explicit(&bp_range.used, memory_order_relaxed);
}

static inline bool bp_range_serves(const void *p)
{
	return (uintptr_t)p - (uintptr_t)bp_range.base < atomic_load_explicit(&bp_range.served, memory_order_relaxed);
}

/* Does a block start at p, and of which tag (class + 1, or BP_TAG_HUGE)? p is in the range. The reciprocal of tag 0 makes
 * the answer false; that of BP_TAG_HUGE accepts only the start of the page. */
static inline __attribute__((always_inline)) bool bp_range_starts(unsigned *tag, const void *p)
{
	uintptr_t offset = (uintptr_t)p - (uintptr_t)bp_range.base;
	uint32_t entry = atomic_load_explicit(&bp_range.table[offset >> BP_PAGE_SHIFT], memory_order_relaxed);
	*tag = entry & 0xff;
	return bp_class_starts_at(*tag, (uint32_t)((uint32_t)(uintptr_t)p - (entry - *tag)));
}

/* Does a block of that tag start at p? What the caller says spares the wait for the table's answer. */
static inline __attribute__((always_inline)) bool bp_range_starts_as(unsigned tag, const void *p)
{
	uintptr_t offset = (uintptr_t)p - (uintptr_t)bp_range.base;
	uint32_t entry = atomic_load_explicit(&bp_range.table[offset >> BP_PAGE_SHIFT], memory_order_relaxed);
	return (uint8_t)entry == tag && bp_class_starts_at(tag, (uint32_t)((uint32_t)(uintptr_t)p - entry + tag));
}

/* The entry of a page that is looked up aside: owner, pages back to the slab's first, tag of its blocks, BP_TAG_ASIDE. */
enum { BP_TAG_SHIFT = 8, BP_BACK_SHIFT = 16, BP_OWNER_SHIFT = 20 };
_Static_assert((uint64_t)BP_OWNERS << BP_OWNER_SHIFT == (uint64_t)1 << 32, "an owner fits");

/* The tag of the block that starts at p, and its owner, if it is one to be looked up aside; else 0 and BP_OWNER_NONE. */
static inline unsigned bp_range_start_aside(int *owner, const void *p)
{
	uintptr_t offset = (uintptr_t)p - (uintptr_t)bp_range.base;
	uint32_t entry = atomic_load_explicit(&bp_range.table[offset >> BP_PAGE_SHIFT], memory_order_relaxed);
	*owner = BP_OWNER_NONE;
	if ((entry & 0xff) != BP_TAG_ASIDE)
		return 0;
	unsigned tag = entry >> BP_TAG_SHIFT & 0xff;
	uintptr_t in_page = (uintptr_t)p & (BP_PAGE - 1), back = entry >> BP_BACK_SHIFT & 15;
	*owner = (int)(entry >> BP_OWNER_SHIFT);
	return bp_class_starts_at(tag, back * BP_PAGE + in_page) ? tag : 0;
}

/* The same for all, as one number: 0 where no block starts. */
static inline unsigned bp_range_start_of(const void *p)
{
	unsigned tag;
	if (bp_likely(bp_range_starts(&tag, p)))
		return tag;
	int owner;
	return tag == BP_TAG_ASIDE ? bp_range_start_aside(&owner, p) : 0;
}

/* The word in which a released block carries its mark: the second. Programs write the first word last, as bytes or as a
 * link; a load of the whole word waits for such a store to leave the pipeline (measured: 7.0 against 4.1 ns a pair). */
static inline uintptr_t *bp_mark_of(void *p)
{
	return (uintptr_t *)p + 1;
}

static inline uintptr_t bp_mark_value(const void *p)
{
	return bp_range.secret ^ (uintptr_t)p;
}

#endif
