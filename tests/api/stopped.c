/* SPDX-License-Identifier: BSD-2-Clause
 *
 * S24: a thread that has stopped inside any of the library's operations delays no hit, no release within the cap and no
 * taking from the shared level.
 *
 * A thread does everything there is to do, and a signal stops it wherever it happens to be: its handler waits in read. While
 * it stands, another thread releases and acquires for longer than an epoch, so that it comes by every duty that a hit can
 * lead to. It always takes back what it has just released: whatever it did not get from the pool it would have to ask jemalloc
 * for, and wait there for a mutex of the stopped thread's, which is allowed. A round that never ends is found by the
 * watchdog.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EPOCH_MS = 40, ROUND_MS = 50, WATCHDOG_S = 30, HELD = 24, MOST = 400 };

static sem_t stopped;
static int gate[2];
static atomic_bool done;

static void stand(int signal)
{
	char byte;

	(void)signal;
	sem_post(&stopped);
	while (read(gate[0], &byte, 1) != 1)
		;
}

/* Bursts of all sizes up to twice the cap, and now and then what walks through all that is cached. */
static void *wander(void *arg)
{
	static void *held[MOST];
	uint64_t seed = 24;

	(void)arg;
	while (!atomic_load(&done)) {
		size_t count = t_random(&seed) % MOST, largest = (size_t)64 << t_random(&seed) % 12;

		for (size_t i = 0; i < count; i++)
			if ((held[i] = bufpool_acquire(t_random(&seed) % largest)) != NULL)
				*(volatile char *)held[i] = 1;
		bufpool_release_many(held, count);
		switch (t_random(&seed) % 16) {
		case 0:
			bufpool_trim(NULL, 1 << 20);
			break;
		case 1:
			bufpool_advance_epoch(NULL);
			break;
		case 2:
			bufpool_tick();
			break;
		}
	}
	return NULL;
}

/* Releases and acquires while the other one stands. */
static unsigned long go_on(void **held, size_t size)
{
	int64_t end = t_now_ns() + ROUND_MS * 1000000ll;
	unsigned long pairs = 0;

	do {
		for (int i = 0; i < HELD; i++, pairs++) {
			bufpool_release(held[i]);
			held[i] = bufpool_acquire(size);
		}
	} while (t_now_ns() < end);
	return pairs;
}

static void rounds(unsigned count, size_t size)
{
	void *held[HELD];
	pthread_t thread;
	unsigned long pairs = 0;

	cr_assert_eq(pipe(gate), 0);
	sem_init(&stopped, 0, 0);
	signal(SIGUSR1, stand);
	cr_assert_eq(bufpool_option_set("epoch_ms", "40"), 0);
	t_pin(t_cpu(0));
	for (int i = 0; i < HELD; i++)
		held[i] = bufpool_acquire(size);
	pthread_create(&thread, NULL, wander, NULL);
	for (unsigned i = 0; i < count; i++) {
		usleep(200 + 37 * (i % 50));
		pthread_kill(thread, SIGUSR1);
		while (sem_wait(&stopped) != 0)
			;
		alarm(WATCHDOG_S);
		pairs += go_on(held, size);
		alarm(0);
		cr_assert_eq(write(gate[1], "", 1), 1);
	}
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	bufpool_release_many(held, HELD);
	cr_log_info("%lu pairs", pairs);
}

Test(stopped, S24_a_thread_stopped_anywhere_delays_no_hit_and_no_release, .timeout = 120)
{
	t_need_pool(3000);
	rounds(30, 3000);
}

/* Of those that the portable mode keeps as well, whose operations on a CPU's stack take a lock: without waiting for it. */
Test(stopped, S24_nor_of_large_blocks_in_either_mode, .timeout = 120)
{
	t_need_pool(40000);
	rounds(30, 40000);
}
