/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Policy: every number and rule that decides how much is kept where and for how long. The mechanism asks these
 * predicates and knows none of the numbers. Measurements behind them: docs/decisions.md.
 */
#ifndef BP_CACHE_POLICY_H
#define BP_CACHE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/stack.h"
#include "size_classes.h"

enum {
	/* Room of one CPU's stacks, all classes together; a class that is opened beyond it still gets room for two
	 * blocks. Room is what could be held: what is held follows use, and epochs take away what isn't used. */
	BP_CPU_BYTES = 16 << 20,
	/* Room that a class starts with. */
	BP_FIRST_BYTES = 64 << 10,
	/* What may be cached for each CPU, however little is in use. */
	BP_CPU_FLOOR = 4 << 20,
	/* Bytes that move between levels at a time, and so the grain of everything. */
	BP_BATCH_BYTES = 256 << 10,
	/* Bytes and blocks that a fill may fetch ahead of need; a slab of the smallest class has 512. */
	BP_FILL_BYTES = 16 << 10,
	BP_FILL_BLOCKS = 512,
	/* Blocks that one step of giving back takes to jemalloc, at 15 to 45 ns each. */
	BP_GIVEBACK_BLOCKS = 64,
	/* Freed bytes after which pages are given to the kernel: one bounded step. */
	BP_PURGE_BYTES = 4 << 20,
	/* MiB from which on memory is ample: what goes back may take its time. */
	BP_AMPLE_MIB = 4096,
	/* Cached blocks that are looked at for one of the wanted alignment. */
	BP_ALIGNED_TRIES = 8,
	/* Largest blocks whose rows are sorted. */
	BP_SORT_SIZE = 512,
	/* Free magazines that are not worth a purge. */
	BP_MAGAZINES_IDLE = 128,
	/* From here on a fresh block costs more page faults than a steal costs interrupts. */
	BP_STEAL_SIZE = 32 << 10,
	/* Between two steals: each is some 2 us of another CPU's time. */
	BP_STEAL_PAUSE_NS = 100000,
	/* Times that a request without memory gives back what is cached and tries again, while others may take it. */
	BP_RECLAIM_TRIES = 3,
	/* Idle CPUs that one slow path looks at; CPUs that one steal does. */
	BP_DRAIN_STEP = 8,
	BP_STEAL_STEP = 8,
	/* Hits between two looks at the clock: the first time, and at most. */
	BP_INTERVAL_FIRST = 4,
	BP_INTERVAL_MAX = 8192,
	/* Calls that pass through, between two looks at the clock. */
	BP_PASS_ROW = 256,
	/* Requests that fail up to here are worth a purge of all of jemalloc's free pages, and a second try. */
	BP_PURGE_FOR = 64 << 20,
	/* In the portable mode a pair costs a thread without a seat two locked instructions each: up to this size, where
	 * jemalloc's own cache ends, jemalloc is faster, and the request passes through. */
	BP_FALLBACK_SIZE = 32 << 10,
};

/* Blocks that move at a time: enough to make the move's cost vanish, few enough to bound what is in flight. */
static inline unsigned bp_policy_batch(unsigned class)
{
	size_t n = BP_BATCH_BYTES / bp_class_size(class);
	return n < 4 ? n < 1 ? 1 : (unsigned)n : n > BP_MAGAZINE_SLOTS ? BP_MAGAZINE_SLOTS : (unsigned)n;
}

/* Bytes that one CPU's stacks may have room for: where memory is scarce all CPUs' together a sixteenth of it. limit: 0 where
 * it is not known. */
static inline uint64_t bp_policy_cpu_bytes(uint64_t limit, unsigned cpus)
{
	uint64_t share = limit / 16 / (cpus > 0 ? cpus : 1);
	return limit != 0 && share < BP_CPU_BYTES ? share : BP_CPU_BYTES;
}

/* Room that a class starts with on a CPU, and goes back to when it was not pressed for an epoch. */
static inline unsigned bp_policy_least_capacity(unsigned class)
{
	size_t n = BP_FIRST_BYTES / bp_class_size(class);
	return n < 4 ? 4 : n > BP_MAGAZINE_SLOTS ? BP_MAGAZINE_SLOTS : (unsigned)n;
}

