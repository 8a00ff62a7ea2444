/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The return cap (S12): inclusive, 65536 by default, the same at every entry point. "Kept" is seen from outside:
 * after the release the block counts as cached, and the next acquire takes nothing from jemalloc. "Not kept" is
 * over_cap counted at the acquire and dropped_cap at the release.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(cap, .timeout = 30, .init = t_hold_epochs);

static char text[3 * T_CAP];

static void *plain(size_t n)
{
	return bufpool_acquire(n);
}

static void *zeroed(size_t n)
{
	return bufpool_acquire_zeroed(n);
}

static void *array(size_t n)
{
	return bufpool_acquire_array(1, n);
}

static void *array_of_bytes(size_t n)
{
	return bufpool_acquire_array(n, 1);
}

static void *aligned(size_t n)
{
	return bufpool_acquire_aligned(16, n);
}

static void *at_least(size_t n)
{
	size_t capacity;

	return bufpool_acquire_at_least(&capacity, n);
}

static void *many(size_t n)
{
	void *p;

	return bufpool_acquire_many(&p, 1, n) ? p : NULL;
}

static void *resized_null(size_t n)
{
	return bufpool_resize(NULL, n);
}

static void *resized_up(size_t n)
{
	return bufpool_resize(bufpool_acquire(100), n);
}

static void *resized_down(size_t n)
{
	return bufpool_resize(bufpool_acquire(300000), n);
}

static void *resized_used_up(size_t n)
{
	return bufpool_resize_used(bufpool_acquire(100), 50, n);
}

static void *resized_used_down(size_t n)
{
	return bufpool_resize_used(bufpool_acquire(300000), 50, n);
}

static void *from_default(size_t n)
{
	return bufpool_acquire_from(NULL, n);
}

static void *duplicated_text(size_t n)
{
	memset(text, 'x', sizeof(text) - 1);
	return bufpool_strndup(text, n - 1);
}

static void *duplicated_bytes(size_t n)
{
	return bufpool_memdup(text, n);
}

static void *(*const entries[])(size_t n) = { plain, zeroed, array, array_of_bytes, aligned, at_least, many,
	resized_null, resized_up, resized_down, resized_used_up, resized_used_down, from_default, duplicated_text,
	duplicated_bytes };

static void release_plain(void *p, size_t n)
{
	(void)n;
	bufpool_release(p);
}

static void release_aligned(void *p, size_t n)
{
	bufpool_release_aligned_sized(p, 16, n);
}

static void release_many(void *p, size_t n)
{
	(void)n;
	bufpool_release_many(&p, 1);
}

static void (*const exits[])(void *p, size_t n) = { release_plain, bufpool_release_sized, release_aligned,
	bufpool_release_wiped, release_many };

static void expect_kept(void *(*get)(size_t n), void (*put)(void *p, size_t n), size_t n)
{
	void *p = get(n), *again;
	struct bufpool_stats before, after;
	uint64_t cached;

	cr_assert_not_null(p);
	before = t_stats();
	cached = t_class(n).cached;
	put(p, n);
	after = t_stats();
	cr_assert_eq(after.dropped_cap, before.dropped_cap);
	cr_assert_eq(after.released, before.released + 1);
	cr_assert_eq(t_class(n).cached, cached + 1);
	again = bufpool_acquire(n);
	cr_assert_eq(t_stats().from_backend, after.from_backend, "the kept block was not used again");
	cr_assert_eq(t_stats().over_cap, after.over_cap);
	bufpool_release(again);
}

static void expect_not_kept(void *(*get)(size_t n), void (*put)(void *p, size_t n), size_t n)
{
	const uint64_t over_cap = t_stats().over_cap;
	void *p = get(n);
	struct bufpool_stats before = t_stats(), after;

	cr_assert_not_null(p);
	cr_assert_geq(before.over_cap, over_cap + 1, "acquire of %zu bytes", n);
	cr_assert(bufpool_owns(p));
	put(p, n);
	after = t_stats();
	cr_assert_eq(after.dropped_cap, before.dropped_cap + 1, "release of %zu bytes", n);
	cr_assert_eq(after.cached, before.cached);
	cr_assert_eq(after.in_use, before.in_use - 1);
}

