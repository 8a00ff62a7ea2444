/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See percpu.h for the contract. Here: the choice of the mode, slabs and their life, and what slow paths do on the stacks of
 * their own CPU. How another CPU's are taken away from it: taking.c.
 */
#include "percpu/percpu.h"

#include <string.h>
#include <sys/rseq.h>

#include "percpu/fallback.h"
#include "percpu/seats.h"
#include "percpu/stacks.h"
#include "sys/range.h"

char bp_percpu_nothing[sizeof(struct bp_slab)] __attribute__((aligned(BP_LINE)));
struct bp_rseq bp_rseq_unset = { .cpu_id = -1, .here = BP_SEAT_AWAY };
struct bp_rseq bp_rseq_none = { .cpu_id = -1, .here = BP_SEAT_AWAY };
struct bp_rseq bp_rseq_vfork = { .cpu_id = -1, .here = BP_SEAT_AWAY };
__thread struct bp_thread bp_thread __attribute__((tls_model("initial-exec"))) = { .rseq = &bp_rseq_unset };

static enum bp_percpu_mode mode;
uint32_t bp_bottoms[BP_CLASS_COUNT] BP_HIDDEN;

unsigned bp_percpu_slots(unsigned class)
{
	size_t size = bp_class_size(class);
	return size <= 512 ? 512 : size <= 8192 ? 256 : size <= 16384 ? 128 : size <= 65536 ? 64 : 16;
}

/* The slots follow the slab's first page. Between the stacks of two classes lie 64 bytes, so that the bottoms of all
 * classes, the lines used most, do not fall into one set of the L1 cache. The last word of that is read by prefetches.
 *
 * Blocks with pages of their own begin at multiples of BP_COLOUR_STEP in a page. Their stacks begin half a step beside
 * one: a slot and a block whose addresses end in the same 12 bits are taken for each other, and a pair then costs 11 to
 * 18 ns. */
static void lay_out(void)
{
	uint32_t index = 4096 / sizeof(void *);
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		if (class >= BP_CLASS_COUNT_SLAB)
			index += (BP_COLOUR_STEP / 2 / sizeof(void *) - index) % (BP_COLOUR_STEP / sizeof(void *));
		bp_bottoms[class] = index;
		index += bp_percpu_slots(class) + BP_LINE / sizeof(void *);
	}
	_Static_assert(4096 / 8 + 17 * (512 + 8) + 16 * (256 + 8) + 4 * (128 + 8) + 8 * (64 + 8) + 24 * (16 + 8) +
		       (BP_CLASS_COUNT - BP_CLASS_COUNT_SLAB) * 31 <= BP_SLAB_BYTES / 8, "the stacks fit into a slab");
}

