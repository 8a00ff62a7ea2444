/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Epochs (S10, and what Go's pool tests of garbage collection say, in our words): one idle epoch costs nothing, two
 * give everything back. Where a test counts blocks it ends epochs itself; where it is about time, epochs are short.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>

TestSuite(epochs, .timeout = 30);

enum { BUFFERS = 100 };
static const size_t tried[] = { 8, 64, 1024, 4096, 40000, 65536 };

static void *buffers[BUFFERS];

static void acquire_all(size_t n)
{
	for (size_t i = 0; i < BUFFERS; i++) {
		buffers[i] = bufpool_acquire(n);
		cr_assert_not_null(buffers[i]);
		memset(buffers[i], 3, n);
	}
}

static void release_all(void)
{
	bufpool_release_many(buffers, BUFFERS);
}

static void survive_one(size_t n)
{
	struct bufpool_stats before;
	struct bufpool_class_stats c;

	acquire_all(n);
	release_all();
	bufpool_advance_epoch(NULL);
	c = t_class(n);
	cr_assert_geq(c.cached + c.victim, BUFFERS, "%zu bytes", n);
	before = t_stats();
	acquire_all(n);
	cr_assert_eq(t_stats().from_backend, before.from_backend, "%zu bytes: jemalloc was asked", n);
	cr_assert_geq(t_stats().from_victim, before.from_victim + 1);
	release_all();
}

static void die_of_two(size_t n)
{
	struct bufpool_stats before, after;
	struct bufpool_class_stats c;

	acquire_all(n);
	release_all();
	before = t_stats();
	bufpool_advance_epoch(NULL);
	bufpool_advance_epoch(NULL);
	cr_assert(t_settle());
	c = t_class(n);
	after = t_stats();
	cr_assert_eq(c.cached + c.victim + c.queued, 0, "%zu bytes: %d, %d", n, (int)c.cached, (int)c.victim);
	cr_assert_geq(t_dropped(&after), t_dropped(&before) + BUFFERS);
	cr_assert_geq(after.dropped_epoch, before.dropped_epoch + BUFFERS);
	acquire_all(n);
	cr_assert_geq(t_stats().from_backend, after.from_backend + BUFFERS);
	release_all();
}

Test(epochs, S10_100_buffers_survive_one_epoch, .init = t_hold_epochs)
{
	for (size_t i = 0; i < T_COUNT(tried); i++) {
		t_need_pool(tried[i]);
		survive_one(tried[i]);
	}
	cr_assert(t_balanced());
}

Test(epochs, S10_none_of_100_survives_two, .init = t_hold_epochs)
{
	for (size_t i = 0; i < T_COUNT(tried); i++) {
		t_need_pool(tried[i]);
		die_of_two(tried[i]);
	}
	cr_assert(t_balanced());
}

Test(epochs, S10_use_in_every_epoch_keeps_the_buffers, .init = t_hold_epochs)
{
	uint64_t created;

	t_need_pool(1024);
	acquire_all(1024);
	release_all();
	created = t_stats().from_backend;
	for (int epoch = 0; epoch < 20; epoch++) {
		bufpool_advance_epoch(NULL);
		acquire_all(1024);
		release_all();
	}
	cr_assert_eq(t_stats().from_backend, created);
}

Test(epochs, S10_what_is_in_use_is_no_epoch_s_business, .init = t_hold_epochs)
{
	t_need_pool(16);
	acquire_all(1024);
	for (size_t i = 0; i < BUFFERS; i++)
		t_fill(buffers[i], 1024, i);
	for (int epoch = 0; epoch < 5; epoch++)
		bufpool_advance_epoch(NULL);
	cr_assert_geq(t_stats().in_use, BUFFERS);
	for (size_t i = 0; i < BUFFERS; i++)
		cr_assert(t_check(buffers[i], 1024, i));
	release_all();
	cr_assert(t_balanced());
}

Test(epochs, S14_a_large_number_spills_and_still_obeys_the_two_epochs, .init = t_hold_epochs)
{
	enum { MANY = 20000 };
	static void *many[MANY];

	t_need_pool(256);
	for (int round = 0; round < 2; round++) {
		cr_assert_eq(bufpool_acquire_many(many, MANY, 256), MANY);
		bufpool_release_many(many, MANY);
	}
	bufpool_advance_epoch(NULL);
	cr_assert_geq(t_class(256).cached + t_class(256).victim, MANY);
	bufpool_advance_epoch(NULL);
	cr_assert(t_settle());
	cr_assert_eq(t_class(256).cached + t_class(256).victim, 0);
	cr_assert(t_balanced());
}

Test(epochs, S14_jemalloc_is_asked_only_where_nothing_is_cached, .init = t_hold_epochs)
{
	void *p;
	uint64_t created;

	t_need_pool(40000);
	bufpool_trim(NULL, 0);
	cr_assert(t_settle());
	created = t_stats().from_backend;
	p = bufpool_acquire(40000);
	cr_assert_gt(t_stats().from_backend, created);
	created = t_stats().from_backend;
	bufpool_release(p);
	for (int i = 0; i < 10000; i++)
		bufpool_release(bufpool_acquire(40000));
	cr_assert_eq(t_stats().from_backend, created);
}

Test(epochs, advance_counts, .init = t_hold_epochs)
{
	uint64_t epochs;

	bufpool_release(bufpool_acquire(64));
	epochs = t_stats().epochs;
	for (int i = 0; i < 7; i++)
		bufpool_advance_epoch(NULL);
	cr_assert_eq(t_stats().epochs, epochs + 7);
}

/* Hits and nothing else for that long, in this thread's own time; returns how many epochs ended meanwhile. */
static uint64_t only_hit(const char *epoch_ms, int64_t ms)
{
	uint64_t epochs;
	int64_t begin;

	t_need_pool(1024);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	cr_assert_eq(bufpool_option_set("epoch_ms", epoch_ms), 0);
	bufpool_release(bufpool_acquire(1024));
	epochs = t_stats().epochs;
	begin = t_ran_ns();
	while (t_ran_ns() - begin < ms * 1000000)
		for (int i = 0; i < 1000; i++)
			bufpool_release(bufpool_acquire(1024));
	return t_stats().epochs - epochs;
}

Test(epochs, a_program_that_only_hits_still_advances)
{
	const int64_t begin = t_now_ns();
	const uint64_t epochs = only_hit("20", 400);

	cr_assert_geq(epochs, 5, "%d epochs in 400 ms", (int)epochs);
	cr_assert_leq(epochs, (uint64_t)(t_now_ns() - begin) / 20000000 + 2); /* the clock is a tick late */
}

Test(epochs, what_is_hit_all_the_time_is_not_taken_away)
{
	uint64_t created;

	t_need_pool(1024);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	bufpool_release(bufpool_acquire(1024)); /* what t_need_pool released may lie on another CPU */
	created = t_stats().from_backend;
	cr_assert_geq(only_hit("150", 900), 2);
	cr_assert_eq(t_stats().from_backend, created);
}

Test(epochs, hits_of_one_class_let_another_class_go)
{
	int64_t end;

	t_need_pool(40000);
	cr_assert_eq(bufpool_option_set("epoch_ms", "20"), 0);
	acquire_all(40000);
	release_all();
	end = t_now_ns() + 20000 * (int64_t)1000000;
	while (t_now_ns() < end && t_class(40000).cached + t_class(40000).victim + t_class(40000).queued)
		for (int i = 0; i < 20000; i++)
			bufpool_release(bufpool_acquire(64));
	cr_assert_eq(t_class(40000).cached + t_class(40000).victim + t_class(40000).queued, 0);
	cr_assert(t_balanced());
}

Test(epochs, tick_alone_gives_everything_back)
{
	const int64_t end = t_now_ns() + 20000 * (int64_t)1000000;
	int ms;

	t_need_pool(40000);
	cr_assert_eq(bufpool_option_set("epoch_ms", "50"), 0);
	acquire_all(40000);
	release_all();
	while ((ms = bufpool_tick()) >= 0 && t_now_ns() < end) {
		cr_assert_leq(ms, 60, "%d ms, but the epoch ends within 50", ms);
		poll(NULL, 0, ms);
	}
	cr_assert_eq(ms, -1, "still %d ms after 20 s", ms);
	cr_assert_eq(t_class(40000).cached + t_class(40000).victim + t_class(40000).queued, 0);
	cr_assert(t_balanced());
}

Test(epochs, tick_has_something_to_do_while_blocks_are_cached)
{
	t_need_pool(40000);
	cr_assert_eq(bufpool_option_set("epoch_ms", "1000"), 0);
	bufpool_release(bufpool_acquire(40000));
	cr_assert_geq(bufpool_tick(), 0);
	cr_assert_leq(bufpool_tick(), 1000);
}

static double percentile_us(int64_t *ns, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t k = i; k && ns[k] < ns[k - 1]; k--) {
			const int64_t swap = ns[k];

			ns[k] = ns[k - 1];
			ns[k - 1] = swap;
		}
	return (double)ns[count / 2] / 1000;
}

