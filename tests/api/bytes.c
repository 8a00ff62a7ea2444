/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Views and bytes: who owns what, what is copied and what is shared, and what becomes of wrong uses. How much shares
 * may keep alive is pinning.c's.
 */
#include "crime.h"

#include <bufpool/bytes.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

TestSuite(bytes, .timeout = 60);

static struct bufpool_buf filled(size_t n, uint64_t seed)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	void *p = bufpool_buf_extend(&b, n);

	cr_assert_not_null(p);
	t_fill(p, n, seed);
	return b;
}

static struct bufpool_bytes frozen(size_t n, uint64_t seed)
{
	struct bufpool_buf b = filled(n, seed);
	struct bufpool_bytes out;

	cr_assert_eq(bufpool_bytes_freeze(&out, &b), 0);
	return out;
}

static struct bufpool_bytes part_of(const struct bufpool_bytes *from, size_t off, size_t len)
{
	struct bufpool_bytes out;

	cr_assert_eq(bufpool_bytes_sub(&out, from, off, len), 0);
	return out;
}

static bool is_zeroed(const struct bufpool_bytes *b)
{
	return !b->data && !b->len && !b->priv_[0];
}

/* ---- views ---- */

Test(bytes, a_view_is_a_pointer_into_the_buffer)
{
	struct bufpool_buf b = filled(100, 1);
	struct bufpool_view v;

	cr_assert_eq(bufpool_view_of(&v, &b, 0, 100), 0);
	cr_assert(v.data == b.data && v.len == 100);
	cr_assert_eq(bufpool_view_of(&v, &b, 30, 5), 0);
	cr_assert(v.data == b.data + 30 && v.len == 5);
	cr_assert_eq(bufpool_view_of(&v, &b, 100, 0), 0);
	cr_assert_eq(v.len, 0);
	bufpool_buf_release(&b);
	cr_assert_eq(bufpool_view_of(&v, &b, 0, 0), 0);
	cr_assert_eq(v.len, 0);
}

Test(bytes, a_view_outside_of_the_content_is_refused)
{
	static const size_t outside[][2] = { { 0, 101 }, { 101, 0 }, { 1, 100 }, { 100, 1 }, { SIZE_MAX, 1 },
					     { 1, SIZE_MAX }, { SIZE_MAX, SIZE_MAX }, { 50, SIZE_MAX - 49 }, { SIZE_MAX - 49, 50 } };
	struct bufpool_buf b = filled(100, 1);
	struct bufpool_bytes whole = frozen(100, 2), out = { .len = 77 };
	struct bufpool_view v = { .len = 77 };

	cr_assert_geq(b.cap, 101, "there must be room behind the content");
	for (size_t i = 0; i < T_COUNT(outside); i++) {
		cr_expect_eq(bufpool_view_of(&v, &b, outside[i][0], outside[i][1]), -ERANGE, "view %zu", i);
		cr_expect_eq(bufpool_bytes_sub(&out, &whole, outside[i][0], outside[i][1]), -ERANGE, "part %zu", i);
	}
	cr_assert_eq(v.len, 77);
	cr_assert_eq(out.len, 77);
	bufpool_bytes_release(&whole);
	bufpool_buf_release(&b);
}

/* ---- copies ---- */

Test(bytes, a_copy_is_independent_of_its_source)
{
	static unsigned char source[200000];

	for (size_t n = 1; n < sizeof(source); n = n * 3 / 2 + 1) {
		struct bufpool_bytes b;

		t_fill(source, n, n);
		cr_assert_eq(bufpool_bytes_copy(&b, source, n), 0);
		memset(source, 0, n);
		cr_assert_eq(b.len, n);
		cr_assert(t_check(b.data, n, n), "%zu bytes", n);
		bufpool_bytes_release(&b);
	}
}

