/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How growable buffers begin and grow: data, len, cap and the content, and what a failure leaves. How they end is in
 * buf_end.c, what the pool sees of them in buf_pool.c, text in buf_text.c, structures that can't be right in buf_misuse.c.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

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

/* Ahead of need a large buffer grows by half; where there is no memory for that, by what is needed. */
static void grow_under_a_limit(void *shared)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	struct rlimit limit;
	size_t used = 0;
	FILE *f;
	char line[128];

	if (bufpool_buf_reserve(&b, 64 << 20))
		return;
	b.len = b.cap;
	b.data[0] = b.data[b.len - 1] = 'x';
	f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmData: %zu", &used);
	/* Room for the needed block beside the old one (80 MiB and up to 12 of jemalloc's own) and not for one half as large
	 * again (96). */
	limit.rlim_cur = limit.rlim_max = used * 1024 + (95 << 20);
	if (!used || setrlimit(RLIMIT_DATA, &limit))
		return;
	*(int *)shared = bufpool_buf_reserve(&b, 48 << 20) == -ENOMEM && b.len == b.cap && b.data[0] == 'x' ? 1 : 0;
	*(int *)shared |= bufpool_buf_append(&b, "y", 1) == 0 && b.data[b.len - 2] == 'x' && b.data[b.len - 1] == 'y' ? 2 : 0;
}

Test(buf, where_there_is_no_memory_to_grow_ahead_what_is_needed_is_tried)
{
	int *seen = t_shared(sizeof(*seen));
	struct t_result r;

	t_need_pool(16);
	t_child(&r, grow_under_a_limit, seen);
	cr_assert(t_exited(&r, 0), "status %x \"%s\"", r.status, r.text);
	cr_assert_eq(*seen, 3, "%d", *seen);
}
