/* SPDX-License-Identifier: BSD-2-Clause
 *
 * leaks:true (S23): what is out is listed, by file and line where the call went through the header's macros; what
 * came back is not. How the report stands up to programs that hang is in leaks_live.c.
 */
#include "leaks_common.h"
#include "support.h"

#include <bufpool/buf.h>
#include <bufpool/bytes.h>
#include <bufpool/vec.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(leaks, .timeout = 60, .init = t_note_leaks);

/* ---- places ---- */

/* Is what `call` gave listed under the line that this stands in, with that many bytes? One line, because of the line.
 *  */
#define EXPECT_HERE(bytes, call) \
	do { void *p_ = (call); expect_at(__LINE__, bytes, #call); bufpool_release(t_launder(p_)); } while (0)

static void expect_at(int line, size_t bytes, const char *what)
{
	char place[128];

	snprintf(place, sizeof(place), "%zu bytes in 1 block: %s:%d;", bytes, __FILE__, line);
	cr_expect(t_lists(t_leaks(""), place), "%s: no \"%s\" in\n%s", what, place, t_leaks(""));
}

Test(leaks, S23_a_forgotten_release_is_reported_with_the_file_and_line_of_its_acquire)
{
	volatile size_t n = 777;
	size_t capacity;
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	EXPECT_HERE(100, bufpool_acquire(100));
	EXPECT_HERE(0, bufpool_acquire(0));
	EXPECT_HERE(777, bufpool_acquire(n));
	EXPECT_HERE(300000, bufpool_acquire(300000));
	EXPECT_HERE(777, bufpool_acquire_zeroed(n));
	EXPECT_HERE(7770, bufpool_acquire_array(10, n));
	EXPECT_HERE(1024, bufpool_acquire_aligned(1024, n));
	EXPECT_HERE(8192, bufpool_acquire_aligned(8192, 8192));
	EXPECT_HERE(777, bufpool_acquire_at_least(&capacity, n));
	EXPECT_HERE(777, bufpool_acquire_from(pool, n));
	EXPECT_HERE(2000, bufpool_resize(bufpool_acquire(n), 2000));
	EXPECT_HERE(400000, bufpool_resize(bufpool_acquire(390000), 400000));
	EXPECT_HERE(2000, bufpool_resize_used(bufpool_acquire(n), 10, 2000));
	EXPECT_HERE(6, bufpool_strndup("hello", n));
	EXPECT_HERE(5, bufpool_memdup("hello", 5));
	EXPECT_HERE(16, bufpool_memdup((uint64_t[]){ 1, 2 }, 16));
	bufpool_destroy(pool);
	cr_assert(t_lists(t_leaks(""), "bufpool: out: 0 bytes in 0 blocks"), "%s", t_leaks(""));
}

Test(leaks, S23_many_at_once_are_one_place)
{
	void *out[30];
	char place[128];
	int line = __LINE__ + 1;
	size_t got = bufpool_acquire_many(out, 30, 64);

	snprintf(place, sizeof(place), "1920 bytes in 30 blocks: %s:%d;", __FILE__, line);
	cr_assert_eq(got, 30);
	cr_assert(t_lists(t_leaks(""), place), "%s", t_leaks(""));
	bufpool_release_many(out, 30);
	cr_assert(t_lists(t_leaks(""), "out: 0 bytes"), "%s", t_leaks(""));
}

/* Is something listed under that line of this file? */
static void expect_line(int line, const char *what)
{
	char place[128];

	snprintf(place, sizeof(place), ": %s:%d;", __FILE__, line);
	cr_assert(t_lists(t_leaks(""), place), "%s, line %d\n%s", what, line, t_leaks(""));
}

#define EXPECT_LINE(call) \
	do { int got_ = (call); cr_assert_geq(got_, 0); expect_line(__LINE__, #call); } while (0)

Test(leaks, S23_what_buffers_bytes_and_vectors_hold_is_named_by_the_line_that_acquired_it)
{
	static char text[9000];
	struct bufpool_bytes bytes, part, frozen;
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	void *more;

	EXPECT_LINE(bufpool_buf_append(&b, text, 100));
	EXPECT_LINE(bufpool_buf_reserve(&b, sizeof(text)));
	more = bufpool_buf_extend(&b, 40000); expect_line(__LINE__, "extend");
	cr_assert_not_null(more);
	bufpool_buf_release(&b);
	EXPECT_LINE(bufpool_buf_printf(&b, "%5000d", 1));
	EXPECT_LINE(bufpool_bytes_copy(&bytes, text, sizeof(text)));
	EXPECT_LINE(bufpool_bytes_sub(&part, &bytes, 10, 50));
	EXPECT_LINE(bufpool_vec_add(&v, 3000));
	cr_assert_eq(bufpool_bytes_freeze(&frozen, &b), 0);
	bufpool_bytes_release(&frozen);
	bufpool_bytes_release(&part);
	bufpool_bytes_release(&bytes);
	bufpool_vec_release(&v);
	cr_assert(t_lists(t_leaks(""), "out: 0 bytes"), "%s", t_leaks(""));
}

static __attribute__((noinline)) void *far_from_notes(size_t n)
{
	return (bufpool_acquire)(n);
}

Test(leaks, S23_calls_without_a_note_are_named_by_their_place_in_the_program)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	void *p = far_from_notes(321);

	cr_assert(t_lists(t_leaks(""), "321 bytes in 1 block: api-leaks+0x") ||
		  t_lists(t_leaks(""), "321 bytes in 1 block: far_from_notes+0x"), "%s", t_leaks(""));
	bufpool_release(p);
	cr_assert_eq(bufpool_buf_reserve(&b, 2222), 0);
	cr_assert(!t_lists(t_leaks(""), "libbufpool"), "frames of the library are none of the program's\n%s", t_leaks(""));
	bufpool_buf_release(&b);
}

/* ---- what is listed ---- */

Test(leaks, what_comes_back_is_no_longer_listed_whichever_way)
{
	void *p[8];

	for (unsigned i = 0; i < 8; i++)
		p[i] = bufpool_acquire(5000);
	bufpool_release(p[0]);
	bufpool_release_sized(p[1], 5000);
	bufpool_release_wiped(p[2], 100);
	bufpool_release_many(p + 3, 2);
	p[5] = bufpool_resize(p[5], 90000);
	bufpool_release(p[5]);
	bufpool_release(bufpool_acquire_aligned(16384, 100000));
	cr_assert(t_lists(t_leaks(""), "out: 10000 bytes in 2 blocks from 1 place\n"), "%s", t_leaks(""));
}

/* Blocks far too large for their buffers, five times in a row: the last one goes back by a way of its own. */
Test(leaks, what_buffers_give_back_is_no_longer_listed)
{
	struct bufpool_stats s = t_stats();
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	for (unsigned i = 0; i < 10; i++) {
		struct bufpool_buf b;

		bufpool_buf_init(&b, i < 5 ? NULL : pool);
		cr_assert_eq(bufpool_buf_reserve(&b, 40000), 0);
		b.len = 100;
		bufpool_buf_release(&b);
		cr_assert(t_lists(t_leaks(""), "out: 0 bytes in 0 blocks"), "buffer %u\n%s", i, t_leaks(""));
	}
	if (t_stats().passed_through == s.passed_through)
		cr_assert_eq(t_stats().buf_given_back, s.buf_given_back + 1);
	bufpool_destroy(pool);
}

Test(leaks, the_most_bytes_come_first)
{
	void *small = bufpool_acquire(10);
	void *large = bufpool_acquire(100000);
	void *middle = bufpool_acquire(1000);
	const char *text = t_leaks("");
	const char *first = strstr(text, " 100000 bytes"), *second = strstr(text, " 1000 bytes"), *third = strstr(text, " 10 bytes");

	cr_assert(first != NULL && second != NULL && third != NULL && first < second && second < third, "%s", text);
	bufpool_release(small), bufpool_release(large), bufpool_release(middle);
}

Test(leaks, age_and_thread_are_told)
{
	char thread[64];
	const int64_t begin = t_now_ns();
	const char *age;
	double s = 0;
	void *p = bufpool_acquire(10);

	snprintf(thread, sizeof(thread), " s; thread %d api-leaks", (int)getpid());
	t_sleep_ms(1100);
	age = strstr(t_leaks(""), "; age ");
	cr_assert(age != NULL && sscanf(age, "; age %lf s", &s) == 1, "%s", t_leaks(""));
	cr_assert(s >= 1 && s <= (double)(t_now_ns() - begin) / 1e9 + 0.1, "%s", t_leaks(""));
	cr_assert(t_lists(t_leaks(""), thread), "%s", t_leaks(""));
	bufpool_release(p);
}

Test(leaks, json_is_json_and_says_the_same)
{
	const char *const argv[] = { "python3", "-c",
		"import json,os; d = json.loads(os.environ['LEAKS_TEXT']); p = d['places'][0];"
		"assert (d['blocks'], d['bytes'], len(d['places'])) == (3, 90, 1), d;"
		"assert p['file'].endswith('leaks.c') and p['line'] == int(os.environ['LEAKS_LINE']), p;"
		"assert p['stack'] and p['threads'][0]['id'] == os.getppid() and p['pool'] == '', p; print('same')", NULL };
	struct t_result r;
	char line[16];
	void *p[3];

	if (!t_have("python3"))
		cr_skip_test("no python3 to read it");
	for (unsigned i = 0; i < 3; i++)
		p[i] = bufpool_acquire(30);
	snprintf(line, sizeof(line), "%d", __LINE__ - 1);
	setenv("LEAKS_LINE", line, 1);
	setenv("LEAKS_TEXT", t_leaks("J"), 1);
	t_program(&r, argv, "", 0);
	cr_assert(t_exited(&r, 0) && strstr(r.text, "same") != NULL, "%s\n%s", r.text, t_leaks("J"));
	bufpool_release_many(p, 3);
}

Test(leaks, S17_what_bytes_pin_is_told_by_place)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	struct bufpool_bytes all, part;

	cr_assert_not_null(bufpool_buf_extend(&b, 40000));
	cr_assert_eq(bufpool_bytes_freeze(&all, &b), 0);
	cr_assert_eq(bufpool_bytes_sub(&part, &all, 0, 39000), 0);
	cr_assert(t_lists(t_leaks(""), "; 40000 of them pinned by 79000 referenced"), "%s", t_leaks(""));
	bufpool_bytes_release(&all);
	cr_assert(t_lists(t_leaks(""), " 40000 of them pinned by 39000 referenced"), "%s", t_leaks(""));
	bufpool_bytes_release(&part);
	cr_assert(t_lists(t_leaks(""), "out: 0 bytes"), "%s", t_leaks(""));
}

static void destroy_with_one_out(void *line)
{
	struct bufpool_conf conf = { .size = sizeof(conf), .name = "web" };
	struct bufpool *pool;
	void *other = bufpool_acquire(4321), *p;

	if (bufpool_create(&pool, &conf) != 0)
		abort();
	*(int *)line = __LINE__ + 1;
	p = bufpool_acquire_from(pool, 500);
	if (p != NULL)
		bufpool_destroy(pool);
	bufpool_release(other);
}

Test(leaks, a_pool_that_ends_names_what_was_out)
{
	struct t_result r;
	char place[128];
	int *line = t_shared(sizeof(*line));

	t_child(&r, destroy_with_one_out, line);
	snprintf(place, sizeof(place), "500 bytes in 1 block: %s:%d; pool web;", __FILE__, *line);
	cr_assert(strstr(r.text, place) != NULL, "%s", r.text);
	cr_assert(strstr(r.text, "4321") == NULL, "that is another pool's\n%s", r.text);
}

/* ---- fork, the end ---- */

Test(leaks, the_child_of_a_fork_has_the_list_of_what_it_inherited)
{
	void *p = bufpool_acquire(1234), *q = bufpool_acquire(555);
	int status;
	pid_t child = fork();

	if (child == 0) {
		bufpool_release(q);
		_exit(!t_lists(t_leaks(""), "out: 1234 bytes in 1 block"));
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert(t_lists(t_leaks(""), "out: 1789 bytes in 2 blocks"), "%s", t_leaks(""));
	bufpool_release(p), bufpool_release(q);
}

static void forget_one(void *shared)
{
	(void)shared;
	if (bufpool_acquire(4242) == NULL)
		abort();
	exit(0);
}

static void forget_none(void *shared)
{
	(void)shared;
	bufpool_release(bufpool_acquire(4242));
	exit(0);
}

Test(leaks, S23_the_end_of_the_program_tells_what_was_forgotten)
{
	struct t_result r;

	t_child(&r, forget_one, NULL);
	cr_assert(t_exited(&r, 0) && strstr(r.text, "4242 bytes in 1 block: ") != NULL && strstr(r.text, "leaks.c:") != NULL,
		  "%s", r.text);
	t_child(&r, forget_none, NULL);
	cr_assert(t_exited(&r, 0) && strstr(r.text, "out:") == NULL, "silence is the good news\n%s", r.text);
}

Test(leaks, the_end_goes_to_a_file_if_one_is_named)
{
	char path[] = "/tmp/bufpool-leaks-XXXXXX", text[4096] = "";
	int fd = mkstemp(path);
	struct t_result r;

	cr_assert_geq(fd, 0);
	cr_assert_eq(bufpool_option_set("leaks_path", path), 0);
	t_child(&r, forget_one, NULL);
	cr_expect(strstr(r.text, "out:") == NULL, "%s", r.text);
	cr_expect_gt(read(fd, text, sizeof(text) - 1), 0);
	cr_expect_not_null(strstr(text, "4242 bytes in 1 block"), "%s", text);
	bufpool_option_set("leaks_path", "");
	close(fd);
	unlink(path);
}

/* ---- without it ---- */

Test(leaks_off, it_is_said_that_nothing_is_known, .timeout = 30)
{
	void *p = bufpool_acquire(10);

	cr_assert_str_eq(t_leaks(""), "bufpool: out: not known, leaks:true is not set\n");
	cr_assert_eq(bufpool_option_set("leaks", "true"), -EPERM);
	bufpool_release(p);
}
