/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Straight to jemalloc: what passes the pool by (pass.h), jemalloc's own API for the shim that exports it, and its handlers
 * at a fork. Blocks from here are those of jemalloc's own arenas, outside the range.
 */
#include "sys/pass.h"

#include <errno.h>
#include <pthread.h>

#include "sys/backend.h"
#include "sys/jemalloc.h"
#include "sys/limits.h"

enum { TCACHE_BYTES = 128 << 10 /* more than a thread's cache takes */ };

static bool wants_tcache; /* unless the user has said not to */

__thread struct bp_guard bp_guard __attribute__((tls_model("initial-exec")));

/* ---- with the guard ---- */

void bp_pass_start(bool with_tcache)
{
	wants_tcache = with_tcache;
}

#if !BP_JEMALLOC_EMBEDDED
void *bp_raw_malloc(size_t n)
{
	return je_mallocx(n == 0 ? 1 : n, 0);
}

void bp_raw_free(void *p)
{
	je_dallocx(p, 0);
}
#endif

static void *refuse(void)
{
	errno = ENOMEM;
	return NULL;
}

void bp_pass_begin(void)
{
	if (bp_guard.cached || !bp_guard_enter())
		return;
	/* jemalloc 5.3.0 does not notice that it got no memory for a thread's cache, and crashes in it later. So a thread
	 * does without for good where memory may be refused, or is: it is tried first where jemalloc will ask. */
	bool on = true;
	int flags = MALLOCX_ARENA(0) | MALLOCX_TCACHE_NONE;
	void *room = wants_tcache && !bp_os_is_limited() ? je_mallocx(TCACHE_BYTES, flags) : NULL;
	if (room != NULL) {
		je_dallocx(room, flags);
		je_mallctl("thread.tcache.enabled", NULL, NULL, &on, sizeof(on));
	}
	bp_guard.cached = true;
	bp_guard_leave();
}

void *bp_pass_calloc(size_t n)
{
	if (!bp_pass_enter())
		return refuse();
	void *p = je_calloc(1, bp_pass_size(n));
	bp_guard_leave();
	return p;
}

void *bp_pass_aligned(size_t alignment, size_t n)
{
	if (!bp_pass_enter())
		return refuse();
	void *p = je_mallocx(n == 0 ? 1 : n, MALLOCX_LG_ALIGN(__builtin_ctzl(alignment)));
	bp_guard_leave();
	return p;
}

void *bp_pass_realloc(void *p, size_t n)
{
	if (!bp_pass_enter())
		return refuse();
	void *fresh = je_realloc(p, bp_pass_size(n));
	bp_guard_leave();
	return fresh;
}

/* ---- jemalloc's own API ---- */

bool bp_jemalloc_is_plain(size_t *alignment, bool *zero, int flags)
{
	*alignment = (size_t)1 << (flags & 0x3f);
	*zero = (flags & MALLOCX_ZERO) != 0;
	return (flags & ~(0x3f | MALLOCX_ZERO)) == 0;
}

void *bp_jemalloc_mallocx(size_t n, int flags)
{
	bp_pass_begin();
	return je_mallocx(n, flags);
}

void *bp_jemalloc_rallocx(void *p, size_t n, int flags)
{
	return je_rallocx(p, n, flags);
}

size_t bp_jemalloc_xallocx(void *p, size_t n, size_t extra, int flags)
{
	return je_xallocx(p, n, extra, flags);
}

void bp_jemalloc_dallocx(void *p, int flags)
{
	je_dallocx(p, flags);
}

size_t bp_jemalloc_nallocx(size_t n, int flags)
{
	return je_nallocx(n, flags);
}

int bp_jemalloc_mallctl(const char *name, void *old, size_t *old_size, void *value, size_t size)
{
	return je_mallctl(name, old, old_size, value, size);
}

int bp_jemalloc_nametomib(const char *name, size_t *mib, size_t *length)
{
	return je_mallctlnametomib(name, mib, length);
}

int bp_jemalloc_bymib(const size_t *mib, size_t length, void *old, size_t *old_size, void *value, size_t size)
{
	return je_mallctlbymib(mib, length, old, old_size, value, size);
}

void bp_jemalloc_stats_print(void (*write)(void *, const char *), void *ctx, const char *opts)
{
	je_malloc_stats_print(write, ctx, opts);
}

/* ---- fork ----
 *
 * jemalloc takes its mutexes before a fork, so that the child finds them free. A signal handler that forks while its thread
 * is inside jemalloc would wait for itself there: the handlers are then left out. The parent goes on as it would have; the
 * child has what glibc gives it as well, a heap in the middle of a call, with which it can exec. */

#if BP_JEMALLOC_EMBEDDED
static void (*fork_prepare)(void), (*fork_parent)(void), (*fork_child)(void);
static __thread bool left_out __attribute__((tls_model("initial-exec")));

static void before_fork(void)
{
	left_out = bp_guard.inside || fork_prepare == NULL;
	if (!left_out)
		fork_prepare();
}

static void after_fork(void)
{
	if (!left_out)
		fork_parent();
}

static void in_child(void)
{
	if (!left_out)
		fork_child();
}

int bp_pass_expect_forks(void)
{
	static atomic_flag registered = ATOMIC_FLAG_INIT;
	if (atomic_flag_test_and_set_explicit(&registered, memory_order_relaxed))
		return 0;
	return pthread_atfork(before_fork, after_fork, in_child);
}

/* What jemalloc calls for pthread_atfork (embed_jemalloc.sh). */
int bp_jemalloc_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	fork_parent = parent;
	fork_child = child;
	fork_prepare = prepare;
	return bp_pass_expect_forks();
}
#else
int bp_pass_expect_forks(void)
{
	return 0; /* it has done so when it was loaded */
}
#endif
