/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Growable buffers: what each function does to data, len, cap and the content, and what its failure leaves. What the
 * pool sees of them is in buf_pool.c, text in buf_text.c, structures that can't be right in buf_misuse.c.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(buf, .timeout = 60);

static void assert_empty(const struct bufpool_buf *b)
{
	const struct bufpool_buf init = BUFPOOL_BUF_INIT;

	cr_assert_eq(memcmp(b, &init, sizeof(init)), 0);
}

/* ---- beginning ---- */

Test(buf, zeroed_memory_is_a_buffer)
{
	struct bufpool_buf b;

	memset(&b, 0, sizeof(b));
	assert_empty(&b);
	cr_assert_eq(bufpool_buf_append(&b, "abc", 3), 0);
	cr_assert(b.len == 3 && b.cap >= 3 && !memcmp(b.data, "abc", 3));
	bufpool_buf_release(&b);
}

Test(buf, init_does_not_look_at_what_was_there)
{
	struct bufpool_buf b;

	memset(&b, 0x5a, sizeof(b));
	bufpool_buf_init(&b, NULL);
	assert_empty(&b);
	cr_assert_eq(bufpool_buf_append(&b, "abc", 3), 0);
	bufpool_buf_release(&b);
}

Test(buf, an_empty_one_has_no_block)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	const uint64_t acquired = t_stats().acquired + t_stats().passed_through;

	cr_assert_eq(bufpool_buf_reserve(&b, 0), 0);
	cr_assert_eq(bufpool_buf_append(&b, NULL, 0), 0);
	bufpool_buf_reset(&b);
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	bufpool_buf_release(&b);
	cr_assert_eq(t_stats().acquired + t_stats().passed_through, acquired);
	assert_empty(&b);
}

/* ---- growing ---- */

Test(buf, all_of_the_block_may_be_used)
{
	for (size_t n = 0; n <= 200000; n = n * 5 / 4 + 1) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		cr_assert_eq(bufpool_buf_reserve(&b, n), 0);
		cr_assert_geq(b.cap, n);
		cr_assert_eq(b.len, 0);
		cr_assert_eq(b.cap, bufpool_capacity(b.data));
		t_fill(b.data, b.cap, n);
		b.len = b.cap;
		cr_assert_eq(bufpool_buf_append(&b, "+", 1), 0);
		cr_assert(t_check(b.data, b.len - 1, n) && b.data[b.len - 1] == '+');
		bufpool_buf_release(&b);
	}
	cr_assert(t_balanced());
}

Test(buf, growth_within_the_block_stays_in_place)
{
	t_need_pool(1000);
	for (size_t n = 1; n <= T_CAP; n = n * 5 / 4 + 1) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;

		cr_assert_not_null(bufpool_buf_extend(&b, n));
		const unsigned char *data = b.data;
		const uint64_t acquired = t_stats().acquired;
		const size_t good = bufpool_good_size(n);
		while (b.len < good) {
			const unsigned char *end = b.data + b.len;
			cr_assert_eq((unsigned char *)bufpool_buf_extend(&b, 1), end);
		}
		cr_assert_eq(b.data, data);
		cr_assert_eq(t_stats().acquired, acquired);
		bufpool_buf_release(&b);
	}
}

Test(buf, S1_extend_hands_out_the_next_n_bytes)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t len = 0;

	for (size_t n = 0; n < 700; n++) {
		unsigned char *p = bufpool_buf_extend(&b, n);

		cr_assert_eq(p, b.data + len);
		cr_assert_eq(b.len, len + n);
		memset(p, (int)n, n);
		len += n;
	}
	for (size_t n = 0, at = 0; n < 700; at += n++)
		cr_assert(t_all(b.data + at, n, (unsigned char)n), "piece %zu", n);
	bufpool_buf_release(&b);
}

