/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who goes on using a pool that is gone, or its blocks: a line and an abort, or under misuse:report a count, and the program
 * goes on.
 */
#include "crime.h"
#include "pools_common.h"

#include <bufpool/buf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(pools_gone, .timeout = 60, .init = t_hold_epochs);

/* ---- blocks ---- */

static const size_t sizes[] = { 16, 100, 1024, 4096, 40000, 65536, 65537, 1 << 20, 5 << 20 };

struct stale {
	size_t n;
	int how;
	bool cached; /* when the pool ended */
	bool report;
	uintptr_t address;
	uint64_t misuse;
	bool went_on;
};

static void *by_resize(void *p, size_t n)
{
	return bufpool_resize(p, n * 2);
}

/* As everything releases, and by a resize. */
static void release_or_resize(struct stale *s, void *p)
{
	struct crime c = { .n = s->n, .how = s->how };

	if (s->how == RELEASE_WAYS)
		bufpool_release(by_resize(p, s->n));
	else
		release_as(&c, p);
}
enum { WAYS = RELEASE_WAYS + 1 };

static void silently_destroy(struct bufpool *pool)
{
	const int to = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);

	dup2(nowhere, STDERR_FILENO);
	bufpool_destroy(pool);
	dup2(to, STDERR_FILENO);
}

static void use_stale_block(void *shared)
{
	struct stale *s = shared;
	struct bufpool *pool = p_make("gone", 0, 0, 0), *other = p_make("other", 0, 0, 0);
	void *p = bufpool_acquire_from(pool, s->n);

	s->address = (uintptr_t)p;
	if (s->report && bufpool_option_set("misuse", "report"))
		_exit(3);
	if (s->cached)
		bufpool_release(p);
	silently_destroy(pool);
	s->misuse = t_stats().misuse;
	release_or_resize(s, t_launder(p));
	s->misuse = t_stats().misuse - s->misuse;
	/* Both pools still serve. */
	for (int i = 0; i < 1000; i++) {
		void *q = bufpool_acquire_from(other, s->n), *d = bufpool_acquire(s->n);

		if (!q || !d || q == d)
			_exit(4);
		memset(q, 1, s->n);
		memset(d, 2, s->n);
		bufpool_release(q);
		bufpool_release(d);
	}
	if (!p_balanced(other) || !t_balanced())
		_exit(5);
	s->went_on = true;
}

static struct stale *stale(size_t n, int how, bool cached, bool report)
{
	struct stale *s = t_shared(sizeof(*s));

	cr_assert_not_null(s);
	s->n = n;
	s->how = how;
	s->cached = cached;
	s->report = report;
	return s;
}

/* What the line says of the address is in its place; which misuse it is depends on what is known of the block. */
static void expect_told(struct stale *s)
{
	char address[32];
	struct t_result r;

	t_child(&r, use_stale_block, s);
	snprintf(address, sizeof(address), "0x%zx", (size_t)s->address);
	cr_assert_eq(strncmp(r.text, "bufpool: misuse: ", 17), 0, "%zu bytes, way %d: status %x, \"%s\"", s->n, s->how,
		     r.status, r.text);
	cr_assert_not_null(strstr(r.text, address), "%zu bytes, way %d: \"%s\"", s->n, s->how, r.text);
	cr_assert_eq(strchr(r.text, '\n'), r.text + strlen(r.text) - 1, "\"%s\"", r.text);
	if (!s->report) {
		cr_assert(t_aborted(&r), "%zu bytes, way %d: status %x, \"%s\"", s->n, s->how, r.status, r.text);
		return;
	}
	cr_assert(t_exited(&r, 0), "%zu bytes, way %d: status %x, \"%s\"", s->n, s->how, r.status, r.text);
	cr_assert(s->went_on);
	cr_assert_eq(s->misuse, 1, "%zu bytes, way %d: %d", s->n, s->how, (int)s->misuse);
}

Test(pools_gone, release_of_a_block_aborts)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (int how = 0; how < WAYS; how++)
			expect_told(stale(sizes[i], how, false, false));
}

Test(pools_gone, release_of_what_was_cached_aborts)
{
	p_need_own_memory();
	for (size_t i = 0; sizes[i] <= T_CAP; i++)
		expect_told(stale(sizes[i], (int)i % WAYS, true, false));
}

