/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the pool sees of growable buffers: nothing of jemalloc in a steady state (S1), nothing kept over the cap (S12), and
 * what it learns from them, by its statistics.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(buf_pool, .timeout = 60, .init = t_hold_epochs);

/* Blocks that came from jemalloc or went back, and calls that passed through to it. */
static uint64_t calls_into_jemalloc(void)
{
	const struct bufpool_stats s = t_stats();

	return s.from_backend + t_dropped(&s) + s.passed_through;
}

/* ---- S1 ---- */

struct cycle {
	struct bufpool_buf b;
	uint64_t random;
	unsigned pieces;
	bool held;
};

/* Get, extend and use, reset, put. False: the content was not what had been written. */
static bool cycle(struct cycle *c)
{
	size_t pieces[8];
	const uint64_t seed = t_random(&c->random);
	bool right = true;

	for (unsigned i = 0; i < c->pieces; i++) {
		void *p;

		pieces[i] = t_random(&c->random) % (60000 / c->pieces) % ((size_t)64 << t_random(&c->random) % 11);
		p = bufpool_buf_extend(&c->b, pieces[i]);
		if (!p)
			return false;
		t_fill(p, pieces[i] < 64 ? pieces[i] : 64, seed + i);
	}
	for (size_t i = 0, at = 0; i < c->pieces; at += pieces[i++])
		right &= t_check(c->b.data + at, pieces[i] < 64 ? pieces[i] : 64, seed + i);
	bufpool_buf_reset(&c->b);
	if (!c->held)
		bufpool_buf_release(&c->b);
	return right;
}

static void expect_no_calls(struct cycle c, unsigned warm_up, unsigned cycles)
{
	uint64_t before;

	for (unsigned i = 0; i < warm_up; i++)
		cr_assert(cycle(&c));
	before = calls_into_jemalloc();
	for (unsigned i = 0; i < cycles; i++)
		cr_assert(cycle(&c), "cycle %u", i);
	cr_assert_eq(calls_into_jemalloc(), before, "%u pieces: %d calls", c.pieces,
		     (int)(calls_into_jemalloc() - before));
	bufpool_buf_release(&c.b);
}

Test(buf_pool, S1_a_million_cycles_make_no_call_into_jemalloc)
{
	t_need_pool(16);
	expect_no_calls((struct cycle){ .random = 1, .pieces = 1 }, 20000, 1000000);
}

Test(buf_pool, S1_nor_do_those_of_buffers_that_grow)
{
	t_need_pool(16);
	expect_no_calls((struct cycle){ .random = 2, .pieces = 2 }, 20000, 300000);
	expect_no_calls((struct cycle){ .random = 3, .pieces = 8 }, 20000, 300000);
}

Test(buf_pool, S1_nor_those_of_a_buffer_that_is_held)
{
	t_need_pool(16);
	expect_no_calls((struct cycle){ .random = 4, .pieces = 4, .held = true }, 20000, 1000000);
}

/* Always the same large request, and next to nothing in it: the pool has understood long before a thousand. */
Test(buf_pool, S1_nor_those_of_large_buffers_for_small_content)
{
	t_need_pool(T_CAP);
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	uint64_t before = 0;

	for (int i = 0; i < 1000000; i++) {
		if (i == 1000)
			before = calls_into_jemalloc();
		cr_assert_eq(bufpool_buf_reserve(&b, T_CAP), 0);
		memset(bufpool_buf_extend(&b, 50), i, 50);
		cr_assert(t_all(b.data, 50, (unsigned char)i));
		bufpool_buf_reset(&b);
		bufpool_buf_release(&b);
	}
	cr_assert_eq(calls_into_jemalloc(), before);
}

static void *release_it(void *b)
{
	for (int i = 0; i < 100; i++)
		bufpool_buf_release((struct bufpool_buf *)b + i);
	return NULL;
}

Test(buf_pool, S3_filled_here_released_there)
{
	t_need_pool(16);
	static struct bufpool_buf many[100];
	pthread_t thread;

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < 100; i++)
			t_fill(bufpool_buf_extend(&many[i], i * 300), i * 300, i);
		cr_assert_eq(pthread_create(&thread, NULL, release_it, many), 0);
		cr_assert_eq(pthread_join(thread, NULL), 0);
	}
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

/* ---- S12 ---- */

static int by_reserve(struct bufpool_buf *b, size_t n)
{
	return bufpool_buf_reserve(b, n);
}

static int by_extend(struct bufpool_buf *b, size_t n)
{
	return bufpool_buf_extend(b, n) ? 0 : -1;
}

static int by_append(struct bufpool_buf *b, size_t n)
{
	static const char zeroes[2 * T_CAP];

	return bufpool_buf_append(b, zeroes, n);
}

static int by_printf(struct bufpool_buf *b, size_t n)
{
	return bufpool_buf_printf(b, "%*s", (int)n - 1, "") < 0;
}

static int by_steps(struct bufpool_buf *b, size_t n)
{
	while (b->len < n)
		if (!bufpool_buf_extend(b, n - b->len < 100 ? n - b->len : 100))
			return -1;
	return 0;
}

static int by_shrinking(struct bufpool_buf *b, size_t n)
{
	if (!bufpool_buf_extend(b, 1 << 20))
		return -1;
	b->len = n;
	return bufpool_buf_shrink(b);
}

static int (*const ways[])(struct bufpool_buf *b, size_t n) = { by_reserve, by_extend, by_append, by_printf, by_steps,
	by_shrinking };

