/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How long a hit is, in instructions: a child is led through its calls one instruction at a time. Times differ from machine
 * to machine and run to run, these don't, so that a hit path that grows is seen at once.
 *
 * In the portable mode, since a restartable sequence never ends under a debugger; the checks are the same in both. The bounds
 * are gcc's 96, 128 and 200 on x86_64 and a little more.
 */
#include "support.h"

#include <bufpool/objects.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(hits, .timeout = 120);

enum { FEW = 2, MANY = 8, TRIES = 6 };

static unsigned pairs;

/* For so many pairs after others; -1: it can't be traced, or died. */
static long steps(void (*run)(void), unsigned before, unsigned count)
{
	int status;
	long n = 0;
	pid_t pid = fork();

	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(1);
		pairs = before;
		run();
		pairs = count;
		raise(SIGSTOP);
		run();
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return -1;
	do {
		n++;
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			return -1;
	} while (WSTOPSIG(status) != SIGSTOP);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return n;
}

/* The least: now and then one looks at the clock, and not each time where it did the last. */
static long least_steps(void (*run)(void), unsigned count)
{
	long least = LONG_MAX;

	for (unsigned i = 0; i < TRIES; i++) {
		const long n = steps(run, 1000 + 3 * i, count);

		if (n < 0)
			cr_skip_test("this process may not trace its children");
		least = n < least ? n : least;
	}
	return least;
}

/* Of each of the pairs that `run` makes, its loop included. */
static void at_most(long limit, void (*run)(void))
{
	char mode[16] = "", percpu[16] = "";

	bufpool_option_get(mode, sizeof(mode), "mode");
	bufpool_option_get(percpu, sizeof(percpu), "percpu");
	if (strcmp(mode, "pool") || strcmp(percpu, "fallback"))
		cr_skip_test("mode %s, percpu %s", mode, percpu);
	cr_assert_eq(t_pin(t_cpu(0)), 0); /* a child that is led to another CPU finds nothing cached there */
	bufpool_release(bufpool_acquire(64));
	const long few = least_steps(run, FEW), n = (least_steps(run, MANY) - few) / (MANY - FEW);
	cr_assert(n > 20 && n <= limit, "%ld instructions a pair", n);
}

static size_t size;

static void any_size(void)
{
	for (unsigned i = 0; i < pairs; i++)
		bufpool_release(t_launder(bufpool_acquire(size)));
}

static void constant_size(void)
{
	for (unsigned i = 0; i < pairs; i++)
		bufpool_release_sized(t_launder(bufpool_acquire(1000)), 1000);
}

static struct bufpool_objects *objects;

static void object(void)
{
	for (unsigned i = 0; i < pairs; i++)
		bufpool_objects_release(objects, t_launder(bufpool_objects_acquire(objects)));
}

Test(hits, of_a_small_block)
{
	size = 64;
	at_most(105, any_size);
}

Test(hits, of_a_large_block)
{
	size = 48000;
	at_most(105, any_size);
}

Test(hits, of_a_constant_size)
{
	at_most(140, constant_size);
}

static void *construct(void *ctx)
{
	static long object[16];

	(void)ctx;
	return object;
}

Test(hits, of_an_object)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, NULL };

	cr_assert_eq(bufpool_objects_create(&objects, &ops, NULL), 0);
	at_most(210, object);
	bufpool_objects_destroy(objects);
}