Test(buf, extend_by_nothing_is_a_place)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	const unsigned char *p = bufpool_buf_extend(&b, 0);

	cr_assert_not_null(p);
	cr_assert(p == b.data && b.len == 0);
	b.len = b.cap;
	cr_assert_eq((unsigned char *)bufpool_buf_extend(&b, 0), b.data + b.cap);
	bufpool_buf_release(&b);
}

/* The new block bears another pattern, put there before it was cached: what was not used is not copied over it. */
Test(buf, only_what_is_used_is_copied, .init = t_hold_epochs)
{
	t_need_pool(16);
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	unsigned char *next;

	cr_assert_eq(bufpool_buf_reserve(&b, 20480), 0);
	memset(b.data, 0x11, b.cap);
	b.len = 100;
	next = bufpool_acquire(T_CAP);
	memset(next, 0xee, T_CAP);
	bufpool_release(next);
	cr_assert_eq(bufpool_buf_reserve(&b, T_CAP - 100), 0);
	cr_assert_eq(b.data, next, "not the block that this test prepared");
	cr_assert(t_all(b.data, 100, 0x11));
	cr_assert(t_all(b.data + 100, b.cap - 100, 0xee));
	bufpool_buf_release(&b);
}

Test(buf, many_small_steps_copy_little)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t copied = 0;
	unsigned moves = 0;

	for (size_t i = 0; i < 3000000; i++) {
		const unsigned char *data = b.data;
		const size_t len = b.len;

		*(unsigned char *)bufpool_buf_extend(&b, 1) = (unsigned char)(i * 7);
		if (b.data != data) {
			copied += len;
			moves++;
		}
	}
	for (size_t i = 0; i < b.len; i++)
		cr_assert_eq(b.data[i], (unsigned char)(i * 7));
	cr_assert_leq(copied, 3 * b.len, "%zu bytes copied for %zu", copied, b.len);
	cr_assert_leq(moves, 40);
	bufpool_buf_release(&b);
	cr_assert(t_balanced());
}

Test(buf, appending_its_own_content)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_buf_append(&b, "0123456789abcdef", 16), 0);
	for (int i = 0; i < 14; i++)
		cr_assert_eq(bufpool_buf_append(&b, b.data, b.len), 0);
	cr_assert_eq(b.len, (size_t)16 << 14);
	for (size_t i = 0; i < b.len; i++)
		cr_assert_eq(b.data[i], (unsigned char)"0123456789abcdef"[i % 16]);
	cr_assert_eq(bufpool_buf_append(&b, b.data + 5, 3), 0);
	cr_assert_eq(memcmp(b.data + b.len - 3, "567", 3), 0);
	bufpool_buf_release(&b);
}

/* ---- a buffer beside a plain array ---- */

struct model {
	unsigned char bytes[300000];
	size_t len;
};

static void model_step(struct bufpool_buf *b, struct model *m, uint64_t *random)
{
	const size_t n = t_random_size(random) % 20000;

	switch (t_random(random) % 10) {
	case 0:
		bufpool_buf_reset(b);
		m->len = 0;
		return;
	case 1:
		cr_assert_eq(bufpool_buf_shrink(b), 0);
		cr_assert_leq(b->cap, m->len ? bufpool_good_size(m->len) : 0);
		return;
	case 2:
		cr_assert_eq(bufpool_buf_reserve(b, n), 0);
		cr_assert_geq(b->cap - b->len, n);
		return;
	case 3:
		b->len = m->len /= 2;
		return;
	}
	if (m->len + n > sizeof(m->bytes))
		return;
	t_fill(m->bytes + m->len, n, t_random(random));
	if (n & 1) {
		cr_assert_eq(bufpool_buf_append(b, m->bytes + m->len, n), 0);
	} else {
		void *p = bufpool_buf_extend(b, n);
		cr_assert_not_null(p);
		memcpy(p, m->bytes + m->len, n);
	}
	m->len += n;
}

