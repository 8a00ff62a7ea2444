/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for cJSON: every object, string and text that cJSON makes comes from the pool. Include <cjson/cJSON.h> first.
 *
 * Who frees what: trees go to cJSON_Delete as before. What cJSON_Print, cJSON_PrintUnformatted and cJSON_PrintBuffered
 * return goes to cJSON_free (or bufpool_release); free(), which much code calls there because it works without hooks,
 * aborts in glibc ("invalid pointer") or crashes.
 *
 * What is lost: with hooks of anybody's cJSON never calls realloc, so a text that outgrows its buffer while it is
 * printed is copied. cJSON_PrintBuffered with a good guess, or cJSON_PrintPreallocated, avoids it.
 */
#ifndef BUFPOOL_ADAPTERS_CJSON_H
#define BUFPOOL_ADAPTERS_CJSON_H

#include "bufpool/adapters/shapes.h"

#ifdef cJSON__h
/* Programs only: the hooks are the whole process's, and a library that sets them takes the allocator away under
 * everybody else who uses cJSON. Before anything that cJSON made is alive (what is, would be released into the wrong
 * allocator), and before a second thread uses cJSON. Can't fail. cJSON_InitHooks(NULL) takes it back on the same
 * conditions. */
static inline void bufpool_cjson_install_process(void)
{
	/* The pool's own functions: one jump less than its hooks, which shows where blocks are this small. */
	cJSON_Hooks hooks = { bufpool_acquire, bufpool_release };

	cJSON_InitHooks(&hooks);
}
#endif

#endif
