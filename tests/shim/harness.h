/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of the preload shim share.
 *
 * A test program runs without the shim and executes itself once per test with LD_PRELOAD set: each test has a process
 * of its own that started under the shim (a fork would show it the shim as a child of fork only), and one that crashes
 * or hangs takes no other with it. Results come out as TAP.
 *
 * Environment: SHIM_LIB, the library to preload; empty or missing: none, the same tests against glibc ("reference").
 * SHIM_PERCPU: what the option "percpu" must answer: rseq, fallback, pass, or auto, which is rseq where glibc has
 * registered it. Every other variable reaches the tests.
 *
 * Built with -fno-builtin: a compiler that knows malloc removes half of what is tested here.
 */
#ifndef SHIM_HARNESS_H
#define SHIM_HARNESS_H

#include <bufpool/bufpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	T_SHIM = 1, /* asks for what glibc doesn't promise: not part of the reference */
	T_POOL = 2, /* nor jemalloc: not part of mode:pass either */
};

struct t_test {
	const char *name;
	void (*run)(void);
	struct t_test *next;
	unsigned flags;
	unsigned timeout; /* seconds; 0: 60 */
	const char *conf; /* key:value,... added to BUFPOOL_CONF for this test's process */
	const char *env;  /* one more NAME=VALUE for it */
};

void t_add(struct t_test *test);
void t_fail(const char *file, int line, const char *what);
void t_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void t_skip(const char *why) __attribute__((noreturn));
unsigned t_failures(void);

bool t_under_shim(void);
const char *t_percpu(void); /* what the option answers */
bool t_pooling(void); /* under the shim, and not in mode:pass */
/* Does the pool serve n bytes? With rseq it must; without, classes pass through that'd be slower than jemalloc's. */
bool t_pooled(size_t n);

/* A function by its name where the program's own calls would find it; the test fails where there is none. */
void *t_symbol(const char *name);
/* The same for what only the shim has: ends the test where there is none. */
void *t_shim_symbol(const char *name);

bool t_is_filled(const void *p, int c, size_t n);
/* Runs fn(arg) in a child of fork with its standard error in text; its wait status. */
int t_child(char *text, size_t size, void (*fn)(void *arg), void *arg);
/* Waits for it; says so where it ends otherwise. */
bool t_exits_with(pid_t pid, int expected);
/* Holds the statistics against their identity, no misuse among them; all 0 where there is no pool. */
struct bufpool_stats t_adds_up(void);
/* This thread stays on the CPU where it is: what it frees is what it allocates next. */
void t_stay(void);
size_t t_resident(void); /* bytes */
double t_now(void);      /* seconds */

#define TEST(name_, ...) \
	static void name_(void); \
	static struct t_test name_##_test = {#name_, name_, NULL, ##__VA_ARGS__}; \
	__attribute__((constructor)) static void name_##_add(void) \
	{ \
		t_add(&name_##_test); \
	} \
	static void name_(void)

#define CHECK(condition) ((condition) ? (void)0 : t_fail(__FILE__, __LINE__, #condition))
/* For what the rest of a test builds on. */
#define NEED(condition) \
	do { \
		if (!(condition)) { \
			t_fail(__FILE__, __LINE__, #condition); \
			return; \
		} \
	} while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __cplusplus
}
#endif
#endif
