/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For the tests of cache/: the default pool, started on one CPU with epochs that end when the test says so.
 */
#ifndef BUFPOOL_TESTS_UNIT_POOLS_H
#define BUFPOOL_TESTS_UNIT_POOLS_H

#include "cache/account.h"
#include "cache/pool.h"

#define U_POOL (&bp_default_pool)
/* The class that most of these tests work with: kept also where the portable mode passes smaller ones through. */
#define U_SIZE ((size_t)40960)

/* Pins this thread and starts the pool with these options (NULL: none) and an epoch of an hour. */
void u_start(const char *options);
/* Options as text, before the pool's start. */
void u_options(const char *pairs);
/* The portable mode whatever this process can do. */
void u_start_portable(void);
/* The slab that this thread works on: its CPU's, or in the portable mode its seat's. */
int u_slab(void);
/* In the portable mode this thread has no seat, nor looks for one. */
void u_without_seat(void);

static inline unsigned u_class(size_t n)
{
	return bp_class_of(n);
}

/* What became of a class's blocks. */
struct bp_account u_account(size_t n);
/* Asserts what holds at rest: created = in use + cached + victim + queued + dropped + set aside for each class, and the
 * bytes outside the levels. `in_use`: bytes of pooled blocks that the test holds. */
void u_assert_balance(uint64_t in_use);
/* The first of these, for children. */
bool u_balanced(void);

/* Out of line: of sizes that are constants here, the compiler would look at branches that they never reach. */
void *u_get(size_t n, bool zero);

/* Blocks to and from, each content checked to be the block's own. */
void u_acquire(void **blocks, size_t count, size_t n);
void u_release(void **blocks, size_t count);
/* Blocks of that class on all CPUs' stacks. */
size_t u_on_cpus(size_t n);

#endif
