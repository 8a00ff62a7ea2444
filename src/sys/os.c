/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See os.h. Raw system calls only where glibc has no wrapper (membarrier); files are read with open, read, close, which
 * allocate nothing.
 */
#include "sys/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/limits.h"

extern char **environ;

void *bp_os_reserve(size_t bytes, size_t alignment)
{
	int saved = errno;
	size_t padded = bytes + (alignment > BP_PAGE ? alignment : 0);
	char *map = mmap(NULL, padded, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		errno = saved;
		return NULL;
	}
	char *start = (char *)bp_round_up((uintptr_t)map, alignment);
	if (start > map)
		munmap(map, (size_t)(start - map));
	if (start + bytes < map + padded)
		munmap(start + bytes, (size_t)(map + padded - (start + bytes)));
	madvise(start, bytes, MADV_DONTDUMP);
	errno = saved;
	return start;
}

static bool protect(void *start, size_t bytes, int access)
{
	int saved = errno;
	bool done = mprotect(start, bytes, access) == 0;
	errno = saved;
	return done;
}

bool bp_os_commit_read(void *start, size_t bytes)
{
	return protect(start, bytes, PROT_READ);
}

bool bp_os_commit(void *start, size_t bytes)
{
	if (!protect(start, bytes, PROT_READ | PROT_WRITE))
		return false;
	int saved = errno;
	madvise(start, bytes, MADV_DODUMP); /* in use from now on: it belongs into a core file */
	errno = saved;
	return true;
}

bool bp_os_purge(void *start, size_t bytes)
{
	int saved = errno;
	bool done = madvise(start, bytes, MADV_DONTNEED) == 0;
	errno = saved;
	return done;
}

