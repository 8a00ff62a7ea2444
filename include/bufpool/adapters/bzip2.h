/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: bzip2's streams from a pool.
 *
 *	#include <bzlib.h>
 *	#include <bufpool/adapters/bzip2.h>
 *
 *	bz_stream stream = { 0 };
 *	bufpool_bzip2_use(&stream, pool);
 *	BZ2_bzCompressInit(&stream, 1, 0, 0);
 *
 * What they allocate: 60 kB and blocks of 400 kB (level 1) to 3.6 MB (level 9). The default pool keeps none of these:
 * give bzip2 a pool of its own, whose cap is 4 MiB (bufpool_create).
 *
 * Who frees: BZ2_bzCompressEnd and BZ2_bzDecompressEnd, everything. The BZ2_bzRead, BZ2_bzWrite and BuffToBuff
 * functions have no hook and use malloc.
 */
#ifndef BUFPOOL_ADAPTERS_BZIP2_H
#define BUFPOOL_ADAPTERS_BZIP2_H

#include "bufpool/adapters/shapes.h"

#ifdef _BZLIB_H

/* Before BZ2_bzCompressInit or BZ2_bzDecompressInit of this stream, and only there. */
static inline void bufpool_bzip2_use(bz_stream *stream, struct bufpool *pool)
{
	stream->bzalloc = bufpool_hook_ctx_array_int;
	stream->bzfree = bufpool_hook_ctx_free;
	stream->opaque = pool;
}

#endif
#endif
