/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scope-bound release: on every way out of a scope, not where the value was stolen; and what compilers make of auto.h and
 * buf.h: each stands alone in every dialect, and some mistakes do not compile.
 */
#include <bufpool/bytes.h>
#include <bufpool/copy.h>
#include <bufpool/vec.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(autos, .timeout = 120);

enum way { BY_END, BY_RETURN, BY_GOTO, BY_BREAK, BY_STEALING };

static uint64_t in_use(void)
{
	return t_stats().in_use;
}

static char *block(enum way way)
{
	for (int i = 0; i < 3; i++) {
		BUFPOOL_AUTO char *p = bufpool_acquire(1000);
		BUFPOOL_AUTO char *none = NULL;

		memset(p, 1, 1000);
		if (way == BY_BREAK)
			break;
		if (way == BY_GOTO)
			goto out;
		if (way == BY_RETURN)
			return none;
		if (way == BY_STEALING)
			return BUFPOOL_STEAL(p);
	}
out:
	return NULL;
}

Test(autos, S23_a_block_is_released_on_every_way_out_of_its_scope)
{
	t_need_pool(1000);
	for (enum way way = BY_END; way <= BY_BREAK; way++) {
		const uint64_t before = in_use();

		cr_assert_null(block(way));
		cr_assert_eq(in_use(), before, "way %d", (int)way);
	}
	cr_assert_eq(t_stats().misuse, 0);
}

Test(autos, a_stolen_block_is_not)
{
	t_need_pool(1000);
	const uint64_t before = in_use();
	char *p = block(BY_STEALING);

	cr_assert_eq(in_use(), before + 1);
	cr_assert(t_all(p, 1000, 1));
	bufpool_release(p);
	cr_assert_eq(in_use(), before);
}

static struct bufpool_buf buffer(enum way way)
{
	struct bufpool_buf nothing = BUFPOOL_BUF_INIT;

	for (int i = 0; i < 3; i++) {
		BUFPOOL_AUTO_BUF struct bufpool_buf b = BUFPOOL_BUF_INIT;
		BUFPOOL_AUTO_BUF struct bufpool_buf unused = BUFPOOL_BUF_INIT;

		if (bufpool_buf_printf(&b, "%1000d", i) != 1000)
			abort();
		if (way == BY_BREAK)
			break;
		if (way == BY_GOTO)
			goto out;
		if (way == BY_RETURN)
			return nothing;
		if (way == BY_STEALING)
			return bufpool_buf_steal(&b);
	}
out:
	return nothing;
}

Test(autos, S23_a_buffer_is_released_on_every_way_out_of_its_scope)
{
	t_need_pool(1000);
	for (enum way way = BY_END; way <= BY_BREAK; way++) {
		const uint64_t before = in_use();
		struct bufpool_buf b = buffer(way);

		cr_assert_null(b.data);
		cr_assert_eq(in_use(), before, "way %d", (int)way);
	}
}

Test(autos, a_stolen_buffer_is_not)
{
	t_need_pool(1000);
	const uint64_t before = in_use();
	struct bufpool_buf b = buffer(BY_STEALING);

	cr_assert_eq(in_use(), before + 1);
	cr_assert(b.len == 1000 && b.data[999] == '0');
	bufpool_buf_release(&b);
	cr_assert_eq(in_use(), before);
}

/* Bytes that share a block, of which parts are stolen; a vector with a block that is half spent; a copy that holds what
 * could not be written. */
static struct bufpool_bytes bytes(enum way way)
{
	BUFPOOL_AUTO_BYTES struct bufpool_bytes all = BUFPOOL_BYTES_INIT, part = BUFPOOL_BYTES_INIT;
	static char text[5000];

	if (bufpool_bytes_copy(&all, text, sizeof(text)) != 0 || bufpool_bytes_sub(&part, &all, 0, 4500) != 0)
		abort();
	if (way == BY_STEALING)
		return bufpool_bytes_steal(&part);
	return (struct bufpool_bytes)BUFPOOL_BYTES_INIT;
}

static struct bufpool_vec vector(enum way way)
{
	BUFPOOL_AUTO_VEC struct bufpool_vec v = BUFPOOL_VEC_INIT;

	if (bufpool_vec_add(&v, 1000) != 0 || bufpool_vec_add(&v, 2000) != 0)
		abort();
	bufpool_vec_advance(&v, 500);
	if (way == BY_STEALING)
		return bufpool_vec_steal(&v);
	return (struct bufpool_vec)BUFPOOL_VEC_INIT;
}

static size_t stalled_copy(int out, int in)
{
	BUFPOOL_AUTO_COPY struct bufpool_copy c = BUFPOOL_COPY_INIT;
	size_t kept;
	int r = bufpool_copy_begin(&c, out, in, UINT64_MAX);

	while (r == 0)
		r = bufpool_copy_step(&c);
	if (r != -EAGAIN || bufpool_copy_kept(&kept, &c) == NULL)
		return 0;
	return kept;
}

