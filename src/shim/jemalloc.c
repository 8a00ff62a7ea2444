/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc's own API, for programs that link libjemalloc (redis, varnish, bind9): under the shim they meet the jemalloc
 * inside it and no second one. Blocks of the range are the pool's: what takes a block back or changes its size goes
 * through the engine, the rest is passed on. See jemalloc(3).
 */
#include <stdint.h>
#include <unistd.h>

#include "cache/block.h"
#include "cache/epoch.h"
#include "cache/options.h"
#include "shim/shim.h"
#include "sys/backend.h"
#include "sys/bump.h"

/* A program that defines these itself is honoured: its definition is found before this one. */
BP_EXPORT __attribute__((weak)) const char *malloc_conf = NULL;
BP_EXPORT __attribute__((weak)) void (*malloc_message)(void *ctx, const char *text) = NULL;

static void message(void *ctx, const char *text)
{
	if (malloc_message != NULL)
		malloc_message(ctx, text);
	else
		bp_os_write(STDERR_FILENO, text, __builtin_strlen(text));
}

static void configure(void)
{
	bp_backend_configure(malloc_conf, message, (unsigned)atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed));
}

void (*const bp_pool_before_start)(void) = configure;

BP_EXPORT void *mallocx(size_t n, int flags)
{
	size_t alignment;
	bool zero;
	if (bp_jemalloc_is_plain(&alignment, &zero, flags))
		return bp_block_aligned(POOL, alignment, n, zero);
	bp_pool_start(POOL);
	return bp_jemalloc_mallocx(n, flags);
}

BP_EXPORT void *rallocx(void *p, size_t n, int flags)
{
	if (!bp_range_has(p) && !bp_bump_has(p))
		return bp_jemalloc_rallocx(p, n, flags);
	void *fresh = mallocx(n, flags);
	if (fresh == NULL)
		return NULL;
	size_t now = bp_block_capacity(p);
	__builtin_memcpy(fresh, p, now < n ? now : n);
	bp_pool_release(POOL, p);
	return fresh;
}

/* "Resized to whatever was possible": blocks of the range keep their size. */
BP_EXPORT size_t xallocx(void *p, size_t n, size_t extra, int flags)
{
	return bp_range_has(p) ? bp_block_capacity(p) : bp_jemalloc_xallocx(p, n, extra, flags);
}

BP_EXPORT size_t sallocx(const void *p, int flags)
{
	(void)flags;
	return bp_block_capacity(p);
}

BP_EXPORT void dallocx(void *p, int flags)
{
	if (bp_range_has(p) || bp_bump_has(p))
		bp_pool_release(POOL, p);
	else
		bp_jemalloc_dallocx(p, flags);
}

BP_EXPORT void sdallocx(void *p, size_t n, int flags)
{
	(void)n;
	dallocx(p, flags);
}

BP_EXPORT size_t nallocx(size_t n, int flags)
{
	size_t alignment;
	bool zero;
	if (bp_pool_start(POOL) && bp_jemalloc_is_plain(&alignment, &zero, flags))
		return bp_block_good_aligned_size(POOL, alignment, n);
	return bp_jemalloc_nallocx(n, flags);
}

/* A program that asks jemalloc to give back what is free (redis, after FLUSHALL) means what lies in the pool as well. */
static void give_back_first(bool asked)
{
	if (asked)
		bp_epoch_trim(POOL, 0);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = __builtin_strlen(name), m = __builtin_strlen(end);
	return n > m && __builtin_strcmp(name + n - m, end) == 0;
}

static bool is_purge(const char *name)
{
	return __builtin_strncmp(name, "arena.", 6) == 0 && (ends_in(name, ".purge") || ends_in(name, ".decay"));
}

static bool is_purge_mib(const size_t *mib, size_t length)
{
	size_t purge[3] = { 0 }, decay[3] = { 0 }, n = 3;
	if (length != 3 || bp_jemalloc_nametomib("arena.0.purge", purge, &n) != 0 || n != 3 ||
	    bp_jemalloc_nametomib("arena.0.decay", decay, &n) != 0)
		return false;
	return mib[0] == purge[0] && (mib[2] == purge[2] || mib[2] == decay[2]);
}

BP_EXPORT int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t size)
{
	give_back_first(bp_pool_start(POOL) && is_purge(name));
	return bp_jemalloc_mallctl(name, old, old_size, value, size);
}

BP_EXPORT int mallctlnametomib(const char *name, size_t *mib, size_t *length)
{
	bp_pool_start(POOL);
	return bp_jemalloc_nametomib(name, mib, length);
}

BP_EXPORT int mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_size, void *value, size_t size)
{
	give_back_first(bp_pool_start(POOL) && is_purge_mib(mib, length));
	return bp_jemalloc_bymib(mib, length, old, old_size, value, size);
}

BP_EXPORT void malloc_stats_print(void (*write)(void *, const char *), void *ctx, const char *opts)
{
	bp_pool_start(POOL);
	bp_jemalloc_stats_print(write, ctx, opts);
}
