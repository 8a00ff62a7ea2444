/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every header of include/bufpool/adapters, whichever there are: it compiles alone and twice, in every dialect, without a
 * library's header and without a warning. That it compiles with the library's header is its own test's business.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(headers, .timeout = 120);

static char directory[64];

static void write_source(const char *header, const char *language)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", directory, header, language);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fprintf(f, "#include <bufpool/adapters/%s>\n#include <bufpool/adapters/%s>\nint main(void) { return 0; }\n", header, header);
	cr_assert_eq(fclose(f), 0);
}

/* Those for C++ only end in .hpp. */
static bool is_header(const char *name, const char *language)
{
	const char *dot = strrchr(name, '.');

	return dot && (!strcmp(dot, ".h") || (!strcmp(dot, ".hpp") && !strcmp(language, ".cc")));
}

/* A source of its own for each header. */
static void write_sources(const char *language)
{
	DIR *dir = opendir(T_INCLUDE "/bufpool/adapters");
	unsigned count = 0;
	struct dirent *entry;

	cr_assert_not_null(dir);
	strcpy(directory, "/tmp/bufpool-adapters-XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	while ((entry = readdir(dir))) {
		if (!is_header(entry->d_name, language))
			continue;
		write_source(entry->d_name, language);
		count++;
	}
	closedir(dir);
	cr_assert_geq(count, 2);
}

static void each_compiles(const char *compiler, const char *language, const char *const *standards)
{
	char command[1024];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", compiler);
	if (system(command))
		cr_skip_test("%s is not here", compiler);
	write_sources(language);
	for (; *standards; standards++) {
		snprintf(command, sizeof(command), "%s -std=%s -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I %s %s/*%s >&2",
			 compiler, *standards, T_INCLUDE, directory, language);
		cr_expect_eq(system(command), 0, "%s", command);
	}
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

static const char *const c[] = { "c11", "c17", "c2x", NULL };
static const char *const cxx[] = { "c++17", NULL };

Test(headers, c_with_gcc)
{
	each_compiles("gcc", ".c", c);
}

Test(headers, c_with_clang)
{
	each_compiles("clang", ".c", c);
}

Test(headers, cxx_with_gcc)
{
	each_compiles("g++", ".cc", cxx);
}

Test(headers, cxx_with_clang)
{
	each_compiles("clang++", ".cc", cxx);
}
