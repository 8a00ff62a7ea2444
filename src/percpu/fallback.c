/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See fallback.h; and the slow path's operations on seats (seats.h), which are guarded otherwise. The heads are atomic
 * because the slow path looks at them without the guard; the slots are the guard holder's alone. Each operation commits
 * with one store of the word, as in the other implementation, so that a child of fork may simply free a lock whose
 * holder it does not have.
 */
#include "percpu/fallback.h"

#include "percpu/seats.h"

bool bp_fallback_lock(struct bp_slabs s, int cpu)
{
	_Atomic uint32_t *lock = &bp_slab_of(s, cpu)->cpu.lock;
	uint32_t expected = 0;
	return atomic_compare_exchange_strong_explicit(lock, &expected, 1, memory_order_acquire, memory_order_relaxed);
}

void bp_fallback_unlock(struct bp_slabs s, int cpu)
{
	atomic_store_explicit(&bp_slab_of(s, cpu)->cpu.lock, 0, memory_order_release);
}

static bool begin(struct bp_slabs s, int cpu)
{
	return bp_seat_is(cpu) ? bp_seat_begin(cpu) : bp_fallback_lock(s, cpu);
}

static void end(struct bp_slabs s, int cpu)
{
	if (bp_seat_is(cpu))
		bp_seat_end(cpu);
	else
		bp_fallback_unlock(s, cpu);
}

static void **slot(struct bp_slabs s, int cpu, uint32_t index)
{
	return (void **)bp_slab_of(s, cpu) + index;
}

size_t bp_fallback_pop_batch(void **out, size_t max, struct bp_slabs s, int cpu, unsigned class)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	if (!begin(s, cpu))
		return 0;
	uint32_t floor = atomic_load_explicit(&slab->limits[class].floor, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	uint32_t index = (uint32_t)word;
	size_t there = floor == 0 ? 0 : index - ~floor;
	size_t n = there < max ? there : max;
	for (size_t i = 0; i < n; i++)
		out[i] = *slot(s, cpu, --index);
	if (n > 0) /* the word of a closed one is a taker's */
		atomic_store_explicit(&slab->words[class], word - n, memory_order_release);
	end(s, cpu);
	return n;
}

size_t bp_fallback_push_batch(struct bp_slabs s, int cpu, unsigned class, void *const *in, size_t count)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	if (!begin(s, cpu))
		return 0;
	uint32_t limit = atomic_load_explicit(&slab->limits[class].end, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	uint32_t index = (uint32_t)word;
	size_t room = index < limit ? limit - index : 0;
	size_t n = room < count ? room : count;
	for (size_t i = 0; i < n; i++)
		*slot(s, cpu, index++) = in[i];
	if (n > 0)
		atomic_store_explicit(&slab->words[class], word + n, memory_order_release);
	end(s, cpu);
	return n;
}

void *bp_fallback_pop(struct bp_slabs s, int cpu, unsigned class)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	void *p = NULL;
	if (!begin(s, cpu))
		return NULL;
	uint32_t floor = atomic_load_explicit(&slab->limits[class].floor, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	if (floor != 0 && (uint32_t)word > ~floor && word >> 32 != BP_COUNT_LAST) {
		p = *slot(s, cpu, (uint32_t)word - 1);
		__builtin_prefetch(*slot(s, cpu, (uint32_t)word - 2), 1);
		atomic_store_explicit(&slab->words[class], word + UINT32_MAX, memory_order_release);
	}
	end(s, cpu);
	return p;
}

bool bp_fallback_push(struct bp_slabs s, int cpu, unsigned class, void *p)
{
	return bp_fallback_push_batch(s, cpu, class, &p, 1) == 1;
}

bool bp_fallback_recount(uint32_t *old, struct bp_slabs s, int cpu, unsigned class, uint32_t count)
{
	struct bp_slab *slab = bp_slab_of(s, cpu);
	if (!begin(s, cpu))
		return false;
	bool open = atomic_load_explicit(&slab->limits[class].floor, memory_order_acquire) != 0;
	uint64_t word = atomic_load_explicit(&slab->words[class], memory_order_relaxed);
	*old = (uint32_t)(word >> 32);
	if (open)
		atomic_store_explicit(&slab->words[class], BP_WORD(count, word), memory_order_release);
	end(s, cpu);
	return open;
}
