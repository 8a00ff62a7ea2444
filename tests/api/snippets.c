/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The programs in README.md and docs/: each block of C that has a main is compiled as it stands there, with warnings as
 * errors, run, and where the page says "It prints", what it printed is compared with the block that follows.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(snippets, .timeout = 120);

enum { PAGE_MAX = 1 << 20 };

static char page[PAGE_MAX];
static char source[] = "/tmp/bufpool-snippet-XXXXXX.c", program[sizeof(source)];

static bool read_page(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(page, 1, PAGE_MAX - 1, f) : 0;

	page[n] = '\0';
	if (f)
		fclose(f);
	return n > 0;
}

/* What stands between the fences; *at moves behind them. The text is cut off there. */
static char *block(char **at, const char *fence)
{
	char *begin = strstr(*at, fence), *end;

	if (!begin)
		return NULL;
	begin += strlen(fence);
	end = strstr(begin, "\n```\n");
	cr_assert_not_null(end, "a block has no end");
	*at = end + 5;
	end[1] = '\0';
	return begin;
}

static void write_source(const char *text)
{
	FILE *f;
	int fd;

	strcpy(strstr(source, "-snippet-") + 9, "XXXXXX.c");
	fd = mkstemps(source, 2);
	cr_assert_geq(fd, 0);
	f = fdopen(fd, "w");
	cr_assert(f && fputs(text, f) >= 0 && !fclose(f));
	snprintf(program, sizeof(program), "%.*s", (int)strlen(source) - 2, source);
}

static void expect_program(const char *name, const char *text, const char *prints)
{
	const char *const compile[] = { "gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
		"-pthread", "-I", T_INCLUDE, source, "-o", program, T_LIBRARY, "-Wl,-rpath," T_LIBRARY_FOLDER, NULL };
	const char *const run[] = { program, NULL };
	struct t_result r;

	write_source(text);
	t_program(&r, compile, NULL, 0);
	cr_expect(t_exited(&r, 0), "%s:\n%s", name, r.text);
	if (t_exited(&r, 0)) {
		t_program(&r, run, NULL, 0);
		cr_expect(t_exited(&r, 0), "%s: status %x: %s", name, r.status, r.text);
		if (prints)
			cr_expect_str_eq(r.text, prints, "%s prints \"%s\"", name, r.text);
	}
	unlink(source);
	unlink(program);
}

/* How many programs there are on the page. */
static unsigned expect_page(const char *path)
{
	unsigned programs = 0;
	char *at = page, *text;

	cr_assert(read_page(path), "%s", path);
	while ((text = block(&at, "\n```c\n")) != NULL) {
		const char *prints = NULL;

		if (!strstr(text, "int main("))
			continue;
		if (!strncmp(at, "\nIt prints\n", 11))
			prints = block(&at, "\n```\n");
		expect_program(path, text, prints);
		programs++;
	}
	return programs;
}

Test(snippets, the_programs_in_the_docs_compile_and_run)
{
	char path[512];
	struct dirent *entry;
	unsigned programs;
	DIR *docs = opendir(T_ROOT "/docs");

	cr_assert_not_null(docs);
	programs = expect_page(T_ROOT "/README.md");
	while ((entry = readdir(docs)) != NULL) {
		const size_t n = strlen(entry->d_name);

		if (n < 4 || strcmp(entry->d_name + n - 3, ".md"))
			continue;
		snprintf(path, sizeof(path), "%s/docs/%s", T_ROOT, entry->d_name);
		programs += expect_page(path);
	}
	closedir(docs);
	cr_assert_gt(programs, 0);
}
