/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for Duktape: a heap whose every object comes from a pool. Include <duktape.h> first.
 *
 *	duk_context *ctx = bufpool_duktape_create(NULL, NULL);
 *
 * Who frees: duk_destroy_heap, everything. Strings and buffers are the heap's; what duk_alloc, duk_alloc_raw and
 * duk_steal_buffer return goes to duk_free, before the heap is destroyed. After it, a stolen buffer goes to
 * bufpool_release; free() aborts or crashes.
 */
#ifndef BUFPOOL_ADAPTERS_DUKTAPE_H
#define BUFPOOL_ADAPTERS_DUKTAPE_H

#include "bufpool/adapters/shapes.h"

#ifdef DUKTAPE_H_INCLUDED

/* In place of duk_create_heap. `fatal` gets `pool` as its udata; NULL: Duktape's own, which aborts. NULL: no memory.
 * Any thread. */
static inline duk_context *bufpool_duktape_create(struct bufpool *pool, duk_fatal_function fatal)
{
	return duk_create_heap(bufpool_hook_ctx_malloc, bufpool_hook_ctx_realloc, bufpool_hook_ctx_free, pool, fatal);
}

#endif
#endif
