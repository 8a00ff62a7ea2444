/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for SQLite: everything that SQLite allocates in this process. Include <sqlite3.h> first.
 *
 * SQLite asks how large its blocks are (xSize) and what a size will be rounded up to (xRoundup), and uses all of it:
 * the pool knows both, where SQLite's own way over malloc keeps the size in front of each block, which makes its 4096
 * byte pages a bit larger than a page.
 *
 * Who frees: what sqlite3_mprintf, sqlite3_exec (its message), sqlite3_expanded_sql, sqlite3_serialize and the like
 * return goes to sqlite3_free, as always; it may go to bufpool_release where SQLite's statistics of memory are off.
 * free() aborts or crashes there.
 */
#ifndef BUFPOOL_ADAPTERS_SQLITE3_H
#define BUFPOOL_ADAPTERS_SQLITE3_H

#include "bufpool/adapters/shapes.h"

#ifdef SQLITE3_H

/* Programs only: a library can't know who else in the process uses SQLite. Before sqlite3_initialize, which the first
 * sqlite3_open calls, or after sqlite3_shutdown; no other thread may be in SQLite. SQLITE_OK, or SQLITE_MISUSE where it
 * was too late: nothing has changed then. */
static inline int bufpool_sqlite3_install_process(void)
{
	static const sqlite3_mem_methods methods = {
		bufpool_hook_int_malloc, bufpool_release, bufpool_hook_int_realloc, bufpool_hook_int_size,
		bufpool_hook_int_roundup, bufpool_hook_int_init, bufpool_hook_int_shutdown, NULL,
	};

	return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

#endif
#endif
