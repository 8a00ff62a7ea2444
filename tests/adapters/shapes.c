/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shapes by themselves: what libraries seldom do to their hooks, but may. Each is called through a pointer, as a
 * library calls it.
 */
#include <bufpool/adapters/shapes.h>
#include "support.h"

#include <criterion/criterion.h>

TestSuite(shapes, .timeout = 60, .init = t_begin, .fini = t_end);

/* Twice that is 0 again. Volatile, because compilers know what such a product leads to, and warn. */
static volatile size_t half = SIZE_MAX / 2 + 1;

static void *(*volatile malloc_hook)(size_t) = bufpool_hook_malloc;
static void *(*volatile calloc_hook)(size_t, size_t) = bufpool_hook_calloc;
static void *(*volatile realloc_hook)(void *, size_t) = bufpool_hook_realloc;
static void (*volatile free_hook)(void *) = bufpool_hook_free;

static bool all(const void *p, size_t n, int value)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* A block full of a value is given back, so that what comes next is not zero by chance. */
static void soil(size_t n)
{
	void *p = malloc_hook(n);

	memset(p, 0xa5, n);
	free_hook(p);
}

Test(shapes, as_in_libc)
{
	void *p = malloc_hook(0), *q = malloc_hook(0);
	char *copy;

	cr_assert(p && q && p != q);
	free_hook(p);
	p = realloc_hook(q, 100);
	cr_assert_not_null(p);
	memset(p, 7, 100);
	p = realloc_hook(p, 100000);
	cr_assert(p && all(p, 100, 7));
	cr_assert_null(realloc_hook(p, 0)); /* has released it, or t_end fails */
	p = realloc_hook(NULL, 0);
	cr_assert_not_null(p);
	free_hook(p);
	free_hook(NULL);
	copy = bufpool_hook_strdup("text");
	cr_assert_str_eq(copy, "text");
	free_hook(copy);
}

Test(shapes, calloc_is_zero_and_checked)
{
	struct bufpool *pool;
	void *p;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	soil(1000);
	p = calloc_hook(10, 100);
	cr_assert(p && all(p, 1000, 0));
	free_hook(p);
	p = bufpool_hook_ctx_malloc(pool, 1000);
	memset(p, 0xa5, 1000);
	bufpool_hook_ctx_free(pool, p);
	p = bufpool_hook_ctx_calloc(pool, 10, 100);
	cr_assert(p && all(p, 1000, 0));
	bufpool_hook_ctx_free(pool, p);
	p = bufpool_hook_calloc_ctx(0, 100, pool);
	cr_assert_not_null(p);
	bufpool_hook_free_ctx(p, pool);
	errno = 0;
	cr_assert_null(bufpool_hook_ctx_calloc(pool, half, 2));
	cr_assert_eq(errno, ENOMEM);
	bufpool_destroy(pool);

	errno = 0;
	cr_assert_null(calloc_hook(half, 2));
	cr_assert_eq(errno, ENOMEM);
	errno = 0;
	cr_assert_null(bufpool_hook_ctx_calloc(NULL, 2, half));
	cr_assert_eq(errno, ENOMEM);
}

Test(shapes, blocks_stay_in_their_pool)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;
	void *first, *last, *array, *sized;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	first = bufpool_hook_ctx_realloc(pool, NULL, 10);
	first = bufpool_hook_ctx_realloc(NULL, first, 5000); /* a block knows better than ctx */
	last = bufpool_hook_realloc_ctx(NULL, 10, pool);
	array = bufpool_hook_ctx_array(pool, 10, 10);
	sized = bufpool_hook_ctx_sized_realloc(pool, NULL, 3, 10);
	sized = bufpool_hook_ctx_sized_realloc(pool, sized, 10, 3000);
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.in_use, 4);
	cr_assert_null(bufpool_hook_ctx_realloc(pool, first, 0));
	cr_assert_null(bufpool_hook_realloc_ctx(last, 0, pool));
	bufpool_hook_ctx_free(pool, array);
	cr_assert_null(bufpool_hook_ctx_sized_realloc(pool, sized, 3000, 0));
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.in_use, 0);
	bufpool_destroy(pool);
}

Test(shapes, products_are_checked)
{
	volatile int negative = -1;
	volatile unsigned most = UINT_MAX;
	void *p = bufpool_hook_ctx_array_uint(NULL, 3, 1000), *q = bufpool_hook_ctx_array_int(NULL, 3, 0);

	cr_assert(p && q);
	memset(p, 1, 3000);
	bufpool_hook_ctx_free(NULL, p);
	bufpool_hook_ctx_free(NULL, q);
	errno = 0;
	cr_assert_null(bufpool_hook_ctx_array(NULL, half, 2));
	cr_assert_eq(errno, ENOMEM);
	cr_assert_null(bufpool_hook_ctx_array_uint(NULL, most, most));
	cr_assert_null(bufpool_hook_ctx_array_int(NULL, negative, 1));
	cr_assert_null(bufpool_hook_ctx_array_int(NULL, 1, negative));
	cr_assert_null(bufpool_hook_ctx_array_int(NULL, negative, negative));
}

Test(shapes, the_old_size_is_known)
{
	unsigned char *p = bufpool_hook_sized_realloc(NULL, 5, 100); /* Lua's tag of a type is no size */

	memset(p, 9, 100);
	p = bufpool_hook_sized_realloc(p, 100, 50000);
	cr_assert(p && all(p, 100, 9));
	p = bufpool_hook_sized_realloc(p, 50000, 40);
	cr_assert(p && all(p, 40, 9));
	bufpool_hook_sized_free(p, 40);
	cr_assert_null(bufpool_hook_ctx_sized_realloc(NULL, NULL, 5, 0));
}

Test(shapes, file_and_line)
{
	char *p = bufpool_hook_malloc_at(10, __FILE__, __LINE__);

	strcpy(p, "text");
	p = bufpool_hook_realloc_at(p, 1000, __FILE__, __LINE__);
	cr_assert_str_eq(p, "text");
	bufpool_hook_free_at(p, __FILE__, __LINE__);
}

Test(shapes, int_sizes)
{
	void *p = bufpool_hook_int_malloc(100);
	int size = bufpool_hook_int_size(p);

	cr_assert_eq(size, bufpool_hook_int_roundup(100));
	cr_assert_geq(size, 100);
	memset(p, 1, (size_t)size);
	p = bufpool_hook_int_realloc(p, 3000);
	cr_assert(p && all(p, 100, 1));
	bufpool_hook_free(p);
	cr_assert_null(bufpool_hook_int_malloc(-1));
	cr_assert_null(bufpool_hook_int_realloc(NULL, -1));
	for (unsigned n = 1; n < INT_MAX; n += n / 2 + 1)
		cr_assert_geq(bufpool_hook_int_roundup((int)n), (int)n, "%u", n);
	cr_assert_eq(bufpool_hook_int_roundup(INT_MAX), INT_MAX);
}