Test(bytes, empty_bytes_have_no_block)
{
	struct bufpool_bytes empty, part, whole = frozen(100, 1);
	struct bufpool_buf b = filled(100, 1);
	uint64_t in_use;

	bufpool_buf_release(&b);
	in_use = t_stats().in_use;
	cr_assert_eq(bufpool_bytes_copy(&empty, NULL, 0), 0);
	cr_assert(is_zeroed(&empty));
	empty.len = 1;
	cr_assert_eq(bufpool_bytes_copy(&empty, "x", 0), 0);
	cr_assert(is_zeroed(&empty));
	cr_assert_eq(bufpool_bytes_sub(&part, &empty, 0, 0), 0);
	cr_assert(is_zeroed(&part));
	cr_assert_eq(bufpool_bytes_sub(&part, &whole, 50, 0), 0);
	cr_assert(is_zeroed(&part));
	cr_assert_eq(bufpool_bytes_freeze(&empty, &b), 0);
	cr_assert(is_zeroed(&empty));
	cr_assert_eq(t_stats().in_use, in_use);
	bufpool_bytes_release(&empty);
	bufpool_bytes_release(&whole);
}

Test(bytes, too_much_is_refused)
{
	struct bufpool_bytes b = { .len = 77 };

	cr_assert_eq(bufpool_bytes_copy(&b, "", (size_t)PTRDIFF_MAX), -ENOMEM);
	cr_assert_eq(bufpool_bytes_copy(&b, "", SIZE_MAX), -ENOMEM);
	cr_assert_eq(b.len, 77);
}

/* ---- freezing ---- */

Test(bytes, freezing_moves_and_leaves_the_buffer_empty)
{
	static const size_t sizes[] = { 1, 5, 40, 1000, 4096, 65536, 65537, 1000000 };

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		struct bufpool_buf b = filled(sizes[i], i);
		const unsigned char *data = b.data;
		struct bufpool_bytes f;

		cr_assert_eq(bufpool_bytes_freeze(&f, &b), 0);
		cr_assert(f.data == data && f.len == sizes[i], "%zu bytes were copied", sizes[i]);
		cr_assert(!b.data && !b.len && !b.cap, "%zu bytes", sizes[i]);
		cr_assert_eq(bufpool_buf_append(&b, "other", 5), 0);
		cr_assert(b.data + 5 <= f.data || b.data >= f.data + f.len);
		cr_assert(t_check(f.data, f.len, i));
		bufpool_buf_release(&b);
		bufpool_bytes_release(&f);
	}
}

