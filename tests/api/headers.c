/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What compilers make of the public headers: each stands alone in every dialect, and what they can forbid at compile time is
 * forbidden. Compilers that aren't here are skipped by name; gcc must be here, it built this test.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(headers, .timeout = 60);

static char path[64];

enum { OPTIONS = 6 };

static bool compiles_with(struct t_result *r, const char *compiler, const char *standard, const char *const *options)
{
	const char *argv[13 + OPTIONS] = { compiler, standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", T_INCLUDE, "-c",
		"-o", "/dev/null", path };

	for (size_t i = 0; i < OPTIONS && options[i]; i++)
		argv[12 + i] = options[i];
	t_program(r, argv, NULL, 0);
	return t_exited(r, 0);
}

static bool compiles(struct t_result *r, const char *compiler, const char *standard, const char *option)
{
	const char *const options[OPTIONS] = { option };

	return compiles_with(r, compiler, standard, options);
}

/* Each header, and something that only it declares. */
static const char *const headers[][2] = {
	{ "auto.h", "BUFPOOL_AUTO char *x = NULL; (void)x;" },
	{ "buf.h", "struct bufpool_buf x = BUFPOOL_BUF_INIT; bufpool_buf_release(&x);" },
	{ "bufpool.h", "void *x = bufpool_acquire(10); bufpool_release_sized(x, sizeof(long)); "
	  "size_t n = 10; x = bufpool_acquire(n); bufpool_release_sized(x, n);" },
	{ "bytes.h", "struct bufpool_bytes x = BUFPOOL_BYTES_INIT; bufpool_bytes_release(&x);" },
	{ "copy.h", "struct bufpool_copy x = BUFPOOL_COPY_INIT; bufpool_copy_end(&x);" },
	{ "objects.h", "bufpool_objects_destroy(NULL);" },
	{ "sites.h", "(void)BUFPOOL_SITE_(1);" },
	{ "vec.h", "struct bufpool_vec x = BUFPOOL_VEC_INIT; bufpool_vec_release(&x);" },
};

static void expect_alone(const char *compiler, const char *language, const char *const *standards, const char *const *options)
{
	struct t_result r;
	char text[512];

	if (!t_have(compiler))
		cr_skip_test("%s is not here", compiler);
	for (size_t i = 0; i < T_COUNT(headers); i++) {
		snprintf(text, sizeof(text), "#include <bufpool/%s>\n#include <bufpool/%s>\nint main(void) { %s return 0; }\n",
			 headers[i][0], headers[i][0], headers[i][1]);
		t_write_source(path, sizeof(path), language, text);
		for (const char *const *standard = standards; *standard; standard++)
			cr_expect(compiles_with(&r, compiler, *standard, options), "%s %s %s:\n%s", headers[i][0], compiler,
				  *standard, r.text);
		unlink(path);
	}
}

static const char *const c[] = { "-std=c11", "-std=c17", "-std=c2x", "-std=gnu11", "-std=gnu2x", NULL };
static const char *const cxx[] = { "-std=c++11", "-std=c++14", "-std=c++17", "-std=c++20", "-std=gnu++20", NULL };
static const char *const plain[OPTIONS] = { "-O2" };
/* What of C is frowned upon in C++: the macros stand in the program, and so do their warnings. */
static const char *const gxx[OPTIONS] = { "-O2", "-Wconversion", "-Wsign-conversion", "-Wold-style-cast", "-Wuseless-cast",
	"-Wzero-as-null-pointer-constant" };
static const char *const clangxx[OPTIONS] = { "-O2", "-Wconversion", "-Wsign-conversion", "-Wold-style-cast" };

Test(headers, alone_with_gcc)
{
	expect_alone("gcc", ".c", c, plain);
}

Test(headers, alone_with_clang)
{
	expect_alone("clang", ".c", c, plain);
}

Test(headers, alone_with_gxx)
{
	expect_alone("g++", ".cc", cxx, gxx);
}

Test(headers, alone_with_clangxx)
{
	expect_alone("clang++", ".cc", cxx, clangxx);
}

/* ---- what must not compile ---- */

static void expect_gcc(bool good, const char *body, const char *because)
{
	static const char *const optimise[] = { "-O0", "-O2" };
	char text[1024];
	struct t_result r;

	snprintf(text, sizeof(text), "#include <bufpool/bufpool.h>\n#include <stdlib.h>\n"
		 "struct thing { int a, b; };\nint main(void)\n{\n%s\n\treturn 0;\n}\n", body);
	t_write_source(path, sizeof(path), ".c", text);
	for (size_t i = 0; i < 2; i++) {
		cr_expect_eq(compiles(&r, "gcc", "-std=c17", optimise[i]), good, "%s %s: %s", optimise[i], body,
			     r.text);
		if (because)
			cr_expect_not_null(strstr(r.text, because), "%s %s: %s", optimise[i], body, r.text);
	}
	unlink(path);
}

