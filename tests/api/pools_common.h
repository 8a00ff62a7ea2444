/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of named pools share: making them, their books, and memory looked at from outside.
 */
#ifndef BUFPOOL_TESTS_API_POOLS_COMMON_H
#define BUFPOOL_TESTS_API_POOLS_COMMON_H

#include "support.h"

/* NULL where it can't be had; with name, cap, budget and flags as in bufpool_conf. */
struct bufpool *p_make(const char *name, size_t cap, size_t budget, unsigned flags);
struct bufpool_stats p_stats(struct bufpool *pool);
struct bufpool_class_stats p_class(struct bufpool *pool, size_t n);
/* At rest: created is the sum of where blocks are, in use what was acquired and not released. Says what differs. */
bool p_balanced(struct bufpool *pool);
/* Ticks until nothing of it is queued. */
bool p_settle(struct bufpool *pool);
/* Skips the test where named pools have no memory of their own: mode pass from the start, valgrind. */
void p_need_own_memory(void);

/* Counts the 8-byte words at p that are `value` in every byte, read through the kernel: p may be unmapped by now, and what is
 * not there is counted as no such word. */
size_t p_words_left(const void *p, size_t n, unsigned char value);

struct p_process {
	size_t size, resident, mappings; /* bytes, bytes, lines of /proc/self/maps */
};
struct p_process p_process(void);

#endif
