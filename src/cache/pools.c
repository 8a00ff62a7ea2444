/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See pools.h. Numbers are bits in one table, taken from the lowest up, so that few arenas and slabs serve many pools that
 * live one after the other.
 *
 * A pool's end, and who else may be at it: `state` leaves READY first; visits that began before are counted in `visitors`
 * and are waited for, those that begin later see the state. Both sides are sequentially consistent: either the visitor sees
 * that the pool ends, or the one who ends it sees the visitor.
 */
#include "cache/pools.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "cache/account.h"
#include "cache/epoch.h"
#include "cache/inherit.h"
#include "cache/leaks.h"
#include "cache/leaks_report.h"
#include "cache/misuse.h"
#include "cache/options.h"
#include "cache/watch.h"
#include "sys/text.h"

enum {
	WORDS = BP_POOLS / 64,
	WARM = 8,          /* numbers whose memory stays for the next pool of that number */
	START_TRIES = 1000 /* ms */
};

_Atomic(struct bp_pool *) bp_pools_chunks[BP_POOLS / BP_POOLS_CHUNK] BP_HIDDEN;
static _Atomic uint64_t taken[WORDS] = { 1 }; /* 0 is the default pool's */
static _Atomic int top;                       /* numbers up to here have been used */
static _Atomic uint64_t visited;              /* ms: when bp_pools_poll last went round */
/* Not in the pool, which is cleared: a visitor may come just after its end, see that, and leave just after it was cleared. */
static _Atomic uint32_t visitors[BP_POOLS];
uint32_t bp_pools_forks BP_HIDDEN;

/* What stays with a number while it is nobody's: apart from the pool, whose pages the kernel gets back meanwhile. */
BP_REMOTE struct bp_pools_kept {
	struct bp_slabs slabs;
	unsigned arena;
} bp_pools_kept[BP_POOLS];

/* ---- numbers and their memory ---- */

static int take_number(int from, int to)
{
	for (int word = from / 64; word < to / 64; word++) {
		uint64_t bits = atomic_load_explicit(&taken[word], memory_order_relaxed);
		while (bits != UINT64_MAX) {
			int bit = __builtin_ctzll(~bits);
			/* Acquire: what the number's last pool left behind is to be seen. */
			if (atomic_compare_exchange_weak_explicit(&taken[word], &bits, bits | (uint64_t)1 << bit,
								  memory_order_acquire, memory_order_relaxed))
				return word * 64 + bit;
		}
	}
	return -1;
}

static void put_number(int id)
{
	atomic_fetch_and_explicit(&taken[id / 64], ~((uint64_t)1 << id % 64), memory_order_release);
}

static struct bp_pool *memory_of(int id)
{
	_Atomic(struct bp_pool *) *place = &bp_pools_chunks[id / BP_POOLS_CHUNK];
	struct bp_pool *chunk = atomic_load_explicit(place, memory_order_acquire);
	size_t bytes = (size_t)BP_POOL_STRIDE * BP_POOLS_CHUNK;
	if (chunk == NULL) {
		struct bp_pool *fresh = bp_os_reserve(bytes, BP_PAGE);
		if (fresh == NULL || !bp_os_commit(fresh, bytes)) {
			if (fresh != NULL)
				bp_os_unmap(fresh, bytes);
			return NULL;
		}
		if (atomic_compare_exchange_strong_explicit(place, &chunk, fresh, memory_order_acq_rel, memory_order_acquire))
			chunk = fresh;
		else
			bp_os_unmap(fresh, bytes);
	}
	int highest = atomic_load_explicit(&top, memory_order_relaxed);
	while (id > highest && !atomic_compare_exchange_weak_explicit(&top, &highest, id, memory_order_relaxed,
								      memory_order_relaxed))
		;
	return (struct bp_pool *)((char *)chunk + (size_t)(id % BP_POOLS_CHUNK) * BP_POOL_STRIDE);
}

