/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fork, posix_spawn, system and popen while other threads of the process allocate. vfork has a file of its own.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, HELD = 64 };

static bool stop;
static pthread_t threads[THREADS];
static unsigned char *held[HELD]; /* allocated before the fork, looked at and freed on both sides */
extern char **environ;

/* Blocks that live for a while, of every size, checked before they go. */
static bool churn(unsigned seed, int steps)
{
	struct { unsigned char *p; size_t n; } live[32] = {0};
	bool good = true;

	for (int step = 0; step < steps; step++) {
		size_t i, n;

		seed = seed * 1664525u + 1013904223u;
		i = (seed >> 8) % COUNT(live);
		n = (seed >> 12) % ((seed >> 28) ? 2000 : 80000) + 1;
		if (live[i].p)
			good = good && t_is_filled(live[i].p, (int)i + 1, live[i].n);
		free(live[i].p);
		if (!(live[i].p = malloc(n)))
			return false;
		live[i].n = n;
		memset(live[i].p, (int)i + 1, n);
	}
	for (size_t i = 0; i < COUNT(live); i++)
		free(live[i].p);
	return good;
}

static void *allocate_on(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		CHECK(churn((unsigned)(uintptr_t)arg, 200));
	return NULL;
}

static void begin(void)
{
	for (size_t i = 0; i < HELD; i++) {
		if (!(held[i] = malloc(i * 1000 + 1)))
			CHECK(!"malloc");
		memset(held[i], (int)i, i * 1000 + 1);
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, allocate_on, (void *)(i + 1)) == 0);
}

static void end(void)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static bool held_is_good_and_freed(void)
{
	bool good = true;

	for (size_t i = 0; i < HELD; i++) {
		good = good && t_is_filled(held[i], (int)i, i * 1000 + 1);
		free(held[i]);
	}
	return good;
}

static void *in_child(void *arg)
{
	return churn((unsigned)(uintptr_t)arg, 500) ? arg : NULL;
}

/* What programs do in a child, threads and another fork included. */
static int child(unsigned seed)
{
	pthread_t thread;
	void *answer;
	pid_t pid;

	if (!churn(seed, 500))
		return 1;
	if (!held_is_good_and_freed())
		return 2;
	if (seed % 4)
		return 0;
	if (pthread_create(&thread, NULL, in_child, held) || !churn(seed + 1, 500))
		return 3;
	if (pthread_join(thread, &answer) || answer != held)
		return 4;
	if (!(pid = fork()))
		_exit(churn(seed + 2, 500) ? 0 : 1);
	if (!t_exits_with(pid, 0))
		return 5;
	malloc_trim(0);
	return churn(seed + 3, 500) ? 0 : 6;
}

TEST(fork_while_threads_allocate, .timeout = 60)
{
	begin();
	for (unsigned i = 0; i < 120; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(child(i));
		CHECK(pid > 0 && t_exits_with(pid, 0));
		CHECK(churn(i, 200));
	}
	end();
	CHECK(held_is_good_and_freed());
}

static void *fork_on(void *arg)
{
	for (unsigned i = 1; i < 60; i += 2) {
		pid_t pid = fork();

		if (!pid)
			_exit(child(i));
		CHECK(pid > 0 && t_exits_with(pid, 0));
	}
	return arg;
}

TEST(fork_from_several_threads, .timeout = 60)
{
	pthread_t forker[3];

	begin();
	for (size_t i = 0; i < COUNT(forker); i++)
		NEED(pthread_create(&forker[i], NULL, fork_on, NULL) == 0);
	for (size_t i = 0; i < COUNT(forker); i++)
		pthread_join(forker[i], NULL);
	end();
	CHECK(held_is_good_and_freed());
}

