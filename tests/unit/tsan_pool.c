/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The whole pool in the portable mode, by threads that hand blocks to each other through nothing but the pool: what one
 * writes into a block before its release is ordered before what the next owner writes. Epochs, trims and ticks go on
 * meanwhile. A plain program, because Criterion does not run under TSan.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/account.h"
#include "cache/epoch.h"
#include "cache/options.h"
#include "cache/pool.h"

enum { WORKERS = 3, ROUNDS = 20000, HELD = 60, TURNS = 30 /* at least */ };
#define POOL (&bp_default_pool)

/* jemalloc is not instrumented: TSan sees its mutexes and its memset, but not the atomics by which it hands things on. Left
 * out are reports with a function of jemalloc's in them; ours all begin with bp_. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void); /* found by TSan's library */
const char *__tsan_default_suppressions(void)
{
	return "race:^je_\nrace:^bp_je_\nrace:^arena_\nrace:^ctl_\nrace:^base_\nrace:^tcache_\nrace:^extent_\n"
	       "race:^emap_\nrace:^edata_\nrace:^decay_\nrace:^pac_\nrace:^bin_\n";
}

static const size_t sizes[] = { 64, 16384, 40000, 40960, 49152, 65536, 65536, 100000 };
static _Atomic unsigned wrong, working, turns; /* turns: what disturb has done */

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Plain stores over the whole block, and their check: the owner's number and where it is. */
static void sign(uint64_t *p, size_t n, uint64_t me)
{
	for (size_t i = 0; i < n / 8; i += 61)
		p[i] = me << 32 | i;
}

static void check(const uint64_t *p, size_t n, uint64_t me)
{
	for (size_t i = 0; i < n / 8; i += 61)
		if (p[i] != (me << 32 | i))
			atomic_fetch_add(&wrong, 1);
}

static void *work(void *argument)
{
	uint64_t me = (uintptr_t)argument, state = me;
	struct {
		uint64_t *p;
		size_t n;
	} held[HELD] = { 0 };
	for (int i = 0; i < ROUNDS || (i < 20 * ROUNDS && atomic_load(&turns) < TURNS); i++) {
		unsigned at = (unsigned)(next(&state) % HELD);
		if (held[at].p != NULL) {
			check(held[at].p, held[at].n, me);
			bp_pool_release(POOL, held[at].p);
			held[at].p = NULL;
			continue;
		}
		held[at].n = sizes[next(&state) % (sizeof(sizes) / sizeof(*sizes))];
		held[at].p = bp_pool_acquire(POOL, held[at].n, i % 4 == 0);
		if (held[at].p == NULL)
			abort();
		sign(held[at].p, held[at].n, me);
	}
	for (unsigned at = 0; at < HELD; at++)
		if (held[at].p != NULL)
			bp_pool_release(POOL, held[at].p);
	atomic_fetch_sub(&working, 1);
	return NULL;
}

static void *disturb(void *unused)
{
	struct bp_account a;
	struct bp_account_bytes bytes;
	(void)unused;
	for (unsigned i = 0; atomic_load(&working) > 0; i++, atomic_store(&turns, i)) {
		if (i % 3 == 0)
			bp_epoch_advance(POOL);
		else if (i % 3 == 1)
			bp_epoch_trim(POOL, (size_t)1 << 20);
		else
			bp_epoch_tick(POOL);
		bp_account_all(&a, &bytes, POOL);
	}
	return NULL;
}

static bool balanced(void)
{
	bool good = true;
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account a;
		bp_account_class(&a, POOL, class);
		uint64_t there = a.cached + a.victim + a.queued + a.dropped_budget + a.dropped_epoch + a.set_aside;
		if (a.in_use == 0 && a.created == there)
			continue;
		printf("# %zu bytes: %zu created, %zu accounted for, %zu in use\n", bp_class_size(class),
		       (size_t)a.created, (size_t)there, (size_t)a.in_use);
		good = false;
	}
	return good;
}

static int failed, number;

static void report(bool good, const char *what)
{
	failed |= !good;
	printf("%sok %d - %s\n", good ? "" : "not ", ++number, what);
	fflush(stdout);
}

int main(void)
{
	pthread_t ids[WORKERS + 1];
	printf("1..4\n");
	bp_options_start();
	bp_options_set("percpu", 6, "fallback", 8, true);
	bp_options_set("epoch_ms", 8, "10", 2, true);
	report(bp_pool_start(POOL) && bp_percpu_mode() == BP_PERCPU_FALLBACK, "the pool starts in the portable mode");
	atomic_store(&working, WORKERS);
	for (int i = 0; i <= WORKERS; i++)
		if (pthread_create(&ids[i], NULL, i < WORKERS ? work : disturb, (void *)(uintptr_t)(i + 1)) != 0)
			abort();
	for (int i = 0; i <= WORKERS; i++)
		pthread_join(ids[i], NULL);
	report(atomic_load(&wrong) == 0, "blocks keep what their owner wrote");
	report(balanced(), "everything that was created is somewhere");
	struct bp_account a;
	struct bp_account_bytes bytes;
	bp_account_all(&a, &bytes, POOL);
	printf("# %zu acquired, %zu hits, %zu from the levels, %zu dropped\n", (size_t)a.acquired, (size_t)a.hits,
	       (size_t)(a.from_shared + a.from_victim), (size_t)a.dropped_epoch);
	report(a.from_shared + a.from_victim > 0 && a.dropped_epoch > 0, "blocks went from hand to hand");
	return failed;
}
