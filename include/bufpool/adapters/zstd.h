/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: Zstandard's contexts and dictionaries from a pool. The hook is in the part of zstd.h that zstd doesn't
 * call stable:
 *
 *	#define ZSTD_STATIC_LINKING_ONLY
 *	#include <zstd.h>
 *	#include <bufpool/adapters/zstd.h>
 *
 *	ZSTD_CCtx *cctx = bufpool_zstd_cctx_create(pool);
 *	ZSTD_CDict *dict = ZSTD_createCDict_advanced(…, bufpool_zstd_mem(pool));
 *
 * What they allocate: 96 kB for a decompressing context and as much as the window for a stream; 30 kB for a
 * compressing one whose text is short, up to some MB by level and text. What is over the default pool's cap of 64 KiB
 * isn't kept there: give zstd a pool of its own, whose cap is 4 MiB (bufpool_create). A context that is used again
 * needs no allocation at all; zstd's own advice is to do that.
 *
 * Who frees: ZSTD_freeCCtx, ZSTD_freeDCtx, ZSTD_freeCDict …, everything; zstd returns no memory to the caller.
 */
#ifndef BUFPOOL_ADAPTERS_ZSTD_H
#define BUFPOOL_ADAPTERS_ZSTD_H

#include "bufpool/adapters/shapes.h"

#ifdef ZSTD_H_ZSTD_STATIC_LINKING_ONLY

/* For every ZSTD_create…_advanced. */
static inline ZSTD_customMem bufpool_zstd_mem(struct bufpool *pool)
{
	ZSTD_customMem mem = { bufpool_hook_ctx_malloc, bufpool_hook_ctx_free, pool };

	return mem;
}

/* NULL where there is no memory. CStream and DStream are the same types. */
static inline ZSTD_CCtx *bufpool_zstd_cctx_create(struct bufpool *pool)
{
	return ZSTD_createCCtx_advanced(bufpool_zstd_mem(pool));
}

static inline ZSTD_DCtx *bufpool_zstd_dctx_create(struct bufpool *pool)
{
	return ZSTD_createDCtx_advanced(bufpool_zstd_mem(pool));
}

#endif
#endif
