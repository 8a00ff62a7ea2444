/* SPDX-License-Identifier: BSD-2-Clause
 *
 * background:true: a thread that does what is due, for programs that make no calls for a while. It blocks all signals,
 * needs no stack to speak of, and is started again in the child of a fork. Off by default: a library that starts threads
 * unasked breaks programs that must have one (unshare, setns).
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "bufpool/bufpool.h"
#include "cache/options.h"
#include "cache/pool.h"

enum { STACK = 128 << 10, IDLE_MS = 1000, LEAST_MS = 1 };

const char bp_background_here __attribute__((visibility("hidden")));

static void *run(void *argument)
{
	for (;;) {
		int ms = bufpool_tick();
		uint64_t epoch = atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed);
		int most = epoch < IDLE_MS ? (int)epoch : IDLE_MS;
		ms = ms < 0 || ms > most ? most : ms < LEAST_MS ? LEAST_MS : ms;
		struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
		nanosleep(&pause, NULL);
	}
	return argument;
}

/* A thread that can't be had is no error of the program's: the memory then waits for its next call. */
static void start(void)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	int saved = errno;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (pthread_attr_init(&attributes) == 0) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attributes, STACK);
		pthread_create(&thread, &attributes, run, NULL);
		pthread_attr_destroy(&attributes);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
}

static __attribute__((constructor)) void start_if_wanted(void)
{
	bp_options_start();
	if (!atomic_load_explicit(&bp_options.background, memory_order_relaxed) || !bp_pool_start(&bp_default_pool))
		return;
	pthread_atfork(NULL, NULL, start);
	start();
}
