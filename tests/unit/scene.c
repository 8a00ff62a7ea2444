/* SPDX-License-Identifier: BSD-2-Clause */
#include "scene.h"

#include <string.h>

#include "cache/epoch.h"
#include "cache/release.h"
#include "percpu/stacks.h"
#include "pools.h"
#include "support.h"

enum { BLOCKS_MAX = 12, MAGAZINES = 16, SLOTS = 8 /* of a magazine or a stack, that are ever used here */ };

struct u_scene u_scene;
void *u_held[2], *u_got[2];

static void *blocks[BLOCKS_MAX];
static unsigned block_count;
static void **was_queued;

/* ---- time and place ---- */

static uint64_t looks[3]; /* everybody's own: whether the other one has looked must make no difference */

uint64_t __wrap_bp_os_now_ms(void)
{
	return 1000;
}

uint64_t __wrap_bp_os_now_ns(void)
{
	unsigned who = (unsigned)(u_actor() + 1);
	u_scene.looked |= u_actor() >= 0;
	return (3 * ++looks[who] + who) * u_scene.ns_a_look;
}

unsigned __wrap_bp_os_possible_cpus(void)
{
	return 2;
}

/* Ample, and read without a trace on the reader's stack. */
uint64_t __wrap_bp_os_memory_limit(void)
{
	return (uint64_t)16 << 30;
}

/* No seats but where they are what is tested: both actors are one thread. */
bool u_seats;
bool __real_bp_os_barrier_register(void);

bool __wrap_bp_os_barrier_register(void)
{
	return u_seats && __real_bp_os_barrier_register();
}

unsigned __wrap_bp_os_cpu(void)
{
	return u_scene.two_cpus && u_actor() == 1;
}

/* ---- boundaries ---- */

static unsigned decays;

void __wrap_bp_backend_decay(void)
{
	decays++;
}

/* ---- jemalloc ---- */

/* A call is a step in which nobody else can be inside, but before and after it the caller counts as being there. Of what
 * was given back, the block that was fetched first is the next to come, whatever the order. */
static void *store[BLOCKS_MAX];
static bool is_out[BLOCKS_MAX];
static _Atomic unsigned inside;

static void enter(int kind)
{
	atomic_fetch_add_explicit(&inside, 1, memory_order_relaxed);
	u_access(store, kind, 0);
}

static void leave(void)
{
	atomic_fetch_sub_explicit(&inside, 1, memory_order_relaxed);
}

bool __wrap_bp_backend_entered(void)
{
	return atomic_load_explicit(&inside, memory_order_relaxed) != 0;
}

void *__real_bp_backend_one(unsigned class, bool zero, bool aligned, struct bp_heap *heap);

void *__wrap_bp_backend_one(unsigned class, bool zero, bool aligned, struct bp_heap *heap)
{
	(void)class, (void)zero, (void)aligned, (void)heap;
	int i = 0;
	enter(U_WRITE);
	while (i < BLOCKS_MAX && is_out[i])
		i++;
	u_check(i < BLOCKS_MAX, "jemalloc has no block left");
	is_out[i] = true;
	leave();
	return store[i];
}

bool __wrap_bp_backend_give_back(void *const *some, size_t count, unsigned class, struct bp_heap *heap)
{
	(void)class, (void)heap;
	enter(U_ADD);
	for (size_t given = 0; given < count; given++) {
		int i = 0;
		while (i < BLOCKS_MAX && store[i] != some[given])
			i++;
		u_check(i < BLOCKS_MAX && is_out[i], "jemalloc gets what it has or never had");
		is_out[i] = false;
	}
	leave();
	return true;
}

void __wrap_bp_backend_purge(struct bp_heap *heap)
{
	(void)heap;
}

/* ---- before each ---- */

static struct bp_pool first_pool;
static struct bp_slab first_slabs[2];

static unsigned class(void)
{
	return u_class(U_SIZE);
}

static struct bp_slab *slab(int cpu)
{
	return bp_slab_of(U_POOL->slabs, cpu);
}

static void **stack_of(int cpu)
{
	return (void **)slab(cpu) + bp_bottoms[class()];
}

