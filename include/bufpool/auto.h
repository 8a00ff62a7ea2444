/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: blocks that are released where their scope ends, on every way out of it. gcc and clang, C and C++.
 *
 *	BUFPOOL_AUTO char *line = bufpool_acquire(n);
 *	if (line == NULL || read_line(line, n) < 0)
 *		return -1;                      -- released here
 *	return use(BUFPOOL_STEAL(line));        -- not here: the value has been taken out
 *
 * What is unusual
 *   - Give the variable a value where it is declared, if only NULL: a goto or a return before that would release what
 *     happened to lie there. Compilers warn of it.
 *   - What the variable holds when the scope ends is released, so bufpool_release(line) needs a `line = NULL` behind it:
 *     bufpool_release(BUFPOOL_STEAL(line)) is both.
 *   - longjmp out of the scope, _exit and exec run no clean-up: what the scope held stays in use, and the leak report names
 *     it. pthread_exit and cancellation run it where the file is compiled with -fexceptions, C++ exceptions likewise.
 *
 * Other types have their own form beside their functions: BUFPOOL_AUTO_BUF, _BYTES, _VEC and _COPY.
 */
#ifndef BUFPOOL_AUTO_H
#define BUFPOOL_AUTO_H

#include "bufpool/bufpool.h"

#if defined(__GNUC__)

/* Before the declaration of a pointer to a block. */
#define BUFPOOL_AUTO __attribute__((cleanup(bufpool_auto_release_)))

/* The value of such a variable, which is NULL from then on: the block is whoever's takes the value. */
#define BUFPOOL_STEAL(pointer) ((__typeof__(pointer))bufpool_auto_steal_(&(pointer)))

/* What the two are made of; not to be called by name. `at` is where a pointer of any type lies. */
static inline void *bufpool_auto_steal_(void *at)
{
	void *p, *none = NULL;
	__builtin_memcpy(&p, at, sizeof(p));
	__builtin_memcpy(at, &none, sizeof(none));
	return p;
}

static inline void bufpool_auto_release_(void *at)
{
	bufpool_release(bufpool_auto_steal_(at));
}

#endif
#endif
