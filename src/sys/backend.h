/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The jemalloc backend: what the pool takes blocks from and gives them back to. Only files of sys/ know that it is jemalloc, through
 * sys/jemalloc.h, the one file that includes its header and knows whether it is embedded or shared.
 *
 * Every block remains a plain jemalloc pointer. Blocks of the pooled classes come from one arena of ours, blocks over the
 * cap from one arena for each CPU; the extent hooks of both carve bp_range, whose page table is kept here. Where the
 * range is missing or full, blocks come from jemalloc's own arenas and bp_range.incomplete is set.
 *
 * Signals: while a thread is inside jemalloc, a handler on that thread must not enter it again (it would wait for a mutex
 * its own thread holds). bp_backend_busy() says so; every function that allocates then returns NULL, and giving back is
 * refused. May wait on jemalloc's mutexes otherwise.
 */
#ifndef BP_SYS_BACKEND_H
#define BP_SYS_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "size_classes.h"

/* Where a pool's blocks come from: its arena, and what is known of it. The default pool's arena serves the pooled classes
 * only and shares the arenas for blocks over the cap; a named pool has all of its blocks in one arena of its own, so that
 * it can be dropped whole. Zeroes: no arena yet. */
struct bp_heap {
	unsigned arena;     /* jemalloc's number of it; 0, which is never one of ours: none */
	int owner;          /* what the page table says of its pages: BP_OWNER_NONE, or the pool's number */
	bool whole;         /* everything is in this arena */
	_Atomic uint32_t holes[BP_CLASS_COUNT]; /* blocks given back and not yet taken again */
};

/* Reads jemalloc's settings, creates the arenas and with them the default pool's heap. decay_ms: how long pages lie unused
 * that only jemalloc knows of. false: jemalloc is not usable as a backend (everything then passes through). */
bool bp_backend_start(struct bp_heap *heap, unsigned decay_ms);
/* An arena for a pool's heap, unless it has one. false: jemalloc has no more (there are some 4 000), or no memory. */
bool bp_backend_heap_create(struct bp_heap *heap, int owner);
/* Takes back every block of it at once, whoever has them, and gives the pages to the kernel. The arena stays. false: this
 * thread is inside jemalloc. */
bool bp_backend_heap_drop(struct bp_heap *heap);
void bp_backend_set_decay(unsigned decay_ms);
/* A program's own malloc_conf (or NULL), and where jemalloc's messages go. Before the first call into jemalloc. */
void bp_backend_configure(const char *configuration, void (*message)(void *ctx, const char *text), unsigned decay_ms);

/* "embedded" or "shared". */
const char *bp_backend_name(void);

bool bp_backend_busy(void);
/* Is any thread inside jemalloc for a pool? Whoever must not wait for another thread then stays out of it. */
bool bp_backend_entered(void);

/* ---- the pooled classes ---- */

/* Blocks of one slab: a fill of at least this many takes fresh slabs in batches where there are no holes. 1 for classes
 * that have pages of their own. */
unsigned bp_backend_slab_blocks(unsigned class);
/* Up to `count` blocks; how many there were. Holes left by blocks given back first, fresh slabs only where there are none. */
size_t bp_backend_fill(void **out, size_t count, unsigned class, struct bp_heap *heap);
/* One block; zero: its content is zero (fresh pages are not touched for that). aligned: it begins as its size would let it, at a
 * page at the most; else those of 16 KiB and more begin at multiples of 256 that differ from block to block. */
void *bp_backend_one(unsigned class, bool zero, bool aligned, struct bp_heap *heap);
/* Does a block of the class begin at a multiple of the alignment (a power of two that divides its size, a page at most)? */
bool bp_backend_aligns(unsigned class, size_t alignment);
/* false: refused because this thread is inside jemalloc already. */
bool bp_backend_give_back(void *const *blocks, size_t count, unsigned class, struct bp_heap *heap);

/* ---- blocks over the cap, and odd alignments ---- */

void *bp_backend_large(size_t n, size_t alignment, bool zero, struct bp_heap *heap);
bool bp_backend_large_free(void *p);
/* Resizes where it lies, if it can be done. Only for blocks that are over the cap before and after. */
bool bp_backend_large_resize(void *p, size_t n, struct bp_heap *heap);
size_t bp_backend_usable(const void *p); /* 0: this thread is inside jemalloc and can't ask */
/* What bp_backend_large(n) would give; 0 where nothing can be that large. */
size_t bp_backend_good_size(size_t n);
size_t bp_backend_good_aligned_size(size_t n, size_t alignment);

/* ---- time ---- */

/* One bounded step of giving freed pages to the kernel: call after each so many bytes given back. */
void bp_backend_purge(struct bp_heap *heap);
/* Lets the arenas of blocks over the cap decay, flushes what the fills keep ready. Once an epoch. */
void bp_backend_decay(void);
/* Lets all arenas decay, those that what passes through comes from, too: may wait for any thread. */
void bp_backend_decay_all(void);
/* What the embedded jemalloc calls instead of pthread_atfork. */
int bp_jemalloc_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
/* After fork, in the child: drops helpers that another thread may have held. */
void bp_backend_child(void);
/* Live bytes, mapped bytes … of jemalloc: by its own statistics; 0 where unknown. */
struct bp_backend_stats {
	size_t allocated, active, metadata, resident, mapped;
};
void bp_backend_stats(struct bp_backend_stats *out);

/* Everything that jemalloc could give to the kernel, all arenas. */
void bp_backend_trim(void);
/* jemalloc's own statistics, to its message function. */
void bp_backend_print_stats(void);

/* jemalloc's own API, for the shim that exports it. is_plain: flags name no arena and no tcache. */
bool bp_jemalloc_is_plain(size_t *alignment, bool *zero, int flags);
void *bp_jemalloc_mallocx(size_t n, int flags);
void *bp_jemalloc_rallocx(void *p, size_t n, int flags);
size_t bp_jemalloc_xallocx(void *p, size_t n, size_t extra, int flags);
void bp_jemalloc_dallocx(void *p, int flags);
size_t bp_jemalloc_nallocx(size_t n, int flags);
int bp_jemalloc_mallctl(const char *name, void *old, size_t *old_size, void *value, size_t size);
int bp_jemalloc_nametomib(const char *name, size_t *mib, size_t *length);
int bp_jemalloc_bymib(const size_t *mib, size_t length, void *old, size_t *old_size, void *value, size_t size);
void bp_jemalloc_stats_print(void (*write)(void *, const char *), void *ctx, const char *opts);

#endif
