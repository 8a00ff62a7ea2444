/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The rows of the founding texts about slices: what a small part of something large costs, measured on the process. The
 * rule behind it is pinning.c's.
 */
#include "requests.h"
#include "support.h"

#include <bufpool/bytes.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(slices, .timeout = 120);

Test(slices, S17_requests_keep_their_headers_and_not_what_they_read)
{
	expect_requests_do_not_pin(100000, 12u << 20);
}

/* A large buffer, and small parts of it that outlive it: the process falls back to where it was, plus the parts. */
static void expect_parts_of_a_large_buffer(size_t total, size_t count, size_t len, size_t most)
{
	struct bufpool_bytes *parts = calloc(count, sizeof(*parts)), whole;
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	void *p;
	size_t before, while_whole;

	cr_assert_not_null(parts);
	before = t_rss();
	p = bufpool_buf_extend(&b, total);
	cr_assert_not_null(p);
	t_fill(p, total, 3);
	cr_assert_eq(bufpool_bytes_freeze(&whole, &b), 0);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(bufpool_bytes_sub(&parts[i], &whole, i * (total / count), len), 0);
	while_whole = t_rss();
	bufpool_bytes_release(&whole);
	bufpool_trim(NULL, 0);
	cr_assert_geq(while_whole, before + total, "the buffer was not there");
	cr_assert_lt(t_rss(), before + most, "%zu KiB", (t_rss() - before) / 1024);
	for (size_t i = 0; i < count; i++) {
		const size_t off = i * (total / count);

		cr_assert_eq(parts[i].len, len);
		cr_assert(t_check(parts[i].data, len, 3 + off / 8 * 0x9e3779b97f4a7c15u), "part %zu", i);
		bufpool_bytes_release(&parts[i]);
	}
	free(parts);
}

Test(slices, S17_ten_bytes_of_1_GB_do_not_keep_it)
{
	expect_parts_of_a_large_buffer(1u << 30, 1u << 20, 10, 48u << 20);
}

Test(slices, S18_one_element_does_not_keep_its_array)
{
	expect_parts_of_a_large_buffer(256u << 20, 1u << 20, 8, 48u << 20);
}

Test(slices, S22_a_part_of_a_text_does_not_keep_the_text)
{
	enum { TEXTS = 1000, LENGTH = 60000 };
	static struct bufpool_bytes words[TEXTS];
	static char text[LENGTH + 1];
	char expected[11];

	for (size_t i = 0; i < TEXTS; i++) {
		struct bufpool_bytes whole;

		for (size_t at = 0; at < LENGTH; at += 10)
			snprintf(text + at, 11, "%04zu-%05zu", i, at);
		cr_assert_eq(bufpool_bytes_copy(&whole, text, LENGTH), 0);
		cr_assert_eq(bufpool_bytes_sub(&words[i], &whole, i * 10, 10), 0);
		bufpool_bytes_release(&whole);
	}
	cr_assert_eq(t_stats().referenced_bytes, TEXTS * 10);
	cr_assert_eq(t_stats().pinned_bytes, TEXTS * 16);
	for (size_t i = 0; i < TEXTS; i++) {
		snprintf(expected, sizeof(expected), "%04zu-%05zu", i, i * 10);
		cr_assert(!memcmp(words[i].data, expected, 10));
		bufpool_bytes_release(&words[i]);
	}
}

/* What a server does for each request: read, freeze, keep a header for a while, answer. */
Test(slices, S13_a_request_with_bytes_calls_jemalloc_no_more_once_warm)
{
	enum { KEPT = 64, WARM = 1000, REQUESTS = 100000 };
	static struct bufpool_bytes headers[KEPT];
	uint64_t from_backend = 0;

	t_need_pool(40);
	t_need_pool(65536);
	t_hold_epochs();
	for (size_t i = 0; i < WARM + REQUESTS; i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT;
		struct bufpool_bytes whole, body;
		void *p = bufpool_buf_extend(&b, 65536);

		if (i == WARM)
			from_backend = t_stats().from_backend;
		cr_assert_not_null(p);
		t_fill(p, 64, i);
		cr_assert_eq(bufpool_bytes_freeze(&whole, &b), 0);
		bufpool_bytes_release(&headers[i % KEPT]);
		cr_assert_eq(bufpool_bytes_sub(&headers[i % KEPT], &whole, 0, 40), 0);
		cr_assert_eq(bufpool_bytes_sub(&body, &whole, 40, 65536 - 40), 0);
		bufpool_bytes_release(&whole);
		cr_assert(t_check(headers[i % KEPT].data, 40, i));
		bufpool_bytes_release(&body);
	}
	cr_assert_eq(t_stats().from_backend, from_backend);
}
