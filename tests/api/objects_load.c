/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What Go measures its pool by, as tests (S14): more put than a CPU has room for, fewer put than are got, an epoch's
 * end over 100 000 cached objects, and objects that are dear to make. The figures are `bench/bench objects`.
 *
 * Bounds are counts of objects where they can be. Threads stay on a CPU each: one that moves finds what it has put on
 * another CPU, where no more than one look in 100 us is taken before an object is made.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(objects_load, .timeout = 120);

enum {
	SIDES = 2,
	LARGEST = 1000,   /* in one thread's hands at once: four times what a CPU's stack holds at most */
	STACK = 256,      /* which is this; as many may be between the levels, in the hands of one call */
	CACHED = 100000,
	EPOCH_MS = 150
};

static struct maker m;
static struct thing *things[CACHED];

/* ---- two threads, each on its CPU ---- */

static struct side {
	pthread_t id;
	struct thing *held[LARGEST];
	size_t count;    /* are held between rounds */
	size_t refused;  /* of these are not put back */
	unsigned rounds;
	int cpu;
} sides[SIDES];

/* false: so many were made that there are none left. */
static bool get_all(struct side *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->held[i] == NULL && (s->held[i] = o_acquire(&m)) == NULL)
			return false;
	return true;
}

static void put_all(struct side *s, size_t refused)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->held[i] == NULL)
			continue;
		s->held[i]->refused = i < refused;
		o_release(&m, s->held[i]);
		s->held[i] = NULL;
	}
}

static void *run_side(void *argument)
{
	struct side *s = argument;

	if (t_pin(s->cpu))
		atomic_fetch_add(&m.wrong, 1);
	for (unsigned round = 0; get_all(s) && round < s->rounds; round++)
		put_all(s, s->refused);
	return NULL;
}

static void run_sides(size_t count, size_t refused, unsigned rounds)
{
	for (unsigned i = 0; i < SIDES; i++) {
		sides[i].count = count;
		sides[i].refused = refused;
		sides[i].rounds = rounds;
		sides[i].cpu = t_cpu(i) >= 0 ? t_cpu(i) : t_cpu(0);
		cr_assert_eq(pthread_create(&sides[i].id, NULL, run_side, &sides[i]), 0);
	}
	for (unsigned i = 0; i < SIDES; i++)
		pthread_join(sides[i].id, NULL);
}

/* What was made and ended is forgotten; the things begin anew. */
static void begin(void)
{
	struct thing *made = m.things;

	if (made != NULL)
		memset(made, 0, m.made * sizeof(*made));
	memset(&m, 0, sizeof(m));
	memset(sides, 0, sizeof(sides));
	m.things = made;
	o_create(&m);
}

static void end(void)
{
	for (unsigned i = 0; i < SIDES; i++)
		put_all(&sides[i], 0);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

/* ---- overflow: all that is put is got again ---- */

Test(objects_load, S14_overflow_of_one_thread_makes_as_many_as_it_holds, .init = t_hold_epochs)
{
	o_need_pool();
	for (size_t count = 10; count <= LARGEST; count *= 10) {
		begin();
		o_acquire_all(&m, things, count);
		for (int round = 0; round < 1000; round++) {
			o_release_all(&m, things, count);
			o_acquire_all(&m, things, count);
		}
		cr_assert_eq(m.made, count, "%u for %zu", m.made, count);
		o_release_all(&m, things, count);
		end();
	}
}

Test(objects_load, S14_overflow_of_two_threads_makes_none_after_warm_up, .init = t_hold_epochs)
{
	unsigned warm;

	o_need_pool();
	begin();
	run_sides(100, 0, 2000);
	warm = m.made;
	run_sides(100, 0, 20000);
	cr_assert_eq(m.made, warm, "%u were made by the warm-up, %u after it", warm, m.made - warm);
	cr_assert_eq(m.ended, 0);
	end();
}

/* Here a part of it lies in the level that both share, and a part on each other's stacks. */
Test(objects_load, S14_overflow_of_two_threads_into_the_shared_level, .init = t_hold_epochs)
{
	o_need_pool();
	begin();
	run_sides(LARGEST, 0, 2000);
	cr_assert_leq(m.made, SIDES * (LARGEST + 2 * STACK), "%u were made", m.made);
	cr_assert_eq(m.ended, 0);
	end();
}

/* ---- starvation: what is not put has to be taken from others or made ---- */

static void starve(size_t count, unsigned rounds)
{
	begin();
	run_sides(count, count / 2, rounds);
	cr_assert_eq(m.why[BUFPOOL_OBJECTS_REFUSED], SIDES * (count / 2) * rounds);
	cr_assert_eq(m.ended, m.why[BUFPOOL_OBJECTS_REFUSED]);
	/* Neither made one while there was one that it could see: what exists is in their hands, or lies where the
	 * other could not look. */
	cr_assert_leq(m.made - m.ended, SIDES * (count + (count < 2 * STACK ? count : 2 * STACK)),
		      "%u made, %u missing, %zu held", m.made, m.ended, SIDES * count);
	end();
}

Test(objects_load, S14_starved_threads_make_what_is_missing, .init = t_hold_epochs)
{
	o_need_pool();
	starve(100, 1900);
	starve(LARGEST, 190);
}

/* ---- the pause ---- */

static void short_epochs(void)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "150"), 0);
	cr_assert_eq(bufpool_option_set("budget", "1073741824"), 0);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	o_need_pool();
}

