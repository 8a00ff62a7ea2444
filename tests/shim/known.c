/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is known to fail, with the reason: each becomes a failure of the run on the day on which it passes, and belongs
 * into another file then. Where the reason is jemalloc's own, bare jemalloc fails as well.
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

TEST(threads_run_out_of_address_space, T_POOL, .timeout = 120,
     .todo = "jemalloc takes no notice when a thread's tcache can't be had; one arena a CPU makes it likelier")
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
	for (double end = t_now() + 4; t_now() < end && t_resident() > 16 << 20; usleep(10000))
		for (size_t i = 0; i < 2000; i++)
			free(malloc(i * 20));
	return t_resident() <= 16 << 20 ? 0 : 1;
}

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

TEST(child_of_a_threaded_process_gives_back, T_POOL, .conf = "epoch_ms:100",
     .todo = "what was cached at the fork is left alone in the child, and stays with it")
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

static void fork_in_handler(int signal)
{
	int saved = errno;
	pid_t pid = fork();

	(void)signal;
	if (!pid)
		_exit(0);
	if (pid > 0)
		status_of(pid);
	errno = saved;
}

TEST(fork_in_a_handler_that_interrupts_fork, T_POOL, .timeout = 8,
     .todo = "jemalloc's handler before fork takes its mutexes a second time; bare jemalloc hangs too")
{
	struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
	struct itimerval every = {{0, 300}, {0, 300}};

	only_with_rseq();
	NEED(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
	for (double end = t_now() + 5; t_now() < end;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0)
			status_of(pid);
	}
}

/* ---- a sandbox that kills ---- */

#define ALLOW(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* What OpenSSH's allows, more or less. */
static bool enter_sandbox(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_close), ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mremap),
		ALLOW(SYS_mprotect), ALLOW(SYS_madvise), ALLOW(SYS_brk), ALLOW(SYS_futex), ALLOW(SYS_exit),
		ALLOW(SYS_exit_group), ALLOW(SYS_clock_gettime), ALLOW(SYS_getpid), ALLOW(SYS_getrandom),
		ALLOW(SYS_nanosleep), ALLOW(SYS_clock_nanosleep), ALLOW(SYS_rt_sigprocmask),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog filter = {COUNT(code), code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void use_on_cpu(int cpu, size_t n)
{
	static char *p[40];
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (size_t i = 0; i < COUNT(p); i++)
		p[i] = malloc(n);
	for (size_t i = 0; i < COUNT(p); i++)
		free(p[i]);
}

TEST(sandbox_without_membarrier, T_POOL, .conf = "epoch_ms:50",
     .todo = "taking what idle CPUs hold needs membarrier, and nobody can ask whether a filter kills for it")
{
	pid_t pid;

	only_with_rseq();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		t_skip("one CPU only");
	if ((pid = fork()) == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		use_on_cpu(0, 2000);
		use_on_cpu(1, 11000);
		if (!enter_sandbox())
			_exit(1);
		for (int round = 0; round < 100; round++) {
			for (size_t n = 1; n < 100000; n += n / 2 + 1)
				free(malloc(n));
			nanosleep(&(struct timespec){0, 5000000}, NULL);
		}
		_exit(0);
	}
	CHECK(status_of(pid) == 0);
}
