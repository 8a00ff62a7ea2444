/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Beginning and end of object pools: what they cost (S16), objects that are out at the end, and threads that come too late.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(objects_end, .timeout = 120, .init = t_hold_epochs);

enum { MILLION = 1000000, SOME = 1000 };

static struct maker m;
static struct thing *things[SOME];

/* ---- what a pool costs ---- */

static double cpu_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static size_t address_space(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	cr_assert_not_null(f);
	cr_assert_eq(fscanf(f, "%zu", &pages), 1);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static char object;

static void *construct(void *ctx)
{
	(void)ctx;
	return &object;
}

static const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, NULL };

static void *unused(void *count)
{
	struct bufpool_objects *o;

	for (size_t i = 0; i < (size_t)count; i++) {
		if (bufpool_objects_create(&o, &ops, NULL) != 0)
			return "no pool";
		bufpool_objects_destroy(o);
	}
	return NULL;
}

static void *used(void *count)
{
	struct bufpool_objects *o;

	for (size_t i = 0; i < (size_t)count; i++) {
		if (bufpool_objects_create(&o, &ops, NULL) != 0)
			return "no pool";
		for (int k = 0; k < 2; k++)
			bufpool_objects_release(o, bufpool_objects_acquire(o));
		bufpool_objects_destroy(o);
	}
	return NULL;
}

static void *used_on_two_cpus(void *count)
{
	struct bufpool_objects *o;

	for (size_t i = 0; i < (size_t)count; i++) {
		void *obj;

		if (bufpool_objects_create(&o, &ops, NULL) != 0)
			return "no pool";
		obj = bufpool_objects_acquire(o);
		bufpool_objects_release(o, bufpool_objects_acquire(o));
		if (t_pin(t_cpu((unsigned)(i + 1) % 2)) != 0)
			return "no second CPU";
		bufpool_objects_release(o, obj);
		bufpool_objects_destroy(o);
	}
	return NULL;
}

/* CPU time, and neither memory nor addresses left behind. */
static double cost_of(void *(*run)(void *), size_t count, unsigned threads)
{
	pthread_t ids[8];
	size_t rss, space;
	double start, ns;
	void *failed;

	cr_assert_null(run((void *)(count / 100 + 10))); /* what stays once stays once */
	rss = t_rss();
	space = address_space();
	start = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned i = 1; i < threads; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, run, (void *)count), 0);
	failed = run((void *)count);
	cr_assert_null(failed, "%s", (char *)failed);
	for (unsigned i = 1; i < threads; i++) {
		pthread_join(ids[i], &failed);
		cr_assert_null(failed, "%s", (char *)failed);
	}
	ns = (cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / (double)(count * threads);
	cr_assert_leq(t_rss(), rss + (1u << 20), "%zu bytes of memory are left", t_rss() - rss);
	/* Threads have stacks and arenas. */
	cr_assert_leq(address_space(), space + (threads == 1 ? 1u << 20 : 256u << 20));
	return ns;
}

Test(objects_end, S16_a_million_unused_cost_less_than_1_us_each)
{
	const uint64_t before = t_stats().in_use;

	cr_assert_lt(cost_of(unused, MILLION, 1), 1000);
	cr_assert_eq(t_stats().in_use, before);
}

Test(objects_end, S16_a_million_used_on_one_cpu)
{
	const uint64_t before = t_stats().in_use;

	o_need_pool();
	cr_assert_lt(cost_of(used, MILLION, 1), 10000);
	cr_assert_eq(t_stats().in_use, before);
}

Test(objects_end, S16_used_on_two_cpus)
{
	const uint64_t before = t_stats().in_use;

	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	cost_of(used_on_two_cpus, MILLION / 50, 1);
	cr_assert_eq(t_stats().in_use, before);
}

static void unpin(void)
{
	cpu_set_t all;

	CPU_ZERO(&all);
	for (unsigned i = 0; t_cpu(i) >= 0; i++)
		CPU_SET((unsigned)t_cpu(i), &all);
	sched_setaffinity(0, sizeof(all), &all);
}

