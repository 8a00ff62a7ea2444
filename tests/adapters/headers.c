/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every header of include/bufpool/adapters, whichever there are: it compiles alone and twice, without a library's
 * header and without a warning, in one dialect; in the others all of them together. libraries.h has them
 * behind the headers of their libraries.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARNINGS "-Wall -Wextra -Wpedantic -Werror"

TestSuite(headers, .timeout = 120);

static char directory[64];

static FILE *create(const char *name, const char *language)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", directory, name, language);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	return f;
}

static void include(FILE *f, const char *header)
{
	fprintf(f, "#include <bufpool/adapters/%s>\n#include <bufpool/adapters/%s>\n", header, header);
}

/* A source for each header, and one with all of them. */
static void write_sources(const char *language)
{
	DIR *dir = opendir(T_INCLUDE "/bufpool/adapters");
	unsigned count = 0;
	struct dirent *entry;
	FILE *all, *alone;

	cr_assert_not_null(dir);
	strcpy(directory, "/tmp/bufpool-adapters-XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	all = create("all", language);
	while ((entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');

		if (!dot || strcmp(dot, ".h"))
			continue;
		alone = create(entry->d_name, language);
		include(alone, entry->d_name);
		include(all, entry->d_name);
		cr_assert_eq(fclose(alone), 0);
		count++;
	}
	closedir(dir);
	cr_assert_eq(fclose(all), 0);
	cr_assert_geq(count, 2);
}

/* The first standard compiles each alone. */
static void each_compiles(const char *compiler, const char *language, const char *const *standards)
{
	const char *which = "*";
	char command[1024];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", compiler);
	if (system(command))
		cr_skip_test("%s is not here", compiler);
	write_sources(language);
	for (; *standards; standards++) {
		snprintf(command, sizeof(command), "%s -std=%s -fsyntax-only " WARNINGS " -I %s %s/%s%s >&2",
			 compiler, *standards, T_INCLUDE, directory, which, language);
		cr_expect_eq(system(command), 0, "%s", command);
		which = "all";
	}
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

static const char *const c[] = { "c11", "c17", "c2x", "gnu2x", NULL };
static const char *const cxx[] = { "c++17", "c++20", NULL };

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

/* libraries.h: all of them, each behind its library's header where that is here. */
static void behind_libraries(const char *compiler, const char *language, const char *standard)
{
	char command[1024];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", compiler);
	if (system(command))
		cr_skip_test("%s is not here", compiler);
	snprintf(command, sizeof(command), "%s -x %s -std=%s -fsyntax-only " WARNINGS " -I %s " T_DATA "/../libraries.h >&2",
		 compiler, language, standard, T_INCLUDE);
	cr_expect_eq(system(command), 0, "%s", command);
}

Test(headers, behind_their_libraries_in_c)
{
	behind_libraries("gcc", "c", "gnu11");
	behind_libraries("gcc", "c", "gnu2x");
}

Test(headers, behind_their_libraries_in_cxx)
{
	behind_libraries("g++", "c++", "gnu++17");
}
