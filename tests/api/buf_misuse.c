/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Buffers whose structure can't be right: a line that names the structure and what is wrong with it, then abort; or, under
 * misuse:report, an error and no harm. In children, whose standard error is compared.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

TestSuite(buf_misuse, .timeout = 60);

struct wrong {
	int how;  /* what is done to the structure */
	int what; /* what is then called */
	uintptr_t address;
};

enum { LEN_OVER_CAP, CAP_WITHOUT_DATA, INSIDE, LOCAL, OTHER_CAP, STACK_GARBAGE, HOWS };
static const char *const lines[HOWS] = { "len is over cap", "cap without data", "data is no block", "data is no block",
	"cap is not the block's", NULL };
static unsigned char local[256];

static void spoil(struct bufpool_buf *b, int how)
{
	memset(bufpool_buf_extend(b, 1000), 1, 1000);
	switch (how) {
	case LEN_OVER_CAP:
		b->len = b->cap + 1;
		break;
	case CAP_WITHOUT_DATA:
		b->data = NULL;
		b->len = 0;
		break;
	case INSIDE:
		b->data += 16;
		break;
	case LOCAL:
		b->data = local;
		b->len = b->cap = sizeof(local);
		break;
	case OTHER_CAP:
		b->cap *= 2;
		break;
	default:
		memset(b, 0x5a, sizeof(*b));
	}
}

enum { RESERVE, EXTEND, APPEND, PRINTF, CSTR, SHRINK, DETACH, RELEASE, CALLS };

/* 0, or the negative errno of the call. */
static int call(struct bufpool_buf *b, int what)
{
	size_t len;
	int n = 0;

	errno = 0;
	switch (what) {
	case RESERVE:
		n = bufpool_buf_reserve(b, 100000);
		break;
	case EXTEND:
		return bufpool_buf_extend(b, 100000) ? 0 : -errno;
	case APPEND:
		return bufpool_buf_append(b, local, b->cap);
	case PRINTF:
		n = bufpool_buf_printf(b, "%100000d", 1);
		break;
	case CSTR:
		b->len = b->len > b->cap ? b->len : b->cap;
		return bufpool_buf_cstr(b) ? 0 : -errno;
	case SHRINK:
		return bufpool_buf_shrink(b);
	case DETACH:
		bufpool_release(bufpool_buf_detach(&len, b));
		return -errno;
	default:
		bufpool_buf_release(b);
		return b->data || b->len || b->cap ? 0 : -EINVAL;
	}
	return n;
}

static void misuse(void *shared)
{
	struct wrong *w = shared;
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	w->address = (uintptr_t)&b;
	spoil(&b, w->how);
	call(&b, w->what);
}

Test(buf_misuse, a_corrupted_structure_aborts_with_a_line)
{
	struct wrong *w = t_shared(sizeof(*w));
	struct t_result r;
	char line[160];

	t_need_pool(16);
	for (w->how = 0; w->how < HOWS; w->how++) {
		for (w->what = 0; w->what < CALLS; w->what++) {
			t_child(&r, misuse, w);
			cr_assert(t_aborted(&r), "%d, %d: status %x \"%s\"", w->how, w->what, r.status, r.text);
			snprintf(line, sizeof(line), "bufpool: misuse: corrupted buffer: 0x%zx: %s", (size_t)w->address,
				 lines[w->how] ? lines[w->how] : "");
			cr_assert_eq(strncmp(r.text, line, strlen(line)), 0, "%d, %d: \"%s\"", w->how, w->what, r.text);
			cr_assert_eq(strchr(r.text, '\n'), r.text + strlen(r.text) - 1, "one line: \"%s\"", r.text);
		}
	}
}

static void reset_it(void *shared)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;

	(void)shared;
	spoil(&b, LEN_OVER_CAP);
	bufpool_buf_reset(&b);
}

