/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: liblzma's coders from a pool.
 *
 *	#include <lzma.h>
 *	#include <bufpool/adapters/liblzma.h>
 *
 *	lzma_allocator allocator = bufpool_liblzma_allocator(pool);    -- must live as long as the stream
 *	lzma_stream stream = LZMA_STREAM_INIT;
 *	stream.allocator = &allocator;
 *
 * What they allocate: an encoder 3 MB (preset 0) to 700 MB, a decoder the dictionary, 256 KiB to 64 MB. Only preset 0
 * keeps to blocks of at most 4 MiB, the largest cap that a pool may have; larger ones come and go as with malloc.
 *
 * Who frees: lzma_end, everything. What functions with an `allocator` argument return through a pointer (lzma_index_…,
 * lzma_str_…, lzma_filters_…) goes to their counterparts with the same allocator, or to bufpool_release.
 */
#ifndef BUFPOOL_ADAPTERS_LIBLZMA_H
#define BUFPOOL_ADAPTERS_LIBLZMA_H

#include "bufpool/adapters/shapes.h"

#ifdef LZMA_H

/* For streams and for every function that takes an allocator; threads may share one. */
static inline lzma_allocator bufpool_liblzma_allocator(struct bufpool *pool)
{
	lzma_allocator allocator = { bufpool_hook_ctx_array, bufpool_hook_ctx_free, pool };

	return allocator;
}

#endif
#endif
