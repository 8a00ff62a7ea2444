/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A library for deepbind.c and its program: it says whose malloc it calls, and opens another library, which with a
 * DT_RUNPATH of its own it alone may find.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

void *deep_malloc(size_t n);
size_t deep_size(void *p);
void deep_free(void *p);
void *deep_open(const char *name);

void *deep_malloc(size_t n)
{
	return malloc(n);
}

size_t deep_size(void *p)
{
	return malloc_usable_size(p);
}

void deep_free(void *p)
{
	free(p);
}

/* Neither the result nor the flags are touched: what matters is that the call comes from here. */
void *deep_open(const char *name)
{
	void *handle = dlopen(name, RTLD_NOW);

	__asm__ volatile("" : "+r"(handle));
	return handle;
}