Test(autos, S23_bytes_vectors_and_copies_are_released_at_the_end_of_their_scope)
{
	t_need_pool(1000);
	const uint64_t before = in_use();
	struct bufpool_bytes b = bytes(BY_END);
	struct bufpool_vec v = vector(BY_END);
	char name[] = "/tmp/bufpool-auto-XXXXXX";
	int ends[2], file = mkstemp(name);

	cr_assert(b.data == NULL && v.iov == NULL);
	cr_assert_eq(in_use(), before);
	/* 32 KiB go through the buffer; the pipe takes one page. */
	cr_assert(file >= 0 && unlink(name) == 0 && ftruncate(file, 32768) == 0 && pipe2(ends, O_NONBLOCK) == 0);
	cr_assert_geq(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
	cr_assert_gt(stalled_copy(ends[1], file), 0);
	cr_assert_eq(in_use(), before);
	cr_assert_lt(lseek(file, 0, SEEK_CUR), 32768, "what was kept has gone back to the file");
}

Test(autos, nor_are_stolen_bytes_and_vectors)
{
	t_need_pool(1000);
	const uint64_t before = in_use();
	struct bufpool_bytes b = bytes(BY_STEALING);
	struct bufpool_vec v = vector(BY_STEALING);

	cr_assert_eq(b.len, 4500);
	cr_assert_eq(t_stats().referenced_bytes, 4500);
	cr_assert(v.count == 2 && v.iov[0].iov_len == 500);
	bufpool_bytes_release(&b);
	bufpool_vec_release(&v);
	cr_assert_eq(in_use(), before);
}

Test(autos, the_end_of_a_scope_keeps_errno)
{
	errno = 77;
	block(BY_END);
	bufpool_buf_release(&(struct bufpool_buf){ .data = NULL });
	cr_assert_eq(errno, 77);
}

/* ---- compilers ---- */

static char path[64];

static bool compiles(struct t_result *r, const char *compiler, const char *standard, const char *text)
{
	const char *language = strstr(standard, "++") ? ".cc" : ".c";
	const char *const argv[] = { compiler, standard, "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror",
		"-I", T_INCLUDE, "-c", "-o", "/dev/null", path, NULL };

	t_write_source(path, sizeof(path), language, text);
	t_program(r, argv, NULL, 0);
	unlink(path);
	return t_exited(r, 0);
}

/* Uses what the headers define as a program does; C and C++. */
static const char *const alone[] = {
	"#include <bufpool/auto.h>\n#include <bufpool/auto.h>\nchar *f(size_t n);\nchar *f(size_t n)\n{\n"
	"\tBUFPOOL_AUTO char *p = (char *)bufpool_acquire(n);\n\treturn BUFPOOL_STEAL(p);\n}\n",
	"#include <bufpool/buf.h>\n#include <bufpool/buf.h>\nstruct bufpool_buf f(void);\nstruct bufpool_buf f(void)\n{\n"
	"\tBUFPOOL_AUTO_BUF struct bufpool_buf b = BUFPOOL_BUF_INIT;\n\tbufpool_buf_printf(&b, \"%d\", 1);\n"
	"\treturn bufpool_buf_steal(&b);\n}\n",
	"#include <bufpool/bytes.h>\nstruct bufpool_bytes f(void);\nstruct bufpool_bytes f(void)\n{\n"
	"\tBUFPOOL_AUTO_BYTES struct bufpool_bytes b = BUFPOOL_BYTES_INIT;\n\treturn bufpool_bytes_steal(&b);\n}\n",
	"#include <bufpool/vec.h>\nstruct bufpool_vec f(void);\nstruct bufpool_vec f(void)\n{\n"
	"\tBUFPOOL_AUTO_VEC struct bufpool_vec v = BUFPOOL_VEC_INIT;\n\treturn bufpool_vec_steal(&v);\n}\n",
	"#include <bufpool/copy.h>\nint f(int out, int in);\nint f(int out, int in)\n{\n"
	"\tBUFPOOL_AUTO_COPY struct bufpool_copy c = BUFPOOL_COPY_INIT;\n\treturn bufpool_copy_begin(&c, out, in, 1);\n}\n",
};
static const char *const c[] = { "-std=c11", "-std=c17", "-std=c2x", "-std=gnu11", "-std=gnu2x", NULL };
static const char *const cxx[] = { "-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20", "-std=gnu++20", NULL };

static void expect_alone(const char *compiler, const char *const *standards)
{
	struct t_result r;

	if (!t_have(compiler))
		cr_skip_test("%s is not here", compiler);
	for (; *standards; standards++)
		for (size_t i = 0; i < T_COUNT(alone); i++)
			cr_expect(compiles(&r, compiler, *standards, alone[i]), "%s %s %zu:\n%s", compiler, *standards, i,
				  r.text);
}

Test(autos, alone_with_gcc)
{
	expect_alone("gcc", c);
}

Test(autos, alone_with_clang)
{
	expect_alone("clang", c);
}

Test(autos, alone_with_gxx)
{
	expect_alone("g++", cxx);
}

Test(autos, alone_with_clangxx)
{
	expect_alone("clang++", cxx);
}

static void expect_refused(const char *body, const char *because)
{
	struct t_result r;
	char text[1024];

	snprintf(text, sizeof(text), "#include <bufpool/buf.h>\n#include <stdlib.h>\nvoid f(void);\nvoid f(void)\n{\n"
		 "\tstruct bufpool_buf b = BUFPOOL_BUF_INIT;\n\t%s\n\tbufpool_buf_release(&b);\n}\n", body);
	cr_assert_not(compiles(&r, "gcc", "-std=c17", text), "%s", body);
	cr_assert_not_null(strstr(r.text, because), "%s: %s", body, r.text);
}

Test(autos, mistakes_with_buffers_do_not_compile)
{
	expect_refused("bufpool_buf_append(&b, \"x\", 1);", "unused-result");
	expect_refused("bufpool_buf_detach(NULL, &b);", "unused-result");
	expect_refused("bufpool_buf_printf(&b, \"%s\", 1);", "format");
	expect_refused("bufpool_buf_reset(NULL);", "nonnull");
	expect_refused("free(bufpool_buf_detach(NULL, &b));", "mismatched-dealloc");
}
