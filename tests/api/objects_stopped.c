/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A thread is stopped inside a release, wherever a signal finds it (most often between the look at the pool and the store that
 * commits), and the pool is destroyed meanwhile. Whatever it was at, each object ends once, and the pool's own memory goes.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

TestSuite(objects_stopped, .timeout = 120);

enum { OBJECTS = 60, MET = 500 };

static struct maker m;
static struct thing *objects[OBJECTS];
static _Atomic unsigned round_begun, round_done, stopped, go;
static _Atomic bool stop;

/* It waits for the round that it was sent in. */
static void wait_in_handler(int number)
{
	const unsigned round = atomic_load(&round_begun);

	(void)number;
	atomic_store(&stopped, round);
	while (atomic_load(&go) < round)
		sched_yield();
}

static void *release_all(void *unused)
{
	t_pin(t_cpu(1));
	for (unsigned round = 1; !atomic_load(&stop); round++) {
		for (unsigned spin = 0; atomic_load(&round_begun) < round && !atomic_load(&stop); spin++)
			if (spin > 10000)
				sched_yield();
		if (atomic_load(&stop))
			break;
		for (int i = 0; i < OBJECTS; i++)
			bufpool_objects_release(m.pool, objects[i]);
		atomic_store(&round_done, round);
		while (atomic_load(&go) < round && !atomic_load(&stop))
			sched_yield();
	}
	return unused;
}

static void begin(unsigned round)
{
	struct thing *things = m.things;

	memset(&m, 0, sizeof(m));
	m.things = things;
	o_create_with(&m, NULL);
	memset(m.things, 0, (OBJECTS + 1) * sizeof(*m.things));
	for (int i = 0; i < OBJECTS; i++)
		objects[i] = bufpool_objects_acquire(m.pool);
	/* So that the stacks are there. */
	bufpool_objects_release(m.pool, bufpool_objects_acquire(m.pool));
	atomic_store(&round_begun, round);
}

static void stop_and_destroy(void)
{
	const struct sigaction action = { .sa_handler = wait_in_handler };
	const uint64_t before = t_stats().in_use;
	const int64_t end = t_now_ns() + 4500000000;
	unsigned in_the_middle = 0;
	uint64_t random = 7;
	pthread_t other;

	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	cr_assert_eq(pthread_create(&other, NULL, release_all, NULL), 0);
	for (unsigned round = 1; in_the_middle < MET && t_now_ns() < end; round++) {
		begin(round);
		for (unsigned spin = t_random(&random) % 3000; spin > 0; spin--)
			__asm__ volatile("");
		pthread_kill(other, SIGUSR1);
		while (atomic_load(&stopped) < round)
			sched_yield();
		bufpool_objects_destroy(m.pool);
		in_the_middle += m.ended > 1 && m.ended < m.made;
		atomic_store(&go, round);
		while (atomic_load(&round_done) < round)
			sched_yield();
		cr_assert(o_all_ended_once(&m), "round %u", round);
	}
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	cr_assert_eq(t_stats().in_use, before, "a pool's own memory");
	if (in_the_middle == 0) /* each round takes the other CPU for microseconds */
		cr_skip_test("the machine is too busy for a signal to meet a release");
}

Test(objects_stopped, in_a_release_while_the_pool_ends)
{
	stop_and_destroy();
}
