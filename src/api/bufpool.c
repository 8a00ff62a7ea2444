/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The public functions on blocks: each a few lines over the engine. include/bufpool/bufpool.h is their documentation.
 *
 * What is unusual: acquire and release are the engine's hit path itself, inlined here, so that a call costs one call.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "bufpool/bufpool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/engine.h"
#include "cache/block.h"
#include "cache/epoch.h"
#include "cache/misuse.h"
#include "cache/pools.h"
#include "sys/backend.h"

#define POOL (&bp_default_pool)

/* What runs at a program's start and end lies in files of its own: out of a static library they come only if asked for. */
extern const char bp_background_here, bp_leaks_here, bp_options_here;
__attribute__((used)) static const char *const bp_linked[] = { &bp_background_here, &bp_leaks_here, &bp_options_here };

void *bufpool_acquire(size_t n)
{
	return bp_pool_acquire(POOL, n, false);
}

void *bufpool_acquire_class_(unsigned index, size_t n)
{
	if (bp_unlikely(n > atomic_load_explicit(&POOL->limit, memory_order_relaxed)))
		return bp_pool_acquire_other(POOL, n, false);
	return bp_pool_acquire_class(POOL, index, n, false);
}

void *bufpool_acquire_from(struct bufpool *pool, size_t n)
{
	return bp_pool_acquire(bp_engine(pool), n, false);
}

void *bufpool_acquire_zeroed(size_t n)
{
	return bp_pool_acquire(POOL, n, true);
}

void *bufpool_acquire_array(size_t count, size_t size)
{
	size_t n;
	if (__builtin_mul_overflow(count, size, &n)) {
		errno = ENOMEM;
		return NULL;
	}
	return bp_pool_acquire(POOL, n, false);
}

void *bufpool_acquire_aligned(size_t alignment, size_t n)
{
	if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
		errno = EINVAL;
		return NULL;
	}
	return bp_block_aligned(POOL, alignment, n, false);
}

void *bufpool_acquire_at_least(size_t *capacity, size_t n)
{
	void *p = bp_pool_acquire(POOL, n, false);
	if (p != NULL)
		*capacity = bp_block_capacity(p);
	return p;
}

size_t bufpool_acquire_many(void **out, size_t count, size_t n)
{
	size_t got = 0;
	while (got < count && (out[got] = bp_pool_acquire(POOL, n, false)) != NULL)
		got++;
	if (got < count)
		memset(out + got, 0, (count - got) * sizeof(*out));
	return got;
}

void *bufpool_resize(void *p, size_t n)
{
	return bp_block_resize(POOL, p, SIZE_MAX, n);
}

void *bufpool_resize_used(void *p, size_t used, size_t n)
{
	return bp_block_resize(POOL, p, used, n);
}

char *bufpool_strndup(const char *s, size_t n)
{
	size_t length = strnlen(s, n);
	char *copy = bp_pool_acquire(POOL, length + 1, false);
	if (copy == NULL)
		return NULL;
	memcpy(copy, s, length);
	copy[length] = '\0';
	return copy;
}

void *bufpool_memdup(const void *src, size_t n)
{
	void *copy = bp_pool_acquire(POOL, n, false);
	return copy == NULL || n == 0 ? copy : memcpy(copy, src, n);
}

void bufpool_release(void *p)
{
	bp_pool_release(POOL, p);
}

/* What the hit path did not take: a class with no stack, a size over the limit, NULL, or a wrong size. Apart from it and
 * called last, so that the hit path keeps nothing across a call and needs no frame. */
static __attribute__((noinline, cold)) void release_sized_other(void *p, size_t n)
{
	if (p != NULL && bp_unlikely(!bp_block_has_size(POOL, p, n)))
		bp_misuse_report(POOL, BP_MISUSE_SIZE, p, bp_block_capacity(p), true);
	bp_pool_release(POOL, p);
}

void bufpool_release_sized(void *p, size_t n)
{
	if (bp_unlikely(!bp_pool_release_sized(POOL, p, n)))
		release_sized_other(p, n);
}

static __attribute__((noinline, cold)) void release_class_other(void *p, unsigned index)
{
	release_sized_other(p, bp_class_size(index));
}

void bufpool_release_class_(void *p, unsigned index)
{
	if (bp_unlikely(!bp_pool_release_class(POOL, p, index)))
		release_class_other(p, index);
}

void bufpool_release_aligned_sized(void *p, size_t alignment, size_t n)
{
	if (p != NULL && bp_unlikely(!bp_block_has_aligned_size(POOL, p, alignment, n)))
		bp_misuse_report(POOL, BP_MISUSE_SIZE, p, bp_block_capacity(p), true);
	bp_pool_release(POOL, p);
}

void bufpool_release_wiped(void *p, size_t used)
{
	if (p == NULL || !bp_block_is_out(POOL, p))
		return;
	size_t capacity = bp_block_capacity(p);
	explicit_bzero(p, used < capacity ? used : capacity);
	bp_pool_release(POOL, p);
}

void bufpool_release_many(void *const *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i] != NULL)
			bp_pool_release(POOL, blocks[i]);
}

size_t bufpool_capacity(const void *p)
{
	return bp_block_capacity_inline(p);
}

size_t bufpool_good_size(size_t n)
{
	if (bp_likely(n < atomic_load_explicit(&POOL->small, memory_order_relaxed)))
		return bp_class_size(bp_class_fine(n));
	bp_pool_start(POOL);
	return bp_block_good_size(POOL, n);
}

bool bufpool_owns(const void *p)
{
	return bp_block_is(p);
}

int bufpool_tick(void)
{
	return bp_pool_start(POOL) ? bp_pools_tick(bp_epoch_tick(POOL)) : -1;
}

void bufpool_advance_epoch(struct bufpool *pool)
{
	struct bp_pool *engine = bp_engine(pool);
	if (bp_pool_start(engine))
		bp_epoch_advance(engine);
}

size_t bufpool_trim(struct bufpool *pool, size_t keep)
{
	struct bp_pool *engine = bp_engine(pool);
	if (!bp_pool_start(engine))
		return 0;
	size_t given = bp_epoch_trim(engine, keep);
	if (keep == 0 && pool == NULL)
		bp_backend_trim(); /* what blocks over the cap left behind, too */
	return given;
}

unsigned bufpool_version(void)
{
	return BUFPOOL_VERSION;
}

extern unsigned bp_own_version(void) __attribute__((alias("bufpool_version"), visibility("hidden"))); /* provider.c */

const char *bufpool_version_string(void)
{
	return "0.1.0";
}
