/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How another CPU's stacks are taken away from it, and what of that a child of fork finds half done.
 *
 * The protocol of taking, for the reader who doubts it. The taker owns cpu.taken (compare-exchange, one taker a CPU). It
 * sets floor and end to zero; a change of capacity by somebody else is a compare-exchange on end that expects a value
 * other than zero, so it can't open what is closed. Sections that have read floor or end before that may still commit;
 * membarrier's rseq command makes each section that runs on the CPU start again, and returns when that is done: from then
 * on no section can commit to a closed head. Now the taker reads the word, writes it empty, hands out what the slots
 * hold, and opens: word before floor before end, each with release (it pairs with the acquire of the operations, which
 * read floor or end first and the word second). In the portable mode the CPU's lock takes membarrier's place, and for a
 * seat what seats.h says.
 *
 * fork in the middle: the child has no taker. The word was either not yet written (the blocks are in the stack, and
 * nowhere else: it is written empty before they are handed on) or was (they are lost to the child). bp_percpu_child opens
 * what is closed.
 */
#include <sched.h>

#include "percpu/fallback.h"
#include "percpu/seats.h"
#include "percpu/stacks.h"

/* For a taker, which may have lost its CPU: what takes longer is this thread, below a signal handler. */
enum { CONFINE_MS = 1000 };

static bool stop(struct bp_slabs s, int cpu)
{
	if (bp_percpu_mode() == BP_PERCPU_RSEQ)
		return bp_os_restart_cpu(cpu);
	return bp_seat_is(cpu) ? bp_seat_stop(cpu) : bp_fallback_lock(s, cpu);
}

static void resume(struct bp_slabs s, int cpu)
{
	if (bp_percpu_mode() != BP_PERCPU_RSEQ && !bp_seat_is(cpu))
		bp_fallback_unlock(s, cpu);
}

/* membarrier may be what a sandbox kills for: this thread's, or that of the child of a vfork, about which nothing is known
 * (and which must not leave a CPU taken, if it is killed, in its parent's memory). */
static bool may_stop(int cpu)
{
	return (bp_percpu_mode() != BP_PERCPU_RSEQ && !bp_seat_is(cpu)) ||
	       !(bp_os_is_confined() || bp_thread.rseq == &bp_rseq_vfork);
}

static bool is_open(struct bp_slab *slab, unsigned class)
{
	return atomic_load_explicit(&slab->limits[class].floor, memory_order_acquire) != 0;
}

static bool is_wholly_open(struct bp_slab *slab, unsigned class)
{
	return is_open(slab, class) && atomic_load_explicit(&slab->limits[class].end, memory_order_relaxed) != 0;
}

static void empty_and_open(struct bp_slab *slab, unsigned class, bp_percpu_each_fn *each, void *ctx)
{
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	uint32_t count = (uint32_t)word - bp_bottoms[class];
	if (count > 0 && each != NULL) {
		atomic_store_explicit(&slab->words[class], word - count, memory_order_relaxed);
		each(ctx, class, (void **)slab + bp_bottoms[class], count);
	}
	unsigned capacity = atomic_load_explicit(&slab->cpu.classes[class].capacity, memory_order_relaxed);
	bp_open_stack(&slab->limits[class], class, capacity);
}