static void *fresh(void)
{
	void *p = bp_pool_acquire_miss(U_POOL, class(), false);
	u_check(p != NULL && block_count < BLOCKS_MAX, "no block");
	return blocks[block_count++] = p;
}

/* The stacks open, with room for one block each, so that releases overflow; magazines enough; then all empty. */
void u_scene_start(void)
{
	uint32_t some[MAGAZINES];
	u_start("percpu:fallback");
	for (int cpu = 0; cpu < 2; cpu++) {
		bp_os_commit(slab(cpu), BP_SLAB_BYTES);
		atomic_store(&slab(cpu)->cpu.state, BP_CPU_READY);
		bp_percpu_open(U_POOL->slabs, cpu, class(), 1);
	}
	for (int i = 0; i < MAGAZINES; i++)
		some[i] = bp_magazine_new();
	for (int i = MAGAZINES; i-- > 0;)
		bp_magazine_free(some[i]);
	for (int i = 0; i < BLOCKS_MAX; i++)
		store[i] = __real_bp_backend_one(class(), false, false, &U_POOL->heap);
	bp_pool_release_full(U_POOL, fresh(), class() + 1);
	bp_epoch_trim(U_POOL, 0);
	memcpy(&first_pool, U_POOL, sizeof(first_pool));
	for (int cpu = 0; cpu < 2; cpu++)
		memcpy(&first_slabs[cpu], slab(cpu), sizeof(first_slabs[cpu]));
}

/* What a run that was cut short has left. Which magazine and which block a step touches is part of the step. */
static void reset(void)
{
	uint32_t some[MAGAZINES];
	memcpy(U_POOL, &first_pool, sizeof(first_pool));
	for (int cpu = 0; cpu < 2; cpu++) {
		memcpy(slab(cpu), &first_slabs[cpu], sizeof(first_slabs[cpu]));
		memset(stack_of(cpu), 0, SLOTS * sizeof(void *));
	}
	bp_magazines_child(1);
	for (int i = 0; i < MAGAZINES; i++) {
		some[i] = bp_magazine_new();
		memset(bp_magazine_slots(some[i]), 0, SLOTS * sizeof(void *));
	}
	for (int i = MAGAZINES; i-- > 0;)
		bp_magazine_free(some[i]);
	for (int i = 0; i < BLOCKS_MAX; i++)
		*bp_mark_of(store[i]) = 0;
	memset(is_out, 0, sizeof(is_out));
	memset(looks, 0, sizeof(looks));
	atomic_store(&inside, 0);
	block_count = decays = 0;
}

/* As release leaves them: marked. */
static void put(struct bp_level *l, void **some, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
	atomic_fetch_add(&U_POOL->counts[class()].released, count);
	bp_pool_put_blocks(U_POOL, l, class(), some, count);
}

static void put_on_cpu(int cpu, void **some, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
	u_check(bp_percpu_push_batch(U_POOL->slabs, cpu, class(), some, count) == count, "no room on CPU %d", cpu);
}

void u_scene_set(void)
{
	reset();
	uint32_t epoch = bp_pool_epoch(U_POOL);
	struct bp_level *levels[] = { bp_pool_shared(U_POOL, epoch), bp_pool_victim(U_POOL, epoch),
				      bp_pool_queue(U_POOL, epoch), &U_POOL->over };
	for (int who = 0; who < 2; who++) {
		u_got[who] = NULL;
		u_held[who] = u_scene.holds[who] ? fresh() : NULL;
	}
	void **next = blocks + block_count;
	was_queued = next + u_scene.of[U_SHARED] + u_scene.of[U_VICTIM];
	for (unsigned place = 0; place < U_PLACES; place++)
		for (unsigned i = 0; i < u_scene.of[place]; i++)
			fresh();
	for (unsigned place = 0; place < U_PLACES; next += u_scene.of[place++])
		if (place < U_CPU0)
			put(levels[place], next, u_scene.of[place]);
		else
			put_on_cpu((int)(place - U_CPU0), next, u_scene.of[place]);
	atomic_store(&U_POOL->deadline, u_scene.due ? 0 : UINT64_MAX);
	atomic_store(&U_POOL->drained, 0);
	atomic_store(&slab(1)->cpu.epoch, epoch - 2 * u_scene.idle);
}