/* A chain of children, each the child of the one before: what each generation inherits must stay usable. */
TEST(fork_of_fork_of_fork)
{
	pid_t pid = fork();

	for (unsigned depth = 0; !pid && depth < 20; depth++) {
		if (!churn(depth, 1000))
			_exit(1);
		if ((pid = fork()))
			_exit(pid > 0 && t_exits_with(pid, 0) ? 0 : 1);
	}
	if (!pid)
		_exit(0);
	CHECK(pid > 0 && t_exits_with(pid, 0));
}

/* atfork handlers of the program may allocate, on every side. */
static char *from_prepare;
static int handlers_run;

static void prepare(void)
{
	from_prepare = malloc(1000);
	handlers_run++;
}

static void after(void)
{
	free(from_prepare);
	free(malloc(70000));
	handlers_run++;
}

TEST(atfork_handlers_allocate)
{
	NEED(pthread_atfork(prepare, after, after) == 0);
	begin();
	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(churn(3, 100) && handlers_run == i * 2 + 2 ? 0 : 1);
		CHECK(pid > 0 && t_exits_with(pid, 0));
	}
	CHECK(handlers_run == 80);
	end();
}

TEST(posix_spawn_while_threads_allocate)
{
	char *arguments[] = {"sh", "-c", "x=$(printf '%s' abc); test \"$x\" = abc && exit 7", NULL};

	begin();
	for (int i = 0; i < 40; i++) {
		posix_spawn_file_actions_t actions;
		pid_t pid;

		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
		CHECK(posix_spawn(&pid, "/bin/sh", &actions, NULL, arguments, environ) == 0 && t_exits_with(pid, 7));
		CHECK(posix_spawnp(&pid, "no-such-program-at-all", NULL, NULL, arguments, environ) == ENOENT);
		posix_spawn_file_actions_destroy(&actions);
	}
	end();
}

TEST(system_and_popen_while_threads_allocate)
{
	begin();
	for (int i = 0; i < 25; i++) {
		char *line = NULL;
		size_t size = 0;
		FILE *f;

		CHECK(system("exit 3") == 3 << 8);
		CHECK(system("for i in 1 2 3; do /bin/true; done; (exit 5)") == 5 << 8);
		NEED(f = popen("echo one; echo two | cat; /bin/echo three", "r"));
		CHECK(getline(&line, &size, f) == 4 && !strcmp(line, "one\n"));
		CHECK(getline(&line, &size, f) == 4 && !strcmp(line, "two\n"));
		CHECK(getline(&line, &size, f) == 6 && !strcmp(line, "three\n"));
		CHECK(pclose(f) == 0);
		free(line);
	}
	end();
}

/* ---- the helper thread ---- */

/* Of the other threads of this process: how many there are, and which signals all of them block. */
static int other_threads(uint64_t *blocked)
{
	char path[64], line[256];
	DIR *tasks = opendir("/proc/self/task");
	int n = 0;

	*blocked = UINT64_MAX;
	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		unsigned long mask;
		FILE *f;

		if (atoi(entry->d_name) == 0 || atoi(entry->d_name) == (int)getpid())
			continue;
		n++;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "SigBlk: %lx", &mask) == 1)
				*blocked &= mask;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return n;
}

/* A handler of the program's never runs on it. What can't be blocked is not asked for; while a thread starts, libc
 * blocks everything. */
static bool one_helper_without_signals(void)
{
	usleep(50000);
	uint64_t blocked, asked = 1ull << (SIGTERM - 1) | 1ull << (SIGUSR1 - 1) | 1ull << (SIGALRM - 1);

	return other_threads(&blocked) == 1 && (blocked & asked) == asked;
}

static void look_for_a_helper(void *unused)
{
	(void)unused;
	_exit(one_helper_without_signals() ? 0 : 9);
}

TEST(the_helper_takes_no_signals_and_is_there_after_a_fork, T_POOL, .conf = "background:true")
{
	char text[256];

	CHECK(one_helper_without_signals());
	CHECK(t_child(text, sizeof(text), look_for_a_helper, NULL) == 0);
}

TEST(there_is_no_helper_unasked)
{
	uint64_t blocked;

	CHECK(other_threads(&blocked) == 0);
}
