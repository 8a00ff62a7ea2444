/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What API and shim ask about blocks: how large, and may it be resized where it is.
 */
#ifndef BP_CACHE_BLOCK_H
#define BP_CACHE_BLOCK_H

#include "cache/pool.h"

/* Bytes in the block at p, a block that is out (anything else is misuse and may end the program). 0 for NULL. */
size_t bp_block_capacity(const void *p);

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
