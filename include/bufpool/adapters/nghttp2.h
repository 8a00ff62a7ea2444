/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for nghttp2: sessions, header compressors and everything in them from a pool. Include <nghttp2/nghttp2.h>
 * first.
 *
 *	nghttp2_mem mem;
 *	bufpool_nghttp2_use(&mem, pool);
 *	nghttp2_session_server_new3(&session, callbacks, user_data, NULL, &mem);
 *
 * The same for nghttp2_session_client_new3, nghttp2_hd_deflate_new2 and nghttp2_hd_inflate_new2. Sessions copy *mem;
 * compressors on their own keep the pointer (1.52 does, though its manual says otherwise), so that *mem must live as long
 * as they do. What has no such parameter (callbacks, options) uses malloc.
 *
 * Who frees: nghttp2_session_del, nghttp2_hd_deflate_del, nghttp2_hd_inflate_del. Data of nghttp2_session_mem_send and
 * reference-counted headers (nghttp2_rcbuf) are the session's; one kept by nghttp2_rcbuf_incref goes to
 * nghttp2_rcbuf_decref, and must before its pool is destroyed.
 */
#ifndef BUFPOOL_ADAPTERS_NGHTTP2_H
#define BUFPOOL_ADAPTERS_NGHTTP2_H

#include "bufpool/adapters/shapes.h"

#ifdef NGHTTP2_H

/* Fills *mem; for how long it must live see above. */
static inline void bufpool_nghttp2_use(nghttp2_mem *mem, struct bufpool *pool)
{
	mem->mem_user_data = pool;
	mem->malloc = bufpool_hook_malloc_ctx;
	mem->free = bufpool_hook_free_ctx;
	mem->calloc = bufpool_hook_calloc_ctx;
	mem->realloc = bufpool_hook_realloc_ctx;
}

#endif
#endif
