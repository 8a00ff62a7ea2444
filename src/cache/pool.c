/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The default pool, its start and what a fork does to it. See pool.h.
 *
 * Start happens on the first call, whoever makes it, possibly before any constructor has run. While it lasts, other
 * threads wait for it, and jemalloc calling back passes through.
 *
 * fork. jemalloc looks after itself; its own handlers run inside ours, which come after its. A child of a process with
 * one thread has everything as it was. With more threads, the kernel copies memory while they run on: a block may be seen
 * in a stack and in the level that it moved to a moment later. Such a child starts with empty caches and gives back what
 * it inherited when it has lived for an epoch (inherit.h); until then that is counted as set aside. Nothing is handed out
 * twice, no lock of the pool is held across the fork, no thread is stopped for it.
 */
#include "cache/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/single_threaded.h>

#include "cache/account.h"
#include "cache/control.h"
#include "cache/epoch.h"
#include "cache/fill.h"
#include "cache/inherit.h"
#include "cache/leaks.h"
#include "cache/options.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "cache/watch.h"
#include "sys/backend.h"
#include "sys/bump.h"
#include "sys/limits.h"
#include "sys/pass.h"

struct bp_pool bp_default_pool = { .slabs = BP_SLABS_INIT, .heap = { .owner = BP_OWNER_NONE } };

enum {
	RANGE_WISH_SHIFT = 40,    /* 1 TiB of address space, for which nothing is paid but page tables on use */
	WAIT_MS = 200,            /* of other threads during the start */
	WAIT_STEP_MS = 4,         /* what one look at the clock counts for at most */
};

/* Where address space is limited, the pool takes half: the program and jemalloc's own arenas need the other. */
static size_t address_space(void)
{
	size_t wish = (size_t)1 << RANGE_WISH_SHIFT, limit = bp_os_address_limit();
	size_t half = limit / 2 & ~(((size_t)2 << 20) - 1);
	return half < wish ? half : wish;
}

static bool started_alone; /* at the last fork: the process had one thread */
static __thread uint64_t signals_before __attribute__((tls_model("initial-exec")));

/* glibc's fork takes this lock after all handlers, jemalloc's own among them. A thread in fflush(NULL) that has it may wait
 * for a FILE whose owner waits for jemalloc: so it is taken first here. glibc exports both and declares neither. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

/* A handler that forks inside a fork of its own thread would wait for the mutexes that the outer one has taken. */
static void before_fork(void)
{
	signals_before = bp_os_block_signals();
	started_alone = __libc_single_threaded;
	if (!started_alone && _IO_list_lock != NULL)
		_IO_list_lock();
}

static void after_fork(void)
{
	if (!started_alone && _IO_list_unlock != NULL)
		_IO_list_unlock();
	bp_os_set_signals(signals_before);
}

static void forget_level(struct bp_pool *pool, struct bp_level *l)
{
	/* What a bare pool keeps is its user's, who may know it by other ways and release it, marked, in the child: then it must
	 * not be found in a magazine. */
	for (unsigned class = 0; pool->bare != NULL && class < pool->classes; class++)
		bp_stack_forget(&l->classes[class].stack);
	*l = (struct bp_level){ 0 };
}

/* Everything that was cached becomes "set aside"; the caches start empty. */
static void forget_caches(struct bp_pool *pool)
{
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account now;
		bp_account_class(&now, pool, class);
		uint64_t cached = now.cached + now.victim + now.queued;
		atomic_fetch_add_explicit(&pool->counts[class].set_aside, cached, memory_order_relaxed);
		/* acquired = … - set_aside: keep it as it was. */
		atomic_fetch_add_explicit(&pool->counts[class].from_fill, cached, memory_order_relaxed);
	}
	for (unsigned i = 0; i < 3; i++)
		forget_level(pool, &pool->levels[i]);
	forget_level(pool, &pool->over);
	pool->deferred = (struct bp_stack){ 0 };
}

static void start_pool_afresh(struct bp_pool *pool)
{
	atomic_store_explicit(&pool->giving, false, memory_order_relaxed);
	forget_caches(pool);
	bp_inherit(pool);
	bp_account_child(pool);
}

static void start_afresh(struct bp_pool *pool)
{
	uint32_t opening = BP_CACHES_OPENING; /* by a thread that is not here: to be opened again */
	atomic_compare_exchange_strong_explicit(&pool->opened, &opening, BP_CACHES_CLOSED, memory_order_relaxed,
						memory_order_relaxed);
	bp_control_child();
	bp_backend_child();
	bp_range_child();
	bp_fill_child();
	start_pool_afresh(pool);
	bp_pools_child(start_pool_afresh);
}

