/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: the contexts of LZ4 frames from a pool. The hook is in the part of lz4frame.h that LZ4 doesn't call
 * stable, from 1.9.4 on:
 *
 *	#define LZ4F_STATIC_LINKING_ONLY
 *	#include <lz4frame.h>
 *	#include <bufpool/adapters/lz4.h>
 *
 *	LZ4F_cctx *cctx = bufpool_lz4_cctx_create(pool);
 *
 * What they allocate: 16 kB for compressing (256 kB from level 3 on), and for both ways buffers that go by the
 * frame's block size: from 64 KiB and 4 bytes up. What is over the cap of the pool, 64 KiB in the default one, isn't
 * kept: give LZ4 a pool of its own, whose cap is 4 MiB (bufpool_create).
 *
 * Who frees: LZ4F_freeCompressionContext, LZ4F_freeDecompressionContext, LZ4F_freeCDict, everything.
 * LZ4F_compressFrame and the functions of lz4.h have no hook.
 */
#ifndef BUFPOOL_ADAPTERS_LZ4_H
#define BUFPOOL_ADAPTERS_LZ4_H

#include "bufpool/adapters/shapes.h"

#ifdef LZ4F_H_STATIC_09782039843

/* For every LZ4F_create…_advanced. */
static inline LZ4F_CustomMem bufpool_lz4_mem(struct bufpool *pool)
{
	LZ4F_CustomMem mem = { bufpool_hook_ctx_malloc, NULL, bufpool_hook_ctx_free, pool };

	return mem;
}

/* NULL where there is no memory. */
static inline LZ4F_cctx *bufpool_lz4_cctx_create(struct bufpool *pool)
{
	return LZ4F_createCompressionContext_advanced(bufpool_lz4_mem(pool), LZ4F_VERSION);
}

static inline LZ4F_dctx *bufpool_lz4_dctx_create(struct bufpool *pool)
{
	return LZ4F_createDecompressionContext_advanced(bufpool_lz4_mem(pool), LZ4F_VERSION);
}

#endif
#endif
