/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See watch.h.
 */
#include "cache/watch.h"

#include <errno.h>
#include <string.h>

#include "cache/block.h"
#include "cache/leaks.h"
#include "cache/options.h"
#include "cache/release.h"
#include "sys/bump.h"

struct bp_watch bp_watch;

enum {
	SHELF = 16,           /* blocks of a class that change places */
	DROPPED_OF = 4,       /* one release in so many */
	FILLED_MOST = 1 << 20, /* bytes: a block of gigabytes may be meant to be touched here and there */
};

static _Atomic uint64_t seed;

/* Splitmix64: one addition that threads share, and a mixture of what it gave. */
static uint64_t random_number(void)
{
	uint64_t x = atomic_fetch_add_explicit(&seed, 0x9e3779b97f4a7c15u, memory_order_relaxed);
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

void bp_watch_start(void)
{
	bp_watch.strict = atomic_load_explicit(&bp_options.check, memory_order_relaxed) == BP_CHECK_STRICT;
	bp_watch.leaks = atomic_load_explicit(&bp_options.leaks, memory_order_relaxed) && bp_leaks_start();
	bp_watch.on = bp_watch.strict || bp_watch.leaks;
	atomic_store_explicit(&seed, bp_os_random(), memory_order_relaxed);
}

/* ---- content ---- */

static void fill(void *p, size_t n)
{
	unsigned tag = bp_range_has(p) ? bp_range_start_of(p) : 0;
	if (tag != 0 && tag != BP_TAG_HUGE)
		n = bp_class_size(tag - 1);
	memset(p, BP_WATCH_FRESH, n < FILLED_MOST ? n : FILLED_MOST);
}

void bp_watch_poison(void *p, unsigned class)
{
	memset(p, BP_WATCH_POISON, bp_class_size(class));
}

static bool is_poison(const unsigned char *p, size_t n)
{
	return n == 0 || (p[0] == BP_WATCH_POISON && memcmp(p, p + 1, n - 1) == 0);
}

bool bp_watch_is_poison(const void *p, unsigned class)
{
	const unsigned char *all = p, *behind = all + 2 * sizeof(uintptr_t);
	return is_poison(all, sizeof(uintptr_t)) && is_poison(behind, (size_t)(all + bp_class_size(class) - behind));
}

/* ---- out and back ---- */

void *bp_watch_acquired(struct bp_pool *pool, void *p, size_t n, bool zero)
{
	if (p == NULL || bp_bump_has(p))
		return p;
	if (bp_watch.strict && !zero)
		fill(p, n);
	if (bp_watch.leaks)
		bp_leaks_note(p, n, pool);
	return p;
}

void bp_watch_back(const void *p)
{
	if (bp_watch.leaks)
		bp_leaks_forget(p);
}

bool bp_watch_draws(uint32_t magazine)
{
	uint32_t n = bp_magazine_count(magazine);
	if (n <= SHELF)
		return false;
	void **slots = bp_magazine_slots(magazine), **one = &slots[random_number() % n], *p = *one;
	*one = slots[n - 1];
	slots[n - 1] = p;
	return true;
}

bool bp_watch_drops(void)
{
	return random_number() % DROPPED_OF == 0;
}

/* p's place is taken on the shelf; what leaves it for that. NULL: there was room. */
static void *exchange(struct bp_pool *pool, unsigned class, void *p)
{
	struct bp_level *shared = bp_pool_shared(pool, bp_pool_epoch(pool));
	uint32_t magazine = bp_pool_take(pool, shared, class);
	if (magazine == 0 && (magazine = bp_magazine_new()) == 0)
		return p;
	uint32_t n = bp_magazine_count(magazine);
	void **slots = bp_magazine_slots(magazine), *other = NULL;
	if (n < SHELF) {
		slots[n] = p;
		bp_magazine_set_count(magazine, n + 1);
		atomic_fetch_add_explicit(&pool->counts[class].released, 1, memory_order_relaxed);
	} else {
		void **place = &slots[random_number() % n];
		other = *place;
		*place = p;
	}
	bp_pool_put(pool, shared, class, magazine);
	return other;
}

static void release_strictly(struct bp_pool *pool, void *p, unsigned class)
{
	bp_watch_mark(p, class);
	if (atomic_load_explicit(&pool->passing, memory_order_relaxed) || bp_watch_drops()) {
		bp_pool_release_for_good(pool, class, p);
		return;
	}
	p = exchange(pool, class, p);
	if (p != NULL && !bp_rseq_push(pool->slabs.base, class, p))
		bp_pool_release_full(pool, p, class + 1);
}

void bp_watch_released(struct bp_pool *pool, void *p, unsigned tag)
{
	int saved = errno;
	if (*bp_mark_of(p) == bp_mark_value(p)) {
		bp_pool_release_twice(pool, p, tag);
		return;
	}
	bp_watch_back(p);
	if (bp_watch.strict && tag - 1 < pool->classes)
		release_strictly(pool, p, tag - 1);
	else
		bp_pool_release_marked(pool, p, tag, false);
	errno = saved;
}
