/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See seats.h. Here: who has which seat.
 *
 * A seat's holder is one word: the thread's number and how often the seat has changed hands. Whoever claims a seat, or frees
 * one that a thread has left that is gone, exchanges the word that it has seen: of two that saw the same one wins, also
 * where the kernel gives a thread's number to the next one meanwhile. A thread whose own number is on a seat that it doesn't have
 * has inherited the number: the one who sat there is gone.
 *
 * In a child that no handler of ours has seen (a plain clone) the numbers are another process's: nobody claims there.
 */
#include "percpu/seats.h"

#include "sys/barrier.h"

/* At an owner that is away: an operation takes less, unless its thread was stopped there. */
#ifndef BP_SEAT_LOOKS
#define BP_SEAT_LOOKS 256
#endif

enum {
	ASK_EVERY = 8,     /* times that a thread without a seat comes along, between two looks for one */
	PROBE_MS = 10,     /* between two questions of the process whether owners are gone */
};

struct bp_seats bp_seats;
BP_REMOTE struct bp_rseq bp_seat_areas[BP_SEATS_MOST] __attribute__((aligned(BP_LINE)));
_Static_assert(sizeof(struct bp_rseq) == BP_LINE, "a line for each seat");

static _Atomic uint64_t holders[BP_SEATS_MOST]; /* changes << 32 | thread */
static _Atomic uint32_t process;
static _Atomic uint64_t probed; /* ms */
static _Atomic unsigned looking; /* threads that may be asking the kernel */

static __thread struct {
	uint32_t number;  /* what this thread's seat says; 0: not asked for yet */
	unsigned asked;
	bool claiming;    /* a signal handler that comes here again goes without */
} thread __attribute__((tls_model("initial-exec")));

static int64_t offset_of(unsigned seat)
{
	return (int64_t)(bp_seats.first + seat) << BP_SLAB_SHIFT;
}

void bp_seats_start(unsigned cpus)
{
	bp_seats = (struct bp_seats){ 0, 0 };
	if (cpus == 0 || !bp_os_barrier_register())
		return;
	unsigned count = cpus < BP_SEATS_LEAST ? BP_SEATS_LEAST : cpus > BP_SEATS_MOST ? BP_SEATS_MOST : cpus;
	bp_seats = (struct bp_seats){ cpus, count };
	atomic_store_explicit(&process, bp_os_process(), memory_order_relaxed);
	for (unsigned seat = 0; seat < count; seat++) {
		bp_seat_areas[seat].cpu_id = -1;
		atomic_store_explicit(&bp_seat_areas[seat].here, offset_of(seat), memory_order_relaxed);
	}
}

/* ---- claiming ---- */

static bool claim(unsigned seat, uint64_t seen)
{
	uint64_t mine = ((seen >> 32) + 1) << 32 | thread.number;
	if (!atomic_compare_exchange_strong_explicit(&holders[seat], &seen, mine, memory_order_acq_rel,
						     memory_order_relaxed))
		return false;
	struct bp_rseq *area = &bp_seat_areas[seat];
	/* Acquire: pairs with the end of the last operation of who sat here. Who died away left it so. */
	if (atomic_load_explicit(&area->here, memory_order_acquire) < 0)
		atomic_store_explicit(&area->here, offset_of(seat), memory_order_relaxed);
	bp_thread.rseq = area;
	return true;
}

static bool is_time_to_probe(void)
{
	uint64_t now = bp_os_now_ms(), last = atomic_load_explicit(&probed, memory_order_relaxed);
	return now - last >= PROBE_MS && atomic_compare_exchange_strong_explicit(&probed, &last, now, memory_order_relaxed,
										 memory_order_relaxed);
}

static bool is_for_me(uint64_t seen)
{
	return (uint32_t)seen == 0 || (uint32_t)seen == thread.number;
}

static bool is_one_free(void)
{
	for (unsigned seat = 0; seat < bp_seats.count; seat++)
		if (is_for_me(atomic_load_explicit(&holders[seat], memory_order_relaxed)))
			return true;
	return false;
}

