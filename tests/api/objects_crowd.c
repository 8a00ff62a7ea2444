/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools among threads, and in the children of forks. Each thing knows whether somebody has it: a thing in two hands,
 * or in somebody's hands and ended, is counted as wrong.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(objects_crowd, .timeout = 120);

enum { THREADS = 6, HELD = 40 };

static struct maker m;
static _Atomic bool stop;

static void sleep_at_random(uint64_t *random)
{
	if (t_random(random) % 2000 == 0)
		t_sleep_ms(1);
}

/* Takes and gives back in random order. */
static void *crowd(void *number)
{
	struct thing *held[HELD] = { NULL };
	uint64_t random = (size_t)number * 0x9e3779b97f4a7c15u + 1;

	for (long i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
		struct thing **at = &held[t_random(&random) % HELD];

		if (*at != NULL)
			o_release(&m, *at);
		*at = *at != NULL ? NULL : t_random(&random) % 4 == 0 ? o_acquire_cached(&m) : o_acquire(&m);
		sleep_at_random(&random);
	}
	for (int i = 0; i < HELD; i++)
		if (held[i] != NULL)
			o_release(&m, held[i]);
	return NULL;
}

static void *ticks(void *unused)
{
	while (!atomic_load(&stop)) {
		bufpool_tick();
		t_sleep_ms(1);
	}
	return unused;
}

static void *affinities(void *unused)
{
	uint64_t random = 1;

	for (unsigned i = 0; !atomic_load(&stop); i++) {
		t_pin(t_cpu(i % 2) >= 0 ? t_cpu(i % 2) : t_cpu(0));
		for (int k = 0; k < 50; k++) {
			struct thing *t = o_acquire(&m);

			if (t != NULL)
				o_release(&m, t);
		}
		sleep_at_random(&random);
	}
	return unused;
}

static void run_crowd(const char *epoch_ms, unsigned ms)
{
	pthread_t ids[THREADS + 2];

	cr_assert_eq(bufpool_option_set("epoch_ms", epoch_ms), 0);
	o_create(&m);
	for (size_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, crowd, (void *)i), 0);
	cr_assert_eq(pthread_create(&ids[THREADS], NULL, ticks, NULL), 0);
	cr_assert_eq(pthread_create(&ids[THREADS + 1], NULL, affinities, NULL), 0);
	t_sleep_ms(ms);
	atomic_store(&stop, true);
	for (size_t i = 0; i < T_COUNT(ids); i++)
		pthread_join(ids[i], NULL);
	cr_assert_eq(m.wrong, 0, "%u", m.wrong);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects_crowd, no_object_is_in_two_hands)
{
	run_crowd("60000", 1500);
}

Test(objects_crowd, nor_while_epochs_end_all_the_time)
{
	run_crowd("10", 1500);
}

/* The pool ends while its threads, and somebody who ticks, go on: they only release by then. */
static pthread_barrier_t barrier;

static void *take_and_give_late(void *unused)
{
	struct thing *held[HELD];

	for (int round = 0; round < 300; round++) {
		pthread_barrier_wait(&barrier);
		for (int i = 0; i < HELD; i++)
			held[i] = o_acquire(&m);
		for (int i = 0; i < HELD / 2; i++)
			o_release(&m, held[i]);
		pthread_barrier_wait(&barrier); /* the pool is destroyed from here on */
		for (int i = HELD / 2; i < HELD; i++)
			o_release(&m, held[i]);
		pthread_barrier_wait(&barrier);
	}
	return unused;
}

Test(objects_crowd, pools_that_end_under_threads_and_ticks)
{
	const uint64_t before = t_stats().in_use;
	struct thing *things;
	pthread_t ids[3], ticker;

	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	cr_assert_eq(pthread_barrier_init(&barrier, NULL, 4), 0);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, take_and_give_late, NULL), 0);
	cr_assert_eq(pthread_create(&ticker, NULL, ticks, NULL), 0);
	for (int round = 0; round < 300; round++) {
		things = m.things;
		memset(&m, 0, sizeof(m));
		m.things = things;
		o_create(&m);
		memset(m.things, 0, 1000 * sizeof(*m.things));
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		bufpool_objects_destroy(m.pool);
		pthread_barrier_wait(&barrier);
		for (int i = 0; i < 20000 && m.ended < m.made; i++)
			t_sleep_ms(1); /* the one that ticks may have been in it, and ends the rest */
		cr_assert(o_all_ended_once(&m), "round %d", round);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	pthread_join(ticker, NULL);
	cr_assert_eq(t_stats().in_use, before, "a pool's own memory");
}

/* ---- handing over: acquired here, released there ---- */

enum { HAND_OVERS = 1000000, SLOTS = 64 };

static _Atomic(struct thing *) slots[SLOTS];

static void *receive(void *unused)
{
	for (unsigned i = 0; i < HAND_OVERS; i++) {
		struct thing *t;

		for (unsigned spin = 1; (t = atomic_exchange(&slots[i % SLOTS], NULL)) == NULL; spin++)
			if (spin % 64 == 0)
				sched_yield();
		o_release(&m, t);
	}
	return unused;
}

