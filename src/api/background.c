/* SPDX-License-Identifier: BSD-2-Clause
 *
 * background:true: a thread that does what is due, for programs that make no calls for a while. It blocks all signals,
 * needs no stack to speak of, and is started again in the child of a fork. Off by default: a library that starts threads
 * unasked breaks programs that must have one (unshare, setns). For those two the shim makes it pause.
 *
 * What is unusual: a thread that has been joined is counted by the kernel for a moment still, on a busy machine for tens of
 * milliseconds. A pause is over when the kernel doesn't know its number any more.
 */
#include "api/background.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>

#include "api/provider.h"
#include "bufpool/bufpool.h"
#include "cache/options.h"
#include "cache/pool.h"
#include "sys/barrier.h"

enum { STACK = 128 << 10, IDLE_MS = 1000, LEAST_MS = 1, GONE_TRIES = 20000, GONE_PAUSE_NS = 100000 };

const char bp_background_here __attribute__((visibility("hidden")));

static pthread_t thread;
static sem_t end;             /* raised: the thread is to end */
static _Atomic bool running;  /* there is a thread to be ended and joined: whoever clears it does that */
static uint32_t number;       /* the kernel's, which the thread writes: read by who has joined it */

/* The monotonic clock: a date that is set back must not put the next epoch off. */
static void later(struct timespec *t, int ms)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_sec += ms / 1000;
	t->tv_nsec += ms % 1000 * 1000000L;
	if (t->tv_nsec >= 1000000000L) {
		t->tv_sec++;
		t->tv_nsec -= 1000000000L;
	}
}

static void *run(void *argument)
{
	struct timespec until;
	number = bp_os_thread();
	do {
		int ms = bufpool_tick();
		uint64_t epoch = atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed);
		int most = epoch < IDLE_MS ? (int)epoch : IDLE_MS;
		later(&until, ms < 0 || ms > most ? most : ms < LEAST_MS ? LEAST_MS : ms);
	} while (sem_clockwait(&end, CLOCK_MONOTONIC, &until) != 0);
	return argument;
}

/* A thread that can't be had is no error of the program's: the memory then waits for its next call. */
static void start(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int saved = errno;
	sem_init(&end, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (pthread_attr_init(&attributes) == 0) {
		pthread_attr_setstacksize(&attributes, STACK);
		bool there = pthread_create(&thread, &attributes, run, NULL) == 0;
		atomic_store_explicit(&running, there, memory_order_release); /* pairs with whoever joins */
		pthread_attr_destroy(&attributes);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
}

/* Two seconds at most: a debugger may keep it. */
static void wait_until_gone(void)
{
	struct timespec pause = { .tv_nsec = GONE_PAUSE_NS };
	for (int i = 0; i < GONE_TRIES && !bp_os_is_confined() && !bp_os_thread_is_gone(number); i++)
		nanosleep(&pause, NULL);
}

bool bp_background_pause(void)
{
	if (!atomic_exchange_explicit(&running, false, memory_order_acquire))
		return false;
	int saved = errno;
	sem_post(&end);
	pthread_join(thread, NULL);
	wait_until_gone();
	errno = saved;
	return true;
}

void bp_background_resume(void)
{
	start();
}

static __attribute__((constructor)) void start_if_wanted(void)
{
	if (!bp_provider_is_this())
		return;
	bp_options_start();
	if (!atomic_load_explicit(&bp_options.background, memory_order_relaxed) || !bp_pool_start(&bp_default_pool))
		return;
	pthread_atfork(NULL, NULL, start);
	start();
}
