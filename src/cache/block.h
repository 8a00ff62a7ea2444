/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What API and shim ask about blocks: how large, and may it be resized where it is.
 */
#ifndef BP_CACHE_BLOCK_H
#define BP_CACHE_BLOCK_H

#include "cache/pool.h"

/* Is p none of the library's? Can't be told where blocks come from outside the range, too: then false. */
bool bp_block_is_foreign(const void *p);

/* Is p a block that is out, as far as that can be told? What takes a block back or changes it asks first; the report, if
 * it is not, has then been made. */
bool bp_block_is_out(struct bp_pool *pool, void *p);

/* Bytes in the block at p. 0 for NULL and for what is no block of the library's. */
size_t bp_block_capacity(const void *p);

/* The same where a block of the default pool within the range is likely. */
static inline size_t bp_block_capacity_inline(const void *p)
{
	unsigned tag;
	if (bp_likely(bp_range_has(p)) && bp_likely(bp_range_starts(&tag, p)) && bp_likely(tag != BP_TAG_HUGE))
		return bp_class_size(tag - 1);
	return bp_block_capacity(p);
}

/* Is p the start of a block of the range? */
bool bp_block_is(const void *p);

/* The capacity that n bytes would get; 0: none. */
size_t bp_block_good_size(struct bp_pool *pool, size_t n);
size_t bp_block_good_aligned_size(struct bp_pool *pool, size_t alignment, size_t n);

/* realloc that never frees: keeps min(used, n) bytes. NULL: no memory, p is as it was. p is a block that is out. */
void *bp_block_resize(struct bp_pool *pool, void *p, size_t used, size_t n);

/* alignment: a power of two. */
void *bp_block_aligned(struct bp_pool *pool, size_t alignment, size_t n, bool zero);

/* Release where the caller says how large the block is; false: it is not, and nothing was done. */
bool bp_block_has_size(struct bp_pool *pool, const void *p, size_t n);
bool bp_block_has_aligned_size(struct bp_pool *pool, const void *p, size_t alignment, size_t n);

#endif
