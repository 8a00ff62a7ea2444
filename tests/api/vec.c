/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Vectors: every block is released once, by its start, and not before it is spent. What readv and writev make of them
 * is vec_io.c's.
 */
#include "crime.h"
#include "vec_text.h"

#include <bufpool/vec.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(vec, .timeout = 60);

/* ---- what it holds ---- */

Test(vec, zeroed_memory_is_an_empty_vector)
{
	struct bufpool_vec v, init = BUFPOOL_VEC_INIT;

	memset(&v, 0, sizeof(v));
	cr_assert(!memcmp(&v, &init, sizeof(v)));
	bufpool_vec_advance(&v, 0);
	bufpool_vec_truncate(&v, 0);
	bufpool_vec_truncate(&v, 5);
	bufpool_vec_truncate_bytes(&v, 5);
	cr_assert_eq(bufpool_vec_bytes(&v), 0);
	cr_assert_eq(bufpool_vec_iovcnt(&v), 0);
	cr_assert_eq(bufpool_vec_writev(&v, -1), 0);
	bufpool_vec_release(&v);
	bufpool_vec_release(NULL);
	cr_assert(!memcmp(&v, &init, sizeof(v)));
}

Test(vec, blocks_are_held_in_order_and_released_once)
{
	const uint64_t in_use = t_stats().in_use;
	static unsigned char text[1u << 22];
	struct bufpool_vec v = BUFPOOL_VEC_INIT, none = BUFPOOL_VEC_INIT;
	uint64_t random = 1;
	size_t bytes = 0;

	t_need_pool(16);
	for (int i = 0; i < 1000; i++) {
		const size_t n = t_vec_random_size(&random);

		t_vec_add(&v, n);
		bytes += n;
		cr_assert_eq(v.count, (size_t)i + 1);
	}
	cr_assert_eq(bufpool_vec_bytes(&v), bytes);
	cr_assert_eq(t_vec_gather(text, &v), bytes);
	cr_assert(t_check(text, bytes, T_VEC_SEED));
	cr_assert_eq(t_stats().in_use, in_use + 1001, "1000 blocks and one array");
	errno = 77;
	bufpool_vec_release(&v);
	cr_assert_eq(errno, 77);
	cr_assert(!memcmp(&v, &none, sizeof(v)));
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(vec, push_takes_a_block_over)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	const uint64_t in_use = t_stats().in_use;
	char *block = bufpool_acquire(100), *large = bufpool_acquire(200000);

	memcpy(block, "some text", 9);
	cr_assert_eq(bufpool_vec_push(&v, block, 9), 0);
	cr_assert_eq(bufpool_vec_push(&v, large, 0), 0);
	cr_assert(v.count == 2 && v.iov[0].iov_base == block && v.iov[0].iov_len == 9);
	cr_assert(v.iov[1].iov_base == large && v.iov[1].iov_len == 0);
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(vec, what_is_no_block_of_that_length_is_not_taken)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT, before;
	char *block = bufpool_acquire(100);

	t_need_pool(16);
	cr_assert_eq(bufpool_vec_push(&v, NULL, 0), -EINVAL);
	cr_assert_eq(bufpool_vec_push(&v, block, bufpool_capacity(block) + 1), -EINVAL);
	cr_assert_eq(bufpool_vec_push(&v, block, SIZE_MAX), -EINVAL);
	cr_assert_eq(bufpool_vec_push(&v, t_launder(&v), 0), -EINVAL, "no block at all");
	for (size_t n = 100; n <= 1u << 20; n *= 4) {
		char *whole = bufpool_acquire(n);

		for (size_t off = 16; off < n; off *= 2)
			cr_assert_eq(bufpool_vec_push(&v, t_launder(whole + off), 1), -EINVAL, "%zu in %zu", off, n);
		bufpool_release(whole);
	}
	cr_assert_eq(v.count, 0);
	t_vec_add(&v, 64);
	before = v;
	cr_assert_eq(bufpool_vec_push(&v, NULL, 10), -EINVAL);
	cr_assert_eq(bufpool_vec_add(&v, (size_t)PTRDIFF_MAX), -ENOMEM);
	cr_assert_eq(bufpool_vec_add(&v, SIZE_MAX), -ENOMEM);
	cr_assert(!memcmp(&v, &before, sizeof(v)));
	cr_assert(t_check(v.iov[0].iov_base, 64, T_VEC_SEED));
	bufpool_vec_release(&v);
	bufpool_release(block);
}

/* ---- advancing ---- */