void bp_os_huge(void *start, size_t bytes, bool wanted)
{
	int saved = errno;
	madvise(start, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	errno = saved;
}

void bp_os_populate(void *start, size_t bytes)
{
	static _Atomic bool missing; /* before Linux 5.14 */
	int saved = errno;
	if (!atomic_load_explicit(&missing, memory_order_relaxed) && madvise(start, bytes, MADV_POPULATE_WRITE) != 0 &&
	    errno == EINVAL)
		atomic_store_explicit(&missing, true, memory_order_relaxed);
	errno = saved;
}

void bp_os_unmap(void *start, size_t bytes)
{
	int saved = errno;
	munmap(start, bytes);
	errno = saved;
}

uint64_t bp_os_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t bp_os_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The last number of a list such as "0-3,8-11", plus one. 0: there is none. */
static unsigned last_of_list(const char *text)
{
	unsigned last = 0, digits = 0;
	for (; *text != '\0'; text++) {
		if (*text >= '0' && *text <= '9') {
			last = (digits++ == 0 ? 0 : last * 10) + (unsigned)(*text - '0');
		} else {
			if (*text == '\n')
				break;
			digits = 0;
		}
	}
	return digits == 0 ? 0 : last + 1;
}

unsigned bp_os_possible_cpus(void)
{
	static _Atomic unsigned known; /* it doesn't change while the kernel runs */
	char text[256];
	unsigned cpus = atomic_load_explicit(&known, memory_order_relaxed);
	if (cpus != 0)
		return cpus;
	if (bp_os_read_file(text, sizeof(text), "/sys/devices/system/cpu/possible") > 0)
		cpus = last_of_list(text);
	if (cpus == 0) {
		/* No sysfs (a sandbox): the system call says how long the kernel's masks are, an upper bound. */
		unsigned long mask[128];
		int saved = errno;
		long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
		errno = saved;
		cpus = bytes > 0 ? (unsigned)bytes * 8 : 0;
	}
	cpus = cpus == 0 ? 1 : cpus;
	atomic_store_explicit(&known, cpus, memory_order_relaxed);
	return cpus;
}

static _Atomic unsigned sandboxes; /* entered, or about to be */

void bp_os_confine(bool confined)
{
	if (confined)
		bp_os_note_limits();
	/* Sequentially consistent, with the load below: see bp_percpu_confine. */
	atomic_fetch_add(&sandboxes, confined ? 1 : -1u);
}

bool bp_os_is_confined(void)
{
	return atomic_load(&sandboxes) != 0;
}

/* glibc reads it from its rseq registration; without one, x86_64 has it in the vDSO, others ask the kernel. */
static bool cpu_takes_a_call(void)
{
#if defined(__x86_64__)
	return __rseq_size == 0 && getauxval(AT_SYSINFO_EHDR) == 0;
#else
	return __rseq_size == 0;
#endif
}

unsigned bp_os_cpu(void)
{
	if (bp_unlikely(bp_os_is_confined()) && cpu_takes_a_call())
		return 0;
	int saved = errno;
	int cpu = sched_getcpu();
	errno = saved;
	return cpu < 0 ? 0 : (unsigned)cpu;
}

uint64_t bp_os_random(void)
{
	uint64_t word = 0;
	int saved = errno;
	if (syscall(SYS_getrandom, &word, sizeof(word), GRND_NONBLOCK) != sizeof(word)) {
		/* An old kernel or an early boot: the kernel's bytes for this process, through a multiplication so that
		 * glibc's own secrets, which are made of the same, can't be read from a mark. */
		const void *bytes = (const void *)getauxval(AT_RANDOM);
		if (bytes != NULL)
			memcpy(&word, bytes, sizeof(word));
		word = (word ^ word >> 29 ^ (uintptr_t)&word) * 0xbf58476d1ce4e5b9u;
	}
	errno = saved;
	return word;
}

/* Valgrind's tools preload a library of their own into every program that they run. */
bool bp_os_emulated(void)
{
	const char *preload = bp_os_environment("LD_PRELOAD");
	return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

bool bp_os_secure(void)
{
	return getauxval(AT_SECURE) != 0;
}

/* Before libc has started (a program's .preinit_array), environ isn't set; ld.so knows the stack that the kernel made:
 * argc, the arguments, NULL, the environment. */
extern void *__libc_stack_end;

static char **environment(void)
{
	long *argc = __libc_stack_end;
	return environ != NULL ? environ : (char **)(argc + 1 + *argc + 1);
}

const char *bp_os_environment(const char *name)
{
	size_t length = strlen(name);
	for (char **entry = environment(); entry != NULL && *entry != NULL; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	return NULL;
}

bool bp_os_is_link(const char *path)
{
	char first;
	int saved = errno;
	bool is = syscall(SYS_readlinkat, AT_FDCWD, path, &first, sizeof(first)) >= 0;
	errno = saved;
	return is;
}

bool bp_os_program(char *name, size_t size, unsigned which)
{
	char link[512];
	const char *path = link;
	int saved = errno;
	long got = which == 0 ? syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", link, sizeof(link) - 1) : 0;
	link[got > 0 ? got : 0] = '\0';
	errno = saved;
	if (which == 1)
		path = (const char *)getauxval(AT_EXECFN);
	if (which > 1 || path == NULL)
		return false;
	const char *last = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
	if (strlen(last) >= size)
		return which == 0 && bp_os_program(name, size, 1);
	memcpy(name, last, strlen(last) + 1);
	return true;
}

/* System calls by number: glibc's open, read, write and close are cancellation points, malloc and free are none. */
long bp_os_read_file(char *text, size_t size, const char *path)
{
	int saved = errno;
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	size_t filled = 0;
	long got = fd < 0 ? -1 : 0;
	while (fd >= 0 && filled + 1 < size) {
		got = syscall(SYS_read, fd, text + filled, size - 1 - filled);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		filled += (size_t)got;
	}
	if (fd >= 0) {
		syscall(SYS_close, fd);
		text[filled] = '\0';
	}
	errno = saved;
	return got < 0 ? -1 : (long)filled;
}

static uint64_t change_signals(uint64_t blocked)
{
	uint64_t before = 0;
	int saved = errno;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, &before, sizeof(before));
	errno = saved;
	return before;
}

uint64_t bp_os_block_signals(void)
{
	return change_signals(UINT64_MAX);
}

void bp_os_set_signals(uint64_t blocked)
{
	change_signals(blocked);
}

static bool membarrier(int command, unsigned flags, int cpu)
{
	int saved = errno;
	bool done = syscall(SYS_membarrier, command, flags, cpu) == 0;
	errno = saved;
	return done;
}

bool bp_os_restart_register(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0);
}

bool bp_os_restart_cpu(int cpu)
{
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU, cpu);
}

void bp_os_write(int fd, const char *text, size_t bytes)
{
	int saved = errno;
	while (bytes > 0) {
		long done = syscall(SYS_write, fd, text, bytes);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			break;
		text += done;
		bytes -= (size_t)done;
	}
	errno = saved;
}
