/* SPDX-License-Identifier: BSD-2-Clause
 *
 * prctl and syscall, by which programs enter sandboxes (sandbox.c) and do much else: the shim's do what libc's do, to the
 * same effect. They are compared with the system call instruction itself.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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
