/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools from inside: their books (created = in use + cached + victim + queued + dropped, as for blocks) and when they
 * take an instance of the engine.
 */
#include "api/objects.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache/account.h"
#include "cache/bare.h"
#include "cache/epoch.h"
#include "cache/pools.h"
#include "pools.h"
#include "support.h"

enum { MANY = 3000 };

static char things[100000];
static _Atomic unsigned made, ended;
static bool keeps = true;
static struct bufpool_objects *o;
static void *held[MANY];

static void *construct(void *ctx)
{
	(void)ctx;
	return &things[atomic_fetch_add(&made, 1) % sizeof(things)];
}

static bool reset(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	return keeps;
}

static void destruct(void *obj, void *ctx, int reason)
{
	(void)obj, (void)ctx, (void)reason;
	atomic_fetch_add(&ended, 1);
}

static void create(const char *options)
{
	static const struct bufpool_objects_ops ops = { sizeof(ops), construct, reset, destruct };

	u_start(options);
	cr_assert_eq(bufpool_objects_create(&o, &ops, NULL), 0);
}

static void acquire(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		cr_assert_not_null(held[i] = bufpool_objects_acquire(o));
}

static void release(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		bufpool_objects_release(o, held[i]);
}

static struct bp_account account(void)
{
	struct bp_account a;
	bp_account_class(&a, bp_objects_engine(o), bp_objects_class());
	return a;
}

/* So many are out, and all figures agree with each other and with what the pool's functions have seen. */
static void assert_books(uint64_t out)
{
	struct bp_account a = account();
	uint64_t cached = a.cached + a.victim + a.queued, dropped = a.dropped_budget + a.dropped_epoch;

	cr_assert_eq(a.in_use, out, "%zu are in use, not %zu", (size_t)a.in_use, (size_t)out);
	cr_assert_eq(a.created, a.in_use + cached + dropped + a.set_aside);
	cr_assert_eq(a.set_aside, 0);
	cr_assert_eq(made - ended, out + cached, "%u made, %u ended", made, ended);
	cr_assert_eq(bp_bare_cached(bp_objects_engine(o), bp_objects_class()), cached);
	int64_t outside = atomic_load(&bp_objects_engine(o)->outside);
	uint64_t on_cpus = 0;
	for (unsigned cpu = 0; cpu < U_POOL->slabs.cpus; cpu++)
		on_cpus += bp_percpu_count(bp_objects_engine(o)->slabs, (int)cpu, bp_objects_class());
	cr_assert_eq(outside, (int64_t)((out + on_cpus) * bp_class_size(bp_objects_class())), "%ld bytes are outside", (long)outside);
}

Test(objects, the_engine_comes_with_the_first_release_that_keeps)
{
	create(NULL);
	cr_assert_null(bp_objects_engine(o));
	acquire(0, 10);
	cr_assert_null(bp_objects_engine(o));
	keeps = false;
	release(0, 3);
	cr_assert_null(bp_objects_engine(o));
	keeps = true;
	release(3, 4);
	cr_assert_not_null(bp_objects_engine(o));
	assert_books(6); /* what was out before has been adopted */
	cr_assert_eq(account().created, 7);
	keeps = false;
	release(4, 5);
	assert_books(5);
	keeps = true;
	release(5, 10);
	assert_books(0);
	bufpool_objects_destroy(o);
	cr_assert_eq(ended, made);
}

static void go_through(void)
{
	acquire(0, MANY);
	release(0, 1);
	assert_books(MANY - 1);
	release(1, MANY);
	assert_books(0);
	acquire(0, MANY / 2);
	assert_books(MANY / 2);
	keeps = false;
	release(0, 100);
	keeps = true;
	assert_books(MANY / 2 - 100);
	bp_epoch_advance(bp_objects_engine(o));
	assert_books(MANY / 2 - 100);
	acquire(0, 100);
	bp_epoch_advance(bp_objects_engine(o));
	assert_books(MANY / 2);
	release(0, MANY / 2);
	bp_epoch_advance(bp_objects_engine(o));
	bp_epoch_advance(bp_objects_engine(o));
	assert_books(0);
	cr_assert_eq(account().cached + account().victim + account().queued, 0);
	cr_assert_eq(ended, made);
	unsigned before = made;
	acquire(0, 10);
	cr_assert_eq(made, before + 10);
	assert_books(10);
	release(0, 10);
	bufpool_objects_destroy(o);
	cr_assert_eq(ended, made);
}

Test(objects, every_figure_is_true)
{
	create(NULL);
	go_through();
}

Test(objects, also_in_the_portable_mode)
{
	create("percpu:fallback");
	go_through();
}

Test(objects, also_over_the_budget)
{
	create("budget:65536");
	acquire(0, MANY);
	release(0, MANY);
	for (int i = 0; i < 1000; i++)
		bp_pools_tick(-1);
	assert_books(0);
	cr_assert_geq(account().dropped_budget, MANY / 2);
	bufpool_objects_destroy(o);
	cr_assert_eq(ended, made);
}

/* ---- threads ---- */

static _Atomic unsigned go;

static unsigned round_of_the_race;

static void *race_for_the_engine(void *number)
{
	void *mine[20];

	u_pin(u_cpu((unsigned)(size_t)number % 2));
	for (int i = 0; i < 20; i++)
		mine[i] = bufpool_objects_acquire(o);
	atomic_fetch_add(&go, 1);
	for (unsigned spin = 0; atomic_load(&go) < 2 * round_of_the_race; spin++)
		if (spin > 10000)
			sched_yield();
	for (int i = 0; i < 20; i++)
		bufpool_objects_release(o, mine[i]);
	return NULL;
}

/* The first release of two threads at once: one engine, and exact books. */
Test(objects, there_is_one_engine_whoever_comes_first)
{
	static const struct bufpool_objects_ops ops = { sizeof(ops), construct, reset, destruct };
	pthread_t ids[2];

	create(NULL);
	bufpool_objects_destroy(o);
	if (u_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	for (round_of_the_race = 1; round_of_the_race <= 2000; round_of_the_race++) {
		made = ended = 0;
		cr_assert_eq(bufpool_objects_create(&o, &ops, NULL), 0);
		for (size_t i = 0; i < 2; i++)
			cr_assert_eq(pthread_create(&ids[i], NULL, race_for_the_engine, (void *)i), 0);
		for (int i = 0; i < 2; i++)
			pthread_join(ids[i], NULL);
		assert_books(0);
		bufpool_objects_destroy(o);
		cr_assert_eq(ended, made);
	}
	/* Instances that came too late have been given back. */
	int live = 0;
	for (int id = 1; id < BP_POOLS; id++)
		live += bp_pools_at(id) != NULL;
	cr_assert_eq(live, 0);
}

static void *churn(void *seed)
{
	void *mine[50] = { NULL };
	uint64_t random = (size_t)seed;

	for (int i = 0; i < 300000; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		void **at = &mine[(random >> 33) % 50];
		if (*at != NULL)
			bufpool_objects_release(o, *at);
		*at = *at != NULL ? NULL : bufpool_objects_acquire(o);
	}
	for (int i = 0; i < 50; i++)
		bufpool_objects_release(o, mine[i]);
	return NULL;
}

Test(objects, the_books_are_right_after_threads)
{
	pthread_t ids[4];

	create(NULL);
	acquire(0, 100);
	release(0, 50);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 50; i++)
		bp_epoch_advance(bp_objects_engine(o));
	for (int i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	assert_books(50);
	release(50, 100);
	assert_books(0);
	bufpool_objects_destroy(o);
	cr_assert_eq(ended, made);
}
