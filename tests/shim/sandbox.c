/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that enters a seccomp sandbox of OpenSSH's kind goes on allocating in it: whatever is not listed kills, and what
 * is listed is what glibc's malloc calls, no more. Before, it has used both CPUs, so that the pool would like to take from
 * the one that stands still. And the two functions that the shim has for this do otherwise what libc's do: compared with
 * the system call instruction itself.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* ---- exactly as libc's ---- */

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
	t_skip("no system call instruction known for this architecture");
	return 0;
#endif
}

/* What the function answers is what the instruction does, and errno is touched by errors only. */
static void same(int line, long number, long a, long b, long c, long d, long e, long f)
{
	long expected = raw(number, a, b, c, d, e, f), got;

	errno = 4711;
	got = syscall(number, a, b, c, d, e, f);
	if (expected < 0 && expected >= -4095) {
		if (got == -1 && errno == -expected)
			return;
	} else if (got == expected && errno == 4711) {
		return;
	}
	t_note("call %ld: %ld expected, %ld (errno %d) got", number, expected, got, errno);
	t_fail(__FILE__, line, "the same");
}

#define SAME6(number, a, b, c, d, e, f, ...) \
	same(__LINE__, number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SAME(...) SAME6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static char *map_by(long page, int fd)
{
	return (char *)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED, fd, page * 4096);
}

TEST(syscall_passes_everything_on)
{
	int fd = memfd_create("pages", MFD_CLOEXEC), from = memfd_create("from", MFD_CLOEXEC);
	char text[64];
	unsigned word = 7;
	loff_t zero = 0;

	NEED(fd >= 0 && from >= 0 && ftruncate(fd, 4 * 4096) == 0);
	for (long page = 0; page < 4; page++)
		NEED(pwrite(fd, &"abcd"[page], 1, page * 4096) == 1);
	/* Numbers and pointers, small and large. */
	SAME(SYS_getpid);
	SAME(SYS_gettid);
	SAME(SYS_getppid);
	SAME(SYS_lseek, fd, (long)1 << 40, SEEK_SET);
	SAME(SYS_pread64, fd, text, sizeof(text), 2 * 4096);
	CHECK(text[0] == 'c');
	SAME(SYS_getcwd, text, sizeof(text));
	SAME(SYS_fcntl, fd, F_GETFD);
	SAME(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, text);
	/* Errors. */
	SAME(SYS_close, -1);
	SAME(SYS_openat, AT_FDCWD, "/there/is/no/such", O_RDONLY);
	SAME(SYS_munmap, 1, 4096);
	SAME(SYS_read, fd, (char *)1, 10);
	SAME(SYS_dup3, fd, fd, 0);
	SAME(SYS_getcwd, text, 1);
	SAME(SYS_kill, 0, 999);
	SAME(100000);
	SAME(-1);
	SAME((long)1 << 32 | SYS_getpid);
	/* All six arguments. */
	SAME(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 7, NULL, NULL, 0);
	SAME(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 8, NULL, NULL, 1);
	SAME(SYS_futex, &word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 1, &word + 1, 6);
	SAME(SYS_futex, &word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 1, &word + 1, 7);
	SAME(SYS_copy_file_range, fd, &zero, from, NULL, 0, 1);
	for (long page = 0; page < 4; page++) {
		char *map = map_by(page, fd);

		NEED(map != MAP_FAILED);
		CHECK(map[0] == "abcd"[page]);
		CHECK(syscall(SYS_munmap, map, 4096) == 0);
	}
	errno = 0;
	CHECK(map_by(-1, fd) == MAP_FAILED && errno != 0);
	close(fd);
	close(from);
}

/* With fewer arguments than six: what lies on the caller's stack beyond them stays. */
TEST(syscall_leaves_its_callers_frame)
{
	volatile unsigned long around[64];

	for (size_t i = 0; i < COUNT(around); i++)
		around[i] = i * 0x9e3779b97f4a7c15u;
	syscall(SYS_getpid);
	syscall(SYS_prctl, PR_GET_DUMPABLE);
	syscall(SYS_seccomp, 99, 0, NULL);
	for (size_t i = 0; i < COUNT(around); i++)
		CHECK(around[i] == i * 0x9e3779b97f4a7c15u);
}

TEST(prctl_passes_everything_on)
{
	char name[16] = "", again[16] = "";
	int signal = -1;

	CHECK(prctl(PR_SET_NAME, "sandboxed") == 0);
	CHECK(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "sandboxed"));
	CHECK(syscall(SYS_prctl, PR_GET_NAME, again) == 0 && !strcmp(again, name));
	CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
	CHECK(prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == SIGTERM);
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && prctl(PR_GET_DUMPABLE) == 1);
	CHECK(prctl(PR_SET_TIMERSLACK, 12345ul) == 0);
	errno = 4711;
	CHECK(prctl(PR_GET_TIMERSLACK) == 12345);
	CHECK(errno == 4711);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	errno = 0;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 1) == -1 && errno == EINVAL); /* its fifth argument arrives */
	errno = 0;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 1, 0) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(prctl(-1) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(prctl(PR_GET_NAME, (char *)1) == -1 && errno == EFAULT);
}
