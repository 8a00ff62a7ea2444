/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Interleavings of two actors on a pool: acquires, releases, polls at the boundary of an epoch, trims, giving back. In the
 * portable mode, whose operations on a CPU's stack are atomic operations like the rest; the two are on one CPU (one was
 * preempted there) or on two. After each schedule every block and every magazine is in one place, the pool's numbers add
 * up, no boundary came twice, and everything can be given back.
 *
 * Clock and CPUs are the test's (the linker's --wrap): time stands still, or each look at it is later than any bound. A
 * scene starts from the pool's state of the first time, copied back; all blocks were given back in between.
 *
 * Each pair in each scene: all schedules where they are MOST at the most, else those with PREEMPTIONS preemptions;
 * UNIT_SCHEDULES=all raises both. It also runs all schedules of the three trims at the end, some 100 000.
 */
#include "schedule.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/release.h"
#include "pools.h"
#include "support.h"

enum {
	MOST = 40, LONG_MOST = 10000,
	PREEMPTIONS = 1, LONG_PREEMPTIONS = 2,
	NS_A_LOOK = 10000000, /* longer than a giving back's bound and the pause between two steals */
};

/* ---- time and place ---- */

static uint64_t now_ns, ns_a_look; /* the second: what each look at the clock takes */
static bool two_cpus;

uint64_t __wrap_bp_os_now_ms(void)
{
	return 1000;
}

uint64_t __wrap_bp_os_now_ns(void)
{
	return now_ns += ns_a_look;
}

unsigned __wrap_bp_os_possible_cpus(void)
{
	return 2;
}

unsigned __wrap_bp_os_cpu(void)
{
	return two_cpus && u_actor() == 1;
}

/* ---- boundaries ---- */

static unsigned boundaries, may_come;

void __real_bp_backend_decay(void);

void __wrap_bp_backend_decay(void)
{
	boundaries++;
	__real_bp_backend_decay();
}

/* ---- scenes ---- */

enum { SHARED, VICTIM, QUEUE, OVER, CPU0, CPU1, PLACES, BLOCKS_MAX = 12, MAGAZINES = 16 };

struct scene {
	unsigned char of[PLACES]; /* blocks, in one magazine each */
	bool idle;                /* CPU 1 has stood still for two epochs */
};

enum { LEVELS, QUEUED, CPUS, OVER_BUDGET, IDLE };
static const struct scene scenes[] = {
	[LEVELS] = { { [SHARED] = 2, [VICTIM] = 1 }, false },
	[QUEUED] = { { [SHARED] = 1, [VICTIM] = 1, [QUEUE] = 1 }, false },
	[CPUS] = { { [SHARED] = 1, [CPU0] = 1, [CPU1] = 1 }, false },
	[OVER_BUDGET] = { { [VICTIM] = 1, [OVER] = 1, [CPU1] = 1 }, false },
	[IDLE] = { { [SHARED] = 1, [CPU0] = 1, [CPU1] = 1 }, true },
};

static const struct scene *scene;
static void *blocks[BLOCKS_MAX];
static unsigned block_count;
static void *held[2], *got[2]; /* to be released, acquired */
static void **was_queued;
static bool due, holds[2];

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

static void *fresh(void)
{
	void *p = bp_pool_acquire_miss(U_POOL, class(), false);
	u_check(p != NULL && block_count < BLOCKS_MAX, "no block");
	return blocks[block_count++] = p;
}

/* The stacks open, with room for one block each, so that releases overflow; magazines enough; then all empty. */
static void start(void)
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
	bp_pool_release_full(U_POOL, fresh(), class() + 1);
	bp_epoch_trim(U_POOL, 0);
	memcpy(&first_pool, U_POOL, sizeof(first_pool));
	for (int cpu = 0; cpu < 2; cpu++)
		memcpy(&first_slabs[cpu], slab(cpu), sizeof(first_slabs[cpu]));
}

