/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the unit tests share. They are linked with the core's objects and see the internal headers.
 *
 * Unusual: assertions are made in the test's own thread only (Criterion leaves a failed test by longjmp); threads and
 * handlers count what they find wrong, and the test looks at the count.
 */
#ifndef BUFPOOL_TESTS_UNIT_SUPPORT_H
#define BUFPOOL_TESTS_UNIT_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define U_COUNT(array) (sizeof(array) / sizeof(*(array)))

uint64_t u_random(uint64_t *state);
uint64_t u_now_us(void);

/* ---- CPUs ---- */

/* The n-th CPU that this process may use, -1: there are not so many. */
int u_cpu(unsigned n);
void u_pin(int cpu);
/* Did glibc register this thread for restartable sequences, and is this a build that has them? */
bool u_has_rseq(void);
/* Skips the running test where it did not. */
void u_need_rseq(void);

/* ---- the process, as the kernel sees it ---- */

/* A line of /proc/self/status, in KiB. */
size_t u_status_kb(const char *key);

/* Mappings that touch [start, start + bytes): their bytes in all, those resident, those that a core file would hold,
 * those for which huge pages were asked. */
struct u_mapped {
	size_t size, resident, dumped, huge;
};
struct u_mapped u_mapped(const void *start, size_t bytes);

/* What fails in a child says so by its status: Criterion's own means are the parent's. With unistd.h. */
#define u_surely(condition) \
	do { \
		if (!(condition)) \
			_exit(__LINE__ % 200 + 1); \
	} while (0)

/* Runs it in a child. What wait says of the child; *err: the beginning of what it wrote to standard error. */
int u_in_child(void (*run)(void), char *err, size_t size);
/* From now on the kernel refuses that call with that error. false: it filters none. */
bool u_refuse(unsigned call, unsigned error);

#endif
