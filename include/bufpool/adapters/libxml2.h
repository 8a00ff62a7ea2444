/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for libxml2, and for what allocates through it (libxslt, libexslt, xmlsec): every node, name and buffer
 * comes from the pool. Include <libxml/parser.h>, <libxml/tree.h> or <libxml/xmlmemory.h> first.
 *
 * Who frees what: documents go to xmlFreeDoc and so on as before. Text that a caller gets (xmlDocDumpMemory,
 * xmlNodeGetContent, xmlGetProp, xmlStrdup ...) goes to xmlFree, which is the pool's from then on; free() aborts in
 * glibc ("invalid pointer") or crashes.
 */
#ifndef BUFPOOL_ADAPTERS_LIBXML2_H
#define BUFPOOL_ADAPTERS_LIBXML2_H

#include "bufpool/adapters/shapes.h"

#ifdef __DEBUG_MEMORY_ALLOC__ /* the guard of <libxml/xmlmemory.h> */
/* Programs only: the hooks are the whole process's, and a library that sets them takes the allocator away under
 * everybody else who uses libxml2. Before any other call of libxml2, xmlInitParser and LIBXML_TEST_VERSION included:
 * those allocate. 0, or -1 where libxml2 refuses. What the library keeps for itself goes back in xmlCleanupParser. */
static inline int bufpool_libxml2_install_process(void)
{
	/* The pool's own functions: one jump less than its hooks, which shows where blocks are this small. */
	return xmlMemSetup(bufpool_release, bufpool_acquire, bufpool_hook_realloc, bufpool_hook_strdup);
}
#endif

#endif
