/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The engine: a pool is an instance of per-CPU stacks, three levels and their epochs. The process's default pool is the
 * first one; named pools and object pools are more instances of the same code (pools.h).
 *
 * A block's way: acquire takes it from this CPU's stack (a hit: this header, inline); else from the shared level, the
 * victim, another CPU (large classes), jemalloc, in this order (acquire.c). Release puts it on this CPU's stack; a full
 * stack sends half of it to the shared level as a magazine (release.c). At an epoch's boundary shared becomes victim and
 * victim becomes queue; every CPU retires its own stacks to the victim at its next slow path, and CPUs that stood still
 * are drained (epoch.c). What is queued is given back in bounded steps (giveback.c).
 *
 * Invariants
 *   - A cached block carries its mark, one that is out does not (marks: sys/range.h; misuse: misuse.h).
 *   - created = in use + on CPUs + in levels + set aside + dropped, for each class, at rest. The counters on the left and
 *     on the right are kept apart, so that a block lost or doubled shows (account.c).
 *   - No hit, no push on a full stack, no shared or victim operation waits. What enters jemalloc may: a miss that gets
 *     there, and the thread, one at a time, whose slow path gives back what is due.
 *
 * Read next: policy.h, acquire.c, fill.c, release.c, epoch.c, giveback.c, account.c.
 */
#ifndef BP_CACHE_POOL_H
#define BP_CACHE_POOL_H

#include "cache/level.h"
#include "cache/sizing.h"
#include "percpu/percpu.h"
#include "percpu/seats.h"
#include "sys/backend.h"
#include "sys/range.h"

enum { BP_POOL_NEW, BP_POOL_STARTING, BP_POOL_READY, BP_POOL_ENDING };
enum { BP_CACHES_CLOSED, BP_CACHES_OPENING, BP_CACHES_OPEN };

/* What the slow path counts for a class. Blocks. */
struct bp_counts {
	_Atomic uint64_t pops_folded;  /* hits that ended counts of pops have seen */
	_Atomic uint64_t from_shared, from_victim, from_steal, from_fill; /* acquires that came from there */
	_Atomic uint64_t released;     /* releases that did not end as a push on a CPU's stack */
	_Atomic uint64_t cpu_in, cpu_out; /* moved to and from the CPUs' stacks in batches */
	_Atomic uint64_t created, dropped_budget, dropped_epoch, set_aside;
	_Atomic uint32_t fill;         /* blocks that the last fill asked for */
	_Atomic uint32_t prefilled;    /* blocks that epochs leave cached */
} __attribute__((aligned(BP_LINE)));

/* In the child of a threaded fork: copies of caches that are still to be gone through (inherit.h). */
enum { BP_INHERITED_SLABS = 4 }; /* generations that fork before they have */
struct bp_inherited {
	struct bp_slabs slabs[BP_INHERITED_SLABS];
	unsigned slab_count, cpu;      /* the last one is gone through first, from this CPU on */
	uint32_t row, rows;            /* magazines: from the one to below the other */
	uint32_t epoch;                /* at the fork */
	_Atomic bool left;
	atomic_flag stepping;
};

struct bp_pool;

/* The owner of a bare pool: what is cached there is the owner's and bears no mark. */
enum bp_why { BP_WHY_EPOCH, BP_WHY_BUDGET };
struct bp_bare {
	/* Takes back what is no longer kept. Nobody waits for it, no lock is held, and it may use every pool. */
	void (*drop)(struct bp_pool *pool, void *const *items, size_t count, enum bp_why why);
	/* Before somebody else's tick on the pool, and after it: it does not end meanwhile. false: it is ending. */
	bool (*hold)(struct bp_pool *pool, uint32_t *visit);
	void (*let_go)(struct bp_pool *pool, uint32_t visit);
};

enum { BP_POOL_NAME = 32 };

struct bp_pool {
	/* Read on every hit, written at start. */
	struct bp_slabs slabs;
	_Atomic size_t limit;          /* requests up to here go to the CPUs' stacks; 0 before the start and in pass mode */
	_Atomic size_t small;          /* the same for what the fine table of classes answers for: requests below it */
	_Atomic size_t pass;           /* requests below pass through: in the portable mode the small ones, in pass
	                                * mode all; 0 where not even those of no bytes do, so before the start */