static bool is_ready(struct bp_pool *pool)
{
	return atomic_load_explicit(&pool->state, memory_order_relaxed) == BP_POOL_READY;
}

static void in_child(void)
{
	/* With one thread there is nobody whose operations could have been cut off, except, in a signal handler, this
	 * thread's own, which it goes on with. */
	bp_leaks_child();
	bp_percpu_child_threads();
	if (!started_alone && is_ready(&bp_default_pool))
		start_afresh(&bp_default_pool);
	if (!started_alone && _IO_list_resetlock != NULL)
		_IO_list_resetlock();
	bp_os_set_signals(signals_before);
}

void bp_pool_expect_forks(void)
{
	static atomic_flag registered = ATOMIC_FLAG_INIT;
	if (atomic_flag_test_and_set_explicit(&registered, memory_order_relaxed))
		return;
	bp_pass_expect_forks();
	pthread_atfork(before_fork, after_fork, in_child);
}

static enum bp_percpu_mode wanted_mode(void)
{
	uint64_t wanted = atomic_load_explicit(&bp_options.percpu, memory_order_relaxed);
	if (bp_os_emulated())
		return wanted == BP_WANT_AUTO ? BP_PERCPU_PASS : BP_PERCPU_FALLBACK;
	return wanted == BP_WANT_FALLBACK ? BP_PERCPU_FALLBACK : BP_PERCPU_RSEQ;
}

static bool starts_passing(void)
{
	return atomic_load_explicit(&bp_options.mode, memory_order_relaxed) == BP_MODE_PASS;
}

static void reserve(void)
{
	bp_range_start(address_space(), atomic_load_explicit(&bp_options.thp, memory_order_relaxed));
}

/* What a pool needs that lets everything pass has no use for: address space, and tables over it. */
static bool open_caches(struct bp_pool *pool)
{
	if (bp_range.reserved == 0)
		reserve();
	return bp_magazines_start(bp_magazines_for(bp_range.reserved)) && bp_percpu_create(&pool->slabs);
}

static bool start(struct bp_pool *pool)
{
	bp_options_start();
	if (&bp_pool_before_start != NULL)
		bp_pool_before_start();
	pool->cap = atomic_load_explicit(&bp_options.cap, memory_order_relaxed);
	pool->classes = bp_class_of(pool->cap) + 1;
	pool->cap = bp_class_size(pool->classes - 1); /* classes are kept or not as a whole */
	if (!starts_passing())
		reserve();
	uint64_t epoch_ms = atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed);
	bp_watch_start();
	if (bp_watch.on)
		pool->heap.owner = 0; /* its own number: releases find it as they find other pools */
	bool usable = bp_backend_start(&pool->heap, (unsigned)epoch_ms);
	enum bp_percpu_mode mode = bp_percpu_start(wanted_mode());
	usable = usable && mode != BP_PERCPU_PASS;
	if (mode == BP_PERCPU_FALLBACK && bp_seats.count > 0)
		bp_range_aside();
	bool some_pass = mode == BP_PERCPU_FALLBACK && !bp_watch.on;
	pool->first_class = some_pass && bp_seats.count == 0 ? bp_class_of(BP_FALLBACK_SIZE) + 1 : 0;
	pool->unseated = some_pass && bp_seats.count > 0 ? BP_FALLBACK_SIZE + 1 : 0;
	atomic_store_explicit(&pool->deadline, bp_os_now_ms() + epoch_ms, memory_order_relaxed);
	bp_pool_expect_forks();
	return usable;
}

static bool opened(struct bp_pool *pool)
{
	uint32_t state = BP_CACHES_CLOSED;
	if (!atomic_compare_exchange_strong_explicit(&pool->opened, &state, BP_CACHES_OPENING, memory_order_acquire,
						     memory_order_acquire))
		return state == BP_CACHES_OPEN;
	if (!open_caches(pool))
		pool->usable = false;
	atomic_store_explicit(&pool->opened, BP_CACHES_OPEN, memory_order_release); /* pairs with the acquire above */
	return true;
}

/* Up to a limit, what does the fine table answer for: requests below the result. */
static size_t below(size_t limit)
{
	size_t small = limit < BP_CLASS_LOOKUP_MAX ? limit : BP_CLASS_LOOKUP_MAX;
	return small == 0 ? 0 : small + 1;
}