static struct bp_rseq *own_area(void)
{
	return (struct bp_rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

enum bp_percpu_mode bp_percpu_start(enum bp_percpu_mode wanted)
{
	lay_out();
	mode = wanted;
	bool registered = BP_PERCPU_HAS_RSEQ && __rseq_size > 0 && own_area()->cpu_id >= 0;
	/* Without a way to stop another CPU, what lies on idle CPUs could never be given back. */
	if (mode == BP_PERCPU_RSEQ && !(registered && bp_os_restart_register()))
		mode = BP_PERCPU_FALLBACK;
	bp_seats_start(mode == BP_PERCPU_FALLBACK ? bp_os_possible_cpus() : 0);
	return mode;
}

enum bp_percpu_mode bp_percpu_mode(void)
{
	return mode;
}

bool bp_percpu_create(struct bp_slabs *s)
{
	unsigned cpus = bp_os_possible_cpus() + bp_seats.count;
	char *space = bp_os_reserve((cpus + 2) * BP_SLAB_BYTES, BP_PAGE);
	if (space == NULL)
		return false;
	/* Readable zeroes are "closed"; a CPU's slab becomes writable when it is first used. */
	if (!bp_os_commit_read(space, (cpus + 2) * BP_SLAB_BYTES)) {
		bp_os_unmap(space, (cpus + 2) * BP_SLAB_BYTES);
		return false;
	}
	s->base = space + 2 * BP_SLAB_BYTES;
	atomic_thread_fence(memory_order_release); /* who sees that there are CPUs sees where */
	s->cpus = cpus;
	return true;
}

unsigned bp_percpu_processors(struct bp_slabs s)
{
	return s.cpus < bp_seats.count ? 0 : s.cpus - bp_seats.count;
}

static bool prepare_thread(void)
{
	if (bp_thread.rseq != &bp_rseq_unset)
		return bp_thread.rseq != &bp_rseq_none && bp_thread.rseq != &bp_rseq_vfork;
	bool registered = own_area()->cpu_id >= 0;
	bp_thread.rseq = registered ? own_area() : &bp_rseq_none;
	return registered;
}

static bool prepare_cpu(struct bp_slabs s, int cpu, uint32_t epoch)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	uint32_t state = atomic_load_explicit(&slab->cpu.state, memory_order_acquire);
	if (bp_likely(state == BP_CPU_READY))
		return true;
	/* Making it writable twice does no harm; who comes too early does without. */
	if (state != BP_CPU_UNTOUCHED || !bp_os_commit(slab, BP_SLAB_BYTES) ||
	    !atomic_compare_exchange_strong_explicit(&slab->cpu.state, &state, BP_CPU_PREPARING, memory_order_relaxed,
						     memory_order_relaxed))
		return false;
	atomic_store_explicit(&slab->cpu.epoch, epoch, memory_order_relaxed);
	atomic_store_explicit(&slab->cpu.state, BP_CPU_READY, memory_order_release);
	return true;
}

int bp_percpu_enter(struct bp_slabs s, uint32_t epoch)
{
	if (bp_unlikely(s.cpus == 0))
		return -1;
	int cpu = -1;
	if (mode == BP_PERCPU_RSEQ && prepare_thread())
		cpu = *(volatile int32_t *)&bp_thread.rseq->cpu_id;
	else if (mode == BP_PERCPU_FALLBACK && (cpu = bp_seat_enter()) < 0)
		cpu = (int)bp_os_cpu();
	if (cpu < 0 || (unsigned)cpu >= s.cpus)
		return -1;
	return prepare_cpu(s, cpu, epoch) ? cpu : -1;
}

bool bp_percpu_open(struct bp_slabs s, int cpu, unsigned class, unsigned capacity)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	struct bp_cpu_class *c = &slab->cpu.classes[class];
	uint8_t closed = 0;
	if (!atomic_compare_exchange_strong_explicit(&c->opened, &closed, 1, memory_order_relaxed, memory_order_relaxed))
		return false;
	uint32_t start = BP_COUNT_OF(BP_HITS_INTERVAL_FIRST);
	atomic_store_explicit(&c->start, start, memory_order_relaxed);
	atomic_store_explicit(&c->capacity, (uint16_t)capacity, memory_order_relaxed);
	atomic_store_explicit(&slab->words[class], BP_WORD(start, bp_bottoms[class]), memory_order_relaxed);
	/* What a pop of the last one fetches ahead: what it has. */
	((void **)slab)[bp_bottoms[class] - 1] = (void **)slab + bp_bottoms[class];
	bp_open_stack(&slab->limits[class], class, capacity);
	return true;
}

void bp_percpu_resize(struct bp_slabs s, int cpu, unsigned class, unsigned capacity)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	uint32_t end = atomic_load_explicit(&slab->limits[class].end, memory_order_relaxed);
	atomic_store_explicit(&slab->cpu.classes[class].capacity, (uint16_t)capacity, memory_order_relaxed);
	/* Closed by a taker: it opens with the capacity stored above. */
	while (end != 0 && !atomic_compare_exchange_weak_explicit(&slab->limits[class].end, &end, bp_bottoms[class] + capacity,
								  memory_order_relaxed, memory_order_relaxed))
		;
}

void *bp_percpu_pop(struct bp_slabs s, int cpu, unsigned class)
{
	if (mode == BP_PERCPU_RSEQ) {
		void *p = bp_rseq_pop(s.base, class);
		return p == bp_percpu_nothing ? NULL : p;
	}
	return bp_fallback_pop(s, cpu, class);
}

