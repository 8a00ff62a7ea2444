/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a library's file in this directory defines: its name, how its hooks are set, and what it is measured at.
 * adapters.c is the program around it, `adapters` the driver that runs it on every allocator.
 *
 * Rules: without hooks nothing of bufpool is called; a lap is the same work every time and leaves nothing behind but
 * what the library itself keeps; it checks its result, cheaply, so that a lap that did nothing is no fast one.
 */
#ifndef BENCH_ADAPTERS_WORKLOAD_H
#define BENCH_ADAPTERS_WORKLOAD_H

#include "../measure.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_workload {
	const char *name; /* "cjson-message": the library first, then what it works on */
	const char *unit; /* what lap() counts: "documents", "streams" */
	void (*prepare)(void); /* makes the input, from malloc; NULL: there is none */
	size_t (*lap)(void);   /* some hundred µs to some ms of work; how many units that was */
	/* Hooked must be that many times as fast as unhooked, on glibc and on bare jemalloc; 0: at most 2 % slower. */
	double bar_glibc, bar_jemalloc;
};

/* Which workloads a library has ends with one whose name is NULL. */
extern const struct bench_workload bench_workloads[];

/* Sets the process's hooks; called first of all in a process that measures with them. Does nothing where the hooks
 * belong to an object: then laps look at bench_hooked. */
void bench_install(void);
extern bool bench_hooked;

/* The body of lap() for inputs that each are one unit: fails the program where `right` is false. */
static inline void bench_expect(bool right, const char *what)
{
	if (!right)
		bench_fail(what);
}

/* Texts that the parsers share, from malloc and NUL-terminated: `records` records of some 230 bytes each, with names,
 * numbers, lists and text that needs escapes, the same for the same number. */
char *bench_json(size_t *size, unsigned records);
char *bench_xml(size_t *size, unsigned records);

#ifdef __cplusplus
}
#endif
#endif
