/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a return address stands for: file and line where the call was made through the macros of bufpool.h (which
 * leave a note of each in the program's file: include/bufpool/sites.h), else a function, else a place in a file.
 *
 * Nothing here allocates or needs the lock of dlopen: the report of what is out must come while a library's constructor
 * hangs. (dladdr takes that lock; so symbols are looked up here.)
 */
#ifndef BP_SYS_SITES_H
#define BP_SYS_SITES_H

#include <stdint.h>

#include "sys/text.h"
#include "sys/os.h"

struct bp_site {
	const char *file;      /* of the source; NULL: the call left no note */
	uint32_t line;
	const char *function;  /* NULL: no symbol that the dynamic linker knows covers it */
	uintptr_t in_function; /* bytes from its beginning */
	const char *module;    /* "" is the program; NULL: in no file */
	uintptr_t in_module;   /* as addr2line wants it */
};

/* What it points to is part of the program's files in memory, and is gone with them. */
void bp_site_find(struct bp_site *out, uintptr_t address) BP_HIDDEN;

/* "function+0x12 (file+0x1234)", or what there is of it. */
void bp_site_text(struct bp_text *t, const struct bp_site *site, uintptr_t address) BP_HIDDEN;

#endif
