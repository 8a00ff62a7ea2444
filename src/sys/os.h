/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the engine asks of the kernel and the process's surroundings, in one place: address space, time, CPUs, the
 * environment, one line on standard error; limits have a file of their own. Everything here may be called inside malloc:
 * no stdio, no getenv, no dlsym, nothing that allocates; errno is preserved by all of it.
 */
#ifndef BP_SYS_OS_H
#define BP_SYS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BP_PAGE_SHIFT 12
#define BP_PAGE ((size_t)1 << BP_PAGE_SHIFT)
#define BP_LINE 64

#define bp_likely(x) __builtin_expect(!!(x), 1)
#define bp_unlikely(x) __builtin_expect(!!(x), 0)
#define BP_HIDDEN __attribute__((visibility("hidden")))
/* Zeroed tables that a small program never touches: the linker puts them behind all others, so that what a start does
 * write lies together, in few pages. */
#define BP_REMOTE BP_HIDDEN __attribute__((common))

/* Rounds up to a power of two. */
static inline size_t bp_round_up(size_t n, size_t unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

/* Address space without access and without memory; NULL where limits refuse it. Left out of core files. */
void *bp_os_reserve(size_t bytes, size_t alignment);
/* Makes a reserved piece readable (zeroes), or readable and writable. false: refused, nothing changed. */
bool bp_os_commit_read(void *start, size_t bytes);
bool bp_os_commit(void *start, size_t bytes);
/* Gives the memory back; the addresses stay committed and read as zero. */
bool bp_os_purge(void *start, size_t bytes);
/* Asks for huge pages, or for none, on a piece. Advice: a refusal is of no consequence. */
void bp_os_huge(void *start, size_t bytes, bool wanted);
/* Fetches pages as if they had been written to, content unchanged. Only a hint: nothing if that can't be done. */
void bp_os_populate(void *start, size_t bytes);
void bp_os_unmap(void *start, size_t bytes);

/* Milliseconds of a clock that does not jump. The coarse one is a few ns and up to one tick of the kernel late. */
uint64_t bp_os_now_ms(void);
/* Nanoseconds of the fine one; some 20 ns. */
uint64_t bp_os_now_ns(void);

/* CPUs the kernel may ever number: indices are below this. */
unsigned bp_os_possible_cpus(void);
/* The CPU this thread runs on, by the vDSO; 0 where that can't be known, or would, confined, take a system call. */
unsigned bp_os_cpu(void);
/* Seed for the marks of released blocks. */
uint64_t bp_os_random(void);
/* Under valgrind, which replaces malloc and looks for errors that a pool would hide. */
bool bp_os_emulated(void);
/* Set-uid and the like: neither environment nor files are to be trusted. */
bool bp_os_secure(void);
/* A variable of the environment, read directly; NULL where there is none. */
const char *bp_os_environment(const char *name);
/* The last part of this program's name: 0, of the file that runs; 1, of what was asked to run (a script has both). false:
 * there is no such name, or it does not fit. */
bool bp_os_program(char *name, size_t size, unsigned which);
bool bp_os_is_link(const char *path);
/* Reads a small file whole (NUL added). Returns the bytes, -1 where it can't be read. Of a file that isn't there nothing is
 * written: most processes have none, and the page of `text` would be their price. */
long bp_os_read_file(char *text, size_t size, const char *path);

/* membarrier(2): registers, once, for the expedited rseq command; then restarts the critical sections that run on one
 * CPU. false: not available. */
bool bp_os_restart_register(void);
bool bp_os_restart_cpu(int cpu);

/* Blocks all signals for this thread; what was blocked before. 64 of them, all that Linux has. */
uint64_t bp_os_block_signals(void);
void bp_os_set_signals(uint64_t blocked);

/* A sandbox that kills for system calls which it doesn't know is about to be entered (true), or was after all not (false). As
 * long as one may be, nothing is asked of the kernel but what glibc's malloc asks. */
void bp_os_confine(bool confined);
bool bp_os_is_confined(void);

/* Writes text to a descriptor, whole if it can be done, across EINTR and short writes. */
void bp_os_write(int fd, const char *text, size_t bytes);

#endif
