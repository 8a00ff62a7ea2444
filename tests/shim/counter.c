/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Another preloaded library that replaces part of the malloc family, as profilers do: it counts and passes on to whoever
 * comes next. Says at the end how many blocks went out and came back through it. Not all of the family is here, so
 * some blocks are allocated past it and freed through it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *(*next_malloc)(size_t);
static void (*next_free)(void *);
static unsigned long given, taken;

void *malloc(size_t n)
{
	if (!next_malloc)
		next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
	__atomic_add_fetch(&given, 1, __ATOMIC_RELAXED);
	return next_malloc(n);
}

void free(void *p)
{
	if (!next_free)
		next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
	__atomic_add_fetch(&taken, !!p, __ATOMIC_RELAXED);
	next_free(p);
}

__attribute__((destructor)) static void say(void)
{
	char line[80];

	if (getenv("COUNTER"))
		(void)!write(2, line, (size_t)snprintf(line, sizeof(line), "counter: %s\n",
						       given > 1000 && taken > 1000 ? "all" : given ? "some" : "none"));
}