/* The free list in its first order: which magazine a step touches is part of the step. */
static void sort_magazines(void)
{
	bool there[MAGAZINES + 1] = { false };
	uint32_t m;
	while (bp_magazines_free() > 0 && (m = bp_magazine_new()) != 0) {
		u_check(m <= MAGAZINES && !there[m], "magazine %u", m);
		there[m] = true;
	}
	for (m = MAGAZINES; m > 0; m--) {
		u_check(there[m], "magazine %u is lost", m);
		bp_magazine_free(m);
	}
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

static void set_scene(void)
{
	memcpy(U_POOL, &first_pool, sizeof(first_pool));
	for (int cpu = 0; cpu < 2; cpu++)
		memcpy(slab(cpu), &first_slabs[cpu], sizeof(first_slabs[cpu]));
	sort_magazines();
	now_ns = 0;
	block_count = boundaries = 0;
	uint32_t epoch = bp_pool_epoch(U_POOL);
	struct bp_level *levels[] = { bp_pool_shared(U_POOL, epoch), bp_pool_victim(U_POOL, epoch),
				      bp_pool_queue(U_POOL, epoch), &U_POOL->over };
	for (int who = 0; who < 2; who++) {
		got[who] = NULL;
		held[who] = holds[who] ? fresh() : NULL;
	}
	void **next = blocks + block_count;
	was_queued = next + scene->of[SHARED] + scene->of[VICTIM];
	for (unsigned place = 0; place < PLACES; place++)
		for (unsigned i = 0; i < scene->of[place]; i++)
			fresh();
	for (unsigned place = 0; place < PLACES; next += scene->of[place++])
		if (place < CPU0)
			put(levels[place], next, scene->of[place]);
		else
			put_on_cpu((int)(place - CPU0), next, scene->of[place]);
	atomic_store(&U_POOL->deadline, due ? 0 : UINT64_MAX);
	atomic_store(&U_POOL->drained, 0);
	atomic_store(&slab(1)->cpu.epoch, epoch - 2 * scene->idle);
}

/* ---- after each ---- */

/* A boundary waits for what is queued: it would become shared again. */
static void check_due(struct bp_level *l, const void *p)
{
	uint32_t epoch = bp_pool_epoch(U_POOL);
	for (unsigned i = 0; i < scene->of[QUEUE] + scene->of[OVER]; i++)
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
	for (; n < MAGAZINES && (m = bp_level_take(l, class())) != 0; all[n++] = m)
		for (uint32_t i = 0; i < bp_magazine_count(m); i++, there++) {
			found(bp_magazine_slots(m)[i], where);
			check_due(l, bp_magazine_slots(m)[i]);
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
	struct bp_head *head = &slab(cpu)->heads[class()];
	u_check(c->lock == 0 && c->taken == 0, "CPU %d is locked", cpu);
	u_check(head->floor != 0 && head->end != 0, "CPU %d is closed", cpu);
	size_t n = bp_percpu_pop_batch(some, BLOCKS_MAX, U_POOL->slabs, cpu, class());
	for (size_t i = 0; i < n; i++)
		found(some[i], "a CPU's stack");
	bp_percpu_push_batch(U_POOL->slabs, cpu, class(), some, n);
	return (unsigned)n;
}

static void check_numbers(unsigned cached, unsigned on_cpus)
{
	struct bp_account a = u_account(U_SIZE);
	unsigned in_use = (got[0] != NULL) + (got[1] != NULL);
	uint64_t accounted = a.in_use + a.cached + a.victim + a.queued + a.dropped_budget + a.dropped_epoch;
	u_check(a.set_aside == 0, "%zu set aside", (size_t)a.set_aside);
	u_check(a.created == accounted, "%zu created, %zu accounted for", (size_t)a.created, (size_t)accounted);
	u_check(a.in_use == in_use, "%zu in use, not %u", (size_t)a.in_use, in_use);
	u_check(a.cached + a.victim + a.queued == cached + on_cpus, "%u and %u cached", cached, on_cpus);
	int64_t outside = atomic_load(&U_POOL->outside);
	u_check(outside == (int64_t)((in_use + on_cpus) * U_SIZE), "%ld bytes outside", (long)outside);
	/* A boundary may leave the new epoch's peak a moment behind, then the last epoch's is right. */
	int64_t peak = atomic_load(&U_POOL->peak), last = atomic_load(&U_POOL->last_peak);
	u_check((peak > last ? peak : last) >= outside || may_come > 1, "peaks below what is");
	u_check(!atomic_load(&U_POOL->giving), "somebody gives back for ever");
}

static void release(void *p)
{
	*bp_mark_of(p) = bp_mark_value(p);
	bp_pool_release_full(U_POOL, p, class() + 1);
}

static void check(void)
{
	memset(seen, 0, sizeof(seen));
	unsigned on_cpus = check_cpu(0) + check_cpu(1);
	unsigned cached = check_level(&U_POOL->levels[0], "level 0") + check_level(&U_POOL->levels[1], "level 1") +
			  check_level(&U_POOL->levels[2], "level 2") + check_level(&U_POOL->over, "over");
	for (int who = 0; who < 2; who++)
		if (got[who] != NULL) {
			found(got[who], "in use");
			u_check(*bp_mark_of(got[who]) == 0, "handed out with its mark");
		}
	u_check(got[0] == NULL || got[0] != got[1], "handed out twice");
	check_numbers(cached, on_cpus);
	uint32_t passed = bp_pool_epoch(U_POOL) - bp_pool_epoch(&first_pool);
	u_check(passed == boundaries, "%u boundaries, but %u epochs passed", boundaries, passed);
	u_check(passed <= may_come, "%u boundaries, not %u", passed, may_come);
	for (int who = 0; who < 2; who++)
		if (got[who] != NULL)
			release(got[who]);
	bp_epoch_trim(U_POOL, 0);
	struct bp_account a = u_account(U_SIZE);
	u_check(a.cached + a.victim + a.queued + a.in_use == 0, "something is out of reach");
	u_check(bp_magazines_free() == MAGAZINES, "%u of %u magazines", bp_magazines_free(), MAGAZINES);
}

/* ---- actors ---- */

static void acquire(void)
{
	got[u_actor()] = bp_pool_acquire_miss(U_POOL, class(), false);
}

static void release_one(void)
{
	release(held[u_actor()]);
}

static void poll(void)
{
	bp_epoch_poll(U_POOL, bp_percpu_enter(U_POOL->slabs, bp_pool_epoch(U_POOL)), class());
}

static void advance(void)
{
	bp_epoch_advance(U_POOL);
}

static void trim(void)
{
	bp_epoch_trim(U_POOL, U_SIZE);
}

static void give_back(void)
{
	bp_giveback_some(U_POOL);
}

enum { ACQUIRE, RELEASE, POLL, ADVANCE, TRIM, GIVE_BACK, ACTORS };
static void (*const actors[ACTORS])(void) = { acquire, release_one, poll, advance, trim, give_back };

static bool runs_all(void)
{
	return getenv("UNIT_SCHEDULES") != NULL;
}

static struct u_plan plan_of(unsigned a, unsigned b)
{
	holds[0] = a == RELEASE;
	holds[1] = b == RELEASE;
	due = a == POLL || b == POLL;
	may_come = due + (a == ADVANCE) + (b == ADVANCE);
	return (struct u_plan){ set_scene, { actors[a], actors[b] }, check };
}

static void explore(unsigned a, unsigned b)
{
	struct u_plan plan = plan_of(a, b);
	u_explore(&plan, runs_all() ? LONG_MOST : MOST);
	if (!u_complete())
		u_explore_bounded(&plan, runs_all() ? LONG_PREEMPTIONS : PREEMPTIONS);
}

static void explore_scene(unsigned which, bool two)
{
	start();
	scene = &scenes[which];
	two_cpus = two;
	for (ns_a_look = 0; ns_a_look <= NS_A_LOOK; ns_a_look += NS_A_LOOK)
		for (unsigned a = 0; a < ACTORS; a++)
			for (unsigned b = a; b < ACTORS; b++)
				explore(a, b);
}

TestSuite(schedules_pool, .timeout = 1100);

#define SCENE(name, which) \
	Test(schedules_pool, name##_on_one_cpu) \
	{ \
		explore_scene(which, false); \
	} \
	Test(schedules_pool, name##_on_two_cpus) \
	{ \
		explore_scene(which, true); \
	}

SCENE(full_levels, LEVELS)
SCENE(a_queue_from_before, QUEUED)
SCENE(blocks_on_cpus, CPUS)
SCENE(blocks_over_the_budget, OVER_BUDGET)
SCENE(an_idle_cpu, IDLE)

static void explore_trim(unsigned which, unsigned other, unsigned least)
{
	start();
	scene = &scenes[which];
	struct u_plan plan = plan_of(TRIM, other);
	if (runs_all())
		cr_assert_geq(u_explore(&plan, 0), least);
	else
		cr_assert_geq(u_explore_bounded(&plan, PREEMPTIONS), 10);
}

Test(schedules_pool, a_trim_against_acquires)
{
	explore_trim(LEVELS, ACQUIRE, 10000);
}

Test(schedules_pool, a_trim_against_a_boundary)
{
	explore_trim(QUEUED, POLL, 10000);
}

Test(schedules_pool, a_trim_against_giving_back)
{
	explore_trim(QUEUED, GIVE_BACK, 10000);
}
