/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The n-th mmap, munmap, madvise, mprotect, membarrier or rseq of a program fails, for every n: once, and from there on.
 * Each time the program must end with correct results, or have been told NULL and ENOMEM, and the library's accounts
 * must be exact afterwards. A crash, a hang or a wrong byte is a failure.
 *
 * How: the program runs under a seccomp filter that asks a listener, this process, about each such call (seccomp filters
 * can't count). ld.so's own calls count as well; where it gives up, that is no failure of the library's.
 *
 * It takes a sample of all n; built with -DDENSE (suite `long`) one ten times as dense.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef DENSE
enum { SAMPLE = 60 };
#else
enum { SAMPLE = 6 };
#endif
enum { THREADS = 3, TIMEOUT = 20, LOADER_GAVE_UP = 127 };

/* ---- the program that is run ---- */

enum { LIVE = 26, ROUNDS = 2 };
static const size_t sizes[] = {8, 64, 300, 1024, 4096, 14000, 20000, 40000, 65536, 100000, 500000, 2 << 20};
static unsigned long refused;

struct block {
	unsigned char *p;
	size_t n;
};

static void fill(struct block *block, size_t n, size_t i)
{
	errno = 0;
	block->n = n;
	block->p = i % 3 == 0 ? calloc(1, n) : i % 7 == 0 ? memalign(i % 2 ? 64 : 8192, n) : malloc(n);
	if (!block->p) {
		CHECK(errno == ENOMEM);
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		return;
	}
	CHECK(i % 3 || t_is_filled(block->p, 0, n));
	memset(block->p, (int)i + 1, n);
}

static void check(struct block *block, size_t i)
{
	unsigned char *q;

	if (!block->p)
		return;
	CHECK(t_is_filled(block->p, (int)i + 1, block->n));
	if (i % 5 == 0) {
		errno = 0;
		q = realloc(block->p, block->n * 2);
		CHECK(q || errno == ENOMEM);
		if (!q)
			__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
		block->p = q ? q : block->p;
		CHECK(t_is_filled(block->p, (int)i + 1, block->n));
	}
	free(block->p);
	block->p = NULL;
}

static void *rounds(void *arg)
{
	struct block live[LIVE];

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < LIVE; i++)
			fill(&live[i], sizes[(i * 7 + (size_t)round) % COUNT(sizes)], i);
		for (size_t i = 0; i < LIVE; i++)
			check(&live[i], i);
		if (round == 0) /* what is due goes back, and pages with it */
			malloc_trim(0);
	}
	return arg;
}

static void accounts_are_exact(void)
{
	int (*get)(struct bufpool_stats *, struct bufpool *) = dlsym(RTLD_DEFAULT, "bufpool_stats_get");
	struct bufpool_stats s = {.size = sizeof(s)};

	if (!get) /* this is jemalloc or glibc, for comparison */
		return;
	CHECK(get(&s, NULL) == 0);
	CHECK(s.misuse == 0 && s.set_aside == 0);
	CHECK(s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.dropped_cap + s.dropped_budget +
					s.dropped_epoch);
	CHECK(s.in_use < 50);
}

static pthread_barrier_t begin;

static void *thread_of_the_program(void *arg)
{
	free(malloc(1 << 20)); /* over the cap, so that it enters jemalloc */
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&begin);
	return rounds(arg);
}