	_Atomic size_t seat_small;     /* requests below it are hits on the thread's seat in the portable mode, */
	_Atomic size_t seat_limit;     /* and all up to here */

	const struct bp_pool *self;    /* of a live pool other than the default one: this */

	/* Configuration. */
	size_t cap;                    /* inclusive; the class of the cap is the last one that is kept */
	unsigned classes;              /* classes up to the cap */
	unsigned first_class;          /* classes below it pass through */
	size_t unseated;               /* where there are seats, requests below it do for threads without one */
	_Atomic uint32_t state;        /* BP_POOL_… */
	int id;                        /* its number there; the default pool's is 0 */
	_Atomic bool passing;          /* everything passes through */
	_Atomic uint64_t memory_limit; /* bytes that the process may hope for: the default pool's; 0: not read yet */
	bool usable;                   /* what the pool needs could be had, or was not asked for yet */
	_Atomic uint32_t opened;       /* BP_CACHES_…: asked for at start, or when a pool that passed no longer does */
	uint64_t budget;               /* bytes that may be cached; 0: as the option says */
	bool wipes;                    /* blocks are cleared at release */
	const struct bp_bare *bare;    /* NULL: the blocks are jemalloc's */
	void *owner;                   /* of a bare pool: whose it is */
	char name[BP_POOL_NAME];       /* empty: the default pool */
	struct bp_heap heap;
	struct bp_sizing sizing;       /* what its buffers have taught it */

	/* Time. */
	_Atomic uint32_t epoch __attribute__((aligned(BP_LINE)));
	_Atomic uint64_t deadline;     /* ms at which the epoch ends */
	_Atomic uint32_t drained;      /* CPUs that have been looked at since the boundary */
	_Atomic uint64_t last_steal;   /* ns */
	_Atomic uint64_t last_giveback; /* ns */

	/* Bytes in use or on CPUs' stacks, and their peaks in this epoch and the last. */
	_Atomic int64_t outside __attribute__((aligned(BP_LINE)));
	_Atomic int64_t peak, last_peak;
	_Atomic bool decay_due;        /* the epoch has ended for jemalloc's own arenas as well */
	_Atomic bool giving;           /* somebody gives back: the others have no need to wait for jemalloc with it */
	_Atomic uint64_t purge_debt;   /* bytes given back to jemalloc and not yet to the kernel */
	_Atomic uint64_t prefilled_bytes;

	struct bp_level levels[3];     /* by epoch % 3: shared, next: queue, last: victim */
	struct bp_level over;          /* queued because of the budget */
	struct bp_stack deferred;      /* large blocks whose release came from a signal handler inside jemalloc */
	struct bp_counts counts[BP_CLASS_COUNT];

	struct bp_inherited inherited;

	/* Blocks that are never kept, and calls that passed. */
	_Atomic uint64_t large_acquired __attribute__((aligned(BP_LINE)));
	_Atomic uint64_t large_released;
	_Atomic int64_t large_bytes;
	_Atomic int64_t large_peak;    /* the most of them since their pages were last given to the kernel */
	_Atomic uint64_t passed __attribute__((aligned(BP_LINE)));
	_Atomic uint64_t misuse;
};

extern struct bp_pool bp_default_pool __attribute__((visibility("hidden"), aligned(BP_LINE)));

/* What only the shim has: something to do before jemalloc's first call, and leniency in misuse.c. NULL elsewhere. */
extern void (*const bp_pool_before_start)(void) __attribute__((weak, visibility("hidden")));

/* ---- roles ---- */

static inline uint32_t bp_pool_epoch(struct bp_pool *pool)
{
	return atomic_load_explicit(&pool->epoch, memory_order_relaxed);
}

static inline struct bp_level *bp_pool_shared(struct bp_pool *pool, uint32_t epoch)
{
	return &pool->levels[epoch % 3];
}

