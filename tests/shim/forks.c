/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fork from eight threads that allocate and fork at once, and processes that fork to become daemons. What a child may
 * rely on: its copies of the blocks that were out are whole; what it is given is nobody else's; the library's own
 * accounts are exact in it, for it has one thread; and its parent's are afterwards.
 *
 * A block that were handed out twice would show as a mark that is not the one its owner wrote.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, LIVE = 40, FRESH = 600 };

static const size_t sizes[] = {8, 24, 64, 100, 256, 1000, 4096, 9000, 33000, 40000, 65536, 70000, 300000};

struct live {
	uint64_t *p;
	size_t words;
};

static bool stop;

static struct bufpool_stats stats(void)
{
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");
	struct bufpool_stats stats = {.size = sizeof(stats)};

	CHECK(get(&stats, NULL) == 0);
	return stats;
}

/* bufpool.h's identity: true while nobody else is inside the library. A helper thread may be, for a moment. */
static bool accounts_are_exact(void)
{
	struct bufpool_stats s;

	if (!t_under_shim())
		return true;
	for (int i = 0; i < 1000; i++) {
		s = stats();
		if (s.misuse == 0 && s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.set_aside +
							       s.dropped_cap + s.dropped_budget + s.dropped_epoch)
			return true;
		usleep(1000);
	}
	t_note("from_backend %lu, in_use %lu, cached %lu, victim %lu, queued %lu, set_aside %lu, dropped %lu %lu %lu, misuse "
	       "%lu", s.from_backend, s.in_use, s.cached, s.victim, s.queued, s.set_aside, s.dropped_cap, s.dropped_budget,
	       s.dropped_epoch, s.misuse);
	return false;
}

static bool take(struct live *live, size_t n, uint64_t mark)
{
	live->words = n < sizeof(uint64_t) ? 1 : n / sizeof(uint64_t);
	live->p = malloc(live->words * sizeof(uint64_t));
	if (!live->p)
		return false;
	live->p[0] = live->p[live->words / 2] = live->p[live->words - 1] = mark ^ (uintptr_t)live->p;
	return true;
}

static bool is_whole(const struct live *live, uint64_t mark)
{
	uint64_t expected = mark ^ (uintptr_t)live->p;

	return live->p[0] == expected && live->p[live->words / 2] == expected && live->p[live->words - 1] == expected;
}

static bool churn(struct live *live, uint64_t mark, int steps)
{
	static __thread unsigned random = 1;
	bool good = true;

	while (steps--) {
		struct live *one;

		random = random * 1664525u + 1013904223u;
		one = &live[(random >> 8) % LIVE];
		if (one->p)
			good = good && is_whole(one, mark);
		free(one->p);
		if (!take(one, sizes[(random >> 16) % COUNT(sizes)], mark))
			return false;
	}
	return good;
}

static bool all_whole(const struct live *live, uint64_t mark)
{
	for (size_t i = 0; i < LIVE; i++)
		if (live[i].p && !is_whole(&live[i], mark))
			return false;
	return true;
}

static void drop(struct live *live)
{
	for (size_t i = 0; i < LIVE; i++)
		free(live[i].p);
}

/* In the child of thread number `self`: everything that was out at the fork is somebody's, whose copy is not whole only
 * where that thread was in the middle of writing it; what is handed out now must not be any of it. */
static int works(const struct live *live, uint64_t mark)
{
	static struct live fresh[FRESH];
	struct bufpool_stats before = {0}, after;

	if (!accounts_are_exact())
		return 10;
	if (t_under_shim())
		before = stats();
	if (!all_whole(live, mark))
		return 11;
	for (size_t i = 0; i < FRESH; i++)
		if (!take(&fresh[i], sizes[i % COUNT(sizes)], ~mark))
			return 12;
	if (!all_whole(live, mark))
		return 13; /* a fresh block was one of these */
	for (size_t i = 0; i < FRESH; i++)
		if (!is_whole(&fresh[i], ~mark))
			return 14;
	for (size_t i = 0; i < FRESH; i++)
		free(fresh[i].p);
	if (!accounts_are_exact())
		return 15;
	if (!t_pooling())
		return 0;
	after = stats();
	if (after.in_use != before.in_use || after.set_aside > before.set_aside)
		return 16;
	/* The pool works in the child as well: what it released is cached, and serves, until epochs pass. */
	for (int i = 0; i < 100; i++)
		free(malloc(65536));
	before = stats();
	/* One more, should this thread be moved to another CPU: it takes blocks from there only every now and then. */
	if (before.from_backend - after.from_backend > before.epochs - after.epochs + 1)
		return 17;
	return 0;
}

/* A child that lives for several epochs: what it inherited of the caches is given back meanwhile, and nothing else. */
static int lives(const struct live *live, uint64_t mark)
{
	struct bufpool_stats before = stats(), after;

	for (int i = 0; i < 8; i++) {
		int failed = works(live, mark);

		if (failed)
			return failed;
		usleep(12000);
	}
	malloc_trim(0);
	after = stats();
	if (!all_whole(live, mark) || !accounts_are_exact())
		return 18;
	/* Lost is only what other threads had in their hands. */
	return after.in_use != before.in_use || after.set_aside > THREADS * 64 ? 19 : 0;
}

static int child(const struct live *live, uint64_t mark, bool long_lived)
{
	return long_lived && t_pooling() ? lives(live, mark) : works(live, mark);
}

static void *fork_and_allocate(void *arg)
{
	struct live *live = calloc(LIVE, sizeof(*live));
	uint64_t mark = (uintptr_t)arg * 0x9e3779b97f4a7c15u;

	for (int i = 0; live && !__atomic_load_n(&stop, __ATOMIC_RELAXED) && t_failures() < 8; i++) {
		pid_t pid;

		CHECK(churn(live, mark, 300));
		if ((pid = fork()) == 0)
			_exit(child(live, mark, i % 4 == 0));
		CHECK(pid > 0 && t_exits_with(pid, 0));
	}
	drop(live);
	free(live);
	return NULL;
}

