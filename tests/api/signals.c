/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Timers that fire into every place of the library, rseq sections included, with a handler that calls in. The contract:
 * hits work, a miss inside a miss may fail with ENOMEM, nothing hangs, nothing is corrupted.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

TestSuite(signals, .timeout = 60);

enum { STORM = 100, LONGEST_MS = 20000 };

static atomic_uint fired, served, refused, wrong;
static atomic_bool grow;
static atomic_long period_us; /* 0: no more storms */
static volatile size_t handler_bytes = 1024;

static void use_one(size_t n)
{
	void *p;

	errno = 0;
	p = bufpool_acquire(n);
	if (!p) {
		atomic_fetch_add(errno == ENOMEM ? &refused : &wrong, 1);
		return;
	}
	atomic_fetch_add(&served, 1);
	t_fill(p, n, n);
	if (!t_check(p, n, n))
		atomic_fetch_add(&wrong, 1);
	bufpool_release(p);
}

/* Once, from now on: by a clock that went on while its handler runs, a slow machine would come to nothing else. */
static int set_timer(void)
{
	const struct itimerval once = { .it_value.tv_usec = atomic_load(&period_us) };

	return setitimer(ITIMER_REAL, &once, NULL);
}

static void handler(int signal)
{
	const int saved = errno;
	static uint64_t random;
	const unsigned round = atomic_fetch_add(&fired, 1);

	(void)signal;
	use_one(handler_bytes);
	/* Another class each time: misses in the middle of whatever the thread was doing. */
	if (atomic_load(&grow) && round % 4 == 0)
		use_one(t_random_size(&random) % 70000);
	set_timer();
	errno = saved;
}

/* For so long, and until there was a storm. */
static bool goes_on(int64_t begin, int ms)
{
	const int64_t now = t_now_ns();

	return now < begin + ms * (int64_t)1000000 ||
	       (atomic_load(&fired) < STORM && now < begin + LONGEST_MS * (int64_t)1000000);
}

static void storm_begins(long us)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	atomic_store(&period_us, us);
	cr_assert_eq(set_timer(), 0);
}

static void storm_ends(void)
{
	atomic_store(&period_us, 0);
	set_timer();
	signal(SIGALRM, SIG_IGN);
	cr_assert_geq(atomic_load(&fired), STORM, "the timer fired %u times", atomic_load(&fired));
	cr_assert_gt(atomic_load(&served), 0);
	cr_assert_eq(atomic_load(&wrong), 0);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

static void work_for(int ms, unsigned trims)
{
	static struct t_owner o = { .random = 2 };
	const int64_t begin = t_now_ns();
	unsigned found = 0;

	for (unsigned i = 1; goes_on(begin, ms); i++) {
		for (int k = 0; k < 50; k++)
			found += t_owner_step(&o);
		if (trims && i % trims == 0) {
			bufpool_trim(NULL, 0);
			bufpool_advance_epoch(NULL);
		}
	}
	atomic_fetch_add(&wrong, found + t_owner_finish(&o));
}

Test(signals, a_handler_that_hits_into_hits)
{
	struct t_owner o = { .random = 8 };
	const int64_t begin = t_now_ns();

	cr_assert_eq(t_owner_run(&o, 2000), 0);
	storm_begins(200);
	while (goes_on(begin, 1000))
		for (int i = 0; i < 1000; i++)
			bufpool_release(bufpool_acquire(handler_bytes));
	storm_ends();
}

Test(signals, a_handler_amid_everything)
{
	storm_begins(200);
	work_for(1500, 0);
	storm_ends();
}

Test(signals, a_handler_that_misses_amid_misses_and_trims)
{
	atomic_store(&grow, true);
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	storm_begins(300);
	work_for(1500, 3);
	storm_ends();
}

static void *work(void *argument)
{
	struct t_owner *o = argument;

	atomic_fetch_add(&wrong, t_owner_run(o, 60000));
	return NULL;
}

Test(signals, a_handler_on_whichever_thread)
{
	static struct t_owner owners[4];
	pthread_t ids[4];

	atomic_store(&grow, true);
	storm_begins(200);
	for (int i = 0; i < 4; i++) {
		owners[i].random = (uint64_t)i;
		cr_assert_eq(pthread_create(&ids[i], NULL, work, &owners[i]), 0);
	}
	work_for(1000, 5);
	for (int i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	storm_ends();
}

Test(signals, a_handler_before_anything_else_was_called)
{
	atomic_store(&grow, true);
	storm_begins(200);
	t_sleep_ms(100);
	while (atomic_load(&fired) < STORM)
		t_sleep_ms(1);
	storm_ends();
}
