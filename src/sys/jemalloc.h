/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc's header, for the files of sys/ that speak to it; nobody else includes either. Whether jemalloc is embedded, under
 * names of its own, or shared is settled here.
 */
#ifndef BP_SYS_JEMALLOC_H
#define BP_SYS_JEMALLOC_H

#if BP_JEMALLOC_EMBEDDED
#include "sys/jemalloc_names.h"
#else
#define JEMALLOC_NO_DEMANGLE /* keep the je_ names after the header as well */
#endif
#include <jemalloc/jemalloc.h>

/* With the shared jemalloc a preloaded malloc is found before jemalloc's own: only the names that it alone has are safe. */
#if !BP_JEMALLOC_EMBEDDED
#undef je_calloc
#undef je_realloc
#define je_calloc(count, size) je_mallocx((count) * (size) == 0 ? 1 : (count) * (size), MALLOCX_ZERO)
#define je_realloc(p, n) je_rallocx(p, n, 0)
#endif

#endif
