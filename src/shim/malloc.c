/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The preload shim: C's and POSIX's malloc family over the engine, as glibc documents it where glibc and jemalloc differ.
 *
 * What is unusual: a pointer that is not in the range is jemalloc's own (handed out before the start, in pass mode or when
 * the range was full), so "foreign" can't be told here and is left to jemalloc. A write after release is set aside and
 * counted but ends the program only under check:on.
 *
 * Next: glibc.c (what glibc adds), operators.c (C++), jemalloc.c (jemalloc's own API), vfork_x86_64.S.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "cache/block.h"
#include "cache/misuse.h"
#include "cache/policy.h"
#include "shim/shim.h"
#include "sys/backend.h"
#include "sys/bump.h"
#include "sys/pass.h"

/* The strong definition of what is false elsewhere. */
bool bp_misuse_lenient = true;

/* All that happens when the shim is loaded: the pool starts with the first call, whoever makes it. */
static __attribute__((constructor(101))) void expect_forks(void)
{
	bp_pool_expect_forks();
}

static void *no_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

BP_EXPORT void *malloc(size_t n)
{
	return bp_pool_acquire(POOL, n, false);
}

BP_EXPORT void free(void *p)
{
	bp_pool_release(POOL, p);
}

BP_EXPORT void cfree(void *p)
{
	bp_pool_release(POOL, p);
}

BP_EXPORT void *calloc(size_t count, size_t size)
{
	size_t n;
	if (bp_unlikely(__builtin_mul_overflow(count, size, &n)))
		return no_memory();
	return bp_pool_acquire(POOL, n, true);
}

BP_EXPORT void *realloc(void *p, size_t n)
{
	if (p == NULL)
		return bp_pool_acquire(POOL, n, false);
	if (n == 0) {
		bp_pool_release(POOL, p);
		return NULL;
	}
	/* What stays small stays with jemalloc; what grows beyond moves to the pool. */
	if (!bp_range_has(p) && n < atomic_load_explicit(&POOL->pass, memory_order_relaxed) && !bp_bump_has(p)) {
		void *fresh = bp_pass_realloc(p, n);
		if (fresh == NULL && n <= BP_PURGE_FOR) {
			bp_backend_trim(); /* see pass in cache/acquire.c */
			fresh = bp_pass_realloc(p, n);
		}
		return fresh != NULL ? fresh : no_memory();
	}
	return bp_block_resize(POOL, p, SIZE_MAX, n);
}

static bool is_power_of_two(size_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

BP_EXPORT int posix_memalign(void **out, size_t alignment, size_t n)
{
	int saved = errno;
	if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
		return EINVAL;
	void *p = bp_block_aligned(POOL, alignment, n, false);
	errno = saved;
	if (p == NULL)
		return ENOMEM;
	*out = p;
	return 0;
}

BP_EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return bp_block_aligned(POOL, alignment, n, false);
}

/* glibc rounds an alignment that is no power of two up to the next one. */
BP_EXPORT void *memalign(size_t alignment, size_t n)
{
	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	size_t power = 1;
	while (power < alignment)
		power *= 2;
	return bp_block_aligned(POOL, power, n, false);
}

BP_EXPORT void *valloc(size_t n)
{
	return bp_block_aligned(POOL, BP_PAGE, n, false);
}

BP_EXPORT void *pvalloc(size_t n)
{
	if (n > PTRDIFF_MAX)
		return no_memory();
	return bp_block_aligned(POOL, BP_PAGE, bp_round_up(n, BP_PAGE), false);
}

/* redis asks with every malloc and every free. */
BP_EXPORT size_t malloc_usable_size(void *p)
{
	return bp_block_capacity_inline(p);
}

/* A wrong size is the program's error, but not one it dies of elsewhere: counted, reported once. */
static __attribute__((noinline, cold)) void release_sized_other(void *p, size_t n)
{
	static atomic_flag reported = ATOMIC_FLAG_INIT;
	if (p != NULL && !bp_block_has_size(POOL, p, n)) {
		if (!atomic_flag_test_and_set_explicit(&reported, memory_order_relaxed))
			bp_misuse_report(POOL, BP_MISUSE_SIZE, p, bp_block_capacity(p), false);
		else
			atomic_fetch_add_explicit(&POOL->misuse, 1, memory_order_relaxed);
	}
	bp_pool_release(POOL, p);
}

void bp_shim_release_sized(void *p, size_t n)
{
	if (bp_unlikely(!bp_pool_release_sized(POOL, p, n)))
		release_sized_other(p, n);
}

BP_EXPORT void free_sized(void *p, size_t n)
{
	bp_shim_release_sized(p, n);
}

BP_EXPORT void free_aligned_sized(void *p, size_t alignment, size_t n)
{
	(void)alignment, (void)n;
	bp_pool_release(POOL, p);
}
