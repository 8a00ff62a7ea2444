/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: zlib's streams from a pool. A deflate stream is four blocks of 64 KiB and two small ones, which malloc
 * mostly gets from the kernel and gives back for every stream: with many small inputs that is what takes the time.
 *
 *	#include <zlib.h>
 *	#include <bufpool/adapters/zlib.h>
 *
 *	z_stream stream = { 0 };
 *	bufpool_zlib_use(&stream, NULL);
 *	deflateInit(&stream, Z_DEFAULT_COMPRESSION);
 *
 * Who frees: deflateEnd and inflateEnd, inflateBackEnd, everything; zlib returns no memory to the caller. deflateCopy
 * and inflateCopy take the copy from the same pool. compress, uncompress and the gz functions have no hook and use
 * malloc.
 */
#ifndef BUFPOOL_ADAPTERS_ZLIB_H
#define BUFPOOL_ADAPTERS_ZLIB_H

#include "bufpool/adapters/shapes.h"

#ifdef ZLIB_H

/* Before deflateInit, inflateInit or inflateBackInit of this stream, and only there. Any thread, one stream at a
 * time. */
static inline void bufpool_zlib_use(z_stream *stream, struct bufpool *pool)
{
	stream->zalloc = bufpool_hook_ctx_array_uint;
	stream->zfree = bufpool_hook_ctx_free;
	stream->opaque = pool;
}

#endif
#endif
