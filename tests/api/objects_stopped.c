/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A thread is stopped inside a release, wherever a signal finds it (most often between the look at the pool and the store that
 * commits), and the pool is destroyed meanwhile. Whatever it was at, each object ends once, and the pool's own memory goes.
 *
 * A stack takes 60 releases without a slow path, 300 ns, and signals are not that punctual: so there are many pools in a row,
 * and the signal meets one of them. It comes from a timer that the thread sets just before: one that another thread sends
 * comes too late wherever that thread has to wait for its CPU.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(objects_stopped, .timeout = 120);

enum { POOLS = 40, OBJECTS = 60, MET = 500, SIGNAL_NS = 30000 };

static struct maker makers[POOLS];
static struct thing *objects[POOLS][OBJECTS];
static _Atomic unsigned begun, stopped, go, done; /* rounds */
static _Atomic bool stop;

/* It waits for the round that it was sent in. */
static void wait_in_handler(int number)
{
	const unsigned round = atomic_load(&begun);

	(void)number;
	atomic_store(&stopped, round);
	while (atomic_load(&go) < round)
		sched_yield();
}

static void wait_until(_Atomic unsigned *reached, unsigned round)
{
	for (unsigned spin = 0; atomic_load(reached) < round && !atomic_load(&stop); spin++)
		if (spin > 10000)
			sched_yield();
}

/* All that follows is hits on this CPU then. */
static void open_stacks(void)
{
	for (int i = 0; i < POOLS; i++) {
		bufpool_objects_release(makers[i].pool, objects[i][0]);
		objects[i][0] = bufpool_objects_acquire(makers[i].pool);
	}
}

static void *release_all(void *unused)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	uint64_t random = 11;
	timer_t timer;

	event._sigev_un._tid = gettid();
	t_pin(t_cpu(1));
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
		abort();
	for (unsigned round = 1;; round++) {
		wait_until(&begun, round);
		if (atomic_load(&stop))
			return unused;
		open_stacks();
		const struct itimerspec soon = { .it_value.tv_nsec = 1 + (long)(t_random(&random) % SIGNAL_NS) };
		timer_settime(timer, 0, &soon, NULL);
		for (int i = 0; i < POOLS * OBJECTS; i++)
			bufpool_objects_release(makers[i / OBJECTS].pool, objects[i / OBJECTS][i % OBJECTS]);
		atomic_store(&done, round);
		wait_until(&go, round);
	}
}

static void begin(struct maker *m, struct thing **its)
{
	struct thing *things = m->things;

	memset(m, 0, sizeof(*m));
	m->things = things;
	o_create_with(m, NULL);
	memset(m->things, 0, (OBJECTS + 1) * sizeof(*m->things));
	for (int i = 0; i < OBJECTS; i++)
		its[i] = bufpool_objects_acquire(m->pool);
	/* So that the stacks are there. */
	bufpool_objects_release(m->pool, bufpool_objects_acquire(m->pool));
}

/* Has one of them ended while some of its objects were back and some were not? */
static bool destroy_all(void)
{
	bool in_the_middle = false;

	for (int i = 0; i < POOLS; i++) {
		bufpool_objects_destroy(makers[i].pool);
		in_the_middle |= makers[i].ended > 1 && makers[i].ended < makers[i].made;
	}
	return in_the_middle;
}

static void stop_and_destroy(void)
{
	const struct sigaction action = { .sa_handler = wait_in_handler };
	const uint64_t before = t_stats().in_use;
	const int64_t end = t_now_ns() + 4500000000;
	unsigned in_the_middle = 0;
	pthread_t other;

	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	cr_assert_eq(pthread_create(&other, NULL, release_all, NULL), 0);
	for (unsigned round = 1; in_the_middle < MET && t_now_ns() < end; round++) {
		for (int i = 0; i < POOLS; i++)
			begin(&makers[i], objects[i]);
		atomic_store(&begun, round);
		wait_until(&stopped, round);
		in_the_middle += destroy_all();
		atomic_store(&go, round);
		wait_until(&done, round);
		for (int i = 0; i < POOLS; i++)
			cr_assert(o_all_ended_once(&makers[i]), "round %u, pool %d", round, i);
	}
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	cr_assert_eq(t_stats().in_use, before, "a pool's own memory");
	cr_assert_gt(in_the_middle, 0, "no signal has met a release");
}

Test(objects_stopped, in_a_release_while_the_pool_ends)
{
	stop_and_destroy();
}
