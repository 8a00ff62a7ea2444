/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: GMP's numbers from the default pool, and those of what builds upon it (MPFR, MPC, …). GMP knows the sizes:
 * releases are sized ones, and growing copies what is used.
 *
 *	#include <gmp.h>
 *	#include <bufpool/adapters/gmp.h>
 *
 *	int main(void)
 *	{
 *		bufpool_gmp_install_process();
 *
 * Who frees: mpz_clear and its like. The text that mpz_get_str(NULL, …), gmp_asprintf and others return is the
 * caller's: it goes to bufpool_release, not to free(), which doesn't know it. What is in a library's hands that
 * fetches the functions (mp_get_memory_functions) is right, too. Where there is no memory GMP has no way to say so:
 * the process aborts after one line on standard error, as without hooks.
 */
#ifndef BUFPOOL_ADAPTERS_GMP_H
#define BUFPOOL_ADAPTERS_GMP_H

#include "bufpool/adapters/shapes.h"

#ifdef __GMP_H__

#include <stdio.h>
#include <stdlib.h>

static inline void *bufpool_gmp_there_(void *p, size_t n)
{
	if (p == NULL) {
		fprintf(stderr, "GNU MP: Cannot allocate memory (size=%zu)\n", n);
		abort();
	}
	return p;
}

static inline void *bufpool_gmp_malloc_(size_t n)
{
	return bufpool_gmp_there_(bufpool_hook_malloc(n), n);
}

/* Never called with 0 bytes, which would free. */
static inline void *bufpool_gmp_realloc_(void *p, size_t old, size_t n)
{
	return bufpool_gmp_there_(bufpool_hook_sized_realloc(p, old, n), n);
}

/* For programs, before any number is initialised: a library must never call this, for it doesn't know what others have
 * initialised already. A number from before would be released to the pool, which aborts; MPFR's caches are numbers, too
 * (mpfr_mp_memory_cleanup empties them). Can't fail. */
static inline void bufpool_gmp_install_process(void)
{
	mp_set_memory_functions(bufpool_gmp_malloc_, bufpool_gmp_realloc_, bufpool_hook_sized_free);
}

#endif
#endif
