/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a pool learns from its buffers: how large a new one should begin, so that few have to be copied while they grow,
 * and which blocks are not worth keeping, because buffers far larger than their content come back one after the other.
 *
 * Why both here: they hold each other in check. A larger beginning saves copies and makes some buffers too large; the
 * evidence is weighed in one number. Everything is advice: a wrong answer costs a copy or a block fetched anew, never
 * content. So all of it is relaxed, and what a race loses is a vote.
 *
 * Invariant: a program whose buffers fit reads one line that nobody writes. Written it is only where there is something
 * to learn, and the less often the longer that goes on: of the first buffers each is looked at, later one in a thousand. A
 * program that does the same for ever comes to rest: each change of mind doubles the evidence that the next one needs,
 * and the blocks given back in a window of epochs are few and counted.
 */
#ifndef BP_CACHE_SIZING_H
#define BP_CACHE_SIZING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/os.h"

/* The numbers' reasons: docs/decisions.md. */
enum {
	BP_SIZING_SMALL = 4096,  /* blocks up to here are always kept */
	BP_SIZING_SHARE = 4,     /* well used: at least a quarter of the block */
	BP_SIZING_STRIKES = 4,   /* too large, this many in a row, and kept; twice as many for each row before it in the window */
	BP_SIZING_ROWS = 4,      /* rows that end with a block given back, in one window */
	BP_SIZING_WINDOW = 64,   /* epochs */
	BP_SIZING_FIRST = 64,    /* the smallest beginning to learn: well used by whoever outgrew the smallest block */
	BP_SIZING_OUTGROWN = 19, /* votes for a larger beginning, from a buffer that had to be copied; */
	BP_SIZING_FITS = 1,      /* for the present one, from a buffer that fitted: 19 to 1 is the 95th percentile; */
	BP_SIZING_POOR = 5,      /* for a smaller one, from a buffer that used less than its share of it */
	BP_SIZING_SURE = 8,      /* voices of one kind, nobody against, that change the beginning the first time */
	BP_SIZING_TURNS = 10,    /* doublings of that */
	BP_SIZING_LOOKS = 256,   /* buffers looked at before only every other one is, and so on, */
	BP_SIZING_RARELY = 10,   /* down to one in 2^this */
};

struct bp_sizing {
	_Atomic size_t start;     /* bytes that a buffer begins with, a power of two; 0: as many as are asked for */
	_Atomic uint32_t looks;   /* buffers looked at */
	_Atomic int32_t votes;    /* for a larger start; below 0: for a smaller one */
	_Atomic uint32_t strikes; /* blocks in a row that were too large for their content */
	_Atomic uint32_t rows;    /* rows that ended with a block given back in this window */
	_Atomic uint32_t window;  /* its number */
	_Atomic uint16_t turns;   /* changes of mind */
	_Atomic bool rose;        /* which way the last change went */

	/* For the statistics. */
	_Atomic uint64_t outgrown __attribute__((aligned(BP_LINE)));
	_Atomic uint64_t given_back;
} __attribute__((aligned(BP_LINE)));
_Static_assert(offsetof(struct bp_sizing, outgrown) == BP_LINE, "one line, which steady programs share for reading");

/* What became of a buffer. */
struct bp_use {
	size_t capacity; /* of its block */
	size_t content;  /* what it held at most */
	bool outgrown;   /* it had to be copied into a larger block */
};

/* Was the block far larger than what it held? A pool full of such costs memory; small ones don't count. */
static inline bool bp_sizing_is_too_large(struct bp_use use)
{
	return use.capacity > BP_SIZING_SMALL && use.content < use.capacity / BP_SIZING_SHARE;
}

/* Was it the learned beginning that was too much? A larger block, which the caller asked for, says nothing about that. */
static inline bool bp_sizing_is_poor_start(size_t start, struct bp_use use)
{
	return start != 0 && use.capacity <= start && use.content < start / BP_SIZING_SHARE;
}

/* Is there nothing to learn from this buffer? Loads only. */
static inline bool bp_sizing_is_settled(struct bp_sizing *s, struct bp_use use)
{
	return !use.outgrown && !bp_sizing_is_too_large(use) &&
	       !bp_sizing_is_poor_start(atomic_load_explicit(&s->start, memory_order_relaxed), use) &&
	       atomic_load_explicit(&s->votes, memory_order_relaxed) == 0 &&
	       atomic_load_explicit(&s->strikes, memory_order_relaxed) == 0;
}

/* Bytes to begin a buffer with that needs n now: the learned size where that is more, and is kept (cap) at all. */
static inline size_t bp_sizing_begin(struct bp_sizing *s, size_t n, size_t cap)
{
	size_t start = atomic_load_explicit(&s->start, memory_order_relaxed);
	return n < start && start <= cap ? start : n;
}

/* A buffer has ended. cap: largest block that the pool keeps. Is its block to be kept? */
bool bp_sizing_learn(struct bp_sizing *s, struct bp_use use, size_t cap, uint32_t epoch) BP_HIDDEN;

#endif
