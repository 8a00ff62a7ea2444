/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The least that a cache of blocks can cost: push to and pop from one array behind two calls. Acquire and release are
 * held against this. It has a file to itself so that the calls can't be inlined, and volatile accesses so that a pair
 * can't be folded away: a pool, too, must really store what it got.
 */
#include "limit.h"

#include <stddef.h>

#define SLOTS 64

static void *volatile slots[SLOTS];
static volatile long top;

void bench_limit_push(void *p)
{
	long t = top;

	if (t >= SLOTS)
		return;
	slots[t] = p;
	top = t + 1;
}

void *bench_limit_pop(void)
{
	long t = top;
	void *p;

	if (t == 0)
		return NULL;
	p = slots[t - 1];
	top = t - 1;
	return p;
}
