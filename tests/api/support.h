/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the API tests share. They know the public header and nothing else: statistics are read through the API, and
 * what must die dies in a child whose standard error is read through a pipe.
 *
 * Unusual: assertions are made in the test's own thread only (Criterion leaves a failed test by longjmp); threads,
 * handlers and children count what they find wrong and hand the number back.
 */
#ifndef BUFPOOL_TESTS_API_SUPPORT_H
#define BUFPOOL_TESTS_API_SUPPORT_H

#include <bufpool/bufpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define T_CAP 65536u
#define T_LARGEST (4u << 20)
#define T_COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Hides a pointer's origin from the compiler, which otherwise rejects (rightly) what the misuse tests do. */
static inline void *t_launder(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

/* ---- statistics ---- */

struct bufpool_stats t_stats(void);
struct bufpool_class_stats t_class(size_t n);
uint64_t t_dropped(const struct bufpool_stats *s);
/* created - (in use + cached + victim + queued + set aside + dropped): 0 at rest. */
int64_t t_imbalance(const struct bufpool_stats *s);
/* The same for the process as it is, in_use == acquired - released included; also says on stderr what differs. What the
 * helper thread moves while these are read may be counted at neither end or at both, so it looks again for a second. */
bool t_balanced(void);
/* Lets what is queued go back: ticks until nothing is queued. False where that doesn't end. */
bool t_settle(void);
/* True where blocks of n bytes go straight to jemalloc (fallback mode may choose so): nothing to see in the pool. */
bool t_passes_through(size_t n);
/* Skips the running test where this process has no pool for n bytes. */
void t_need_pool(size_t n);
/* Suites about exact counts: time must not end an epoch in the middle, and the thread stays on one CPU. */
void t_hold_epochs(void);

/* ---- content ---- */

uint64_t t_random(uint64_t *state);
/* Sizes as programs have them: mostly small, some large, a few over the cap. */
size_t t_random_size(uint64_t *state);
void t_fill(void *p, size_t n, uint64_t seed);
bool t_check(const void *p, size_t n, uint64_t seed);
bool t_all(const void *p, size_t n, unsigned char value);
bool t_aligned(const void *p, size_t alignment);

/* A set of owned blocks under random acquire, resize and release, every byte checked. Returns what went wrong. */
struct t_owner {
	uint64_t random;
	size_t count;
	struct { void *p; size_t n; uint64_t seed; } held[128];
};
unsigned t_owner_step(struct t_owner *o);
unsigned t_owner_finish(struct t_owner *o);
unsigned t_owner_run(struct t_owner *o, unsigned steps);

/* ---- processes and threads ---- */

struct t_result {
	int status;      /* of waitpid; -1: hung and killed */
	char text[32768]; /* what it wrote, NUL-terminated */
};
/* Runs run(shared) in a forked child whose standard error is text. shared is memory that both see. */
void t_child(struct t_result *r, void (*run)(void *shared), void *shared);
/* The exit status of check in a forked child that has 30 s; 1000 + signal where it died, -1: there is none. */
int t_in_child(int (*check)(void));
void *t_shared(size_t n);
/* Starts a program with `conf` added to BUFPOOL_CONF and, if not 0, RLIMIT_AS; text is its stdout and stderr. */
void t_program(struct t_result *r, const char *const *argv, const char *conf, size_t address_space);
/* The helper program with one command and up to one argument. */
void t_helper(struct t_result *r, const char *command, const char *argument, const char *conf);
bool t_exited(const struct t_result *r, int code);
bool t_aborted(const struct t_result *r);
bool t_have(const char *program);

size_t t_rss(void);
/* The n-th CPU that this process may use, -1 where it has fewer. */
int t_cpu(unsigned n);
int t_pin(int cpu);
int64_t t_now_ns(void);
/* How long this thread has run for: not the time that others have had the CPU, or nobody. */
int64_t t_ran_ns(void);
void t_sleep_ms(unsigned ms);

/* Takes all memory that this process can still get, blocks of all sizes, and lets it have no more. */
void t_starve(void);

/* A new file of that text whose name ends in `language` (".c", ".cc"); the caller unlinks it. */
void t_write_source(char *path, size_t size, const char *language, const char *text);

#endif
