/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scope-bound release: on every way out of a scope, not where the value was stolen; and what compilers make of auto.h and
 * buf.h: each stands alone in every dialect, and some mistakes do not compile.
 */
#include <bufpool/buf.h>

#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
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