static void eight_threads_fork(double seconds)
{
	pthread_t thread[THREADS];
	double end = t_now() + seconds;

	for (size_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&thread[i], NULL, fork_and_allocate, (void *)(i + 1)) == 0);
	while (t_now() < end && t_failures() < 8)
		usleep(10000);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	CHECK(accounts_are_exact());
}

TEST(eight_threads_fork_and_allocate, .timeout = 60)
{
	eight_threads_fork(1.5);
}

/* Short epochs: forks fall into rotations, drains of other CPUs and purges. */
TEST(eight_threads_fork_at_boundaries, .timeout = 60, .conf = "epoch_ms:10")
{
	eight_threads_fork(1.5);
}

/* ---- daemons ---- */

static int threads_here(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = -2; /* . and .. */

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* 32 MB cached, no further call: with a helper the memory goes. */
static int idle_memory_goes(void)
{
	enum { N = 512 };
	static char *p[N];
	size_t before = t_resident();

	for (size_t i = 0; i < N; i++) {
		if (!(p[i] = malloc(65536)))
			return 20;
		memset(p[i], 1, 65536);
	}
	for (size_t i = 0; i < N; i++)
		free(p[i]);
	for (double end = t_now() + 20; t_now() < end; usleep(20000))
		if (t_resident() < before + (8 << 20))
			return 0;
	return 21;
}

static int is_a_working_daemon(void)
{
	int status;

	if (threads_here() != 2)
		return 22;
	if ((status = idle_memory_goes()))
		return status;
	return accounts_are_exact() ? 0 : 23;
}

/* As daemon(3) of old: fork, setsid, fork; the parents end at once. The grandchild answers through a pipe. */
static void daemonise_and(int (*work)(void))
{
	int pipes[2], answer = -1;
	pid_t pid;

	NEED(pipe(pipes) == 0);
	if ((pid = fork()) == 0) {
		setsid();
		if (fork())
			_exit(0);
		answer = work();
		(void)!write(pipes[1], &answer, sizeof(answer));
		_exit(0);
	}
	close(pipes[1]);
	CHECK(t_exits_with(pid, 0));
	CHECK(read(pipes[0], &answer, sizeof(answer)) == sizeof(answer));
	CHECK(answer == 0);
	if (answer)
		t_note("the daemon answered %d", answer);
	close(pipes[0]);
}

TEST(helper_survives_daemonising, T_POOL, .conf = "background:true,epoch_ms:100")
{
	CHECK(threads_here() == 2);
	daemonise_and(is_a_working_daemon);
}

static void *wait_for_stop(void *arg)
{
	struct live *live = calloc(LIVE, sizeof(*live));

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		CHECK(churn(live, 77, 100));
	drop(live);
	free(live);
	return arg;
}

TEST(helper_survives_daemonising_with_threads, T_POOL, .conf = "background:true,epoch_ms:100")
{
	pthread_t thread[3];

	for (size_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], NULL, wait_for_stop, NULL) == 0);
	usleep(50000);
	daemonise_and(is_a_working_daemon);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < COUNT(thread); i++)
		pthread_join(thread[i], NULL);
}

static int daemon_without_helper(void)
{
	if (threads_here() != 1)
		return 24;
	return accounts_are_exact() ? 0 : 25;
}

TEST(no_thread_that_nobody_asked_for, T_SHIM)
{
	CHECK(threads_here() == 1);
	daemonise_and(daemon_without_helper);
}

/* Forks beside the helper at work: it may be anywhere in the engine at that moment. */
TEST(forks_beside_the_helper, T_POOL, .conf = "background:true,epoch_ms:10", .timeout = 60)
{
	static struct live live[LIVE];
	double end = t_now() + 1;
	int forks = 0;

	for (; t_now() < end && t_failures() < 8; forks++) {
		pid_t pid;

		CHECK(churn(live, 99, 500));
		if ((pid = fork()) == 0)
			_exit(all_whole(live, 99) && churn(live, 99, 2000) ? 0 : 1);
		CHECK(pid > 0 && t_exits_with(pid, 0));
	}
	t_note("%d forks", forks);
	drop(live);
}

/* ---- the helper and what a process may only do while it has one thread ---- */

static volatile sig_atomic_t handled_by;

static void handler(int signal)
{
	(void)signal;
	handled_by = gettid();
}

TEST(helper_takes_no_signal, T_POOL, .conf = "background:true,epoch_ms:10")
{
	sigset_t one, old;

	signal(SIGUSR1, handler);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	for (int i = 0; i < 50; i++) {
		handled_by = 0;
		sigprocmask(SIG_BLOCK, &one, &old); /* now only the helper could take it */
		CHECK(kill(getpid(), SIGUSR1) == 0);
		usleep(1000);
		CHECK(handled_by == 0);
		sigprocmask(SIG_SETMASK, &old, NULL);
		CHECK(handled_by == getpid());
	}
}

static void unshare_a_user_namespace(void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWUSER))
		_exit(errno == EINVAL ? 30 : errno == EPERM || errno == ENOSPC ? 31 : 32);
	free(malloc(1000));
	_exit(0);
}

TEST(unshare_works_without_the_helper, T_SHIM)
{
	char text[256];
	int status = t_child(text, sizeof(text), unshare_a_user_namespace, NULL);

	NEED(WIFEXITED(status));
	if (WEXITSTATUS(status) == 31)
		t_skip("user namespaces are not permitted");
	CHECK(WEXITSTATUS(status) == 0);
}
