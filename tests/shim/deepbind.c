/* SPDX-License-Identifier: BSD-2-Clause
 *
 * dlopen under the shim: one line names a library that binds deeply, none is printed otherwise, and whoever calls
 * is still the one whose DT_RUNPATH is searched. SHIM_DEEP is deepbind_program.c with the run path
 * $ORIGIN/only-here; SHIM_OUTER and SHIM_INNER are deepbind_library.c, with the run path $ORIGIN/deeper and with
 * none.
 */
#include "harness.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *library(void)
{
	return getenv("SHIM_INNER");
}

/* ---- what is said ---- */

static void open_deeply(void *mode)
{
	void *handle = dlopen(library(), (int)(uintptr_t)mode);

	CHECK(handle && dlsym(handle, "deep_malloc"));
}

static void expect_line(int mode)
{
	char text[1024], expected[512];

	snprintf(expected, sizeof(expected),
		 "bufpool: %s is opened with RTLD_DEEPBIND: it gets glibc's malloc, and blocks that cross will crash\n",
		 library());
	CHECK(t_child(text, sizeof(text), open_deeply, (void *)(uintptr_t)mode) == 0);
	if (strcmp(text, expected))
		t_note("said: %s", text);
	CHECK(!strcmp(text, expected));
}

TEST(a_library_that_binds_deeply_is_named, T_SHIM)
{
	expect_line(RTLD_NOW | RTLD_DEEPBIND);
	expect_line(RTLD_LAZY | RTLD_DEEPBIND | RTLD_GLOBAL);
}

TEST(no_other_is, T_SHIM)
{
	static const int modes[] = {RTLD_NOW, RTLD_LAZY, RTLD_NOW | RTLD_GLOBAL, RTLD_LAZY | RTLD_NODELETE};
	char text[1024];

	for (size_t i = 0; i < COUNT(modes); i++) {
		CHECK(t_child(text, sizeof(text), open_deeply, (void *)(uintptr_t)modes[i]) == 0);
		CHECK(!*text);
	}
}

/* That the warning is true. */
TEST(what_binds_deeply_has_glibcs_malloc_and_what_does_not_has_ours, T_POOL)
{
	bool (*owns)(const void *) = t_shim_symbol("bufpool_owns");
	void *handle = dlopen(library(), RTLD_NOW);
	void *(*get)(size_t) = dlsym(handle, "deep_malloc");
	void (*put)(void *) = dlsym(handle, "deep_free");
	void *p = get(65536);

	CHECK(owns(p));
	put(p);
	CHECK(dlclose(handle) == 0);
	NEED(handle = dlopen(library(), RTLD_NOW | RTLD_DEEPBIND));
	get = dlsym(handle, "deep_malloc");
	put = dlsym(handle, "deep_free");
	NEED(p = get(65536));
	CHECK(!owns(p));
	put(p);
}

static void open_program(void *unused)
{
	(void)unused;
	CHECK(dlopen(NULL, RTLD_NOW | RTLD_DEEPBIND) != NULL);
}

TEST(the_program_itself_has_no_name, T_SHIM)
{
	char text[1024];

	CHECK(t_child(text, sizeof(text), open_program, NULL) == 0);
	CHECK(!strncmp(text, "bufpool: the program is opened", 30) && strchr(text, '\n') == text + strlen(text) - 1);
}

static void open_long(void *unused)
{
	char name[2000];

	(void)unused;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	CHECK(dlopen(name, RTLD_NOW | RTLD_DEEPBIND) == NULL);
}

/* Cut, but not beyond its buffer. */
TEST(a_name_that_is_too_long_does_no_harm, T_SHIM)
{
	char text[4096];

	CHECK(t_child(text, sizeof(text), open_long, NULL) == 0);
	CHECK(!strncmp(text, "bufpool: xxxx", 13) && strlen(text) <= 1024);
}

TEST(failure_is_dlopens_own)
{
	CHECK(dlopen("/nowhere/at/all.so", RTLD_NOW) == NULL);
	const char *why = dlerror();
	CHECK(why && strstr(why, "/nowhere/at/all.so"));
	CHECK(dlerror() == NULL);
	CHECK(dlopen(NULL, RTLD_NOW) != NULL && dlerror() == NULL);
	CHECK(dlopen(library(), RTLD_NOW | RTLD_NOLOAD) == NULL);
}

/* ---- where is searched ---- */

static char directory[64];

static void lay_out(void)
{
	static const char commands[] =
		"cd '%s' && mkdir -p only-here/deeper && cp '%s' program && cp '%s' only-here/libshim-outer.so && "
		"cp '%s' only-here/deeper/libshim-inner.so";
	char line[2048];

	strcpy(directory, "/tmp/shim-deepbind-XXXXXX");
	CHECK(mkdtemp(directory) != NULL);
	snprintf(line, sizeof(line), commands, directory, getenv("SHIM_DEEP"), getenv("SHIM_OUTER"), library());
	CHECK(system(line) == 0);
}

static void clear_away(void)
{
	char line[128];

	snprintf(line, sizeof(line), "rm -rf '%s'", directory);
	CHECK(system(line) == 0);
}

static void run_program(char *text, size_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/program", directory);
	unsetenv("LD_LIBRARY_PATH"); /* comes before run paths */
	FILE *f = popen(path, "r");
	size_t n = f ? fread(text, 1, size - 1, f) : 0;
	text[n] = '\0';
	CHECK(f && pclose(f) == 0);
}

TEST(the_callers_run_path_is_searched)
{
	char text[2048], expected[2048];

	lay_out();
	snprintf(expected, sizeof(expected),
		 "program libshim-outer.so %s/only-here/libshim-outer.so\n"
		 "program libshim-inner.so none\n"
		 "library libshim-inner.so %s/only-here/deeper/libshim-inner.so\n"
		 "library libshim-none.so none\n", directory, directory);
	run_program(text, sizeof(text));
	if (strcmp(text, expected))
		t_note("said: %s", text);
	CHECK(!strcmp(text, expected));
	clear_away();
}
