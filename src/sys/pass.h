/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Straight to jemalloc: what passes by the pool, with the guard that all calls into jemalloc share.
 *
 * The guard. A signal handler that calls malloc while its thread is inside jemalloc would wait for a mutex that the thread
 * itself holds, or meet a thread cache in the middle of a change. So each thread says that it is inside, and whoever finds
 * that said is refused: NULL with ENOMEM, false for a free (the block is then given back later).
 *
 * Unusual: malloc and free are inline here, down to jemalloc's own. Where a class passes through this is its hit path, and
 * beside jemalloc's six nanoseconds each further call showed (docs/decisions.md).
 */
#ifndef BP_SYS_PASS_H
#define BP_SYS_PASS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "sys/os.h"

struct bp_guard {
	bool inside;
	bool cached; /* this thread has had its chance of a cache of jemalloc's: see bp_pass_begin */
	int *error; /* where this thread's errno lies, once somebody has asked: the question is a call into libc */
};
extern __thread struct bp_guard bp_guard BP_HIDDEN __attribute__((tls_model("initial-exec")));

/* The fences are against the compiler alone: who must see `inside` is a handler on this thread. */
static inline bool bp_guard_enter(void)
{
	if (bp_unlikely(bp_guard.inside))
		return false;
	bp_guard.inside = true;
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

static inline void bp_guard_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	bp_guard.inside = false;
}

static inline int *bp_guard_errno(void)
{
	if (bp_unlikely(bp_guard.error == NULL))
		bp_guard.error = &errno;
	return bp_guard.error;
}

/* Threads start without a cache of jemalloc's own: beside a pool it is of no use and costs each thread three pages. What
 * passes through needs it, and gets it here. */
void bp_pass_begin(void) BP_HIDDEN __attribute__((cold));
/* Before the first: whether threads are to have one at all. */
void bp_pass_start(bool with_tcache) BP_HIDDEN;

/* jemalloc's handlers at a fork take their place now, also where it has not started yet: prepare handlers that come
 * later run before them, and may allocate. 0, or pthread_atfork's error. */
int bp_pass_expect_forks(void) BP_HIDDEN;

static inline bool bp_pass_enter(void)
{
	if (bp_unlikely(!bp_guard.cached))
		bp_pass_begin();
	return bp_guard_enter();
}

/* jemalloc's malloc and free. With the shared one a preloaded malloc would be found under these names: pass.c then
 * defines them by names that jemalloc alone has. */
#if BP_JEMALLOC_EMBEDDED
void *bp_raw_malloc(size_t n) __asm__("bp_je_malloc") BP_HIDDEN;
void bp_raw_free(void *p) __asm__("bp_je_free") BP_HIDDEN;
#else
void *bp_raw_malloc(size_t n) BP_HIDDEN;
void bp_raw_free(void *p) BP_HIDDEN;
#endif

/* jemalloc's blocks of 8 bytes are aligned to no more than that; glibc's, and the pool's, to 16. */
static inline size_t bp_pass_size(size_t n)
{
	return n <= 8 ? 16 : n;
}

static inline void *bp_pass_malloc(size_t n)
{
	if (bp_unlikely(!bp_pass_enter())) {
		errno = ENOMEM;
		return NULL;
	}
	void *p = bp_raw_malloc(bp_pass_size(n));
	bp_guard_leave();
	return p;
}

/* errno stays as it was: jemalloc's may be changed by what the kernel answers to giving back. p is not NULL. */
static inline bool bp_pass_free(void *p)
{
	if (bp_unlikely(!bp_pass_enter()))
		return false;
	int *error = bp_guard_errno(), saved = *error;
	bp_raw_free(p);
	*error = saved;
	bp_guard_leave();
	return true;
}

void *bp_pass_calloc(size_t n) BP_HIDDEN;
void *bp_pass_aligned(size_t alignment, size_t n) BP_HIDDEN;
void *bp_pass_realloc(void *p, size_t n) BP_HIDDEN;

#endif