/* O(classes x CPUs), not O(blocks): ending an epoch over 64 times as many cached blocks takes about as long. Only the
 * first advance is timed; the second one may give 64 times as much back. */
Test(epochs, S10_the_pause_does_not_grow_with_the_cached_blocks, .init = t_hold_epochs)
{
	enum { MANY = 100000, ROUNDS = 9 };
	static void *many[MANY];
	double us[2];

	t_need_pool(256);
	for (int large = 0; large < 2; large++) {
		const size_t count = large ? MANY : MANY / 100;
		int64_t ns[ROUNDS];

		for (int round = 0; round < ROUNDS; round++) {
			bufpool_trim(NULL, 0);
			cr_assert(t_settle());
			cr_assert_eq(bufpool_acquire_many(many, count, 256), count);
			bufpool_release_many(many, count);
			ns[round] = -t_ran_ns(); /* what another program takes meanwhile is not the library's */
			bufpool_advance_epoch(NULL);
			ns[round] += t_ran_ns();
			cr_assert_geq(t_class(256).victim + t_class(256).cached, count);
		}
		us[large] = percentile_us(ns, ROUNDS);
	}
	cr_log_info("pause: %.1f us over 1000 blocks, %.1f us over 100000", us[0], us[1]);
	cr_assert_lt(us[1], 8 * us[0] + 100, "%.1f us over 1000 blocks, %.1f us over 100000", us[0], us[1]);
}
