/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What every measuring program shares. A program prints one sample a line, `name value`; medians, ratios and verdicts
 * are the driver's (bench/bench). The machines these run on are shared and noisy, so one thread's work is measured in
 * CPU time, which leaves out the moments when somebody else has the CPU; wall time is used only where waiting is
 * what is being measured.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BENCH_MB 1048576.0

static inline double bench_clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline double bench_wall_ns(void)
{
	return bench_clock_ns(CLOCK_MONOTONIC);
}

/* Of the whole process: helper threads of an allocator count against it. */
static inline double bench_cpu_ns(void)
{
	return bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static inline double bench_thread_ns(void)
{
	return bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline void bench_sample(const char *name, double value)
{
	printf("%s %.4f\n", name, value);
}

__attribute__((noreturn)) static inline void bench_fail(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

/* The one access that every loop makes to a block. */
static inline void bench_touch(void *p)
{
	if (!p)
		bench_fail("out of memory");
	*(volatile char *)p = 1;
}

static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One of the n < 2^32 numbers from 0 by a multiplication: a division costs as much as what is measured, and where the
 * compiler lets it read its divisor from memory it holds up the calls around it for 5 to 10 ns more. */
static inline size_t bench_below(uint32_t random, size_t n)
{
	return (size_t)((uint64_t)random * n >> 32);
}

/* Pins the calling thread to one CPU. */
static inline void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_fail("sched_setaffinity");
}

/* The nth CPU that this process may use, -1 where there are fewer. */
static inline int bench_cpu(int nth)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		bench_fail("sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && nth-- == 0)
			return cpu;
	return -1;
}

/* The number in a file's line that begins with `key`, in bytes where the file says kB. Allocates nothing. */
static inline double bench_proc_bytes(const char *path, const char *key)
{
	char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *line;

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		bench_fail(path);
	text[got] = 0;
	line = strstr(text, key);
	if (!line)
		bench_fail(key);
	return strtod(line + strlen(key), NULL) * 1024;
}

/* statm's counters may lag by megabytes on many CPUs; this walks the page tables. */
static inline double bench_rss_mb(void)
{
	return bench_proc_bytes("/proc/self/smaps_rollup", "Rss:") / BENCH_MB;
}

static inline double bench_peak_mb(void)
{
	return bench_proc_bytes("/proc/self/status", "VmHWM:") / BENCH_MB;
}

static inline int bench_compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts. */
static inline double bench_median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), bench_compare_doubles);
	return values[count / 2];
}

static inline long bench_number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < 0)
		bench_fail("a number was expected");
	return n;
}

#endif
