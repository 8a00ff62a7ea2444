/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool_prefill: so many blocks are there before the first request, and stay over all epochs, until a trim or the
 * program says otherwise.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

TestSuite(pools_prefill, .timeout = 60, .init = t_hold_epochs);

static const size_t sizes[] = { 16, 100, 1024, 4096, 14336, 40000, 65536 };
enum { COUNT = 100 };

static uint64_t kept(struct bufpool *pool, size_t n)
{
	const struct bufpool_class_stats c = p_class(pool, n);

	return c.cached + c.victim;
}

static void *p[1000];

/* All of them, without jemalloc being asked. */
static void expect_ready(struct bufpool *pool, size_t count, size_t n)
{
	const uint64_t created = p_stats(pool).from_backend;

	for (size_t i = 0; i < count; i++) {
		p[i] = bufpool_acquire_from(pool, n);
		cr_assert_not_null(p[i]);
		memset(p[i], 1, n);
	}
	cr_assert_eq(p_stats(pool).from_backend, created, "%zu bytes: %d blocks were not there", n,
		     (int)(p_stats(pool).from_backend - created));
	bufpool_release_many(p, count);
}

static void advance(struct bufpool *pool, int epochs)
{
	while (epochs--)
		bufpool_advance_epoch(pool);
	cr_assert(p_settle(pool));
}

Test(pools_prefill, what_is_prefilled_is_there_and_stays)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		struct bufpool *pool = p_make("ready", 0, 0, 0);

		cr_assert_eq(bufpool_prefill(pool, COUNT, sizes[i]), COUNT, "%zu bytes", sizes[i]);
		cr_assert_eq(kept(pool, sizes[i]), COUNT, "%zu bytes", sizes[i]);
		cr_assert_eq(p_stats(pool).in_use, 0);
		cr_assert_eq(p_stats(pool).acquired, 0, "prefilling is no request");
		expect_ready(pool, COUNT, sizes[i]);
		for (int epoch = 0; epoch < 10; epoch++) {
			advance(pool, 1);
			cr_assert_geq(kept(pool, sizes[i]), COUNT, "%zu bytes, epoch %d: %d", sizes[i], epoch,
				      (int)kept(pool, sizes[i]));
		}
		cr_assert_eq(kept(pool, sizes[i]), COUNT);
		expect_ready(pool, COUNT, sizes[i]);
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
	}
}

Test(pools_prefill, without_it_nothing_stays)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("not ready", 0, 0, 0);

	for (int i = 0; i < COUNT; i++)
		p[i] = bufpool_acquire_from(pool, 1024);
	bufpool_release_many(p, COUNT);
	advance(pool, 2);
	cr_assert_eq(kept(pool, 1024), 0);
	bufpool_destroy(pool);
}

/* More than that is used now and then: what is over the floor goes, the floor stays. */
Test(pools_prefill, what_is_over_the_floor_goes)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		struct bufpool *pool = p_make("floor", 0, 0, 0);

		cr_assert_eq(bufpool_prefill(pool, COUNT, sizes[i]), COUNT);
		for (int round = 0; round < 3; round++) {
			for (int k = 0; k < 1000; k++)
				p[k] = bufpool_acquire_from(pool, sizes[i]);
			bufpool_release_many(p, 1000);
			advance(pool, 4);
			cr_assert_geq(kept(pool, sizes[i]), COUNT, "%zu bytes: %d", sizes[i], (int)kept(pool, sizes[i]));
			/* What goes, goes by magazines of 64. */
			cr_assert_leq(kept(pool, sizes[i]), COUNT + 64, "%zu bytes: %d", sizes[i],
				      (int)kept(pool, sizes[i]));
			expect_ready(pool, COUNT, sizes[i]);
		}
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
	}
}

Test(pools_prefill, classes_have_floors_of_their_own)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("floors", 0, 0, 0);

	for (size_t i = 0; i < T_COUNT(sizes); i++)
		cr_assert_eq(bufpool_prefill(pool, 10 * (i + 1), sizes[i]), 10 * (i + 1));
	for (int k = 0; k < 50; k++)
		bufpool_release(bufpool_acquire_from(pool, 2000));
	advance(pool, 5);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		cr_assert_eq(kept(pool, sizes[i]), 10 * (i + 1), "%zu bytes: %d", sizes[i], (int)kept(pool, sizes[i]));
	cr_assert_eq(kept(pool, 2000), 0);
	bufpool_destroy(pool);
}

