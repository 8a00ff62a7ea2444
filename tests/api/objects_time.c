/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What object pools do by themselves: idle objects end (S5, S10), more than the budget allows end, and whose calls these
 * ends run in.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <string.h>


enum { EPOCH_MS = 50, SOME = 100, LOTS = 20000 };

static struct maker m;
static struct thing *things[LOTS];

static void short_epochs(void)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "50"), 0);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	o_need_pool();
}

TestSuite(objects_time, .timeout = 60, .init = short_epochs);

static void cache(size_t count)
{
	o_create(&m);
	o_acquire_all(&m, things, count);
	o_release_all(&m, things, count);
	cr_assert_eq(m.made, count);
}

Test(objects_time, S5_what_nobody_asks_for_ends_after_two_epochs)
{
	int64_t start;

	cache(SOME);
	start = t_now_ns();
	cr_assert(o_tick_until_ended(&m, SOME), "%u of %d", m.ended, SOME);
	/* The first boundary may come at once; the second one is an epoch later. */
	cr_assert_geq(t_now_ns() - start, EPOCH_MS * 1000000 / 2, "one idle epoch was enough");
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_UNUSED], SOME);
	cr_assert_null(o_acquire_cached(&m));
	cr_assert(o_all_ended_once(&m));
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects_time, S5_what_is_used_in_each_epoch_stays)
{
	int64_t before = t_now_ns(), end;
	unsigned late = 0; /* uses that came so long after the last one that an idle epoch may lie between */

	cache(1);
	for (end = before + 10 * EPOCH_MS * 1000000ll; before < end;) {
		const int64_t last = before;

		before = t_now_ns();
		o_release(&m, o_acquire(&m));
		late += t_now_ns() - last > (EPOCH_MS - 10) * 1000000ll;
		bufpool_tick();
		t_sleep_ms(EPOCH_MS / 10);
	}
	cr_assert_leq(m.made, 1 + late);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

/* Nobody ticks: the pool's own calls are enough, though all of them are hits. */
Test(objects_time, S5_a_load_that_falls_lets_the_others_go)
{
	int64_t end;

	cache(LOTS);
	end = t_now_ns() + 30000000000ll;
	while (m.ended < LOTS - 64 && t_now_ns() < end) /* a magazine stays together */
		o_release(&m, o_acquire(&m));
	cr_assert_geq(m.ended, LOTS - 64, "%u of %d", m.ended, LOTS);
	cr_assert_eq(m.wrong, 0);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

/* Blocks' and other pools' calls keep time, but never for this pool. */
Test(objects_time, nobody_elses_calls_run_a_destruct)
{
	static struct maker other;
	int64_t end = t_now_ns() + 6 * EPOCH_MS * 1000000ll;

	cache(SOME);
	o_create(&other);
	while (t_now_ns() < end) {
		for (size_t n = 16; n < 200000; n *= 2)
			bufpool_release(bufpool_acquire(n));
		o_release(&other, o_acquire(&other));
		bufpool_advance_epoch(NULL);
		bufpool_trim(NULL, 0);
	}
	cr_assert_eq(m.ended, 0);
	cr_assert(o_tick_until_ended(&m, SOME));
	bufpool_objects_destroy(m.pool);
	bufpool_objects_destroy(other.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects_time, tick_says_when_to_come_again)
{
	int ms;

	cache(SOME);
	ms = bufpool_tick();
	cr_assert(ms >= 0 && ms <= EPOCH_MS, "%d", ms);
	cr_assert(o_tick_until_ended(&m, SOME));
	for (int i = 0; i < 1000 && (ms = bufpool_tick()) != -1; i++)
		t_sleep_ms(1);
	cr_assert_eq(ms, -1);
	bufpool_objects_destroy(m.pool);
}

Test(objects_time, what_is_over_the_budget_ends)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(bufpool_option_set("budget", "1048576"), 0);
	o_create(&m);
	o_acquire_all(&m, things, LOTS);
	cr_assert_eq(m.ended, 0);
	o_release_all(&m, things, LOTS);
	for (int i = 0; i < 1000; i++)
		bufpool_tick();
	/* A MiB is 1 024 objects in the levels, and a CPU has up to 256. */
	cr_assert_geq(m.why[BUFPOOL_OBJECTS_BUDGET], LOTS - 1024 - 256 - 64, "%u", m.why[BUFPOOL_OBJECTS_BUDGET]);
	cr_assert_leq(m.why[BUFPOOL_OBJECTS_BUDGET], LOTS - 512, "%u", m.why[BUFPOOL_OBJECTS_BUDGET]);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_BUDGET], m.ended);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects_time, in_pass_mode_nothing_is_kept)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	o_create(&m);
	o_acquire_all(&m, things, SOME);
	o_release(&m, things[0]);
	cr_assert_eq(m.ended, 0);
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	o_release_all(&m, things + 1, SOME - 1);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_PASSED], SOME - 1);
	cr_assert_eq(o_acquire(&m), things[0], "what is cached is handed out still");
	o_release(&m, things[0]);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_PASSED], SOME);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	things[0] = o_acquire(&m);
	o_release(&m, things[0]);
	cr_assert_eq(o_acquire(&m), things[0]);
	o_release(&m, things[0]);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}
