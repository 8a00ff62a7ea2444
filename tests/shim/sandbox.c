/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that enters a seccomp sandbox of OpenSSH's kind goes on allocating in it: whatever is not listed kills, and what
 * is listed is what glibc's malloc calls, no more. Before, it has used both CPUs, so that the pool would like to take from
 * the one that stands still. What else the two functions do by which a program enters one: sandbox_calls.c.
 */
#include "harness.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

#define EPOCHS .conf = "epoch_ms:50"

enum { LARGE_ONES = 30, CROWD = 4 };

#define ALLOW(call) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define MALLOCS \
	ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mprotect), ALLOW(SYS_madvise), ALLOW(SYS_brk), ALLOW(SYS_futex)
/* What the tests do themselves: results, naps, the end. */
#define THE_TESTS \
	ALLOW(SYS_write), ALLOW(SYS_clock_nanosleep), ALLOW(SYS_exit), ALLOW(SYS_exit_group), ALLOW(SYS_rt_sigprocmask)
#define THREADS \
	ALLOW(SYS_clone), ALLOW(SYS_clone3), ALLOW(SYS_set_robust_list), ALLOW(SYS_rseq), ALLOW(SYS_rt_sigaction)

static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	MALLOCS, THE_TESTS, THREADS,
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};
static struct sock_fprog filter = {COUNT(code), code};

/* One in which another can be entered. */
static struct sock_filter outer_code[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	ALLOW(SYS_prctl), MALLOCS, THE_TESTS, THREADS,
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};
static struct sock_fprog outer_filter = {COUNT(outer_code), outer_code};

static bool outer_by_prctl(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &outer_filter) == 0;
}