/* ---- in between ---- */

static uint64_t mix_slots(uint64_t digest, void *const *slots)
{
	for (int i = 0; i < SLOTS; i++)
		digest = u_mix(digest, (uintptr_t)slots[i]);
	return digest;
}

static unsigned copies[BLOCKS_MAX];

static void copied(void *const *slots, uint32_t n)
{
	for (uint32_t at = 0; at < n; at++)
		for (int i = 0; i < BLOCKS_MAX; i++)
			if (store[i] == slots[at])
				u_check(++copies[i] == 1 && is_out[i], "block %d is in a magazine or on a stack, and %s", i,
					is_out[i] ? "there is another" : "with jemalloc");
}

/* The child of a fork at this moment must not find a block that somebody else could have by then: he might know it by other
 * ways, and release it in the child (cache/inherit.h). */
static void check_copy(void)
{
	memset(copies, 0, sizeof(copies));
	for (uint32_t m = 1; m <= MAGAZINES; m++)
		copied(bp_magazine_slots(m), bp_magazine_count(m));
	for (int cpu = 0; cpu < 2; cpu++)
		copied(stack_of(cpu), bp_percpu_count(U_POOL->slabs, cpu, class()));
}

/* Whole rows and stacks: some slots are written before the count or the index says so. */
uint64_t u_scene_state(void)
{
	uint64_t digest = decays;
	check_copy();
	for (uint32_t m = 1; m <= MAGAZINES; m++)
		digest = mix_slots(u_mix(digest, bp_magazine_count(m)), bp_magazine_slots(m));
	for (int cpu = 0; cpu < 2; cpu++)
		digest = mix_slots(digest, stack_of(cpu));
	for (int i = 0; i < BLOCKS_MAX; i++)
		digest = u_mix(u_mix(digest, *bp_mark_of(store[i])), is_out[i]);
	for (int who = 0; who < 2; who++)
		digest = u_mix(u_mix(digest, (uintptr_t)u_got[who]), looks[who + 1]);
	return digest;
}

/* ---- after each ---- */

/* A boundary waits for what is queued: it would become shared again. */
static void check_due(struct bp_level *l, const void *p)
{
	uint32_t epoch = bp_pool_epoch(U_POOL);
	for (unsigned i = 0; i < u_scene.of[U_QUEUE] + u_scene.of[U_OVER]; i++)
		u_check(p != was_queued[i] || l == &U_POOL->over || l == bp_pool_queue(U_POOL, epoch),
			"a block was due and is kept");
}

static unsigned seen[BLOCKS_MAX];

static void found(const void *p, const char *where)
{
	for (unsigned i = 0; i < block_count; i++)
		if (blocks[i] == p)
			u_check(++seen[i] == 1, "block %u is in two places, one is %s", i, where);
}

static unsigned check_level(struct bp_level *l, const char *where)
{
	uint32_t all[MAGAZINES], n = 0, m;
	unsigned there = 0;
	for (; n < MAGAZINES && (m = bp_level_take(l, class())) != 0; all[n++] = m) {
		u_check(bp_magazine_count(m) <= SLOTS, "a magazine of %u", bp_magazine_count(m));
		for (uint32_t i = 0; i < bp_magazine_count(m); i++, there++) {
			found(bp_magazine_slots(m)[i], where);
			check_due(l, bp_magazine_slots(m)[i]);
		}
	}
	u_check(atomic_load(&l->bytes) == 0 && bp_level_is_empty(l), "%s: %ld bytes that are not there", where,
		(long)atomic_load(&l->bytes));
	while (n > 0)
		bp_level_put(l, class(), all[--n]);
	return there;
}

