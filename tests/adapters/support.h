/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of adapters share. The adapter under test is the real one: the linker (--wrap, see meson.build) puts
 * these books between it and the pool, so that the pool can refuse the n-th block and every block is accounted for.
 *
 * Invariant: a test that leaves a block out, or gives one back twice, fails in t_end or t_sweep, in every mode of the
 * pool: the books count what passes, t_end asks the pool's statistics as well.
 */
#ifndef BUFPOOL_TESTS_ADAPTERS_SUPPORT_H
#define BUFPOOL_TESTS_ADAPTERS_SUPPORT_H

#include <bufpool/bufpool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define T_COUNT(array) (sizeof(array) / sizeof(*(array)))

/* ---- the books: everything the program's own code (adapters are inline) asks the pool for ---- */

/* Requests since t_books, those refused, and blocks out now. A resize is a request. */
size_t t_asked(void);
size_t t_refused(void);
int64_t t_out(void);
/* Forgets the counts of requests (blocks that are out stay counted) and refuses nothing. */
void t_books(void);
/* Refuses the n-th request from now on (1: the next), with onwards all that follow, too. 0: none. */
void t_refuse(size_t nth, bool onwards);

/* ---- the beginning and end of a test ---- */

/* Remembers the pool's in_use; t_end asserts that it is the same again, that nothing is out, and that no misuse was
 * found. */
void t_begin(void);
void t_end(void);

/* ---- sweeps ---- */

enum t_outcome {
	T_DONE,     /* the library did its work, and work() has compared the result */
	T_REPORTED, /* it said that it failed */
	T_WRONG,    /* it said nothing, and the result is not right: an error of the library's, see t_libc_malloc */
};
/* One run, which leaves nothing behind; what it finds wrong it asserts. */
typedef enum t_outcome t_work(void *ctx);

struct t_sweep {
	size_t asked;    /* requests of the run that got all it asked for */
	size_t reported; /* runs with a refusal that the library reported */
	size_t survived; /* runs with a refusal that ended with the right result: it can do without that block */
	size_t wrong;    /* T_WRONG */
	/* What only t_sweep_apart lets pass. */
	size_t died;     /* runs that a signal ended */
	int64_t lost;    /* blocks that the other runs left out */
};
/* Runs work with the n-th request refused, n = 1, 2, ... until a run asks for fewer; each n once with that request
 * alone refused and once with all that follow. Asserts after each run that the blocks out are those from before, and
 * that the last run, without a refusal, is T_DONE. What reported and survived must be is for the test to say. */
struct t_sweep t_sweep(t_work *work, void *ctx);
/* For a library that leaks or crashes when it runs out of memory: each run in a child of fork, where work asserts
 * nothing. To be compared with libc's by t_expect_same. */
struct t_sweep t_sweep_apart(t_work *work, void *ctx);

/* A sweep's yardstick: libc's functions behind the same books. Libraries have errors of their own on their way out of
 * memory; those must be the same, refusal by refusal, with these as hooks and with the adapter. */
void *t_libc_malloc(size_t n);
void *t_libc_realloc(void *p, size_t n);
char *t_libc_strdup(const char *s);
void t_libc_free(void *p);
void t_expect_same(const struct t_sweep *adapter, const struct t_sweep *libc);

/* ---- data ---- */

/* A whole file and a NUL behind it, from malloc; `path` as it is, or below tests/adapters/data where it is relative. */
char *t_read(size_t *size, const char *path);
/* A JSON document of some 100 kB that another program wrote: meson's description of this build. */
char *t_read_json(size_t *size);
/* A short one with all that JSON has. */
extern const char t_json_small[];
/* That document comes out of a library whose hooks, the process's, install() has set as it did before. printed: parses and
 * prints; the text is from libc's malloc, whatever the hooks are. */
void t_json_same(void (*install)(void), char *(*printed)(const char *text));

#ifdef __cplusplus
}
#endif
#endif
