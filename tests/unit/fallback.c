/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The portable implementation alone: what a taken lock means, and threads and signals at once on one slab. That it does
 * what the other one does is tested in percpu.c.
 */
#include "percpu/fallback.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "support.h"

enum { TOKENS = 64, CLASS = 9, THREADS = 4 };

static struct bp_slabs slabs;
static int cpu;

static void *token(size_t n)
{
	return (void *)(n * 16 + 4096);
}

static void start(unsigned capacity)
{
	u_pin(u_cpu(0));
	bp_percpu_start(BP_PERCPU_FALLBACK);
	bp_thread.rseq = &bp_rseq_vfork; /* no seat: under the CPU's lock */
	cr_assert(bp_percpu_create(&slabs));
	cpu = bp_percpu_enter(slabs, 0);
	cr_assert_geq(cpu, 0);
	bp_percpu_open(slabs, cpu, CLASS, capacity);
}

Test(fallback, a_taken_lock_means_not_here)
{
	void *p = token(1);
	uint32_t pops = 4711;
	start(8);
	cr_assert(bp_fallback_push(slabs, cpu, CLASS, p));
	uint64_t word = atomic_load(&bp_slab_of(slabs, cpu)->words[CLASS]);
	cr_assert(bp_fallback_lock(slabs, cpu));
	cr_assert_not(bp_fallback_lock(slabs, cpu));
	cr_assert_null(bp_fallback_pop(slabs, cpu, CLASS));
	cr_assert_not(bp_fallback_push(slabs, cpu, CLASS, p));
	cr_assert_eq(bp_fallback_pop_batch(&p, 1, slabs, cpu, CLASS), 0);
	cr_assert_eq(bp_fallback_push_batch(slabs, cpu, CLASS, &p, 1), 0);
	cr_assert_not(bp_fallback_recount(&pops, slabs, cpu, CLASS, 100));
	cr_assert_eq(pops, 4711);
	cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->words[CLASS]), word);
	bp_fallback_unlock(slabs, cpu);
	cr_assert_eq(bp_fallback_pop(slabs, cpu, CLASS), p);
}

Test(fallback, each_operation_frees_the_lock)
{
	void *p = token(1);
	uint32_t pops;
	start(1);
	for (int i = 0; i < 2; i++) { /* also where there is nothing, or no room */
		bp_fallback_push(slabs, cpu, CLASS, p);
		cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->cpu.lock), 0);
		bp_fallback_push_batch(slabs, cpu, CLASS, &p, 1);
		cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->cpu.lock), 0);
	}
	for (int i = 0; i < 2; i++) {
		bp_fallback_pop(slabs, cpu, CLASS);
		cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->cpu.lock), 0);
		bp_fallback_pop_batch(&p, 1, slabs, cpu, CLASS);
		cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->cpu.lock), 0);
	}
	bp_fallback_recount(&pops, slabs, cpu, CLASS, 10);
	cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->cpu.lock), 0);
}

/* ---- at once ---- */

static _Atomic unsigned in_hands[TOKENS]; /* 1: somebody has it */
static _Atomic unsigned wrong, refused, interrupted;
static _Atomic bool stop;

static void has(void *p)
{
	size_t n = ((uintptr_t)p - 4096) / 16;
	if (n >= TOKENS || atomic_exchange(&in_hands[n], 1) != 0)
		atomic_fetch_add(&wrong, 1);
}

static bool give(void *p)
{
	size_t n = ((uintptr_t)p - 4096) / 16;
	atomic_store(&in_hands[n], 0);
	if (bp_fallback_push(slabs, cpu, CLASS, p))
		return true;
	atomic_store(&in_hands[n], 1);
	atomic_fetch_add(&refused, 1);
	return false;
}

static void count_anew(void)
{
	uint32_t pops;
	if (bp_percpu_ticked(slabs, cpu, CLASS))
		bp_fallback_recount(&pops, slabs, cpu, CLASS, 1000);
}

struct hands {
	void *blocks[TOKENS];
	size_t count;
};

static void one_step(struct hands *h, uint64_t n)
{
	void *p;
	switch (n % 4) {
	case 0:
		if (h->count > 0 && give(h->blocks[h->count - 1]))
			h->count--;
		break;
	case 1:
		if ((p = bp_fallback_pop(slabs, cpu, CLASS)) != NULL)
			has(h->blocks[h->count++] = p);
		break;
	case 2: {
		size_t got = bp_fallback_pop_batch(h->blocks + h->count, n / 4 % 5, slabs, cpu, CLASS);
		for (size_t i = 0; i < got; i++)
			has(h->blocks[h->count++]);
		break;
	}
	default:
		count_anew();
	}
}

static void *work(void *argument)
{
	struct hands *h = argument;
	uint64_t state = (uintptr_t)argument;
	while (!atomic_load(&stop))
		one_step(h, u_random(&state) >> 16);
	return NULL;
}

static struct hands hands[THREADS], in_handler;

static void interrupt(int signal)
{
	static uint64_t state;
	(void)signal;
	atomic_fetch_add(&interrupted, 1);
	for (int i = 0; i < 8; i++)
		one_step(&in_handler, u_random(&state) >> 16);
}

static size_t at_rest(void)
{
	size_t found = 0;
	void *p;
	for (int i = 0; i < THREADS; i++)
		found += hands[i].count;
	found += in_handler.count;
	count_anew();
	while ((p = bp_fallback_pop(slabs, cpu, CLASS)) != NULL) {
		has(p);
		found++;
		count_anew();
	}
	return found;
}

/* Too little has happened to show anything. */
static bool is_calm(void)
{
	return atomic_load(&interrupted) <= 50 || atomic_load(&refused) == 0;
}

Test(fallback, threads_on_one_slab_and_signals_lose_nothing, .timeout = 60)
{
	pthread_t ids[THREADS];
	sigset_t alarm;
	start(TOKENS / 2);
	for (size_t i = 0; i < TOKENS; i++) {
		hands[i % THREADS].blocks[hands[i % THREADS].count++] = token(i);
		atomic_store(&in_hands[i], 1);
	}
	/* One thread only takes signals: the handler has one pair of hands. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	signal(SIGALRM, interrupt);
	for (int i = 0; i < THREADS; i++) {
		pthread_create(&ids[i], NULL, work, &hands[i]);
		if (i == 0)
			pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	}
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { 0 };
	setitimer(ITIMER_REAL, &often, NULL);
	for (uint64_t start = u_now_us(), now = start; now < start + 1000000 || (is_calm() && now < start + 20000000);
	     now = u_now_us())
		usleep(10000);
	setitimer(ITIMER_REAL, &never, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	cr_assert_not(is_calm(), "%u signals, %u times a lock or a full stack", atomic_load(&interrupted),
		      atomic_load(&refused));
	cr_assert_eq(atomic_load(&wrong), 0, "%u tokens in two hands", atomic_load(&wrong));
	cr_assert_eq(at_rest(), TOKENS);
	cr_assert_eq(atomic_load(&wrong), 0);
}
