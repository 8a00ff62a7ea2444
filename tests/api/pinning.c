/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What bytes keep alive: the published bound under random operations, and bytes that go from thread to thread.
 */
#include "support.h"

#include <bufpool/bytes.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

TestSuite(pinning, .timeout = 120);

/* ---- the bound ---- */

enum { HELD = 256 };

/* What the test knows of the bytes that it holds. `origin` names the content: part or whole of t_fill(…, seed). */
static struct model {
	struct bufpool_bytes b[HELD];
	uint64_t seed[HELD];
	size_t off[HELD], count;
	uint64_t random;
	struct bufpool_stats before;
	bool pooled;
	size_t slack;
} m;

static unsigned char pattern[4u << 20];

static void keep(struct bufpool_bytes b, uint64_t seed, size_t off)
{
	m.b[m.count] = b;
	m.seed[m.count] = seed;
	m.off[m.count++] = off;
}

static size_t any_size(void)
{
	const size_t n = t_random_size(&m.random);

	return n ? n : 1;
}

static void copy_some(void)
{
	const uint64_t seed = t_random(&m.random);
	const size_t n = any_size();
	struct bufpool_bytes b;

	t_fill(pattern, n, seed);
	cr_assert_eq(bufpool_bytes_copy(&b, pattern, n), 0);
	keep(b, seed, 0);
}

/* Full, half full, nearly empty: frozen buffers of every kind. Where no slack is to be used, at least half full. */
static void freeze_some(void)
{
	const uint64_t seed = t_random(&m.random);
	const size_t room = any_size(), n = 1 + t_random(&m.random) % room;
	struct bufpool_buf buf = BUFPOOL_BUF_INIT;
	struct bufpool_bytes b;
	void *p;

	cr_assert_eq(bufpool_buf_reserve(&buf, room), 0);
	p = bufpool_buf_extend(&buf, !m.slack ? (buf.cap + 1) / 2 : t_random(&m.random) & 1 ? room : n);
	cr_assert_not_null(p);
	t_fill(p, buf.len, seed);
	cr_assert_eq(bufpool_bytes_freeze(&b, &buf), 0);
	keep(b, seed, 0);
}

static void take_part(void)
{
	const size_t i = t_random(&m.random) % m.count;
	const size_t most = m.b[i].len, off = most > 8 ? t_random(&m.random) % (most / 8) * 8 : 0;
	size_t len = 1 + t_random(&m.random) % (most - off);
	struct bufpool_bytes part;

	if (t_random(&m.random) & 1)
		len = most - off; /* parts of parts of parts stay large enough to be shared */
	cr_assert_eq(bufpool_bytes_sub(&part, &m.b[i], off, len), 0);
	keep(part, m.seed[i], m.off[i] + off);
}

static bool is_right(size_t i)
{
	/* Parts begin at multiples of 8, where t_fill's pattern goes on from another seed. */
	return t_check(m.b[i].data, m.b[i].len, m.seed[i] + m.off[i] / 8 * 0x9e3779b97f4a7c15u);
}

static void let_go(size_t i)
{
	cr_assert(is_right(i));
	bufpool_bytes_release(&m.b[i]);
	m.count--;
	m.b[i] = m.b[m.count];
	m.seed[i] = m.seed[m.count];
	m.off[i] = m.off[m.count];
}

static void expect_bound(void)
{
	const struct bufpool_stats s = t_stats();
	uint64_t referenced = 0, counted = 0, taken = s.in_use_bytes - m.before.in_use_bytes;

	for (size_t i = 0; i < m.count; i++) {
		referenced += m.b[i].len;
		counted += m.b[i].len < 8 ? 8 : m.b[i].len;
	}
	cr_assert_eq(s.referenced_bytes, referenced);
	cr_assert_leq(s.pinned_bytes, BUFPOOL_PIN_RATIO * counted + m.slack);
	/* And it is true: all that the bytes took from the pool is pinned, but for their records. */
	if (m.pooled)
		cr_assert(taken >= s.pinned_bytes && taken - s.pinned_bytes <= 32 * m.count,
			  "%zu bytes in use, %zu pinned, by %zu", (size_t)taken, (size_t)s.pinned_bytes, m.count);
}

