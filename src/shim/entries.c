/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What programs call of the shim to get a block: where it is linked into the program (libbufpool_malloc.a), the leak report
 * tells its frames from the program's by these.
 */
#include <malloc.h>
#include <stdlib.h>

#include "shim/shim.h"
#include "sys/unwind.h"

#define OPERATORS(X)                                                                                                   \
	X(_Znwm) X(_Znam) X(_ZnwmRKSt9nothrow_t) X(_ZnamRKSt9nothrow_t) X(_ZnwmSt11align_val_t) X(_ZnamSt11align_val_t) \
	X(_ZnwmSt11align_val_tRKSt9nothrow_t) X(_ZnamSt11align_val_tRKSt9nothrow_t)
#define DECLARED(name) void *name(void);
OPERATORS(DECLARED)
void *mallocx(size_t n, int flags) __attribute__((weak)); /* only where jemalloc is embedded */
void *rallocx(void *p, size_t n, int flags) __attribute__((weak));

#define ENTRY(name) (const void *)(name),
const void *const bp_unwind_mallocs[] = {
	OPERATORS(ENTRY)
	ENTRY(malloc) ENTRY(calloc) ENTRY(realloc) ENTRY(posix_memalign) ENTRY(aligned_alloc) ENTRY(memalign)
	ENTRY(valloc) ENTRY(pvalloc) ENTRY(mallocx) ENTRY(rallocx)
	NULL,
};