/* Every position inside of a block, and its end: the block is out until its last byte is spent, and released by its
 * start. */
Test(vec, a_block_is_released_with_its_last_byte)
{
	static const size_t sizes[] = { 8, 16, 104, 8, 4096, 24 };
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	unsigned char text[4256];
	uint64_t in_use;
	size_t end = 0;

	t_need_pool(16);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		t_vec_add(&v, sizes[i]);
	t_vec_gather(text, &v);
	in_use = t_stats().in_use;
	for (size_t i = 0, at = 0; i < T_COUNT(sizes); i++)
		for (end += sizes[i]; at < end; at++) {
			cr_assert_eq(v.count, T_COUNT(sizes) - i);
			cr_assert_eq(t_stats().in_use, in_use - i);
			cr_assert_eq(bufpool_vec_bytes(&v), sizeof(text) - at);
			cr_assert_eq(*(unsigned char *)v.iov[0].iov_base, text[at]);
			bufpool_vec_advance(&v, 1);
		}
	cr_assert_eq(v.count, 0);
	cr_assert_eq(t_stats().in_use, in_use - T_COUNT(sizes));
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, in_use - T_COUNT(sizes) - 1);
	cr_assert_eq(t_stats().misuse, 0);
}

Test(vec, empty_entries_are_dropped_on_the_way)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	const uint64_t in_use = t_stats().in_use;
	static const size_t sizes[] = { 0, 0, 8, 0, 8, 0, 0 };

	t_need_pool(16);
	for (size_t i = 0; i < T_COUNT(sizes); i++)
		t_vec_add(&v, sizes[i]);
	bufpool_vec_advance(&v, 0);
	cr_assert_eq(v.count, 5);
	bufpool_vec_advance(&v, 8);
	cr_assert_eq(v.count, 3);
	bufpool_vec_advance(&v, 8);
	cr_assert_eq(v.count, 0);
	cr_assert_eq(t_stats().in_use, in_use + 1);
	bufpool_vec_release(&v);
}

static void advance_too_far(void *shared)
{
	struct crime *c = shared;
	struct bufpool_vec v = BUFPOOL_VEC_INIT;

	if (c->how && bufpool_option_set("misuse", "report"))
		return;
	if (bufpool_vec_add(&v, 100) || bufpool_vec_add(&v, 50))
		return;
	c->address = (uintptr_t)v.iov;
	bufpool_vec_advance(&v, c->n);
	/* Only reported: nothing is lost. */
	c->offset = v.count == 2 && bufpool_vec_bytes(&v) == 150;
}

Test(vec, advancing_beyond_the_end_is_misuse)
{
	struct crime *c = crime(151);
	struct t_result r;

	expect_abort(advance_too_far, c, "wrong size", 0);
	c = crime(65536);
	c->n = (size_t)-1; /* writev's -1 handed on */
	expect_abort(advance_too_far, c, "wrong size", 0);
	c->how = 1;
	t_child(&r, advance_too_far, c);
	cr_assert(t_exited(&r, 0) && c->offset == 1, "%s", r.text);
}

/* A queue: blocks come in behind and go out in front; the array moves along and does not grow. */
Test(vec, a_queue_that_stays_short_stays_small)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	const struct bufpool_stats before = t_stats();
	uint64_t in = 0, out = 0, most = 0;

	t_need_pool(16);
	for (int i = 0; i < 100000; i++) {
		for (int j = 0; j < (i == 0 ? 5 : 1 + i % 3); j++, in++) {
			cr_assert_eq(bufpool_vec_add(&v, 16), 0);
			t_fill(v.iov[v.count - 1].iov_base, 16, in);
		}
		for (int j = 0; j < 1 + (i + 1) % 3; j++, out++) {
			cr_assert(t_check(v.iov[0].iov_base, 16, out));
			bufpool_vec_advance(&v, 16);
		}
		if (t_stats().in_use_bytes > most)
			most = t_stats().in_use_bytes;
	}
	cr_assert_leq(most, before.in_use_bytes + 1024);
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, before.in_use);
}

/* ---- truncating ---- */