Test(bytes, freezing_an_empty_buffer_gives_its_block_back)
{
	uint64_t in_use = t_stats().in_use;
	struct bufpool_buf b = filled(5000, 1);
	struct bufpool_bytes f;

	b.len = 0;
	cr_assert_eq(bufpool_bytes_freeze(&f, &b), 0);
	cr_assert(is_zeroed(&f) && !b.data && !b.cap);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(bytes, a_few_bytes_in_a_large_buffer_are_moved_while_there_is_slack)
{
	struct bufpool_bytes f;
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	const unsigned char *data;

	cr_assert_eq(bufpool_buf_reserve(&b, 60000), 0);
	cr_assert_eq(bufpool_buf_append(&b, "hello", 5), 0);
	data = b.data;
	cr_assert_eq(bufpool_bytes_freeze(&f, &b), 0);
	cr_assert_eq(f.data, data);
	bufpool_bytes_release(&f);
}

/* ---- parts ---- */

Test(bytes, small_parts_are_copied_and_large_ones_shared)
{
	struct bufpool_bytes whole = frozen(65536, 8);

	for (size_t len = 1; len <= 65536; len += len < 100 ? 1 : 317) {
		const size_t off = (65536 - len) / 8 * 8;
		struct bufpool_bytes part = part_of(&whole, off, len);
		const bool shared = part.data == whole.data + off;

		cr_assert_eq(shared, len >= 32768, "%zu bytes", len);
		cr_assert(!memcmp(part.data, whole.data + off, len));
		cr_assert_eq(part.len, len);
		bufpool_bytes_release(&part);
		cr_assert(is_zeroed(&part));
	}
	bufpool_bytes_release(&whole);
}

Test(bytes, parts_of_small_blocks_are_always_copied)
{
	for (size_t n = 1; n < 8000; n += 13) {
		struct bufpool_bytes whole = frozen(n, n), part = part_of(&whole, 0, n);

		if (bufpool_good_size(n) < 4096)
			cr_assert_neq(part.data, whole.data, "%zu bytes", n);
		else
			cr_assert_eq(part.data, whole.data, "%zu bytes", n);
		bufpool_bytes_release(&whole);
		cr_assert(t_check(part.data, n, n));
		bufpool_bytes_release(&part);
	}
}

/* The rule asks for the block, not for what the part was taken from: halves of halves would pin four times as much. */
Test(bytes, parts_of_parts_share_by_the_block_they_would_pin)
{
	struct bufpool_bytes whole = frozen(65536, 8), half = part_of(&whole, 0, 32768), quarter, same;
	const unsigned char *data = whole.data;

	cr_assert_eq(half.data, data);
	quarter = part_of(&half, 0, 16384);
	same = part_of(&half, 0, 32768);
	cr_assert_neq(quarter.data, data);
	cr_assert_eq(same.data, data);
	bufpool_bytes_release(&whole);
	bufpool_bytes_release(&half);
	cr_assert(t_check(quarter.data, 16384, 8));
	cr_assert(t_check(same.data, 32768, 8));
	bufpool_bytes_release(&quarter);
	bufpool_bytes_release(&same);
}

/* A structure handed down by value says the same as the original. */
Test(bytes, a_part_taken_from_a_copy_of_the_structure_outlives_the_original)
{
	struct bufpool_bytes whole = frozen(65536, 3), lent = whole, part = part_of(&lent, 0, 65536);
	struct bufpool_bytes other;

	cr_assert_eq(part.data, whole.data);
	bufpool_bytes_release(&whole);
	other = frozen(65536, 4);
	cr_assert(t_check(part.data, 65536, 3));
	bufpool_bytes_release(&part);
	bufpool_bytes_release(&other);
}

Test(bytes, the_last_holder_gives_the_block_back_in_whatever_order)
{
	uint64_t random = 5;

	t_need_pool(65536);
	for (int round = 0; round < 200; round++) {
		const uint64_t in_use = t_stats().in_use;
		struct bufpool_bytes held[6] = { frozen(50000 + (size_t)round * 100, 9) };

		for (size_t i = 1; i < 6; i++)
			held[i] = part_of(&held[t_random(&random) % i], 0, 45000);
		for (size_t left = 6; left; left--) {
			const size_t i = t_random(&random) % left;

			cr_assert_gt(t_stats().in_use, in_use);
			for (size_t j = 0; j < left; j++)
				cr_assert(t_check(held[j].data, 45000, 9));
			bufpool_bytes_release(&held[i]);
			held[i] = held[left - 1];
		}
		cr_assert_eq(t_stats().in_use, in_use);
	}
}

Test(bytes, releasing_twice_is_harmless_and_errno_is_kept)
{
	struct bufpool_bytes b = frozen(10, 1), zeroed = BUFPOOL_BYTES_INIT;

	errno = 77;
	bufpool_bytes_release(&b);
	cr_assert(is_zeroed(&b));
	bufpool_bytes_release(&b);
	bufpool_bytes_release(&zeroed);
	bufpool_bytes_release(NULL);
	b = frozen(10000, 1);
	errno = 77;
	bufpool_bytes_release(&b);
	bufpool_bytes_release(&b);
	cr_assert_eq(errno, 77);
}

/* ---- misuse ---- */

static struct bufpool_bytes in_child(size_t n, struct crime *c)
{
	static unsigned char text[100000];
	struct bufpool_bytes b = BUFPOOL_BYTES_INIT;

	if (!bufpool_bytes_copy(&b, text, n))
		c->address = (uintptr_t)b.data;
	return b;
}

static void release_a_copy(void *shared)
{
	struct crime *c = shared;
	struct bufpool_bytes b = in_child(c->n, c), copy = b;

	bufpool_bytes_release(&b);
	bufpool_bytes_release(&copy);
}

static void release_a_copy_later(void *shared)
{
	struct crime *c = shared;
	struct bufpool_bytes b = in_child(c->n, c), copy = b, other;

	bufpool_bytes_release(&b);
	other = in_child(c->n + 1000, &(struct crime){ 0 }); /* may have the old record, with another block */
	bufpool_bytes_release(&copy);
	bufpool_bytes_release(&other);
}

static void take_part_of_a_released_copy(void *shared)
{
	struct crime *c = shared;
	struct bufpool_bytes b = in_child(c->n, c), copy = b, part;

	bufpool_bytes_release(&b);
	c->how = bufpool_bytes_sub(&part, &copy, 0, c->n); /* which ends here, and not with the part's release */
}

Test(bytes, double_release_through_a_copy_aborts)
{
	static const size_t sizes[] = { 1, 40, 1000, 4096, 30000, 65536, 70000 };

	for (size_t i = 0; i < T_COUNT(sizes); i++)
		expect_abort(release_a_copy, crime(sizes[i]), "double release", 0);
	for (size_t i = 3; i < T_COUNT(sizes); i++)
		expect_abort(release_a_copy_later, crime(sizes[i]), "double release", 0);
	expect_abort(take_part_of_a_released_copy, crime(5000), "double release", 0);
}

struct books {
	uint64_t misuse, in_use, referenced, pinned;
};

static void release_copies_and_read_the_books(void *shared)
{
	struct books *books = shared;
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool_bytes held;
	struct crime c;

	if (bufpool_option_set("misuse", "report") || bufpool_bytes_copy(&held, "some text", 9))
		return;
	c.n = 40;
	release_a_copy(&c);
	c.n = 5000;
	release_a_copy(&c);
	bufpool_stats_get(&s, NULL);
	*books = (struct books){ s.misuse, s.in_use, s.referenced_bytes, s.pinned_bytes };
}

Test(bytes, the_statistics_stay_true_where_misuse_is_only_reported)
{
	struct books *books = t_shared(sizeof(*books));
	struct t_result r;

	t_need_pool(40);
	t_child(&r, release_copies_and_read_the_books, books);
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_eq(books->misuse, 2, "%s", r.text);
	cr_assert_eq(books->in_use, 1);
	cr_assert_eq(books->referenced, 9);
	cr_assert_eq(books->pinned, 16);
}

/* ---- no memory ---- */

struct starved {
	int copy, freeze, sub, copy_without_record;
	unsigned wrong;
};

static void run_starved(void *shared)
{
	struct starved *s = shared;
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	struct bufpool_bytes small = BUFPOOL_BYTES_INIT, f = { .len = 77 };
	struct bufpool_bytes *out = &f;
	void *p = bufpool_buf_extend(&b, 10000), *spare = bufpool_acquire(5000);

	if (!p || !spare || bufpool_bytes_copy(&small, "some text", 9))
		return;
	t_fill(p, 10000, 1);
	t_starve();
	s->copy = bufpool_bytes_copy(out, "text", 4);
	s->sub = bufpool_bytes_sub(out, &small, 0, 9);
	s->freeze = bufpool_bytes_freeze(out, &b);
	s->wrong = (f.len != 77) + (b.data != p) + (b.len != 10000) + !t_check(p, 10000, 1);
	s->wrong += memcmp(small.data, "some text", 9) != 0;
	/* There is a block, and no record for it: the block must come back. */
	bufpool_release(spare);
	s->copy_without_record = bufpool_bytes_copy(out, p, 5000);
	spare = bufpool_acquire(5000);
	s->wrong += (spare == NULL) + (f.len != 77);
	bufpool_release(spare);
	bufpool_bytes_release(&small);
	bufpool_buf_release(&b);
}

Test(bytes, without_memory_everything_is_as_it_was)
{
	struct starved *s = t_shared(sizeof(*s));
	struct t_result r;

	t_need_pool(16);
	t_child(&r, run_starved, s);
	cr_assert(t_exited(&r, 0), "status %x %s", r.status, r.text);
	cr_assert_eq(s->copy, -ENOMEM);
	cr_assert_eq(s->sub, -ENOMEM);
	cr_assert_eq(s->freeze, -ENOMEM);
	cr_assert_eq(s->copy_without_record, -ENOMEM);
	cr_assert_eq(s->wrong, 0);
}
