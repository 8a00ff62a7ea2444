/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Statistics as structures, put together from cache/account.h. As text: print.c.
 */
#include "api/stats.h"

#include <errno.h>
#include <string.h>

#include "api/bytes.h"
#include "api/engine.h"
#include "cache/account.h"

#define POOL (&bp_default_pool)

static uint64_t get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t get_signed(_Atomic int64_t *counter)
{
	int64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	return value > 0 ? (uint64_t)value : 0;
}

static void add_large(struct bufpool_stats *s, struct bp_pool *pool)
{
	uint64_t in = get(&pool->large_acquired), out = get(&pool->large_released);
	s->acquired += in;
	s->released += out;
	s->from_backend += in;
	s->over_cap = in;
	s->dropped_cap = out;
	s->in_use += in > out ? in - out : 0;
	s->in_use_bytes += get_signed(&pool->large_bytes);
}

void bp_stats_collect(struct bufpool_stats *s, struct bp_pool *pool)
{
	struct bp_account a;
	struct bp_account_bytes bytes;
	bp_account_all(&a, &bytes, pool);
	*s = (struct bufpool_stats){
		.size = sizeof(*s),
		.acquired = a.acquired,
		.released = a.released,
		.hits = a.hits,
		.from_shared = a.from_shared,
		.from_victim = a.from_victim,
		.from_steal = a.from_steal,
		.from_backend = a.created,
		.dropped_budget = a.dropped_budget,
		.dropped_epoch = a.dropped_epoch,
		.set_aside = a.set_aside,
		.misuse = get(&pool->misuse),
		.epochs = bp_pool_epoch(pool),
		.in_use = a.in_use,
		.cached = a.cached,
		.victim = a.victim,
		.queued = a.queued,
		.in_use_bytes = bytes.in_use,
		.cached_bytes = bytes.cached,
		.victim_bytes = bytes.victim,
		.queued_bytes = bytes.queued,
		.budget_bytes = bp_account_budget(pool),
		.passed_through = get(&pool->passed),
		.buf_outgrown = get(&pool->sizing.outgrown),
		.buf_given_back = get(&pool->sizing.given_back),
		.buf_start_bytes = atomic_load_explicit(&pool->sizing.start, memory_order_relaxed),
	};
	add_large(s, pool);
	if (pool != POOL)
		return;
	s->referenced_bytes = get_signed(&bp_bytes_account.referenced);
	s->pinned_bytes = get_signed(&bp_bytes_account.pinned);
	s->passed_through += bp_thread.passed; /* of the other threads, whole rows */
}

/* Copies as much as the caller's structure holds; its size says how much that is. */
static int hand_out(void *out, const void *full, size_t full_size, size_t first_version)
{
	size_t size;
	memcpy(&size, out, sizeof(size));
	if (size < first_version)
		return -EINVAL;
	size = size < full_size ? size : full_size;
	memcpy(out, full, size);
	memcpy(out, &size, sizeof(size));
	return 0;
}

int bufpool_stats_get(struct bufpool_stats *out, struct bufpool *pool)
{
	struct bufpool_stats all;
	struct bp_pool *engine = bp_engine(pool);
	if (out->size < sizeof(all))
		return -EINVAL;
	bp_pool_start(engine);
	bp_stats_collect(&all, engine);
	return hand_out(out, &all, sizeof(all), sizeof(all));
}

int bufpool_class_stats_get(struct bufpool_class_stats *out, struct bufpool *pool, size_t n)
{
	struct bp_pool *engine = bp_engine(pool);
	if (out->size < sizeof(*out))
		return -EINVAL;
	bp_pool_start(engine);
	if (n > BP_CLASS_SIZE_MAX)
		return -ERANGE;
	struct bp_account a;
	unsigned class = bp_class_of(n);
	bp_account_class(&a, engine, class);
	struct bufpool_class_stats one = {
		.size = sizeof(one),
		.class_size = bp_class_size(class),
		.acquired = a.acquired,
		.released = a.released,
		.hits = a.hits,
		.from_shared = a.from_shared,
		.from_victim = a.from_victim,
		.from_steal = a.from_steal,
		.from_backend = a.created,
		.in_use = a.in_use,
		.cached = a.cached,
		.victim = a.victim,
		.queued = a.queued,
	};
	return hand_out(out, &one, sizeof(one), sizeof(one));
}
