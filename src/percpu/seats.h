/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Seats: how a thread hits in the portable mode without a locked instruction.
 *
 * Behind the slabs of the CPUs each pool has slabs for seats. A seat belongs to one thread, from the first time that it
 * comes along the slow path and finds one free until it is gone; seat k is slab first + k in every pool, so epochs, drains
 * and statistics see it as one more CPU. Threads that find none free do as before: under the CPUs' locks (fallback.h).
 *
 * The contract of percpu.h, and how it is kept:
 *   - A thread works on its seat's stacks with plain loads and stores. Meanwhile its area says so: `here`, else the offset
 *     of the seat's slab from that of CPU 0, is BP_SEAT_AWAY, the offset of a slab below in which all is closed. So a
 *     signal handler above an operation of its own thread finds no seat: "not here".
 *   - Another thread takes a seat's stacks as it takes a CPU's (taking.c): it closes them, waits for operations in flight
 *     and reads the words. The waiting is an asymmetric Dekker lock. The owner stores `here`, then looks whether the stack
 *     is open; the taker closes the stack, then looks at `here`. Between the two the owner has a fence for the compiler
 *     only; the taker has membarrier, a fence on all threads. So the owner sees the stack closed, or the taker sees that
 *     the owner is away: then it looks again, a bounded number of times, and gives up.
 *   - `here` is written by the seat's owner only, and an owner is never put off its seat while it lives: it could be about
 *     to write `here`.
 *
 * Unusual: an owner's end is not noticed, because threads have no hook of ours. When no seat is free, somebody who wants
 * one asks the kernel, rarely, which owners are gone.
 */
#ifndef BP_PERCPU_SEATS_H
#define BP_PERCPU_SEATS_H

#include "percpu/percpu.h"

enum {
	BP_SEATS_LEAST = 8, /* seats are as many as CPUs, within these bounds: threads that wait have one, too */
	BP_SEATS_MOST = 256,
};

struct bp_seats {
	unsigned first, count; /* slabs; none: 0 */
};
extern struct bp_seats bp_seats BP_HIDDEN;

/* With so many CPUs; 0: not the portable mode. There, or without membarrier, there are no seats. */
void bp_seats_start(unsigned cpus) BP_HIDDEN;
/* In the child of a fork: only this thread is left. */
void bp_seats_child(void) BP_HIDDEN;

/* The slab of this thread's seat; a thread without one looks for one, not each time. -1: none, or it is in use below this
 * signal handler. */
int bp_seat_enter(void) BP_HIDDEN;

/* Is some thread asking the kernel for its number, or for others'? Not for long. */
bool bp_seats_are_looked_for(void) BP_HIDDEN;

/* Closed stacks of a seat: has every operation on them ended? false: could not be made sure of. */
bool bp_seat_stop(int cpu) BP_HIDDEN;

static inline bool bp_seat_is(int cpu)
{
	return cpu >= 0 && (unsigned)cpu - bp_seats.first < bp_seats.count;
}

/* Around an operation on the seat of slab `cpu`. false: it is not this thread's, or not here. */
static inline bool bp_seat_begin(int cpu)
{
	struct bp_rseq *me = bp_thread.rseq;
	if (atomic_load_explicit(&me->here, memory_order_relaxed) != (int64_t)cpu << BP_SLAB_SHIFT)
		return false;
	atomic_store_explicit(&me->here, BP_SEAT_AWAY, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

static inline void bp_seat_end(int cpu)
{
	atomic_store_explicit(&bp_thread.rseq->here, (int64_t)cpu << BP_SLAB_SHIFT, memory_order_release);
}

/* ---- the hit path: only where there are seats, for else the area may be the kernel's ---- */

/* "Unlikely" would not be enough: gcc 12 puts the way on behind a jump then, a cycle or two of 22. */
#define BP_SEAT_NEVER(x) __builtin_expect_with_probability(!!(x), 0, 1.0)

#if defined(__x86_64__) && !defined(BP_PERCPU_PORTABLE)
#define BP_SEAT_UNLESS_OVERFLOW(a, b, otherwise) \
	asm goto("addl %k1, %k0\n\tjnc %l2" : : "r"(a), "r"(b) : "cc" : otherwise)
#else
#define BP_SEAT_UNLESS_OVERFLOW(a, b, otherwise) \
	do { \
		if ((uint32_t)((a) + (b)) >= (a)) \
			goto otherwise; \
	} while (0)
#endif

/* false: nothing there, the count of pops has run out, or not here. */
static inline __attribute__((always_inline)) bool bp_seat_pop(void **out, char *base, unsigned class)
{
	struct bp_rseq *me = bp_thread.rseq;
	int64_t here = atomic_load_explicit(&me->here, memory_order_relaxed);
	if (BP_SEAT_NEVER(here < 0)) /* threads without a seat share an area: they don't write to it */
		return false;
	atomic_store_explicit(&me->here, BP_SEAT_AWAY, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	struct bp_slab *slab = (struct bp_slab *)(base + here);
	uint32_t floor = atomic_load_explicit(&slab->limits[class].floor, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed), next = word + UINT32_MAX;
	/* floor is ~bottom: the sum overflows where the index is above the bottom. */
	BP_SEAT_UNLESS_OVERFLOW(floor, (uint32_t)word, none);
	if (BP_SEAT_NEVER((int64_t)next < 0))
		goto none;
	void **top = (void **)slab + (uint32_t)word;
	*out = top[-1];
	__builtin_prefetch(top[-2], 1);
	atomic_store_explicit(&slab->words[class], next, memory_order_release);
	atomic_store_explicit(&me->here, here, memory_order_release);
	return true;
none:
	atomic_store_explicit(&me->here, here, memory_order_release);
	return false;
}

static inline __attribute__((always_inline)) bool bp_seat_push(char *base, unsigned class, void *p)
{
	struct bp_rseq *me = bp_thread.rseq;
	int64_t here = atomic_load_explicit(&me->here, memory_order_relaxed);
	if (BP_SEAT_NEVER(here < 0))
		return false;
	atomic_store_explicit(&me->here, BP_SEAT_AWAY, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	struct bp_slab *slab = (struct bp_slab *)(base + here);
	uint32_t end = atomic_load_explicit(&slab->limits[class].end, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	if (BP_SEAT_NEVER((uint32_t)word >= end)) {
		atomic_store_explicit(&me->here, here, memory_order_release);
		return false;
	}
	((void **)slab)[(uint32_t)word] = p;
	atomic_store_explicit(&slab->words[class], word + 1, memory_order_release);
	atomic_store_explicit(&me->here, here, memory_order_release);
	return true;
}

#endif
