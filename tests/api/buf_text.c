/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text in growable buffers: bufpool_buf_printf at every place where the text just fits and just doesn't, its failures, and
 * bufpool_buf_cstr.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <printf.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

TestSuite(buf_text, .timeout = 30);

Test(buf_text, printf_appends_and_says_how_much)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_buf_printf(&b, "%s", ""), 0);
	cr_assert_eq(b.len, 0);
	cr_assert_eq(bufpool_buf_printf(&b, "%d-%s", 42, "abc"), 6);
	cr_assert_eq(bufpool_buf_printf(&b, "%c", 0), 1);
	cr_assert_eq(bufpool_buf_printf(&b, "%5.1f", 2.25), 5);
	cr_assert_eq(b.len, 12);
	cr_assert_eq(memcmp(b.data, "42-abc\0  2.2", 13), 0, "a NUL follows");
	bufpool_buf_release(&b);
}

Test(buf_text, printf_at_every_distance_from_the_end)
{
	for (size_t before = 0; before <= 80; before++) {
		for (int n = 0; n <= 80; n++) {
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			memset(bufpool_buf_extend(&b, before), 'x', before);
			cr_assert_eq(bufpool_buf_printf(&b, "%0*d", n, 7), n ? n : 1);
			cr_assert_eq(b.len, before + (size_t)(n ? n : 1));
			cr_assert_lt(b.len, b.cap);
			cr_assert(t_all(b.data, before, 'x'));
			cr_assert(t_all(b.data + before, b.len - before - 1, '0'));
			cr_assert_eq(b.data[b.len - 1], '7');
			cr_assert_eq(b.data[b.len], '\0');
			bufpool_buf_release(&b);
		}
	}
}

/* A conversion of this test's own, which counts how often it is asked, and may say something else each time. */
static int asked, longer_by;

static int count_it(FILE *stream, const struct printf_info *info, const void *const *arguments)
{
	(void)info;
	(void)arguments;
	asked++;
	return fprintf(stream, "%0*d", 10 + longer_by * asked, asked);
}

static int no_arguments(const struct printf_info *info, size_t n, int *types, int *sizes)
{
	(void)info;
	(void)n;
	(void)types;
	(void)sizes;
	return 0;
}

/* A format that the compiler would not let pass. */
static __attribute__((noinline)) int print_unseen(struct bufpool_buf *b, const char *format)
{
	format = t_launder((char *)(uintptr_t)format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
	return bufpool_buf_printf(b, format);
#pragma GCC diagnostic pop
}

static int print_counted(struct bufpool_buf *b)
{
	register_printf_specifier('Y', count_it, no_arguments);
	return print_unseen(b, "%Y");
}

Test(buf_text, text_is_formatted_once_where_it_fits_and_twice_where_it_does_not)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(print_counted(&b), 10);
	cr_assert_eq(asked, 2);
	cr_assert_eq(bufpool_buf_reserve(&b, 11), 0);
	cr_assert_eq(print_counted(&b), 10);
	cr_assert_eq(asked, 3);
	cr_assert_eq(memcmp(b.data, "00000000020000000003", 21), 0);
	bufpool_buf_release(&b);
}

Test(buf_text, text_that_grows_between_the_two_times_is_EAGAIN)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_buf_append(&b, "before", 6), 0);
	longer_by = 1000;
	cr_assert_eq(print_counted(&b), -EAGAIN);
	cr_assert_eq(asked, 2);
	cr_assert_eq(b.len, 6);
	cr_assert_eq(memcmp(b.data, "before", 6), 0);
	bufpool_buf_release(&b);
}

Test(buf_text, where_the_buffer_has_room_nothing_is_allocated)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(bufpool_buf_reserve(&b, 101), 0);
	const struct bufpool_stats before = t_stats();
	cr_assert_eq(bufpool_buf_printf(&b, "%*s", (int)b.cap - 1, "x"), (int)b.cap - 1);
	const struct bufpool_stats after = t_stats();
	cr_assert_eq(after.acquired + after.passed_through, before.acquired + before.passed_through);
	bufpool_buf_release(&b);
}

Test(buf_text, what_can_not_be_formatted_is_an_error_and_changes_nothing)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	static const wchar_t none[] = { 0x110000, 0 }; /* no character in any locale */

	cr_assert_eq(bufpool_buf_append(&b, "before", 6), 0);
	errno = 77;
	cr_assert_eq(bufpool_buf_printf(&b, "%ls", none), -EILSEQ);
	cr_assert_eq(errno, 77);
	cr_assert_eq(b.len, 6);
	cr_assert_eq(memcmp(b.data, "before", 6), 0);
	bufpool_buf_release(&b);
}

Test(buf_text, text_that_no_int_can_count_is_EOVERFLOW)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_eq(print_unseen(&b, "%2147483648d"), -EOVERFLOW);
	cr_assert_eq(b.len, 0);
	bufpool_buf_release(&b);
}

static int print_through(struct bufpool_buf *b, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = bufpool_buf_vprintf(b, format, arguments);
	va_end(arguments);
	return n;
}

Test(buf_text, vprintf_is_the_same)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	for (int i = 0; i < 1000; i++)
		cr_assert_eq(print_through(&b, "%03d %s;", i, "abc"), 8);
	cr_assert_eq(b.len, 8000);
	cr_assert_eq(memcmp(b.data + 7992, "999 abc;", 9), 0);
	bufpool_buf_release(&b);
}

Test(buf_text, cstr_ends_the_text_and_does_not_count_the_end)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	cr_assert_str_empty(bufpool_buf_cstr(&b));
	cr_assert_eq(b.len, 0);
	for (size_t n = 1; n < 500; n++) {
		cr_assert_eq(bufpool_buf_append(&b, "y", 1), 0);
		const char *text = bufpool_buf_cstr(&b);
		cr_assert_eq((const unsigned char *)text, b.data);
		cr_assert_eq(strlen(text), n);
		cr_assert_eq(b.len, n);
	}
	b.len = b.cap;
	memset(b.data, 'z', b.cap);
	cr_assert_eq(strlen(bufpool_buf_cstr(&b)), b.len, "also where the block was full");
	bufpool_buf_release(&b);
}