static inline struct bp_level *bp_pool_queue(struct bp_pool *pool, uint32_t epoch)
{
	return &pool->levels[(epoch + 1) % 3];
}

static inline struct bp_level *bp_pool_victim(struct bp_pool *pool, uint32_t epoch)
{
	return &pool->levels[(epoch + 2) % 3];
}

/* ---- slow paths ---- */

#define BP_SLOW __attribute__((visibility("hidden"), noinline, cold))
/* Slow beside a hit, but the usual way of what passes through. */
#define BP_ASIDE __attribute__((visibility("hidden"), noinline))

/* Starts the pool if nobody has. false: it is being started now, or can't be; the caller passes through. */
bool bp_pool_start(struct bp_pool *pool) BP_SLOW;

/* Takes the place of its handlers at a fork; the start does so at the latest. Prepare handlers that come later run before
 * them, and may allocate. */
void bp_pool_expect_forks(void) BP_SLOW;

/* Opens an instance whose rules are set; the default pool runs. 0, -ENOMEM. */
int bp_pool_open(struct bp_pool *pool) BP_SLOW;

/* Everything to jemalloc from now on, or no longer. Blocks that are out come back the way their address says. */
void bp_pool_set_mode(struct bp_pool *pool, bool passing) BP_SLOW;

/* A request that the CPUs' stacks can't have: over the limit, before the start, or passing. */
void *bp_pool_acquire_other(struct bp_pool *pool, size_t n, bool zero) BP_ASIDE;
/* A miss. zero: fresh large blocks are asked for as zeroes, the others are cleared. */
void *bp_pool_acquire_miss(struct bp_pool *pool, unsigned class, bool zero) BP_SLOW;
/* What the stack gave lacks the mark: it is bp_percpu_nothing, or a block that was written to. */
void *bp_pool_acquire_unmarked(struct bp_pool *pool, unsigned class, void *p, bool zero) BP_SLOW;

/* The thread's seat has nothing, or the thread has no seat. */
void *bp_pool_acquire_unseated(struct bp_pool *pool, unsigned class, size_t n, bool zero) BP_ASIDE;

/* Straight to jemalloc, aligned to a power of two. */
void *bp_pool_pass_aligned(struct bp_pool *pool, size_t alignment, size_t n, bool zero) BP_SLOW;

/* p is not in the range (or NULL). */
void bp_pool_release_outside(struct bp_pool *pool, void *p) BP_ASIDE;
/* p is in the range, and no block of the default pool starts there: another pool's, or none. */
void bp_pool_release_elsewhere(struct bp_pool *pool, void *p) BP_ASIDE;
/* p is in the range, and no block starts there. */
void bp_pool_release_invalid(struct bp_pool *pool, void *p) BP_SLOW;
/* p bears the mark of a released block. */
void bp_pool_release_twice(struct bp_pool *pool, void *p, unsigned tag) BP_SLOW;
/* This CPU's stack is full, closed or out of reach; or the block is not to be kept. */
void bp_pool_release_full(struct bp_pool *pool, void *p, unsigned tag) BP_ASIDE;

/* ---- the hit path ---- */

static inline __attribute__((always_inline)) bool bp_pool_unmark(void *p)
{
	uintptr_t *mark = bp_mark_of(p);
	if (bp_unlikely(*mark != bp_mark_value(p)))
		return false;
	*mark = 0;
	return true;
}

/* A block of that class. zero is a constant at every call; n bytes are cleared then. */
static inline __attribute__((always_inline)) void *bp_pool_acquire_class(struct bp_pool *pool, unsigned class, size_t n,
									 bool zero)
{
	/* Never NULL: "nothing" is bp_percpu_nothing, which has no mark, so that one test finds both cases. */
	void *p = bp_rseq_pop(pool->slabs.base, class);
	if (bp_unlikely(!bp_pool_unmark(p)))
		return bp_pool_acquire_unmarked(pool, class, p, zero);
	if (zero)
		__builtin_memset(p, 0, n);
	return p;
}

