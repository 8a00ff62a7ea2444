/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Seats, many operations at once: owners, handlers above them and takers hand tokens round, and none is lost or doubled.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "seated.h"
#include "support.h"

static _Atomic unsigned in_hands[TOKENS]; /* 1: somebody has it */
static _Atomic unsigned wrong, interrupted, takings, failures, hits;
static _Atomic bool stop;

struct hands {
	void *blocks[TOKENS];
	size_t count;
	int cpu;
};
static struct hands owners[4], in_handler, taker;
static pthread_mutex_t exchange = PTHREAD_MUTEX_INITIALIZER;

static void has(struct hands *h, void *p)
{
	size_t n = ((uintptr_t)p - 4096) / 16;
	if (n >= TOKENS || atomic_exchange(&in_hands[n], 1) != 0)
		atomic_fetch_add(&wrong, 1);
	else
		h->blocks[h->count++] = p;
}

static void give(struct hands *h, bool hit)
{
	void *p = h->blocks[h->count - 1];
	atomic_store(&in_hands[((uintptr_t)p - 4096) / 16], 0);
	if (hit ? bp_seat_push(slabs.base, CLASS, p) : bp_percpu_push(slabs, h->cpu, CLASS, p))
		h->count--;
	else
		atomic_store(&in_hands[((uintptr_t)p - 4096) / 16], 1);
}

static void one_step(struct hands *h, uint64_t n)
{
	void *p, *some[4];
	uint32_t pops;
	switch (n % 6) {
	case 0:
	case 1:
		if (h->count > 0)
			give(h, n % 6 == 0);
		break;
	case 2:
		if (bp_seat_pop(&p, slabs.base, CLASS)) {
			atomic_fetch_add_explicit(&hits, 1, memory_order_relaxed);
			has(h, p);
		}
		break;
	case 3:
		if ((p = bp_percpu_pop(slabs, h->cpu, CLASS)) != NULL)
			has(h, p);
		break;
	case 4:
		for (size_t i = 0, got = bp_percpu_pop_batch(some, n / 8 % 5, slabs, h->cpu, CLASS); i < got; i++)
			has(h, some[i]);
		break;
	default:
		if (bp_percpu_ticked(slabs, h->cpu, CLASS))
			bp_percpu_recount(&pops, slabs, h->cpu, CLASS, 1000);
	}
}

static void interrupt(int signal)
{
	static uint64_t state = 7;
	(void)signal;
	atomic_fetch_add(&interrupted, 1);
	for (int i = 0; i < 8; i++)
		one_step(&in_handler, u_random(&state) >> 16);
}

static size_t at_rest(int cpu)
{
	void *p;
	uint32_t pops;
	size_t n = 0;
	struct hands h = { .cpu = cpu };
	while (bp_percpu_count(slabs, cpu, CLASS) > 0 && n++ < 4 * TOKENS) {
		bp_percpu_recount(&pops, slabs, cpu, CLASS, 1000);
		if ((p = bp_percpu_pop(slabs, cpu, CLASS)) != NULL)
			has(&h, p);
	}
	return h.count;
}

Test(seats_threads, signals_in_the_middle_of_operations_lose_nothing, .timeout = 60)
{
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	struct hands *h = &owners[0];
	uint64_t state = 5;
	int cpu = start();
	h->cpu = in_handler.cpu = cpu;
	for (size_t i = 0; i < TOKENS; i++)
		has(h, token(i));
	signal(SIGALRM, interrupt);
	setitimer(ITIMER_REAL, &often, NULL);
	for (uint64_t start = u_now_us(), now = start;
	     now < start + 1500000 || (interrupted <= 500 && now < start + 20000000); now = u_now_us())
		for (int i = 0; i < 1000; i++)
			one_step(h, u_random(&state) >> 16);
	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert_gt(atomic_load(&interrupted), 500);
	cr_assert_gt(atomic_load(&hits), 1000);
	cr_assert_eq(atomic_load(&wrong), 0, "%u tokens in two hands", atomic_load(&wrong));
	cr_assert_eq(h->count + in_handler.count + at_rest(cpu), TOKENS);
	cr_assert_eq(atomic_load(&wrong), 0);
}

/* What the taker has goes back to whoever's hands are empty. */
static void *own(void *argument)
{
	struct hands *h = argument;
	uint64_t state = (uintptr_t)argument;
	h->cpu = bp_percpu_enter(slabs, 0);
	bp_percpu_open(slabs, h->cpu, CLASS, 12);
	while (!atomic_load(&stop)) {
		one_step(h, u_random(&state) >> 16);
		if (h->count > 0)
			continue;
		pthread_mutex_lock(&exchange);
		if (taker.count > 0)
			h->blocks[h->count++] = taker.blocks[--taker.count];
		pthread_mutex_unlock(&exchange);
	}
	return NULL;
}

