/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Interleavings of two actors on a pool: acquires, releases, polls at the boundary of an epoch, trims, giving back. In
 * the portable mode, whose operations on a CPU's stack are atomic operations like the rest; the two are on one CPU (one
 * was preempted there) or on two. What must hold afterwards: scene.h.
 *
 * Each pair in each scene: all schedules where they are MOST at the most, else those with PREEMPTIONS preemptions.
 * UNIT_SCHEDULES=all raises both, and runs all of the three trims at the end, however many.
 */
#include "schedule.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/options.h"
#include "cache/release.h"
#include "pools.h"
#include "scene.h"

enum {
	MOST = 40, LONG_MOST = 10000,
	PREEMPTIONS = 1, LONG_PREEMPTIONS = 2,
	NS_A_LOOK = 10000000, /* longer than a giving back's bound and the pause between two steals */
};

enum { LEVELS, QUEUED, CPUS, FAR, OVER_BUDGET, IDLE };
static const struct u_scene scenes[] = {
	[LEVELS] = { .of = { [U_SHARED] = 2, [U_VICTIM] = 1 } },
	[QUEUED] = { .of = { [U_SHARED] = 1, [U_VICTIM] = 1, [U_QUEUE] = 1 } },
	[CPUS] = { .of = { [U_SHARED] = 1, [U_CPU0] = 1, [U_CPU1] = 1 } },
	[FAR] = { .of = { [U_CPU1] = 1 } },
	[OVER_BUDGET] = { .of = { [U_VICTIM] = 1, [U_OVER] = 1, [U_CPU0] = 1, [U_CPU1] = 1 } },
	[IDLE] = { .of = { [U_SHARED] = 1, [U_CPU0] = 1, [U_CPU1] = 1 }, .idle = true },
};

static unsigned class(void)
{
	return u_class(U_SIZE);
}

/* ---- actors ---- */

static void acquire(void)
{
	u_got[u_actor()] = bp_pool_acquire_miss(U_POOL, class(), false);
}

static void release_one(void)
{
	u_scene_release(u_held[u_actor()]);
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
	u_scene.holds[0] = a == RELEASE;
	u_scene.holds[1] = b == RELEASE;
	u_scene.due = a == POLL || b == POLL;
	u_scene.boundaries = u_scene.due + (a == ADVANCE) + (b == ADVANCE);
	return (struct u_plan){ u_scene_set, { actors[a], actors[b] }, u_scene_check };
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
	u_scene_start();
	u_scene = scenes[which];
	u_scene.two_cpus = two;
	if (which == OVER_BUDGET)
		atomic_store(&bp_options.budget, 1);
	for (; u_scene.ns_a_look <= NS_A_LOOK; u_scene.ns_a_look += NS_A_LOOK)
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
SCENE(blocks_to_steal, FAR)
SCENE(blocks_over_the_budget, OVER_BUDGET)
SCENE(an_idle_cpu, IDLE)

static void explore_trim(unsigned which, unsigned other, unsigned least)
{
	u_scene_start();
	u_scene = scenes[which];
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
