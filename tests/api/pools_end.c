/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The end of a pool: everything of it is gone at once, what was out is said in one line. Also the limit on pools.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(pools_end, .timeout = 60, .init = t_hold_epochs);

/* ---- what is said ---- */

struct out {
	char name[80];
	size_t count, n;
	uint64_t bytes; /* written by the child */
};

static struct out *out(const char *name, size_t count, size_t n)
{
	struct out *o = t_shared(sizeof(*o));

	cr_assert_not_null(o);
	snprintf(o->name, sizeof(o->name), "%s", name);
	o->count = count;
	o->n = n;
	return o;
}

static void destroy_with_some_out(void *shared)
{
	struct out *o = shared;
	struct bufpool *pool = p_make(o->name, 0, 0, 0);

	for (size_t i = 0; i < o->count; i++) {
		void *p = bufpool_acquire_from(pool, o->n);

		if (!p)
			_exit(3);
		o->bytes += bufpool_capacity(p);
	}
	for (size_t i = 0; i < 100; i++)
		bufpool_release(bufpool_acquire_from(pool, o->n + 1));
	bufpool_destroy(pool);
}

/* The name as a word, then count and bytes, and nothing else on standard error. */
static void expect_line(struct out *o)
{
	char numbers[2][32];
	struct t_result r;

	t_child(&r, destroy_with_some_out, o);
	cr_assert(t_exited(&r, 0), "status %x, \"%s\"", r.status, r.text);
	if (!o->count) {
		cr_assert_str_eq(r.text, "");
		return;
	}
	snprintf(numbers[0], sizeof(numbers[0]), " %zu %s ", o->count, o->count == 1 ? "block" : "blocks");
	snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu64 " bytes", o->bytes);
	cr_assert_eq(strncmp(r.text, "bufpool: ", 9), 0, "\"%s\"", r.text);
	cr_assert_not_null(strstr(r.text, o->name), "\"%s\" names no %s", r.text, o->name);
	cr_assert_not_null(strstr(r.text, numbers[0]), "\"%s\" is without%s", r.text, numbers[0]);
	cr_assert_not_null(strstr(r.text, numbers[1]), "\"%s\" is without %s", r.text, numbers[1]);
	cr_assert_eq(strchr(r.text, '\n'), r.text + strlen(r.text) - 1, "more than one line: \"%s\"", r.text);
}

Test(pools_end, what_was_out_is_said_in_one_line)
{
	p_need_own_memory();
	expect_line(out("frames", 1, 100));
	expect_line(out("frames of the decoder", 12, 40000));
	expect_line(out("over the cap", 3, 1 << 20));
	expect_line(out("1234567890123456789012345678901", 1000, 65536));
}

Test(pools_end, nothing_is_said_where_nothing_was_out)
{
	p_need_own_memory();
	expect_line(out("quiet", 0, 100));
	expect_line(out("quiet", 0, 1 << 20));
}

Test(pools_end, thirty_one_bytes_of_a_name_are_kept)
{
	char *at;

	p_need_own_memory();
	struct out *o = out("0123456789012345678901234567890123456789", 1, 100);
	struct t_result r;

	t_child(&r, destroy_with_some_out, o);
	cr_assert(t_exited(&r, 0));
	at = strstr(r.text, "0123456789012345678901234567890");
	cr_assert_not_null(at, "\"%s\"", r.text);
	cr_assert_neq(at[BUFPOOL_NAME_MAX], '1', "\"%s\"", r.text);
}

/* The name is copied: the caller's may change. */
static void change_the_name(void *shared)
{
	char name[] = "before";
	struct bufpool *pool = p_make(name, 0, 0, 0);

	(void)shared;
	memcpy(name, "behind", 6);
	if (!bufpool_acquire_from(pool, 10))
		_exit(3);
	bufpool_destroy(pool);
}

Test(pools_end, the_name_is_a_copy)
{
	struct t_result r;

	p_need_own_memory();
	t_child(&r, change_the_name, NULL);
	cr_assert_not_null(strstr(r.text, "before"), "\"%s\"", r.text);
}

/* ---- what is gone ---- */

static const size_t sizes[] = { 1, 100, 1024, 4096, 40000, 65536, 65537, 1 << 20, 5 << 20 };

Test(pools_end, nothing_is_owned_afterwards)
{
	enum { EACH = 50 };
	static void *p[T_COUNT(sizes)][EACH];
	void *mine;

	p_need_own_memory();
	struct bufpool *pool = p_make("ends", 0, 0, 0), *stays = p_make("stays", 0, 0, 0);

	mine = bufpool_acquire_from(stays, 100);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (size_t k = 0; k < EACH; k++) {
			p[i][k] = bufpool_acquire_from(pool, sizes[i]);
			cr_assert(bufpool_owns(p[i][k]));
		}
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		bufpool_release_many(p[i], EACH / 2); /* some out, some cached, some given back already */
	errno = 4711;
	bufpool_destroy(pool);
	cr_assert_eq(errno, 4711);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (size_t k = 0; k < EACH; k++)
			cr_assert_not(bufpool_owns(p[i][k]), "%zu bytes, %zu", sizes[i], k);
	cr_assert(bufpool_owns(mine));
	bufpool_release(mine);
	bufpool_destroy(stays);
	bufpool_destroy(NULL);
	cr_assert(t_balanced());
}

