/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where bare jemalloc crashes, hangs or keeps memory, and a program under the shim must not: threads that run out of
 * address space, children of threaded processes, handlers that fork.
 */
#include "harness.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int status_of(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* All that follows is about rseq, or the same everywhere. */
static void only_with_rseq(void)
{
	if (t_under_shim() && strcmp(t_percpu(), "rseq"))
		t_skip("tried with rseq only");
}

/* ---- threads at the limit of the address space ---- */

/* Until there is nothing left, twenty times; what is given back in between serves others. */
static void *run_out(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg;
	void **chain = NULL, **p;

	for (int times = 0; times < 20;) {
		size_t n;

		random = random * 1664525u + 1013904223u;
		n = 16 + (random >> 12) % 50000;
		if ((p = malloc(n))) {
			memset(p, 1, n);
			*p = chain;
			chain = p;
			continue;
		}
		times++;
		for (int i = 0; i < 200 && chain; i++) {
			p = *chain;
			free(chain);
			chain = p;
		}
	}
	while (chain) {
		p = *chain;
		free(chain);
		chain = p;
	}
	return NULL;
}

static void threads_run_out(void)
{
	pthread_attr_t attributes;
	pthread_t thread[16];

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 << 10);
	for (unsigned round = 0; round < 4; round++) {
		unsigned n = 0;

		for (unsigned i = 0; i < COUNT(thread); i++)
			n += pthread_create(&thread[n], &attributes, run_out, (void *)(uintptr_t)(i + 16 * round + 1)) == 0;
		for (unsigned i = 0; i < n; i++)
			pthread_join(thread[i], NULL);
	}
}

TEST(threads_run_out_of_address_space, T_POOL, .timeout = 120)
{
	only_with_rseq();
	if (getenv("RUN_OUT")) {
		threads_run_out();
		return;
	}
	setenv("RUN_OUT", "1", 1);
	for (int i = 0; i < 12 && !t_failures(); i++) {
		pid_t pid = fork();

		if (!pid) {
			setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
			setrlimit(RLIMIT_AS, &(struct rlimit){128 << 20, 128 << 20});
			execl("/proc/self/exe", "limited", __func__, (char *)NULL);
			_exit(98);
		}
		CHECK(status_of(pid) == 0);
	}
}

/* ---- fork ---- */

static int memory_of_child(void)
{
	size_t now = SIZE_MAX;

	for (double end = t_now() + 20; t_now() < end && (now = t_resident()) > 16 << 20; usleep(10000))
		for (size_t i = 0; i < 2000; i++)
			free(malloc(i * 20));
	return now <= 16 << 20 ? 0 : 1;
}

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

TEST(child_of_a_threaded_process_gives_back, T_POOL, .conf = "epoch_ms:100")
{
	static char *p[2000];
	pthread_t thread;
	pid_t pid;

	only_with_rseq();
	NEED(pthread_create(&thread, NULL, sleep_for_ever, NULL) == 0);
	for (size_t i = 0; i < COUNT(p); i++) {
		NEED(p[i] = malloc(65536));
		memset(p[i], 1, 65536);
	}
	for (size_t i = 0; i < COUNT(p); i++)
		free(p[i]);
	if ((pid = fork()) == 0)
		_exit(memory_of_child());
	CHECK(status_of(pid) == 0);
}

/* Once, from now on: a clock that went on would come again before a slow machine has forked. */
static bool set_timer(void)
{
	return setitimer(ITIMER_REAL, &(struct itimerval){.it_value.tv_usec = 300}, NULL) == 0;
}

static void fork_in_handler(int signal)
{
	int saved = errno;
	pid_t pid = fork();

	(void)signal;
	if (!pid)
		_exit(0);
	if (pid > 0)
		status_of(pid);
	set_timer();
	errno = saved;
}

TEST(fork_in_a_handler_that_interrupts_fork, T_POOL)
{
	struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};

	only_with_rseq();
	NEED(sigaction(SIGALRM, &action, NULL) == 0 && set_timer());
	for (double end = t_now() + 5; t_now() < end;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0)
			status_of(pid);
	}
}

static volatile bool stop;

static void *flush_all_the_time(void *argument)
{
	while (!stop)
		fflush(NULL);
	return argument;
}

/* Owns a FILE whenever it allocates: getline grows its line under the FILE's lock. */
static void *read_all_the_time(void *argument)
{
	while (!stop) {
		FILE *file = fopen("/proc/self/maps", "r");
		char *line = NULL;
		size_t room = 0;

		while (file && getline(&line, &room, file) > 0) {
			free(line);
			line = NULL;
			room = 0;
		}
		free(line);
		if (file)
			fclose(file);
	}
	return argument;
}

/* fork takes the list of FILEs and jemalloc's mutexes; the other threads take one, then the other. */
TEST(fork_beside_a_flush_of_all_files, T_POOL, .timeout = 30)
{
	pthread_t thread[7];

	only_with_rseq();
	for (size_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], NULL, i < 2 ? flush_all_the_time : read_all_the_time, NULL) == 0);
	for (double end = t_now() + 4; t_now() < end;) {
		pid_t pid = fork();

		if (!pid) {
			free(malloc(100));
			free(malloc(70000));
			_exit(0);
		}
		NEED(pid > 0);
		CHECK(status_of(pid) == 0);
	}
	stop = true;
	for (size_t i = 0; i < COUNT(thread); i++)
		pthread_join(thread[i], NULL);
}
