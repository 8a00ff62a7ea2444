/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A library whose constructor and destructor allocate: linked into the test program `early`, its constructor runs
 * before the shim's, its destructor after it. The same source, loaded by dlopen, is that program's plug-in.
 */
#include <stdlib.h>
#include <string.h>

char *library_block;
static char *kept;

void *plugin_give(size_t n);
void plugin_take(void *p);

__attribute__((constructor(101))) static void begin(void)
{
	library_block = strdup("from a library's constructor");
	kept = malloc(70000);
}

__attribute__((destructor(101))) static void end(void)
{
	char *p = calloc(10, 100);

	if (!p || !kept)
		abort();
	free(kept);
	free(p);
}

void *plugin_give(size_t n)
{
	return malloc(n);
}

void plugin_take(void *p)
{
	free(p);
}