Test(pools_prefill, a_trim_overrules_it)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("trimmed", 0, 0, 0);

	for (size_t i = 0; i < T_COUNT(sizes); i++)
		cr_assert_eq(bufpool_prefill(pool, COUNT, sizes[i]), COUNT);
	cr_assert_gt(bufpool_trim(pool, 0), COUNT * (size_t)65536);
	cr_assert(p_settle(pool));
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		cr_assert_eq(kept(pool, sizes[i]), 0, "%zu bytes: %d", sizes[i], (int)kept(pool, sizes[i]));
	cr_assert_eq(bufpool_prefill(pool, COUNT, 1024), COUNT, "and can be had again");
	expect_ready(pool, COUNT, 1024);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

Test(pools_prefill, none_is_none)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		struct bufpool *pool = p_make("no longer", 0, 0, 0);

		cr_assert_eq(bufpool_prefill(pool, COUNT, sizes[i]), COUNT);
		advance(pool, 3);
		errno = 0;
		cr_assert_eq(bufpool_prefill(pool, 0, sizes[i]), 0);
		cr_assert_eq(errno, 0);
		advance(pool, 2);
		cr_assert_eq(kept(pool, sizes[i]), 0, "%zu bytes: %d", sizes[i], (int)kept(pool, sizes[i]));
		bufpool_destroy(pool);
	}
}

Test(pools_prefill, another_count_takes_the_place_of_the_first)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("again", 0, 0, 0);

	cr_assert_eq(bufpool_prefill(pool, 300, 40000), 300);
	cr_assert_eq(bufpool_prefill(pool, 500, 40000), 500);
	cr_assert_eq(kept(pool, 40000), 500, "%d", (int)kept(pool, 40000));
	advance(pool, 3);
	cr_assert_eq(kept(pool, 40000), 500);
	cr_assert_eq(bufpool_prefill(pool, 10, 40000), 10);
	advance(pool, 3);
	cr_assert_geq(kept(pool, 40000), 10);
	cr_assert_leq(kept(pool, 40000), 10 + 64);
	cr_assert(p_balanced(pool));
	bufpool_destroy(pool);
}

Test(pools_prefill, the_default_pool_s_blocks_too)
{
	t_need_pool(40000);
	cr_assert_eq(bufpool_prefill(NULL, COUNT, 40000), COUNT);
	advance(NULL, 5);
	cr_assert_geq(kept(NULL, 40000), COUNT);
	expect_ready(NULL, COUNT, 40000);
	bufpool_trim(NULL, 0);
	cr_assert(p_settle(NULL));
	cr_assert_eq(kept(NULL, 40000), 0);
	cr_assert_eq(bufpool_prefill(NULL, 0, 40000), 0);
	cr_assert(t_balanced());
}

/* ---- what can't be ---- */

static void expect_failure(struct bufpool *pool, size_t count, size_t n, int error)
{
	errno = 0;
	cr_assert_eq(bufpool_prefill(pool, count, n), 0, "%zu bytes", n);
	cr_assert_eq(errno, error, "%zu bytes: %s", n, strerror(errno));
}

Test(pools_prefill, over_the_cap_is_invalid)
{
	p_need_own_memory();
	struct bufpool *small = p_make("small", 4096, 0, 0), *large = p_make("large", T_LARGEST, 0, 0);

	expect_failure(small, 1, 4097, EINVAL);
	expect_failure(small, 1, 40000, EINVAL);
	expect_failure(small, 1, SIZE_MAX, EINVAL);
	expect_failure(large, 1, T_LARGEST + 1, EINVAL);
	expect_failure(NULL, 1, T_CAP + 1, EINVAL);
	cr_assert_eq(bufpool_prefill(small, 5, 4096), 5);
	cr_assert_eq(bufpool_prefill(large, 5, T_LARGEST), 5);
	cr_assert_eq(kept(large, T_LARGEST), 5);
	bufpool_destroy(small);
	bufpool_destroy(large);
}

Test(pools_prefill, what_passes_through_is_not_supported)
{
	struct bufpool *pool = p_make("passing", 0, 0, 0);
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	expect_failure(NULL, 1, 40000, ENOTSUP);
	expect_failure(pool, 1, 40000, ENOTSUP);
	expect_failure(pool, 1, 100, ENOTSUP);
	bufpool_destroy(pool);
}

static void prefill_in_no_memory(void *shared)
{
	struct bufpool *pool = p_make("starved", 0, 0, 0);
	size_t got;

	(void)shared;
	t_starve();
	errno = 0;
	got = bufpool_prefill(pool, 10000, 65536);
	if (got >= 10000)
		_exit(1);
	if (errno != ENOMEM)
		_exit(2);
	if (kept(pool, 65536) < got)
		_exit(3);
	if (!p_balanced(pool))
		_exit(4);
	_exit(0);
}

Test(pools_prefill, no_memory)
{
	struct t_result r;

	p_need_own_memory();
	t_child(&r, prefill_in_no_memory, NULL);
	cr_assert(t_exited(&r, 0), "status %x, %s", r.status, r.text);
}
