/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs the tests of one program, each in a process under the shim; see harness.h.
 *
 * What runs inside a test's process does not allocate, so that the harness neither warms the pool up nor needs it.
 */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_SKIP = 77, DEFAULT_TIMEOUT = 60 };

static struct t_test *first, **last = &first;
static unsigned failures;

void t_add(struct t_test *test)
{
	*last = test;
	last = &test->next;
}

/* ---- inside a test's process ---- */

void t_fail(const char *file, int line, const char *what)
{
	int saved = errno;

	if (__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED) <= 8)
		dprintf(STDOUT_FILENO, "%s:%d: %s (errno %d)\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file,
			line, what, saved);
	errno = saved;
}

void t_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(STDOUT_FILENO, format, args);
	va_end(args);
	(void)!write(STDOUT_FILENO, "\n", 1);
}

void t_skip(const char *why)
{
	if (t_failures())
		_exit(1);
	t_note("%s", why);
	_exit(STATUS_SKIP);
}

unsigned t_failures(void)
{
	return __atomic_load_n(&failures, __ATOMIC_RELAXED);
}

bool t_under_shim(void)
{
	const char *lib = getenv("SHIM_LIB");

	return lib && *lib;
}

bool t_pooling(void)
{
	const char *percpu = getenv("SHIM_PERCPU");

	return t_under_shim() && !(percpu && !strcmp(percpu, "pass"));
}

void *t_symbol(const char *name)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);

	if (!symbol)
		t_fail(name, 0, "not to be found");
	return symbol;
}

void *t_shim_symbol(const char *name)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);

	if (!symbol) {
		t_fail(name, 0, "not to be found");
		_exit(1);
	}
	return symbol;
}

bool t_is_filled(const void *p, int c, size_t n)
{
	const unsigned char *byte = (const unsigned char *)p;

	return !n || (byte[0] == (unsigned char)c && !memcmp(byte, byte + 1, n - 1));
}

