/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The containers alone, by threads that only they synchronise: magazines on stacks, and the per-CPU stacks in the
 * portable mode with a taker. Under TSan whatever a container fails to order is a race on the payload; without it the
 * payload's content is checked. A plain program, because Criterion does not run under TSan.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/level.h"
#include "percpu/fallback.h"

enum { THREADS = 4, ROUNDS = 30000, BOXES = 64, CLASS = 9 };

static struct bp_level levels[2];
static struct bp_slabs slabs;
static _Atomic unsigned wrong, running;

/* Written with plain stores by whoever has it. */
struct box {
	uint64_t owner, again;
};
static struct box boxes[BOXES];

static void use(struct box *b, uint64_t me)
{
	if (b->owner != b->again)
		atomic_fetch_add(&wrong, 1);
	b->owner = me;
	b->again = me;
}

static void *move_magazines(void *argument)
{
	uint64_t me = (uintptr_t)argument, state = me;
	for (int i = 0; i < ROUNDS; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		uint32_t m = bp_level_take(&levels[state >> 40 & 1], CLASS);
		if (m == 0)
			continue;
		uint32_t n = bp_magazine_count(m), to = bp_magazine_new();
		for (uint32_t j = 0; j < n; j++)
			use(bp_magazine_slots(m)[j], me);
		if (to != 0) { /* a fresh row, so that rows change hands as well */
			memcpy(bp_magazine_slots(to), bp_magazine_slots(m), n * sizeof(void *));
			bp_magazine_set_count(to, n);
			bp_magazine_free(m);
			m = to;
		}
		bp_level_put(&levels[state >> 41 & 1], CLASS, m);
		if (i % 1000 == 0)
			bp_magazines_purge();
	}
	return NULL;
}

static unsigned boxes_in_levels(void)
{
	unsigned n = 0;
	for (int i = 0; i < 2; i++)
		for (uint32_t m; (m = bp_level_take(&levels[i], CLASS)) != 0; n += bp_magazine_count(m))
			;
	return n;
}

static void run(void *(*body)(void *), void *(*other)(void *))
{
	pthread_t ids[THREADS + 1];
	int n = THREADS + (other != NULL);
	atomic_store(&running, THREADS);
	for (int i = 0; i < n; i++)
		if (pthread_create(&ids[i], NULL, i < THREADS ? body : other, (void *)(uintptr_t)(i + 1)) != 0)
			abort();
	for (int i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
}

static bool magazines(void)
{
	if (!bp_magazines_start((size_t)1 << 20))
		return false;
	for (unsigned i = 0; i < BOXES; i += 4) {
		uint32_t m = bp_magazine_new();
		for (unsigned j = 0; j < 4; j++)
			bp_magazine_slots(m)[j] = &boxes[i + j];
		bp_magazine_set_count(m, 4);
		bp_level_put(&levels[i / 4 % 2], CLASS, m);
	}
	run(move_magazines, NULL);
	return atomic_load(&wrong) == 0 && boxes_in_levels() == BOXES;
}

/* ---- per-CPU stacks, all of them of one slab ---- */

static int cpu;
static _Atomic unsigned takings;

static void keep(uint64_t me, void **held, size_t *count, void *p)
{
	use(p, me);
	held[(*count)++] = p;
}

/* Until everybody's hands are empty: what does not fit goes to a level. */
static void put_rest(void **held, size_t count)
{
	for (uint32_t m = 0; count > 0 && (m = bp_magazine_new()) != 0;) {
		bp_magazine_slots(m)[0] = held[--count];
		bp_magazine_set_count(m, 1);
		bp_level_put(&levels[0], CLASS, m);
	}
}

static void *push_and_pop(void *argument)
{
	uint64_t me = (uintptr_t)argument, state = me;
	void *held[BOXES], *p;
	size_t count = 0;
	uint32_t pops;
	/* Until the taker has had its turn, too. */
	for (int i = 0; i < ROUNDS || (i < 100 * ROUNDS && atomic_load(&takings) <= BOXES); i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		unsigned what = state >> 40 & 3;
		uint32_t m = count > 0 ? 0 : bp_level_take(&levels[1], CLASS);
		if (m != 0) {
			keep(me, held, &count, bp_magazine_slots(m)[0]);
			bp_magazine_free(m);
		}
		if (what == 0 && count > 0 && bp_percpu_push(slabs, cpu, CLASS, held[count - 1]))
			count--;
		if (what == 1 && count >= 2) {
			size_t n = bp_percpu_push_batch(slabs, cpu, CLASS, &held[count - 2], 2);
			if (n == 1)
				held[count - 2] = held[count - 1];
			count -= n;
		}
		if (what == 2 && (p = bp_percpu_pop(slabs, cpu, CLASS)) != NULL)
			keep(me, held, &count, p);
		if (what == 3) {
			void *two[2];
			size_t n = bp_percpu_pop_batch(two, 2, slabs, cpu, CLASS);
			for (size_t j = 0; j < n; j++)
				keep(me, held, &count, two[j]);
		}
		if (bp_percpu_ticked(slabs, cpu, CLASS))
			bp_percpu_recount(&pops, slabs, cpu, CLASS, 100);
	}
	put_rest(held, count);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void to_level(void *ctx, unsigned class, void **blocks, size_t count)
{
	uint64_t me = (uintptr_t)ctx;
	for (size_t i = 0; i < count; i++) {
		use(blocks[i], me);
		uint32_t m = bp_magazine_new();
		while (m == 0)
			m = bp_magazine_new();
		bp_magazine_slots(m)[0] = blocks[i];
		bp_magazine_set_count(m, 1);
		bp_level_put(&levels[1], class, m);
	}
	atomic_fetch_add(&takings, 1);
}

static void *take(void *argument)
{
	while (atomic_load(&running) > 0) {
		bp_percpu_take(slabs, cpu, 0, BP_CLASS_COUNT - 1, to_level, argument);
		bp_percpu_resize(slabs, cpu, CLASS, 5 + atomic_load(&takings) % 20);
		sched_yield();
	}
	return NULL;
}

static bool stacks(void)
{
	uint32_t pops;
	bp_percpu_start(BP_PERCPU_FALLBACK);
	bp_thread.rseq = &bp_rseq_vfork; /* no seat: the slab is everybody's, under its lock */
	if (!bp_percpu_create(&slabs) || (cpu = bp_percpu_enter(slabs, 0)) < 0)
		return false;
	bp_percpu_open(slabs, cpu, CLASS, 20);
	for (unsigned i = 0; i < BOXES; i++) {
		void *p = &boxes[i];
		to_level((void *)1, CLASS, &p, 1);
	}
	run(push_and_pop, take);
	unsigned found = boxes_in_levels();
	bp_percpu_recount(&pops, slabs, cpu, CLASS, 1000);
	while (bp_percpu_pop(slabs, cpu, CLASS) != NULL)
		found++;
	printf("# %u of %u boxes, %u wrong, %u takings\n", found, BOXES, atomic_load(&wrong),
	       atomic_load(&takings) - BOXES);
	return atomic_load(&wrong) == 0 && found == BOXES && atomic_load(&takings) > BOXES;
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
	printf("1..2\n");
	report(magazines(), "magazines change hands in order");
	report(stacks(), "blocks change hands in order, also where they are taken");
	return failed;
}