Test(objects_crowd, S3_a_million_hand_overs_construct_a_few)
{
	pthread_t other;

	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	o_need_pool();
	o_create(&m);
	cr_assert_eq(pthread_create(&other, NULL, receive, NULL), 0);
	for (unsigned i = 0; i < HAND_OVERS; i++) {
		struct thing *t = o_acquire(&m);

		if (t == NULL)
			abort();
		for (unsigned spin = 1; atomic_load(&slots[i % SLOTS]) != NULL; spin++)
			if (spin % 64 == 0)
				sched_yield();
		atomic_store(&slots[i % SLOTS], t);
	}
	pthread_join(other, NULL);
	cr_assert_leq(m.made, 2000, "%u were constructed", m.made);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

/* ---- fork ---- */

static struct thing *some[200];

Test(objects_crowd, a_child_of_one_thread_has_everything)
{
	struct t_result r;

	o_need_pool();
	t_helper(&r, "fork_objects", NULL, "epoch_ms:60000");
	cr_assert(t_exited(&r, 0), "%s", r.text);
}

/* What the parent's threads had cached or in their hands is lost: none of it is handed out or ended here. */
static int what_was_theirs_is_lost(void)
{
	const unsigned before = m.made;

	for (int i = 0; i < 200; i++)
		if ((some[i] = o_acquire(&m)) == NULL || some[i] < &m.things[before])
			return 1;
	if (m.wrong != 0)
		return 2;
	o_release_all(&m, some, 150);
	for (int i = 0; i < 150; i++)
		if (o_acquire(&m) < &m.things[before])
			return 3;
	if (m.made != before + 200)
		return 4; /* the child's own are cached and used again */
	bufpool_tick();
	o_release_all(&m, some, 100);
	bufpool_objects_destroy(m.pool);
	o_release_all(&m, some + 100, 100);
	if (m.wrong != 0)
		return 5;
	for (unsigned i = 0; i < m.made; i++)
		if (m.things[i].ends != (i >= before))
			return 6;
	return 0;
}

static void *hold_some(void *unused)
{
	struct thing *held[HELD];

	for (int i = 0; i < HELD; i++)
		held[i] = o_acquire(&m);
	for (int i = 0; i < HELD / 2; i++)
		o_release(&m, held[i]);
	pthread_barrier_wait(&barrier);
	while (!atomic_load(&stop))
		sched_yield();
	for (int i = HELD / 2; i < HELD; i++)
		o_release(&m, held[i]);
	return unused;
}

Test(objects_crowd, a_child_of_many_gets_none_of_theirs)
{
	pthread_t other;

	o_need_pool();
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(pthread_barrier_init(&barrier, NULL, 2), 0);
	o_create(&m);
	o_acquire_all(&m, some, 100);
	o_release_all(&m, some, 100);
	cr_assert_eq(pthread_create(&other, NULL, hold_some, NULL), 0);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(t_in_child(what_was_theirs_is_lost), 0);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	cr_assert_eq(m.wrong, 0);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

static int goes_on(void)
{
	const unsigned before = m.ended;

	for (int i = 0; i < 2000; i++) {
		struct thing *t = bufpool_objects_acquire(m.pool);

		if (t == NULL)
			return 1;
		bufpool_objects_release(m.pool, t);
		if (i % 100 == 0)
			bufpool_tick();
	}
	bufpool_objects_destroy(m.pool);
	return m.ended > before ? 0 : 2;
}

/* Whatever the others are at: no call hangs, and the pool still ends. */
Test(objects_crowd, a_child_goes_on_whatever_the_others_were_at)
{
	pthread_t ids[3];

	o_need_pool();
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	o_create(&m);
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, crowd, (void *)i), 0);
	cr_assert_eq(pthread_create(&ids[2], NULL, ticks, NULL), 0);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(t_in_child(goes_on), 0);
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

/* A destruct that forks: in the child, this thread's call goes on and ends. */
static int forks_left = 1;
static int child_status = -1;

static void destruct_and_fork(void *obj, void *ctx, int reason)
{
	if (forks_left-- > 0) {
		pid_t pid = fork();

		if (pid == 0)
			alarm(20);
		else
			waitpid(pid, &child_status, 0);
		if (pid == 0)
			child_status = -2;
		/* A call inside the call that the fork came in. */
		if (bufpool_objects_acquire_cached(m.pool) != NULL)
			atomic_fetch_add(&m.wrong, 1);
	}
	o_destruct(obj, ctx, reason);
}

static void *make_one(void *ctx)
{
	struct maker *maker = ctx;

	return &maker->things[maker->made++];
}

Test(objects_crowd, a_destruct_may_fork)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), make_one, NULL, destruct_and_fork };
	pthread_t other;
	bool good;

	o_create(&m);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(pthread_create(&other, NULL, ticks, NULL), 0); /* a second thread */
	cr_assert_eq(bufpool_objects_create(&m.pool, &ops, &m), 0);
	o_acquire_all(&m, some, 2);
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	o_release(&m, some[0]); /* forks on the slow path */
	o_release(&m, some[1]);
	bufpool_objects_destroy(m.pool);
	good = o_all_ended_once(&m);
	if (child_status == -2)
		_exit(good ? 0 : 1);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	cr_assert(good);
	cr_assert_eq(child_status, 0);
}