int t_child(char *text, size_t size, void (*fn)(void *arg), void *arg)
{
	size_t length = 0;
	ssize_t got;
	int pipes[2], status = -1;
	pid_t pid;

	text[0] = '\0';
	if (pipe2(pipes, O_CLOEXEC) || (pid = fork()) < 0) {
		t_fail(__FILE__, __LINE__, "pipe or fork");
		return -1;
	}
	if (!pid) {
		failures = 0;
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		prctl(PR_SET_DUMPABLE, 0);
		dup2(pipes[1], STDERR_FILENO);
		fn(arg);
		_exit(t_failures() ? 1 : 0);
	}
	close(pipes[1]);
	while (length < size - 1 && (got = read(pipes[0], text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

bool t_exits_with(pid_t pid, int expected)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		t_note("child killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != expected)
		t_note("child ended with status %d", WEXITSTATUS(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == expected;
}

struct bufpool_stats t_adds_up(void)
{
	struct bufpool_stats s = {.size = sizeof(s)};

	if (!t_pooling())
		return s;
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");
	CHECK(get(&s, NULL) == 0);
	CHECK(s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.set_aside + s.dropped_cap +
		s.dropped_budget + s.dropped_epoch);
	CHECK(s.acquired - s.released == s.in_use);
	CHECK(s.misuse == 0 && s.set_aside == 0);
	return s;
}

void t_stay(void)
{
	cpu_set_t here;
	int cpu = sched_getcpu();

	CPU_ZERO(&here);
	CPU_SET((unsigned)cpu, &here);
	CHECK(cpu >= 0 && sched_setaffinity(0, sizeof(here), &here) == 0);
}

size_t t_resident(void)
{
	char text[128] = "";
	unsigned long pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	sscanf(text, "%*u %lu", &pages);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

double t_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool t_pooled(size_t n)
{
	int (*option_get)(char *, size_t, const char *) = t_shim_symbol("bufpool_option_get");
	bool (*owns)(const void *) = t_shim_symbol("bufpool_owns");
	char percpu[16] = "";
	void *p = malloc(n);
	bool pooled = owns(p);

	free(p);
	option_get(percpu, sizeof(percpu), "percpu");
	CHECK(pooled || n > 65536 || strcmp(percpu, "rseq"));
	CHECK(pooled || n != 65536); /* what jemalloc is slowest at is pooled everywhere */
	return pooled;
}

/* What percpu:auto has to come to here; NULL where this file does not know. */
static const char *expected_percpu(void)
{
#ifdef __x86_64__
	unsigned *rseq_size = dlsym(RTLD_DEFAULT, "__rseq_size"); /* glibc 2.35 */

	return rseq_size && *rseq_size ? "rseq" : "fallback";
#else
	return NULL;
#endif
}

const char *t_percpu(void)
{
	static char value[64];
	int (*option_get)(char *, size_t, const char *) = t_shim_symbol("bufpool_option_get");

	return option_get && option_get(value, sizeof(value), "percpu") == 0 ? value : "none";
}

/* Every program's first test: without it all others might pass on glibc. */
static void the_shim_is_loaded_in_the_expected_mode(void)
{
	int (*option_get)(char *, size_t, const char *) = t_shim_symbol("bufpool_option_get");
	const char *percpu = getenv("SHIM_PERCPU");
	char value[64] = "";
	Dl_info info = {0};

	CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) && info.dli_fname);
	CHECK(!strcmp(info.dli_fname, getenv("SHIM_LIB")));
	CHECK(option_get(value, sizeof(value), "percpu") == 0);
	t_note("percpu: %s", value);
	if (percpu && !strcmp(percpu, "auto"))
		percpu = expected_percpu();
	CHECK(!percpu || !strcmp(value, percpu));
	CHECK(option_get(value, sizeof(value), "mode") == 0);
	CHECK(!strcmp(value, t_pooling() ? "pool" : "pass"));
}

static int run_here(const char *name)
{
	for (struct t_test *test = first; test; test = test->next) {
		if (strcmp(test->name, name))
			continue;
		test->run();
		return t_failures() ? 1 : 0;
	}
	dprintf(STDERR_FILENO, "no test %s\n", name);
	return 2;
}

/* ---- the process that runs them ---- */

static void become(const struct t_test *test, int output)
{
	const char *lib = getenv("SHIM_LIB"), *conf = getenv("BUFPOOL_CONF");
	const bool linked = lib && !strcmp(lib, program_invocation_name); /* the shim is in this program */
	char all[1024];

	unsetenv("MALLOC_PERTURB_"); /* meson's: glibc would write to every page, which is not what is looked at */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	if (lib && *lib && !linked)
		setenv("LD_PRELOAD", lib, 1);
	if (test->conf) {
		snprintf(all, sizeof(all), "%s%s%s", conf ? conf : "", conf && *conf ? "," : "", test->conf);
		setenv("BUFPOOL_CONF", all, 1);
	}
	if (test->env)
		putenv((char *)test->env);
	execl("/proc/self/exe", program_invocation_name, test->name, (char *)NULL);
	_exit(127);
}

/* Collects what the test says until it has ended, even where one of its own children keeps the pipe open. */
static int collect(char *text, size_t size, pid_t pid, int input, unsigned timeout)
{
	double deadline = t_now() + timeout;
	struct pollfd polls[2] = {{.fd = input, .events = POLLIN}, {.fd = pidfd_open(pid, 0), .events = POLLIN}};
	size_t length = 0;
	bool ended = false;
	int status;

	for (;;) {
		int left = (int)((deadline - t_now()) * 1000);
		char scrap[512];
		ssize_t got;

		if (!ended && (left <= 0 || poll(polls, 2, left) == 0))
			break;
		ended = ended || polls[1].revents;
		got = length < size - 1 ? read(input, text + length, size - 1 - length)
					: read(input, scrap, sizeof(scrap));
		if (got > 0 && length < size - 1)
			length += (size_t)got;
		if (got <= 0 && ended)
			break;
		if (!got)
			polls[0].fd = -1;
	}
	text[length] = '\0';
	close(polls[1].fd);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	return ended ? status : -1;
}

static void report(const struct t_test *test, int number, int status, char *text, unsigned timeout)
{
	bool skipped = status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIP;
	bool passed = skipped || status == 0;
	char *line, *rest = text, *reason = text;

	while (skipped && (line = strchr(reason, '\n')) && line[1])
		reason = line + 1;
	printf("%s %d - %s", passed ? "ok" : "not ok", number, test->name);
	printf("%s%.*s\n", skipped ? " # SKIP " : "", skipped ? (int)strcspn(reason, "\n") : 0, reason);
	if (skipped)
		return;
	while ((line = strsep(&rest, "\n")) && (*line || rest))
		printf("#   %s\n", line);
	if (status == -1)
		printf("#   killed: did not end within %u s\n", timeout);
	else if (WIFSIGNALED(status))
		printf("#   killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (!passed)
		printf("#   exit status %d\n", WEXITSTATUS(status));
}

static bool run(const struct t_test *test, int number)
{
	static char text[16384];
	unsigned timeout = test->timeout ? test->timeout : DEFAULT_TIMEOUT;
	int pipes[2], status;
	pid_t pid;

	fflush(stdout);
	if (pipe2(pipes, O_CLOEXEC) || fcntl(pipes[0], F_SETFL, O_NONBLOCK) || (pid = fork()) < 0) {
		perror("pipe or fork");
		exit(99);
	}
	if (!pid)
		become(test, pipes[1]);
	close(pipes[1]);
	status = collect(text, sizeof(text), pid, pipes[0], timeout);
	close(pipes[0]);
	report(test, number, status, text, timeout);
	return status == 0 || (status > 0 && WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIP);
}

static bool applies(const struct t_test *test)
{
	return !test->flags || (test->flags == T_POOL ? t_pooling() : t_under_shim());
}

/* No arguments: every test. One: that test, here and now. */
int main(int argc, char **argv)
{
	static struct t_test loaded = {
		"the_shim_is_loaded_in_the_expected_mode", the_shim_is_loaded_in_the_expected_mode, .flags = T_SHIM};
	int number = 0, failed = 0;

	loaded.next = first;
	first = &loaded;
	if (argc == 2)
		return run_here(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	for (struct t_test *test = first; test; test = test->next)
		if (applies(test))
			failed += !run(test, ++number);
	printf("1..%d\n", number);
	return failed ? 1 : 0;
}