Test(buf, content_is_that_of_an_array)
{
	static struct model m;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;
		uint64_t random = seed;

		m.len = 0;
		for (int i = 0; i < 300; i++) {
			model_step(&b, &m, &random);
			cr_assert_eq(b.len, m.len);
			cr_assert(!m.len || !memcmp(b.data, m.bytes, m.len), "seed %d, step %d", (int)seed, i);
		}
		bufpool_buf_release(&b);
	}
	cr_assert(t_balanced());
}

/* ---- failure ---- */

Test(buf, what_overflows_is_EOVERFLOW_and_what_is_too_much_ENOMEM)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT, before;

	cr_assert_eq(bufpool_buf_append(&b, "0123456789", 10), 0);
	before = b;
	cr_assert_eq(bufpool_buf_reserve(&b, SIZE_MAX), -EOVERFLOW);
	cr_assert_eq(bufpool_buf_reserve(&b, SIZE_MAX - 9), -EOVERFLOW);
	cr_assert_eq(bufpool_buf_append(&b, "", SIZE_MAX - 9), -EOVERFLOW);
	cr_assert_eq(bufpool_buf_reserve(&b, SIZE_MAX - 10), -ENOMEM);
	cr_assert_eq(bufpool_buf_reserve(&b, (size_t)PTRDIFF_MAX), -ENOMEM);
	cr_assert_eq(bufpool_buf_append(&b, "", SIZE_MAX / 4), -ENOMEM);
	for (int i = 0; i < 3; i++) {
		static const size_t n[] = { SIZE_MAX, SIZE_MAX - 10, (size_t)1 << 60 };
		errno = 0;
		cr_assert_null(bufpool_buf_extend(&b, n[i]));
		cr_assert_eq(errno, ENOMEM);
	}
	cr_assert_eq(memcmp(&b, &before, sizeof(b)), 0);
	cr_assert_eq(memcmp(b.data, "0123456789", 10), 0);
	bufpool_buf_release(&b);
	cr_assert_eq(bufpool_buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_empty(&b);
}

/* ---- reset, shrink, detach, steal, release ---- */

Test(buf, S1_reset_keeps_the_capacity)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_not_null(bufpool_buf_extend(&b, 5000));
	const unsigned char *data = b.data;
	const size_t cap = b.cap;
	bufpool_buf_reset(&b);
	cr_assert(b.len == 0 && b.cap == cap && b.data == data);
	cr_assert_eq((unsigned char *)bufpool_buf_extend(&b, cap), data);
	bufpool_buf_release(&b);
}

Test(buf, S2_reset_clears_nothing)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	t_fill(bufpool_buf_extend(&b, 5000), 5000, 7);
	bufpool_buf_reset(&b);
	cr_assert(t_check(b.data, 5000, 7));
	bufpool_buf_release(&b);
}

Test(buf, S20_shrink_moves_to_the_smallest_class)
{
	static const size_t large[] = { 4096, T_CAP, 1 << 20, 64 << 20 }, small[] = { 1, 10, 16, 17, 100, 3000 };

	for (size_t i = 0; i < T_COUNT(large); i++) {
		for (size_t k = 0; k < T_COUNT(small); k++) {
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			t_fill(bufpool_buf_extend(&b, large[i]), small[k], 3);
			b.len = small[k];
			cr_assert_eq(bufpool_buf_shrink(&b), 0);
			cr_assert_eq(b.cap, bufpool_good_size(small[k]));
			cr_assert_eq(b.cap, bufpool_capacity(b.data));
			cr_assert_eq(b.len, small[k]);
			cr_assert(t_check(b.data, small[k], 3));
			bufpool_buf_release(&b);
		}
	}
	cr_assert(t_balanced());
}