static void take_all(void *ctx, unsigned class, void **blocks, size_t count)
{
	(void)ctx, (void)class;
	pthread_mutex_lock(&exchange);
	for (size_t i = 0; i < count; i++)
		has(&taker, blocks[i]);
	pthread_mutex_unlock(&exchange);
}

Test(seats_threads, takers_and_owners_lose_nothing, .timeout = 60)
{
	pthread_t ids[U_COUNT(owners)];
	size_t found = 0;
	start();
	for (size_t i = 0; i < TOKENS; i++)
		has(&owners[i % U_COUNT(owners)], token(i));
	for (size_t i = 0; i < U_COUNT(owners); i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, own, &owners[i]), 0);
	/* A fence takes its time where other programs have the CPUs. */
	for (uint64_t start = u_now_us(), now = start; now < start + 1500000 || (takings <= 100 && now < start + 20000000);
	     now = u_now_us())
		for (unsigned seat = 0; seat < bp_seats.count; seat++)
			atomic_fetch_add(bp_percpu_take(slabs, (int)(bp_seats.first + seat), 0, ALL, take_all, NULL) ?
					 &takings : &failures, 1);
	atomic_store(&stop, true);
	for (size_t i = 0; i < U_COUNT(owners); i++)
		pthread_join(ids[i], NULL);
	for (size_t i = 0; i < U_COUNT(owners); i++) {
		cr_assert(bp_seat_is(owners[i].cpu));
		found += owners[i].count + bp_percpu_count(slabs, owners[i].cpu, CLASS);
	}
	cr_assert_gt(atomic_load(&takings), 100);
	cr_assert_gt(atomic_load(&hits), 1000);
	cr_assert_eq(atomic_load(&wrong), 0, "%u tokens in two hands", atomic_load(&wrong));
	cr_assert_eq(found + taker.count, TOKENS);
}

/* The word that says "at work" leaves the owner's CPU late here: the taker has its line. */
static _Atomic(void *) bag[TOKENS];
static _Atomic int owned = -1;

static void to_bag(void *ctx, unsigned class, void **blocks, size_t count)
{
	(void)ctx, (void)class;
	for (size_t i = 0; i < count; i++) {
		size_t n = ((uintptr_t)blocks[i] - 4096) / 16;
		if (n >= TOKENS || atomic_exchange(&bag[n], blocks[i]) != NULL)
			atomic_fetch_add(&wrong, 1);
	}
}

static void *pop_and_push(void *unused)
{
	void *p;
	(void)unused;
	u_pin(u_cpu(1));
	int cpu = bp_percpu_enter(slabs, 0);
	bp_percpu_open(slabs, cpu, CLASS, TOKENS);
	atomic_store(&owned, cpu);
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		uint32_t pops;
		if (bp_percpu_ticked(slabs, cpu, CLASS))
			bp_percpu_recount(&pops, slabs, cpu, CLASS, 1000000);
		if (i % 4 == 0 && (p = atomic_exchange(&bag[i / 4 % TOKENS], NULL)) != NULL &&
		    !bp_seat_push(slabs.base, CLASS, p))
			atomic_store(&bag[i / 4 % TOKENS], p);
		if (!bp_seat_pop(&p, slabs.base, CLASS))
			continue;
		if (atomic_load(&bag[((uintptr_t)p - 4096) / 16]) != NULL)
			atomic_fetch_add(&wrong, 1); /* the taker has it as well */
		while (!bp_seat_push(slabs.base, CLASS, p))
			;
	}
	return NULL;
}

Test(seats_threads, the_taker_makes_the_fence_that_the_owner_does_without, .timeout = 60)
{
	pthread_t id;
	size_t found = 0;
	start();
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	for (size_t i = 0; i < TOKENS; i++)
		bag[i] = token(i);
	u_pin(u_cpu(0));
	cr_assert_eq(pthread_create(&id, NULL, pop_and_push, NULL), 0);
	while (atomic_load(&owned) < 0)
		;
	for (uint64_t start = u_now_us(), now = start; now < start + 2000000 || (takings <= 1000 && now < start + 20000000);
	     now = u_now_us())
		atomic_fetch_add(bp_percpu_take(slabs, owned, 0, ALL, to_bag, NULL) ? &takings : &failures, 1);
	atomic_store(&stop, true);
	pthread_join(id, NULL);
	for (size_t i = 0; i < TOKENS; i++)
		found += bag[i] != NULL;
	cr_assert_gt(atomic_load(&takings), 1000);
	cr_assert_eq(atomic_load(&wrong), 0, "%u times a token in two places", atomic_load(&wrong));
	cr_assert_eq(found + bp_percpu_count(slabs, owned, CLASS), TOKENS);
}