static inline unsigned bp_policy_first_capacity(unsigned class, uint64_t cpu_bytes, uint64_t most)
{
	unsigned n = bp_policy_least_capacity(class);
	return cpu_bytes + (uint64_t)n * bp_class_size(class) <= most ? n : 2;
}

/* A class that ran empty and full in turn on one CPU would be served from there alone if it had more room: twice as
 * much. */
static inline unsigned bp_policy_grown_capacity(unsigned class, unsigned now, unsigned slots, uint64_t cpu_bytes,
						uint64_t most)
{
	unsigned wanted = now * 2;
	wanted = wanted < slots ? wanted : slots;
	return cpu_bytes + (uint64_t)(wanted - now) * bp_class_size(class) <= most ? wanted : now;
}

/* Blocks that leave a full stack at once: half of it, so that neither the next push nor the next pop is slow again. */
static inline unsigned bp_policy_flush(unsigned class, unsigned capacity)
{
	unsigned n = bp_policy_batch(class) - 1, half = (capacity + 1) / 2;
	return n < half ? n : half;
}

/* Are rows of such blocks put in order of their addresses before others may take them? What a program builds from scattered
 * blocks it will walk at a cache miss each; up to here several share a page that is worth being near. */
static inline bool bp_policy_sorts(unsigned class)
{
	return bp_class_size(class) <= BP_SORT_SIZE;
}

/* How many blocks a miss fetches from jemalloc: twice as many as the time before, up to what BP_FILL_BYTES allows, and
 * whole slabs as soon as that many (they come in one batch). */
static inline unsigned bp_policy_fill(unsigned class, unsigned before, unsigned slab_blocks)
{
	size_t most = BP_FILL_BYTES / bp_class_size(class);
	unsigned n = before * 2;
	most = most < BP_FILL_BLOCKS ? most : BP_FILL_BLOCKS;
	if (most <= 1)
		return 1;
	if (n >= slab_blocks && slab_blocks > 1)
		return slab_blocks > most ? slab_blocks : (unsigned)(most - most % slab_blocks);
	return n < most ? n : (unsigned)most;
}

/* Bytes that may wait on their way to the kernel, of pooled blocks and of those over the cap each: where memory is
 * scarce a sixteenth of it. */
static inline uint64_t bp_policy_waiting(uint64_t limit)
{
	return limit >> 20 < BP_AMPLE_MIB ? limit / 16 : UINT64_MAX;
}

/* How long one slow path may go on giving back, in ns: a sixteenth of the time since the last one did, so that what is
 * queued is gone within the epoch whether the program calls often or rarely; never less than a step takes, never so long
 * that it is a pause. As long as that at once where more waits than may. */
static inline uint64_t bp_policy_giveback_ns(uint64_t since_ns, bool crowded)
{
	uint64_t share = since_ns / 16;
	return share < 2000 && !crowded ? 2000 : share > 1000000 || crowded ? 1000000 : share;
}

/* Bytes that shared level and victim may hold together: never more than the limit, nor than the peak in use of the
 * last two epochs plus a floor for each CPU: what a program never used at once it will not need at once. */
static inline uint64_t bp_policy_budget(uint64_t limit, uint64_t peak, unsigned cpus)
{
	uint64_t use = peak + (uint64_t)cpus * BP_CPU_FLOOR;
	return use < limit ? use : limit;
}

/* Are other CPUs worth searching before a fresh block is made? */
static inline bool bp_policy_steals(unsigned class)
{
	return bp_class_size(class) >= BP_STEAL_SIZE;
}

/* Pops until the next look at the clock, so that a look falls due some 16 times an epoch, however fast the program is;
 * 128 times while there is something to give back. */
static inline uint32_t bp_policy_interval(uint32_t pops, uint32_t elapsed_ms, uint32_t epoch_ms, bool busy)
{
	uint32_t period = epoch_ms / (busy ? 128 : 16) + 1;
	bool early = elapsed_ms < period;
	uint32_t wanted = early ? (pops + 1) * 2 : (uint32_t)((uint64_t)pops * period / ((uint64_t)elapsed_ms + 1));
	return wanted < 2 ? 2 : wanted > BP_INTERVAL_MAX ? BP_INTERVAL_MAX : wanted;
}

#endif