static void step(void)
{
	const unsigned what = t_random(&m.random) % 8;

	if (m.count == 0 || (m.count < HELD && what == 0))
		copy_some();
	else if (m.count < HELD && what == 1)
		freeze_some();
	else if (m.count < HELD && what < 5)
		take_part();
	else
		let_go(t_random(&m.random) % m.count);
}

Test(pinning, the_bound_holds_at_any_time_under_random_operations)
{
	m.random = 4;
	m.slack = BUFPOOL_PIN_SLACK;
	m.pooled = !t_passes_through(16);
	m.before = t_stats();
	for (int i = 0; i < 60000; i++) {
		step();
		expect_bound();
	}
	while (m.count) {
		let_go(0);
		expect_bound();
	}
	cr_assert_eq(t_stats().pinned_bytes, 0);
	cr_assert(t_balanced());
}

/* The oldest go first, so that in the end only parts of parts of what is gone are left. No buffer is frozen half
 * empty: the bound holds without the slack. */
Test(pinning, the_bound_holds_where_only_parts_are_left)
{
	m.random = 5;
	m.pooled = !t_passes_through(16);
	m.before = t_stats();
	for (int round = 0; round < 200; round++) {
		const size_t originals = 1 + t_random(&m.random) % 32;

		while (m.count < originals)
			freeze_some();
		while (m.count < HELD)
			take_part();
		for (size_t i = 0; i < originals; i++) {
			bufpool_bytes_release(&m.b[i]);
			m.b[i] = m.b[--m.count];
			m.seed[i] = m.seed[m.count];
			m.off[i] = m.off[m.count];
			expect_bound();
		}
		while (m.count) {
			let_go(m.count - 1);
			expect_bound();
		}
	}
	cr_assert_eq(t_stats().pinned_bytes, 0);
}

/* Alone the slack is not to be exceeded: 5 bytes each in buffers of 64 KiB. */
Test(pinning, buffers_that_are_nearly_empty_are_moved_once_the_slack_is_used_up)
{
	static struct bufpool_bytes held[1000];
	size_t moved = 0;

	for (size_t i = 0; i < T_COUNT(held); i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;
		const unsigned char *data;

		cr_assert_eq(bufpool_buf_reserve(&b, 65536), 0);
		cr_assert_eq(bufpool_buf_append(&b, &i, sizeof(i)), 0);
		data = b.data;
		cr_assert_eq(bufpool_bytes_freeze(&held[i], &b), 0);
		moved += held[i].data == data;
		cr_assert_leq(t_stats().pinned_bytes, BUFPOOL_PIN_RATIO * (i + 1) * sizeof(i) + BUFPOOL_PIN_SLACK);
	}
	cr_assert_eq(moved, BUFPOOL_PIN_SLACK / (65536 - 16));
	for (size_t i = 0; i < T_COUNT(held); i++) {
		cr_assert(!memcmp(held[i].data, &i, sizeof(i)));
		bufpool_bytes_release(&held[i]);
	}
	cr_assert_eq(t_stats().pinned_bytes, 0);
}

Test(pinning, the_slack_is_free_again_after_release)
{
	for (int i = 0; i < 1000; i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;
		struct bufpool_bytes f;
		const unsigned char *data;

		cr_assert_eq(bufpool_buf_reserve(&b, 65536), 0);
		cr_assert_eq(bufpool_buf_append(&b, "x", 1), 0);
		data = b.data;
		cr_assert_eq(bufpool_bytes_freeze(&f, &b), 0);
		cr_assert_eq(f.data, data, "round %d", i);
		bufpool_bytes_release(&f);
	}
}