Test(objects_end, S16_on_two_threads_at_once)
{
	double alone, together;

	unpin();
	alone = cost_of(unused, MILLION, 1);
	together = cost_of(unused, MILLION, 2);
	cr_assert_lt(together, 1000);
	cr_assert_lt(together, alone * 5 + 100, "%.0f ns each, %.0f alone", together, alone);
	o_need_pool();
	cost_of(used, MILLION / 4, 2);
}

/* What has been many at once leaves no pages behind, but for a few tables'. */
Test(objects_end, S16_thousands_at_once)
{
	static struct bufpool_objects *pools[5000];
	size_t rss;
	void *obj;

	o_need_pool();
	rss = t_rss();
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < T_COUNT(pools); i++) {
			cr_assert_eq(bufpool_objects_create(&pools[i], &ops, NULL), 0);
			obj = bufpool_objects_acquire(pools[i]);
			bufpool_objects_release(pools[i], obj);
			cr_assert_eq(bufpool_objects_acquire_cached(pools[i]), obj);
			cr_assert_null(bufpool_objects_acquire_cached(pools[i]));
			bufpool_objects_release(pools[i], obj);
		}
		for (size_t i = 0; i < T_COUNT(pools); i++)
			bufpool_objects_destroy(pools[i]);
		cr_assert_leq(t_rss(), rss + T_COUNT(pools) * 2048, "%zu bytes are left", t_rss() - rss);
	}
}

/* ---- the end ---- */

Test(objects_end, what_is_cached_ends_with_the_pool)
{
	const uint64_t before = t_stats().in_use;

	o_need_pool();
	o_create(&m);
	o_acquire_all(&m, things, SOME);
	o_release_all(&m, things, SOME);
	cr_assert_eq(m.ended, 0);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_DESTROYED], SOME);
	cr_assert(o_all_ended_once(&m));
	cr_assert_eq(t_stats().in_use, before, "the pool's own memory");
}

Test(objects_end, on_every_cpu)
{
	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	o_create(&m);
	o_acquire_all(&m, things, 60);
	for (unsigned i = 0; i < 60; i++) {
		cr_assert_eq(t_pin(t_cpu(i % 2)), 0);
		o_release(&m, things[i]);
	}
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

static void *release_the_rest(void *from)
{
	for (size_t i = (size_t)from; i < SOME; i++)
		o_release(&m, things[i]);
	return NULL;
}

Test(objects_end, what_is_out_ends_when_it_comes_back)
{
	const uint64_t before = t_stats().in_use, own = !t_passes_through(96);
	pthread_t other;

	o_create(&m);
	o_acquire_all(&m, things, SOME);
	o_release_all(&m, things, SOME / 2);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.ended, SOME / 2);
	for (size_t i = SOME / 2; i < SOME * 3 / 4; i++) {
		errno = 77;
		o_release(&m, things[i]);
		cr_assert_eq(errno, 77);
		cr_assert_eq(m.ended, i + 1);
	}
	cr_assert_eq(t_stats().in_use, before + own, "the pool's own memory");
	cr_assert_eq(pthread_create(&other, NULL, release_the_rest, (void *)(SOME * 3 / 4)), 0);
	pthread_join(other, NULL);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_DESTROYED] + m.why[BUFPOOL_OBJECTS_PASSED], SOME);
	cr_assert(o_all_ended_once(&m));
	cr_assert_eq(t_stats().in_use, before, "the pool's own memory");
}

/* No release has been kept: there is no engine yet. */
Test(objects_end, all_may_be_out)
{
	const uint64_t before = t_stats().in_use;

	o_create(&m);
	o_acquire_all(&m, things, 3);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.ended, 0);
	o_release_all(&m, things, 3);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_DESTROYED], 3);
	cr_assert(o_all_ended_once(&m));
	cr_assert_eq(t_stats().in_use, before);
}

