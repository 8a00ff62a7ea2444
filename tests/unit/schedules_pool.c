/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Interleavings of two actors on a pool: acquires, releases, polls at the boundary of an epoch, trims, giving back. In
 * the portable mode, whose operations on a CPU's stack are atomic operations like the rest; the two are on one CPU (one
 * was preempted there) or on two. What must hold afterwards: scene.h.
 *
 * Each pair in each scene: UNIT_SCHEDULES=all runs all schedules of all of them. The quick form runs all where that is
 * done within RUNS runs, else those with PREEMPTIONS preemptions.
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
#include "sets.h"
#include "support.h"

enum {
	RUNS = 40, PREEMPTIONS = 1,
	COMPARED = 1500, LONG_COMPARED = 4000, /* runs */
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
	return (struct u_plan){
		.before = u_scene_set,
		.actor = { actors[a], actors[b] },
		.after = u_scene_check,
		.state = u_scene_state,
		.alike = a == b && !u_scene.two_cpus,
		.ordered = &U_POOL->outside,
	};
}

/* ---- all of them ---- */

static void explore(unsigned a, unsigned b)
{
	struct u_plan plan = plan_of(a, b);
	u_explore(&plan, runs_all() ? 0 : RUNS);
	if (!u_complete())
		u_explore_bounded(&plan, PREEMPTIONS);
}

static void explore_scene(unsigned which, bool two)
{
	u_scene_start();
	if (which == OVER_BUDGET)
		atomic_store(&bp_options.budget, 1);
	for (unsigned a = 0; a < ACTORS; a++)
		for (unsigned b = a; b < ACTORS; b++) {
			u_scene = scenes[which];
			u_scene.two_cpus = two;
			explore(a, b);
			u_scene.ns_a_look = NS_A_LOOK;
			if (u_scene.looked) /* else it would be the same once more */
				explore(a, b);
		}
}

TestSuite(schedules_pool, .timeout = 1100);

/* The shared level and the victim. Written out: tests/rows.py looks for the names. */
Test(schedules_pool, S8_full_levels_on_one_cpu)
{
	explore_scene(LEVELS, false);
}

Test(schedules_pool, S8_full_levels_on_two_cpus)
{
	explore_scene(LEVELS, true);
}

#define SCENE(name, which) \
	Test(schedules_pool, name##_on_one_cpu) \
	{ \
		explore_scene(which, false); \
	} \
	Test(schedules_pool, name##_on_two_cpus) \
	{ \
		explore_scene(which, true); \
	}

SCENE(a_queue_from_before, QUEUED)
SCENE(blocks_on_cpus, CPUS)
SCENE(blocks_to_steal, FAR)
SCENE(blocks_over_the_budget, OVER_BUDGET)
SCENE(an_idle_cpu, IDLE)

/* ---- the tool ---- */

static struct u_set ends;

static void note_end(void)
{
	u_set_add(&ends, u_mix(u_memory(), u_scene_state()));
	u_scene_check();
}

static uint32_t count_ends(const struct u_plan *plan, unsigned most)
{
	u_set_clear(&ends);
	u_explore(plan, most);
	return ends.count;
}

/* Runs that are cut short where a state is known miss none of the ends. false: there are too many schedules to say. */
static bool compare(unsigned a, unsigned b)
{
	struct u_plan plan = plan_of(a, b), all = plan;
	plan.after = all.after = note_end;
	plan.alike = all.alike = false;
	all.state = NULL;
	uint32_t there = count_ends(&all, runs_all() ? LONG_COMPARED : COMPARED);
	if (!u_complete())
		return false;
	uint32_t found = count_ends(&plan, 0);
	cr_assert_eq(found, there, "%u and %u: %u ends, of which %u are found", a, b, there, found);
	return true;
}

Test(schedules_pool, known_states_hide_nothing)
{
	unsigned compared = 0;
	u_scene_start();
	for (unsigned which = LEVELS; which < (runs_all() ? U_COUNT(scenes) : CPUS); which++)
		for (unsigned a = 0; a < ACTORS; a++)
			for (unsigned b = a; b < ACTORS; b++) {
				u_scene = scenes[which];
				compared += compare(a, b);
			}
	cr_assert(compared >= (runs_all() ? 50 : 15), "only %u pairs were compared", compared);
}
