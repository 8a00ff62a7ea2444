/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A child of vfork shares memory with its parent, runs while the parent's other threads run, and allocates, as shells
 * do. It has no rseq registration, and what it reads as its CPU is the parent's last one: an allocator that trusts
 * that hands blocks out twice. Every block is filled with a mark of its owner's and checked before it goes.
 *
 * What else vfork promises is checked too, so that it isn't made safe by making it a fork.
 */
#include "harness.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, LIVE = 24 };

static bool stop;
static volatile int shared_with_child;
static volatile long child_blocks;

/* Its own working set on its own stack: a child's must not be the parent's. */
static __attribute__((noinline)) bool churn(uint64_t mark, int steps)
{
	static const size_t sizes[] = {16, 64, 64, 64, 128, 256, 1024, 4096, 20000};
	struct { uint64_t *p; size_t n; } live[LIVE];
	uint64_t seed = mark;
	bool good = true;

	memset(live, 0, sizeof(live));
	for (int step = 0; step < steps; step++) {
		size_t i, n;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		i = (seed >> 33) % LIVE;
		n = sizes[(seed >> 40) % COUNT(sizes)] / sizeof(uint64_t);
		if (live[i].p) {
			good = good && live[i].p[0] == (mark ^ (uintptr_t)live[i].p);
			good = good && live[i].p[live[i].n - 1] == (mark ^ (uintptr_t)live[i].p);
			free(live[i].p);
		}
		if (!(live[i].p = malloc(n * sizeof(uint64_t))))
			return false;
		live[i].n = n;
		live[i].p[0] = live[i].p[n - 1] = mark ^ (uintptr_t)live[i].p;
	}
	for (size_t i = 0; i < LIVE; i++)
		free(live[i].p);
	return good;
}

static void *allocate_on(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		CHECK(churn((uintptr_t)arg * 0x9e3779b97f4a7c15u, 1000));
	return NULL;
}

/* A function of its own, never inlined: nothing of the caller's frame is changed between vfork's two returns. */
static __attribute__((noinline)) pid_t vfork_and(int (*child)(unsigned), unsigned arg)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(child(arg));
	return pid;
}

static int allocate_in_child(unsigned seed)
{
	bool good = churn((seed + 100) * 0x9e3779b97f4a7c15u, 4000);

	child_blocks += 4000;
	return good ? 0 : 1;
}

TEST(vfork_children_allocate_beside_threads, .timeout = 60)
{
	pthread_t thread[THREADS];
	double end = t_now() + 2;
	unsigned times = 0;

	for (size_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&thread[i], NULL, allocate_on, (void *)(i + 1)) == 0);
	for (; t_now() < end && t_failures() < 5; times++) {
		pid_t pid = vfork_and(allocate_in_child, times);

		CHECK(pid > 0 && t_exits_with(pid, 0));
		CHECK(churn(times + 7, 50)); /* the parent's own next calls */
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	t_note("%u children, %ld blocks in them", times, child_blocks);
}

static void *vfork_on(void *arg)
{
	for (unsigned i = 0; i < 100 && t_failures() < 5; i++) {
		pid_t pid = vfork_and(allocate_in_child, i + 1000 * (unsigned)(uintptr_t)arg);

		CHECK(pid > 0 && t_exits_with(pid, 0));
	}
	return NULL;
}

TEST(vfork_from_several_threads_at_once)
{
	pthread_t thread[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&thread[i], NULL, vfork_on, (void *)(i + 1)) == 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* A block that the child allocates and leaves behind is the parent's. */
static char *volatile left_behind;

static int leave_a_block(unsigned arg)
{
	if (!(left_behind = malloc(arg)))
		return 1;
	memset(left_behind, 0x3c, arg);
	return 0;
}

TEST(vfork_child_leaves_a_block)
{
	for (unsigned n = 1; n < 100000; n = n * 2 + 1) {
		left_behind = NULL;
		CHECK(t_exits_with(vfork_and(leave_a_block, n), 0));
		NEED(left_behind); /* NULL where vfork does not share memory */
		CHECK(t_is_filled(left_behind, 0x3c, n));
		CHECK(malloc_usable_size(left_behind) >= n);
		free(left_behind);
	}
}

static int set_and_sleep(unsigned value)
{
	nanosleep(&(struct timespec){0, 60000000}, NULL);
	shared_with_child = (int)value;
	return 9;
}

TEST(vfork_shares_memory_and_suspends_the_parent)
{
	double start = t_now();
	pid_t pid = vfork_and(set_and_sleep, 4711);

	CHECK(pid > 0);
	CHECK(shared_with_child == 4711); /* before any wait */
	CHECK(t_now() - start >= 0.055);
	CHECK(t_exits_with(pid, 9));
}

static int exec_missing(unsigned arg)
{
	(void)arg;
	execl("/no/such/program", "program", (char *)NULL);
	shared_with_child = errno; /* how many programs learn why an exec failed */
	return 127;
}

static int exec_shell(unsigned arg)
{
	free(malloc(arg));
	execl("/bin/sh", "sh", "-c", "exit 5", (char *)NULL);
	return 127;
}

TEST(vfork_and_exec)
{
	for (unsigned i = 0; i < 20; i++) {
		shared_with_child = 0;
		CHECK(t_exits_with(vfork_and(exec_missing, 0), 127));
		CHECK(shared_with_child == ENOENT);
		CHECK(t_exits_with(vfork_and(exec_shell, i * 100), 5));
		CHECK(churn(i + 1, 1000));
	}
}

/* fork and threads still work after a vfork, in parent and child. */
TEST(fork_after_vfork)
{
	CHECK(t_exits_with(vfork_and(allocate_in_child, 1), 0));
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid) {
			if (!t_exits_with(vfork_and(allocate_in_child, 2), 0))
				_exit(1);
			_exit(churn(3, 5000) ? 0 : 2);
		}
		CHECK(pid > 0 && t_exits_with(pid, 0));
		CHECK(churn(4, 1000));
	}
}

static void fail_to_vfork(void *unused)
{
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_vfork
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 1, 0),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {COUNT(refuse), refuse};
	pid_t pid;

	(void)unused;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
	errno = 0;
	pid = vfork();
	if (pid == 0)
		_exit(1);
	_exit(pid == -1 && errno == EAGAIN && churn(5, 1000) ? 0 : 1);
}

TEST(a_vfork_that_fails_says_why)
{
	char text[256];
	int status = t_child(text, sizeof(text), fail_to_vfork, NULL);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		t_skip("this kernel filters no system calls");
	CHECK(status == 0);
}
