/* SPDX-License-Identifier: BSD-2-Clause
 *
 * unshare and setns under background:true: the helper thread must not be why the kernel refuses them, and works again
 * afterwards, in this process, in children of fork and in daemons. What "works" means is seen by memory that goes back
 * to the kernel while nobody makes a call.
 */
#include "harness.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPED T_POOL, .conf = "background:true,epoch_ms:50"

enum { BLOCKS = 1024, BLOCK = 65536 }; /* 64 MiB */

static int other_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = -1;

	for (struct dirent *entry; tasks && (entry = readdir(tasks));)
		n += entry->d_name[0] != '.';
	if (tasks)
		closedir(tasks);
	return n;
}

/* A thread that has been joined is there for a moment still. */
static bool other_threads_become(int n)
{
	for (int i = 0; i < 1000 && other_threads() != n; i++)
		usleep(1000);
	return other_threads() == n;
}

/* The helper is the only other thread, and it alone gives back what a burst has left. */
static bool helped(void)
{
	static char *p[BLOCKS];
	double end;
	size_t peak, now, least = (size_t)BLOCKS * BLOCK * 3 / 4;

	for (int i = 0; i < BLOCKS; i++) {
		if (!(p[i] = malloc(BLOCK)))
			return false;
		memset(p[i], i, BLOCK);
	}
	for (int i = 0; i < BLOCKS; i++)
		if (!t_is_filled(p[i], i, BLOCK))
			return false;
	peak = t_resident();
	for (int i = 0; i < BLOCKS; i++)
		free(p[i]);
	end = t_now() + 20; /* making 64 MiB may itself take long here */
	while ((now = t_resident()) + least > peak && t_now() < end)
		usleep(10000);
	if (now + least > peak)
		t_note("%zu of %zu KiB are still there", now >> 10, peak >> 10);
	return now + least <= peak;
}

static void in_child_of_fork(int (*what)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(what());
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		t_skip("no user namespaces for this user here");
	if (status != 0)
		t_note("status of the child: %#x", status);
	CHECK(status == 0);
}

/* Without the shim's part in it: is it allowed at all? A child that has one thread and no wrapper is asked. */
static bool allowed(int flags)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		unsetenv("LD_PRELOAD");
		execlp("unshare", "unshare", flags & CLONE_NEWPID ? "-Up" : "-U", "true", (char *)NULL);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void need(int flags)
{
	if (!allowed(flags))
		t_skip("no user namespaces for this user here");
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Who is nobody in a user namespace can't have another one. */
static int unshare_as_somebody(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "0 %u 1", geteuid());
	snprintf(gids, sizeof(gids), "0 %u 1", getegid());
	int result = unshare(CLONE_NEWUSER);
	if (result == 0) {
		write_to("/proc/self/setgroups", "deny");
		write_to("/proc/self/uid_map", uids);
		write_to("/proc/self/gid_map", gids);
	}
	return result;
}

TEST(without_a_helper_it_is_the_system_call, T_SHIM)
{
	need(0);
	CHECK(other_threads() == 0);
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(other_threads() == 0);
}

TEST(unshare_is_alone_and_the_helper_is_there_again, HELPED)
{
	need(0);
	CHECK(other_threads() == 1);
	errno = 4711;
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(errno == 4711);
	CHECK(other_threads() == 1);
	CHECK(helped());
}

TEST(and_once_more, HELPED)
{
	need(0);
	CHECK(unshare_as_somebody() == 0);
	CHECK(other_threads() == 1);
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(other_threads() == 1);
	CHECK(helped());
}

static int unshares(void)
{
	CHECK(other_threads() == 1);
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(other_threads() == 1);
	CHECK(helped());
	return t_failures() ? 1 : 0;
}

TEST(so_it_is_in_a_child_of_fork, HELPED)
{
	need(0);
	in_child_of_fork(unshares);
	CHECK(other_threads() == 1);
	CHECK(helped());
}

static int forks_once_more(void)
{
	in_child_of_fork(unshares);
	return t_failures() ? 1 : 0;
}

TEST(and_in_its_child_after_an_unshare, HELPED)
{
	need(0);
	CHECK(unshare_as_somebody() == 0);
	in_child_of_fork(forks_once_more);
}

/* A thread of a process whose children get another pid namespace can't be started: the parent goes on without, the
 * child has its helper. */
static int is_first_and_helped(void)
{
	CHECK(getpid() == 1);
	CHECK(helped());
	return t_failures() ? 1 : 0;
}

