/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What happens when a program releases what is no block, releases a block twice or writes to one after its release: one
 * line, and abort; under misuse:report it is counted and reported, and the program goes on.
 */
#ifndef BP_CACHE_MISUSE_H
#define BP_CACHE_MISUSE_H

#include <stddef.h>

#include "cache/pool.h"

enum bp_misuse {
	BP_MISUSE_DOUBLE,  /* a released block is released */
	BP_MISUSE_INVALID, /* in the range, but no block starts there: its inside, unaligned, given back long ago */
	BP_MISUSE_FOREIGN, /* not from this library */
	BP_MISUSE_SIZE,    /* the size given is not the block's */
	BP_MISUSE_POOL,    /* a pool that is none, or no longer */
	BP_MISUSE_WRITE,   /* a cached block's mark is gone: written to after its release, or released twice at once */
};

/* size: of the class, 0 where it isn't known. Returns under misuse:report, and where `fatal` is false. */
void bp_misuse_report(struct bp_pool *pool, enum bp_misuse what, const void *p, size_t size, bool fatal);

/* check:off: blocks without a mark are handed out, and whatever is released is kept. The marks are still written: looking
 * at them is what the hit path's one test does anyway. */
bool bp_misuse_unchecked(void);

/* Set by the shim: programs with a silent write after free run on other allocators, too. check:on overrules it. */
extern bool bp_misuse_lenient __attribute__((visibility("hidden")));

#endif