struct bp_pool *bp_pools_owner(const void *p)
{
	int owner;
	if (bp_range_start_of(p) == 0)
		return NULL;
	bp_range_start_aside(&owner, p);
	return owner == BP_OWNER_NONE || owner == 0 ? &bp_default_pool : bp_pools_at(owner);
}

static void keep(struct bp_pool *pool)
{
	bp_pools_kept[pool->id] = (struct bp_pools_kept){ pool->slabs, pool->heap.arena };
}

/* ---- creation ---- */

bool bp_pools_start(void)
{
	for (int tries = 0; tries < START_TRIES; tries++) {
		if (bp_pool_start(&bp_default_pool))
			return true;
		usleep(1000);
	}
	return false;
}

static int create(struct bp_pool **out, int from, int to, int (*set_up)(struct bp_pool *pool, const void *rules),
		  const void *rules)
{
	if (!bp_pools_start())
		return -ENOMEM;
	int id = take_number(from, to);
	if (id < 0)
		return -EMFILE;
	struct bp_pool *pool = memory_of(id);
	int failed = pool == NULL ? -ENOMEM : 0;
	if (pool != NULL) {
		pool->id = id;
		pool->slabs = bp_pools_kept[id].slabs;
		pool->heap.arena = bp_pools_kept[id].arena;
		failed = set_up(pool, rules);
		if (failed == 0)
			failed = bp_pool_open(pool);
	}
	if (failed == 0) {
		*out = pool;
		return 0;
	}
	if (pool != NULL)
		keep(pool);
	put_number(id);
	return failed;
}

static int set_up_named(struct bp_pool *pool, const void *argument)
{
	const struct bp_pool_rules *rules = argument;
	struct bp_text t = { .data = pool->name, .size = sizeof(pool->name) };
	bp_text_add(&t, rules->name == NULL ? "" : rules->name);
	pool->cap = rules->cap == 0 ? bp_default_pool.cap : rules->cap;
	pool->budget = rules->budget;
	pool->wipes = rules->wipes;
	/* Without a range nobody could tell whose a block is: this pool's then pass through, and are their owners' to release. */
	if (bp_range.reserved == 0 || !bp_default_pool.usable)
		return rules->wipes ? -ENOTSUP : 0;
	return bp_backend_heap_create(&pool->heap, pool->id) ? 0 : bp_backend_busy() ? -ENOMEM : -EMFILE;
}

int bp_pools_create(struct bp_pool **out, const struct bp_pool_rules *rules)
{
	return create(out, 0, BP_POOLS_NAMED, set_up_named, rules);
}

struct bare_rules {
	unsigned classes;
	const struct bp_bare *bare;
	void *owner;
};

static int set_up_bare(struct bp_pool *pool, const void *argument)
{
	const struct bare_rules *rules = argument;
	pool->bare = rules->bare;
	pool->owner = rules->owner;
	pool->cap = bp_class_size(rules->classes - 1);
	return 0;
}

int bp_pools_create_bare(struct bp_pool **out, unsigned classes, const struct bp_bare *bare, void *owner)
{
	struct bare_rules rules = { classes, bare, owner };
	return create(out, BP_POOLS_NAMED, BP_POOLS, set_up_bare, &rules);
}

/* ---- the end ---- */

static void say_what_is_out(struct bp_pool *pool)
{
	struct bp_account all;
	struct bp_account_bytes bytes;
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);
	if (pool->bare != NULL)
		return; /* what is out is its owner's */
	bp_account_all(&all, &bytes, pool);
	uint64_t large = atomic_load_explicit(&pool->large_acquired, memory_order_relaxed) -
			 atomic_load_explicit(&pool->large_released, memory_order_relaxed);
	int64_t large_bytes = atomic_load_explicit(&pool->large_bytes, memory_order_relaxed);
	if (all.in_use + large == 0)
		return;
	bp_text_add(&t, "bufpool: pool ");
	bp_text_add(&t, pool->name[0] == '\0' ? "(no name)" : pool->name);
	bp_text_add(&t, ": destroyed with ");
	bp_text_number(&t, all.in_use + large);
	bp_text_add(&t, all.in_use + large == 1 ? " block out (" : " blocks out (");
	bp_text_number(&t, bytes.in_use + (uint64_t)(large_bytes > 0 ? large_bytes : 0));
	bp_text_add(&t, " bytes)\n");
	bp_os_write(STDERR_FILENO, line, t.length);
	if (bp_watch.leaks)
		bp_leaks_say(pool);
}