Test(buf_misuse, reset_looks_at_the_numbers)
{
	struct t_result r;

	t_child(&r, reset_it, NULL);
	cr_assert(t_aborted(&r));
	cr_assert_not_null(strstr(r.text, "corrupted buffer"));
}

Test(buf_misuse, the_line_says_what_was_found)
{
	struct wrong *w = t_shared(sizeof(*w));
	struct t_result r;

	t_need_pool(16);
	w->how = LEN_OVER_CAP;
	t_child(&r, misuse, w);
	cr_assert_not_null(strstr(r.text, ", len 1025, cap 1024)\n"), "\"%s\"", r.text);
}

/* ---- two owners ---- */

static void release_a_copy(void *shared)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT, copy;

	(void)shared;
	memset(bufpool_buf_extend(&b, 5000), 1, 5000);
	copy = b;
	bufpool_buf_release(&b);
	bufpool_buf_release(&copy);
}

static void grow_a_copy(void *shared)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT, copy;

	(void)shared;
	memset(bufpool_buf_extend(&b, 5000), 1, 5000);
	copy = b;
	bufpool_buf_release(&b);
	bufpool_buf_reserve(&copy, 10000) == 0 ? (void)0 : (void)1;
}

/* The last one of a row is not kept, which is a way of its own: the second release goes that way, or the first. */
static void release_a_copy_of_number(int number)
{
	for (int i = 1; i <= 5; i++) {
		struct bufpool_buf b = BUFPOOL_BUF_INIT, copy;

		if (bufpool_buf_reserve(&b, T_CAP))
			return;
		copy = b;
		bufpool_buf_release(&b);
		if (i == number)
			bufpool_buf_release(&copy);
	}
}

static void give_a_copy_back(void *shared)
{
	(void)shared;
	release_a_copy_of_number(4);
}

static void release_a_copy_of_what_was_given_back(void *shared)
{
	(void)shared;
	release_a_copy_of_number(5);
}

Test(buf_misuse, of_two_copies_only_one_may_be_released)
{
	static void (*const runs[])(void *) = { release_a_copy, grow_a_copy, give_a_copy_back,
		release_a_copy_of_what_was_given_back };
	struct t_result r;

	t_need_pool(16);
	for (size_t i = 0; i < T_COUNT(runs); i++) {
		t_child(&r, runs[i], NULL);
		cr_assert(t_aborted(&r), "%zu: status %x \"%s\"", i, r.status, r.text);
		cr_assert_not_null(strstr(r.text, "bufpool: misuse: double release: 0x"), "%zu: \"%s\"", i, r.text);
	}
}

/* ---- misuse:report ---- */

struct reported {
	int wrong, calls;
	uint64_t misuse;
};

static void report_all(void *shared)
{
	struct reported *seen = shared;

	bufpool_option_set("misuse", "report");
	for (int how = 0; how < HOWS; how++) {
		for (int what = 0; what < CALLS; what++) {
			struct bufpool_buf b = BUFPOOL_BUF_INIT;

			spoil(&b, how);
			seen->calls++;
			if (call(&b, what) != -EINVAL) {
				fprintf(stderr, "%d, %d went well\n", how, what);
				seen->wrong++;
			}
		}
	}
	struct bufpool_stats s = { .size = sizeof(s) };
	seen->wrong += bufpool_stats_get(&s, NULL) != 0;
	seen->misuse = s.misuse;
}

Test(buf_misuse, under_report_the_call_fails_and_is_counted)
{
	struct reported *seen = t_shared(sizeof(*seen));
	struct t_result r;

	t_need_pool(16);
	t_child(&r, report_all, seen);
	cr_assert(t_exited(&r, 0), "status %x \"%s\"", r.status, r.text);
	cr_assert_eq(seen->wrong, 0, "%s", r.text);
	cr_assert_eq(seen->calls, HOWS * CALLS);
	cr_assert_geq(seen->misuse, seen->calls);
}