bool bp_percpu_take(struct bp_slabs s, int cpu, unsigned first, unsigned last, bp_percpu_each_fn *each, void *ctx)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	uint32_t nobody = 0;
	uint64_t closed[2] = { 0, 0 };
	if (atomic_load_explicit(&slab->cpu.state, memory_order_acquire) != BP_CPU_READY ||
	    !atomic_compare_exchange_strong_explicit(&slab->cpu.taken, &nobody, 1, memory_order_seq_cst,
						     memory_order_relaxed))
		return false;
	/* After the exchange: either this sees that it may not, or bp_percpu_confine sees that it takes. */
	if (!may_stop(cpu)) {
		atomic_store_explicit(&slab->cpu.taken, 0, memory_order_release);
		return false;
	}
	for (unsigned class = first; class <= last; class++) {
		if (!is_open(slab, class) || bp_percpu_count(s, cpu, class) == 0)
			continue;
		closed[class / 64] |= (uint64_t)1 << class % 64;
		atomic_store_explicit(&slab->limits[class].floor, 0, memory_order_relaxed);
		atomic_exchange_explicit(&slab->limits[class].end, 0, memory_order_seq_cst);
	}
	bool stopped = (closed[0] | closed[1]) != 0 && stop(s, cpu);
	for (unsigned class = first; class <= last; class++)
		if (closed[class / 64] >> class % 64 & 1)
			empty_and_open(slab, class, stopped ? each : NULL, ctx);
	if (stopped)
		resume(s, cpu);
	atomic_store_explicit(&slab->cpu.taken, 0, memory_order_release);
	return stopped || (closed[0] | closed[1]) == 0;
}

bool bp_percpu_close(struct bp_slabs s, int cpu, unsigned class)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	uint32_t nobody = 0;
	if (atomic_load_explicit(&slab->cpu.classes[class].opened, memory_order_acquire) == 0)
		return true;
	bool alone = atomic_compare_exchange_strong_explicit(&slab->cpu.taken, &nobody, 1, memory_order_seq_cst,
							     memory_order_relaxed);
	/* Behind it: a taker may have read the room that there was, and is about to open with that. */
	bp_percpu_resize(s, cpu, class, 0);
	if (!alone)
		return false;
	bool stopped = may_stop(cpu) && stop(s, cpu);
	if (stopped)
		resume(s, cpu);
	atomic_store_explicit(&slab->cpu.taken, 0, memory_order_release);
	return stopped;
}

/* A sandbox may be put on all threads at once: then on those, too, which are between the two system calls. */
void bp_percpu_confine(struct bp_slabs s, bool confined)
{
	bp_os_confine(confined);
	uint64_t end = bp_os_now_ms() + CONFINE_MS;
	for (unsigned cpu = 0; confined && cpu < s.cpus; cpu++)
		while (atomic_load(&bp_slab_of(s, (int)cpu)->cpu.taken) != 0 && bp_os_now_ms() < end)
			sched_yield();
	while (confined && bp_seats_are_looked_for() && bp_os_now_ms() < end)
		sched_yield();
}

void bp_percpu_child(struct bp_slabs s)
{
	for (unsigned cpu = 0; cpu < s.cpus; cpu++) {
		struct bp_slab *slab = bp_slab_of(s, (int)cpu);
		uint32_t state = atomic_load_explicit(&slab->cpu.state, memory_order_relaxed);
		if (state == BP_CPU_PREPARING)
			atomic_store_explicit(&slab->cpu.state, BP_CPU_READY, memory_order_relaxed);
		if (state == BP_CPU_UNTOUCHED)
			continue;
		atomic_store_explicit(&slab->cpu.lock, 0, memory_order_relaxed);
		atomic_store_explicit(&slab->cpu.taken, 0, memory_order_relaxed);
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
			struct bp_cpu_class *c = &slab->cpu.classes[class];
			if (atomic_load_explicit(&c->opened, memory_order_relaxed) == 0 || is_wholly_open(slab, class))
				continue;
			if (atomic_load_explicit(&slab->words[class], memory_order_relaxed) == 0)
				atomic_store_explicit(&slab->words[class],
						      BP_WORD(BP_COUNT_OF(BP_HITS_INTERVAL_FIRST), bp_bottoms[class]),
						      memory_order_relaxed);
			bp_open_stack(&slab->limits[class], class, atomic_load_explicit(&c->capacity, memory_order_relaxed));
		}
	}
}

void bp_percpu_child_threads(void)
{
	bp_seats_child();
}
