/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Opens libraries by names that mean something through a DT_RUNPATH only: deepbind.c lays this program and copies of
 * deepbind_library.c out as they are found. One line for each attempt: what was loaded, or that nothing was.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

static void say(const char *by, const char *name, void *handle)
{
	struct link_map *map = NULL;

	if (handle)
		dlinfo(handle, RTLD_DI_LINKMAP, &map);
	printf("%s %s %s\n", by, name, map ? map->l_name : "none");
}

int main(void)
{
	void *outer = dlopen("libshim-outer.so", RTLD_NOW);
	void *(*open_in)(const char *) = outer ? (void *(*)(const char *))dlsym(outer, "deep_open") : NULL;

	say("program", "libshim-outer.so", outer);
	say("program", "libshim-inner.so", dlopen("libshim-inner.so", RTLD_NOW));
	if (open_in) {
		say("library", "libshim-inner.so", open_in("libshim-inner.so"));
		say("library", "libshim-none.so", open_in("libshim-none.so"));
	}
	return 0;
}
