/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Looking at every acquire and every release: what leaks:true and check:strict have in common.
 *
 * How it costs nothing where neither is set: the limits that acquire compares with stay 0, as before the start, so
 * that every request takes the slow way (acquire.c ends each of them here); and pages are noted as another pool's
 * (range.h), so that every release looks for the owner and finds one that is watched (release.c). The fast ways are
 * the same instructions as ever.
 *
 * check:strict makes programs fail that rely on what a pool does not promise: to get the block back that was released
 * last, or any that was released, or its content. One release in four gives the block back at once. Of the others
 * each goes to a shelf, in exchange for one that was put there earlier, at random; the shelf is a magazine of the
 * shared level. What is released is poisoned whole and looked at again when it is handed out, which gets another
 * pattern.
 *
 * Invariant under check:strict: every byte of a cached block but its mark is poison.
 */
#ifndef BP_CACHE_WATCH_H
#define BP_CACHE_WATCH_H

#include "cache/pool.h"

struct bp_watch {
	bool on; /* one of these */
	bool leaks, strict;
};

extern struct bp_watch bp_watch BP_HIDDEN; /* set at start, constant from then on */

enum { BP_WATCH_FRESH = 0xa5, BP_WATCH_POISON = 0x5a };

/* By the options. */
void bp_watch_start(void) BP_SLOW;

void *bp_watch_acquired(struct bp_pool *pool, void *p, size_t n, bool zero) BP_SLOW;
void bp_watch_released(struct bp_pool *pool, void *p, unsigned tag) BP_SLOW;

/* A block goes out: every way of getting one ends here. p may be NULL. */
static inline void *bp_watch_out(struct bp_pool *pool, void *p, size_t n, bool zero)
{
	return bp_likely(!bp_watch.on) ? p : bp_watch_acquired(pool, p, n, zero);
}

/* One that comes back another way than through the pool. */
void bp_watch_back(const void *p) BP_SLOW;

/* ---- check:strict ---- */

/* Is this release the one in four that is not to be kept? */
bool bp_watch_drops(void) BP_SLOW;
/* A fresh block is cached. */
void bp_watch_poison(void *p, unsigned class) BP_SLOW;
/* Is every byte of it poison, but the mark, which has been looked at? */
bool bp_watch_is_poison(const void *p, unsigned class) BP_SLOW;
/* May a magazine that a level gave be used? Then its last slot is any of its. false: it is the shelf. */
bool bp_watch_draws(uint32_t magazine) BP_SLOW;

static inline void bp_watch_mark(void *p, unsigned class)
{
	if (bp_unlikely(bp_watch.strict))
		bp_watch_poison(p, class);
	*bp_mark_of(p) = bp_mark_value(p);
}

#endif