/* ---- threads ---- */

enum { HAND_OVERS = 1000000, WARM_UP = 100000, RING = 64 };

static struct bufpool_bytes ring[RING];
static _Atomic size_t put, got;
static _Atomic unsigned wrong;

static void *take_and_release(void *argument)
{
	for (size_t i = 0; i < HAND_OVERS; i++) {
		while (atomic_load_explicit(&put, memory_order_acquire) == i)
			sched_yield();
		wrong += !t_check(ring[i % RING].data, 16, i);
		bufpool_bytes_release(&ring[i % RING]);
		atomic_store_explicit(&got, i + 1, memory_order_release);
	}
	return argument;
}

/* Enough of each class that comes up, wherever the scheduler lets blocks pile up. */
static void warm_up(void)
{
	static const size_t sizes[] = { 32, 40, 5000 };
	static void *blocks[4000];

	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		cr_assert_eq(bufpool_acquire_many(blocks, T_COUNT(blocks), sizes[i]), T_COUNT(blocks));
		bufpool_release_many(blocks, T_COUNT(blocks));
	}
}

static struct bufpool_bytes message(size_t i)
{
	static unsigned char text[5000];
	struct bufpool_bytes b;

	t_fill(text, 16, i);
	cr_assert_eq(bufpool_bytes_copy(&b, text, i % 2 ? 40 : sizeof(text)), 0);
	return b;
}

Test(pinning, S3_a_million_bytes_handed_to_another_thread_without_jemalloc)
{
	uint64_t from_backend = 0;
	pthread_t taker;

	t_need_pool(16);
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	warm_up();
	cr_assert_eq(pthread_create(&taker, NULL, take_and_release, NULL), 0);
	for (size_t i = 0; i < HAND_OVERS; i++) {
		if (i == WARM_UP)
			from_backend = t_stats().from_backend;
		while (i - atomic_load_explicit(&got, memory_order_acquire) == RING)
			sched_yield();
		ring[i % RING] = message(i);
		atomic_store_explicit(&put, i + 1, memory_order_release);
	}
	pthread_join(taker, NULL);
	cr_assert_eq(wrong, 0);
	cr_assert_eq(t_stats().from_backend, from_backend);
	cr_assert_eq(t_stats().pinned_bytes, 0);
}

static struct bufpool_bytes common;

/* Takes parts of what all share, and parts of those, while the owner may already have let go. */
static void *share_and_release(void *argument)
{
	struct bufpool_bytes mine, part, copy;
	unsigned bad = bufpool_bytes_sub(&mine, &common, 0, common.len) != 0;

	atomic_fetch_add(&put, 1);
	for (int i = 0; i < 100000 && !bad; i++) {
		bad += bufpool_bytes_sub(&part, &mine, 0, 40000) || bufpool_bytes_sub(&copy, &part, 8, 100);
		bufpool_bytes_release(&mine);
		bad += bufpool_bytes_sub(&mine, &part, 0, 40000) != 0;
		bufpool_bytes_release(&part);
		bad += mine.data[39999] != pattern[39999] || memcmp(copy.data, pattern + 8, 100);
		bufpool_bytes_release(&copy);
	}
	bufpool_bytes_release(&mine);
	wrong += bad;
	return argument;
}

Test(pinning, threads_share_one_block_and_the_last_one_gives_it_back)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	uint64_t in_use = t_stats().in_use;

	t_fill(pattern, 65536, 6);
	cr_assert_eq(bufpool_bytes_copy(&common, pattern, 65536), 0);
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, share_and_release, NULL), 0);
	while (put < THREADS)
		sched_yield();
	bufpool_bytes_release(&common);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wrong, 0);
	cr_assert_eq(t_stats().in_use, in_use);
	cr_assert_eq(t_stats().pinned_bytes, 0);
	cr_assert_eq(t_stats().referenced_bytes, 0);
}
