/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for Jansson: every value, key and text comes from the pool. Include <jansson.h> first.
 *
 * Who frees what: values go to json_decref as before. What json_dumps returns goes to bufpool_release (or to the
 * function that json_get_alloc_funcs names); free(), which the library's own examples call there, aborts in glibc
 * ("invalid pointer") or crashes. json_dump_callback and json_dumpb leave nothing to free.
 *
 * Jansson 2.14 has no realloc hook: its growing buffers are copied, whoever's the hooks are.
 */
#ifndef BUFPOOL_ADAPTERS_JANSSON_H
#define BUFPOOL_ADAPTERS_JANSSON_H

#include "bufpool/adapters/shapes.h"

#ifdef JANSSON_H
/* Programs only: the hooks are the whole process's, and a library that sets them takes the allocator away under
 * everybody else who uses Jansson. Before any other call of Jansson: what it made earlier would be released into the
 * wrong allocator. Can't fail. */
static inline void bufpool_jansson_install_process(void)
{
	/* The pool's own functions: one jump less than its hooks, which shows where blocks are this small. */
	json_set_alloc_funcs(bufpool_acquire, bufpool_release);
}
#endif

#endif
