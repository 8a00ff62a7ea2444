/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool's start: the first call, and who calls while it lasts.
 */
#include "cache/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "pools.h"
#include "support.h"

/* ---- in the middle of the start, as jemalloc calling back or a signal handler is ---- */

static void (*meanwhile)(void);

static void in_the_middle(void)
{
	if (meanwhile != NULL)
		meanwhile();
}

void (*const bp_pool_before_start)(void) = in_the_middle;

static void *passed_by;
static uint64_t took_us;

static void ask_for_a_block(void)
{
	uint64_t start = u_now_us();
	passed_by = u_get(U_SIZE, false);
	took_us = u_now_us() - start;
}

Test(start, the_starter_itself_does_not_wait_for_the_start)
{
	meanwhile = ask_for_a_block;
	u_start(NULL);
	cr_assert_not_null(passed_by);
	cr_assert_not(bp_range_has(passed_by));
	bp_pool_release(U_POOL, passed_by);
	u_assert_balance(0);
}

static void child_that_starts(void)
{
	meanwhile = ask_for_a_block;
	u_start(NULL);
	_exit(took_us < 90000 ? 0 : 1);
}

/* Some time or other: the machine may stand still meanwhile, who waits never comes so soon. */
Test(start, nor_for_a_moment)
{
	char err[256];
	int status = -1;
	for (int i = 0; i < 10 && status != 0; i++)
		status = u_in_child(child_that_starts, err, sizeof(err));
	cr_assert_eq(status, 0, "status %x\n%s", status, err);
}

static _Atomic bool asked;

static void *ask_from_another_thread(void *unused)
{
	(void)unused;
	atomic_store(&asked, true);
	return u_get(U_SIZE, false);
}

static pthread_t asking;

static void let_another_thread_ask(void)
{
	pthread_create(&asking, NULL, ask_from_another_thread, NULL);
	while (!atomic_load(&asked))
		usleep(100);
	usleep(10000);
}

Test(start, another_thread_waits_for_the_start)
{
	void *p;
	meanwhile = let_another_thread_ask;
	u_start(NULL);
	pthread_join(asking, &p);
	cr_assert(bp_range_has(p), "it was passed by");
	bp_pool_release(U_POOL, p);
	u_assert_balance(0);
}

static _Atomic unsigned served;
static pthread_barrier_t together;

static void *first_call(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&together);
	char *p = u_get(U_SIZE, true);
	if (p != NULL && p[U_SIZE - 1] == 0) {
		memset(p, 1, U_SIZE);
		bp_pool_release(U_POOL, p);
		atomic_fetch_add(&served, 1);
	}
	return NULL;
}

/* Whoever comes while another one starts is served, too, and its release finds where it came from. */
Test(start, many_first_calls_at_once)
{
	pthread_t ids[8];
	u_options("epoch_ms:3600000");
	pthread_barrier_init(&together, NULL, U_COUNT(ids));
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_create(&ids[i], NULL, first_call, NULL);
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_join(ids[i], NULL);
	cr_assert_eq(atomic_load(&served), U_COUNT(ids));
	cr_assert_eq(atomic_load(&U_POOL->state), BP_POOL_READY);
	u_assert_balance(0);
}

/* ---- overtaken by a thread that starts it, after each instruction of the first call ---- */

#ifdef __x86_64__

enum { TRAP_FLAG = 0x100, OVERTAKEN = 10, FIRST, PASSED_BY, STEPS_MOST = 2000 };

static unsigned steps;
static _Atomic bool begun;

static void tell(void)
{
	atomic_store(&begun, true);
}

static void *start_when_asked(void *unused)
{
	(void)unused;
	while (!atomic_load(&asked))
		sched_yield();
	return u_get(U_SIZE, false);
}

/* After an instruction: goes on to the next one, or lets the other thread come first. */
static void step(int signal, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
	(void)signal;
	(void)info;
	*flags &= ~(greg_t)TRAP_FLAG;
	if (atomic_load(&U_POOL->state) != BP_POOL_NEW)
		return;
	if (steps > 0) {
		steps--;
		*flags |= TRAP_FLAG;
		return;
	}
	atomic_store(&asked, true);
	while (!atomic_load(&begun))
		sched_yield();
}

static void child_that_is_overtaken(void)
{
	struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
	pthread_t other;

	meanwhile = tell;
	if (pthread_create(&other, NULL, start_when_asked, NULL) != 0 || sigaction(SIGTRAP, &action, NULL) != 0 ||
	    raise(SIGTRAP) != 0)
		_exit(1);
	void *p = u_get(U_SIZE, false);
	_exit(!bp_range_has(p) ? PASSED_BY : atomic_load(&asked) ? OVERTAKEN : FIRST);
}

Test(start, who_is_overtaken_by_the_starter_waits_for_it, .timeout = 100)
{
	char err[256];
	int how = OVERTAKEN;
	unsigned n = 0;
	for (; n < STEPS_MOST && how == OVERTAKEN; n++) {
		steps = n;
		int status = u_in_child(child_that_is_overtaken, err, sizeof(err));
		cr_assert(WIFEXITED(status), "after %u: status %x\n%s", n, status, err);
		how = WEXITSTATUS(status);
	}
	cr_assert_eq(how, FIRST, "%s (%d) after %u instructions", how == PASSED_BY ? "passed by" : "ended", how, n - 1);
	cr_assert_gt(n, 10);
}

#endif
