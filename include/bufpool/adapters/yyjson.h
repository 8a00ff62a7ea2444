/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for yyjson, call by call: each function of yyjson whose name ends in _opts or takes a `const yyjson_alc *`
 * gets the one that is made here. Include <yyjson.h> first.
 *
 * Who frees what: a document made with it goes to yyjson_doc_free or yyjson_mut_doc_free, which remember it. A text
 * that yyjson_write_opts and its like return goes to bufpool_release, or to alc.free(alc.ctx, text); free() aborts in
 * glibc ("invalid pointer") or crashes. With alc NULL yyjson uses libc's functions, and then that text is free()'s.
 */
#ifndef BUFPOOL_ADAPTERS_YYJSON_H
#define BUFPOOL_ADAPTERS_YYJSON_H

#include "bufpool/adapters/shapes.h"

#ifdef YYJSON_H
/* yyjson copies it, so that it may be a local; pool (NULL: the default one) must outlive what is made with it. */
static inline yyjson_alc bufpool_yyjson_alc(struct bufpool *pool)
{
	yyjson_alc alc;

	alc.malloc = bufpool_hook_ctx_malloc;
	alc.realloc = bufpool_hook_ctx_sized_realloc;
	alc.free = bufpool_hook_ctx_free;
	alc.ctx = pool;
	return alc;
}
#endif

#endif