void bp_pool_set_mode(struct bp_pool *pool, bool passing)
{
	if (!passing && pool->usable && !opened(pool))
		return; /* another thread is at it, and says the same */
	if (!pool->usable && pool == &bp_default_pool)
		bp_range_stop();
	atomic_store_explicit(&pool->passing, passing || !pool->usable, memory_order_relaxed);
	bool watched = bp_watch.on && pool->bare == NULL;
	bool hits = !passing && pool->usable && !watched;
	/* In the portable mode hits are those on seats; else the limits lead each request to where the mode is looked at. */
	size_t limit = hits && bp_percpu_mode() == BP_PERCPU_RSEQ ? pool->cap : 0;
	size_t seat_limit = hits && bp_seats.count > 0 ? pool->cap : 0;
	atomic_store_explicit(&pool->limit, limit, memory_order_relaxed);
	atomic_store_explicit(&pool->seat_limit, seat_limit, memory_order_relaxed);
	atomic_store_explicit(&pool->seat_small, below(seat_limit), memory_order_relaxed);
	size_t pass = pool->first_class > 0 ? bp_class_size(pool->first_class - 1) + 1 : 0;
	if ((passing || !pool->usable) && !pool->heap.whole)
		pass = SIZE_MAX;
	if (pass > 0) /* first: who meets a block from outside must not take it for a foreign one */
		atomic_store_explicit(&bp_range.incomplete, true, memory_order_release);
	atomic_store_explicit(&pool->pass, watched ? 0 : pass, memory_order_release);
	atomic_store_explicit(&pool->small, below(limit), memory_order_relaxed);
}

int bp_pool_open(struct bp_pool *pool)
{
	pool->classes = bp_class_of(pool->cap) + 1;
	pool->cap = bp_class_size(pool->classes - 1);
	pool->usable = bp_default_pool.usable && bp_range.reserved != 0;
	if (pool->slabs.cpus == 0) {
		pool->slabs = (struct bp_slabs)BP_SLABS_INIT;
		if (pool->usable && !bp_percpu_create(&pool->slabs))
			return -ENOMEM;
	}
	pool->self = pool;
	atomic_store_explicit(&pool->opened, BP_CACHES_OPEN, memory_order_relaxed);
	bp_epoch_restart(pool);
	bp_pool_set_mode(pool, atomic_load_explicit(&bp_default_pool.passing, memory_order_relaxed));
	atomic_store_explicit(&pool->state, BP_POOL_READY, memory_order_release); /* pairs with bp_pools_at */
	return 0;
}

static __thread bool does_not_wait __attribute__((tls_model("initial-exec")));

/* Another thread is at it: a matter of a millisecond. The starter itself (jemalloc calling back, a signal handler) must
 * not wait, nor, more than once, the child of a fork in which there is no starter: they pass through. Where the machine
 * stands still, or others have it, the starter gets on no better than this thread: such time counts little. */
static bool wait_for_start(struct bp_pool *pool)
{
	uint64_t last = bp_os_now_ms(), waited = 0;
	while (!does_not_wait && waited < WAIT_MS) {
		if (atomic_load_explicit(&pool->state, memory_order_acquire) == BP_POOL_READY)
			return true;
		sched_yield();
		uint64_t now = bp_os_now_ms();
		waited += now - last < WAIT_STEP_MS ? now - last : WAIT_STEP_MS;
		last = now;
	}
	does_not_wait = true;
	return false;
}

/* Is this thread the one that starts the pool? false: the state says who is, or that nobody can. */
static bool begins_start(struct bp_pool *pool, uint32_t *state)
{
	return *state == BP_POOL_NEW && pool == &bp_default_pool && !bp_bump_serves() &&
	       atomic_compare_exchange_strong_explicit(&pool->state, state, BP_POOL_STARTING, memory_order_acquire,
						       memory_order_acquire);
}

bool bp_pool_start(struct bp_pool *pool)
{
	uint32_t state = atomic_load_explicit(&pool->state, memory_order_acquire);
	if (bp_likely(state == BP_POOL_READY))
		return true;
	if (!begins_start(pool, &state)) /* another one may have been there first, just now */
		return state == BP_POOL_READY || (state == BP_POOL_STARTING && wait_for_start(pool));
	int saved = errno; /* jemalloc looks for files when it starts */
	does_not_wait = true;
	pool->usable = start(pool);
	bp_pool_set_mode(pool, starts_passing());
	errno = saved;
	atomic_store_explicit(&pool->state, BP_POOL_READY, memory_order_release);
	does_not_wait = false;
	return true;
}