/* All that are left, not only one: where threads come and go, the next ones want a seat too. */
static void free_left_seats(void)
{
	for (unsigned seat = 0; seat < bp_seats.count; seat++) {
		uint64_t seen = atomic_load_explicit(&holders[seat], memory_order_relaxed);
		/* Release: who claims it sees what the one who is gone did, as this thread does. */
		if ((uint32_t)seen != 0 && bp_os_thread_is_gone((uint32_t)seen))
			atomic_compare_exchange_strong_explicit(&holders[seat], &seen, ((seen >> 32) + 1) << 32,
								memory_order_acq_rel, memory_order_relaxed);
	}
}

static void take_free_seat(void)
{
	for (unsigned seat = 0; seat < bp_seats.count; seat++) {
		uint64_t seen = atomic_load_explicit(&holders[seat], memory_order_relaxed);
		if (is_for_me(seen) && claim(seat, seen))
			return;
	}
}

static void ask_for_seat(bool probe)
{
	/* First: either this sees that it may not, or who enters a sandbox sees that it looks (bp_seats_are_looked_for). */
	atomic_fetch_add(&looking, 1);
	if (!bp_os_is_confined() && bp_os_process() == atomic_load_explicit(&process, memory_order_relaxed)) {
		if (thread.number == 0)
			thread.number = bp_os_thread();
		if (probe)
			free_left_seats();
		take_free_seat();
	}
	atomic_fetch_sub(&looking, 1);
}

static bool may_look(void)
{
	if (bp_seats.count == 0 || thread.claiming)
		return false;
	if (bp_thread.rseq == &bp_rseq_none && ++thread.asked % ASK_EVERY == 0)
		return true;
	return bp_thread.rseq == &bp_rseq_unset;
}

/* Who has none looks often: without a call into the kernel, as long as there is nothing to be had. */
static void look_for_seat(void)
{
	thread.claiming = true;
	atomic_signal_fence(memory_order_seq_cst);
	bool probe = !is_one_free() && is_time_to_probe();
	if (probe || thread.number == 0 || is_one_free())
		ask_for_seat(probe);
	if (bp_thread.rseq == &bp_rseq_unset)
		bp_thread.rseq = &bp_rseq_none;
	atomic_signal_fence(memory_order_seq_cst);
	thread.claiming = false;
}

int bp_seat_enter(void)
{
	int64_t here = atomic_load_explicit(&bp_thread.rseq->here, memory_order_relaxed);
	if (here < 0 && may_look()) {
		look_for_seat();
		here = atomic_load_explicit(&bp_thread.rseq->here, memory_order_relaxed);
	}
	return here < 0 ? -1 : (int)(here >> BP_SLAB_SHIFT);
}

bool bp_seats_are_looked_for(void)
{
	return atomic_load(&looking) != 0;
}

/* ---- taking ---- */

bool bp_seat_stop(int cpu)
{
	struct bp_rseq *area = &bp_seat_areas[(unsigned)cpu - bp_seats.first];
	if (area != bp_thread.rseq && !bp_os_barrier())
		return false;
	for (unsigned look = 0; look < BP_SEAT_LOOKS; look++) {
		/* Acquire: pairs with the end of the operation, whose stores are seen. */
		if (atomic_load_explicit(&area->here, memory_order_acquire) >= 0)
			return true;
	}
	return false;
}

/* ---- fork ---- */

/* The seat of this thread, which it may be about to get or be away from, below the signal handler that forked: it goes on
 * there as it was. */
static bool is_mine(unsigned seat)
{
	uint32_t holder = (uint32_t)atomic_load_explicit(&holders[seat], memory_order_relaxed);
	return bp_thread.rseq == &bp_seat_areas[seat] || (thread.claiming && holder == thread.number);
}

void bp_seats_child(void)
{
	/* Confined, the numbers stay those of the parent; nobody will claim by them. */
	atomic_store_explicit(&looking, thread.claiming, memory_order_relaxed);
	if (bp_seats.count == 0 || bp_os_is_confined())
		return;
	uint32_t number = bp_os_thread();
	for (unsigned seat = 0; seat < bp_seats.count; seat++) {
		uint64_t changes = (atomic_load_explicit(&holders[seat], memory_order_relaxed) >> 32) + 1;
		bool mine = is_mine(seat);
		atomic_store_explicit(&holders[seat], changes << 32 | (mine ? number : 0), memory_order_relaxed);
		if (!mine)
			atomic_store_explicit(&bp_seat_areas[seat].here, offset_of(seat), memory_order_relaxed);
	}
	thread.number = number;
	atomic_store_explicit(&process, bp_os_process(), memory_order_relaxed);
}