static void empty_level(struct bp_level *l)
{
	uint32_t magazine;
	for (unsigned class = 0; !bp_level_is_empty(l) && class < BP_CLASS_COUNT; class++)
		while ((magazine = bp_level_take(l, class)) != 0) {
			bp_magazine_set_count(magazine, 0);
			bp_magazine_free(magazine);
		}
}

static void empty_levels(struct bp_pool *pool)
{
	uint32_t magazine;
	for (unsigned i = 0; i < 3; i++)
		empty_level(&pool->levels[i]);
	empty_level(&pool->over);
	while ((magazine = bp_stack_pop(&pool->deferred)) != 0) {
		bp_magazine_set_count(magazine, 0);
		bp_magazine_free(magazine);
	}
}

/* The state by itself: visitors may be looking at it. */
static void clear(struct bp_pool *pool)
{
	size_t state = offsetof(struct bp_pool, state), behind = state + sizeof(pool->state);
	memset(pool, 0, state);
	memset((char *)pool + behind, 0, sizeof(*pool) - behind);
	atomic_store_explicit(&pool->state, BP_POOL_NEW, memory_order_relaxed);
}

/* Zeroes are a pool that never was. */
static void forget(struct bp_pool *pool)
{
	struct bp_slabs slabs = pool->slabs;
	bool warm = pool->id < WARM || (pool->id >= BP_POOLS_NAMED && pool->id < BP_POOLS_NAMED + WARM);
	pool->self = NULL;
	for (unsigned i = 0; i < pool->inherited.slab_count; i++)
		for (unsigned cpu = 0; cpu < slabs.cpus; cpu++)
			bp_os_purge(bp_slab_of(pool->inherited.slabs[i], (int)cpu), BP_SLAB_BYTES);
	bp_percpu_reset(slabs, !warm);
	keep(pool);
	if (warm || !bp_os_purge(pool, BP_POOL_STRIDE))
		clear(pool);
}

void bp_pools_destroy(struct bp_pool *pool)
{
	uint32_t state = BP_POOL_READY;
	if (!atomic_compare_exchange_strong(&pool->state, &state, BP_POOL_ENDING))
		return; /* another thread is at it, which is misuse that can't always be seen */
	while (atomic_load(&visitors[pool->id]) != 0)
		sched_yield();
	/* In a child of fork, what it inherited is told by the page table whose it is: before the pages have other owners. */
	while (bp_inherit_is_left(&bp_default_pool))
		if (!bp_inherit_step(&bp_default_pool))
			sched_yield();
	int id = pool->id;
	say_what_is_out(pool);
	if (bp_watch.leaks)
		bp_leaks_forget_pool(pool);
	empty_levels(pool);
	if (pool->heap.whole)
		bp_backend_heap_drop(&pool->heap);
	forget(pool);
	put_number(id);
}

/* ---- visits ---- */

/* A visit that began before a fork does not count in the child, if it is this thread's, above whose signal handler that was. */
static void leave(int id)
{
	uint32_t now = atomic_load(&visitors[id]);
	while (now != 0 && !atomic_compare_exchange_weak(&visitors[id], &now, now - 1))
		;
}