static void program(void)
{
	pthread_t thread[THREADS];
	size_t threads = strcmp(getenv("SWEEP_PROGRAM"), "threads") ? 0 : THREADS;

	free(malloc(1)); /* jemalloc's own start, too, is not yet its work: see is_jemallocs */
	pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
	for (size_t i = 0; i < threads; i++)
		NEED(pthread_create(&thread[i], NULL, thread_of_the_program, NULL) == 0);
	pthread_barrier_wait(&begin);
	syscall(SYS_getppid);
	pthread_barrier_wait(&begin);
	rounds(NULL);
	for (size_t i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	rounds(NULL);
	accounts_are_exact();
	if (getenv("SWEEP_EXPECT_NONE"))
		CHECK(refused == 0);
}

/* ---- who decides on its calls ---- */

struct rule {
	int call;
	int error;
	int from, to; /* which of them fail, counted from 1 */
	bool at_work; /* and none before the program begins its work, of which there may be more than last time */
};

struct end {
	int status;
	bool hung;
	int calls, before_work;
	char text[600];
};

/* The listener's descriptor, under which these calls wait. Of mmap only the anonymous: ld.so's files are not meant.
 * getppid is how the program says that it begins its work. */
static int listen_to(int call)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {COUNT(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
}

static void become_the_program(int report, int ready, int call, const char *name, int output)
{
	int listener;
	char c;

	setenv("SWEEP_PROGRAM", name, 1); /* allocates: nobody would answer yet */
	listener = listen_to(call);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	(void)!write(report, &listener, sizeof(listener)); /* write and read are none of the calls */
	(void)!read(ready, &c, 1);                         /* exec closes the listener: not before it has been fetched */
	if (listener < 0)
		_exit(99);
	execl("/proc/self/exe", "program", "program_under_test", (char *)NULL);
	_exit(98);
}

/* Answers until the program has ended. */
static void decide(int listener, pid_t pid, const struct rule *rule, struct end *end)
{
	double deadline = t_now() + TIMEOUT;
	struct pollfd polls = {.fd = listener, .events = POLLIN};

	while (t_now() < deadline) {
		struct seccomp_notif question = {0};
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		if (poll(&polls, 1, 100) <= 0)
			continue;
		if (polls.revents & POLLHUP)
			return;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question))
			continue;
		if (question.data.nr == SYS_getppid)
			end->before_work = end->calls;
		else if (++end->calls >= rule->from && end->calls <= rule->to && (!rule->at_work || end->before_work >= 0))
			answer = (struct seccomp_notif_resp){.error = -rule->error};
		answer.id = question.id;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	kill(pid, SIGKILL);
	end->hung = true;
}

static void run_under(const struct rule *rule, const char *name, struct end *end)
{
	int report[2], ready[2], listener = -1, output = memfd_create("output", MFD_CLOEXEC), pidfd;
	ssize_t got;
	pid_t pid;

	*end = (struct end){.status = -1, .before_work = -1};
	NEED(pipe2(report, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0 && output >= 0 && (pid = fork()) >= 0);
	if (!pid)
		become_the_program(report[1], ready[0], rule->call, name, output);
	close(report[1]);
	close(ready[0]);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (read(report[0], &listener, sizeof(listener)) == sizeof(listener) && listener >= 0)
		listener = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
	(void)!write(ready[1], "", 1);
	if (listener >= 0)
		decide(listener, pid, rule, end);
	close(listener);
	close(pidfd);
	close(report[0]);
	close(ready[1]);
	waitpid(pid, &end->status, 0);
	got = pread(output, end->text, sizeof(end->text) - 1, 0);
	end->text[got > 0 ? got : 0] = '\0';
	close(output);
}

/* jemalloc 5.3.0 writes to NULL where its own start finds no memory, with the shim around it or without. */
static bool is_jemallocs(const struct rule *rule, const struct end *end, int before_work)
{
	return rule->call == SYS_mmap && rule->from <= before_work && WIFSIGNALED(end->status) &&
	       WTERMSIG(end->status) == SIGSEGV;
}

static bool ends_well(const struct rule *rule, const char *name, const char *call, int before_work)
{
	struct end end;

	run_under(rule, name, &end);
	if (!end.hung && end.status == 0)
		return true;
	/* ld.so's own failures end with a status of 127 and a line. */
	if (!end.hung && WIFEXITED(end.status) && WEXITSTATUS(end.status) == LOADER_GAVE_UP && end.text[0])
		return true;
	if (is_jemallocs(rule, &end, before_work))
		return false;
	t_note("%s %d to %d failing with %d, %s: %s %d\n%s", call, rule->from, rule->to, rule->error, name,
	       end.hung ? "hung," : WIFSIGNALED(end.status) ? "signal" : "status",
	       WIFSIGNALED(end.status) ? WTERMSIG(end.status) : WEXITSTATUS(end.status), end.text);
	CHECK(!"ends well");
	return true;
}

static void sweep(int call, const char *call_name, int error, const char *name)
{
	struct rule rule = {call, error, 0, -1, strcmp(name, "threads") == 0}; /* a start without memory is the one thread's */
	int jemallocs = 0, first;
	struct end none;

	setenv("SWEEP_EXPECT_NONE", "1", 1);
	run_under(&rule, name, &none);
	if (WIFEXITED(none.status) && WEXITSTATUS(none.status) == 99)
		t_skip("seccomp listeners are not permitted");
	unsetenv("SWEEP_EXPECT_NONE");
	t_note("%s: %d calls of %s, %d of them before it works", name, none.calls, call_name, none.before_work);
	if (none.status)
		t_note("%s", none.text);
	NEED(!none.hung && none.status == 0);
	first = rule.at_work ? none.before_work + 1 : 1;
	for (int n = first; n <= none.calls + 2 && t_failures() < 8; n += 1 + none.calls / SAMPLE) {
		rule.from = rule.to = n;
		jemallocs += !ends_well(&rule, name, call_name, none.before_work);
		rule.to = INT32_MAX;
		jemallocs += !ends_well(&rule, name, call_name, none.before_work);
	}
	if (jemallocs)
		t_note("%d ended in jemalloc's start", jemallocs);
}

#define SWEEP_OVER(call_, error_) \
	TEST(call_##_of_one_thread, .timeout = 220, .conf = "epoch_ms:10") \
	{ \
		sweep(SYS_##call_, #call_, error_, "one thread"); \
	} \
	TEST(call_##_of_several_threads, .timeout = 220, .conf = "epoch_ms:10") \
	{ \
		sweep(SYS_##call_, #call_, error_, "threads"); \
	}

/* Not yet of several threads: where one's arena or tcache can't be had, jemalloc dies of it, with the shim or without;
 * known.c has more of that. */
TEST(mmap_of_one_thread, .timeout = 220, .conf = "epoch_ms:10")
{
	sweep(SYS_mmap, "mmap", ENOMEM, "one thread");
}

SWEEP_OVER(munmap, ENOMEM)
SWEEP_OVER(mprotect, ENOMEM)
SWEEP_OVER(madvise, ENOMEM)
SWEEP_OVER(membarrier, EPERM)

/* Of later threads: glibc ends the program itself. */
TEST(rseq_of_one_thread, .timeout = 60)
{
	sweep(SYS_rseq, "rseq", ENOSYS, "one thread");
}

/* Not a test of its own: what the others start. */
__attribute__((constructor)) static void add_the_program(void)
{
	static struct t_test test = {.name = "program_under_test", .run = program};

	if (getenv("SWEEP_PROGRAM"))
		t_add(&test);
}