/* A new pool with so many cached. false: that took an epoch itself. */
static bool cache(size_t count)
{
	const int64_t start = t_now_ns();

	begin();
	o_acquire_all(&m, things, count);
	o_release_all(&m, things, count);
	return t_now_ns() - start < EPOCH_MS * 1000000ll;
}

/* The next tick ends the epoch: the clock is read to 4 ms. */
static void sit_an_epoch_out(void)
{
	t_sleep_ms(EPOCH_MS + 10);
}

enum { ROUNDS = 5 };

/* In ns, of the tick that makes what is cached the victim: the median. */
static int64_t pause_over(size_t count)
{
	int64_t ns[ROUNDS];

	for (unsigned round = 0, tries = 0; round < ROUNDS; tries++) {
		const bool in_time = cache(count);

		if (tries == 4 * ROUNDS)
			cr_skip_test("%zu objects can't be cached within %d ms here", count, EPOCH_MS);
		sit_an_epoch_out();
		ns[round] = -t_ran_ns();
		bufpool_tick();
		ns[round] += t_ran_ns();
		if (in_time) {
			cr_assert_eq(m.ended, 0, "%u ended with the first epoch", m.ended);
			for (unsigned i = round++; i > 0 && ns[i] < ns[i - 1]; i--) {
				const int64_t swap = ns[i];

				ns[i] = ns[i - 1];
				ns[i - 1] = swap;
			}
		}
		end();
	}
	return ns[ROUNDS / 2];
}

Test(objects_load, S14_the_pause_does_not_grow_with_the_cached_objects, .init = short_epochs)
{
	const int64_t few = pause_over(CACHED / 100), many = pause_over(CACHED);

	cr_log_info("pause: %.1f us over %d objects, %.1f us over %d", few / 1e3, CACHED / 100, many / 1e3, CACHED);
	cr_assert_lt(many, 8 * few + 100000, "%.1f us over %d objects, %.1f us over %d", few / 1e3, CACHED / 100,
		     many / 1e3, CACHED);
}

/* However long each end takes: one call sees a few of them. */
Test(objects_load, S14_nor_does_the_call_that_begins_to_give_them_back, .init = short_epochs)
{
	unsigned most;

	cache(CACHED);
	m.end_ns = 10000;
	for (int epoch = 0; epoch < 4 && m.ended == 0; epoch++) {
		sit_an_epoch_out();
		bufpool_tick();
	}
	most = m.ended;
	cr_assert_gt(most, 0);
	for (int i = 0; i < 100; i++) {
		const unsigned before = m.ended;

		bufpool_tick();
		most = m.ended - before > most ? m.ended - before : most;
	}
	cr_assert_leq(most, 1000, "%u in one call", most);
	m.end_ns = 0;
	end();
}

/* ---- expensive New ---- */

/* So many in use at once in each epoch, on one CPU and then on the other. false: that took an epoch itself. */
static bool use(size_t count, unsigned round)
{
	const int64_t start = t_now_ns();

	cr_assert_eq(t_pin(t_cpu(round % 2) >= 0 ? t_cpu(round % 2) : t_cpu(0)), 0);
	bufpool_tick();
	o_acquire_all(&m, things, count);
	o_release_all(&m, things, count);
	return t_now_ns() - start < EPOCH_MS * 1000000ll;
}

/* More are made at first than are used then: that these end says that epochs do. */
Test(objects_load, S14_what_is_used_in_each_epoch_is_made_once, .init = short_epochs)
{
	enum { USED = 100, AT_FIRST = 5000, EPOCHS = 10, TRIES = 5 };
	unsigned epochs = 0;

	for (int tries = 0; tries < TRIES && epochs < EPOCHS; tries++) {
		if (m.pool != NULL)
			end();
		cache(AT_FIRST);
		for (epochs = 0; epochs < EPOCHS; epochs++) {
			sit_an_epoch_out();
			if (!use(USED, epochs))
				break;
		}
	}
	if (epochs < EPOCHS)
		cr_skip_test("%d objects can't be used within %d ms here", USED, EPOCH_MS);
	cr_assert_eq(m.made, AT_FIRST, "%u were made again", m.made - AT_FIRST);
	cr_assert_geq(m.why[BUFPOOL_OBJECTS_UNUSED], AT_FIRST - USED - 4 * STACK, "%u have ended", m.ended);
	end();
}