/* The first pool of a number from *id on, as a visitor; *id is then the number behind it. NULL: there are no more. */
static struct bp_pool *next(int *id, bool bare)
{
	int last = atomic_load_explicit(&top, memory_order_relaxed);
	last = bare || last < BP_POOLS_NAMED ? last : BP_POOLS_NAMED - 1;
	for (int at = *id; at <= last; at++) {
		if (atomic_load_explicit(&taken[at / 64], memory_order_relaxed) == 0) {
			at |= 63;
			continue;
		}
		struct bp_pool *pool = bp_pools_at(at);
		if (pool == NULL)
			continue;
		*id = at + 1;
		atomic_fetch_add(&visitors[at], 1);
		if (atomic_load(&pool->state) == BP_POOL_READY)
			return pool;
		leave(at);
	}
	return NULL;
}

void bp_pools_visit(bp_pools_visit_fn *visit, void *ctx, bool bare)
{
	struct bp_pool *pool;
	for (int id = 1; (pool = next(&id, bare)) != NULL; leave(pool->id))
		visit(pool, ctx);
}

static void poll(struct bp_pool *pool, void *from)
{
	if (pool != from)
		bp_epoch_poll(pool, bp_percpu_enter(pool->slabs, bp_pool_epoch(pool)), 0);
}

void bp_pools_poll(struct bp_pool *from, uint64_t now_ms, uint64_t epoch_ms)
{
	uint64_t last = atomic_load_explicit(&visited, memory_order_relaxed);
	if (atomic_load_explicit(&top, memory_order_relaxed) == 0 || now_ms - last < epoch_ms ||
	    !atomic_compare_exchange_strong_explicit(&visited, &last, now_ms, memory_order_relaxed, memory_order_relaxed))
		return;
	if (from != &bp_default_pool)
		poll(&bp_default_pool, from);
	bp_pools_visit(poll, from, false);
}

static int sooner(int a, int b)
{
	return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* Its owner's functions are called in here, and may take their time: who ends the pool meanwhile does not wait, but leaves
 * that to its last holder. */
static int tick_bare(struct bp_pool *pool)
{
	const struct bp_bare *bare = pool->bare;
	uint32_t visit;
	bool held = bare->hold(pool, &visit);
	leave(pool->id);
	if (!held)
		return -1;
	int ms = bp_epoch_tick(pool);
	bare->let_go(pool, visit);
	return ms;
}

int bp_pools_tick(int ms)
{
	struct bp_pool *pool;
	for (int id = 1; (pool = next(&id, true)) != NULL;) {
		if (pool->bare != NULL) {
			ms = sooner(ms, tick_bare(pool));
			continue;
		}
		ms = sooner(ms, bp_epoch_tick(pool));
		leave(pool->id);
	}
	return ms;
}

struct trim {
	struct bp_pool *from;
	size_t bytes;
};

static void trim(struct bp_pool *pool, void *ctx)
{
	struct trim *t = ctx;
	if (pool != t->from)
		t->bytes += bp_epoch_trim(pool, 0);
}

size_t bp_pools_trim(struct bp_pool *from)
{
	struct trim t = { from, 0 };
	if (from != &bp_default_pool)
		trim(&bp_default_pool, &t);
	bp_pools_visit(trim, &t, false);
	return t.bytes;
}

static void set_mode(struct bp_pool *pool, void *passing)
{
	bp_pool_set_mode(pool, *(bool *)passing);
}

void bp_pools_set_mode(bool passing)
{
	bp_pools_visit(set_mode, &passing, false);
}

/* Nobody else is there. Pools that were just coming or going stay as they are: their numbers are lost to the child. */
void bp_pools_child(void (*start_afresh)(struct bp_pool *pool))
{
	bp_pools_forks++;
	for (int id = 1; id <= atomic_load_explicit(&top, memory_order_relaxed); id++) {
		struct bp_pool *pool = bp_pools_at(id);
		atomic_store_explicit(&visitors[id], 0, memory_order_relaxed);
		if (pool != NULL)
			start_afresh(pool);
	}
}
