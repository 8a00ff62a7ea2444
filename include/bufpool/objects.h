/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: pools of objects. Whatever is dear to make and good to be used again (a parser's context, a connection, a
 * thread with its stack) is constructed once, reset when it is released, and handed out again from the CPU that
 * released it. The engine is the one that serves blocks: the same per-CPU stacks, the same two epochs after which what
 * lies unused is gone.
 *
 *	static void *make(void *ctx)                             { return calloc(1, sizeof(struct request)); }
 *	static bool clean(void *request, void *ctx)              { return request_reset(request); }
 *	static void end(void *request, void *ctx, int reason)    { free(request); }
 *
 *	const struct bufpool_objects_ops ops = { sizeof(ops), make, clean, end };
 *	struct bufpool_objects *requests;
 *	if (bufpool_objects_create(&requests, &ops, NULL) != 0)
 *		…
 *	struct request *r = bufpool_objects_acquire(requests);
 *	…
 *	bufpool_objects_release(requests, r);
 *	bufpool_objects_destroy(requests);
 *
 * The life of an object
 *   - construct makes it, in an acquire that finds nothing cached: on this CPU, in the levels that all CPUs share, and on
 *     other CPUs (which are asked at most every 100 us, because each time costs them an interrupt). Where construct has
 *     failed they are all asked before acquire fails.
 *   - reset is called at each release and says whether the object is worth keeping. It is the place to give back what the
 *     object has grown to (true), or to refuse the whole object because of that (false).
 *   - destruct is called exactly once for each object that construct has made, with the reason. Objects go when nobody
 *     has asked for them for two epochs (option epoch_ms), when more are cached than the budget allows (here an object
 *     counts as 1 KiB, whatever its size), when reset refuses them, and when their pool is destroyed.
 *   - An object is either out, in one caller's hands, or cached, where nobody touches it: its memory is its owner's, and the
 *     library never looks at or writes to it. So a second release of one object, and one of what is no object of
 *     that pool, can't be noticed: that is for the caller to avoid.
 *
 * The three functions are called by the thread that acquires, releases, destroys or calls bufpool_tick, outside any
 * critical section and with no lock held. They may acquire, release, and use every pool, this one included. They must
 * return (no longjmp, no exception). Calls on other pools never run them. A pool that is no longer called keeps what it
 * has until bufpool_tick or the thread of `background:true` comes by; there destruct runs on that thread.
 *
 * Safety
 *   - Thread-safe: acquire on one thread, release on another. No acquire of a cached object and no release waits for
 *     another thread, but for what the three functions do.
 *   - Not async-signal-safe by contract, since the three functions may be called; a handler that interrupts a call on the
 *     same pool and calls in itself does the pool no harm.
 *   - In the child of a fork the pool is at work. Where the parent had one thread, everything is as it was. Where it had
 *     more, what was cached or in other threads' hands is lost to the child: never handed out there, never
 *     destructed (it may be in use in both, as a file descriptor is); a pool that lost some keeps its few hundred bytes
 *     when it is destroyed.
 *   - `mode:pass` and machines without a pool (valgrind): nothing is cached, each release destructs.
 *
 * Under `leaks:true` the leak report names who acquired the objects that are out; `check:strict` drops one release in four
 * at random, so that nobody relies on getting an object back.
 *
 * Costs: a pool that is not used is 128 bytes. The first release that keeps something takes an instance of the engine:
 * 16 KiB with the first CPU that uses it and 8 KiB with each further one, which later pools use again (creating, using once
 * and destroying takes 1 to 2 us). That memory stays for the first eight pools at a time; of more that are used at once it goes
 * back to the kernel with each, which makes that 30 to 70 us. Creating and destroying take no lock.
 *
 * Origins: Get, Put and New are Go's sync.Pool's, as is the victim; constructed state that is kept across uses is
 * Bonwick's (The Slab Allocator, USENIX 1994).
 */
#ifndef BUFPOOL_OBJECTS_H
#define BUFPOOL_OBJECTS_H

#include "bufpool/bufpool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bufpool_objects;

/* Why an object ends. */
enum bufpool_objects_reason {
	BUFPOOL_OBJECTS_UNUSED = 1, /* nobody asked for it for two epochs */
	BUFPOOL_OBJECTS_BUDGET,     /* more are cached than the budget allows, or no memory to keep track of it */
	BUFPOOL_OBJECTS_REFUSED,    /* reset said no */
	BUFPOOL_OBJECTS_PASSED,     /* nothing is cached here: mode:pass, no pool in this process, too many pools; or
	                             * check:strict has drawn it, as it does with one release in four */
	BUFPOOL_OBJECTS_DESTROYED   /* its pool is, or has been, destroyed */
};

/* size is of this structure. construct may not be NULL; reset NULL: always kept as it is; destruct NULL: nothing to do.
 * ctx is what bufpool_objects_create was given. */
struct bufpool_objects_ops {
	size_t size;
	void *(*construct)(void *ctx);                         /* NULL: it failed; errno says why, ENOMEM if left alone */
	bool (*reset)(void *obj, void *ctx);                   /* false: not to be kept. Leaves errno alone */
	void (*destruct)(void *obj, void *ctx, int reason);    /* of enum bufpool_objects_reason */
};

/* A pool of objects; *ops is copied, ctx must live until the last destruct. Errors: -EINVAL for ops that this library
 * doesn't know or without construct, -ENOMEM. O(1), less than 100 ns. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1, 2)
int bufpool_objects_create(struct bufpool_objects **out, const struct bufpool_objects_ops *ops, void *ctx);

/* An object: a cached one, else a new one. NULL with errno where construct failed and nothing is cached. O(1) and some
 * 3 ns where this CPU has one. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) void *bufpool_objects_acquire(struct bufpool_objects *o);

/* The same, without making one: NULL, and errno as it was, where nothing is cached (what another CPU has may be passed
 * over, see above). O(1). */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) void *bufpool_objects_acquire_cached(struct bufpool_objects *o);

/* Takes back an object of this pool; NULL is a no-op. errno is as reset leaves it. May be called while another
 * thread destroys the pool, and after that: the object is destructed then. O(1) and reset. */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_objects_release(struct bufpool_objects *o, void *obj);

/* Ends the pool: cached objects are destructed now, those that are out when they come back; with the last one the pool's
 * memory goes. Nobody may acquire from it any more; releases, also at this very moment, are fine. Where another thread
 * is in a slow call on the pool at this moment (it may be in one of the three functions), this does not wait for it:
 * the cached objects are then destructed by that thread, when its call ends. NULL is a no-op. errno is preserved.
 * O(cached objects and CPUs that used it). */
BUFPOOL_API void bufpool_objects_destroy(struct bufpool_objects *o);

#ifdef __cplusplus
}
#endif

/* Where objects are acquired, for the leak report: see bufpool/sites.h. */
#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
#define bufpool_objects_acquire(...) BUFPOOL_SITE_((bufpool_objects_acquire)(__VA_ARGS__))
#define bufpool_objects_acquire_cached(...) BUFPOOL_SITE_((bufpool_objects_acquire_cached)(__VA_ARGS__))
#endif
#endif