Test(pools_end, the_memory_is_back)
{
	enum { MANY = 3000, BLOCK = 65536, LARGE = 20, LARGE_BLOCK = 4 << 20 };
	struct p_process before, at_peak, after;

	p_need_own_memory();
	for (int round = 0; round < 4; round++) {
		struct bufpool *pool = p_make("large", 0, (size_t)1 << 30, 0);
		void *p = NULL;

		before = p_process();
		for (int i = 0; i < MANY; i++) {
			p = bufpool_acquire_from(pool, BLOCK);
			memset(p, 1, BLOCK);
			if (i % 2)
				bufpool_release(p);
		}
		for (int i = 0; i < LARGE; i++)
			memset(p = bufpool_acquire_from(pool, LARGE_BLOCK), 1, LARGE_BLOCK);
		for (int i = 0; i < 200000; i++)
			*(char *)(p = bufpool_acquire_from(pool, 64)) = 1;
		at_peak = p_process();
		cr_assert_gt(at_peak.resident, before.resident + (150u << 20));
		bufpool_destroy(pool);
		after = p_process();
		cr_assert_leq(after.resident, before.resident + (6u << 20), "round %d: %zu KiB before, %zu after", round,
			      before.resident >> 10, after.resident >> 10);
		if (round > 0)
			cr_assert_leq(after.size, before.size, "%zu KiB of addresses", (after.size - before.size) >> 10);
	}
}

/* ---- the limit ---- */

enum { MOST = 8192 };
static struct bufpool *all[MOST];

/* As many as there can be; how many there are. */
static int create_all(int from)
{
	int n = from, failed = 0;

	while (n < MOST && !(failed = bufpool_create(&all[n], NULL)))
		n++;
	cr_assert_eq(failed, -EMFILE, "%d pools, then %d", n, failed);
	return n;
}

static void expect_all_work(int n)
{
	for (int i = 0; i < n; i++) {
		void *p = bufpool_acquire_from(all[i], 100), *q = bufpool_acquire_from(all[i], 100000);

		cr_assert(p && q, "pool %d of %d", i, n);
		memset(p, i, 100);
		memset(q, i, 100000);
		cr_assert_eq(p_stats(all[i]).in_use, 2);
		bufpool_release(p);
		bufpool_release(q);
		cr_assert(p_balanced(all[i]));
	}
}

Test(pools_end, the_limit_on_pools_is_an_error_and_no_more)
{
	struct bufpool *untouched = (struct bufpool *)all;
	void *p;
	int n, most;

	p_need_own_memory();
	n = most = create_all(0);
	cr_assert_geq(n, 3500, "%d pools", n);
	cr_assert_eq(bufpool_create(&untouched, NULL), -EMFILE);
	cr_assert_eq(untouched, (struct bufpool *)all);
	expect_all_work(n);
	p = bufpool_acquire(100);
	cr_assert_not_null(p);
	bufpool_release(p);
	for (int i = 0; i < 100; i++)
		bufpool_destroy(all[--n]);
	expect_all_work(n);
	n = create_all(n);
	cr_assert_eq(n, most, "%d pools, %d before", n, most);
	/* From the middle, too. */
	for (int i = 0; i < n; i += 7) {
		bufpool_destroy(all[i]);
		cr_assert_eq(bufpool_create(&all[i], NULL), 0);
	}
	expect_all_work(n);
	while (n > 0)
		bufpool_destroy(all[--n]);
	n = create_all(0);
	cr_assert_eq(n, most, "%d pools, %d before", n, most);
	while (n > 0)
		bufpool_destroy(all[--n]);
	cr_assert(t_balanced());
}

/* ---- many, one after the other ---- */

/* More than the CPU's stack holds. */
static void cycle_full(int i)
{
	enum { MANY = 3000 };
	static void *p[MANY];
	struct bufpool *pool = p_make("full", 0, 0, 0);

	cr_assert_not_null(pool, "cycle %d", i);
	for (int k = 0; k < MANY; k++)
		p[k] = bufpool_acquire_from(pool, 64);
	bufpool_release_many(p, MANY);
	cr_assert_geq(p_stats(pool).cached, MANY);
	bufpool_destroy(pool);
}

static void cycle(int i, bool use)
{
	struct bufpool *pool = p_make("short", 0, 0, 0);
	void *p[4];

	cr_assert_not_null(pool, "cycle %d", i);
	for (int k = 0; use && k < 4; k++)
		cr_assert_not_null(p[k] = bufpool_acquire_from(pool, (size_t)(i * 7 + k * 977) % 5000 + (size_t)k * 30000));
	for (int k = 0; use && k < 4; k++)
		bufpool_release(p[k]);
	bufpool_destroy(pool);
}

static void expect_nothing_left_behind(int cycles, bool use)
{
	struct p_process before, after;

	for (int i = 0; i < 5000; i++)
		cycle(i, use);
	before = p_process();
	for (int i = 0; i < cycles; i++)
		cycle(i, use);
	after = p_process();
	cr_assert_leq(after.size, before.size, "%zu KiB of addresses", (after.size - before.size) >> 10);
	cr_assert_leq(after.resident, before.resident + (1u << 20), "%zu KiB", (after.resident - before.resident) >> 10);
	cr_assert_leq(after.mappings, before.mappings + 2, "%zu mappings, %zu before", after.mappings, before.mappings);
}

Test(pools_end, cycles_leave_nothing_behind)
{
	p_need_own_memory();
	expect_nothing_left_behind(30000, false);
	expect_nothing_left_behind(30000, true);
}

Test(pools_end, nor_do_those_of_pools_with_full_caches)
{
	struct p_process before = { 0 }, after;

	p_need_own_memory();
	for (int i = 0; i < 2500; i++) {
		cycle_full(i);
		if (i == 100)
			before = p_process();
	}
	after = p_process();
	cr_assert_leq(after.size, before.size, "%zu KiB of addresses", (after.size - before.size) >> 10);
	cr_assert_leq(after.resident, before.resident + (1u << 20), "%zu KiB", (after.resident - before.resident) >> 10);
}
