/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See account.h. Hits count themselves in the words of the stacks (percpu.h); pushes are not counted at all but follow
 * from what entered and left a stack: pushes = in it now + popped + taken out in batches - put in in batches.
 */
#include "cache/account.h"

#include <sched.h>

#include "cache/options.h"
#include "cache/policy.h"
#include "sys/limits.h"

/* For a reader, which may have lost its CPU: what takes longer is this thread, below a signal handler. */
enum { SETTLE_MS = 1000 };

static uint64_t get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* While others work, a difference of two counters read one after the other may be negative for a moment. */
static uint64_t at_least_0(int64_t n)
{
	return n < 0 ? 0 : (uint64_t)n;
}

static uint64_t level_blocks(struct bp_level *l, unsigned class)
{
	return at_least_0(atomic_load_explicit(&l->classes[class].blocks, memory_order_relaxed));
}

static bool is_ready(struct bp_pool *pool, unsigned cpu)
{
	return atomic_load_explicit(&bp_slab_of(pool->slabs, (int)cpu)->cpu.state, memory_order_acquire) == BP_CPU_READY;
}

void bp_account_class(struct bp_account *out, struct bp_pool *pool, unsigned class)
{
	struct bp_counts *c = &pool->counts[class];
	uint64_t on_cpus = 0, pops = get(&c->pops_folded);
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++) {
		if (!is_ready(pool, cpu))
			continue;
		on_cpus += bp_percpu_count(pool->slabs, (int)cpu, class);
		/* Between a new count's commit and the note of its start the difference is negative. */
		pops += (uint64_t)(int64_t)(int32_t)bp_percpu_pops(pool->slabs, (int)cpu, class);
	}
	uint32_t epoch = bp_pool_epoch(pool);
	uint64_t pushes = on_cpus + pops + get(&c->cpu_out) - get(&c->cpu_in);
	*out = (struct bp_account){
		.hits = pops,
		.from_shared = get(&c->from_shared),
		.from_victim = get(&c->from_victim),
		.from_steal = get(&c->from_steal),
		.created = get(&c->created),
		.dropped_budget = get(&c->dropped_budget),
		.dropped_epoch = get(&c->dropped_epoch),
		.set_aside = get(&c->set_aside),
		.released = pushes + get(&c->released),
		.cached = on_cpus + level_blocks(bp_pool_shared(pool, epoch), class),
		.victim = level_blocks(bp_pool_victim(pool, epoch), class),
		.queued = level_blocks(bp_pool_queue(pool, epoch), class) + level_blocks(&pool->over, class),
	};
	/* A block that is set aside was taken from where the others are, but handed to nobody. */
	out->acquired = out->hits + out->from_shared + out->from_victim + out->from_steal + get(&c->from_fill) -
			out->set_aside;
	out->in_use = at_least_0((int64_t)(out->acquired - out->released));
}

void bp_account_all(struct bp_account *out, struct bp_account_bytes *bytes, struct bp_pool *pool)
{
	enum { FIELDS = sizeof(struct bp_account) / sizeof(uint64_t) };
	*out = (struct bp_account){ 0 };
	*bytes = (struct bp_account_bytes){ 0 };
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account one;
		size_t size = bp_class_size(class);
		bp_account_class(&one, pool, class);
		for (unsigned i = 0; i < FIELDS; i++)
			((uint64_t *)out)[i] += ((const uint64_t *)&one)[i];
		bytes->in_use += one.in_use * size;
		bytes->cached += one.cached * size;
		bytes->victim += one.victim * size;
		bytes->queued += one.queued * size;
	}
}

unsigned bp_account_cpus(struct bp_pool *pool)
{
	unsigned n = 0;
	for (unsigned cpu = 0; cpu < pool->slabs.cpus; cpu++)
		n += is_ready(pool, cpu);
	return n;
}

static _Atomic unsigned readers; /* threads that may be reading the limit */

/* Read when the first stack is full, not at the start: the files take a tenth of it, and most programs end before. A
 * sandbox may kill for it: who enters one settles it before (shim/sandbox.c). */
uint64_t bp_account_memory_limit(void)
{
	uint64_t limit = get(&bp_default_pool.memory_limit);
	if (bp_likely(limit != 0))
		return limit;
	/* Sequentially consistent: whoever settles sees the reader, or the reader sees what was read. */
	atomic_fetch_add(&readers, 1);
	limit = atomic_load(&bp_default_pool.memory_limit);
	if (limit == 0 && (bp_os_is_confined() || bp_thread.rseq == &bp_rseq_vfork)) {
		limit = UINT64_MAX;
	} else if (limit == 0) {
		limit = bp_os_memory_limit();
		atomic_store(&bp_default_pool.memory_limit, limit);
	}
	atomic_fetch_sub(&readers, 1);
	return limit;
}

void bp_account_settle(void)
{
	uint64_t end = bp_os_now_ms() + SETTLE_MS;
	bp_account_memory_limit();
	while (atomic_load(&readers) != 0 && bp_os_now_ms() < end)
		sched_yield();
}

uint64_t bp_account_budget(struct bp_pool *pool)
{
	uint64_t limit = pool->budget != 0 ? pool->budget : get(&bp_options.budget);
	if (limit == 0)
		limit = bp_account_memory_limit() / 8;
	int64_t now = atomic_load_explicit(&pool->peak, memory_order_relaxed);
	int64_t last = atomic_load_explicit(&pool->last_peak, memory_order_relaxed);
	uint64_t peak = at_least_0(now > last ? now : last);
	return bp_policy_budget(limit, peak, bp_percpu_processors(pool->slabs)) + get(&pool->prefilled_bytes);
}

void bp_account_child(struct bp_pool *pool)
{
	uint64_t outside = 0; /* nothing is on the CPUs */
	atomic_store_explicit(&readers, 0, memory_order_relaxed);
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_counts *c = &pool->counts[class];
		struct bp_account now;
		bp_account_class(&now, pool, class);
		uint64_t cached = now.cached + now.victim + now.queued;
		uint64_t gone = now.dropped_budget + now.dropped_epoch + now.set_aside;
		uint64_t in_use = at_least_0((int64_t)(now.created - gone - cached));
		/* What other threads had in their hands counts as in use: nobody will ever release it. */
		atomic_store_explicit(&c->from_fill, get(&c->from_fill) + in_use - (now.acquired - now.released),
				      memory_order_relaxed);
		outside += in_use * bp_class_size(class);
	}
	atomic_store_explicit(&pool->outside, (int64_t)outside, memory_order_relaxed);
}