Test(cap, S12_65536_is_kept_at_every_acquire)
{
	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(entries); i++)
		expect_kept(entries[i], release_plain, T_CAP);
	cr_assert(t_balanced());
}

Test(cap, S12_65536_is_kept_at_every_release)
{
	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(exits); i++)
		expect_kept(plain, exits[i], T_CAP);
	cr_assert(t_balanced());
}

Test(cap, S12_65537_is_not_kept_at_any_acquire)
{
	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(entries); i++)
		expect_not_kept(entries[i], release_plain, T_CAP + 1);
	cr_assert(t_balanced());
}

Test(cap, S12_65537_is_not_kept_at_any_release)
{
	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(exits); i++)
		expect_not_kept(plain, exits[i], T_CAP + 1);
	cr_assert(t_balanced());
}

Test(cap, S12_a_burst_of_large_blocks_leaves_nothing_behind)
{
	void *blocks[100];

	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(blocks); i++)
		blocks[i] = bufpool_acquire(T_CAP + 1 + i * 5000);
	bufpool_release_many(blocks, T_COUNT(blocks));
	cr_assert_eq(t_stats().over_cap, T_COUNT(blocks));
	cr_assert_eq(t_stats().dropped_cap, T_COUNT(blocks));
	cr_assert_leq(t_stats().cached_bytes, (uint64_t)T_CAP, "only what t_need_pool tried");
	cr_assert(t_balanced());
}

Test(cap, S12_resizing_across_the_cap_keeps_the_books)
{
	void *p;

	t_need_pool(T_CAP);
	p = bufpool_acquire(T_CAP);
	for (int i = 0; i < 50; i++) {
		p = bufpool_resize(p, T_CAP + 1);
		cr_assert_eq(bufpool_capacity(p), bufpool_good_size(T_CAP + 1));
		p = bufpool_resize(p, T_CAP);
		cr_assert_eq(bufpool_capacity(p), T_CAP);
		cr_assert(t_balanced());
	}
	expect_kept(plain, release_plain, T_CAP);
	bufpool_release(p);
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

static void expect_cap(size_t cap)
{
	char value[32];

	cr_assert_eq(bufpool_option_get(value, sizeof(value), "cap"), 0);
	cr_assert_eq(strtoul(value, NULL, 10), cap);
	t_need_pool(cap);
	for (size_t i = 0; i < T_COUNT(entries); i++) {
		expect_kept(entries[i], release_plain, cap);
		expect_not_kept(entries[i], release_plain, cap + 1);
	}
	cr_assert(t_balanced());
}

Test(cap, S12_settable_before_first_use_to_4K)
{
	cr_assert_eq(bufpool_option_set("cap", "4096"), 0);
	expect_cap(4096);
}

Test(cap, S12_settable_before_first_use_to_128K)
{
	cr_assert_eq(bufpool_option_set("cap", "131072"), 0);
	expect_cap(131072);
}

Test(cap, range_is_4K_to_4M)
{
	cr_assert_eq(bufpool_option_set("cap", "4095"), -EINVAL);
	cr_assert_eq(bufpool_option_set("cap", "4194305"), -EINVAL);
	cr_assert_eq(bufpool_option_set("cap", "4194304"), 0);
}

Test(cap, S12_settable_in_BUFPOOL_CONF)
{
	static const char *const caps[] = { "4096", "16384", "65536", "262144", "4194304" };
	struct t_result r;

	for (size_t i = 0; i < T_COUNT(caps); i++) {
		char conf[64] = "cap:";

		strcat(conf, caps[i]);
		t_helper(&r, "cap", caps[i], conf);
		cr_assert(t_exited(&r, 0), "cap %s: %s", caps[i], r.text);
	}
}