Test(buf_pool, S12_65536_is_kept_and_65537_is_not)
{
	t_need_pool(T_CAP);
	for (size_t i = 0; i < T_COUNT(ways); i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		cr_assert_eq(ways[i](&b, T_CAP), 0);
		cr_assert_eq(b.cap, T_CAP, "way %zu", i);
		b.len = T_CAP;
		const uint64_t cached = t_class(T_CAP).cached, dropped = t_stats().dropped_cap;
		bufpool_buf_release(&b);
		cr_assert_eq(t_class(T_CAP).cached, cached + 1, "way %zu", i);
		cr_assert_eq(t_stats().dropped_cap, dropped);
		cr_assert_eq(ways[i](&b, T_CAP + 1), 0);
		cr_assert_gt(b.cap, T_CAP);
		const uint64_t before = t_stats().dropped_cap, all = t_stats().cached;
		bufpool_buf_release(&b);
		cr_assert_eq(t_stats().dropped_cap, before + 1, "way %zu", i);
		cr_assert_eq(t_stats().cached, all);
	}
	cr_assert(t_balanced());
}

/* Twice 40960 would be over the cap. */
Test(buf_pool, S12_growing_ahead_of_need_ends_at_the_cap)
{
	t_need_pool(16);
	for (size_t first = 1000; first < T_CAP; first += first / 4) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		for (size_t n = first; n <= T_CAP; n += 100) {
			cr_assert_not_null(bufpool_buf_extend(&b, n - b.len));
			cr_assert_leq(b.cap, T_CAP, "%zu bytes in %zu", n, b.cap);
		}
		b.len = 0;
		bufpool_buf_release(&b);
	}
}

/* ---- what is learned ---- */

static void grow_and_release(size_t first, size_t n)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_not_null(bufpool_buf_extend(&b, first));
	while (b.len < n)
		cr_assert_not_null(bufpool_buf_extend(&b, n - b.len < 100 ? n - b.len : 100));
	bufpool_buf_release(&b);
}

Test(buf_pool, the_pool_learns_where_buffers_should_begin)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	uint64_t outgrown;

	t_need_pool(16);
	cr_assert_eq(t_stats().buf_start_bytes, 0);
	grow_and_release(10, 5000);
	cr_assert_eq(t_stats().buf_outgrown, 1);
	for (int i = 0; i < 200; i++)
		grow_and_release(10, 5000);
	cr_assert_eq(t_stats().buf_start_bytes, 8192);
	outgrown = t_stats().buf_outgrown;
	for (int i = 0; i < 1000; i++)
		grow_and_release(10, 5000);
	cr_assert_eq(t_stats().buf_outgrown, outgrown, "buffers begin large enough");
	cr_assert_eq(bufpool_buf_reserve(&b, 1), 0);
	cr_assert_eq(b.cap, 8192);
	bufpool_buf_release(&b);
	cr_assert_eq(bufpool_buf_reserve(&b, 10000), 0);
	cr_assert_eq(b.cap, 10240, "who asks for more gets what was asked for");
	bufpool_buf_release(&b);
	for (int i = 0; i < 500; i++)
		grow_and_release(10, 20);
	cr_assert_leq(t_stats().buf_start_bytes, 80, "and what was learned is forgotten");
	cr_assert(t_balanced());
}

static void use_little_of(size_t n)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_buf_reserve(&b, n), 0);
	cr_assert_not_null(bufpool_buf_extend(&b, 100));
	bufpool_buf_release(&b);
}

Test(buf_pool, the_fifth_large_buffer_for_small_content_is_given_back)
{
	t_need_pool(40000);
	for (int i = 0; i < 4; i++)
		use_little_of(40000);
	cr_assert_eq(t_stats().buf_given_back, 0);
	cr_assert_eq(t_class(40000).cached, 1);
	use_little_of(40000);
	cr_assert_eq(t_stats().buf_given_back, 1);
	cr_assert_eq(t_class(40000).cached, 0);
	cr_assert(t_balanced());
	cr_assert(t_settle());
	cr_assert_eq(t_stats().dropped_budget, 1);
	cr_assert(t_balanced());
	for (int i = 0; i < 1000; i++)
		use_little_of(40000);
	cr_assert_leq(t_stats().buf_given_back, 4, "who asks for them again and again wants them");
}

/* What counts is what the buffer held lately: a single large content long ago is no reason to keep a large block. */
Test(buf_pool, content_of_long_ago_does_not_count)
{
	t_need_pool(60000);
	for (int i = 0; i < 5; i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		cr_assert_not_null(bufpool_buf_extend(&b, 60000));
		for (int k = 0; k < 10; k++) {
			bufpool_buf_reset(&b);
			cr_assert_not_null(bufpool_buf_extend(&b, 100));
		}
		bufpool_buf_release(&b);
	}
	cr_assert_eq(t_stats().buf_given_back, 1);
	for (int i = 0; i < 20; i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		cr_assert_not_null(bufpool_buf_extend(&b, 60000));
		bufpool_buf_reset(&b);
		bufpool_buf_release(&b);
	}
	cr_assert_eq(t_stats().buf_given_back, 1);
}

Test(buf_pool, in_pass_mode_too)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(bufpool_buf_reserve(&b, T_CAP), 0);
		for (size_t n = 0; n < 3000; n += 10)
			t_fill(bufpool_buf_extend(&b, 10), 10, n);
		for (size_t n = 0; n < 3000; n += 10)
			cr_assert(t_check(b.data + n, 10, n));
		cr_assert_eq(bufpool_buf_shrink(&b), 0);
		cr_assert_leq(b.cap, 4096);
		const unsigned char *data = b.data;
		cr_assert_eq(bufpool_buf_shrink(&b), 0);
		cr_assert_eq(b.data, data, "what fits is not moved");
		bufpool_buf_release(&b);
	}
	cr_assert_eq(t_stats().misuse, 0);
}
