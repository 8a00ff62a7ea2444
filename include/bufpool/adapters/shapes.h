/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: the functions that libraries call through their allocator hooks. Libraries differ in their names for a
 * hook but agree on seven shapes of it; each is here once, and the headers beside this one put the right ones where a
 * library wants them. Use those; a library that has none yet takes its functions from here.
 *
 * What all of them promise
 *   - What malloc, calloc, realloc and free of glibc promise: 0 bytes are a distinct block, realloc of NULL is malloc,
 *     realloc to 0 bytes frees and returns NULL, free takes NULL, a product that overflows is ENOMEM.
 *   - ctx is a `struct bufpool *`, NULL for the default pool, and the library hands it back unchanged. Shapes
 *     without ctx use the default pool.
 *   - What these return is released by the function of the same shape or by bufpool_release; free() doesn't know it.
 */
#ifndef BUFPOOL_ADAPTERS_SHAPES_H
#define BUFPOOL_ADAPTERS_SHAPES_H

#include "bufpool/bufpool.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- (a) as in libc: expat, libxml2, cJSON, jansson, libcurl, libuv, libevent ---- */

static inline void *bufpool_hook_malloc(size_t n)
{
	return bufpool_acquire(n);
}

static inline void *bufpool_hook_calloc(size_t count, size_t size)
{
	if (size != 0 && count > SIZE_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	return bufpool_acquire_zeroed(count * size);
}

static inline void *bufpool_hook_realloc(void *p, size_t n)
{
	if (n == 0 && p != NULL) {
		bufpool_release(p);
		return NULL;
	}
	return bufpool_resize(p, n);
}

static inline void bufpool_hook_free(void *p)
{
	bufpool_release(p);
}

static inline char *bufpool_hook_strdup(const char *s)
{
	return (char *)bufpool_memdup(s, strlen(s) + 1);
}

/* ---- (b) ctx first: brotli, zstd, lz4, protobuf-c, yyjson, duktape ---- */

static inline void *bufpool_hook_ctx_malloc(void *ctx, size_t n)
{
	return bufpool_acquire_from((struct bufpool *)ctx, n);
}

static inline void *bufpool_hook_ctx_calloc(void *ctx, size_t count, size_t size)
{
	void *p;

	if (ctx == NULL || (size != 0 && count > SIZE_MAX / size))
		return bufpool_hook_calloc(count, size);
	p = bufpool_hook_ctx_malloc(ctx, count * size);
	return p != NULL ? memset(p, 0, count * size) : NULL;
}

/* A block stays in the pool that it came from; ctx counts for p == NULL only. */
static inline void *bufpool_hook_ctx_realloc(void *ctx, void *p, size_t n)
{
	return p != NULL ? bufpool_hook_realloc(p, n) : bufpool_hook_ctx_malloc(ctx, n);
}

static inline void bufpool_hook_ctx_free(void *ctx, void *p)
{
	(void)ctx;
	bufpool_release(p);
}

/* ---- (c) ctx last: nghttp2, PCRE2 ---- */

static inline void *bufpool_hook_malloc_ctx(size_t n, void *ctx)
{
	return bufpool_hook_ctx_malloc(ctx, n);
}

static inline void *bufpool_hook_calloc_ctx(size_t count, size_t size, void *ctx)
{
	return bufpool_hook_ctx_calloc(ctx, count, size);
}

static inline void *bufpool_hook_realloc_ctx(void *p, size_t n, void *ctx)
{
	return bufpool_hook_ctx_realloc(ctx, p, n);
}

static inline void bufpool_hook_free_ctx(void *p, void *ctx)
{
	bufpool_hook_ctx_free(ctx, p);
}

/* ---- (d) items x size, not zeroed; free is (b)'s: liblzma (size_t), zlib (unsigned), bzip2 (int) ---- */

static inline void *bufpool_hook_ctx_array(void *ctx, size_t items, size_t size)
{
	if (size != 0 && items > SIZE_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	return bufpool_hook_ctx_malloc(ctx, items * size);
}

static inline void *bufpool_hook_ctx_array_uint(void *ctx, unsigned items, unsigned size)
{
	return bufpool_hook_ctx_array(ctx, items, size);
}

/* What is negative is more than any pool has. */
static inline void *bufpool_hook_ctx_array_int(void *ctx, int items, int size)
{
	return bufpool_hook_ctx_array(ctx, (size_t)items, (size_t)size);
}

/* ---- (e) the library knows the old size, so that only what is used is copied and the release is a sized one: GMP,
 * then Lua, yyjson ---- */

static inline void bufpool_hook_sized_free(void *p, size_t old)
{
	bufpool_release_sized(p, old);
}

static inline void *bufpool_hook_sized_realloc(void *p, size_t old, size_t n)
{
	if (p == NULL)
		return bufpool_acquire(n);
	if (n == 0) {
		bufpool_release_sized(p, old);
		return NULL;
	}
	return bufpool_resize_used(p, old < n ? old : n, n);
}

/* One function for everything. Where p is NULL `old` means nothing: Lua puts the type of the object there. */
static inline void *bufpool_hook_ctx_sized_realloc(void *ctx, void *p, size_t old, size_t n)
{
	if (p != NULL)
		return bufpool_hook_sized_realloc(p, old, n);
	return n != 0 ? bufpool_hook_ctx_malloc(ctx, n) : NULL;
}

/* ---- (f) with the caller's place in the source: OpenSSL ---- */

static inline void *bufpool_hook_malloc_at(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return bufpool_hook_malloc(n);
}

static inline void *bufpool_hook_realloc_at(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return bufpool_hook_realloc(p, n);
}

static inline void bufpool_hook_free_at(void *p, const char *file, int line)
{
	(void)file, (void)line;
	bufpool_hook_free(p);
}

/* ---- (g) sizes are int, and the library asks how large a block is and uses all of it: SQLite. free is (a)'s ---- */

static inline void *bufpool_hook_int_malloc(int n)
{
	return n >= 0 ? bufpool_acquire((size_t)n) : NULL;
}

static inline void *bufpool_hook_int_realloc(void *p, int n)
{
	return n >= 0 ? bufpool_hook_realloc(p, (size_t)n) : NULL;
}

static inline int bufpool_hook_int_size(void *p)
{
	size_t capacity = bufpool_capacity(p);

	return capacity < INT_MAX ? (int)capacity : INT_MAX;
}

/* Close to INT_MAX the next class is beyond it: as much as was asked for then. */
static inline int bufpool_hook_int_roundup(int n)
{
	size_t good = n >= 0 ? bufpool_good_size((size_t)n) : 0;

	return good != 0 && good < INT_MAX ? (int)good : n;
}

static inline int bufpool_hook_int_init(void *ctx)
{
	(void)ctx;
	return 0;
}

static inline void bufpool_hook_int_shutdown(void *ctx)
{
	(void)ctx;
}

#ifdef __cplusplus
}
#endif
#endif