Test(objects_end, an_object_that_comes_back_late_may_be_refused)
{
	o_create(&m);
	o_acquire_all(&m, things, 2);
	things[1]->refused = true;
	bufpool_objects_destroy(m.pool);
	o_release_all(&m, things, 2);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_REFUSED], 1);
	cr_assert(o_all_ended_once(&m));
}

/* ---- at the same moment ---- */

static _Atomic unsigned rounds_begun, rounds_done;
static struct thing *hands[2][8];
enum { ROUNDS = 3000 };

/* Releases what it was given while the pool is being destroyed. */
static void *release_in_rounds(void *number)
{
	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned spin = 0; atomic_load(&rounds_begun) < round; spin++)
			if (spin > 1000)
				sched_yield();
		for (int i = 0; i < 8; i++)
			if (hands[(size_t)number][i] != NULL)
				o_release(&m, hands[(size_t)number][i]);
		atomic_fetch_add(&rounds_done, 1);
	}
	return NULL;
}

Test(objects_end, releases_at_the_moment_of_the_end)
{
	const uint64_t before = t_stats().in_use;
	pthread_t ids[2];
	unsigned late = 0;

	unpin();
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, release_in_rounds, (void *)i), 0);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		struct thing *all = m.things;
		uint64_t random = round * 0x9e3779b97f4a7c15u;

		memset(&m, 0, sizeof(m));
		m.things = all;
		o_create(&m);
		memset(m.things, 0, 64 * sizeof(*m.things));
		o_acquire_all(&m, things, 20);
		for (int i = 0; i < 16; i++)
			hands[i / 8][i % 8] = t_random(&random) % 3 != 0 ? things[i] : NULL;
		for (int i = 0; i < 16; i++)
			if (hands[i / 8][i % 8] == NULL)
				o_release(&m, things[i]);
		o_release_all(&m, things + 16, 4);
		atomic_store(&rounds_begun, round);
		for (unsigned spin = t_random(&random) % 400; spin > 0; spin--)
			__asm__ volatile("");
		bufpool_objects_destroy(m.pool);
		late += m.ended < 20;
		while (atomic_load(&rounds_done) < 2 * round)
			sched_yield();
		cr_assert(o_all_ended_once(&m), "round %u", round);
	}
	for (size_t i = 0; i < 2; i++)
		pthread_join(ids[i], NULL);
	cr_assert_gt(late, 0, "the end never met a release");
	cr_assert_eq(t_stats().in_use, before, "a pool's own memory");
}

/* A thread that is in a user's function does not make the end wait: what is left to do falls to it. */
static _Atomic bool inside, go_on;
static _Thread_local bool slow;

static void destruct_slowly(void *obj, void *ctx, int reason)
{
	atomic_store(&inside, true);
	while (slow && !atomic_load(&go_on))
		sched_yield();
	o_destruct(obj, ctx, reason);
}

static void *release_slowly(void *t)
{
	slow = true;
	o_release(&m, t);
	return NULL;
}

static void *construct_thing(void *ctx)
{
	struct maker *maker = ctx;

	return &maker->things[maker->made++];
}

Test(objects_end, does_not_wait_for_a_thread_in_a_destruct)
{
	const struct bufpool_objects_ops slowly = { sizeof(slowly), construct_thing, NULL, destruct_slowly };
	static struct thing two[2];
	const uint64_t before = t_stats().in_use;
	pthread_t other;

	o_need_pool();
	m.things = two;
	cr_assert_eq(bufpool_objects_create(&m.pool, &slowly, &m), 0);
	o_acquire_all(&m, things, 2);
	o_release(&m, things[0]);
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0); /* the next release destructs, on the slow path */
	cr_assert_eq(pthread_create(&other, NULL, release_slowly, things[1]), 0);
	while (!atomic_load(&inside))
		sched_yield();
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.ended, 0, "it ended under a thread that is in it");
	atomic_store(&go_on, true);
	pthread_join(other, NULL);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_PASSED], 1);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_DESTROYED], 1);
	cr_assert(o_all_ended_once(&m));
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	cr_assert_eq(t_stats().in_use, before);
}
