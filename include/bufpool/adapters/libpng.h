/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: libpng's structures, rows and the zlib streams below them from a pool.
 *
 *	#include <png.h>
 *	#include <bufpool/adapters/libpng.h>
 *
 *	png_structp png = bufpool_libpng_create_read(NULL, NULL, NULL, NULL);
 *	png_infop info = png_create_info_struct(png);
 *
 * Who frees: png_destroy_read_struct and png_destroy_write_struct, everything that libpng made; png_free what
 * png_malloc and png_calloc returned. Data of the caller's own that libpng is to free (png_data_freer with
 * PNG_DESTROY_WILL_FREE_DATA) must come from png_malloc: a block from malloc is misuse for the pool, which aborts.
 * The simplified API (png_image_…) has no hook and uses malloc.
 */
#ifndef BUFPOOL_ADAPTERS_LIBPNG_H
#define BUFPOOL_ADAPTERS_LIBPNG_H

#include "bufpool/adapters/shapes.h"

#if defined(PNG_H) && defined(PNG_USER_MEM_SUPPORTED)

static inline png_voidp bufpool_libpng_malloc_(png_structp png, png_alloc_size_t n)
{
	return bufpool_hook_ctx_malloc(png_get_mem_ptr(png), n);
}

static inline void bufpool_libpng_free_(png_structp png, png_voidp p)
{
	bufpool_hook_ctx_free(png_get_mem_ptr(png), p);
}

/* png_create_read_struct and png_create_write_struct with a pool; the functions may be NULL. NULL where there is
 * no memory. */
static inline png_structp bufpool_libpng_create_read(png_voidp error_ptr, png_error_ptr error_fn,
						     png_error_ptr warn_fn, struct bufpool *pool)
{
	return png_create_read_struct_2(PNG_LIBPNG_VER_STRING, error_ptr, error_fn, warn_fn, pool,
					bufpool_libpng_malloc_, bufpool_libpng_free_);
}

static inline png_structp bufpool_libpng_create_write(png_voidp error_ptr, png_error_ptr error_fn,
						      png_error_ptr warn_fn, struct bufpool *pool)
{
	return png_create_write_struct_2(PNG_LIBPNG_VER_STRING, error_ptr, error_fn, warn_fn, pool,
					 bufpool_libpng_malloc_, bufpool_libpng_free_);
}

#endif
#endif