static bool by_prctl(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static bool by_seccomp(void)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

static bool by_prctl_by_number(void)
{
	return syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static bool all_threads_by_seccomp(void)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

/* ---- work ---- */

static void nap(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void run_on(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static bool use(char **p, size_t count, size_t step)
{
	bool good = true;

	for (size_t i = 0; i < count; i++)
		if ((p[i] = malloc(i * step + 1)))
			memset(p[i], (int)i, i * step + 1);
	for (size_t i = 0; i < count; i++) {
		good = good && p[i] && t_is_filled(p[i], (int)(i & 0xff), i * step + 1);
		free(p[i]);
	}
	return good;
}

/* Both CPUs have something; this thread stays on the second one. */
static void use_both(void)
{
	static char *p[60];

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		t_skip("one CPU only");
	run_on(0);
	CHECK(use(p, COUNT(p), 500));
	run_on(1);
	CHECK(use(p, COUNT(p), 1100));
}

/* Ten epochs: small blocks, large ones, larger ones than the pool keeps, a burst whose end is due later. */
static bool goes_on(char **p)
{
	bool good = true;

	for (int round = 0; round < 100; round++) {
		good = good && use(p, 150, 13) && use(p, 150, 700) && use(p, 8, 300000);
		nap(5);
	}
	return good;
}

static void enter(bool (*way)(void))
{
	NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	errno = 4711;
	CHECK(way());
	CHECK(errno == 4711);
}

static void goes_on_in_a_sandbox(bool (*way)(void))
{
	static char *p[150], *kept[500];

	use_both();
	for (size_t i = 0; i < COUNT(kept); i++) {
		NEED((kept[i] = malloc(i * 41)));
		memset(kept[i], (int)i, i * 41);
	}
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	enter(way);
	CHECK(goes_on(p));
	for (size_t i = 0; i < COUNT(kept); i++) {
		CHECK(t_is_filled(kept[i], (int)(i & 0xff), i * 41));
		free(kept[i]);
	}
	t_adds_up();
}

TEST(sandbox_by_prctl, EPOCHS)
{
	goes_on_in_a_sandbox(by_prctl);
}

TEST(sandbox_by_seccomp, EPOCHS)
{
	goes_on_in_a_sandbox(by_seccomp);
}

TEST(sandbox_by_prctl_by_number, EPOCHS)
{
	goes_on_in_a_sandbox(by_prctl_by_number);
}

TEST(sandbox_in_a_sandbox, EPOCHS)
{
	static char *p[150];

	use_both();
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	enter(outer_by_prctl);
	CHECK(use(p, COUNT(p), 700));
	enter(by_prctl);
	CHECK(goes_on(p));
	t_adds_up();
}

/* ---- threads ---- */

static _Atomic bool stop;
static _Atomic unsigned long rounds;
static _Atomic unsigned in_place;

static void *works(void *arg)
{
	char *p[100];

	while (!stop) {
		if (!use(p, COUNT(p), 13) || !use(p, COUNT(p), 700))
			return NULL;
		rounds++;
	}
	return arg;
}

static void *works_on_one_cpu(void *arg)
{
	run_on((int)((uintptr_t)arg & 1));
	in_place++;
	return works(arg);
}

static void threads(void *(*run)(void *), void (*meanwhile)(void))
{
	pthread_t thread[CROWD];

	for (uintptr_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], NULL, run, (void *)(i + 2)) == 0);
	meanwhile();
	stop = true;
	for (uintptr_t i = 0; i < COUNT(thread); i++) {
		void *result = NULL;

		CHECK(pthread_join(thread[i], &result) == 0 && result == (void *)(i + 2));
	}
}

static void nap_for_four_epochs(void)
{
	nap(200);
}

TEST(threads_that_start_in_the_sandbox, EPOCHS)
{
	use_both();
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	enter(by_prctl);
	threads(works, nap_for_four_epochs);
	t_adds_up();
}

static void enter_with_all(void)
{
	nap(20);
	while (rounds == 0 || in_place < CROWD) /* choosing a CPU is not allowed there */
		nap(1);
	enter(all_threads_by_seccomp);
	nap(60);
}

static void threads_are_locked_in(void *arg)
{
	use_both();
	threads(works_on_one_cpu, enter_with_all);
	t_adds_up();
	(void)arg;
}

/* At a moment at which they may be doing anything, between two system calls included. Epochs as short as they can be. */
TEST(threads_that_are_locked_in, .conf = "epoch_ms:10", .timeout = 60)
{
	char text[512];

	for (int i = 0; i < 30 && !t_failures(); i++) {
		CHECK(t_child(text, sizeof(text), threads_are_locked_in, NULL) == 0);
		if (t_failures())
			t_note("%s", text);
	}
}

/* ---- who stays free ---- */

static size_t cached(void)
{
	struct bufpool_stats s = t_adds_up();

	return s.cached_bytes;
}

/* The first CPU has something, this thread is on the second one. Much less than that where an epoch has ended meanwhile. */
static size_t cached_on_the_first_cpu(void)
{
	static char *p[60];

	run_on(0);
	CHECK(use(p, COUNT(p), 500));
	for (size_t i = 0; i < LARGE_ONES; i++)
		CHECK((p[i] = malloc(40000)));
	for (size_t i = 0; i < LARGE_ONES; i++)
		free(p[i]);
	run_on(1);
	return cached();
}

/* It comes back though nobody runs there. */
static bool other_cpu_is_drained(void)
{
	size_t before = 0, after;

	for (int tries = 0; tries < 100 && before <= LARGE_ONES * 40000; tries++)
		before = cached_on_the_first_cpu();
	for (int i = 0; i < 40; i++) {
		free(malloc(100));
		for (int j = 0; j < 1000; j++)
			free(malloc(3000));
		nap(10);
	}
	after = cached();
	t_note("cached: %zu kB, then %zu kB", before >> 10, after >> 10);
	return before > LARGE_ONES * 40000 && after <= 64 << 10;
}

TEST(failed_attempts_confine_nobody, T_POOL, EPOCHS)
{
	struct sock_fprog none = {0, NULL};

	use_both();
	NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	errno = 0;
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) == -1 && errno == EFAULT);
	errno = 0;
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &none, 0, 0) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(prctl(PR_SET_SECCOMP, 99, &filter, 0, 0) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == -1 && errno == EFAULT);
	errno = 0;
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0xffff, &filter) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &none) == -1 && errno == EINVAL);
	CHECK(prctl(PR_GET_SECCOMP) == 0);
	CHECK(other_cpu_is_drained());
}

/* The child of a vfork, in its parent's memory: it may allocate in its sandbox, and its parent stays as it was. */
static __attribute__((noinline)) pid_t vforked(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		char *p[100];
		bool good = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && by_prctl();

		for (int i = 0; good && i < 30; i++) {
			good = use(p, COUNT(p), 13) && use(p, COUNT(p), 700);
			nap(10);
		}
		_exit(good ? 0 : 1);
	}
	return pid;
}

TEST(a_vfork_childs_sandbox_is_its_own, T_POOL, EPOCHS)
{
	int status = -1;

	use_both();
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	CHECK(waitpid(vforked(), &status, 0) > 0 && status == 0);
	CHECK(other_cpu_is_drained());
}