/* The same in the portable mode: behind the compares that hits of the other one make, so that those don't notice. */
static inline __attribute__((always_inline)) void *bp_pool_acquire_seated(struct bp_pool *pool, unsigned class, size_t n,
									  bool zero)
{
	void *p;
	if (BP_SEAT_NEVER(!bp_seat_pop(&p, pool->slabs.base, class)))
		return bp_pool_acquire_unseated(pool, class, n, zero);
	if (bp_unlikely(!bp_pool_unmark(p)))
		return bp_pool_acquire_unmarked(pool, class, p, zero);
	return zero ? __builtin_memset(p, 0, n) : p;
}

static inline __attribute__((always_inline)) void *bp_pool_acquire(struct bp_pool *pool, size_t n, bool zero)
{
	if (bp_likely(n < atomic_load_explicit(&pool->small, memory_order_relaxed)))
		return bp_pool_acquire_class(pool, bp_class_fine(n), n, zero);
	/* A small one gets here as well, where the mode changed just now: the second table has nothing for it. */
	if (bp_likely(n > BP_CLASS_LOOKUP_MAX && n <= atomic_load_explicit(&pool->limit, memory_order_relaxed)))
		return bp_pool_acquire_class(pool, bp_class_coarse(n), n, zero);
	if (bp_likely(n < atomic_load_explicit(&pool->seat_small, memory_order_relaxed)))
		return bp_pool_acquire_seated(pool, bp_class_fine(n), n, zero);
	return bp_pool_acquire_other(pool, n, zero);
}

/* Marks p, a block of that tag that is out, and puts it on the stack of this CPU, or of this thread's seat. */
static inline __attribute__((always_inline)) void bp_pool_release_marked(struct bp_pool *pool, void *p, unsigned tag,
									 bool seated)
{
	uintptr_t *mark = bp_mark_of(p);
	if (bp_unlikely(*mark == bp_mark_value(p))) {
		bp_pool_release_twice(pool, p, tag);
		return;
	}
	*mark = bp_mark_value(p);
	if (seated ? BP_SEAT_NEVER(!bp_seat_push(pool->slabs.base, tag - 1, p)) :
		     bp_unlikely(!bp_rseq_push(pool->slabs.base, tag - 1, p)))
		bp_pool_release_full(pool, p, tag);
}

/* p is in the range. */
static inline __attribute__((always_inline)) void bp_pool_release_within(struct bp_pool *pool, void *p, bool seated)
{
	unsigned tag;
	if (bp_unlikely(!bp_range_starts(&tag, p)))
		bp_pool_release_elsewhere(pool, p);
	else
		bp_pool_release_marked(pool, p, tag, seated);
}

/* What the range does not serve is from outside, or this is the portable mode with seats. */
static inline __attribute__((always_inline)) void bp_pool_release(struct bp_pool *pool, void *p)
{
	if (bp_likely(bp_range_serves(p)))
		bp_pool_release_within(pool, p, false);
	else if (bp_likely(bp_range_has(p)))
		bp_pool_release_within(pool, p, true);
	else
		bp_pool_release_outside(pool, p);
}

/* The caller says of which class it is. false: it is not, and nothing was done. */
static inline __attribute__((always_inline)) bool bp_pool_release_class(struct bp_pool *pool, void *p, unsigned class)
{
	if (bp_unlikely(!bp_range_has(p)) || bp_unlikely(!bp_range_starts_as(class + 1, p)))
		return false;
	bp_pool_release_marked(pool, p, class + 1, false);
	return true;
}

/* The same by its size; false also where that is over the limit. */
static inline __attribute__((always_inline)) bool bp_pool_release_sized(struct bp_pool *pool, void *p, size_t n)
{
	if (bp_likely(n < atomic_load_explicit(&pool->small, memory_order_relaxed)))
		return bp_pool_release_class(pool, p, bp_class_fine(n));
	if (n > BP_CLASS_LOOKUP_MAX && n <= atomic_load_explicit(&pool->limit, memory_order_relaxed))
		return bp_pool_release_class(pool, p, bp_class_coarse(n));
	return n < atomic_load_explicit(&pool->seat_small, memory_order_relaxed) &&
	       bp_pool_release_class(pool, p, bp_class_fine(n));
}

#endif