bool bp_percpu_push(struct bp_slabs s, int cpu, unsigned class, void *p)
{
	if (mode == BP_PERCPU_RSEQ)
		return bp_rseq_push(s.base, class, p);
	return bp_fallback_push(s, cpu, class, p);
}

size_t bp_percpu_pop_batch(void **out, size_t max, struct bp_slabs s, int cpu, unsigned class)
{
	if (max == 0)
		return 0;
	if (mode == BP_PERCPU_RSEQ)
		return bp_rseq_pop_batch(out, max, s.base, cpu, class);
	return bp_fallback_pop_batch(out, max, s, cpu, class);
}

size_t bp_percpu_push_batch(struct bp_slabs s, int cpu, unsigned class, void *const *in, size_t count)
{
	if (count == 0)
		return 0;
	if (mode == BP_PERCPU_RSEQ)
		return bp_rseq_push_batch(s.base, cpu, class, in, count);
	return bp_fallback_push_batch(s, cpu, class, in, count);
}

static uint64_t word_of(struct bp_slabs s, int cpu, unsigned class)
{
	return atomic_load_explicit(&bp_slab_of(s, cpu)->words[class], memory_order_relaxed);
}

bool bp_percpu_ticked(struct bp_slabs s, int cpu, unsigned class)
{
	return word_of(s, cpu, class) >> 32 == BP_COUNT_LAST;
}

bool bp_percpu_recount(uint32_t *pops, struct bp_slabs s, int cpu, unsigned class, uint32_t interval)
{
	_Atomic uint32_t *start = &bp_slab_of(s, cpu)->cpu.classes[class].start;
	uint32_t old, count = BP_COUNT_OF(interval);
	bool done = mode == BP_PERCPU_RSEQ ? bp_rseq_recount(&old, s.base, cpu, class, count) :
					     bp_fallback_recount(&old, s, cpu, class, count);
	if (!done)
		return false;
	/* Two threads that recount at once see each other's counts in the order of their commits, but may exchange the
	 * starts in another; the sum of what both report is right all the same (modulo 2^32, which the caller's sum
	 * undoes because it adds the differences). */
	*pops = old - atomic_exchange_explicit(start, count, memory_order_relaxed);
	return true;
}

uint32_t bp_percpu_pops(struct bp_slabs s, int cpu, unsigned class)
{
	uint32_t start = atomic_load_explicit(&bp_slab_of(s, cpu)->cpu.classes[class].start, memory_order_relaxed);
	if (word_of(s, cpu, class) == 0)
		return 0;
	return (uint32_t)(word_of(s, cpu, class) >> 32) - start;
}

uint32_t bp_percpu_count(struct bp_slabs s, int cpu, unsigned class)
{
	if (atomic_load_explicit(&bp_slab_of(s, cpu)->cpu.classes[class].opened, memory_order_relaxed) == 0)
		return 0;
	uint32_t index = (uint32_t)word_of(s, cpu, class);
	return index == 0 ? 0 : index - bp_bottoms[class]; /* 0: its opener has not got that far */
}

void bp_percpu_reset(struct bp_slabs s, bool purge)
{
	for (unsigned cpu = 0; cpu < s.cpus; cpu++) {
		struct bp_slab *slab = bp_slab_of(s, (int)cpu);
		if (atomic_load_explicit(&slab->cpu.state, memory_order_relaxed) != BP_CPU_READY)
			continue;
		if (!purge || !bp_os_purge(slab, BP_SLAB_BYTES))
			memset(slab, 0, sizeof(*slab));
	}
}

uint32_t bp_percpu_forget(void ***slots, struct bp_slabs s, int cpu, unsigned class, uint32_t most)
{
	uint32_t count = bp_percpu_count(s, cpu, class), n = count < most ? count : most;
	uint64_t word = word_of(s, cpu, class);
	*slots = (void **)bp_slab_of(s, cpu) + bp_bottoms[class] + (count - n);
	if (n > 0)
		atomic_store_explicit(&bp_slab_of(s, cpu)->words[class], word - n, memory_order_relaxed);
	return n;
}