Test(pools_gone, under_report_it_is_counted_and_the_program_goes_on)
{
	p_need_own_memory();
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		for (int how = 0; how < WAYS; how++)
			expect_told(stale(sizes[i], how, false, true));
	expect_told(stale(100, 0, true, true));
	expect_told(stale(40000, 0, true, true));
}

/* ---- the pool itself ---- */

static void acquire(struct bufpool *pool)
{
	bufpool_release(bufpool_acquire_from(pool, 100));
}

static void acquire_large(struct bufpool *pool)
{
	bufpool_release(bufpool_acquire_from(pool, 1 << 20));
}

static void prefill(struct bufpool *pool)
{
	(void)bufpool_prefill(pool, 10, 100);
}

static void advance(struct bufpool *pool)
{
	bufpool_advance_epoch(pool);
}

static void trim(struct bufpool *pool)
{
	bufpool_trim(pool, 0);
}

static void stats(struct bufpool *pool)
{
	p_stats(pool);
}

static void class_stats(struct bufpool *pool)
{
	p_class(pool, 100);
}

static void destroy(struct bufpool *pool)
{
	bufpool_destroy(pool);
}

static void use_buf(struct bufpool *pool)
{
	struct bufpool_buf b;

	bufpool_buf_init(&b, pool);
	if (bufpool_buf_append(&b, "text", 4) == 0)
		bufpool_buf_release(&b);
}

static void (*const uses[])(struct bufpool *pool) = { acquire, acquire_large, prefill, advance, trim, stats, class_stats,
	destroy, use_buf };

struct use {
	size_t use;
	int used; /* before the pool ended */
	bool report, went_on;
	uint64_t misuse;
};

static void use_stale_pool(void *shared)
{
	struct use *u = shared;
	struct bufpool *pool = p_make("gone", 0, 0, 0);

	for (int i = 0; i < u->used; i++)
		acquire(pool);
	if (u->report && bufpool_option_set("misuse", "report"))
		_exit(3);
	bufpool_destroy(pool);
	uses[u->use](t_launder(pool));
	u->misuse = t_stats().misuse;
	bufpool_release(bufpool_acquire(100));
	if (!t_balanced())
		_exit(5);
	pool = p_make("next", 0, 0, 0);
	if (!pool)
		_exit(6);
	acquire(pool);
	if (!p_balanced(pool))
		_exit(7);
	bufpool_destroy(pool);
	u->went_on = true;
}

static void expect_no_pool(size_t use, int used, bool report)
{
	struct use *u = t_shared(sizeof(*u));
	struct t_result r;

	cr_assert_not_null(u);
	u->use = use;
	u->used = used;
	u->report = report;
	t_child(&r, use_stale_pool, u);
	cr_assert_eq(strncmp(r.text, "bufpool: misuse: no such pool", 29), 0, "use %zu: status %x, \"%s\"", use, r.status,
		     r.text);
	if (!report) {
		cr_assert(t_aborted(&r), "use %zu: status %x, \"%s\"", use, r.status, r.text);
		return;
	}
	cr_assert(t_exited(&r, 0), "use %zu: status %x, \"%s\"", use, r.status, r.text);
	cr_assert(u->went_on);
	cr_assert_geq(u->misuse, 1, "use %zu", use);
}

Test(pools_gone, using_the_pool_aborts)
{
	for (size_t use = 0; use < T_COUNT(uses); use++) {
		expect_no_pool(use, 0, false);
		expect_no_pool(use, 10, false);
	}
}

Test(pools_gone, under_report_the_program_goes_on)
{
	for (size_t use = 0; use < T_COUNT(uses); use++) {
		expect_no_pool(use, 0, true);
		expect_no_pool(use, 10, true);
	}
}

/* Of pools whose memory was given back too. */
Test(pools_gone, one_of_many_pools)
{
	enum { MANY = 40 };
	struct bufpool *pools[MANY];

	for (int i = 0; i < MANY; i++) {
		pools[i] = p_make("many", 0, 0, 0);
		acquire(pools[i]);
	}
	for (int i = 0; i < MANY; i++)
		bufpool_destroy(pools[i]);
	cr_assert_eq(bufpool_option_set("misuse", "report"), 0);
	for (int i = 0; i < MANY; i++)
		bufpool_destroy(t_launder(pools[i]));
	cr_assert_eq(t_stats().misuse, MANY);
}