Test(vec, S19_truncated_to_two_of_a_thousand_releases_the_others)
{
	enum { ELEMENTS = 1000, BYTES = 1 << 20 };
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	const uint64_t in_use = t_stats().in_use;
	const size_t before = t_rss();
	size_t now;

	t_need_pool(16);
	cr_assert_eq(bufpool_option_set("epoch_ms", "100"), 0);
	for (size_t i = 0; i < ELEMENTS; i++) {
		cr_assert_eq(bufpool_vec_add(&v, BYTES), 0);
		t_fill(v.iov[i].iov_base, BYTES, i);
	}
	cr_assert_eq(t_stats().in_use, in_use + ELEMENTS + 1);
	cr_assert_geq(t_rss(), before + (size_t)ELEMENTS * BYTES);
	bufpool_vec_truncate(&v, 2);
	cr_assert_eq(t_stats().in_use, in_use + 3, "2 blocks and the array");
	/* What the loop read is what is asserted: the next reading may be higher. */
	for (int i = 0; (now = t_rss()) > before + (12u << 20) && i < 500; i++) {
		bufpool_tick();
		t_sleep_ms(10);
	}
	cr_assert_leq(now, before + (12u << 20), "%zu KiB", (now - before) / 1024);
	cr_assert_eq(v.count, 2);
	for (size_t i = 0; i < 2; i++)
		cr_assert(v.iov[i].iov_len == BYTES && t_check(v.iov[i].iov_base, BYTES, i));
	bufpool_vec_truncate(&v, 2);
	cr_assert_eq(v.count, 2);
	bufpool_vec_truncate(&v, 0);
	cr_assert_eq(t_stats().in_use, in_use + 1);
	bufpool_vec_release(&v);
}

Test(vec, truncating_behind_what_was_advanced_releases_the_right_blocks)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	const uint64_t in_use = t_stats().in_use;

	t_need_pool(16);
	for (int i = 0; i < 20; i++)
		t_vec_add(&v, 64);
	bufpool_vec_advance(&v, 5 * 64 + 24);
	bufpool_vec_truncate(&v, 3);
	cr_assert_eq(t_stats().in_use, in_use + 4);
	cr_assert_eq(bufpool_vec_bytes(&v), 3 * 64 - 24);
	cr_assert(t_check(v.iov[0].iov_base, 40, T_VEC_SEED + (5 * 8 + 3) * 0x9e3779b97f4a7c15u));
	cr_assert(t_check(v.iov[2].iov_base, 64, T_VEC_SEED + 7 * 8 * 0x9e3779b97f4a7c15u));
	bufpool_vec_truncate(&v, 1);
	cr_assert_eq(t_stats().in_use, in_use + 2);
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(vec, truncating_to_bytes_keeps_just_those)
{
	for (size_t keep = 0; keep <= 200; keep++) {
		struct bufpool_vec v = BUFPOOL_VEC_INIT;
		const uint64_t in_use = t_stats().in_use;
		unsigned char text[200], kept[200];

		t_need_pool(16);
		for (int i = 0; i < 5; i++)
			t_vec_add(&v, 32);
		t_vec_gather(text, &v);
		bufpool_vec_truncate_bytes(&v, keep);
		cr_assert_eq(t_vec_gather(kept, &v), keep < 160 ? keep : 160);
		cr_assert(!memcmp(kept, text, keep < 160 ? keep : 160));
		cr_assert_eq(v.count, keep < 160 ? (keep + 31) / 32 : 5);
		cr_assert_eq(t_stats().in_use, in_use + v.count + 1);
		bufpool_vec_release(&v);
	}
}

/* ---- no memory ---- */

struct starved {
	int add, push;
	unsigned wrong;
};

static void run_starved(void *shared)
{
	struct starved *s = shared;
	struct bufpool_vec v = BUFPOOL_VEC_INIT, before;
	void *block = bufpool_acquire(100);

	/* As many as the array holds: the next one needs a larger one. */
	do {
		before = v;
		if (bufpool_vec_add(&v, 64))
			return;
	} while (v.iov == before.iov || !before.iov);
	while (v.count < v.priv_[1])
		if (bufpool_vec_add(&v, 64))
			return;
	t_starve();
	before = v;
	s->add = bufpool_vec_add(&v, 64);
	s->push = bufpool_vec_push(&v, block, 100);
	s->wrong = !!memcmp(&v, &before, sizeof(v));
	bufpool_release(block); /* still ours */
	bufpool_vec_advance(&v, 64);
	s->wrong += v.count != before.count - 1;
	bufpool_vec_release(&v);
}

Test(vec, without_memory_it_is_as_it_was)
{
	struct starved *s = t_shared(sizeof(*s));
	struct t_result r;

	t_need_pool(16);
	t_child(&r, run_starved, s);
	cr_assert(t_exited(&r, 0), "status %x %s", r.status, r.text);
	cr_assert_eq(s->add, -ENOMEM);
	cr_assert_eq(s->push, -ENOMEM);
	cr_assert_eq(s->wrong, 0);
}