TEST(a_pid_namespace_leaves_the_helper_to_the_child, HELPED)
{
	need(CLONE_NEWPID);
	errno = 4711;
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
	CHECK(errno == 4711);
	free(malloc(BLOCK));
	in_child_of_fork(is_first_and_helped);
}

/* A child that holds a user namespace of its own until its pipe is closed. */
static pid_t holder(int *end, int *namespace)
{
	int hold[2], ready[2];
	char c, path[64];

	CHECK(pipe2(hold, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(hold[1]);
		(void)!write(ready[1], unshare(CLONE_NEWUSER) == 0 ? "y" : "n", 1);
		(void)!read(hold[0], &c, 1);
		_exit(0);
	}
	CHECK(read(ready[0], &c, 1) == 1 && c == 'y');
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	*namespace = open(path, O_RDONLY | O_CLOEXEC);
	*end = hold[1];
	close(hold[0]);
	return pid;
}

static int enters(void)
{
	int end, namespace;
	pid_t pid = holder(&end, &namespace);

	CHECK(namespace >= 0);
	CHECK(other_threads() == 1);
	errno = 4711;
	CHECK(setns(namespace, CLONE_NEWUSER) == 0);
	CHECK(errno == 4711);
	CHECK(other_threads() == 1);
	CHECK(helped());
	close(end);
	waitpid(pid, NULL, 0);
	return t_failures() ? 1 : 0;
}

TEST(setns_is_alone_too, HELPED)
{
	need(0);
	enters();
}

TEST(setns_in_a_child_of_fork, HELPED)
{
	need(0);
	in_child_of_fork(enters);
}

TEST(errors_are_the_kernels, HELPED)
{
	errno = 0;
	CHECK(unshare(-1) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(setns(-1, 0) == -1 && errno == EBADF);
	errno = 0;
	CHECK(setns(STDIN_FILENO, 0) == -1 && errno == EINVAL);
	CHECK(unshare(0) == 0);
	CHECK(other_threads() == 1);
	CHECK(helped());
}

static void *wait_on(void *fd)
{
	char c;

	(void)!read((int)(uintptr_t)fd, &c, 1);
	return NULL;
}

/* What the kernel refuses for a thread of the program's own stays refused, and what it allows threads is done. */
TEST(threads_of_the_program_count_as_ever, HELPED)
{
	pthread_t thread;
	int pipes[2];

	NEED(pipe2(pipes, O_CLOEXEC) == 0);
	NEED(pthread_create(&thread, NULL, wait_on, (void *)(uintptr_t)pipes[0]) == 0);
	errno = 0;
	CHECK(unshare(CLONE_NEWUSER) == -1 && errno == EINVAL);
	CHECK(unshare(CLONE_FILES) == 0);
	CHECK(other_threads() == 2);
	CHECK(unshare(CLONE_FS) == 0);
	CHECK(write(pipes[1], "", 1) == 1);
	pthread_join(thread, NULL);
	CHECK(other_threads_become(1));
	CHECK(helped());
}

/* The child runs on its parent's memory: the parent's helper is none of its threads and none of its business. */
static __attribute__((noinline)) pid_t vforked(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
	return pid;
}

TEST(unshare_in_a_vfork_child_leaves_the_parents_helper, HELPED)
{
	int status = -1;

	need(0);
	CHECK(waitpid(vforked(), &status, 0) > 0 && status == 0);
	CHECK(other_threads() == 1);
	CHECK(helped());
	CHECK(unshare(CLONE_NEWUSER) == 0);
	CHECK(helped());
}

/* fork, setsid, fork: as daemons do. The last one tells through a pipe. */
TEST(a_daemon_has_its_helper, HELPED)
{
	int pipes[2], status;
	char c = 0;

	NEED(pipe2(pipes, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		if (fork() != 0)
			_exit(0);
		usleep(20000); /* its parent is gone */
		bool good = other_threads() == 1 && helped();
		(void)!write(pipes[1], good && t_failures() == 0 ? "y" : "n", 1);
		_exit(0);
	}
	close(pipes[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(read(pipes[0], &c, 1) == 1 && c == 'y');
}

TEST(so_has_one_of_daemon_3, HELPED)
{
	int pipes[2], status;
	char c = 0;

	NEED(pipe2(pipes, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		bool good = daemon(0, 1) == 0 && other_threads() == 1 && helped();
		(void)!write(pipes[1], good && t_failures() == 0 ? "y" : "n", 1);
		_exit(0);
	}
	close(pipes[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(read(pipes[0], &c, 1) == 1 && c == 'y');
}