Test(buf, S20_a_gigabyte_with_10_bytes_left_costs_one_block_of_16)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	t_need_pool(16);
	if (bufpool_buf_reserve(&b, (size_t)1 << 30))
		cr_skip_test("no gigabyte to be had here");
	cr_assert_eq(bufpool_buf_append(&b, "0123456789", 10), 0);
	const struct bufpool_stats before = t_stats();
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert_eq(t_stats().in_use_bytes, before.in_use_bytes - bufpool_good_size((size_t)1 << 30) + 16);
	cr_assert_eq(b.cap, 16);
	cr_assert_eq(memcmp(b.data, "0123456789", 10), 0);
	bufpool_buf_release(&b);
}

Test(buf, shrink_of_what_fits_or_is_empty)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_not_null(bufpool_buf_extend(&b, 5000));
	const unsigned char *data = b.data;
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert(b.data == data && b.len == 5000);
	bufpool_buf_reset(&b);
	cr_assert_eq(bufpool_buf_shrink(&b), 0);
	cr_assert(!b.data && !b.cap);
	bufpool_buf_release(&b);
}

Test(buf, a_detached_block_is_the_caller_s)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t len = 99;
	unsigned char *p;

	t_fill(bufpool_buf_extend(&b, 3000), 3000, 5);
	const unsigned char *data = b.data;
	p = bufpool_buf_detach(&len, &b);
	cr_assert(p == data && len == 3000);
	assert_empty(&b);
	cr_assert_eq(bufpool_buf_append(&b, "other", 5), 0);
	bufpool_buf_release(&b);
	cr_assert(t_check(p, 3000, 5));
	cr_assert(bufpool_owns(p));
	bufpool_release(p);
	cr_assert_not_null(bufpool_buf_extend(&b, 1));
	p = bufpool_buf_detach(NULL, &b);
	bufpool_release(p);
	cr_assert(t_balanced());
}

Test(buf, detaching_nothing_is_NULL_and_no_error)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	size_t len = 99;

	errno = 77;
	cr_assert_null(bufpool_buf_detach(&len, &b));
	cr_assert_eq(len, 0);
	cr_assert_eq(errno, 77);
}

Test(buf, stealing_moves_the_value)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT, stolen;

	cr_assert_eq(bufpool_buf_append(&b, "abc", 3), 0);
	const struct bufpool_buf before = b;
	stolen = bufpool_buf_steal(&b);
	assert_empty(&b);
	cr_assert_eq(memcmp(&stolen, &before, sizeof(before)), 0);
	bufpool_buf_release(&b);
	cr_assert_eq(memcmp(stolen.data, "abc", 3), 0);
	bufpool_buf_release(&stolen);
	cr_assert(t_balanced());
}

Test(buf, S6_releasing_nothing_or_twice_is_harmless)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	bufpool_buf_release(NULL);
	bufpool_buf_release(&b);
	cr_assert_not_null(bufpool_buf_extend(&b, 100));
	bufpool_buf_release(&b);
	assert_empty(&b);
	const struct bufpool_stats before = t_stats();
	bufpool_buf_release(&b);
	bufpool_buf_release(&b);
	cr_assert_eq(t_stats().released, before.released);
	cr_assert_eq(t_stats().misuse, 0);
}

Test(buf, a_released_one_may_be_used_again)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	for (size_t i = 0; i < 1000; i++) {
		t_fill(bufpool_buf_extend(&b, 100 * i), 100 * i, i);
		cr_assert(t_check(b.data, 100 * i, i));
		bufpool_buf_release(&b);
	}
	cr_assert(t_balanced());
	cr_assert_eq(t_stats().in_use, 0);
}

Test(buf, release_keeps_errno)
{
	static const size_t sizes[] = { 10, T_CAP, 1 << 20 };

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		for (int k = 0; k < 20; k++) { /* large ones with no content: some of them are given back */
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			cr_assert_eq(bufpool_buf_reserve(&b, sizes[i]), 0);
			errno = 77;
			bufpool_buf_release(&b);
			cr_assert_eq(errno, 77);
		}
	}
}