static unsigned check_cpu(int cpu)
{
	void *some[BLOCKS_MAX];
	struct bp_cpu *c = &slab(cpu)->cpu;
	struct bp_limits *limits = &slab(cpu)->limits[class()];
	u_check(c->lock == 0 && c->taken == 0, "CPU %d is locked", cpu);
	u_check(limits->floor != 0 && limits->end != 0, "CPU %d is closed", cpu);
	u_check(c->classes[class()].capacity <= SLOTS, "CPU %d has room for %u", cpu, c->classes[class()].capacity);
	size_t n = bp_percpu_pop_batch(some, BLOCKS_MAX, U_POOL->slabs, cpu, class());
	for (size_t i = 0; i < n; i++)
		found(some[i], "a CPU's stack");
	bp_percpu_push_batch(U_POOL->slabs, cpu, class(), some, n);
	return (unsigned)n;
}

static void check_numbers(unsigned cached, unsigned on_cpus)
{
	struct bp_account a = u_account(U_SIZE);
	unsigned in_use = (u_got[0] != NULL) + (u_got[1] != NULL);
	uint64_t accounted = a.in_use + a.cached + a.victim + a.queued + a.dropped_budget + a.dropped_epoch;
	u_check(a.set_aside == 0, "%zu set aside", (size_t)a.set_aside);
	u_check(a.created == accounted, "%zu created, %zu accounted for", (size_t)a.created, (size_t)accounted);
	u_check(a.in_use == in_use, "%zu in use, not %u", (size_t)a.in_use, in_use);
	u_check(a.cached + a.victim + a.queued == cached + on_cpus, "%u and %u cached", cached, on_cpus);
	int64_t outside = atomic_load(&U_POOL->outside);
	u_check(outside == (int64_t)((in_use + on_cpus) * U_SIZE), "%ld bytes outside", (long)outside);
	/* A boundary may leave the new epoch's peak a moment behind, then the last epoch's is right. */
	int64_t peak = atomic_load(&U_POOL->peak), last = atomic_load(&U_POOL->last_peak);
	u_check((peak > last ? peak : last) >= outside || u_scene.boundaries > 1, "peaks below what is");
	u_check(!atomic_load(&U_POOL->giving), "somebody gives back for ever");
}

void u_scene_release(void *p)
{
	*bp_mark_of(p) = bp_mark_value(p);
	bp_pool_release_full(U_POOL, p, class() + 1);
}

void u_scene_check(void)
{
	memset(seen, 0, sizeof(seen));
	unsigned on_cpus = check_cpu(0) + check_cpu(1);
	unsigned cached = check_level(&U_POOL->levels[0], "level 0") + check_level(&U_POOL->levels[1], "level 1") +
			  check_level(&U_POOL->levels[2], "level 2") + check_level(&U_POOL->over, "over");
	for (int who = 0; who < 2; who++)
		if (u_got[who] != NULL) {
			found(u_got[who], "in use");
			u_check(*bp_mark_of(u_got[who]) == 0, "handed out with its mark");
		}
	u_check(u_got[0] == NULL || u_got[0] != u_got[1], "handed out twice");
	check_numbers(cached, on_cpus);
	uint32_t passed = bp_pool_epoch(U_POOL) - bp_pool_epoch(&first_pool);
	/* jemalloc's turn comes with the giving back: once for each boundary at the most, and never forgotten. */
	u_check(decays <= passed, "%u decays, but %u epochs passed", decays, passed);
	u_check(passed == 0 || decays > 0 || U_POOL->decay_due, "%u epochs passed without a decay", passed);
	u_check(passed <= u_scene.boundaries, "%u boundaries, not %u", passed, u_scene.boundaries);
	for (int who = 0; who < 2; who++)
		if (u_got[who] != NULL)
			u_scene_release(u_got[who]);
	bp_epoch_trim(U_POOL, 0);
	struct bp_account a = u_account(U_SIZE);
	u_check(a.cached + a.victim + a.queued + a.in_use == 0, "something is out of reach");
	u_check(bp_magazines_free() == MAGAZINES, "%u of %u magazines", bp_magazines_free(), MAGAZINES);
	for (int i = 0; i < BLOCKS_MAX; i++)
		u_check(!is_out[i], "jemalloc lacks a block");
}

