/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What linking does: neither library replaces the program's malloc, the shared one exports bufpool_* and nothing else,
 * and every function of the header is there in both.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <dlfcn.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(linking, .timeout = 30);

static const char *library(void)
{
	static Dl_info info;

	cr_assert_neq(dladdr((void *)(uintptr_t)bufpool_release, &info), 0);
	return info.dli_fname;
}

static void expect_own_malloc(const char *tool)
{
	const char *const argv[] = { tool, NULL };
	struct t_result r;

	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "%s: %s", tool, r.text);
}

Test(linking, the_shared_library_leaves_malloc_alone)
{
	t_need_pool(16);
	expect_own_malloc(T_SHARED_TOOL);
}

Test(linking, the_static_library_leaves_malloc_alone)
{
	t_need_pool(16);
	expect_own_malloc(T_STATIC_TOOL);
}

/* As README.md says, by the words of pkg-config alone. */
Test(linking, a_static_program_is_linked_by_what_pkg_config_says)
{
	static const char source[] =
		"#include <bufpool/bufpool.h>\n"
		"int main(void)\n"
		"{\n"
		"	void *p = bufpool_acquire(100000);\n"
		"	bufpool_release(p);\n"
		"	return p == NULL;\n"
		"}\n";
	char path[64], command[1024];
	const char *const build[] = { "sh", "-c", command, NULL };
	struct t_result r;

	if (!t_have("pkg-config"))
		cr_skip_test("pkg-config is not here");
	t_write_source(path, sizeof(path), ".c", source);
	snprintf(command, sizeof(command), "trap 'rm -f %s.out' EXIT && words=$(PKG_CONFIG_PATH=%s pkg-config --static --cflags "
		 "--libs bufpool) && gcc -static -o %s.out %s $words && ! readelf -l %s.out | grep INTERP && %s.out", path,
		 T_PKG_CONFIG, path, path, path, path);
	t_program(&r, build, NULL, 0);
	unlink(path);
	cr_assert(t_exited(&r, 0), "%s: %s", command, r.text);
}

static char symbols[1 << 16];

static void read_symbols(const char *option, const char *file)
{
	const char *const argv[] = { "nm", option, "--defined-only", "--format=posix", file, NULL };
	struct t_result r;

	if (!t_have("nm"))
		cr_skip_test("nm is not here");
	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_lt(strlen(r.text), sizeof(r.text) - 1);
	symbols[0] = '\n';
	strcpy(symbols + 1, r.text);
}

static void exported(void)
{
	read_symbols("-D", library());
}

/* jemalloc's names in it would clash with those of a program that links jemalloc as well. */
Test(linking, the_static_library_has_names_of_its_own_only)
{
	char *line, *rest;
	unsigned count = 0;

	read_symbols("-g", T_STATIC_LIBRARY);
	for (line = strtok_r(symbols, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strchr(line, ':'))
			continue; /* the name of a member */
		cr_expect(!strncmp(line, "bufpool_", 8) || !strncmp(line, "bp_", 3), "%s", line);
		count++;
	}
	cr_assert_geq(count, 25);
}

Test(linking, the_shared_library_exports_bufpool_names_only)
{
	char *line, *rest;
	unsigned count = 0;

	exported();
	for (line = strtok_r(symbols, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char name[128], type;

		cr_assert_eq(sscanf(line, "%127s %c", name, &type), 2, "%s", line);
		/* The symbol versions' own entries are absolute and carry the library's name. */
		cr_expect(!strncmp(name, "bufpool_", 8) || (type == 'A' && !strncmp(name, "BUFPOOL", 7)) ||
			  (type == 'A' && !strncmp(name, "libbufpool", 10)), "%s is exported", line);
		count += !strncmp(name, "bufpool_", 8);
	}
	cr_assert_geq(count, 25);
}

/* A thread may stand in a restartable sequence of it at any time: unmapped code would be its end. */
Test(linking, the_shared_library_is_never_unloaded)
{
	const char *const argv[] = { "readelf", "-d", library(), NULL };
	struct t_result r;

	if (!t_have("readelf"))
		cr_skip_test("readelf is not here");
	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "%s", r.text);
	cr_assert_not_null(strstr(r.text, "NODELETE"), "%s", r.text);
}

/* The name and nothing more of it, with or without a symbol version. */
static bool is_exported(const char *line)
{
	const char *at = strstr(symbols, line);

	while (at && at[strlen(line)] != ' ' && at[strlen(line)] != '@')
		at = strstr(at + 1, line);
	return at;
}

Test(linking, every_function_of_the_header_is_exported)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
	static char header[1 << 16];
	FILE *f = fopen(T_INCLUDE "/bufpool/bufpool.h", "r");
	unsigned count = 0;

	exported();
	cr_assert_not_null(f);
	header[fread(header, 1, sizeof(header) - 1, f)] = 0;
	fclose(f);
	for (char *at = header; (at = strstr(at, "\nBUFPOOL_API")); at++) {
		char *name = at + 12, wanted[128];
		size_t n;

		/* The declaration's first name that a parenthesis follows. */
		while ((name = strstr(name, "bufpool_")) && (n = strspn(name, letters)) && name[n] != '(')
			name += n;
		cr_assert_not_null(name);
		snprintf(wanted, sizeof(wanted), "\n%.*s", (int)strspn(name, letters), name);
		cr_expect(is_exported(wanted), "%s is not exported", wanted + 1);
		count++;
	}
	cr_assert_geq(count, 29, "%u declarations found", count);
}

/* A malloc'ed block that nothing but a block of the pool, or nothing at all, points to. */
static const char lost[] =
	"#include <bufpool/bufpool.h>\n"
	"#include <stdlib.h>\n"
	"static void **root;\n"
	"static int hold(int all)\n"
	"{\n"
	"	root = bufpool_acquire(200000);\n"
	"	void **small = bufpool_acquire(16);\n"
	"	if (root == NULL || small == NULL || (root[7] = malloc(333)) == NULL || (small[0] = malloc(333)) == NULL)\n"
	"		return 1;\n"
	"	root[8] = small;\n"
	"	if (!all)\n"
	"		root[7] = NULL;\n"
	"	return 0;\n"
	"}\n"
	"int main(int argc, char **argv)\n"
	"{\n"
	"	(void)argv;\n"
	"	return hold(argc == 1);\n"
	"}\n";

/* A sanitizer knows jemalloc's memory as little as any other that was mapped. */
Test(linking, what_blocks_lead_to_is_no_leak_for_a_sanitizer)
{
	static char path[64], program[80], folder[512], run_path[600];
	const char *const build[] = { "gcc", "-fsanitize=address", "-I", T_INCLUDE, path, library(), run_path, "-o", program, NULL };
	const char *const good[] = { program, NULL }, *const bad[] = { program, "leak", NULL };
	struct t_result r;

	t_need_pool(16);
	t_write_source(path, sizeof(path), ".c", lost);
	snprintf(program, sizeof(program), "%s.out", path);
	snprintf(folder, sizeof(folder), "%s", library());
	*strrchr(folder, '/') = '\0';
	snprintf(run_path, sizeof(run_path), "-Wl,-rpath,%s", folder);
	t_program(&r, build, NULL, 0);
	unlink(path);
	if (!t_exited(&r, 0))
		cr_skip_test("gcc has no AddressSanitizer here");
	t_program(&r, good, NULL, 0);
	cr_expect(t_exited(&r, 0), "%s", r.text);
	t_program(&r, bad, NULL, 0);
	cr_expect(!t_exited(&r, 0) && strstr(r.text, "333 byte(s) leaked"), "%s", r.text);
	unlink(program);
}