Test(headers, S1_releasing_the_address_of_a_local_does_not_compile)
{
	expect_gcc(false, "\tint local = 0;\n\tbufpool_release(&local);", "free-nonheap-object");
	expect_gcc(false, "\tvoid *p = bufpool_acquire(10);\n\tbufpool_release(&p);", "free-nonheap-object");
	expect_gcc(false, "\tstruct thing t = { 1, 2 };\n\tbufpool_release(&t);", "free-nonheap-object");
}

Test(headers, S1_releasing_a_stack_array_does_not_compile)
{
	expect_gcc(false, "\tchar array[64];\n\tbufpool_release(array);", "free-nonheap-object");
	expect_gcc(false, "\tchar array[64];\n\tbufpool_release(array + 16);", "free-nonheap-object");
	expect_gcc(false, "\tstatic char array[64];\n\tbufpool_release(array);", "free-nonheap-object");
}

Test(headers, right_use_compiles)
{
	expect_gcc(true, "\tvoid *p = bufpool_acquire(10);\n\tbufpool_release(p);", NULL);
	expect_gcc(true, "\tint *p = bufpool_acquire_zeroed(40);\n\tp = bufpool_resize(p, 80);\n"
		   "\tbufpool_release_sized(p, 80);", NULL);
	expect_gcc(true, "\tvoid *b[4];\n\tbufpool_release_many(b, bufpool_acquire_many(b, 4, 64));", NULL);
	expect_gcc(true, "\tchar *s = bufpool_strndup(\"text\", 4);\n\tbufpool_release(s);", NULL);
	expect_gcc(true, "\tsize_t n;\n\tchar *p = bufpool_acquire_at_least(&n, 10);\n\tif (p)\n\t\tp[n - 1] = 0;\n"
		   "\tbufpool_release_wiped(p, n);", NULL);
}

Test(headers, mixing_with_malloc_and_free_does_not_compile)
{
	expect_gcc(false, "\tvoid *p = malloc(10);\n\tbufpool_release(p);", "mismatched-dealloc");
	expect_gcc(false, "\tvoid *p = bufpool_acquire(10);\n\tfree(p);", "mismatched-dealloc");
}

Test(headers, dropping_a_block_does_not_compile)
{
	expect_gcc(false, "\tbufpool_acquire(10);", "unused-result");
	expect_gcc(false, "\tvoid *p = bufpool_acquire(10);\n\tbufpool_resize(p, 20);\n\tbufpool_release(p);",
		   "unused-result");
	expect_gcc(false, "\tvoid *b[4];\n\tbufpool_acquire_many(b, 4, 10);\n\tbufpool_release_many(b, 4);",
		   "unused-result");
}

Test(headers, S23_a_leak_is_found_by_the_analyzer)
{
	static const char *const bodies[][2] = {
		{ "\tchar *p = bufpool_acquire(10);\n\tif (p)\n\t\t*p = 1;", "leak of" },
		{ "\tchar *p = bufpool_acquire(10);\n\tif (p)\n\t\t*p = 1;\n\tbufpool_release(p);", NULL },
		{ "\tchar *p = bufpool_acquire(10);\n\tbufpool_release(p);\n\tbufpool_release(p);", "double-" },
	};
	char text[512];
	struct t_result r;

	for (size_t i = 0; i < T_COUNT(bodies); i++) {
		snprintf(text, sizeof(text), "#include <bufpool/bufpool.h>\nvoid f(void);\nvoid f(void)\n{\n%s\n}\n", bodies[i][0]);
		t_write_source(path, sizeof(path), ".c", text);
		cr_expect_eq(compiles(&r, "gcc", "-std=c17", "-fanalyzer"), bodies[i][1] == NULL, "%s: %s", bodies[i][0], r.text);
		if (bodies[i][1])
			cr_expect_not_null(strstr(r.text, bodies[i][1]), "%s: %s", bodies[i][0], r.text);
		unlink(path);
	}
}

Test(headers, null_where_none_is_allowed_does_not_compile)
{
	expect_gcc(false, "\tvoid *p = bufpool_acquire_at_least(NULL, 10);\n\tbufpool_release(p);", "nonnull");
	expect_gcc(false, "\treturn bufpool_stats_get(NULL, NULL);", "nonnull");
}

/* The traps of fortification: writing the whole capacity is right after acquire_at_least, and only there. */
Test(headers, fortified_writes_to_the_whole_capacity_run)
{
	struct t_result r;
	const char *const argv[] = { T_FORTIFIED, NULL };

	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "status %x: %s", r.status, r.text);
}
