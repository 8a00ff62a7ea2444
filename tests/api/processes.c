/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Children, helper programs, CPUs and clocks for the API tests. A child that hangs is killed after 20 s, so that a
 * deadlock is a failure with a name and not a test run that stands still.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILD_LIMIT_MS = 60000 };

int64_t t_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

int64_t t_ran_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

void t_sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

void *t_shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Reads until the child closes its end; what doesn't fit is dropped. */
static bool collect(struct t_result *r, int fd)
{
	const int64_t end = t_now_ns() + CHILD_LIMIT_MS * (int64_t)1000000;
	size_t used = 0;
	char spill[512];

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		const size_t room = sizeof(r->text) - 1 - used;
		const int64_t left = (end - t_now_ns()) / 1000000;
		ssize_t got;

		if (left <= 0)
			return false;
		if (poll(&wait, 1, (int)left) <= 0)
			continue;
		got = room ? read(fd, r->text + used, room) : read(fd, spill, sizeof(spill));
		if (got <= 0)
			return true;
		if (room)
			used += (size_t)got;
		r->text[used] = 0;
	}
}

static void finish(struct t_result *r, pid_t pid, int fd)
{
	const bool ended = collect(r, fd);

	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &r->status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		r->status = -1;
	close(fd);
}

/* A child whose standard error is a pipe. 0 in it; else r is filled when it has ended. */
static pid_t fork_watched(struct t_result *r)
{
	const struct rlimit none = { 0, 0 };
	int ends[2];
	pid_t pid;

	memset(r, 0, sizeof(*r));
	r->status = -1;
	if (pipe2(ends, O_CLOEXEC))
		return -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		dup2(ends[1], STDERR_FILENO);
	}
	close(ends[1]);
	if (pid > 0)
		finish(r, pid, ends[0]);
	else
		close(ends[0]);
	return pid;
}

void t_child(struct t_result *r, void (*run)(void *shared), void *shared)
{
	if (fork_watched(r))
		return;
	signal(SIGABRT, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	run(shared);
	_exit(0);
}

int t_in_child(int (*check)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		alarm(30);
		_exit(check());
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* BUFPOOL_CONF of this process (the suite may run in another mode) and conf behind it: the last value counts. */
static void add_conf(const char *conf)
{
	const char *inherited = getenv("BUFPOOL_CONF");
	char all[1024];

	if (!conf)
		return;
	snprintf(all, sizeof(all), "%s%s%s", inherited ? inherited : "", inherited && *inherited ? "," : "", conf);
	setenv("BUFPOOL_CONF", all, 1);
}

void t_program(struct t_result *r, const char *const *argv, const char *conf, size_t address_space)
{
	const struct rlimit space = { address_space, address_space };

	if (fork_watched(r))
		return;
	add_conf(conf);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	if (address_space)
		setrlimit(RLIMIT_AS, &space);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

void t_helper(struct t_result *r, const char *command, const char *argument, const char *conf)
{
	const char *const argv[] = { T_HELPER, command, argument, NULL };

	t_program(r, argv, conf, 0);
}

bool t_exited(const struct t_result *r, int code)
{
	return r->status != -1 && WIFEXITED(r->status) && WEXITSTATUS(r->status) == code;
}

bool t_aborted(const struct t_result *r)
{
	return r->status != -1 && WIFSIGNALED(r->status) && WTERMSIG(r->status) == SIGABRT;
}

bool t_have(const char *program)
{
	const char *const argv[] = { program, "--version", NULL };
	struct t_result r;

	t_program(&r, argv, NULL, 0);
	return t_exited(&r, 0);
}

size_t t_rss(void)
{
	char text[128] = "";
	unsigned long pages = 0;
	const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) > 0)
			sscanf(text, "%*u %lu", &pages);
		close(fd);
	}
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* The CPUs are those of the start: tests that pin themselves must not make the others disappear. */
int t_cpu(unsigned n)
{
	static cpu_set_t start;
	static bool known;

	if (!known) {
		if (sched_getaffinity(0, sizeof(start), &start))
			return -1;
		known = true;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &start) && !n--)
			return cpu;
	return -1;
}

int t_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return -1;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}
